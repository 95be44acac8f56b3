//! A node's kubelet: what it does to a pod, in the order in which upstream's writes show it (recordings, v1.34.4).
//!
//! Each pod has a [`worker::Worker`]; what is on the machine ([`machine`]) is kept apart from it, so that a kubelet can be restarted, fall
//! silent or lose its runtime's records while the containers live their own life.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

mod admit;
mod env;
pub(crate) mod images;
mod link;
mod local_storage;
pub(crate) mod machine;
mod network;
mod spec;
mod status;
mod stop;
mod sync;
mod timing;
mod volumes;
pub(crate) mod worker;

pub use images::{Images, Pull};
pub use link::Connection;
pub use network::Network;
pub use timing::Timing;

use crate::events::{Report, Source};
use crate::pod;
use crate::resource::Resource;
use crate::runtime::{ContainerId, Exit};
use crate::store::{Change, ChangeKind};
use crate::time::Time;
use crate::world::Cx;
use machine::{Ended, Machine};
use worker::{KillOrder, Node, Stage, Worker};

/// What the runtime knows of the containers that ran, after they stopped all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// That they ended.
    Kept,
    /// Nothing.
    Lost,
    /// That they were created: not that they were started.
    Created,
}

/// How a kubelet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It works.
    Up,
    /// It neither hears nor says anything; its containers go on.
    Silent,
    /// Its process is not there; its containers go on. It will have forgotten everything.
    Down,
    /// The machine is off for good.
    Off,
}

/// One node's kubelet, and its machine.
#[derive(Debug)]
pub(crate) struct Kubelet {
    pub(crate) name: String,
    ip: String,
    index: u32,
    pub(crate) timing: Timing,
    pub(crate) health: Health,
    link: link::LinkEnd,
    shutting_down: bool,
    /// The pressure condition under which it takes no pods, such as `MemoryPressure`.
    pub(crate) pressure: Option<String>,
    /// With which reason and message it rejects new pods, such as a device plugin's.
    pub(crate) rejects: Option<(String, String)>,
    machine: Machine,
    workers: BTreeMap<String, Worker>,
    /// When which worker goes on.
    due: BTreeSet<(Time, String)>,
    next_ip: u32,
    pulled: BTreeSet<String>,
    origin: Time,
    /// When local storage is measured next.
    measure: Option<Time>,
}

impl Kubelet {
    /// A kubelet whose machine is empty. `index` numbers the nodes, for addresses.
    pub(crate) fn new(name: &str, index: u32, timing: Timing, now: Time) -> Kubelet {
        Kubelet {
            name: name.to_owned(),
            ip: node_ip(index),
            index,
            timing,
            health: Health::Up,
            link: link::LinkEnd::new(),
            shutting_down: false,
            pressure: None,
            rejects: None,
            machine: Machine::new(),
            workers: BTreeMap::new(),
            due: BTreeSet::new(),
            next_ip: 0,
            pulled: BTreeSet::new(),
            origin: now,
            measure: None,
        }
    }

    /// When it has something to do next.
    pub(crate) fn next_wakeup(&self) -> Option<Time> {
        if self.health != Health::Up {
            return None;
        }
        [self.due.first().map(|(at, _)| *at), self.measure].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>) {
        if self.health != Health::Up {
            return;
        }
        while let Some((at, uid)) = self.due.first().cloned().filter(|(at, _)| *at <= cx.now) {
            self.due.remove(&(at, uid.clone()));
            self.with(cx, &uid, |worker, cx, node, machine| while worker.advance(cx, node, machine) {});
            self.after(cx, &uid);
        }
        if self.measure.is_some_and(|at| at <= cx.now) {
            self.measure_local_storage(cx);
        }
    }

