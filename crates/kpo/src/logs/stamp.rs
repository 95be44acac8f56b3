//! The timestamps before the lines of a log.

use kpo_core::Time;

/// Parses the timestamps of one stream. The part down to the second is parsed once a second.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// `2026-11-23T22:10:07` and the nanoseconds since the epoch that it means in UTC.
    cached: Option<([u8; SECOND], i64)>,
}

/// Bytes down to the second.
const SECOND: usize = 19;

impl Stamps {
    /// The time before a line, and where its content begins. `None` if the line has none.
    ///
    /// The kubelet writes `2006-01-02T15:04:05.000000000Z07:00` and a space (`pkg/kubelet/kuberuntime/logs/logs.go`, `timeFormatOut`); older
    /// ones drop trailing zeros of the fraction. Line ends in between belong to the content.
    pub(super) fn split(&mut self, line: &[u8]) -> Option<(Time, usize)> {
        let second: &[u8; SECOND] = line.first_chunk()?;
        let rest = &line[SECOND..];
        let (nanos, fraction) = fraction(rest)?;
        let (offset, zone) = zone(&rest[fraction..])?;
        let end = SECOND + fraction + zone;
        let start = match line.get(end) {
            Some(b' ') => end + 1,
            None => end,
            Some(_) => return None,
        };
        // Far from our days a time is the first or the last that there is.
        Some((Time(self.second(second)?.saturating_add(nanos).saturating_sub(offset)), start))
    }

    fn second(&mut self, text: &[u8; SECOND]) -> Option<i64> {
        if let Some((cached, time)) = &self.cached
            && cached == text
        {
            return Some(*time);
        }
        let mut utc = String::with_capacity(SECOND + 1);
        utc.push_str(std::str::from_utf8(text).ok()?);
        utc.push('Z');
        let time = Time::parse(&utc)?.0;
        self.cached = Some((*text, time));
        Some(time)
    }
}

/// `.123456789`: nanoseconds, and the bytes taken; none at all is allowed.
fn fraction(text: &[u8]) -> Option<(i64, usize)> {
    if text.first() != Some(&b'.') {
        return Some((0, 0));
    }
    let digits = text[1..].iter().take(9).take_while(|b| b.is_ascii_digit()).count();
    let value = text[1..=digits].iter().fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    (digits > 0).then(|| (value * 10i64.pow(9 - digits as u32), digits + 1))
}

/// `Z` or `+01:00`: nanoseconds ahead of UTC, and the bytes taken.
fn zone(text: &[u8]) -> Option<(i64, usize)> {
    let sign = match text.first()? {
        b'Z' => return Some((0, 1)),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let [h, hh, b':', m, mm] = *text.get(1..6)? else { return None };
    let number = |tens: u8, ones: u8| {
        (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    };
    let minutes = number(h, hh)? * 60 + number(m, mm)?;
    Some((sign * minutes * 60_000_000_000, 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_that_kubelets_write() {
        let base = Time::parse("2026-11-23T22:10:07Z").expect("a time").0;
        let hour = 3_600_000_000_000;
        for (line, nanos, content) in [
            ("2026-11-23T22:10:07.123456789Z hello", 123_456_789, "hello"),
            ("2026-11-23T22:10:07.120000000Z  two spaces", 120_000_000, " two spaces"),
            ("2026-11-23T22:10:07.12Z \r", 120_000_000, "\r"),
            ("2026-11-23T22:10:07Z x", 0, "x"),
            ("2026-11-23T22:10:07Z", 0, ""),
            ("2026-11-23T22:10:07.000000001+01:00 x", 1 - hour, "x"),
            ("2026-11-23T22:10:07.5-00:30 x", 500_000_000 + hour / 2, "x"),
        ] {
            let (time, start) = Stamps::default().split(line.as_bytes()).expect(line);
            assert_eq!((time.0 - base, &line[start..]), (nanos, content), "{line}");
        }
    }

    /// Beyond what nanoseconds in 64 bits reach, as a broken clock writes them.
    #[test]
    fn the_ends_of_time_are_no_overflow() {
        for (line, time) in
            [("0001-01-01T00:00:00+01:00 x", i64::MIN), ("9999-12-31T23:59:59.999999999-01:00 x", i64::MAX)]
        {
            assert_eq!(Stamps::default().split(line.as_bytes()).map(|(time, _)| time), Some(Time(time)), "{line}");
        }
    }

    #[test]
    fn what_is_none() {
        for line in [
            "",
            "hello",
            "2026-11-23T22:10:07",
            "2026-11-23T22:10:07.Z x",
            "2026-11-23T22:10:07.1234567890Z x",
            "2026-11-23 22:10:07Z x",
            "2026-11-23T22:10:07Zx",
            "2026-11-23T22:10:07+1:00 x",
            "\u{fffd}026-11-23T22:10:07Z x",
        ] {
            assert_eq!(Stamps::default().split(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_cache_does_not_mix_seconds() {
        let mut stamps = Stamps::default();
        let mut time = |text: &str| stamps.split(text.as_bytes()).expect("a stamp").0.0;
        let first = time("2026-11-23T22:10:07.5Z a");
        assert_eq!(time("2026-11-23T22:10:08.5Z b") - first, 1_000_000_000);
        assert_eq!(time("2026-11-23T22:10:07.6Z c") - first, 100_000_000);
    }
}
