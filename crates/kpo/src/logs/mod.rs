//! The log of one container of one pod: each line once, gaps named (design rule 6).
//!
//! # Guarantees
//! - The log is followed from the moment the stream is made; lines come in the log's order, each once, in batches without a copy.
//! - After a cut it goes on from the last second seen; what comes a second time is dropped by timestamp and content. A second reading
//!   only counts once the pod behind the name is known to be the same (its UID, or the last line seen comes again), and so does a first one that
//!   comes late.
//! - After the container's end ([`LogStream::ended`]) the log is read once more from there, so that no line it still holds is missing.
//! - What was lost is said where it was lost: a [`LogGap`] with the times on both sides and its cause.
//! - Memory is bounded to less than 1 MiB a stream: what waits for its reader is bounded in bytes, from here to the driver's reader; one who
//!   reads slowly slows the stream, not the process.
//!
//! # Caveats
//! - A follow that cannot keep up with the program skips whole files: the kubelet's reader goes on with the newest, and nothing in the API shows it.
//!   It is known by its looks, and named as [`GapCause::Overtaken`]: a pause of three seconds or more after which the follow is late, or
//!   an end that the follow came to late, behind which the newest file does not go on from where it was. A rotation during a broken follow is seen, and
//!   named as [`GapCause::Rotated`].
//! - A timestamp is the container runtime's, on its node's clock. Lines of more than 16 KiB have the time of their beginning.
//! - A connection that is silent but dead is given up after [`LogOptions::idle`]; the API server does not even answer before the
//!   container's first byte.

mod batch;
mod cursor;
mod follow;
mod pace;
mod replay;
mod stamp;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use kpo_core::Time;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    task::AbortHandle,
    time::Instant,
};

use crate::request::{ApiFailure, Backoff, Requests};

pub use batch::{LogBatch, LogLine, PIECE};
pub use cursor::LogCursor;
use follow::Follower;

/// Whose log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Its UID: a pod of the same name that comes later is another one.
    pub uid: String,
    /// The container; init and native sidecar containers too.
    pub container: String,
}

/// When the log is read once more after the container's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    /// Always: one more request a container.
    Always,
    /// Unless one unbroken follow from the log's beginning was ended by the server, cleanly, when the container had ended: after
    /// [`LogStream::ended`], or at most half a second before. The kubelet ends a follow only at the end of the file of a container that
    /// is not running (`cri-client/pkg/logs/logs.go`, `ReadLogs`); one that gave 64 KiB or more is in doubt, since that file may be one that was
    /// rotated away: where the log's last lines are those that were seen last it was not. What remains is a kubelet whose connection to the API
    /// server breaks in that half second: the API server ends the answer cleanly then, too.
    InDoubt,
}

/// How to read.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Only lines of this time and later. `None`: all that the node still holds.
    pub since: Option<Time>,
    /// Only lines behind this one, which somebody else has seen. If it is not there any more there is a gap, and all that the node still holds
    /// from its time on. `None`: from the beginning.
    pub after: Option<LogCursor>,
    /// See [`Reread`]. Default `InDoubt`.
    pub reread: Reread,
    /// Whether the name goes from one pod to the next: then it is looked after the first follow was opened, too, whose log it is. Default: no;
    /// it is looked after a break or an outage only.
    pub name_is_reused: bool,
    /// How long a follow may be silent before it is opened anew. Default 10 minutes.
    pub idle: Duration,
    /// How long a follow that has become silent may go on after the container's end. Default 25 ms: it mostly ends at once, but upstream's
    /// kubelet looks every 5 s only, and reading the rest anew is faster.
    pub linger: Duration,
    /// How long the reading after the end is tried without a new line. Default 60 s; then what is missing is a gap.
    pub patience: Duration,
    /// Waits after failures. Default 1, 2, 4 … 30 s plus up to a fifth.
    pub backoff: Backoff,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            since: None,
            after: None,
            reread: Reread::InDoubt,
            name_is_reused: false,
            idle: Duration::from_secs(600),
            linger: Duration::from_millis(25),
            patience: Duration::from_secs(60),
            backoff: Backoff { first: Duration::from_secs(1), ..Backoff::default() },
        }
    }
}

