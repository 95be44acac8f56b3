//! Spans, moments and names as people read them.

use crate::printer::visible;
use kpo_core::Time;
use std::time::Duration;

/// A span: `0.4 s`, `12 s`, `3 m 10 s`, `2 h`, `1 h 5 m`, `3 d 2 h`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let tenths = (span.as_millis() + 50) / 100;
    match seconds {
        0..10 => match tenths % 10 {
            0 => format!("{} s", tenths / 10),
            part => format!("{}.{part} s", tenths / 10),
        },
        10..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds / 60 % 60, "m"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, below: &str) -> String {
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {below}") }
}

/// A span for a live line: it changes once a second.
pub(crate) fn whole(of: Duration) -> String {
    span(Duration::from_secs(of.as_secs()))
}

/// How far into the task something was: `0.3s`, `1m04s`, `2h05m`.
pub(crate) fn offset(since: Duration) -> String {
    let seconds = since.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", since.as_secs_f64()),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

/// How kpo is called, for a command that is shown: `kpo`, or `kubectl kpo`.
pub(crate) fn program() -> &'static str {
    crate::app::program()
}

/// The most that a result may have.
pub(crate) fn result_limit(bytes: usize) -> String {
    format!("result: at most {bytes} bytes can leave the pod")
}

/// The time of day in UTC with hundredths: `12:00:03.10`.
pub(crate) fn clock(at: Time) -> String {
    // RFC 3339 with milliseconds, as Time displays itself: 2026-11-23T22:10:07.123Z.
    at.to_string().get(11..22).unwrap_or_default().to_owned()
}

/// The day and the minute, in UTC: `2026-11-23 22:10 UTC`.
pub(crate) fn minute(at: Time) -> String {
    let text = at.to_string();
    format!("{} {} UTC", text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default())
}

/// The text without Markdown's backticks.
pub(crate) fn unquoted(text: &str) -> String {
    text.replace('`', "")
}

/// The text with a full stop at its end.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// A cluster's words on one line, harmless, without a full stop or colon at the end: to go on.
pub(crate) fn clause(text: &str) -> String {
    visible(text.trim().trim_end_matches(['.', ':', ' '])).into_owned()
}

/// The text, cut to so many characters.
pub(crate) fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest { text.to_owned() } else { text.chars().take(longest).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let said = |millis| span(Duration::from_millis(millis));
        let spans: Vec<String> =
            [0, 400, 2_000, 9_960, 12_345, 60_000, 190_000, 7_200_000, 3_900_000, 266_400_000].map(said).into();
        assert_eq!(spans, ["0 s", "0.4 s", "2 s", "10 s", "12 s", "1 m", "3 m 10 s", "2 h", "1 h 5 m", "3 d 2 h"]);
        let far: Vec<String> = [300, 64_000, 7_500_000].map(|millis| offset(Duration::from_millis(millis))).into();
        assert_eq!(far, ["0.3s", "1m04s", "2h05m"]);
        assert_eq!(clock(Time::parse("2026-11-23T22:10:07.123745Z").unwrap()), "22:10:07.12");
    }
}
