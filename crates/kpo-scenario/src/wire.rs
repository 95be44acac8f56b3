//! The way between observers and the lab's API server: written down, and upset where a run says so.

use crate::audit::Born;
use crate::core_run::Upset;
use crate::grammar::Scenario;
use crate::transcript::{Record, Sent, What};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use kpo_core::{Spec, Time};
use kpo_lab::Lab;
use kpo_lab::api::User;
use serde_json::Value;
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tower::Service;

type Answer = http::Response<kpo_lab::server::Body>;

/// What all observers' ways share. Clones share it.
#[derive(Clone)]
pub(crate) struct Wire {
    shared: Arc<Mutex<Shared>>,
    lab: Arc<Lab>,
    user: User,
    began: Instant,
}

struct Shared {
    records: Vec<Record>,
    spec: Spec,
    born: Born,
    upset: Upset,
    has_upset: bool,
    writes: usize,
    /// Lives that are over: their requests are never answered.
    silenced: BTreeSet<u64>,
    crash: mpsc::UnboundedSender<String>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    /// The observer is gone before it is sent.
    Crash,
    /// The observer is gone before it is answered.
    CrashAfter,
    LosesReply,
}

impl Wire {
    pub(crate) fn new(lab: Arc<Lab>, scenario: &Scenario, upset: Upset, crash: mpsc::UnboundedSender<String>) -> Self {
        let shared = Shared {
            records: Vec::new(),
            spec: scenario.task.spec.clone(),
            born: Born::default(),
            upset,
            has_upset: false,
            writes: 0,
            silenced: BTreeSet::new(),
            crash,
        };
        Self { shared: Arc::new(Mutex::new(shared)), lab, user: scenario.user(), began: Instant::now() }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        Time(self.lab.now().0)
    }

    /// Puts something down in the transcript.
    pub(crate) fn record(&self, observer: &str, what: What) {
        let at = self.began.elapsed();
        self.shared().records.push(Record { at, observer: observer.to_owned(), what });
    }

    /// The task's pods so far.
    pub(crate) fn born(&self) -> Born {
        self.shared().born.clone()
    }

    /// Answers nothing more to that life of an observer.
    pub(crate) fn silence(&self, life: u64) {
        self.shared().silenced.insert(life);
    }

    /// What was written down: the transcript, the pods, how many writes there were, and whether the upset took place.
    pub(crate) fn close(&self) -> (Vec<Record>, Born, usize, bool) {
        self.look();
        let shared = self.shared();
        (shared.records.clone(), shared.born.clone(), shared.writes, shared.has_upset)
    }

    fn look(&self) {
        self.lab.with(|now, world| {
            let mut shared = self.shared();
            let spec = shared.spec.clone();
            shared.born.look(world.store(), &spec, now);
        });
    }

    /// Writes a request down, and decides what becomes of it.
    fn fate(&self, observer: &str, sent: &Sent) -> Fate {
        self.record(observer, What::Sent(sent.clone()));
        let mut shared = self.shared();
        if !sent.is_write() {
            return Fate::Passes;
        }
        let number = shared.writes;
        shared.writes += 1;
        let fate = match shared.upset {
            _ if shared.has_upset => Fate::Passes,
            Upset::Crash { command, done: false, .. } if command == number => Fate::Crash,
            Upset::Crash { command, done: true, .. } if command == number => Fate::CrashAfter,
            Upset::LostReply { write } if write == number => Fate::LosesReply,
            _ => Fate::Passes,
        };
        shared.has_upset |= fate != Fate::Passes;
        drop(shared);
        if fate != Fate::Passes {
            self.record(observer, What::Runner(format!("{fate:?}").to_lowercase()));
        }
        fate
    }

    async fn crash(&self, observer: &str) -> ! {
        // The runner is there as long as its wire is used.
        let _ = self.shared().crash.send(observer.to_owned());
        std::future::pending().await
    }
}

/// One observer's way, in one of its lives.
#[derive(Clone)]
pub(crate) struct Tap {
    wire: Wire,
    observer: String,
    life: u64,
}

impl Tap {
    pub(crate) fn new(wire: Wire, observer: &str, life: u64) -> Self {
        Self { wire, observer: observer.to_owned(), life }
    }

    async fn carry(self, request: http::Request<kube::client::Body>) -> io::Result<Answer> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        if self.wire.shared().silenced.contains(&self.life) {
            return std::future::pending().await;
        }
        let sent = sent(self.wire.now(), head.method.as_str(), head.uri.path(), &body);
        let fate = sent.as_ref().map_or(Fate::Passes, |sent| self.wire.fate(&self.observer, sent));
        if fate == Fate::Crash {
            self.wire.crash(&self.observer).await;
        }
        let request = http::Request::from_parts(head, Full::new(body));
        let answer = self.wire.lab.service_as(self.wire.user.clone()).call(request).await;
        if sent.is_some_and(|sent| sent.verb == "create") {
            self.wire.look();
        }
        match fate {
            Fate::CrashAfter => self.wire.crash(&self.observer).await,
            Fate::LosesReply => Err(io::ErrorKind::ConnectionReset.into()),
            Fate::Crash | Fate::Passes => answer,
        }
    }
}

/// The request as a transcript has it, if it is about one pod.
fn sent(now: Time, method: &str, path: &str, body: &Bytes) -> Option<Sent> {
    let mut parts = path.trim_start_matches("/api/v1/namespaces/").split('/').skip(1);
    if parts.next() != Some("pods") {
        return None;
    }
    let pod = parts.next().unwrap_or_default();
    if parts.next().is_some() {
        return None;
    }
    Sent::of(now, method, pod, &serde_json::from_slice(body).unwrap_or(Value::Null))
}

impl Service<http::Request<kube::client::Body>> for Tap {
    type Response = Answer;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Answer>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<kube::client::Body>) -> Self::Future {
        Box::pin(self.clone().carry(request))
    }
}
