//! Time as the decisions know it: an integer that the driver hands in.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment: nanoseconds since 1970-01-01T00:00:00 UTC.
///
/// The driver advances it monotonically; the core never asks a clock.
///
/// As JSON it is RFC 3339 with nanoseconds: an integer of that size does not survive readers whose numbers are doubles.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (year, month, day, hour, minute, second, nanos) = self.civil();
        to.collect_str(&format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z"))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Time::parse(&text).ok_or_else(|| D::Error::custom(format_args!("{text:?} is no time in UTC by RFC 3339")))
    }
}

impl Time {
    /// The moment `seconds` after the epoch.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Parses the form that Kubernetes writes (`2026-11-23T22:10:07Z`, fractions of a second allowed, UTC only).
    /// What lies outside of 1677 to 2262, such as Go's zero time, becomes the nearest moment there is. `None` if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
        let [year, month, day] = numbers::<3>(date, '-')?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let [hour, minute, second] = numbers::<3>(clock, ':')?;
        if !(0..=9999).contains(&year)
            || !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
            || hour > 23
            || minute > 59
            || second > 60
        {
            return None;
        }
        let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos(fraction)?)))
    }

    /// Year, month, day, hour, minute, second and nanosecond in UTC.
    fn civil(self) -> (i64, i64, i64, i64, i64, i64, i64) {
        let (seconds, nanos) = (self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000));
        let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        (year, month, day, clock / 3_600, clock / 60 % 60, clock % 60, nanos)
    }
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut out = [0; N];
    for slot in &mut out {
        *slot = digits(parts.next()?)?.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

fn nanos(fraction: &str) -> Option<i64> {
    let fraction = digits(fraction).filter(|fraction| fraction.len() <= 9)?;
    format!("{fraction:0<9}").parse().ok()
}

/// The text, if it holds nothing but digits.
fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
}

/// Days since the epoch of a date in the proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since the epoch (the same source, `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (years + era * 400 + i64::from(month <= 2), month, day)
}

/// RFC 3339 with milliseconds: `2026-11-23T22:10:07.123Z`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second, nanos) = self.civil();
        let millis = nanos / 1_000_000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_kubernetes_writes_and_prints_it_again() {
        for (text, printed) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
            ("2026-11-23T22:10:07Z", "2026-11-23T22:10:07.000Z"),
            ("2026-11-23T22:10:07.723745Z", "2026-11-23T22:10:07.723Z"),
            ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000Z"),
        ] {
            assert_eq!(Time::parse(text).unwrap().to_string(), printed);
        }
        assert_eq!(Time::parse("0001-01-01T00:00:00Z"), Some(Time(i64::MIN)));
        assert_eq!(Time::parse("9999-12-31T23:59:59Z"), Some(Time(i64::MAX)));
        for bad in [
            "",
            "123456789012-01-01T00:00:00Z",
            "2026-01-01T00:00:00.-1Z",
            "2026-11-23",
            "2026-11-23T22:10:07+01:00",
            "2026-13-01T00:00:00Z",
            "x-y-zT1:2:3Z",
        ] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        for day in -1_000..146_097 {
            let (year, month, date) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, date), day);
        }
    }

    #[test]
    fn json_keeps_every_nanosecond() {
        for time in [Time(0), Time(1_795_490_818_799_308_693), Time::from_secs(1_000)] {
            let json = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), time, "{json}");
        }
        assert_eq!(serde_json::to_string(&Time(1)).unwrap(), "\"1970-01-01T00:00:00.000000001Z\"");
        assert!(serde_json::from_str::<Time>("\"yesterday\"").is_err());
    }

    #[test]
    fn a_moment_ahead_is_no_time_ago() {
        assert_eq!(Time(5).since(Time(9)), Duration::ZERO);
        assert_eq!((Time(5) + Duration::from_nanos(4)).since(Time(5)), Duration::from_nanos(4));
    }
}