    /// Works on one pod, and notes when to go on with it.
    fn with(
        &mut self,
        cx: &mut Cx<'_>,
        uid: &str,
        work: impl FnOnce(&mut Worker, &mut Cx<'_>, &mut Node<'_>, &mut machine::PodOnMachine),
    ) {
        let Some(mut worker) = self.workers.remove(uid) else { return };
        if let Some(at) = worker.wakeup() {
            self.due.remove(&(at, uid.to_owned()));
        }
        let mut node = Node {
            name: &self.name,
            ip: &self.ip,
            timing: self.timing,
            origin: self.origin,
            next_ip: &mut self.next_ip,
            index: self.index,
            pulled: &mut self.pulled,
        };
        let machine = self.machine.entry(uid.to_owned()).or_default();
        work(&mut worker, cx, &mut node, machine);
        if let Some(at) = worker.wakeup() {
            self.due.insert((at, uid.to_owned()));
        }
        self.workers.insert(uid.to_owned(), worker);
    }

    /// What follows from a worker's step: gone pods are cleared away, critical pods get the room that was made.
    fn after(&mut self, cx: &mut Cx<'_>, uid: &str) {
        let over = self.workers.get(uid).is_some_and(Worker::is_over);
        if !over {
            return;
        }
        if self.workers.get(uid).is_some_and(|worker| worker.gone) {
            self.clear_away(cx, uid);
        }
        let waiting =
            |worker: &&Worker| matches!(&worker.stage, Stage::AwaitRoom(victims) if victims.iter().any(|v| v == uid));
        let waiting: Vec<String> = self.workers.values().filter(waiting).map(|worker| worker.key.uid.clone()).collect();
        for critical in waiting {
            self.room_made(cx, &critical, uid);
        }
    }

    fn room_made(&mut self, cx: &mut Cx<'_>, critical: &str, victim: &str) {
        let notice = self.timing.notice;
        self.with(cx, critical, |worker, cx, _, _| {
            if let Stage::AwaitRoom(victims) = &mut worker.stage {
                victims.retain(|left| left != victim);
                if victims.is_empty() {
                    worker.go(Stage::Sync, cx.now + notice);
                }
            }
        });
    }

    fn clear_away(&mut self, cx: &mut Cx<'_>, uid: &str) {
        if let Some(worker) = self.workers.remove(uid)
            && let Some(at) = worker.wakeup()
        {
            self.due.remove(&(at, uid.to_owned()));
        }
        for instance in self.machine.remove(uid).unwrap_or_default().instances.into_values().flatten() {
            cx.owners.remove(&instance.id);
        }
        cx.runtime.remove_pod(uid);
    }

    /// A pod of this node changed in the API.
    pub(crate) fn pod_changed(&mut self, cx: &mut Cx<'_>, change: &Change) {
        if self.health != Health::Up {
            return;
        }
        match change.kind {
            ChangeKind::Deleted => self.removed(cx, &change.object),
            ChangeKind::Added | ChangeKind::Modified => self.given(cx, &change.object),
        }
    }

    fn removed(&mut self, cx: &mut Cx<'_>, pod: &Arc<Value>) {
        let uid = pod::uid(pod).to_owned();
        self.with(cx, &uid, |worker, cx, node, _| worker.forget(node, pod.clone(), cx.now));
        self.after(cx, &uid);
    }

    fn given(&mut self, cx: &mut Cx<'_>, pod: &Arc<Value>) {
        let uid = pod::uid(pod);
        if self.workers.contains_key(uid) {
            self.with(cx, uid, |worker, cx, node, _| worker.update(cx, node, pod.clone()));
            return;
        }
        let seen = self.machine.get(uid).cloned().unwrap_or_default();
        let mut worker = Worker::new(pod.clone(), &self.name, seen, cx.now + self.timing.notice);
        if pod::has_ended(pod) && worker.seen.running().next().is_none() {
            worker.could_run = false;
            (worker.stage, worker.due) = (Stage::Done, None);
            worker.delete(cx);
        } else if pod::has_ended(pod) || pod::is_terminating(pod) {
            worker.stage = Stage::Terminating;
        } else {
            self.admit(cx, &mut worker);
        }
        self.add(worker, cx.now);
    }

    fn add(&mut self, worker: Worker, now: Time) {
        let uid = worker.key.uid.clone();
        if let Some(at) = worker.wakeup() {
            self.due.insert((at, uid.clone()));
        }
        if local_storage::is_limited(&worker.pod) && self.measure.is_none() {
            self.measure = Some(now + local_storage::PERIOD);
        }
        self.workers.insert(uid, worker);
    }

