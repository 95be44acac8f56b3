//! One cluster as one value: what the API server stores, and everything that acts on it.
//!
//! Time is an argument. [`World::advance`] runs every component until nothing is left to do at an instant, then jumps to the next instant at
//! which something is due, up to the one it was given; [`World::next_wakeup`] says when that will be. Components never call each other: each
//! reads the changes of the store and writes into it, as the real ones do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api;
use crate::daemonsets::DaemonSets;
use crate::events::EventRecorder;
use crate::kubelet::{Health, Images, Kubelet, Timing};
use crate::nodes::{self, Lifecycle, NodeSpec};
use crate::pod;
use crate::podgc::PodGc;
use crate::provisioner::{Provisioner, ProvisionerSpec};
use crate::resource::Resource;
use crate::runtime::{ContainerId, Runtime, RuntimeEvent};
use crate::scheduler::Scheduler;
use crate::script::Director;
use crate::store::{Change, ChangeKind, DeleteOptions, Store, Writer};
use crate::time::Time;

/// How often everything may be gone through at one instant before it counts as a livelock. A thousand pods at once take a few dozen.
const MOST_ROUNDS: u32 = 10_000;

/// Something went round in circles: a bug of the lab. Time went on without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("livelock at {at}: still changing after {MOST_ROUNDS} rounds")]
pub struct Livelock {
    /// When.
    pub at: Time,
}

/// What a component may use while it acts.
pub(crate) struct Cx<'a> {
    pub now: Time,
    pub store: &'a mut Store,
    pub events: &'a mut EventRecorder,
    pub runtime: &'a mut dyn Runtime,
    pub images: &'a Images,
    /// Whose container it is: node and pod UID.
    pub owners: &'a mut BTreeMap<ContainerId, (String, String)>,
}

/// A cluster.
pub struct World {
    pub(crate) store: Store,
    pub(crate) events: EventRecorder,
    pub(crate) runtime: Box<dyn Runtime + Send>,
    pub(crate) images: Images,
    pub(crate) owners: BTreeMap<ContainerId, (String, String)>,
    pub(crate) kubelets: BTreeMap<String, Kubelet>,
    pub(crate) scheduler: Scheduler,
    daemonsets: DaemonSets,
    pub(crate) lifecycle: Lifecycle,
    podgc: PodGc,
    pub(crate) provisioner: Provisioner,
    pub(crate) director: Director,
    pub(crate) timing: Timing,
    /// Labels that nodes get later: node, key, value.
    later_labels: Vec<(Time, String, String, String)>,
    cursor: u64,
    now: Time,
    next_index: u32,
    livelock: Option<Livelock>,
    pub(crate) refusals: Vec<String>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("nodes", &self.kubelets.keys()).finish_non_exhaustive()
    }
}

/// The parts of a world that components use, and the components, apart.
macro_rules! cx {
    ($world:expr) => {
        Cx {
            now: $world.now,
            store: &mut $world.store,
            events: &mut $world.events,
            runtime: &mut *$world.runtime,
            images: &$world.images,
            owners: &mut $world.owners,
        }
    };
}

impl World {
    /// A cluster without nodes, at `now`. UIDs and generated names follow from `seed`.
    pub fn new(now: Time, seed: u64, runtime: Box<dyn Runtime + Send>) -> World {
        let mut store = Store::new(seed);
        api::namespaces::bootstrap(now, &mut store);
        World {
            cursor: store.rv(),
            store,
            events: EventRecorder::default(),
            runtime,
            images: Images::default(),
            owners: BTreeMap::new(),
            kubelets: BTreeMap::new(),
            scheduler: Scheduler::default(),
            daemonsets: DaemonSets::default(),
            lifecycle: Lifecycle::default(),
            podgc: PodGc::default(),
            provisioner: Provisioner::default(),
            director: Director::default(),
            timing: Timing::default(),
            later_labels: Vec::new(),
            now,
            next_index: 0,
            livelock: None,
            refusals: Vec::new(),
        }
    }

