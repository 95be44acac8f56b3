//! Reading a log as the kubelet does (`pkg/kubelet/kuberuntime/logs/logs.go`, `ReadLogs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::encode::{HEADER, STAMP, stamp};
use super::file::LogFile;
use super::{ContainerLog, PARTIAL_LIMIT, Stream};
use crate::time::Time;

/// Bytes of the file that one read looks at: always at least one whole line.
const BLOCK: usize = 4 * (PARTIAL_LIMIT + HEADER + 1);

/// What of a log is wanted; the default is all of the current file, without timestamps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Begin this many lines before the end (a part of a long line counts as a line, as at the kubelet).
    pub tail: Option<u64>,
    /// Leave out lines (and parts) before this time. See [`LogOptions::since_time`] and [`LogOptions::since_seconds`].
    pub since: Option<Time>,
    /// End after this many bytes, timestamps included, in the middle of a line if need be.
    pub limit_bytes: Option<u64>,
    /// Put each line's timestamp and a space before it; parts within a line have none.
    pub timestamps: bool,
    /// Go on until the container has ended. What of rotations a follower sees, and misses, is the kubelet's way.
    pub follow: bool,
    /// One stream only; None for both, as they came.
    pub stream: Option<Stream>,
}

impl LogOptions {
    /// `sinceTime`: whole seconds, the fraction is cut off on the way to the kubelet.
    pub fn since_time(mut self, time: Time) -> Self {
        self.since = Some(Time(time.0 - time.0.rem_euclid(1_000_000_000)));
        self
    }

    /// `sinceSeconds`: counted from the kubelet's clock, with its fraction.
    pub fn since_seconds(mut self, now: Time, seconds: u64) -> Self {
        let nanos = i64::try_from(Duration::from_secs(seconds).as_nanos()).unwrap_or(i64::MAX);
        self.since = Some(Time(now.0.saturating_sub(nanos)));
        self
    }
}

/// What a read without waiting gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRead {
    /// Some of the log, never empty.
    Data(Bytes),
    /// Nothing yet (only when following).
    Pending,
    /// Nothing more.
    End,
}

/// A position in a log. Holds no lock; keeps the file that it has open, also when that was rotated or removed.
#[derive(Debug)]
pub struct LogReader {
    log: Arc<ContainerLog>,
    file: Arc<LogFile>,
    offset: u64,
    options: LogOptions,
    since: Option<Vec<u8>>,
    /// Lines still to be shown; counted only without follow, as at the kubelet.
    lines_left: Option<u64>,
    bytes_left: u64,
    at_line_start: bool,
    /// How many rotations it has been told of; None until it has come to an end of its file for the first time, from when on it is told.
    told: Option<u64>,
    /// It knows that the container has ended.
    ended: bool,
}

impl LogReader {
    pub(super) fn new(log: Arc<ContainerLog>, options: LogOptions) -> Self {
        let (file, ..) = log.current();
        let offset = options.tail.map_or(0, |lines| file.tail_offset(lines));
        let since = options.since.map(|time| {
            let mut text = Vec::with_capacity(STAMP);
            stamp(&mut text, time);
            text
        });
        Self {
            lines_left: options.tail.filter(|_| !options.follow),
            bytes_left: options.limit_bytes.unwrap_or(u64::MAX),
            log,
            file,
            offset,
            options,
            since,
            at_line_start: true,
            told: None,
            ended: false,
        }
    }

    /// The next piece, waiting for it if the reader follows; None at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.read() {
                LogRead::Data(bytes) => return Some(bytes),
                LogRead::End => return None,
                LogRead::Pending => {}
            }
            let log = Arc::clone(&self.log);
            let mut changed = std::pin::pin!(log.changed.notified());
            changed.as_mut().enable();
            // What was appended between the read and the registration is not announced again.
            match self.read() {
                LogRead::Data(bytes) => return Some(bytes),
                LogRead::End => return None,
                LogRead::Pending => changed.await,
            }
        }
    }

    /// The next piece, if there is one now.
    pub fn read(&mut self) -> LogRead {
        loop {
            if self.bytes_left == 0 || self.lines_left == Some(0) {
                return LogRead::End;
            }
            // Asked before reading: what was appended before a rotation is then in this file.
            let now = self.log.current();
            let block = self.file.read_at(self.offset, BLOCK);
            if block.is_empty() {
                match self.at_the_end(now) {
                    Some(end) => return end,
                    None => continue,
                }
            }
            let text = self.render(&block);
            if !text.is_empty() {
                return LogRead::Data(text.into());
            }
        }
    }

    /// The end of the file that is open (`waitLogs`): a follower waits to be told of what changes; None: it reads on. At first it only begins to
    /// be told, so it never learns of rotations before that. Each one it is told of it takes for one that just happened, and opens the newest
    /// file, from its beginning. When the container has ended it reads the file that it has open, and no other.
    fn at_the_end(&mut self, (current, rotations, closed): (Arc<LogFile>, u64, bool)) -> Option<LogRead> {
        if !self.options.follow || self.ended {
            return Some(LogRead::End);
        }
        match self.told {
            None => self.told = Some(rotations),
            Some(_) if closed => self.ended = true,
            Some(told) if told < rotations => (self.told, self.file, self.offset) = (Some(told + 1), current, 0),
            Some(_) => return Some(LogRead::Pending),
        }
        None
    }

    /// Renders the whole lines of a block and moves behind them.
    fn render(&mut self, block: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(block.len());
        let mut rest = block;
        while let Some(end) = rest.iter().skip(HEADER).position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(HEADER + end + 1);
            self.offset += line.len() as u64;
            rest = after;
            self.render_line(line, &mut text);
            if self.bytes_left == 0 || self.lines_left == Some(0) {
                break;
            }
        }
        text
    }

    fn render_line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let (header, content) = line.split_at(HEADER);
        let partial = header[HEADER - 2] == b'P';
        let content = if partial { &content[..content.len() - 1] } else { content };
        let start = out.len();
        if self.wanted(header) {
            if self.options.timestamps && self.at_line_start {
                out.extend_from_slice(&header[..=STAMP]);
            }
            out.extend_from_slice(content);
        }
        let room = usize::try_from(self.bytes_left).unwrap_or(usize::MAX);
        out.truncate(start.saturating_add(room));
        self.bytes_left -= (out.len() - start) as u64;
        self.lines_left = self.lines_left.map(|left| left - 1);
        self.at_line_start = content.last().is_none_or(|byte| *byte == b'\n');
    }

    fn wanted(&self, header: &[u8]) -> bool {
        let late_enough = self.since.as_ref().is_none_or(|since| &header[..STAMP] >= since.as_slice());
        let stream = if header[STAMP + 1..].starts_with(b"stdout") { Stream::Stdout } else { Stream::Stderr };
        late_enough && self.options.stream.is_none_or(|wanted| wanted == stream)
    }
}