    /// The pods that count against the node's resources (`GetActivePods`): those of the API that are not terminated. One whose object is gone
    /// is none of them, though its containers may take a moment to end.
    fn admitted(&self) -> Vec<Arc<Value>> {
        let active = self.workers.values().filter(|worker| !worker.gone && !worker.is_terminated());
        active.map(|worker| worker.pod.clone()).collect()
    }

    fn admit(&mut self, cx: &mut Cx<'_>, worker: &mut Worker) {
        let Some(node) = cx.store.get(Resource::Nodes, "", &self.name) else { return };
        let others = self.admitted();
        let used = admit::usage(others.iter().map(|pod| &**pod));
        let critical = pod::priority(&worker.pod) >= pod::SYSTEM_CRITICAL_PRIORITY;
        let verdict = match &self.pressure {
            _ if self.shutting_down => Err(admit::shutting_down()),
            _ if self.rejects.is_some() => Err(admit::scripted(self.rejects.clone().unwrap_or_default())),
            Some(condition) if !critical => Err(admit::under_pressure(condition)),
            _ => admit::admit(&worker.pod, &node, &used),
        };
        let Err(rejection) = verdict else { return };
        if critical && rejection.is_about_room() && self.make_room(cx, worker, &node, &others) {
            return;
        }
        self.reject(cx, worker, &rejection);
    }

    /// Kills pods for a critical one (`pkg/kubelet/preemption`). False if that would not help.
    fn make_room(&mut self, cx: &mut Cx<'_>, worker: &mut Worker, node: &Value, others: &[Arc<Value>]) -> bool {
        let others: Vec<&Value> = others.iter().map(|pod| &**pod).collect();
        let Some(victims) = admit::victims(&worker.pod, node, &others) else { return false };
        let victims: Vec<String> = victims.into_iter().map(|victim| pod::uid(victim).to_owned()).collect();
        for victim in &victims {
            self.preempt(cx, victim);
        }
        (worker.stage, worker.due) = (Stage::AwaitRoom(victims), None);
        true
    }

    fn preempt(&mut self, cx: &mut Cx<'_>, uid: &str) {
        let order = KillOrder {
            reason: "Preempting".into(),
            message: "Preempted in order to admit critical pod".into(),
            disruption: Some("Pod was preempted by Kubelet to accommodate a critical pod.".into()),
            grace: None,
        };
        self.kill(cx, uid, order, true);
    }

    /// Ends a pod for the kubelet's own reasons; with a Warning event that carries reason and message.
    fn kill(&mut self, cx: &mut Cx<'_>, uid: &str, order: KillOrder, event: bool) {
        self.with(cx, uid, |worker, cx, node, _| {
            if event {
                worker.report(cx, node, &Report::warning(&order.reason, order.message.clone()));
            }
            worker.kill(node, order, cx.now);
        });
    }

    /// Writes the rejection: a fresh status, without conditions and container statuses. A restarted kubelet refuses what runs already, too: then
    /// the phase, its reason and message wait until that has ended (`mergePodStatus`).
    fn reject(&mut self, cx: &mut Cx<'_>, worker: &mut Worker, rejection: &admit::Rejection) {
        let report = Report::warning(&rejection.reason, rejection.message.clone());
        let object = crate::events::reference(&worker.pod);
        cx.events.count(cx.store, cx.now, &Source::kubelet(&self.name), object, &report);
        worker.could_run = worker.seen.running().next().is_some();
        let message = format!("Pod was rejected: {}", rejection.message);
        let status = json!({
            "phase": "Failed", "reason": rejection.reason, "message": message, "qosClass": pod::qos_class(&worker.pod),
        });
        worker.set_status(cx, status, true);
        if worker.could_run {
            worker.end_rejected(KillOrder { reason: rejection.reason.clone(), message, disruption: None, grace: None });
        } else {
            (worker.stage, worker.due) = (Stage::Done, None);
        }
    }

    /// A container of this machine has ended by itself or by a signal.
    pub(crate) fn exited(&mut self, cx: &mut Cx<'_>, uid: &str, id: &ContainerId, exit: &Exit) {
        let Some(instance) = self.machine.get_mut(uid).and_then(|pod| pod.find_mut(id)) else { return };
        instance.ended.get_or_insert_with(|| ended(exit));
        if self.health == Health::Up {
            self.with(cx, uid, |worker, cx, node, machine| worker.exited(cx, node, machine));
        }
    }

