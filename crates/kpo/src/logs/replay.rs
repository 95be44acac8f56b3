//! What was seen last, and how a second reading is joined to it.
//!
//! The kubelet filters a log by whole seconds, line by line, in the file's order. A second reading from a second that was seen already
//! therefore shows the lines seen in it, in the same order, and then new ones. They are known again by timestamp *and* content, counted,
//! since several lines may share a timestamp, and two streams of one container may swap theirs by some microseconds. Whatever stands
//! before a line that was seen was seen as well. If the last line seen does not come again, the file is another one.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use kpo_core::Time;

use super::batch::{LogBatch, LogLine};
use super::cursor::{self, LogCursor};

/// Bytes of log that are kept to know lines again (and the batch that exceeds them).
const KEPT: usize = 64 << 10;
/// By so much may the timestamps of neighbouring lines be out of order: stdout and stderr are stamped apart.
const DISORDER: Duration = Duration::from_millis(100);
/// Lines that may wait until it is clear whether they are new.
const HELD: usize = 256;

/// The end of what was handed on.
#[derive(Debug, Default)]
pub(super) struct Seen {
    batches: VecDeque<LogBatch>,
    size: usize,
    /// The latest time of lines that are no longer kept, and how many of these have it.
    floor: Option<(Time, u64)>,
    latest: Option<Time>,
    /// The last line, for others; at first, what another has seen.
    cursor: Option<LogCursor>,
}

impl Seen {
    /// What a reader has seen that has come so far.
    pub(super) fn up_to(cursor: LogCursor) -> Self {
        let floor = Some((cursor.time, u64::from(cursor.lines)));
        Self { floor, latest: Some(cursor.time), cursor: Some(cursor), ..Self::default() }
    }

    /// Time of the last line that was handed on.
    pub(super) fn last(&self) -> Option<Time> {
        self.cursor.map(|cursor| cursor.time)
    }

    /// How far that is.
    pub(super) fn cursor(&self) -> Option<LogCursor> {
        self.cursor
    }

    /// From which second on a second reading must ask to miss nothing; `None`: from the beginning.
    pub(super) fn since(&self) -> Option<Time> {
        let latest = self.latest? - DISORDER;
        Some(Time(latest.0.div_euclid(NANOS) * NANOS))
    }

    /// Remembers a batch that is handed on.
    pub(super) fn add(&mut self, batch: &LogBatch) {
        if batch.is_empty() {
            return;
        }
        self.cursor = LogCursor::after(batch, self.cursor);
        self.latest = batch.iter().map(|line| line.time).max().max(self.latest);
        self.size += batch.size();
        self.batches.push_back(batch.clone());
        while let Some(first) = self.batches.front().filter(|first| self.size - first.size() >= KEPT) {
            self.size -= first.size();
            let first = self.batches.pop_front().expect("it was there a moment ago");
            first.iter().for_each(|line| self.forget(line.time));
        }
    }

    fn forget(&mut self, time: Time) {
        self.floor = match self.floor {
            Some((floor, count)) if floor == time => Some((floor, count + 1)),
            Some((floor, count)) if floor > time => Some((floor, count)),
            _ => Some((time, 1)),
        };
    }

    /// Whether these are the last lines that were handed on. Where one stands among them twice that is not known: there may be more of them.
    pub(super) fn ends_with(&self, tail: &[LogBatch]) -> bool {
        let mut seen = self.batches.iter().rev().flat_map(|batch| batch.iter().rev()).map(|line| key(&line));
        let tail: Vec<Key> = tail.iter().flat_map(LogBatch::iter).map(|line| key(&line)).collect();
        let is_each_another = tail.iter().collect::<HashSet<_>>().len() == tail.len();
        !tail.is_empty() && is_each_another && tail.iter().rev().all(|key| seen.next() == Some(*key))
    }

    /// What a second reading has to be compared with; `None` if nothing was seen.
    pub(super) fn replay(&self) -> Option<Replay> {
        let Some(last) = self.batches.back().and_then(|batch| batch.iter().next_back().map(|line| key(&line))) else {
            return self.cursor.map(Replay::up_to);
        };
        let mut remaining = HashMap::new();
        for line in self.batches.iter().flat_map(LogBatch::iter) {
            *remaining.entry(key(&line)).or_insert(0) += 1;
        }
        let horizon = self.latest? + DISORDER;
        Some(Replay { remaining, last, floor: self.floor, horizon, held: Vec::new() })
    }
}

const NANOS: i64 = 1_000_000_000;

type Key = (Time, u32);

fn key(line: &LogLine<'_>) -> Key {
    (line.time, cursor::checksum(line.bytes, line.continues))
}

/// A second reading, until it has reached what was seen last.
#[derive(Debug)]
pub(super) struct Replay {
    remaining: HashMap<Key, u32>,
    last: Key,
    floor: Option<(Time, u64)>,
    /// A line later than this is new, whatever else.
    horizon: Time,
    held: Vec<LogBatch>,
}

/// What a batch of the second reading means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// Not there yet; nothing new.
    NotYet,
    /// The last line seen came again; the next line is new.
    Here {
        /// How many lines of the batch are old.
        old: usize,
    },
    /// The last line seen did not come again: this is another file, or a part of the log is gone.
    Torn,
}

/// What to do with one line.
enum Fate {
    Old,
    LastOld,
    Unknown,
    New,
}

