//! What really ran: a container runtime that keeps a book, and the invariants that are checked against it.
//!
//! The book is kept below the kubelets: neither kpo nor the API server has a say in it.

use kpo_core::{Event, RerunPolicy, Spec, marks};
use kpo_lab::runtime::{
    ContainerId, ContainerSpec, ContainerState, ExecRequest, PodSetup, PrepareError, Runtime, RuntimeEvent, Session,
    SessionError, Signal, StartError, Waker,
};
use kpo_lab::{ContainerLog, Resource, ScriptedRuntime, Store, Time};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::grammar::Deed;
use crate::lines;
use crate::transcript::{Record, What};

/// The life of one container, as its runtime saw it.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// The pod's UID.
    pub(crate) pod: String,
    /// The pod's name.
    pub(crate) name: String,
    /// The container.
    pub(crate) container: String,
    /// When it was started.
    pub(crate) started: Time,
    /// When it had ended. `None`: it runs.
    pub(crate) ended: Option<Time>,
    /// Its exit code, where it ended by itself or was killed. `None`: it runs, or it was removed.
    pub(crate) exit_code: Option<i32>,
    /// Its log.
    pub(crate) log: Option<Arc<ContainerLog>>,
}

/// All containers that were ever started, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    lives: Arc<Mutex<Vec<(ContainerId, Life)>>>,
}

impl Book {
    fn lives(&self) -> MutexGuard<'_, Vec<(ContainerId, Life)>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is written in it.
    pub(crate) fn read(&self) -> Vec<Life> {
        self.lives().iter().map(|(_, life)| life.clone()).collect()
    }

    fn exited(&self, id: &ContainerId, exit_code: i32) {
        for (_, life) in self.lives().iter_mut().filter(|(known, _)| known == id) {
            life.exit_code = Some(exit_code);
        }
    }

    fn end(&self, at: Time, is: impl Fn(&ContainerId, &Life) -> bool) {
        for (id, life) in self.lives().iter_mut() {
            if life.ended.is_none() && is(id, life) {
                life.ended = Some(at);
            }
        }
    }
}

/// A scripted runtime that keeps the book.
pub(crate) struct Audited {
    inner: ScriptedRuntime,
    book: Book,
    now: Time,
}

impl fmt::Debug for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audited").finish_non_exhaustive()
    }
}

impl Audited {
    pub(crate) fn new(inner: ScriptedRuntime, now: Time) -> (Self, Book) {
        let book = Book::default();
        (Self { inner, book: book.clone(), now }, book)
    }
}

impl Runtime for Audited {
    fn prepare_pod(&mut self, now: Time, setup: &PodSetup) -> Result<(), PrepareError> {
        self.inner.prepare_pod(now, setup)
    }

    fn start(&mut self, now: Time, spec: ContainerSpec) -> Result<ContainerId, StartError> {
        self.now = now;
        let life = Life {
            pod: spec.pod.uid.clone(),
            name: spec.pod.name.clone(),
            container: spec.name.clone(),
            started: now,
            ended: None,
            exit_code: None,
            log: None,
        };
        let id = self.inner.start(now, spec)?;
        let log = self.inner.log(&id);
        log.iter().for_each(|log| log.keep_all());
        self.book.lives().push((id.clone(), Life { log, ..life }));
        Ok(id)
    }

    fn signal(&mut self, now: Time, id: &ContainerId, signal: Signal) {
        self.now = now;
        self.inner.signal(now, id, signal);
    }

    fn poll(&mut self, now: Time) -> Vec<RuntimeEvent> {
        self.now = now;
        let events = self.inner.poll(now);
        for RuntimeEvent::Exited { id, exit } in &events {
            self.book.end(exit.at, |known, _| known == id);
            self.book.exited(id, exit.exit_code);
        }
        events
    }

    fn next_wakeup(&self) -> Option<Time> {
        self.inner.next_wakeup()
    }

    fn state(&self, id: &ContainerId) -> Option<ContainerState> {
        self.inner.state(id)
    }

    fn log(&self, id: &ContainerId) -> Option<Arc<ContainerLog>> {
        self.inner.log(id)
    }

    fn volume_usage(&self, pod_uid: &str, volume: &str) -> Option<u64> {
        self.inner.volume_usage(pod_uid, volume)
    }

