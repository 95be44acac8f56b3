//! Lines in batches: from the chunks of a body, without copying what is whole.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kpo_core::Time;
use memchr::{memchr, memchr_iter};

use super::cursor::LogCursor;
use super::stamp::Stamps;

/// A line that is longer is handed on in pieces of this size, or up to three bytes less: where its bytes are UTF-8, no character is cut.
pub const PIECE: usize = 256 << 10;

/// Longest timestamp with its space.
const STAMP: usize = 36;

/// A line of a container's log, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When the container runtime took it (its node's clock).
    pub time: Time,
    /// What the container wrote, without the line feed; a carriage return is kept, nothing needs to be UTF-8.
    pub bytes: &'a [u8],
    /// These bytes go on where the record before stopped.
    pub continues: bool,
    /// No line feed follows: the line goes on in the next record, or the log ended without one.
    pub partial: bool,
}

/// Where a line lies in a batch.
#[derive(Clone, Copy, Debug)]
struct Span {
    time: Time,
    start: u32,
    end: u32,
    continues: bool,
    partial: bool,
}

/// Consecutive lines of one container. Clones share the bytes.
#[derive(Clone, Debug, Default)]
pub struct LogBatch {
    data: Bytes,
    spans: Arc<Vec<Span>>,
    /// How far its log was read before it.
    before: Option<LogCursor>,
}

impl LogBatch {
    /// How far its log was read with each of its lines.
    pub fn cursors(&self) -> impl Iterator<Item = LogCursor> {
        self.iter().scan(self.before, |before, line| {
            *before = Some(LogCursor::behind(&line, *before));
            *before
        })
    }

    pub(super) fn behind(self, before: Option<LogCursor>) -> Self {
        Self { before, ..self }
    }

    /// The lines, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = LogLine<'_>> + ExactSizeIterator {
        self.spans.iter().map(|span| LogLine {
            time: span.time,
            bytes: &self.data[span.start as usize..span.end as usize],
            continues: span.continues,
            partial: span.partial,
        })
    }

    /// How many lines (or pieces) it has.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether it has none. A batch that is handed out has at least one.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes that it keeps in memory.
    pub fn size(&self) -> usize {
        self.data.len()
    }

    /// The lines before this one.
    pub(super) fn head(&self, index: usize) -> Self {
        Self { data: self.data.clone(), spans: Arc::new(self.spans[..index].to_vec()), before: None }
    }

    /// The lines from this one on.
    pub(super) fn tail(&self, index: usize) -> Self {
        match index {
            0 => self.clone(),
            _ => Self { data: self.data.clone(), spans: Arc::new(self.spans[index..].to_vec()), before: None },
        }
    }
}

/// A part of the body that is no log line: the kubelet's own words, which carry no timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark(pub(super) String);

/// What a chunk gave.
#[derive(Debug, Default)]
pub(super) struct Split {
    pub(super) batches: Vec<LogBatch>,
    pub(super) remarks: Vec<Remark>,
}

/// Splits one body.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    stamps: Stamps,
    /// The beginning of a line whose end has not come.
    carry: BytesMut,
    /// The time of a line of which pieces were handed on already.
    within: Option<Time>,
}

impl Splitter {
    /// Takes a chunk of the body.
    pub(super) fn push(&mut self, mut chunk: Bytes) -> Split {
        let mut split = Split::default();
        while !self.carry.is_empty() || self.within.is_some() {
            match memchr(b'\n', &chunk) {
                Some(end) => {
                    self.carry.extend_from_slice(&chunk.split_to(end + 1)[..end]);
                    self.end_carried(&mut split, false);
                }
                None => {
                    self.carry.extend_from_slice(&chunk);
                    self.shed(&mut split);
                    return split;
                }
            }
        }
        self.whole_lines(chunk, &mut split);
        split
    }

    /// The body ended cleanly, and nothing will follow: a line without a line feed is the log's last.
    pub(super) fn finish(&mut self) -> Split {
        let mut split = Split::default();
        if !self.carry.is_empty() {
            self.end_carried(&mut split, true);
        }
        split
    }

