//! Signals: what the first one means, and that the second leaves at once.

use crate::error::{CliError, ErrorKind};
use crate::options::OnSigterm;
use kpo_core::Stop;
use std::future::Future;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The three signals that ask kpo to stop.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    on_sigterm: OnSigterm,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caught {
    /// What it asks for.
    pub(crate) stop: Stop,
    /// What a process exits with that leaves because of it: 128 and its number, as shells have it.
    pub(crate) exit_code: i32,
}

impl Caught {
    /// The signal's number.
    pub(crate) fn number(self) -> i32 {
        self.exit_code - 128
    }
}

impl Signals {
    /// Catches them from here on.
    pub(crate) fn catch(on_sigterm: OnSigterm) -> Result<Self, CliError> {
        let caught = |kind| {
            signal(kind).map_err(|error| CliError::because(ErrorKind::Local, "signals cannot be caught", &error))
        };
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            hangup: caught(SignalKind::hangup())?,
            on_sigterm,
        })
    }

    /// What the future comes to. A signal before that ends it, while nothing is under way yet: `nothing` says what has not happened.
    pub(crate) async fn during<T>(&mut self, nothing: &str, future: impl Future<Output = T>) -> Result<T, CliError> {
        tokio::select! {
            biased;
            caught = self.next() => Err(CliError::new(ErrorKind::Interrupted(caught.exit_code), nothing)),
            done = future => Ok(done),
        }
    }

    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Caught {
        let on_sigterm = match self.on_sigterm {
            OnSigterm::Detach => Stop::Shutdown,
            OnSigterm::Cancel => Stop::User,
        };
        tokio::select! {
            _ = self.interrupt.recv() => Caught { stop: Stop::User, exit_code: 128 + 2 },
            _ = self.terminate.recv() => Caught { stop: on_sigterm, exit_code: 128 + 15 },
            _ = self.hangup.recv() => Caught { stop: on_sigterm, exit_code: 128 + 1 },
        }
    }
}
