//! Watching pods: one by name, or all tasks of a namespace by one watch.
//!
//! # Guarantees
//! - A watch is resumed from the last resourceVersion it saw; what happens meanwhile is delivered then. Where that is not possible
//!   (410), a [`Gap`](Observation::Gap) is named and a relist follows, whose list is consistent (read with quorum): pods that it does not
//!   show are [`Absent`](Observation::Absent). So is one that came to be known while it was made, which a list before it would not show either.
//! - Nothing here decides what became of a pod: a [`Sighting::Deleted`] is handed on as it came.
//! - A server that closes each watch at once, refuses, or falls silent is asked again after 1, 2, 4 … 30 s (plus jitter); a watch that
//!   lived for half a minute is taken up again at once. A `Retry-After` is honoured up to a minute.
//! - Memory is bounded: a subscriber that does not read has at most [`WatchOptions::queue`] observations waiting; then only the last
//!   sight of each pod is kept, and the gap is named.
//!
//! # Caveats
//! - Where `watch` is forbidden, pods are polled every [`WatchOptions::poll`]: what comes and goes between two reads is not seen, so the
//!   time is one long [`Gap`](Observation::Gap).
//! - resourceVersions are opaque: they are compared for equality only, and used in the order in which the server told them.
//! - A connection that is open but dead is noticed when the watch should have ended ([`WatchOptions::timeout`] and 5 s); sooner where
//!   the transport has keepalives, as this crate's own connections do.

mod fan;
mod feed;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
mod wire;

use std::{fmt, sync::Arc, time::Duration};

use kpo_core::{Input, Pod, Sight};
use tokio::{task::AbortHandle, time::Instant};

use crate::request::{ApiFailure, Backoff, Requests};

use fan::{Fan, Key, Queue};
use feed::{Feed, Selection, Start};

/// How a pod came into view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sighting {
    /// The watch's ADDED.
    Added,
    /// The watch's MODIFIED.
    Modified,
    /// The watch's DELETED, with the pod's last state. Without a `deletionTimestamp` it may only have stopped matching the selector.
    Deleted,
    /// A relist, or a poll, found it so; states in between may have been missed.
    Listed,
}

/// What a watch tells a subscriber.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A pod was seen.
    Seen {
        /// How.
        sighting: Sighting,
        /// Its state then.
        pod: Arc<Pod>,
    },
    /// The watch is interrupted: what happens from now on may be missed.
    Gap {
        /// When the server was last heard of.
        since: Instant,
    },
    /// The watch stands (again). Said to each subscriber once at the beginning, and after each gap.
    Covered {
        /// Whether all that happened in the gap was or will be delivered.
        gapless: bool,
    },
    /// A consistent list did not show a pod that was seen or expected (or a read answered 404). Proves nothing: read it once, by name.
    Absent {
        /// The pod's name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// The watch does not stand, and what is done about it. Repeated with every attempt; coalesced for one who does not read.
    Trouble(Trouble),
    /// The server forbids watching: a gap that lasts until a watch is allowed; pods are polled meanwhile. Said to each subscriber once.
    Forbidden(Forbidden),
}

/// An outage of the watch, ridden out.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What went wrong last.
    pub why: Arc<Why>,
    /// Since when the watch has not stood.
    pub since: Instant,
    /// The wait before the next attempt.
    pub retry_in: Duration,
}

/// See [`Observation::Forbidden`].
#[derive(Clone, Debug)]
pub struct Forbidden {
    /// The server's words: who may not do what.
    pub message: Arc<str>,
    /// How often pods are polled instead.
    pub every: Duration,
}

/// What can be wrong with a watch.
#[derive(Clone, Debug)]
pub enum Why {
    /// A request failed, or the connection broke.
    Failed(ApiFailure),
    /// The server ends each watch as soon as it began.
    ClosedAtOnce,
    /// Nothing came any more from a connection that seems to be open.
    Silent,
    /// The server sent something that is no watch event.
    Unreadable,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Failed(failure) => failure.fmt(f),
            Why::ClosedAtOnce => f.write_str("the API server ends each watch as soon as it began"),
            Why::Silent => f.write_str("the connection to the API server seems to be open but is silent"),
            Why::Unreadable => f.write_str("the API server sent something that is no watch event"),
        }
    }
}