    /// Falls silent, or its process stops: nothing is heard of it; containers go on.
    pub(crate) fn stop(&mut self, health: Health) {
        if self.health != Health::Off {
            self.set_health(health);
        }
    }

    fn set_health(&mut self, health: Health) {
        self.health = health;
        self.link.set(health);
    }

    /// A connection of the API server to it.
    pub(crate) fn connection(&self) -> Connection {
        self.link.open()
    }

    /// Is back: hears of everything at once. A process that was down remembers nothing but what is on the machine and in the API.
    pub(crate) fn come_back(&mut self, cx: &mut Cx<'_>) {
        if self.health == Health::Off {
            return;
        }
        if self.health == Health::Down {
            self.workers.clear();
            self.due.clear();
            self.shutting_down = false;
            self.origin = cx.now;
        }
        self.set_health(Health::Up);
        self.resync(cx);
        self.go_on_stopping(cx);
    }

    /// Containers may have ended while nothing was heard of it: who waits for their end looks.
    fn go_on_stopping(&mut self, cx: &mut Cx<'_>) {
        let uids: Vec<String> = self.workers.keys().cloned().collect();
        for uid in uids {
            self.with(cx, &uid, |worker, cx, node, machine| worker.look_again(cx, node, machine));
        }
    }

    /// Compares with the API: new, changed and missing pods. What has no API object any more is ended.
    pub(crate) fn resync(&mut self, cx: &mut Cx<'_>) {
        if self.health != Health::Up {
            return;
        }
        let mine = |pod: &&Arc<Value>| pod::node_name(pod) == self.name;
        let pods: Vec<Arc<Value>> = cx.store.list(Resource::Pods, None).filter(mine).cloned().collect();
        let known: BTreeSet<&str> = pods.iter().map(|pod| pod::uid(pod)).collect();
        let missing = |uid: &&String| !known.contains(uid.as_str());
        let gone: Vec<String> = self.workers.keys().chain(self.machine.keys()).filter(missing).cloned().collect();
        for uid in gone {
            self.forget(cx, &uid);
        }
        for pod in &pods {
            self.given(cx, pod);
            self.with(cx, pod::uid(pod), |worker, cx, node, _| worker.touch(node, cx.now));
        }
    }

    fn forget(&mut self, cx: &mut Cx<'_>, uid: &str) {
        match self.workers.get(uid).map(|worker| worker.pod.clone()) {
            Some(pod) => self.removed(cx, &pod),
            None => self.clear_away(cx, uid),
        }
    }

    /// The machine was started anew: no container of before runs.
    pub(crate) fn reboot(&mut self, cx: &mut Cx<'_>, records: Records) {
        let uids: Vec<String> = self.machine.keys().cloned().collect();
        for uid in uids {
            self.crash(cx, &uid, records);
            self.take_sandbox_down(&uid);
        }
        if self.health != Health::Off {
            self.set_health(Health::Down);
            self.come_back(cx);
        }
    }

    /// The machine is off, for good.
    pub(crate) fn power_off(&mut self, cx: &mut Cx<'_>) {
        let uids: Vec<String> = self.machine.keys().cloned().collect();
        for uid in uids {
            self.crash(cx, &uid, Records::Lost);
            cx.runtime.remove_pod(&uid);
        }
        self.machine.clear();
        self.set_health(Health::Off);
    }

    /// The runtime breaks down: a pod's containers are gone, and this is what it knows of them.
    pub(crate) fn break_runtime(&mut self, cx: &mut Cx<'_>, uid: &str, records: Records) {
        self.crash(cx, uid, records);
        if self.health == Health::Up {
            // Who waits for its containers to end need not wait any more.
            self.with(cx, uid, |worker, cx, node, machine| worker.exited(cx, node, machine));
        }
    }

    fn take_sandbox_down(&mut self, uid: &str) {
        if let Some(sandbox) = self.machine.get_mut(uid).and_then(|pod| pod.sandbox.as_mut()) {
            sandbox.alive = false;
        }
    }

