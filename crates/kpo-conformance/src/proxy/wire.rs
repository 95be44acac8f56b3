//! The wire towards kpo: it counts the bytes of each answer, and ends the connection where a fault says so.

use super::{Asked, Fault};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A request, and what became of its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) asked: Asked,
    pub(super) fault: Fault,
    pub(super) came: Instant,
    written: AtomicU64,
    befallen: AtomicBool,
}

impl Exchange {
    pub(super) fn new(asked: Asked, fault: Fault) -> Self {
        Self { asked, fault, came: Instant::now(), written: AtomicU64::new(0), befallen: AtomicBool::new(false) }
    }

    /// Bytes of the answer that went out, its header and framing counted.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether its fault has come true.
    pub(crate) fn is_befallen(&self) -> bool {
        self.befallen.load(Ordering::Relaxed)
    }

    pub(super) fn befalls(&self) {
        self.befallen.store(true, Ordering::Relaxed);
    }

    /// How much of the answer may still go out; none: all.
    fn left(&self) -> Option<u64> {
        match self.fault {
            Fault::Cut { after, .. } | Fault::Stall { after } => Some(after.saturating_sub(self.written())),
            _ => None,
        }
    }
}

/// What a connection carries now: one exchange at a time, since kpo sends no request before it has the last answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Arc<Mutex<Option<Arc<Exchange>>>>);

impl Line {
    pub(super) fn carries(&self, exchange: &Arc<Exchange>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(exchange));
    }

    fn exchange(&self) -> Option<Arc<Exchange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A connection that is cut where its exchange says so.
#[derive(Debug)]
pub(super) struct Metered {
    stream: TcpStream,
    line: Line,
}

impl Metered {
    pub(super) fn new(stream: TcpStream, line: Line) -> Self {
        Self { stream, line }
    }

    /// No more of the answer goes out. The server drops a connection that fails, and so closes it; one that is never ready stays until kpo closes it.
    fn ends<T>(&self, exchange: &Exchange) -> Poll<io::Result<T>> {
        exchange.befalls();
        match exchange.fault {
            Fault::Stall { .. } => return Poll::Pending,
            // Closed in good order it is cut all the same.
            Fault::Cut { reset: true, .. } => drop(self.stream.set_zero_linger()),
            _ => (),
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(exchange) = self.line.exchange() else { return Pin::new(&mut self.stream).poll_write(cx, bytes) };
        let most =
            exchange.left().map_or(bytes.len(), |left| bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        if most == 0 && !bytes.is_empty() {
            return self.ends(&exchange);
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..most]))?;
        exchange.written.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    /// A cut comes with the byte that it is to come after, not with the next one.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        match self.line.exchange() {
            Some(exchange) if exchange.left() == Some(0) && exchange.written() > 0 => self.ends(&exchange),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