    fn storage_usage(&self, id: &ContainerId) -> Option<u64> {
        self.inner.storage_usage(id)
    }

    fn remove(&mut self, id: &ContainerId) {
        self.inner.remove(id);
        self.book.end(self.now, |known, _| known == id);
    }

    fn remove_pod(&mut self, pod_uid: &str) {
        self.inner.remove_pod(pod_uid);
        self.book.end(self.now, |_, life| life.pod == pod_uid);
    }

    fn exec(&mut self, now: Time, id: &ContainerId, request: ExecRequest) -> Result<Session, SessionError> {
        self.inner.exec(now, id, request)
    }

    fn attach(&mut self, now: Time, id: &ContainerId, stdin: bool) -> Result<Session, SessionError> {
        self.inner.attach(now, id, stdin)
    }

    fn set_waker(&mut self, waker: Waker) {
        self.inner.set_waker(waker);
    }
}

/// What must hold in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Never two live pods of one task: containers that count, as their runtimes see them, of two pods at once.
    OneLife,
    /// No create after a start under `never` and `if-not-started`, but for the user's own retries.
    NoSecondStart,
    /// No delete without UID and resourceVersion.
    FencedDeletes,
    /// No delete of a pod whose end is the task's before the outcome was taken, unless it is to stop the pod.
    OutcomeFirst,
    /// No pod, and no finalizer of kpo's, is left that the policy does not keep.
    NothingLeft,
    /// A task with a live observer, or a pod, is never lost.
    NeverLost,
    /// Each line that a container wrote once and in order, and what is missing is a gap, named.
    LinesOnce,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {:?} broken: {}", self.invariant, self.seen)
    }
}

/// The task's pods as they came into the store, in order, followed by UID: a label may be taken off a living pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Born {
    /// UID, name, and when.
    pub(crate) pods: Vec<(String, String, Time)>,
    known: BTreeSet<String>,
}

impl Born {
    /// Takes note of the pods that are there.
    pub(crate) fn look(&mut self, store: &Store, spec: &Spec, now: Time) {
        for pod in store.list(Resource::Pods, Some(&spec.namespace)) {
            let meta = &pod["metadata"];
            let ours = meta["annotations"][marks::NONCE] == spec.nonce.as_str();
            let uid = meta["uid"].as_str().unwrap_or_default();
            if ours && self.known.insert(uid.to_owned()) {
                let name = meta["name"].as_str().unwrap_or_default();
                self.pods.push((uid.to_owned(), name.to_owned(), now));
            }
        }
    }
}

/// What the invariants are checked against when a run is over.
pub(crate) struct Evidence<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) book: &'a Book,
    pub(crate) born: &'a Born,
    pub(crate) store: &'a Store,
    pub(crate) records: &'a [Record],
    /// When the run began.
    pub(crate) began: Time,
    /// Whether all observers are done with it.
    pub(crate) over: bool,
    /// Whether it was ended while it waited, as the scenario says.
    pub(crate) cut: bool,
    /// Whether an observer left, died, or only follows: then nobody cleans up.
    pub(crate) left: bool,
    /// Whether an observer that came found no task to go on with.
    pub(crate) lost: bool,
    /// Why a second life is permitted. `None`: it is not.
    pub(crate) permits: Option<&'a str>,
    /// Observers' lives that had an outcome. `None`: no logs were read.
    pub(crate) finished: Option<&'a [lines::Finished]>,
}

/// All that did not hold.
pub(crate) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |invariant, seen: Vec<String>| {
        found.extend(seen.into_iter().map(|seen| Violation { invariant, seen }));
    };
    if evidence.permits.is_none() {
        add(Invariant::OneLife, second_lives(evidence));
        add(Invariant::NoSecondStart, second_starts(evidence));
    }
    add(Invariant::FencedDeletes, bare_deletes(evidence));
    add(Invariant::OutcomeFirst, hasty_deletes(evidence));
    add(Invariant::NothingLeft, leftovers(evidence));
    add(Invariant::NeverLost, lost(evidence));
    add(Invariant::NeverLost, refused(evidence));
    if let Some(finished) = evidence.finished {
        add(Invariant::LinesOnce, lines::check(evidence, finished));
    }
    found
}

