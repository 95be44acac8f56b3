//! The API server's IO: from HTTP requests to the handlers, and their streams back.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::{Notify, watch};

use crate::api::Tokens;
use crate::clock::Clock;
use crate::faults::{Faults, Seen};
use crate::runtime::Waker;
use crate::time::Time;

mod cluster;
mod respond;
mod service;
mod streams;
pub(crate) mod tls;
mod websocket;

pub use cluster::Cluster;
pub use service::LabService;

/// The body of an answer. Its error is a broken connection.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The most that a request's body may hold, in bytes (`MaxRequestBodyBytes`).
pub const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// Requests that the journal keeps.
const JOURNAL: usize = 100_000;

/// How often a client asked for something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKind {
    /// The verb: `get`, `watch`, …
    pub verb: String,
    /// `pods`, `pods/log`; for a path that is no resource the path.
    pub resource: String,
    /// The `User-Agent`.
    pub agent: String,
}

/// What was asked: counted for good, and the last requests one by one.
#[derive(Debug, Default)]
struct Journal {
    counts: BTreeMap<RequestKind, u64>,
    last: VecDeque<Seen>,
}

/// What every connection of a lab shares.
pub(crate) struct Shared<C> {
    pub(crate) clock: Clock,
    /// None once the lab has ended: whoever still holds a connection or a service finds nothing behind it.
    cluster: Mutex<Option<C>>,
    tokens: Mutex<Tokens>,
    /// The store's resourceVersion, for whoever waits for changes.
    changed: watch::Sender<u64>,
    /// Wakes the driver.
    pub(crate) wake: Notify,
    pub(crate) faults: Faults,
    journal: Mutex<Journal>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere was reported there; the cluster's state is whole between calls.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C: Cluster> Shared<C> {
    pub(crate) fn new(clock: Clock, cluster: C, tokens: Tokens) -> Arc<Shared<C>> {
        let shared = Arc::new(Shared {
            clock,
            cluster: Mutex::new(Some(cluster)),
            tokens: Mutex::new(tokens),
            changed: watch::Sender::new(0),
            wake: Notify::new(),
            faults: Faults::default(),
            journal: Mutex::default(),
        });
        let weak = Arc::downgrade(&shared);
        let waker: Waker = Arc::new(move || {
            if let Some(shared) = weak.upgrade() {
                shared.wake.notify_one();
            }
        });
        shared.with(|_, cluster| cluster.set_waker(waker));
        shared
    }

    /// Does something with the cluster; whoever waits for changes is told of them. None once the lab has ended.
    pub(crate) fn with<T>(&self, act: impl FnOnce(Time, &mut C) -> T) -> Option<T> {
        let mut guard = lock(&self.cluster);
        let cluster = guard.as_mut()?;
        let before = cluster.store().rv();
        let result = act(self.clock.now(), cluster);
        let after = cluster.store().rv();
        drop(guard);
        if before != after {
            self.changed.send_replace(after);
            self.wake.notify_one();
        }
        Some(result)
    }

    /// Ends the cluster, its containers with it, and breaks what is still open.
    pub(crate) fn end(&self) {
        let cluster = lock(&self.cluster).take();
        drop(cluster);
        self.changed.send_replace(u64::MAX);
    }

    pub(crate) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }

    pub(crate) fn counts(&self) -> BTreeMap<RequestKind, u64> {
        lock(&self.journal).counts.clone()
    }

    pub(crate) fn journal(&self) -> Vec<Seen> {
        lock(&self.journal).last.iter().cloned().collect()
    }

    fn record(&self, seen: &Seen, path: &str) {
        let resource = if seen.resource.is_empty() { path } else { &seen.resource };
        let kind = RequestKind { verb: seen.verb.clone(), resource: resource.to_owned(), agent: seen.agent.clone() };
        let mut journal = lock(&self.journal);
        *journal.counts.entry(kind).or_default() += 1;
        if journal.last.len() == JOURNAL {
            journal.last.pop_front();
        }
        journal.last.push_back(seen.clone());
    }

    /// Ends the lab where this goes out of scope by a panic: whoever waits for the cluster hears of it instead of waiting for ever.
    fn ends_on_panic(&self) -> EndsOnPanic<'_, C> {
        EndsOnPanic(self)
    }

    /// Advances the cluster whenever it is woken, or due, until the lab ends.
    pub(crate) async fn drive(self: Arc<Self>) {
        let _guard = self.ends_on_panic();
        loop {
            let advanced = self.with(|now, cluster| {
                cluster.advance(now);
                cluster.next_wakeup()
            });
            let Some(due) = advanced else { return };
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.clock.sleep_until(due) => {}
            }
        }
    }
}

struct EndsOnPanic<'a, C: Cluster>(&'a Shared<C>);

impl<C: Cluster> Drop for EndsOnPanic<'_, C> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}