impl Observation {
    /// What the core is told. `None` for what is only said to people.
    ///
    /// ```
    /// use kpo::watch::Observation;
    /// use kpo_core::Input;
    /// assert_eq!(Observation::Covered { gapless: true }.into_input(), Some(Input::Covered { gapless: true }));
    /// ```
    pub fn into_input(self) -> Option<Input> {
        Some(match self {
            Observation::Seen { sighting, pod } => {
                Input::Seen { sight: sighting.into(), pod: Box::new(Arc::unwrap_or_clone(pod)) }
            }
            Observation::Gap { .. } => Input::Gap,
            Observation::Covered { gapless } => Input::Covered { gapless },
            Observation::Absent { uid, .. } => Input::Missing { uid },
            Observation::Forbidden(forbidden) => {
                Input::Unwatched { message: forbidden.message.to_string(), every: forbidden.every }
            }
            Observation::Trouble(_) => return None,
        })
    }
}

impl From<Sighting> for Sight {
    fn from(sighting: Sighting) -> Self {
        match sighting {
            Sighting::Deleted => Sight::Deleted,
            Sighting::Added | Sighting::Modified | Sighting::Listed => Sight::Present,
        }
    }
}

/// How to watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// How long the server keeps one watch open (`timeoutSeconds`). Default 290 s: below the 5 minutes at which load balancers cut.
    pub timeout: Duration,
    /// Time for the headers of a watch, and for one page of a list. Default 30 s.
    pub patience: Duration,
    /// Pods on one page of a relist. Default 100.
    pub page: u32,
    /// Waits after failures. Default 1, 2, 4 … 30 s plus up to a fifth.
    pub backoff: Backoff,
    /// How often pods are read where `watch` is forbidden. Default 5 s.
    pub poll: Duration,
    /// How often it is tried whether `watch` is still forbidden. Default 5 minutes.
    pub poll_until: Duration,
    /// How long "Too large resource version" (504) is waited for before the position is given up: a cluster that was restored from a
    /// backup never reaches it again. Default 60 s.
    pub future_version: Duration,
    /// Observations that wait for one subscriber at most, at least 2. Default 64.
    pub queue: usize,
}

impl WatchOptions {
    /// The default, with the process's one source of jitter: without jitter a run is the same each time.
    pub fn of(requests: &Requests) -> Self {
        let mut options = Self::default();
        options.backoff.jitter = requests.options().backoff.jitter.clone();
        options
    }
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(290),
            patience: Duration::from_secs(30),
            page: 100,
            backoff: Backoff { first: Duration::from_secs(1), ..Backoff::default() },
            poll: Duration::from_secs(5),
            poll_until: Duration::from_secs(300),
            future_version: Duration::from_secs(60),
            queue: 64,
        }
    }
}

/// A pod at one of its versions: as the answer to its create, or a read, names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodVersion {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The resourceVersion of that answer: the watch begins behind it.
    pub resource_version: String,
}

impl PodVersion {
    pub(crate) fn of(pod: &Pod) -> Self {
        let seen = &pod.metadata;
        Self { name: seen.name.clone(), uid: seen.uid.clone(), resource_version: seen.resource_version.clone() }
    }
}

/// One watch on all of kpo's pods in a namespace (label `kpo.rs/task`), shared by the tasks of this process.
///
/// It begins with a list, which says from where to watch. Subscribe first, wait for [`Observation::Covered`], then create the pod (or, to
/// attach, read it) and [`expect`](Subscription::expect) it: so nothing that happens to it is missed. The watch ends when it and all its subscriptions are dropped.
///
/// ```no_run
/// # async fn doc(requests: kpo::request::Requests) {
/// use kpo::watch::{Observation, Watch, WatchOptions};
/// let watch = Watch::start(requests, "batch", WatchOptions::default());
/// let mut nightly = watch.subscribe("nightly").expect("nobody else watches this task");
/// while let Some(observation) = nightly.next().await {
///     if let Observation::Seen { pod, .. } = observation {
///         println!("{} is {:?}", pod.metadata.name, pod.status.phase);
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Watch {
    fan: Arc<Fan>,
    _running: Arc<Running>,
}

