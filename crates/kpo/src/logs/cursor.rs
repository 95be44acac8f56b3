//! How far somebody has read a log, for somebody else to go on: another process, or another language.

use super::batch::{LogBatch, LogLine};
use flate2::Crc;
use kpo_core::Time;

/// The last line that a reader has handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCursor {
    /// Its time.
    pub time: Time,
    /// How many lines of that very time there were in a row, itself included.
    pub lines: u32,
    /// CRC-32 (as in gzip) of its bytes, and of a byte 1 behind them where it continues the record before.
    pub checksum: u32,
}

impl LogCursor {
    /// After these lines; `before`: after those before them. `None`: there was none. (Only the lines of the last one's time are looked at: each costs a
    /// checksum.)
    pub(super) fn after(batch: &LogBatch, before: Option<Self>) -> Option<Self> {
        let Some(last) = batch.iter().next_back() else { return before };
        let of_its_time = batch.iter().rev().take_while(|line| line.time == last.time).count();
        let before = before.filter(|_| of_its_time == batch.len());
        let earlier = batch.iter().skip(batch.len() - of_its_time);
        earlier.fold(before, |before, line| Some(Self::behind(&line, before)))
    }

    /// Behind one line more.
    pub(super) fn behind(line: &LogLine<'_>, before: Option<Self>) -> Self {
        let earlier = before.filter(|cursor| cursor.time == line.time).map_or(0, |cursor| cursor.lines);
        Self { time: line.time, lines: earlier.saturating_add(1), checksum: checksum(line.bytes, line.continues) }
    }
}

impl From<(i64, u32, u32)> for LogCursor {
    fn from((time, lines, checksum): (i64, u32, u32)) -> Self {
        Self { time: Time(time), lines, checksum }
    }
}

impl From<LogCursor> for (i64, u32, u32) {
    fn from(cursor: LogCursor) -> Self {
        (cursor.time.0, cursor.lines, cursor.checksum)
    }
}

pub(super) fn checksum(bytes: &[u8], continues: bool) -> u32 {
    let mut sum = Crc::new();
    sum.update(bytes);
    if continues {
        sum.update(&[1]);
    }
    sum.sum()
}