    /// The instant up to which everything has happened.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The objects.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The objects, to write as the API server at `now`: what was due until then has happened first. Call [`World::advance`] afterwards, with
    /// the same instant or a later one.
    pub fn store_mut(&mut self, now: Time) -> &mut Store {
        self.advance(now);
        &mut self.store
    }

    /// The container runtime of all nodes.
    pub fn runtime(&self) -> &(dyn Runtime + Send) {
        &*self.runtime
    }

    /// The container runtime of all nodes, for exec and attach.
    pub fn runtime_mut(&mut self) -> &mut (dyn Runtime + Send) {
        &mut *self.runtime
    }

    /// How images are pulled.
    pub fn images_mut(&mut self) -> &mut Images {
        &mut self.images
    }

    /// How long the work of kubelets takes: of those that are there, and of nodes to come.
    pub fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
        for kubelet in self.kubelets.values_mut() {
            kubelet.timing = timing;
        }
    }

    /// What adds nodes for pods that fit none; None for nothing.
    pub fn set_provisioner(&mut self, spec: Option<ProvisionerSpec>) {
        self.provisioner.set(spec);
    }

    /// What the API server refused of what scripts say, in its words: nothing is lost without a word.
    pub fn refusals(&self) -> &[String] {
        &self.refusals
    }

    /// The first livelock that was met, if any: tests assert that there was none.
    pub fn livelock(&self) -> Option<&Livelock> {
        self.livelock.as_ref()
    }

    /// A container's ID, for its log, exec and attach. None while it has none. `previous`: of the one before the last.
    pub fn container(&self, ns: &str, pod: &str, container: &str, previous: bool) -> Option<ContainerId> {
        let pod = self.store.get(Resource::Pods, ns, pod)?;
        self.kubelets.get(pod::node_name(&pod))?.container_id(pod::uid(&pod), container, previous)
    }

    /// The next instant at which something happens by itself; None if nothing will. Never before what [`World::now`] says.
    pub fn next_wakeup(&self) -> Option<Time> {
        let components = [
            self.runtime.next_wakeup(),
            self.daemonsets.next_wakeup(),
            self.lifecycle.next_wakeup(),
            self.podgc.next_wakeup(),
            self.provisioner.next_wakeup(),
            self.director.next_wakeup(),
            self.later_labels.iter().map(|(at, ..)| *at).min(),
            (self.store.rv() > self.cursor).then_some(self.now),
        ];
        let kubelets = self.kubelets.values().filter_map(Kubelet::next_wakeup);
        components.into_iter().flatten().chain(kubelets).min().map(|at| at.max(self.now))
    }

    /// Lets everything happen that happens until `now`, in order. An earlier `now` than before counts as the same.
    pub fn advance(&mut self, now: Time) {
        let until = now.max(self.now);
        loop {
            self.settle();
            match self.next_due().filter(|at| *at <= until) {
                // Everything that was due is done: what is still due is due for ever.
                Some(at) if at <= self.now => {
                    self.note_livelock();
                    break;
                }
                Some(at) => self.now = at,
                None => break,
            }
        }
        self.now = until;
    }

    /// When a component has something to do, apart from the store's changes.
    fn next_due(&self) -> Option<Time> {
        let kubelets = self.kubelets.values().filter_map(Kubelet::next_wakeup);
        let components = [
            self.runtime.next_wakeup(),
            self.daemonsets.next_wakeup(),
            self.lifecycle.next_wakeup(),
            self.podgc.next_wakeup(),
            self.provisioner.next_wakeup(),
            self.director.next_wakeup(),
            self.later_labels.iter().map(|(at, ..)| *at).min(),
        ];
        components.into_iter().flatten().chain(kubelets).min()
    }

    /// Everything that there is to do at this instant.
    fn settle(&mut self) {
        for _ in 0..MOST_ROUNDS {
            if !self.round() {
                return;
            }
        }
        self.note_livelock();
    }

    fn note_livelock(&mut self) {
        tracing::error!(at = %self.now, "livelock");
        self.livelock.get_or_insert(Livelock { at: self.now });
    }

    /// One look at every component. True if something happened.
    fn round(&mut self) -> bool {
        let mut busy = self.dispatch();
        busy |= self.poll_runtime();
        busy |= self.add_labels();
        for spec in self.provisioner.arrived(self.now) {
            self.add_node(spec);
            busy = true;
        }
        let due = |kubelet: &Kubelet, now: Time| kubelet.next_wakeup().is_some_and(|at| at <= now);
        for kubelet in self.kubelets.values_mut() {
            if due(kubelet, self.now) {
                kubelet.advance(&mut cx!(self));
                busy = true;
            }
        }
        busy |= self.daemonsets.run(&mut cx!(self));
        busy |= self.scheduler.run(&mut cx!(self));
        busy |= self.provisioner.run(&mut cx!(self));
        busy |= self.lifecycle.run(&mut cx!(self));
        busy |= self.podgc.run(&mut cx!(self));
        busy |= self.direct();
        busy || self.store.rv() > self.cursor
    }

    /// Hands the store's changes to whom they concern.
    fn dispatch(&mut self) -> bool {
        let changes: Option<Vec<Change>> =
            self.store.changes_since(self.cursor).ok().map(|changes| changes.cloned().collect());
        let Some(changes) = changes else {
            self.resync();
            return true;
        };
        self.cursor = self.store.rv();
        for change in &changes {
            self.scheduler.observe(change);
            self.daemonsets.observe(change);
            self.lifecycle.observe(change);
            self.podgc.observe(change);
            self.provisioner.observe(change);
            self.director.observe(self.now, change);
            if change.resource == Resource::Pods
                && let Some(kubelet) = self.kubelets.get_mut(pod::node_name(&change.object))
            {
                kubelet.pod_changed(&mut cx!(self), change);
            }
        }
        if changes.iter().any(|change| change.kind == ChangeKind::Deleted) {
            api::namespaces::advance(self.now, &mut self.store);
        }
        !changes.is_empty()
    }

    /// Changes were forgotten before they were read: everybody lists again.
    fn resync(&mut self) {
        self.cursor = self.store.rv();
        self.scheduler.resync(&self.store);
        self.daemonsets.resync();
        self.lifecycle.resync(&self.store);
        for kubelet in self.kubelets.values_mut() {
            kubelet.resync(&mut cx!(self));
        }
    }

    fn poll_runtime(&mut self) -> bool {
        let events = self.runtime.poll(self.now);
        for RuntimeEvent::Exited { id, exit } in &events {
            let Some((node, uid)) = self.owners.get(id).cloned() else { continue };
            if let Some(kubelet) = self.kubelets.get_mut(&node) {
                kubelet.exited(&mut cx!(self), &uid, id, exit);
            }
        }
        !events.is_empty()
    }

    fn add_labels(&mut self) -> bool {
        let now = self.now;
        let (due, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.later_labels).into_iter().partition(|(at, ..)| *at <= now);
        self.later_labels = left;
        for (_, node, key, value) in &due {
            self.label_node(node, key, Some(value));
        }
        !due.is_empty()
    }

    /// Adds a node with a machine and a kubelet of its own. One that is there already stays as it is.
    pub fn add_node(&mut self, spec: NodeSpec) {
        if self.store.get(Resource::Nodes, "", &spec.name).is_some() {
            return;
        }
        let index = self.kubelets.get(&spec.name).map_or(self.next_index, Kubelet::index);
        self.next_index = self.next_index.max(index + 1);
        // A machine of this name that was there before is another one.
        self.power_off_node(&spec.name);
        let kubelet = Kubelet::new(&spec.name, index, self.timing, self.now);
        let mut object = spec.object(self.now, kubelet.ip());
        object["status"]["nodeInfo"]["bootID"] = self.store.new_uid().into();
        if api::create(self.now, &mut self.store, Resource::Nodes, object, &Writer::new("kubelet")).is_err() {
            return;
        }
        self.lifecycle.answers(&spec.name);
        for (key, value, after) in &spec.later_labels {
            self.later_labels.push((self.now + *after, spec.name.clone(), key.clone(), value.clone()));
        }
        let kubelet = self.kubelets.entry(spec.name).insert_entry(kubelet).into_mut();
        // Pods may be assigned to the name already.
        kubelet.resync(&mut cx!(self));
    }

    /// Sets or removes a node's label.
    pub fn label_node(&mut self, node: &str, key: &str, value: Option<&str>) {
        let change = |node: &mut Value| match value {
            Some(value) => node["metadata"]["labels"][key] = value.into(),
            None => drop(node["metadata"]["labels"].as_object_mut().and_then(|labels| labels.remove(key))),
        };
        // A node that is gone needs no label.
        let _ = self.store.update_status(
            self.now,
            Resource::Nodes,
            "",
            node,
            change,
            &Writer::new("kube-controller-manager"),
        );
    }

    /// The kubelet falls silent, as behind a network that is cut; its containers run on.
    pub fn silence_node(&mut self, node: &str) {
        self.lose_kubelet(node, Health::Silent);
    }

    /// The kubelet's process stops; its containers run on. It forgets all it knew.
    pub fn stop_kubelet(&mut self, node: &str) {
        self.lose_kubelet(node, Health::Down);
    }

    fn lose_kubelet(&mut self, node: &str, health: Health) {
        if let Some(kubelet) = self.kubelets.get_mut(node) {
            if kubelet.health == Health::Up {
                self.lifecycle.fell_silent(node, self.now);
            }
            kubelet.stop(health);
        }
    }

    /// The kubelet is heard again, or its process is started.
    pub fn bring_back_kubelet(&mut self, node: &str) {
        if let Some(kubelet) = self.kubelets.get_mut(node)
            && kubelet.health != Health::Off
        {
            self.lifecycle.answers(node);
            kubelet.come_back(&mut cx!(self));
            nodes::report_ready(&mut cx!(self), node);
        }
    }

    /// The machine is started anew: no container of before runs. `records_lost`: its runtime knows of none either.
    pub fn reboot_node(&mut self, node: &str, records_lost: bool) {
        if let Some(kubelet) = self.kubelets.get_mut(node).filter(|kubelet| kubelet.health != Health::Off) {
            self.lifecycle.answers(node);
            kubelet.reboot(&mut cx!(self), records_lost);
            nodes::report_ready(&mut cx!(self), node);
            nodes::report_reboot(&mut cx!(self), node);
        }
    }

    /// The machine is off for good; its object stays.
    pub fn power_off_node(&mut self, node: &str) {
        if let Some(kubelet) = self.kubelets.get_mut(node) {
            if kubelet.health == Health::Up {
                self.lifecycle.fell_silent(node, self.now);
            }
            kubelet.power_off(&mut cx!(self));
        }
    }

    /// The node's object is deleted; the machine and what runs on it stay.
    pub fn delete_node(&mut self, node: &str) {
        // Not there: just as well.
        let _ = self.store.delete(self.now, Resource::Nodes, "", node, &DeleteOptions::default());
        self.lifecycle.answers(node);
    }

    /// Graceful shutdown: the kubelet ends its pods within `grace` and takes no more.
    pub fn shut_down_node(&mut self, node: &str, grace: Duration) {
        if let Some(kubelet) = self.kubelets.get_mut(node) {
            kubelet.shut_down(&mut cx!(self), grace);
            nodes::report_shutdown(&mut cx!(self), node);
        }
    }

    /// The runtime forgets a pod's containers, and they are gone.
    pub fn lose_records(&mut self, ns: &str, name: &str) {
        self.on_kubelet(ns, name, |kubelet, cx, pod| kubelet.lose_records(cx, pod::uid(pod)));
    }

    /// The kubelet evicts a pod because its node is low on `resource` (`memory`, `ephemeral-storage`).
    pub fn evict_for_pressure(&mut self, ns: &str, name: &str, resource: &str) {
        self.on_kubelet(ns, name, |kubelet, cx, pod| kubelet.evict_for_pressure(cx, pod::uid(pod), resource));
    }

    /// The kubelet evicts a pod because a volume of it is over its limit.
    pub fn evict_for_volume(&mut self, ns: &str, name: &str, volume: &str) {
        self.on_kubelet(ns, name, |kubelet, cx, pod| kubelet.evict_for_volume(cx, pod::uid(pod), volume));
    }

    /// Takes no new pods, or does again (`spec.unschedulable`).
    pub fn cordon_node(&mut self, node: &str, on: bool) {
        let change = |node: &mut Value| match on {
            true => node["spec"]["unschedulable"] = true.into(),
            false => drop(node["spec"].as_object_mut().and_then(|spec| spec.remove("unschedulable"))),
        };
        // A node that is gone takes none anyway.
        let _ = self.store.update_status(self.now, Resource::Nodes, "", node, change, &Writer::new("kubectl-cordon"));
    }

    /// The kubelet rejects new pods with this reason and message; None: no more.
    pub fn reject_on_node(&mut self, node: &str, why: Option<(String, String)>) {
        if let Some(kubelet) = self.kubelets.get_mut(node) {
            kubelet.rejects = why;
        }
    }

    /// The node is low on `memory`, `disk` or `pids`: condition, taint, and no new pods. None: no more.
    pub fn set_pressure(&mut self, node: &str, what: Option<&str>) {
        let Some(kubelet) = self.kubelets.get_mut(node) else { return };
        kubelet.pressure = what.map(|what| nodes::pressure(what).to_owned());
        nodes::report_pressure(&mut cx!(self), node, what);
        self.change_taints(node, |taints| {
            taints.retain(|taint| !taint["key"].as_str().is_some_and(|key| key.ends_with("-pressure")));
            let key = |what: &str| format!("node.kubernetes.io/{}-pressure", what.trim_end_matches('s'));
            taints.extend(what.map(|what| nodes::taint(&key(what), "", "NoSchedule")));
        });
    }

    /// Changes a node's taints.
    pub(crate) fn change_taints(&mut self, node: &str, change: impl FnOnce(&mut Vec<Value>)) {
        let Some(object) = self.store.get(Resource::Nodes, "", node) else { return };
        let mut taints = pod::list(&object["spec"], "taints").to_vec();
        change(&mut taints);
        nodes::set_taints(&mut cx!(self), node, taints);
    }

    /// Preempts a bound pod: a pod of a higher priority is made, pinned to its node, that needs what it has.
    pub(crate) fn preempt(&mut self, victim: &Arc<Value>) {
        let node = pod::node_name(victim);
        if node.is_empty() {
            return;
        }
        let class = json!({"metadata": {"name": "lab-preemptor"}, "value": 1_000_000_000});
        // Fails where it was made before.
        let _ =
            api::create(self.now, &mut self.store, Resource::PriorityClasses, class, &Writer::new("kubectl-create"));
        let own = pod::requests(victim).get("cpu").copied().unwrap_or(0);
        let cpu = if own > 0 { self.scheduler.free(node, "cpu") + own } else { 1 };
        let pod = preemptor(pod::namespace(victim), node, cpu);
        if let Ok(made) = api::create(self.now, &mut self.store, Resource::Pods, pod, &Writer::new("kubectl-create")) {
            self.scheduler.force(&mut cx!(self), &made, victim);
        }
    }

    fn on_kubelet(&mut self, ns: &str, name: &str, work: impl FnOnce(&mut Kubelet, &mut Cx<'_>, &Arc<Value>)) {
        let Some(pod) = self.store.get(Resource::Pods, ns, name) else { return };
        if let Some(kubelet) = self.kubelets.get_mut(pod::node_name(&pod)) {
            work(kubelet, &mut cx!(self), &pod);
        }
    }
}

/// A pod of high priority for one node. It asks for so many thousandths of a core.
fn preemptor(ns: &str, node: &str, cpu: i64) -> Value {
    let only = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
    let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [only]}});
    let container = json!({
        "name": "base", "image": "lab/preemptor:1", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000000"],
        "resources": {"requests": {"cpu": format!("{cpu}m")}},
    });
    json!({
        "metadata": {"generateName": "preemptor-", "namespace": ns},
        "spec": {
            "affinity": {"nodeAffinity": affinity}, "containers": [container], "priorityClassName": "lab-preemptor",
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "tolerations": [{"operator": "Exists"}],
        },
    })
}

#[cfg(test)]
mod tests;