    /// Whether the end of a line has not come yet; the kubelet's own words are none.
    pub(super) fn is_within_a_line(&self) -> bool {
        self.within.is_some() || Stamps::default().split(&self.carry).is_some()
    }

    /// Lines that lie in the chunk as a whole; the rest is carried.
    fn whole_lines(&mut self, chunk: Bytes, split: &mut Split) {
        let mut spans = Vec::new();
        let mut start = 0;
        for end in memchr_iter(b'\n', &chunk) {
            self.line(&chunk[..end], start, false, &mut spans, split);
            start = end + 1;
        }
        self.carry.extend_from_slice(&chunk[start..]);
        if !spans.is_empty() {
            split.batches.push(LogBatch { data: chunk, spans: Arc::new(spans), before: None });
        }
        self.shed(split);
    }

    /// The line from `start` to the end of `data`, in pieces if it is long. `open`: no line feed follows it.
    fn line(&mut self, data: &[u8], start: usize, open: bool, spans: &mut Vec<Span>, split: &mut Split) {
        let (time, mut at, mut continues) = match self.within.take() {
            Some(time) => (time, start, true),
            None => match self.stamps.split(&data[start..]) {
                Some((time, skip)) => (time, start + skip, false),
                None => {
                    split.remarks.push(Remark(String::from_utf8_lossy(&data[start..]).into_owned()));
                    return;
                }
            },
        };
        while data.len() - at > PIECE {
            let end = at + piece_of(&data[at..]);
            spans.push(span(time, at, end, continues, true));
            (at, continues) = (end, true);
        }
        spans.push(span(time, at, data.len(), continues, open));
    }

    /// The carried line is complete.
    fn end_carried(&mut self, split: &mut Split, open: bool) {
        let data = std::mem::take(&mut self.carry).freeze();
        let mut spans = Vec::new();
        self.line(&data, 0, open, &mut spans, split);
        if !spans.is_empty() {
            split.batches.push(LogBatch { data, spans: Arc::new(spans), before: None });
        }
    }

    /// Hands on the beginning of a line that is too long to be kept: whole pieces, so that a later reading cuts it at the same places.
    fn shed(&mut self, split: &mut Split) {
        while self.carry.len() > PIECE + STAMP {
            let (time, skip, continues) = match self.within {
                Some(time) => (time, 0, true),
                None => match self.stamps.split(&self.carry[..=STAMP]) {
                    Some((time, skip)) => (time, skip, false),
                    // A long remark: its beginning says enough.
                    None => return self.carry.truncate(PIECE),
                },
            };
            let data = self.carry.split_to(skip + piece_of(&self.carry[skip..])).freeze();
            let spans = Arc::new(vec![span(time, skip, data.len(), continues, true)]);
            self.within = Some(time);
            split.batches.push(LogBatch { data, spans, before: None });
        }
    }
}

/// Length of the piece that a longer rest of a line begins with: it ends before a character that reaches beyond it. Bytes that are no UTF-8
/// are cut at the full size.
fn piece_of(rest: &[u8]) -> usize {
    let begins = |at: &usize| rest[*at] & 0b1100_0000 != 0b1000_0000;
    let start = (PIECE - 3..=PIECE).rev().find(begins).unwrap_or(PIECE);
    let length = match rest[start] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    if start + length > PIECE { start } else { PIECE }
}

