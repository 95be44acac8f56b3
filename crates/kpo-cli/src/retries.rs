//! Requests that fail and are tried again: what is told of them while they are.

use crate::printer::{Printer, Tone};
use crate::render;
use kpo::request::{Notice, Observer};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The failure after which it is told: one that is mended at once is not worth a line.
const TOLD_FROM: u32 = 2;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// A request fails.
    Failing {
        /// What is tried: `create pods in namespace "batch"`.
        what: String,
        /// Why it failed last.
        why: String,
    },
    /// One that failed has succeeded.
    Recovered,
}

impl Retry {
    pub(crate) fn of(notice: &Notice<'_>) -> Option<Self> {
        match notice {
            Notice::Retrying { target, attempts: TOLD_FROM, failure, .. } => {
                Some(Retry::Failing { what: target.to_string(), why: failure.to_string() })
            }
            Notice::Recovered { attempts, .. } if *attempts > TOLD_FROM => Some(Retry::Recovered),
            _ => None,
        }
    }
}

/// Where a connection's retries come in.
pub(crate) struct Retries(mpsc::UnboundedReceiver<Retry>);

impl Retries {
    /// What a connection is given, and what it tells.
    pub(crate) fn channel() -> (Observer, Self) {
        let (told, retries) = mpsc::unbounded_channel();
        let observer: Observer = Arc::new(move |notice| {
            // Nobody listens any more: the command is at its end.
            let _ = Retry::of(notice).map(|retry| told.send(retry));
        });
        (observer, Self(retries))
    }

    /// The next one; cancel safe. Without a connection that tells: never.
    pub(crate) async fn next(&mut self) -> Retry {
        match self.0.recv().await {
            Some(retry) => retry,
            None => std::future::pending().await,
        }
    }

    /// What the future comes to; told meanwhile.
    pub(crate) async fn during<T>(&mut self, printer: &Printer, future: impl Future<Output = T>) -> T {
        tokio::pin!(future);
        loop {
            tokio::select! {
                done = &mut future => return done,
                retry = self.next() => if let Retry::Failing { what, why } = retry {
                    printer.say(Tone::Odd, render::failing(&what, &why)).await;
                },
            }
        }
    }
}
