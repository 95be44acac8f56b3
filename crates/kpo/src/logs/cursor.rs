//! How far somebody has read a log, for somebody else to go on: another process, or another language.

use super::batch::LogBatch;
use flate2::Crc;
use kpo_core::{Time, marks};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The last line that a reader has handled. As JSON: `[time, lines, checksum]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i64, u32, u32)", into = "(i64, u32, u32)")]
pub struct LogCursor {
    /// Its time.
    pub time: Time,
    /// How many lines of that very time there were, itself included.
    pub lines: u32,
    /// CRC-32 (as in gzip) of its bytes, and of a byte 1 behind them where it continues the record before.
    pub checksum: u32,
}

/// How far a reader has come in the logs of a pod: what the annotation `kpo.rs/read` holds, one reader's at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogNote {
    /// Who: whatever tells readers apart.
    pub reader: String,
    /// By container.
    pub logs: BTreeMap<String, LogCursor>,
}

impl LogNote {
    /// What this reader has noted on a pod. `None`: nothing, or nothing that can be read.
    pub fn of(pod: &Value, reader: &str) -> Option<Self> {
        let noted = pod["metadata"]["annotations"][marks::READ].as_str()?;
        serde_json::from_str(noted).ok().filter(|note: &Self| note.reader == reader)
    }
}

impl LogCursor {
    /// After these lines; `before`: after those before them. `None`: there was none.
    pub(super) fn after(batch: &LogBatch, before: Option<Self>) -> Option<Self> {
        let Some(last) = batch.iter().next_back() else { return before };
        let of_its_time = batch.iter().filter(|line| line.time == last.time).count();
        let earlier = before.filter(|cursor| cursor.time == last.time).map_or(0, |cursor| cursor.lines);
        let lines = u32::try_from(of_its_time).unwrap_or(u32::MAX).saturating_add(earlier);
        Some(Self { time: last.time, lines, checksum: checksum(last.bytes, last.continues) })
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
