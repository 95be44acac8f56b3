//! One pod's worker (`pkg/kubelet/pod_workers.go`): it syncs the pod, then terminates it, then reports the end.
//!
//! A worker is a small machine: a stage, and an instant at which the stage goes on. Between stages it only reacts to the pod's changes and to
//! what the kubelet sees of the machine, which is what it looked like at the last look ([`Timing::relist`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::images::{BackOff, Pull};
use super::machine::PodOnMachine;
use super::status::{self, Reasons, Sources};
use super::timing::Timing;
use crate::api;
use crate::events::{self, Report, Source};
use crate::pod;
use crate::resource::Resource;
use crate::runtime::{ContainerKind, PodRef};
use crate::store::{DeleteOptions, Writer};
use crate::time::Time;
use crate::world::Cx;

/// Containers get at least this long to end (`minimumGracePeriodInSeconds`).
pub(super) const LEAST_GRACE: i64 = 2;

/// What of the kubelet its workers need.
pub(super) struct Node<'a> {
    pub name: &'a str,
    pub ip: &'a str,
    pub timing: Timing,
    /// Since when the kubelet looks at its machine.
    pub origin: Time,
    /// For the next pod address.
    pub next_ip: &'a mut u32,
    /// Which node this is, for pod addresses.
    pub index: u32,
    /// Images that are on the machine.
    pub pulled: &'a mut std::collections::BTreeSet<String>,
}

/// A container that is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub name: String,
    pub kind: ContainerKind,
}

/// Where a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A critical pod waits for room: the victims' UIDs.
    AwaitRoom(Vec<String>),
    /// A sync begins when it is due.
    Sync,
    /// Volumes are set up when it is due.
    Mount,
    /// The sandbox is up when it is due.
    Sandbox,
    /// The first container's image has been pulled, or failed, when it is due.
    Pull(Pull, Time),
    /// The first container is started when it is due.
    Start,
    /// All others have ended: the sidecars are told to.
    StopSidecars(Stopping),
    /// The sandbox is down when it is due, and the sync over.
    StopSandboxInSync,
    /// Nothing to do until something changes, or until it is due.
    Idle,
    /// The pod is to end: begins when it is due.
    Terminating,
    /// Its containers are told to end, and killed when it is due.
    Killing(Stopping),
    /// The sandbox is down when it is due.
    StopSandbox,
    /// The end is reported when it is due.
    Terminated,
    /// All is said.
    Done,
}

/// Containers on their way to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stopping {
    /// When they are killed.
    pub deadline: Time,
    /// Sidecars that have not been told yet; the last one is told first.
    pub sidecars: Vec<String>,
}

/// Why the kubelet ends a pod by itself, as the status will say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KillOrder {
    /// `status.reason`.
    pub reason: String,
    /// `status.message`.
    pub message: String,
    /// The message of the condition `DisruptionTarget` (reason `TerminationByKubelet`); None where it is the user's fault.
    pub disruption: Option<String>,
    /// The grace in seconds; None for the pod's own.
    pub grace: Option<i64>,
}

/// One pod's worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub key: PodRef,
    /// The pod as last accepted from the API: changes of its status alone are not.
    pub pod: Arc<Value>,
    /// The status as last made, with no phase held back.
    pub status: Value,
    /// The machine as last looked at.
    pub seen: PodOnMachine,
    pub stage: Stage,
    pub due: Option<Time>,
    /// When the machine is looked at next, if it has changed.
    pub look: Option<Time>,
    /// When the last sync ended: the next one waits for a later look (`GetNewerThan`).
    pub last_sync: Time,
    pub reasons: Reasons,
    pub pulls: BackOff,
    pub restarts: BackOff,
    pub next: VecDeque<Next>,
    /// Something of this sync failed: it is tried again.
    pub failed: bool,
    /// Another sync was asked for during this one.
    pub again: bool,
    /// The pod is to end once this sync has come to its own end.
    pub ends: bool,
    pub mount_failures: u32,
    /// When its sandbox was first tried.
    pub sandbox_tried: Option<Time>,
    /// Containers may run as far as the API is told.
    pub could_run: bool,
    pub kill: Option<KillOrder>,
    /// The API object is gone.
    pub gone: bool,
}