/// The lives that count: of containers that the submitted manifest names.
fn lives(evidence: &Evidence<'_>) -> Vec<Life> {
    let ours = |life: &Life| evidence.born.pods.iter().any(|(uid, ..)| *uid == life.pod);
    let counts = |life: &Life| evidence.spec.template.counts(&life.container);
    evidence.book.read().into_iter().filter(|life| ours(life) && counts(life)).collect()
}

fn second_lives(evidence: &Evidence<'_>) -> Vec<String> {
    let lives = lives(evidence);
    let overlap = |a: &Life, b: &Life| {
        a.pod != b.pod
            && a.started <= b.started
            && a.ended.is_none_or(|ended| ended > b.started)
            && b.ended.is_none_or(|ended| ended > b.started)
    };
    let pairs = lives.iter().flat_map(|a| lives.iter().map(move |b| (a, b))).filter(|(a, b)| overlap(a, b));
    pairs
        .map(|(a, b)| {
            format!("{}/{} was started at {} while {}/{} ran", b.name, b.container, b.started, a.name, a.container)
        })
        .collect()
}

fn second_starts(evidence: &Evidence<'_>) -> Vec<String> {
    if !matches!(evidence.spec.rerun.policy, RerunPolicy::Never | RerunPolicy::IfNotStarted) {
        return Vec::new();
    }
    let lives = lives(evidence);
    let mut seen = Vec::new();
    for (index, (_, name, at)) in evidence.born.pods.iter().enumerate() {
        let before = &evidence.born.pods[..index];
        let started = lives.iter().find(|life| {
            life.started <= *at && before.iter().any(|(uid, ..)| *uid == life.pod) && !failed(evidence, life, *at)
        });
        seen.extend(
            started.map(|life| format!("{name} was created after {}/{} had started", life.name, life.container)),
        );
    }
    seen
}

/// Whether the pod's program had failed by then, so that the user's `--retries` are for it.
fn failed(evidence: &Evidence<'_>, life: &Life, by: Time) -> bool {
    let own = |other: &Life| other.pod == life.pod && other.container == evidence.spec.template.container;
    let program = evidence.book.read().into_iter().find(own).unwrap_or_else(|| life.clone());
    evidence.spec.rerun.retries > 0
        && program.exit_code.is_some_and(|code| code != 0)
        && program.ended.is_some_and(|at| at <= by)
}

fn bare_deletes(evidence: &Evidence<'_>) -> Vec<String> {
    let bare = evidence.records.iter().filter_map(|record| match &record.what {
        What::Sent(sent) if sent.verb == "delete" && !sent.fenced => Some(format!("{sent}, at {:?}", record.at)),
        _ => None,
    });
    bare.collect()
}

/// Deletes of the last attempt's pod, to which no stop led: those of earlier pods are in the way of the next one.
fn hasty_deletes(evidence: &Evidence<'_>) -> Vec<String> {
    let names: Vec<&String> = evidence.born.pods.iter().map(|(_, name, _)| name).collect();
    let Some(last) = names.last().filter(|last| names.iter().filter(|name| name == last).count() == 1) else {
        return Vec::new();
    };
    let before = evidence.records.iter().take_while(|record| !matches!(record.what, What::Outcome(_)));
    let deletes = before.filter_map(|record| match &record.what {
        What::Sent(sent) if sent.verb == "delete" && sent.pod == **last => Some((sent, record.at)),
        _ => None,
    });
    deletes
        .filter(|(_, at)| !is_stopped_by(evidence, *at))
        .map(|(sent, at)| format!("{sent}, at {at:?}, and nobody has the outcome"))
        .collect()
}

/// Whether a stop had been asked for or said by then. On the engine what is sent can be noted before what is said at the same instant, and who
/// crashes at a delete is not heard any more: then it was a stop if the pod had not ended.
fn is_stopped_by(evidence: &Evidence<'_>, at: Duration) -> bool {
    let mut by_then = evidence.records.iter().filter(|record| record.at <= at);
    by_then.any(|record| match &record.what {
        What::Said(Event::Stopping { .. } | Event::Deleting { .. }) | What::Does(Deed::Cancels) => true,
        What::Runner(what) => what.starts_with("crash") && lives_at(evidence, at),
        _ => false,
    })
}

