//! Watches and logs as streams of bytes, and what faults do to them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};

use super::{Cluster, Shared};
use crate::api::Watch;
use crate::faults::{Fault, Seen};
use crate::kubelet::Connection;
use crate::log::LogReader;

/// A stream of an answer's body; its error breaks the connection.
pub(super) type Bodies = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A watch, line by line. Holds no lock while its reader is slow: the cursor waits, and what it missed may be compacted meanwhile.
pub(super) fn watch<C: Cluster>(shared: Arc<Shared<C>>, watch: Box<Watch>) -> Bodies {
    let changed = shared.changed.subscribe();
    Box::pin(stream::unfold((shared, watch, changed), |(shared, mut watch, mut changed)| async move {
        loop {
            if watch.is_done() {
                return None;
            }
            changed.mark_unchanged();
            let Some(events) = shared.with(|now, cluster| watch.poll(now, cluster.store())) else {
                watch.end();
                return Some((Err(broken()), (shared, watch, changed)));
            };
            let mut lines = Vec::new();
            for event in &events {
                event.write_line(&mut lines);
            }
            if !lines.is_empty() {
                return Some((Ok(lines.into()), (shared, watch, changed)));
            }
            if watch.is_done() {
                return None;
            }
            tokio::select! {
                // The sender lives in `shared`, which this stream holds.
                _ = changed.changed() => {}
                () = shared.clock.sleep_until(Some(watch.next_wakeup())) => {}
            }
        }
    }))
}

/// A log from a reader's position.
pub(super) fn log(reader: LogReader) -> Bodies {
    Box::pin(stream::unfold(reader, |mut reader| async move {
        let bytes = reader.next().await?;
        Some((Ok(bytes), reader))
    }))
}

/// A kubelet's stream, over a connection that falls silent or breaks with it.
pub(super) fn through(connection: Connection, inner: Bodies) -> Bodies {
    Box::pin(stream::unfold(Some((connection, inner)), |state| async move {
        let (mut connection, mut inner) = state?;
        loop {
            if !connection.is_heard().await {
                return Some((Err(broken()), None));
            }
            tokio::select! {
                biased;
                () = connection.changed() => {}
                item = inner.next() => return Some((item?, Some((connection, inner)))),
            }
        }
    }))
}

/// A connection that has broken.
pub(super) fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the lab dropped the connection")
}

/// What is left of a stream.
enum Life {
    Open,
    /// Bytes until it breaks.
    Cut(u64),
    /// Delivers nothing more and does not end.
    Silent,
}

/// The stream as the faults leave it: the one of its request, and those that are injected while it is open.
pub(super) fn befallen<C: Cluster>(shared: &Arc<Shared<C>>, seen: Seen, fault: &Fault, inner: Bodies) -> Bodies {
    let life = match fault {
        Fault::HalfOpen => Life::Silent,
        Fault::CutAfter(bytes) => Life::Cut(*bytes),
        _ => Life::Open,
    };
    let changes = shared.faults.changes();
    let state = (shared.faults.clone(), changes, seen, life, inner);
    Box::pin(stream::unfold(Some(state), |state| async move {
        let (faults, mut changes, seen, mut life, mut inner) = state?;
        loop {
            if matches!(life, Life::Silent) {
                std::future::pending::<()>().await;
            }
            if matches!(life, Life::Cut(0)) {
                return Some((Err(broken()), None));
            }
            let item = tokio::select! {
                biased;
                Ok(()) = changes.changed() => {
                    match faults.on_open_stream(&seen) {
                        Fault::HalfOpen => life = Life::Silent,
                        Fault::Drop => life = Life::Cut(0),
                        _ => {}
                    }
                    continue;
                }
                item = inner.next() => item?,
            };
            let item = item.map(|bytes| shorten(&mut life, bytes));
            return Some((item, Some((faults, changes, seen, life, inner))));
        }
    }))
}

fn shorten(life: &mut Life, mut bytes: Bytes) -> Bytes {
    if let Life::Cut(left) = life {
        let keep = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
        bytes.truncate(keep);
        *left -= keep as u64;
    }
    bytes
}
