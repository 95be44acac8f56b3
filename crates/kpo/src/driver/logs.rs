//! The logs of a task's pods, one pump a container: from its stream to the reader, at the reader's pace.

use super::clock::Clock;
use super::{Event, What};
use crate::logs::{LogCursor, LogEvent, LogOptions, LogStream, LogTarget, Waiting};
use crate::manager::PodManager;
use futures::future::BoxFuture;
use kpo_core::Reply;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinHandle;

/// A part of a container's log.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The pod.
    pub pod: Arc<str>,
    /// The container.
    pub container: Arc<str>,
    /// Lines, a gap, or trouble.
    pub event: LogEvent,
}

/// A piece on its way to the reader, and the room that it takes up in its stream until then.
pub(super) struct OnItsWay {
    pub(super) event: Event,
    _room: Option<OwnedSemaphorePermit>,
}

/// How far the logs of a task's pods were read before, by UID and container.
pub type LogsRead = BTreeMap<(String, String), LogCursor>;

/// The logs under way.
pub(super) struct Logs {
    pods: PodManager,
    clock: Clock,
    out: mpsc::Sender<Box<OnItsWay>>,
    /// Containers that are kpo's own business: their logs are not the task's.
    hidden: Vec<String>,
    read: LogsRead,
    pumps: BTreeMap<String, Vec<Pump>>,
}

struct Pump {
    ended: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Logs {
    pub(super) fn new(
        pods: PodManager,
        clock: Clock,
        out: mpsc::Sender<Box<OnItsWay>>,
        hidden: Vec<String>,
        read: LogsRead,
    ) -> Self {
        Self { pods, clock, out, hidden, read, pumps: BTreeMap::new() }
    }

    pub(super) fn follow(&mut self, pod: &str, uid: &str, container: &str, name_is_reused: bool) {
        if self.hidden.iter().any(|name| name == container) {
            return;
        }
        let target = LogTarget {
            namespace: self.pods.namespace().to_owned(),
            pod: pod.to_owned(),
            uid: uid.to_owned(),
            container: container.to_owned(),
        };
        let after = self.read.remove(&(uid.to_owned(), container.to_owned()));
        let mut options = LogOptions { name_is_reused, after, ..LogOptions::default() };
        // The process's one source: without jitter a run is the same each time.
        options.backoff.jitter = self.pods.requests().options().backoff.jitter.clone();
        let stream = LogStream::start(self.pods.requests().clone(), target, options);
        let (ended, is_ended) = watch::channel(false);
        let task = tokio::spawn(pump(stream, is_ended, pod.into(), container.into(), self.clock, self.out.clone()));
        self.pumps.entry(uid.to_owned()).or_default().push(Pump { ended, task });
    }

    /// Reads what a pod's logs still hold; answers when all of it is on its way to the reader.
    pub(super) fn close(&mut self, uid: &str) -> BoxFuture<'static, Reply> {
        let pumps = self.pumps.remove(uid).unwrap_or_default();
        Box::pin(async move {
            pumps.iter().for_each(|pump| {
                pump.ended.send_replace(true);
            });
            for pump in pumps {
                // A pump that panicked has said all it could.
                let _ = pump.task.await;
            }
            Reply::Done
        })
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.pumps.values().flatten().for_each(|pump| pump.task.abort());
    }
}

async fn pump(
    mut stream: LogStream,
    mut ended: watch::Receiver<bool>,
    pod: Arc<str>,
    container: Arc<str>,
    clock: Clock,
    out: mpsc::Sender<Box<OnItsWay>>,
) {
    let mut told = false;
    loop {
        let waiting = tokio::select! {
            waiting = stream.next_waiting() => waiting,
            Ok(()) = ended.changed(), if !told => {
                told = true;
                stream.ended();
                continue;
            }
        };
        let waiting = waiting.filter(|waiting| !matches!(waiting.event, LogEvent::End));
        let Some(Waiting { event, room: _room }) = waiting else { return };
        let piece = Piece { pod: Arc::clone(&pod), container: Arc::clone(&container), event };
        let event = Event { at: clock.now(), what: What::Log(piece) };
        if out.send(Box::new(OnItsWay { event, _room })).await.is_err() {
            // Nobody reads: the task goes on, its log is left on the node.
            return;
        }
    }
}