impl Replay {
    /// What stands before that line is old: only that one is known.
    fn up_to(cursor: LogCursor) -> Self {
        let last = (cursor.time, cursor.checksum);
        let before = u64::from(cursor.lines.saturating_sub(1));
        let (remaining, floor) = (HashMap::from([(last, 1)]), Some((cursor.time, before)));
        Self { remaining, last, floor, horizon: cursor.time + DISORDER, held: Vec::new() }
    }

    /// Takes the next batch. After `Here` or `Torn` the replay is over; `held` and, from `Torn` on, this very batch's lines that are new
    /// are to be handed on.
    pub(super) fn join(&mut self, batch: &LogBatch) -> Joined {
        let mut unknown_from = None;
        for (index, line) in batch.iter().enumerate() {
            match self.fate(&line) {
                Fate::LastOld => {
                    self.held.clear();
                    return Joined::Here { old: index + 1 };
                }
                Fate::Old => {
                    self.held.clear();
                    unknown_from = None;
                }
                Fate::Unknown => unknown_from = unknown_from.or(Some(index)),
                Fate::New => {
                    self.held.push(batch.tail(unknown_from.unwrap_or(index)));
                    return Joined::Torn;
                }
            }
        }
        if let Some(index) = unknown_from {
            self.held.push(batch.tail(index));
        }
        if self.held.iter().map(LogBatch::len).sum::<usize>() > HELD { Joined::Torn } else { Joined::NotYet }
    }

    fn fate(&mut self, line: &LogLine<'_>) -> Fate {
        let key = key(line);
        if let Some((floor, count)) = &mut self.floor {
            if line.time < *floor && !self.remaining.contains_key(&key) {
                return Fate::Old;
            }
            if line.time == *floor && *count > 0 {
                *count -= 1;
                return Fate::Old;
            }
        }
        match self.remaining.get_mut(&key) {
            Some(count) if *count > 0 => {
                *count -= 1;
                if key == self.last && *count == 0 { Fate::LastOld } else { Fate::Old }
            }
            _ if line.time > self.horizon => Fate::New,
            _ => Fate::Unknown,
        }
    }

    /// Whether lines wait until it is clear that they are new.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// The lines that are new after all.
    pub(super) fn into_held(self) -> Vec<LogBatch> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::batch::Splitter;
    use bytes::Bytes;

    /// Lines as `<nanosecond> <content>`.
    fn batch(lines: &[(u32, &str)]) -> LogBatch {
        let text: String = lines.iter().map(|(at, line)| format!("2026-11-23T22:10:07.{at:09}Z {line}\n")).collect();
        Splitter::default().push(Bytes::from(text)).batches.pop().unwrap_or_default()
    }

    fn replay(seen: &[(u32, &str)]) -> Replay {
        let mut all = Seen::default();
        all.add(&batch(seen));
        all.replay().expect("something was seen")
    }

    fn held(replay: Replay) -> Vec<String> {
        let held = replay.into_held();
        held.iter().flat_map(LogBatch::iter).map(|l| String::from_utf8_lossy(l.bytes).into_owned()).collect()
    }

    #[test]
    fn the_tail_of_a_long_line_that_stands_before_what_was_seen_is_old() {
        // Its beginning lies in a second that was not asked for: the kubelet shows the entries that follow as a line of their own.
        let mut replay = replay(&[(1, "a long line"), (5, "next")]);
        assert_eq!(replay.join(&batch(&[(3, "line")])), Joined::NotYet);
        assert!(replay.is_holding());
        assert_eq!(replay.join(&batch(&[(5, "next"), (6, "new")])), Joined::Here { old: 1 });
        assert!(!replay.is_holding());
    }

    #[test]
    fn the_same_line_once_more_is_new() {
        let mut replay = replay(&[(1, "x"), (1, "x")]);
        assert_eq!(replay.join(&batch(&[(1, "x")])), Joined::NotYet);
        assert_eq!(replay.join(&batch(&[(1, "x"), (1, "x")])), Joined::Here { old: 1 });
    }

    #[test]
    fn after_a_rotation_all_is_new_that_does_not_stand_before_something_seen() {
        let mut replay = replay(&[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(replay.join(&batch(&[(2, "b"), (4, "d")])), Joined::NotYet);
        assert_eq!(replay.join(&batch(&[(5, "e"), (100_000_004, "f"), (100_000_005, "g")])), Joined::Torn);
        assert_eq!(held(replay), ["d", "e", "f", "g"]);
    }

    #[test]
    fn what_is_no_longer_kept_is_known_by_its_time_and_number() {
        let mut seen = Seen::default();
        let long = "x".repeat(KEPT);
        seen.add(&batch(&[(1, "a"), (2, "b"), (2, "c")]));
        seen.add(&batch(&[(2, &long)]));
        assert_eq!(seen.floor.map(|(time, count)| (time.0 % 1_000_000_000, count)), Some((2, 2)));
        let mut replay = seen.replay().expect("something was seen");
        assert_eq!(replay.join(&batch(&[(1, "a"), (2, "b"), (2, "c")])), Joined::NotYet);
        assert!(!replay.is_holding());
        assert_eq!(replay.join(&batch(&[(2, &long), (2, "d")])), Joined::Here { old: 1 });
    }

    #[test]
    fn the_memory_of_a_stream_is_bounded() {
        let mut seen = Seen::default();
        for at in 0..1000 {
            seen.add(&batch(&[(at, &"x".repeat(1000))]));
            assert!(seen.size < KEPT + 1100);
        }
    }
}
