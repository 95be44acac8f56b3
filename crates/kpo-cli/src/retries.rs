//! Requests that fail and are tried again: what is told of them while they are.

use crate::printer::{Printer, Tone};
use crate::render;
use kpo::request::{ApiFailure, Notice, Observer, TransportKind};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The failure after which it is told: one that is mended at once is not worth a line.
const TOLD_FROM: u32 = 2;
/// What lasts is told again after this.
pub(crate) const TOLD_EVERY: Duration = Duration::from_secs(60);

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
            Notice::Retrying { target, attempts, failure, .. } => {
                let is_worth_it = *attempts >= TOLD_FROM || is_of_this_machine(failure);
                is_worth_it.then(|| Retry::Failing { what: target.to_string(), why: failure.to_string() })
            }
            Notice::Recovered { attempts, .. } if *attempts > TOLD_FROM => Some(Retry::Recovered),
            _ => None,
        }
    }
}

/// Whether the fault is this machine's, and waiting mends nothing.
pub(crate) fn is_of_this_machine(failure: &ApiFailure) -> bool {
    matches!(failure, ApiFailure::Transport { kind: TransportKind::Descriptors, .. })
}

/// Where a connection's retries come in.
pub(crate) struct Retries {
    coming: mpsc::UnboundedReceiver<Retry>,
    /// When a failure was last told. `None`: none since the last success.
    told: Option<Instant>,
}

impl Retries {
    /// What a connection is given, and what it tells.
    pub(crate) fn channel() -> (Observer, Self) {
        let (told, retries) = mpsc::unbounded_channel();
        let observer: Observer = Arc::new(move |notice| {
            // Nobody listens any more: the command is at its end.
            let _ = Retry::of(notice).map(|retry| told.send(retry));
        });
        (observer, Self { coming: retries, told: None })
    }

    /// The next one: of failures that go on, one a minute. Cancel safe. Without a connection that tells: never.
    pub(crate) async fn next(&mut self) -> Retry {
        loop {
            match self.coming.recv().await {
                Some(Retry::Failing { .. }) if self.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) => {}
                Some(retry) => {
                    self.told = (retry != Retry::Recovered).then(Instant::now);
                    return retry;
                }
                None => std::future::pending().await,
            }
        }
    }

    /// What the future comes to; told meanwhile.
    pub(crate) async fn during<T>(&mut self, printer: &Printer, future: impl Future<Output = T>) -> T {
        tokio::pin!(future);
        loop {
            tokio::select! {
                done = &mut future => return done,
                retry = self.next() => if let Retry::Failing { what, why } = retry {
                    printer.say(Tone::Odd, render::failing(&what, &why));
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_told_once_a_minute() {
        let (told, coming) = mpsc::unbounded_channel();
        let mut retries = Retries { coming, told: None };
        let failing = |why: &str| Retry::Failing { what: "get pods/exec".to_owned(), why: why.to_owned() };
        let begun = Instant::now();
        tokio::spawn(async move {
            for second in 0..130 {
                told.send(failing(&second.to_string())).unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            told.send(Retry::Recovered).unwrap();
            told.send(failing("anew")).unwrap();
            std::future::pending::<()>().await;
        });
        for (at, expected) in [
            (0, failing("0")),
            (60, failing("60")),
            (120, failing("120")),
            (130, Retry::Recovered),
            (130, failing("anew")),
        ] {
            assert_eq!((retries.next().await, begun.elapsed().as_secs()), (expected, at));
        }
    }
}
