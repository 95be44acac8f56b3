//! The cluster's clock reading: UTC in integer nanoseconds, printed as Kubernetes prints it.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// An instant in UTC: nanoseconds since the Unix epoch. Time is an argument everywhere in the lab; nothing below the server reads a clock.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// Nanoseconds in a second.
    const SECOND: i64 = 1_000_000_000;

    /// The instant `seconds` after the Unix epoch.
    pub const fn from_secs(seconds: i64) -> Time {
        Time(seconds * Time::SECOND)
    }

    /// The machine's wall clock. For the live lab's edge only.
    pub fn wall_clock() -> Time {
        Time(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX))
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(Time::SECOND)
    }

    /// `metav1.Time`: RFC 3339 with whole seconds, rounded down: `2026-11-23T22:10:07Z`.
    pub fn rfc3339(self) -> String {
        self.print(0)
    }

    /// `metav1.MicroTime`: RFC 3339 with six digits: `2026-11-23T22:10:07.723745Z`.
    pub fn rfc3339_micro(self) -> String {
        self.print(6)
    }

    /// RFC 3339 with nine digits, as the kubelet stamps log lines: `2026-11-23T22:10:07.723745001Z`.
    pub fn rfc3339_nano(self) -> String {
        self.print(9)
    }

    /// Reads any RFC 3339 form. None where the text is none, or out of range.
    pub fn parse(text: &str) -> Option<Time> {
        let stamp: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(stamp.as_nanosecond()).ok().map(Time)
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    fn print(self, digits: u8) -> String {
        let whole = jiff::Timestamp::from_second(self.as_secs()).unwrap_or_default();
        let text = whole.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let nanos = self.0.rem_euclid(Time::SECOND);
        match digits {
            0 => format!("{text}Z"),
            6 => format!("{text}.{:06}Z", nanos / 1000),
            _ => format!("{text}.{nanos:09}Z"),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339_nano())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339_micro())
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, duration: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(duration)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_the_three_forms() {
        let time = Time(1_795_471_807_723_745_001);
        assert_eq!(time.rfc3339(), "2026-11-23T22:10:07Z");
        assert_eq!(time.rfc3339_micro(), "2026-11-23T22:10:07.723745Z");
        assert_eq!(time.rfc3339_nano(), "2026-11-23T22:10:07.723745001Z");
        assert_eq!(Time::parse(&time.rfc3339_nano()), Some(time));
        assert_eq!(Time::parse(&time.rfc3339()), Some(Time::from_secs(time.as_secs())));
        assert_eq!(Time::parse("yesterday"), None);
    }

    #[test]
    fn since_never_goes_below_zero() {
        let time = Time::from_secs(10);
        assert_eq!((time + Duration::from_millis(1)).since(time), Duration::from_millis(1));
        assert_eq!(time.since(time + Duration::from_secs(1)), Duration::ZERO);
    }
}