impl Worker {
    pub(super) fn new(pod: Arc<Value>, node: &str, seen: PodOnMachine, due: Time) -> Worker {
        let key = PodRef {
            namespace: pod::namespace(&pod).to_owned(),
            name: pod::name(&pod).to_owned(),
            uid: pod::uid(&pod).to_owned(),
            node: node.to_owned(),
        };
        Worker {
            key,
            status: pod["status"].clone(),
            pod,
            seen,
            stage: Stage::Sync,
            due: Some(due),
            look: None,
            last_sync: Time(i64::MIN),
            reasons: Reasons::new(),
            pulls: BackOff::default(),
            restarts: BackOff::default(),
            next: VecDeque::new(),
            failed: false,
            again: false,
            ends: false,
            mount_failures: 0,
            sandbox_tried: None,
            could_run: true,
            kill: None,
            gone: false,
        }
    }

    /// When something is to be done next.
    pub(super) fn wakeup(&self) -> Option<Time> {
        [self.due, self.look].into_iter().flatten().min()
    }

    /// Does what is due. True if there may be more.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, machine: &mut PodOnMachine) -> bool {
        if self.look.is_some_and(|at| at <= cx.now) {
            self.look_at(cx.now, machine);
            return true;
        }
        if self.due.is_none_or(|at| at > cx.now) {
            return false;
        }
        self.due = None;
        match self.stage.clone() {
            Stage::AwaitRoom(_) | Stage::Done => {}
            Stage::Sync | Stage::Idle => self.sync(cx, node, machine),
            Stage::Mount => self.mount(cx, node, machine),
            Stage::Sandbox => self.make_sandbox(cx, node, machine),
            Stage::Pull(pull, since) => self.pulled(cx, node, &pull, since),
            Stage::Start => self.start(cx, node, machine),
            Stage::StopSidecars(stopping) | Stage::Killing(stopping) => self.overdue(cx, node, machine, stopping),
            Stage::StopSandboxInSync => self.sidecars_stopped(cx, node, machine),
            Stage::Terminating => self.terminating(cx, node, machine),
            Stage::StopSandbox => self.stopped(cx, node, machine),
            Stage::Terminated => self.terminated(cx, node),
        }
        true
    }

    /// Each thing that changed asks for a sync of its own: the second waits for the first, and then for the next look.
    fn look_at(&mut self, now: Time, machine: &PodOnMachine) {
        self.look = None;
        self.again = machine.changes(&self.seen) > 1;
        self.seen = machine.clone();
        if self.stage == Stage::Idle {
            self.go(Stage::Sync, now);
        }
    }

    pub(super) fn go(&mut self, stage: Stage, at: Time) {
        self.stage = stage;
        self.due = Some(at);
    }

    /// The machine has changed: it will be looked at.
    pub(super) fn touch(&mut self, node: &Node<'_>, now: Time) {
        if self.look.is_none() {
            self.look = Some(node.timing.next_look(node.origin, now));
        }
    }

    /// When work that needs a look after the last sync can begin.
    pub(super) fn ready(&self, node: &Node<'_>, now: Time) -> Time {
        let last = node.timing.last_look(node.origin, now);
        if last > self.last_sync { now } else { node.timing.next_look(node.origin, now) }
    }

    /// The API object changed.
    pub(super) fn update(&mut self, cx: &mut Cx<'_>, node: &Node<'_>, pod: Arc<Value>) {
        let ended_by_others = pod::has_ended(&pod) && pod["status"]["phase"] != self.status["phase"];
        let status_only = self.pod["spec"] == pod["spec"] && same_metadata(&self.pod, &pod);
        if status_only && !ended_by_others {
            return;
        }
        let shorter = pod::is_terminating(&self.pod) && self.pod["metadata"] != pod["metadata"];
        self.pod = pod;
        match &mut self.stage {
            _ if !pod::is_terminating(&self.pod) && !ended_by_others => self.resync(node, cx.now),
            Stage::Killing(stopping) if shorter => {
                let grace = self.pod["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0).max(LEAST_GRACE);
                stopping.deadline = stopping.deadline.min(cx.now + seconds(grace));
                self.due = Some(stopping.deadline);
            }
            Stage::Terminating | Stage::Killing(_) | Stage::StopSandbox | Stage::Terminated => {}
            Stage::Done => self.delete(cx),
            _ => self.end(node, cx.now),
        }
    }

    fn resync(&mut self, node: &Node<'_>, now: Time) {
        if self.stage == Stage::Idle {
            let at = self.ready(node, now);
            self.go(Stage::Sync, at);
        }
    }

    /// Stops syncing; the pod's end begins after the next look, or at once if it was idle. A sync that starts containers is not interrupted: the
    /// image that it pulls is pulled, and what was to be started with it is started (`SyncPod` in `kubelet.go`, whose runtime does not get the
    /// context that is cancelled; kubernetes#113606).
    pub(super) fn end(&mut self, node: &Node<'_>, now: Time) {
        if matches!(self.stage, Stage::Sandbox | Stage::Pull(..) | Stage::Start) {
            self.ends = true;
            return;
        }
        if !matches!(self.stage, Stage::Idle) {
            self.last_sync = now;
        }
        let at = self.ready(node, now);
        self.go(Stage::Terminating, at);
    }

    /// The API object is gone: what still runs is ended without a word.
    pub(super) fn forget(&mut self, node: &Node<'_>, last: Arc<Value>, now: Time) {
        self.gone = true;
        self.pod = last;
        if !matches!(
            self.stage,
            Stage::Terminating | Stage::Killing(_) | Stage::StopSandbox | Stage::Terminated | Stage::Done
        ) {
            self.end(node, now);
        }
    }

    /// Ends the pod for the kubelet's own reasons.
    pub(super) fn kill(&mut self, node: &Node<'_>, order: KillOrder, now: Time) {
        if !matches!(self.stage, Stage::Killing(_) | Stage::StopSandbox | Stage::Terminated | Stage::Done) {
            self.kill = Some(order);
            self.end(node, now);
        }
    }

    /// The same before it was ever synced: a kubelet that starts does not want what runs.
    pub(super) fn end_rejected(&mut self, order: KillOrder) {
        self.kill = Some(order);
        self.stage = Stage::Terminating;
    }

    /// One of its containers has ended.
    pub(super) fn exited(&mut self, cx: &mut Cx<'_>, node: &Node<'_>, machine: &mut PodOnMachine) {
        self.touch(node, cx.now);
        self.look_again(cx, node, machine);
    }

    /// If it waits for containers to end: looks which of them have.
    pub(super) fn look_again(&mut self, cx: &mut Cx<'_>, node: &Node<'_>, machine: &mut PodOnMachine) {
        if let Stage::Killing(stopping) | Stage::StopSidecars(stopping) = self.stage.clone() {
            self.go_on_stopping(cx, node, machine, stopping);
        }
    }

    /// Whether its containers have stopped for good (`IsPodKnownTerminated`).
    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.stage, Stage::Terminated | Stage::Done)
    }

    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Done
    }

    /// The status as it is now, from what was last seen.
    pub(super) fn generate(&self, cx: &mut Cx<'_>, node: &Node<'_>) -> Value {
        let overdue = self.overdue_since(cx.now);
        if overdue {
            let report = Report::normal("DeadlineExceeded", status::OVERDUE);
            self.report(cx, node, &report);
        }
        let sources = Sources {
            pod: &self.pod,
            old: &self.status,
            seen: &self.seen,
            reasons: &self.reasons,
            host_ip: node.ip,
            overdue,
        };
        sources.generate()
    }

    fn overdue_since(&self, now: Time) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// When `activeDeadlineSeconds` is over; they count from the start time, whose fraction of a second the API does not keep.
    pub(super) fn deadline(&self) -> Option<Time> {
        let seconds = self.pod["spec"]["activeDeadlineSeconds"].as_i64()?;
        let start = Time::parse(self.status["startTime"].as_str()?)?;
        Some(start + crate::kubelet::worker::seconds(seconds))
    }

    /// Keeps a status and writes what of it the API does not have yet.
    pub(super) fn set_status(&mut self, cx: &mut Cx<'_>, mut status: Value, force: bool) {
        let generation = self.pod["metadata"]["generation"].clone();
        status::normalize(&mut status, &self.status, &generation, cx.now);
        if status == self.status && !force {
            return;
        }
        self.status = status;
        self.write(cx);
    }

    fn write(&self, cx: &mut Cx<'_>) {
        let PodRef { namespace, name, uid, .. } = &self.key;
        let Some(api) = cx.store.get(Resource::Pods, namespace, name).filter(|pod| pod::uid(pod) == uid) else {
            return;
        };
        let merged = status::merge(&self.pod, &api["status"], &self.status, self.could_run);
        let ends = pod::is_terminal_phase(merged["phase"].as_str().unwrap_or_default()) && !pod::has_ended(&api);
        let change = |pod: &mut Value| pod["status"] = merged;
        // It was there a moment ago, in the same store.
        let _ = cx.store.update_status(cx.now, Resource::Pods, namespace, name, change, &Writer::status("kubelet"));
        if ends {
            api::admission::quota::refresh(cx.now, cx.store, namespace);
        }
    }

    /// Removes the API object of a pod whose deletion was asked for (`canBeDeleted`); finalizers may still hold it.
    pub(super) fn delete(&self, cx: &mut Cx<'_>) {
        let PodRef { namespace, name, uid, .. } = &self.key;
        let api = cx.store.get(Resource::Pods, namespace, name);
        if api.is_some_and(|pod| pod::uid(&pod) == uid && pod::is_terminating(&pod)) {
            let options = DeleteOptions::grace(0).uid(uid.clone());
            // The preconditions hold: looked at above, in the same store.
            let _ = api::delete(cx.now, cx.store, Resource::Pods, namespace, name, &options);
        }
    }

    /// An event about the pod.
    pub(super) fn report(&self, cx: &mut Cx<'_>, node: &Node<'_>, report: &Report) {
        let object = events::reference(&self.pod);
        cx.events.count(cx.store, cx.now, &Source::kubelet(node.name), object, report);
    }

    /// An event about one of its containers.
    pub(super) fn report_container(&self, cx: &mut Cx<'_>, node: &str, container: &str, report: &Report) {
        let init = pod::init_containers(&self.pod).iter().any(|c| c["name"] == container);
        let object = events::container_reference(&self.pod, init, container);
        cx.events.count(cx.store, cx.now, &Source::kubelet(node), object, report);
    }

    /// The kubelet's own reason for the end goes into the status (`podStatusFn`).
    pub(super) fn apply_kill(&self, status: &mut Value) {
        let Some(order) = &self.kill else { return };
        status["phase"] = "Failed".into();
        status["reason"] = order.reason.as_str().into();
        status["message"] = order.message.as_str().into();
        if let Some(message) = &order.disruption
            && let Some(conditions) = status["conditions"].as_array_mut()
        {
            conditions.push(json!({
                "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": message,
            }));
        }
    }
}

/// Whether the metadata that concerns a kubelet is the same.
fn same_metadata(a: &Value, b: &Value) -> bool {
    let fields = ["labels", "annotations", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers"];
    fields.iter().all(|field| a["metadata"].get(*field) == b["metadata"].get(*field))
}

/// Whole seconds as a duration; below zero counts as zero.
pub(crate) fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}
