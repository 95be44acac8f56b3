//! One file of a log: bytes in the CRI format that only grow, in memory or on disk.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Stream;
use super::encode::{self, HEADER};
use crate::time::Time;

/// Made-up lines, each `line 000000000042 xxxx…`, for logs that are larger than memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogVolume {
    /// Bytes of a line without its newline; at least 18, what the number takes.
    pub width: u32,
    /// When line 0 is written.
    pub start: Time,
    /// From one line to the next; zero for all at once.
    pub every: Duration,
    /// Where they are written to.
    pub stream: Stream,
}

impl LogVolume {
    /// When the line with this number is written.
    pub fn time_of(&self, number: u64) -> Time {
        let nanos = u128::from(number) * self.every.as_nanos();
        Time(self.start.0.saturating_add(i64::try_from(nanos).unwrap_or(i64::MAX)))
    }

    fn text_width(&self) -> usize {
        self.width.max(18) as usize
    }

    /// How many lines from this number on are written before the next look.
    pub(super) fn lines_until(&self, number: u64, looked: Time, every: Duration) -> u64 {
        let left = u128::try_from(self.time_of(number).0 - looked.0).map_or(0, |past| every.as_nanos() - past);
        left.checked_div(self.every.as_nanos()).map_or(u64::MAX, |lines| u64::try_from(lines).unwrap_or(u64::MAX))
    }

    /// Bytes of a line in the file.
    pub(super) fn line_size(&self) -> u64 {
        (HEADER + self.text_width() + 1) as u64
    }

    fn render(&self, out: &mut Vec<u8>, number: u64) {
        encode::header(out, self.time_of(number), self.stream, b'F');
        encode::made_up(out, number, self.text_width());
        out.push(b'\n');
    }
}

/// A file of a log. Appended to by one writer (the log's lock), read at offsets by anyone.
#[derive(Debug)]
pub(super) struct LogFile {
    body: Body,
    len: AtomicU64,
}

#[derive(Debug)]
enum Body {
    Memory(Mutex<Vec<Segment>>),
    Disk(File),
}

/// A stretch of a file in memory, at an offset.
#[derive(Debug)]
struct Segment {
    start: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Text(Vec<u8>),
    Volume { volume: LogVolume, first: u64, count: u64 },
}

impl LogFile {
    pub(super) fn in_memory() -> Self {
        Self { body: Body::Memory(Mutex::default()), len: AtomicU64::new(0) }
    }

    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self { body: Body::Disk(file), len: AtomicU64::new(0) })
    }

    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Appends whole lines. A disk that takes no more loses them, as it would a container runtime, and says so.
    pub(super) fn push(&self, text: &[u8]) {
        match &self.body {
            Body::Memory(segments) => push_text(&mut lock(segments), self.len(), text),
            Body::Disk(file) => {
                if let Err(error) = write_at(file, text, self.len()) {
                    tracing::warn!(%error, "lines of a container's log could not be stored");
                    return;
                }
            }
        }
        self.len.fetch_add(text.len() as u64, Ordering::Release);
    }

    /// Appends made-up lines: in memory their description, on disk themselves.
    pub(super) fn push_volume(&self, volume: &LogVolume, first: u64, count: u64) {
        match &self.body {
            Body::Memory(segments) => {
                push_volume(&mut lock(segments), self.len(), volume, first, count);
                self.len.fetch_add(count * volume.line_size(), Ordering::Release);
            }
            Body::Disk(_) => {
                let mut text = Vec::new();
                for number in first..first + count {
                    volume.render(&mut text, number);
                    if text.len() >= 1 << 20 || number + 1 == first + count {
                        self.push(&text);
                        text.clear();
                    }
                }
            }
        }
    }

    /// Reads up to `max` bytes at `offset`; fewer only at the file's end.
    pub(super) fn read_at(&self, offset: u64, max: usize) -> Vec<u8> {
        let max = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX).min(max);
        match &self.body {
            Body::Memory(segments) => read_segments(&lock(segments), offset, max),
            Body::Disk(file) => read_exact_at(file, offset, max).unwrap_or_else(|error| {
                tracing::warn!(%error, "a container's log could not be read");
                Vec::new()
            }),
        }
    }

    /// The offset at which the last `lines` lines begin (`findTailLineStartIndex` in `pkg/kubelet/kuberuntime/logs`:
    /// a part of a line counts as one).
    pub(super) fn tail_offset(&self, lines: u64) -> u64 {
        const BLOCK: u64 = 16 << 10;
        let mut end = self.len();
        if lines == 0 {
            return end;
        }
        // The newline that ends the last line is none between two lines.
        let mut left = lines.saturating_add(1);
        while end > 0 {
            let start = end.saturating_sub(BLOCK);
            let block = self.read_at(start, (end - start) as usize);
            for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                left -= 1;
                if left == 0 {
                    return start + index as u64 + 1;
                }
            }
            end = start;
        }
        0
    }
}

