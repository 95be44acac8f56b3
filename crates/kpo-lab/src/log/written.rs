//! All that a container wrote, whatever was rotated away: what tests compare with what a client got.

use super::encode::{HEADER, STAMP};
use super::file::LogFile;
use super::{ContainerLog, Stream};
use crate::time::Time;

/// Bytes of a file that are looked at at once.
const BLOCK: usize = 1 << 20;

/// One line that a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its timestamp: of a long line, its first part's.
    pub at: Time,
    /// Where to.
    pub stream: Stream,
    /// What, without its line feed.
    pub text: Vec<u8>,
    /// In which of the log's files it begins, counted from 0.
    pub file: usize,
}

impl ContainerLog {
    /// Keeps from now on what is rotated away, for [`ContainerLog::written`]. No reader sees it.
    pub fn keep_all(&self) {
        self.lock().kept.get_or_insert_default();
    }

    /// All lines so far, in their order: those of the current file, and where they are kept, of all before it.
    pub fn written(&self) -> Vec<Written> {
        let files: Vec<_> = {
            let state = self.lock();
            state.kept.iter().flatten().chain([&state.current]).cloned().collect()
        };
        let mut lines = Lines::default();
        for (number, file) in files.iter().enumerate() {
            lines.file = number;
            lines.read(file);
        }
        lines.whole
    }
}

#[derive(Default)]
struct Lines {
    whole: Vec<Written>,
    /// Which file is being read.
    file: usize,
    /// Whether the last line of a stream goes on in the next part: its place.
    open: [Option<usize>; 2],
}

impl Lines {
    fn read(&mut self, file: &LogFile) {
        let (mut offset, mut rest) = (0, Vec::new());
        loop {
            let block = file.read_at(offset, BLOCK);
            if block.is_empty() {
                return;
            }
            offset += block.len() as u64;
            rest.extend_from_slice(&block);
            let mut from = 0;
            while let Some(end) = rest[from..].iter().skip(HEADER).position(|byte| *byte == b'\n') {
                self.add(&rest[from..from + HEADER + end]);
                from += HEADER + end + 1;
            }
            rest.drain(..from);
        }
    }

    /// One entry, without its line feed.
    fn add(&mut self, entry: &[u8]) {
        let (header, text) = entry.split_at(HEADER);
        let stream = if header[STAMP + 1..].starts_with(b"stdout") { Stream::Stdout } else { Stream::Stderr };
        let open = &mut self.open[stream as usize];
        match *open {
            Some(at) => self.whole[at].text.extend_from_slice(text),
            None => {
                let at = std::str::from_utf8(&header[..STAMP]).ok().and_then(Time::parse).unwrap_or_default();
                self.whole.push(Written { at, stream, text: text.to_vec(), file: self.file });
            }
        }
        let partial = header[HEADER - 2] == b'P';
        *open = partial.then(|| open.unwrap_or(self.whole.len() - 1));
    }
}