/// Chunks are far below 4 GiB: hyper's read buffer bounds them.
fn span(time: Time, start: usize, end: usize, continues: bool, partial: bool) -> Span {
    let place = |at: usize| u32::try_from(at).expect("a chunk of a body is below 4 GiB");
    Span { time, start: place(start), end: place(end), continues, partial }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "2026-11-23T22:10:07.000000001Z ";

    type Line = (Vec<u8>, bool, bool);

    fn split(chunks: &[&[u8]]) -> (Vec<Line>, Vec<Remark>) {
        let mut splitter = Splitter::default();
        let (mut lines, mut remarks) = (Vec::new(), Vec::new());
        let mut parts: Vec<_> = chunks.iter().map(|c| splitter.push(Bytes::copy_from_slice(c))).collect();
        parts.push(splitter.finish());
        for part in parts {
            for batch in &part.batches {
                lines.extend(batch.iter().map(|l| (l.bytes.to_vec(), l.continues, l.partial)));
            }
            remarks.extend(part.remarks);
        }
        (lines, remarks)
    }

    #[test]
    fn lines_are_the_same_wherever_the_chunks_are_cut() {
        let text = format!("{T}a\r\n{T}\n{T}b\u{0}\u{1b}\n{T}last");
        let mut text = text.into_bytes();
        text.extend([0xff, 0xfe]);
        let whole = split(&[&text]);
        assert_eq!(whole.0.len(), 4);
        assert_eq!(whole.0[0], (b"a\r".to_vec(), false, false));
        assert_eq!(whole.0[3], (b"last\xff\xfe".to_vec(), false, true));
        for at in 0..text.len() {
            assert_eq!(split(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(split(&bytes), whole);
    }

    #[test]
    fn a_long_line_comes_in_the_same_pieces_however_it_arrives() {
        for length in [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 4 * PIECE, 4 * PIECE + 7] {
            let text = [T.as_bytes(), &vec![b'x'; length], b"\n", T.as_bytes(), b"next\n"].concat();
            let whole = split(&[&text]);
            let pieces = length.div_ceil(PIECE);
            assert_eq!(whole.0.len(), pieces + 1, "{length}");
            assert!(whole.0[..pieces - 1].iter().all(|p| p.0.len() == PIECE && p.2));
            assert!(whole.0[1..pieces].iter().all(|p| p.1));
            assert_eq!(whole.0[pieces], (b"next".to_vec(), false, false));
            for size in [1000, 16 << 10, PIECE + 31, PIECE + 36, 3 * PIECE] {
                let chunks: Vec<_> = text.chunks(size).collect();
                assert!(split(&chunks) == whole, "{length} in chunks of {size}");
            }
        }
    }

    #[test]
    fn no_character_is_cut_between_two_pieces() {
        for (character, before) in [("ü", 1), ("€", 1), ("€", 2), ("😀", 1), ("😀", 2), ("😀", 3), ("ü", 0), ("x", 0)]
        {
            let line = format!("{}{}", "x".repeat(PIECE - before), character.repeat(2 * PIECE));
            let text = format!("{T}{line}\n");
            let whole = split(&[text.as_bytes()]);
            let pieces: Vec<_> = whole.0.iter().map(|p| std::str::from_utf8(&p.0).expect("whole characters")).collect();
            assert!(pieces.concat() == line, "{character} {before}");
            assert_eq!(pieces[0].len(), PIECE - before);
            for size in [1000, PIECE + 31, PIECE + 36] {
                let chunks: Vec<_> = text.as_bytes().chunks(size).collect();
                assert!(split(&chunks) == whole, "{character} {before} in chunks of {size}");
            }
        }
        // What is no UTF-8 is cut at the full size.
        for bytes in [&[0xbf_u8; 2 * PIECE][..], &[0xff; 2 * PIECE]] {
            let (pieces, _) = split(&[T.as_bytes(), bytes, b"\n"]);
            assert_eq!(pieces.iter().map(|piece| piece.0.len()).collect::<Vec<_>>(), [PIECE, PIECE]);
        }
    }

    #[test]
    fn the_kubelets_own_words_are_no_line() {
        let (lines, remarks) = split(&[b"unable to retrieve container logs for containerd://abc"]);
        assert!(lines.is_empty());
        assert_eq!(remarks, [Remark("unable to retrieve container logs for containerd://abc".into())]);
    }

    #[test]
    fn what_is_kept_of_a_line_without_end_is_bounded() {
        let mut splitter = Splitter::default();
        splitter.push(Bytes::from_static(T.as_bytes()));
        for _ in 0..100 {
            splitter.push(Bytes::from(vec![b'x'; 100_000]));
            assert!(splitter.carry.len() <= PIECE + STAMP);
        }
    }
}