/// Whether the last pod's program runs then, or was never started.
fn lives_at(evidence: &Evidence<'_>, at: Duration) -> bool {
    let Some((uid, ..)) = evidence.born.pods.last() else { return false };
    let own = |life: &Life| life.pod == *uid && life.container == evidence.spec.template.container;
    let ended = evidence.book.read().into_iter().find(own).and_then(|life| life.ended);
    ended.is_none_or(|ended| since(evidence.began, ended) > at)
}

/// The task's pods that are there, by nonce: a label may be gone.
fn pods<'e>(evidence: &'e Evidence<'_>) -> impl Iterator<Item = &'e Arc<Value>> {
    let all = evidence.store.list(Resource::Pods, Some(&evidence.spec.namespace));
    all.filter(|pod| pod["metadata"]["annotations"][marks::NONCE] == evidence.spec.nonce.as_str())
}

/// Their names and finalizers.
fn present(evidence: &Evidence<'_>) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let shown = |pod: &Arc<Value>| {
        let finalizers = pod["metadata"]["finalizers"].as_array().into_iter().flatten().map(text).collect();
        (text(&pod["metadata"]["name"]), finalizers)
    };
    pods(evidence).map(shown).collect()
}

fn leftovers(evidence: &Evidence<'_>) -> Vec<String> {
    if evidence.left || evidence.cut || !evidence.over {
        return Vec::new();
    }
    let kept = kept(evidence);
    let mut seen = Vec::new();
    for (name, finalizers) in present(evidence) {
        if finalizers.iter().any(|name| name == marks::FINALIZER) {
            seen.push(format!("{name} still has the finalizer {}", marks::FINALIZER));
        } else if kept.as_deref() != Some(name.as_str()) && finalizers.is_empty() && !ends_by_itself(evidence, &name) {
            seen.push(format!("{name} is left behind"));
        }
    }
    seen
}

/// Whether its deletion is under way: a node that does not answer holds it, and nobody may force it. Or, where the API server was away when
/// the task's time was up, its own deadline ends it.
fn ends_by_itself(evidence: &Evidence<'_>, name: &str) -> bool {
    let timed_out = outcome(evidence).is_some_and(|outcome| outcome.reason == Some(kpo_core::Reason::Timeout));
    let limited = |pod: &Value| timed_out && pod["spec"]["activeDeadlineSeconds"].is_u64();
    let terminates = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
    pods(evidence).any(|pod| pod["metadata"]["name"] == name && (terminates(pod) || limited(pod)))
}

fn outcome<'e>(evidence: &'e Evidence<'_>) -> Option<&'e kpo_core::Outcome> {
    evidence.records.iter().rev().find_map(|record| match &record.what {
        What::Outcome(outcome) => Some(outcome.as_ref()),
        _ => None,
    })
}

/// The pod that the policy keeps, if it keeps one.
fn kept(evidence: &Evidence<'_>) -> Option<String> {
    let outcome = outcome(evidence)?;
    let keeps = match evidence.spec.on_finish {
        kpo_core::OnFinish::None => false,
        kpo_core::OnFinish::All => true,
        kpo_core::OnFinish::Failed { .. } => outcome.verdict.as_deref() != Some("succeeded"),
    };
    outcome.attempts.last().filter(|_| keeps).map(|attempt| attempt.pod.name.clone())
}

/// Lost is a task of which no outcome came by the end of the run, when nothing more happens or the time is up; and one that has an outcome and no
/// end: who waits for a pod that somebody else holds, or that a silent node holds, hangs.
fn lost(evidence: &Evidence<'_>) -> Vec<String> {
    let (what, is_over) = match outcome(evidence).is_some() {
        true => ("there is an outcome, and no end of it", evidence.over),
        false => ("no outcome came, and nothing more happens", false),
    };
    if evidence.cut || evidence.left || is_over {
        return Vec::new();
    }
    vec![format!("{what}; pods there: {:?}", present(evidence))]
}

/// Who attaches finds the task for as long as a pod of it carries its label.
fn refused(evidence: &Evidence<'_>) -> Vec<String> {
    let found = pods(evidence).any(|pod| pod["metadata"]["labels"][marks::TASK] == evidence.spec.task.as_str());
    let seen = || "it could not be attached to, though a pod of it is there".to_owned();
    (evidence.lost && found).then(seen).into_iter().collect()
}

/// A moment as records count it.
pub(crate) fn since(began: Time, now: Time) -> Duration {
    now.since(began)
}
