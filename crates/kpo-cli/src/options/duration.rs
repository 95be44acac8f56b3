//! Spans of time as people write them: `90s`, `10m`, `1h30m`, `2d`.

use std::time::Duration;

/// A limit on a clock: `none` takes it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<Duration>);

/// Parses a limit: a span, or `none`. A clock that has run out before it begins is no limit that anybody means.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        text => match span(text)? {
            Duration::ZERO => Err("nothing is done in no time; \"none\" takes the limit away".to_owned()),
            span => Ok(Limit(Some(span))),
        },
    }
}

/// Parses a span. A unit is demanded: a bare number could mean anything.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as 90s, 10m, 1h30m or 2d".to_owned();
    let (mut rest, mut total) = (text, Duration::ZERO);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let letters = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| at + digits);
        let unit = unit(&rest[digits..letters]).ok_or_else(wrong)?;
        let part = number.checked_mul(unit).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[letters..];
    }
    Ok(total)
}

/// Milliseconds of a unit.
fn unit(text: &str) -> Option<u64> {
    match text {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5_400), ("2d", 172_800), ("0s", 0)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(limit("none"), Ok(Limit(None)));
        assert_eq!(limit("1s"), Ok(Limit(Some(Duration::from_secs(1)))));
        assert!(limit("0s").is_err_and(|why| why.contains("none")));
        for bad in ["", "10", "m", "10 m", "-1s", "1.5h", "99999999999999999999s", "9999999999999d"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
