//! Splits a body into lines as it arrives.

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use memchr::memchr;

use crate::request::{ApiFailure, ByteStream};

/// A body's lines, without their line feed. What follows the last line feed is no line: on a watch it is an object that was cut.
pub(crate) struct Lines {
    body: ByteStream,
    chunk: Bytes,
    carry: BytesMut,
    longest: usize,
}

/// Why no line came.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection.
    Cut(ApiFailure),
    /// A line is longer than anything that is expected here.
    TooLong,
}

impl Lines {
    /// Lines of at most `longest` bytes.
    pub(crate) fn new(body: ByteStream, longest: usize) -> Self {
        Self { body, chunk: Bytes::new(), carry: BytesMut::new(), longest }
    }

    /// The next line; `None` at the body's clean end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            if let Some(line) = self.buffered() {
                return Some(Ok(line));
            }
            if self.carry.len() > self.longest {
                return Some(Err(Broken::TooLong));
            }
            match self.body.next().await? {
                Ok(chunk) => self.chunk = chunk,
                Err(failure) => return Some(Err(Broken::Cut(failure))),
            }
        }
    }

    /// What has come of a line that is not complete.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.carry
    }

    /// A line that is complete; what is not is kept for the next chunk.
    fn buffered(&mut self) -> Option<Bytes> {
        let Some(end) = memchr(b'\n', &self.chunk) else {
            self.carry.extend_from_slice(&self.chunk);
            self.chunk.clear();
            return None;
        };
        let piece = self.chunk.split_to(end);
        self.chunk.advance(1);
        if self.carry.is_empty() {
            return Some(piece);
        }
        self.carry.extend_from_slice(&piece);
        Some(std::mem::take(&mut self.carry).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    async fn split(chunks: &[&'static str], longest: usize) -> (Vec<String>, bool) {
        let chunks: Vec<_> = chunks.iter().map(|c| Ok(Bytes::from_static(c.as_bytes()))).collect();
        let mut lines = Lines::new(stream::iter(chunks).boxed(), longest);
        let mut out = Vec::new();
        while let Some(line) = lines.next().await {
            match line {
                Ok(line) => out.push(String::from_utf8(line.to_vec()).expect("test data is UTF-8")),
                Err(_) => return (out, true),
            }
        }
        assert_eq!(lines.rest(), b"half");
        (out, false)
    }

    #[tokio::test]
    async fn lines_across_chunks_and_a_cut_last_line() {
        let got = split(&["a", "b\n", "\nc\nd", "", "e\nhalf"], 100).await;
        assert_eq!(got, (vec!["ab".into(), String::new(), "c".into(), "de".into()], false));
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        assert_eq!(split(&["0123", "4567", "89"], 6).await, (vec![], true));
    }
}
