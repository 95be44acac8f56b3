//! A container's log: what the kubelet's `/containerLogs` reads.
//!
//! Lines are kept in the CRI format (`2026-11-24T01:02:03.000000004Z stdout F text`), in memory for scripted containers,
//! in a file for processes, and rotated at a size. Only the current file can be opened; a reader keeps the file that it
//! has open. **Readers never hold a lock while their consumer is slow**: they copy a block out, then render it.

mod encode;
mod file;
mod reader;
mod written;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::time::Time;
use encode::Encoder;
use file::LogFile;

pub use encode::PARTIAL_LIMIT;
pub use file::LogVolume;
pub use reader::{LogOptions, LogRead, LogReader};
pub use written::Written;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// When a log rotates, and how many files are kept (`containerLogMaxSize`, `containerLogMaxFiles`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes from which on a new file is begun at the next look.
    pub max_bytes: u64,
    /// Files kept, the current one included; at least 1. None but the current one can be read through the API.
    pub max_files: usize,
    /// From one look at the size to the next (`containerLogMonitorInterval`): a file grows on meanwhile.
    pub every: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_bytes: 10 << 20, max_files: 5, every: Duration::from_secs(10) }
    }
}

impl Rotation {
    /// One file without end.
    pub const NEVER: Self = Self { max_bytes: u64::MAX, max_files: 1, every: Duration::MAX };
}

/// The log of one container, written by its runtime, read by any number of readers.
#[derive(Debug)]
pub struct ContainerLog {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    current: Arc<LogFile>,
    /// Rotations so far: how a follower notices that its file is no longer the current one.
    generation: u64,
    closed: bool,
    encoder: Encoder,
    rotation: Rotation,
    /// When its size was last looked at. None: nothing was written yet.
    looked: Option<Time>,
    /// Where the files are; None in memory.
    path: Option<PathBuf>,
    rotated: VecDeque<PathBuf>,
    /// All files before the current one, where they are kept ([`ContainerLog::keep_all`]).
    kept: Option<Vec<Arc<LogFile>>>,
}

impl ContainerLog {
    /// An empty log in memory.
    pub fn in_memory(rotation: Rotation) -> Arc<Self> {
        Self::with_file(LogFile::in_memory(), Encoder::default(), None, rotation)
    }

    /// An empty log in the file `path`, which is created; rotated ones lie beside it with the time in their names. Lines that
    /// are written at once get timestamps a nanosecond apart: a runtime that reads its clock for each line gives none twice.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn in_file(path: &Path, rotation: Rotation) -> io::Result<Arc<Self>> {
        Ok(Self::with_file(LogFile::create(path)?, Encoder::distinct(), Some(path.to_owned()), rotation))
    }

    fn with_file(file: LogFile, encoder: Encoder, path: Option<PathBuf>, rotation: Rotation) -> Arc<Self> {
        let state = State {
            current: Arc::new(file),
            generation: 0,
            closed: false,
            encoder,
            rotation,
            looked: None,
            path,
            rotated: VecDeque::new(),
            kept: None,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Appends bytes as a container wrote them. A line is complete at its newline; what is longer than
    /// [`PARTIAL_LIMIT`] is kept in parts, the rest waits for its end.
    pub fn write(&self, at: Time, stream: Stream, bytes: &[u8]) {
        self.append(|state| state.write(at, stream, bytes));
    }

    /// Appends one line; `text` has no newline at its end.
    pub fn line(&self, at: Time, stream: Stream, text: &str) {
        self.append(|state| {
            state.write(at, stream, text.as_bytes());
            state.write(at, stream, b"\n");
        });
    }

    /// Appends `count` lines of a made-up volume, from number `first` on. In memory they take no room.
    pub fn generate(&self, volume: &LogVolume, first: u64, count: u64) {
        self.append(|state| state.generate(volume, first, count));
    }

    /// Begins a new file, as `containerLogMaxSize` would.
    pub fn rotate(&self, at: Time) {
        self.append(|state| state.rotate(at));
    }

    /// Ends the log: a last line without newline is kept as a part, and followers end after what is left.
    pub fn close(&self, at: Time) {
        self.append(|state| {
            state.flush_partial(at);
            state.closed = true;
        });
    }

    /// A reader from where the options say.
    pub fn reader(self: &Arc<Self>, options: LogOptions) -> LogReader {
        LogReader::new(Arc::clone(self), options)
    }

    /// The last `lines` lines of the current file, without timestamps.
    pub fn last(self: &Arc<Self>, lines: u64) -> Vec<u8> {
        let mut reader = self.reader(LogOptions { tail: Some(lines), ..LogOptions::default() });
        let mut text = Vec::new();
        while let LogRead::Data(bytes) = reader.read() {
            text.extend_from_slice(&bytes);
        }
        text
    }

    /// Size of the current file in bytes, headers included.
    pub fn len(&self) -> u64 {
        self.lock().current.len()
    }

    /// Whether the current file is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn append(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current file, its generation, and whether the log is closed, at one moment.
    fn current(&self) -> (Arc<LogFile>, u64, bool) {
        let state = self.lock();
        (Arc::clone(&state.current), state.generation, state.closed)
    }
}

impl State {
    fn write(&mut self, at: Time, stream: Stream, bytes: &[u8]) {
        if !self.closed && !bytes.is_empty() {
            let text = self.encoder.encode(at, stream, bytes);
            self.store(at, &text);
        }
    }

    fn flush_partial(&mut self, at: Time) {
        let text = self.encoder.finish(at);
        self.store(at, &text);
    }

    fn generate(&mut self, volume: &LogVolume, mut first: u64, mut count: u64) {
        while count > 0 && !self.closed {
            let looked = self.look(volume.time_of(first));
            let batch = volume.lines_until(first, looked, self.rotation.every).clamp(1, count);
            self.current.push_volume(volume, first, batch);
            first += batch;
            count -= batch;
        }
    }

    fn store(&mut self, at: Time, text: &[u8]) {
        if !text.is_empty() {
            self.look(at);
            self.current.push(text);
        }
    }

    /// What the kubelet's looks up to this moment have done; when the last one was.
    fn look(&mut self, at: Time) -> Time {
        let last = *self.looked.get_or_insert(at);
        let every = i64::try_from(self.rotation.every.as_nanos()).unwrap_or(i64::MAX).max(1);
        let looks = at.0.saturating_sub(last.0) / every;
        if looks < 1 {
            return last;
        }
        let looked = Time(last.0 + looks * every);
        self.looked = Some(looked);
        if self.current.len() >= self.rotation.max_bytes {
            self.rotate(looked);
        }
        looked
    }

    fn rotate(&mut self, at: Time) {
        let next = match &self.path {
            None => LogFile::in_memory(),
            Some(path) => match file::rotate(path, at, self.generation, &mut self.rotated, self.rotation.max_files) {
                Ok(file) => file,
                Err(error) => {
                    tracing::warn!(%error, "a container's log could not be rotated; it grows on");
                    self.rotation = Rotation::NEVER;
                    return;
                }
            },
        };
        let last = std::mem::replace(&mut self.current, Arc::new(next));
        if let Some(kept) = &mut self.kept {
            kept.push(last);
        }
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests;
