//! Whether an unbroken follow may have been overtaken by rotations.
//!
//! A kubelet's reader that comes to the end of a file after a rotation opens the newest one (`cri-client/pkg/logs/logs.go`, `ReadLogs`). Files that were
//! written and rotated away in between are skipped, and nothing in the API says so. What shows is a pause between two lines that is no pause: after a
//! real one the follow, which had nothing to do in the meantime, would not be late. Where the runtime cuts a line at a rotation (containerd 1.6), the line
//! before the pause is the beginning of one and the end of another.

use std::time::Duration;

use kpo_core::Time;
use tokio::time::Instant;

use super::batch::LogBatch;

/// A skipped file took at least so long: a kubelet looks for what is to be rotated every 10 s, and not more often than every 3 s
/// (`containerLogMonitorInterval`).
const PAUSE: Duration = Duration::from_secs(3);
/// By so much more than at its best is a follow late that is behind.
const LATE: Duration = Duration::from_secs(2);

/// So many bytes without a pause come before it: a program that fills files faster than they are read does not do so line by line. One that writes now and
/// then, and whose reader was held up, is late too.
const STRETCH: usize = 1 << 20;

/// How far a follow is behind, by the times of its lines.
#[derive(Debug)]
pub(super) struct Pace {
    /// When it was opened, by this machine's clock. What is older was in one file then.
    opened: Time,
    at: Instant,
    last: Option<Time>,
    /// Bytes since the last pause.
    stretch: usize,
    /// The least time that a line took to get here, together with what the clocks differ by.
    least: Option<i64>,
    /// By how much the last line was late.
    late: Duration,
}

impl Pace {
    /// Of a follow that is opened now.
    pub(super) fn new(now: Time) -> Self {
        Self { opened: now, at: Instant::now(), last: None, stretch: 0, least: None, late: Duration::ZERO }
    }

    /// Whether the last line came so late that a file may have been written and rotated away since, even where nothing comes any more.
    pub(super) fn is_late(&self) -> bool {
        self.late >= PAUSE
    }

    /// The first line of the batch, which has just come, before which lines may have been skipped.
    pub(super) fn overtaken(&mut self, batch: &LogBatch) -> Option<usize> {
        let now = self.opened + self.at.elapsed();
        let mut found = None;
        for (index, line) in batch.iter().enumerate() {
            let took = now.0.saturating_sub(line.time.0);
            let late = took.saturating_sub(self.least.unwrap_or(took));
            self.late = Duration::from_nanos(u64::try_from(late).unwrap_or(0));
            if self.last.is_some_and(|last| line.time.since(last) >= PAUSE) {
                let behind = self.late >= LATE && self.stretch >= STRETCH && line.time > self.opened;
                found = found.or(behind.then_some(index));
                self.stretch = 0;
            }
            self.stretch += line.bytes.len();
            self.least = Some(self.least.map_or(took, |least| least.min(took)));
            self.last = Some(line.time);
        }
        found
    }
}