fn lock(segments: &Mutex<Vec<Segment>>) -> MutexGuard<'_, Vec<Segment>> {
    segments.lock().unwrap_or_else(PoisonError::into_inner)
}

fn push_text(segments: &mut Vec<Segment>, start: u64, text: &[u8]) {
    match segments.last_mut() {
        Some(Segment { content: Content::Text(buffer), .. }) => buffer.extend_from_slice(text),
        _ => segments.push(Segment { start, content: Content::Text(text.to_vec()) }),
    }
}

fn push_volume(segments: &mut Vec<Segment>, start: u64, volume: &LogVolume, first: u64, count: u64) {
    if let Some(last) = segments.last_mut()
        && last.content.extend(volume, first, count)
    {
        return;
    }
    let content = Content::Volume { volume: *volume, first, count };
    segments.push(Segment { start, content });
}

fn read_segments(segments: &[Segment], offset: u64, max: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(max);
    let from = segments.partition_point(|segment| segment.start <= offset).saturating_sub(1);
    for segment in &segments[from..] {
        if out.len() >= max {
            break;
        }
        let skip = (offset + out.len() as u64).saturating_sub(segment.start);
        segment.content.copy(skip, max - out.len(), &mut out);
    }
    out
}

impl Content {
    /// Makes the volume longer by what follows it directly; false where it does not.
    fn extend(&mut self, added: &LogVolume, next: u64, more: u64) -> bool {
        match self {
            Self::Volume { volume, first, count } if volume == added && *first + *count == next => {
                *count += more;
                true
            }
            _ => false,
        }
    }

    /// Copies up to `max` bytes from `skip` on.
    fn copy(&self, skip: u64, max: usize, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                let rest = text.get(skip as usize..).unwrap_or_default();
                out.extend_from_slice(&rest[..rest.len().min(max)]);
            }
            Self::Volume { volume, first, count } => {
                let end = out.len() + max;
                let mut number = first + skip / volume.line_size();
                let mut cut = (skip % volume.line_size()) as usize;
                while out.len() < end && number < first + count {
                    let start = out.len();
                    volume.render(out, number);
                    out.drain(start..start + std::mem::take(&mut cut));
                    number += 1;
                }
                out.truncate(end);
            }
        }
    }
}

/// Renames the file aside and begins a new one; keeps `max_files` in all.
pub(super) fn rotate(
    path: &Path,
    at: Time,
    generation: u64,
    rotated: &mut VecDeque<PathBuf>,
    max_files: usize,
) -> io::Result<LogFile> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}-{generation}", at.0));
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside)?;
    rotated.push_back(aside);
    while rotated.len() + 1 > max_files.max(1) {
        if let Some(oldest) = rotated.pop_front() {
            fs::remove_file(oldest)?;
        }
    }
    LogFile::create(path)
}

#[cfg(unix)]
fn write_at(file: &File, text: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, text, offset)
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; count];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut buffer, offset)?;
    Ok(buffer)
}
