//! Signals: what the first one means, and that the second leaves at once.

use crate::error::{CliError, ErrorKind};
use crate::options::OnSigterm;
use kpo_core::Stop;
use std::future::Future;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The three signals that ask kpo to stop. `None`: whoever started kpo has it ignored, as `nohup` does with SIGHUP, and a shell without job
/// control with SIGINT of what it starts in the background.
pub(crate) struct Signals {
    interrupt: Option<Signal>,
    terminate: Signal,
    hangup: Option<Signal>,
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
        let unless_ignored = |kind| (!is_ignored(kind)).then(|| caught(kind)).transpose();
        Ok(Self {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            hangup: unless_ignored(SignalKind::hangup())?,
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
            () = came(&mut self.interrupt) => Caught { stop: Stop::User, exit_code: 128 + 2 },
            _ = self.terminate.recv() => Caught { stop: on_sigterm, exit_code: 128 + 15 },
            () = came(&mut self.hangup) => Caught { stop: on_sigterm, exit_code: 128 + 1 },
        }
    }
}

/// Returns when it has come. One that is ignored never does.
async fn came(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether the process was started with that signal ignored.
fn is_ignored(kind: SignalKind) -> bool {
    #[allow(unsafe_code)]
    // SAFETY: without a new action it only fills the struct, for which zeroes are valid.
    let (done, found) = unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(kind.as_raw_value(), std::ptr::null(), &raw mut found), found)
    };
    done == 0 && found.sa_sigaction == libc::SIG_IGN
}
