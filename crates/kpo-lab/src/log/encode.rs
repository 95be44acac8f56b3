//! From what a container writes to lines in the CRI format.

use super::Stream;
use crate::time::Time;

/// The longest part of a line in bytes: `max_container_log_line_size`, containerd's default. A longer line is kept in
/// parts, all but its last tagged `P`.
pub const PARTIAL_LIMIT: usize = 16 << 10;

/// Length of a timestamp, `2006-01-02T15:04:05.000000000Z`.
pub(super) const STAMP: usize = 30;

/// Length of what precedes a line's text: timestamp, stream, tag, each with a space.
pub(super) const HEADER: usize = STAMP + 1 + 6 + 1 + 1 + 1;

/// Splits both streams into lines; keeps the beginning of a line that has not ended.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    pending: [Vec<u8>; 2],
    clock: Clock,
}

/// The timestamps of lines.
#[derive(Debug, Default)]
struct Clock {
    last: Time,
    distinct: bool,
}

impl Clock {
    fn stamp(&mut self, at: Time) -> Time {
        self.last = if self.distinct { at.max(Time(self.last.0 + 1)) } else { at };
        self.last
    }
}

impl Encoder {
    /// One that gives each line a timestamp of its own, later than the one before: what a clock does that is read for
    /// every line.
    pub(super) fn distinct() -> Self {
        Self { clock: Clock { distinct: true, ..Clock::default() }, ..Self::default() }
    }

    /// Encodes what is complete; a line's beginning waits for its end.
    pub(super) fn encode(&mut self, at: Time, stream: Stream, mut bytes: &[u8]) -> Vec<u8> {
        let (pending, clock) = (&mut self.pending[stream as usize], &mut self.clock);
        let mut text = Vec::with_capacity(bytes.len() + bytes.len() / 2 + HEADER);
        while !bytes.is_empty() {
            let window = &bytes[..bytes.len().min(PARTIAL_LIMIT + 1 - pending.len())];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    put(&mut text, clock.stamp(at), stream, b'F', pending, &bytes[..end]);
                    bytes = &bytes[end + 1..];
                }
                None if pending.len() + window.len() > PARTIAL_LIMIT => {
                    let (part, rest) = bytes.split_at(PARTIAL_LIMIT - pending.len());
                    put(&mut text, clock.stamp(at), stream, b'P', pending, part);
                    bytes = rest;
                }
                None => {
                    pending.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                }
            }
        }
        text
    }

    /// What was left without a newline at the container's end: parts, as containerd keeps it.
    pub(super) fn finish(&mut self, at: Time) -> Vec<u8> {
        let mut text = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = &mut self.pending[stream as usize];
            if !pending.is_empty() {
                put(&mut text, self.clock.stamp(at), stream, b'P', pending, b"");
            }
        }
        text
    }
}

/// One line of the file: header, what was pending, the text. Pending is empty afterwards.
fn put(out: &mut Vec<u8>, at: Time, stream: Stream, tag: u8, pending: &mut Vec<u8>, text: &[u8]) {
    header(out, at, stream, tag);
    out.append(pending);
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// `<timestamp> <stream> <tag> `: [`HEADER`] bytes.
pub(super) fn header(out: &mut Vec<u8>, at: Time, stream: Stream, tag: u8) {
    stamp(out, at);
    out.extend_from_slice(match stream {
        Stream::Stdout => b" stdout ",
        Stream::Stderr => b" stderr ",
    });
    out.extend_from_slice(&[tag, b' ']);
}

/// A timestamp with nine digits of fraction, as `kubectl logs --timestamps` shows it (`RFC3339NanoFixed` in
/// `pkg/kubelet/types`). Of fixed width, so that comparing bytes compares times.
pub(super) fn stamp(out: &mut Vec<u8>, at: Time) {
    let (seconds, nanos) = (at.0.div_euclid(1_000_000_000), at.0.rem_euclid(1_000_000_000));
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    digits(&mut text[..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], of_day / 3600);
    digits(&mut text[14..16], of_day / 60 % 60);
    digits(&mut text[17..19], of_day % 60);
    digits(&mut text[20..29], nanos);
    out.extend_from_slice(&text);
}

/// Writes a number into all of `place`, with zeros before it.
fn digits(place: &mut [u8], mut value: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`). Formatting by hand is what keeps a million lines cheap.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The text of a made-up line: `line 000000000042 ` and `x` up to `width` bytes.
pub(super) fn made_up(out: &mut Vec<u8>, number: u64, width: usize) {
    let end = out.len() + width;
    let mut text = *b"line 000000000000 ";
    digits(&mut text[5..17], number as i64);
    out.extend_from_slice(&text);
    out.resize(end, b'x');
}