/// What a stream gives.
#[derive(Clone, Debug)]
pub enum LogEvent {
    /// Lines.
    Lines(LogBatch),
    /// Lines are missing here.
    Gap(LogGap),
    /// The log cannot be read now; it will be tried again.
    Trouble(LogTrouble),
    /// Nothing more will come.
    End,
}

/// Lines that are, or may be, missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGap {
    /// Time of the last line before it. `None`: none was seen.
    pub after: Option<Time>,
    /// Time of the first line behind it. `None`: there is none.
    pub before: Option<Time>,
    /// Why.
    pub cause: GapCause,
}

impl LogGap {
    /// Its length, where both sides are known.
    pub fn length(&self) -> Option<Duration> {
        Some(self.before?.since(self.after?))
    }
}

/// Why lines are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// The log was rotated while it was not being followed, or as its follow ended: what stood in the old file behind the last line seen is lost, if
    /// anything did.
    Rotated,
    /// The follow was behind when the log was rotated, perhaps more than once: files may have been skipped here. The line before may be the
    /// beginning of one and the end of another.
    Overtaken,
    /// The pod is gone, or another has its name, before its log was read to the end. The API server's words on what hindered it, if any.
    PodGone(Option<String>),
    /// The kubelet no longer has the container's log; its words.
    ContainerGone(String),
    /// Reading the log is forbidden; the API server's words.
    Forbidden(String),
    /// The API server, or the node behind it, did not hand out the rest in time; the last failure.
    Unreadable(String),
}

/// See [`LogEvent::Trouble`].
#[derive(Clone, Debug)]
pub struct LogTrouble {
    /// What went wrong.
    pub failure: ApiFailure,
    /// Since when.
    pub since: Instant,
    /// The wait before the next attempt.
    pub retry_in: Duration,
}

/// What the consumer knows of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Runs,
    Ended(Instant),
}

/// A log that is being read, in a tokio task of its own; dropping it ends that.
///
/// ```no_run
/// # async fn doc(requests: kpo::request::Requests, target: kpo::logs::LogTarget) {
/// use kpo::logs::{LogEvent, LogOptions, LogStream};
/// let mut log = LogStream::start(requests, target, LogOptions::default());
/// // … when the pod's status says that the container has terminated: log.ended();
/// while let Some(event) = log.next().await {
///     match event {
///         LogEvent::Lines(batch) => batch.iter().for_each(|line| println!("{}", String::from_utf8_lossy(line.bytes))),
///         LogEvent::Gap(gap) => println!("gap: {:?}", gap.cause),
///         LogEvent::Trouble(_) => {}
///         LogEvent::End => break,
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct LogStream {
    container: Arc<str>,
    events: mpsc::Receiver<Waiting>,
    state: watch::Sender<Container>,
    task: AbortHandle,
}

/// Batches that wait for the consumer.
const WAITING: usize = 2;
/// Bytes of batches that wait for the reader, wherever they do. Beside them a stream keeps what it read ahead, the beginning of a long line, and
/// the lines by which it knows the last ones again.
const ROOM: u32 = 512 << 10;

/// An event on its way to its reader, and the room that it takes up until it is there.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) event: LogEvent,
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

impl LogStream {
    /// Begins to read. Needs a tokio runtime. To be called once the container runs, or has run.
    pub fn start(requests: Requests, target: LogTarget, options: LogOptions) -> Self {
        let container = target.container.as_str().into();
        let (sender, events) = mpsc::channel(WAITING);
        let (state, known) = watch::channel(Container::Runs);
        let follower = Follower::new(requests, target, options, sender, known);
        let task = tokio::spawn(follower.run()).abort_handle();
        Self { container, events, state, task }
    }

    /// The container whose log it is.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// What comes next; `None` after [`LogEvent::End`]. Cancel safe.
    pub async fn next(&mut self) -> Option<LogEvent> {
        self.next_waiting().await.map(|waiting| waiting.event)
    }

    /// The same for one who hands it on: its reader gives the room back.
    pub(crate) async fn next_waiting(&mut self) -> Option<Waiting> {
        self.events.recv().await
    }

    /// Says that the container has ended: the rest of its log is read, then the stream ends.
    pub fn ended(&self) {
        self.state.send_if_modified(|state| {
            let is_news = *state == Container::Runs;
            if is_news {
                *state = Container::Ended(Instant::now());
            }
            is_news
        });
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
