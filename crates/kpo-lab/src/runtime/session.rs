//! Exec and attach: a command's or a container's streams as channels.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::ContainerId;
use crate::log::{ContainerLog, LogOptions, LogReader, Stream};

/// Pieces that may wait in a session before its producer waits: bounded memory for a slow peer.
pub(crate) const SESSION_BUFFER: usize = 16;

/// A command to be run in a running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether its standard input is wanted.
    pub stdin: bool,
    /// Whether its standard output is wanted.
    pub stdout: bool,
    /// Whether its standard error is wanted.
    pub stderr: bool,
}

/// One piece of a session's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOutput {
    /// Bytes of standard output.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The command (exec) or the container (attach) has ended with this exit code; nothing follows.
    Exited(i32),
}

/// A running exec or attach. Dropping it ends an exec's command; an attach only lets go.
#[derive(Debug)]
pub struct Session {
    /// Standard input, if it was asked for: dropping it is its end.
    pub stdin: Option<mpsc::Sender<Bytes>>,
    /// What comes out, ending with [`SessionOutput::Exited`]. A channel that ends without it is a runtime that went away.
    pub output: mpsc::Receiver<SessionOutput>,
}

/// Why there is no session.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SessionError {
    /// The runtime does not know the container.
    #[error("container not found (\"{id}\")")]
    NotFound {
        /// Its ID.
        id: ContainerId,
    },
    /// The container has ended.
    #[error("container is in CONTAINER_EXITED state")]
    NotRunning,
    /// The command could not be executed (runc's wording); kubectl shows it and exits 1 (126 in newer ones).
    #[error("{message}")]
    NotExecutable {
        /// What could not be executed, and why.
        message: String,
    },
    /// The runtime cannot do it, for example without a scripted reply.
    #[error("{message}")]
    Unsupported {
        /// What and why.
        message: String,
    },
}

/// A session on a container's log from now on: both streams by lines, then the exit code that `exit` holds when the log
/// is closed. Where no tokio runtime drives it there is none.
pub(crate) fn attach(
    log: &Arc<ContainerLog>,
    exit: Arc<OnceLock<i32>>,
    stdin: Option<mpsc::Sender<Bytes>>,
) -> Result<Session, SessionError> {
    let tokio = tokio::runtime::Handle::try_current()
        .map_err(|_| SessionError::Unsupported { message: "attach needs a tokio runtime".to_owned() })?;
    let (sender, output) = mpsc::channel(SESSION_BUFFER);
    let stdout = tokio.spawn(forward(tail(log, Stream::Stdout), Stream::Stdout, sender.clone()));
    let stderr = tokio.spawn(forward(tail(log, Stream::Stderr), Stream::Stderr, sender.clone()));
    tokio.spawn(async move {
        // A forwarder fails only by a panic, which its own task has reported.
        let _ = tokio::join!(stdout, stderr);
        if let Some(code) = exit.get() {
            // An error is a peer that has gone.
            let _ = sender.send(SessionOutput::Exited(*code)).await;
        }
    });
    Ok(Session { stdin, output })
}

/// A reader of one stream from now on.
fn tail(log: &Arc<ContainerLog>, stream: Stream) -> LogReader {
    log.reader(LogOptions { tail: Some(0), follow: true, stream: Some(stream), ..LogOptions::default() })
}

/// Sends what is appended to one stream until the log's end or the peer's.
async fn forward(mut reader: LogReader, stream: Stream, sender: mpsc::Sender<SessionOutput>) {
    loop {
        let bytes = tokio::select! {
            bytes = reader.next() => bytes,
            () = sender.closed() => None,
        };
        let Some(bytes) = bytes else { return };
        let piece = match stream {
            Stream::Stdout => SessionOutput::Stdout(bytes),
            Stream::Stderr => SessionOutput::Stderr(bytes),
        };
        if sender.send(piece).await.is_err() {
            return;
        }
    }
}
