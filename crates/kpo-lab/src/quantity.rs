//! `resource.Quantity`: `500m`, `1Gi`, `0.5` (`k8s.io/apimachinery/pkg/api/resource/quantity.go`).

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde_json::Value;

/// An amount of a resource, exact to a billionth. Prints canonically, as the API server stores it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    /// Billionths.
    nanos: i128,
    format: Format,
}

/// How it was written, and prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    /// With `k`, `M`, …
    #[default]
    Decimal,
    /// With `Ki`, `Mi`, …
    Binary,
    /// With `e3`, `e6`, …
    Exponent,
}

const ONE: i128 = 1_000_000_000;

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

impl Quantity {
    /// A whole amount.
    pub const fn whole(amount: i64) -> Quantity {
        Quantity { nanos: amount as i128 * ONE, format: Format::Decimal }
    }

    /// Reads a quantity. None where the text is none.
    pub fn parse(text: &str) -> Option<Quantity> {
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
        let (number, suffix) = digits.split_at(end);
        let (scale, format) = scale(suffix)?;
        let nanos = nanos(number, scale)?;
        Some(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// Reads a quantity from JSON: a string or a number.
    pub fn of(value: &Value) -> Option<Quantity> {
        match value {
            Value::String(text) => Quantity::parse(text),
            Value::Number(number) => Quantity::parse(&number.to_string()),
            _ => None,
        }
    }

    /// Thousandths, rounded up: how the scheduler counts CPU.
    pub fn millis(self) -> i64 {
        round_up(self.nanos, ONE / 1000)
    }

    /// The amount, rounded up: bytes, pods.
    pub fn value(self) -> i64 {
        round_up(self.nanos, ONE)
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// That of a sum: the binary one, if one of the two is.
    fn format_with(self, other: Quantity) -> Format {
        let binary = [self.format, other.format].contains(&Format::Binary);
        if binary { Format::Binary } else { Format::Decimal }
    }

    fn print_binary(self) -> String {
        let mut amount = i128::from(self.value());
        let mut power = 0;
        while power + 1 < BINARY.len() && amount != 0 && amount % 1024 == 0 {
            (amount, power) = (amount / 1024, power + 1);
        }
        format!("{amount}{}", BINARY[power])
    }

    fn print_decimal(self) -> String {
        let mut amount = self.nanos;
        let mut power = 0;
        while power + 1 < DECIMAL.len() && amount != 0 && amount % 1000 == 0 {
            (amount, power) = (amount / 1000, power + 1);
        }
        let exponent = 3 * i32::try_from(power).unwrap_or(0) - 9;
        match self.format {
            _ if amount == 0 => "0".to_owned(),
            Format::Exponent if exponent != 0 => format!("{amount}e{exponent}"),
            Format::Exponent => amount.to_string(),
            _ => format!("{amount}{}", DECIMAL[power]),
        }
    }
}

fn round_up(nanos: i128, unit: i128) -> i64 {
    let up = nanos.div_euclid(unit) + i128::from(nanos.rem_euclid(unit) != 0);
    i64::try_from(up).unwrap_or(i64::MAX)
}

/// What a suffix multiplies by, as (base, power), and the format that it is of.
fn scale(suffix: &str) -> Option<((i128, i32), Format)> {
    if let Some(power) = BINARY.iter().skip(1).position(|known| *known == suffix) {
        return Some(((1024, i32::try_from(power).ok()? + 1), Format::Binary));
    }
    if let Some(power) = DECIMAL.iter().position(|known| *known == suffix) {
        return Some(((1000, i32::try_from(power).ok()? - 3), Format::Decimal));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let power: i32 = exponent.parse().ok()?;
    (-30..=18).contains(&power).then_some(((10, power), Format::Exponent))
}

/// A plain decimal number times a scale, in billionths; what is finer is rounded up.
fn nanos(number: &str, (base, power): (i128, i32)) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 24 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let up = base.checked_pow(u32::try_from(power.max(0)).ok()?)?;
    let down = base.checked_pow(u32::try_from((-power).max(0)).ok()?)?;
    let down = down.checked_mul(10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let numerator = digits.checked_mul(ONE)?.checked_mul(up)?;
    Some(numerator.div_euclid(down) + i128::from(numerator.rem_euclid(down) != 0))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = self.nanos.abs() < 1024 * ONE;
        f.write_str(&if self.format == Format::Binary && !small { self.print_binary() } else { self.print_decimal() })
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        Quantity { nanos: self.nanos + other.nanos, format: self.format_with(other) }
    }
}

impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        Quantity { nanos: self.nanos - other.nanos, format: self.format_with(other) }
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(all: I) -> Quantity {
        all.fold(Quantity::default(), Add::add)
    }
}

/// A quantity's thousandths, rounded up. None where the text is none.
pub fn milli(text: &str) -> Option<i64> {
    Quantity::parse(text).map(Quantity::millis)
}

/// The thousandths of a JSON value, text or a plain number; 0 where there is no quantity.
pub fn of(value: &Value) -> i64 {
    Quantity::of(value).map_or(0, Quantity::millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_canonically() {
        let table = [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1024Mi", "1Gi"),
            ("512Mi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1e3"),
            ("1e2", "100"),
            ("15e5", "1500e3"),
            ("64", "64"),
            ("2000M", "2G"),
            ("0", "0"),
            ("1023Ki", "1023Ki"),
            ("0.5Ki", "512"),
            ("-1", "-1"),
        ];
        for (text, canonical) in table {
            let read = Quantity::parse(text).expect(text);
            assert_eq!(read.to_string(), canonical, "{text}");
        }
        for text in ["", "x", "1x", "1.2.3", "Gi", "1 Gi", "--1"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn counts_up() {
        let read = |text| Quantity::parse(text).expect("a quantity");
        assert_eq!(read("100m").value(), 1);
        assert_eq!(read("0.0001").millis(), 1);
        assert_eq!((read("1Gi") + read("1")).value(), (1 << 30) + 1);
        assert!(read("1G") < read("1Gi"));
    }
}