/// Ends the watch when nobody holds it any more.
#[derive(Debug)]
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    /// Starts to watch. Needs a tokio runtime.
    pub fn start(requests: Requests, namespace: &str, options: WatchOptions) -> Self {
        Self::spawn(requests, Selection::Tasks { namespace: namespace.to_owned() }, Start::List, options)
    }

    /// Watches one pod by name, from its create on, without a list.
    pub fn pod(requests: Requests, namespace: &str, pod: &PodVersion, options: WatchOptions) -> Subscription {
        let selection = Selection::Pod { namespace: namespace.to_owned(), name: pod.name.clone() };
        let watch = Self::spawn(requests, selection, Start::From(pod.resource_version.clone()), options);
        let subscription = watch.subscribe("").expect("a new watch has no subscriber");
        subscription.expect(pod);
        subscription
    }

    fn spawn(requests: Requests, selection: Selection, start: Start, options: WatchOptions) -> Self {
        let fan = Arc::new(Fan::new(matches!(selection, Selection::Tasks { .. }), options.queue));
        let feed = Feed::new(requests, selection, start, options, Arc::clone(&fan));
        let _running = Arc::new(Running(tokio::spawn(feed.run()).abort_handle()));
        Self { fan, _running }
    }

    /// All that concerns the pods of a task. `None` if somebody in this process has subscribed to it already.
    pub fn subscribe(&self, task: &str) -> Option<Subscription> {
        let key = Key::from(task);
        let queue = self.fan.subscribe(Arc::clone(&key))?;
        Some(Subscription { watch: self.clone(), key, queue })
    }

    /// The pods of tasks that nobody has subscribed to (to sweep expired ones), those shown before included, the newest
    /// [`WatchOptions::queue`] of them. `None` if somebody has subscribed to these already.
    pub fn unclaimed(&self) -> Option<Unclaimed> {
        let queue = self.fan.subscribe_unclaimed()?;
        Some(Unclaimed { fan: Arc::clone(&self.fan), queue })
    }
}

/// The pods that no task of this process asked for. It does not keep the watch alive. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Unclaimed {
    fan: Arc<Fan>,
    queue: Arc<Queue>,
}

impl Unclaimed {
    /// The next observation; `None` once the watch is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Observation> {
        self.queue.next().await
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        self.fan.unsubscribe_unclaimed();
    }
}

/// What one task gets to see. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    watch: Watch,
    key: Key,
    queue: Arc<Queue>,
}

impl Subscription {
    /// The next observation; waits for ever if nothing happens. `None` never comes while the runtime lives. Cancel safe.
    pub async fn next(&mut self) -> Option<Observation> {
        self.queue.next().await
    }

    /// Says that a pod was created (or read), so that a relist without it is told as [`Observation::Absent`].
    pub fn expect(&self, pod: &PodVersion) {
        self.expect_since(self.relists(), pod);
    }

    /// The same of a pod that was asked for (its create was sent, or its read) when so many relists were complete.
    pub(crate) fn expect_since(&self, relists: u64, pod: &PodVersion) {
        self.watch.fan.expect(&self.key, pod, relists);
    }

    /// Relists that are complete.
    pub(crate) fn relists(&self) -> u64 {
        self.watch.fan.relists()
    }

    /// Until it is known whether the watch stands, or what is wrong with it. Nothing is taken from what [`next`](Self::next) tells.
    pub(crate) fn said(&self) -> impl Future<Output = ()> + Send + use<> {
        let watch = self.watch.clone();
        async move { watch.fan.said().await }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.watch.fan.unsubscribe(&self.key, &self.queue);
    }
}