    /// All containers of a pod stop at this instant.
    fn crash(&mut self, cx: &mut Cx<'_>, uid: &str, records: Records) {
        let Some(pod) = self.machine.get_mut(uid) else { return };
        for instance in pod.instances.values_mut().flatten() {
            if instance.runs() || records == Records::Lost {
                cx.runtime.remove(&instance.id);
                cx.owners.remove(&instance.id);
            }
            if records == Records::Created && instance.runs() {
                instance.only_created = true;
                continue;
            }
            let lost = Ended { exit_code: 255, reason: "Unknown".into(), message: String::new(), at: cx.now };
            instance.ended.get_or_insert(lost);
        }
        if records == Records::Lost {
            pod.instances.clear();
            pod.sandbox = None;
        }
    }

    /// Graceful node shutdown (KEP-2000): all pods are ended, within `grace` at most, and no new ones are taken.
    pub(crate) fn shut_down(&mut self, cx: &mut Cx<'_>, grace: Duration) {
        self.shutting_down = true;
        let most = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let pods: Vec<(String, i64)> =
            self.workers.values().map(|worker| (worker.key.uid.clone(), pod::grace_seconds(&worker.pod))).collect();
        for (uid, own) in pods {
            let message = "Pod was terminated in response to imminent node shutdown.";
            let order = KillOrder {
                reason: "Terminated".into(),
                message: message.into(),
                disruption: Some(message.into()),
                grace: Some(own.min(most)),
            };
            self.kill(cx, &uid, order, false);
        }
    }

    /// Evicts a pod because the node is low on a resource (`eviction_manager.go`).
    pub(crate) fn evict_for_pressure(&mut self, cx: &mut Cx<'_>, uid: &str, resource: &str) {
        let Some(worker) = self.workers.get(uid) else { return };
        let containers = pod::containers(&worker.pod).iter().filter_map(|c| c["name"].as_str());
        let using: String = containers
            .map(|name| format!("Container {name} was using 2Gi, request is 0, has larger consumption of {resource}. "))
            .collect();
        let message =
            format!("The node was low on resource: {resource}. Threshold quantity: 100Mi, available: 52Mi. {using}");
        let disruption = Some(message.clone());
        self.kill(cx, uid, KillOrder { reason: "Evicted".into(), message, disruption, grace: Some(0) }, true);
    }

    /// Whether its machine has something of the pod.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.machine.get(uid).is_some_and(|pod| !pod.instances.is_empty())
    }

    /// Whether it still works on the pod.
    pub(crate) fn holds(&self, uid: &str) -> bool {
        self.workers.get(uid).is_some_and(|worker| !worker.is_over())
    }

    /// The container's ID as the API's log, exec and attach need it. `previous`: the one before the last.
    pub(crate) fn container_id(&self, uid: &str, container: &str, previous: bool) -> Option<ContainerId> {
        let instances = self.machine.get(uid)?.instances.get(container)?;
        let index = instances.len().checked_sub(if previous { 2 } else { 1 })?;
        Some(instances[index].id.clone())
    }

    /// Evicts a pod whose emptyDir is over its limit, whatever it really holds.
    pub(crate) fn evict_for_volume(&mut self, cx: &mut Cx<'_>, uid: &str, volume: &str) {
        let limit = self.workers.get(uid).and_then(|worker| local_storage::limit(&worker.pod, volume));
        let message = local_storage::message(volume, limit.as_deref().unwrap_or("0"));
        self.kill(cx, uid, KillOrder { reason: "Evicted".into(), message, disruption: None, grace: Some(1) }, true);
    }

    /// The node's number.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The node's address.
    pub(crate) fn ip(&self) -> &str {
        &self.ip
    }
}

/// The address of the node with this number (TEST-NET-1, as the recordings have it).
pub(crate) fn node_ip(index: u32) -> String {
    format!("192.0.{}.{}", 2 + index / 250, index % 250 + 2)
}

fn ended(exit: &Exit) -> Ended {
    let reason = match exit.exit_code {
        _ if exit.oom_killed => "OOMKilled",
        0 => "Completed",
        _ => "Error",
    };
    Ended { exit_code: exit.exit_code, reason: reason.into(), message: exit.message.clone(), at: exit.at }
}
