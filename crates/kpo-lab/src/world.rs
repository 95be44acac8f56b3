//! One cluster as one value: what the API server stores, and everything that acts on it.
//!
//! Time is an argument. [`World::advance`] runs every component until nothing is left to do at an instant, then jumps to the next instant at
//! which something is due, up to the one it was given; [`World::next_wakeup`] says when that will be. Components never call each other: each
//! reads the changes of the store and writes into it, as the real ones do.

use std::collections::BTreeMap;
use std::fmt;

use crate::api::{self, Rule};
use crate::daemonsets::DaemonSets;
use crate::events::EventRecorder;
use crate::kubelet::{Images, Kubelet, Network, Timing};
use crate::nodes::Lifecycle;
use crate::pod;
use crate::podgc::PodGc;
use crate::provisioner::{Provisioner, ProvisionerSpec};
use crate::resource::Resource;
use crate::runtime::{ContainerId, Runtime, RuntimeEvent};
use crate::scheduler::Scheduler;
use crate::script::Director;
use crate::store::{Change, ChangeKind, Store};
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
    pub network: &'a Network,
    /// Whose container it is: node and pod UID.
    pub owners: &'a mut BTreeMap<ContainerId, (String, String)>,
}

/// Who is told of what comes to nothing.
type Tell = Box<dyn Fn(&str) + Send>;

/// A cluster.
pub struct World {
    pub(crate) store: Store,
    pub(crate) events: EventRecorder,
    pub(crate) runtime: Box<dyn Runtime + Send>,
    pub(crate) images: Images,
    pub(crate) network: Network,
    pub(crate) owners: BTreeMap<ContainerId, (String, String)>,
    pub(crate) kubelets: BTreeMap<String, Kubelet>,
    pub(crate) scheduler: Scheduler,
    daemonsets: DaemonSets,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) podgc: PodGc,
    pub(crate) provisioner: Provisioner,
    pub(crate) director: Director,
    pub(crate) timing: Timing,
    /// Labels that nodes get later: node, key, value.
    later_labels: Vec<(Time, String, String, String)>,
    cursor: u64,
    now: Time,
    next_index: u32,
    livelock: Option<Livelock>,
    /// Users beside the admin, and what they may do.
    pub(crate) users: BTreeMap<String, Vec<Rule>>,
    refusals: Vec<String>,
    tell: Option<Tell>,
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
            network: &$world.network,
            owners: &mut $world.owners,
        }
    };
}

mod machines;

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
            network: Network::default(),
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
            users: BTreeMap::new(),
            refusals: Vec::new(),
            tell: None,
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

    /// Whether the nodes' network is up.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
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

    /// What of what scripts say came to nothing, and why: nothing is lost without a word.
    pub fn refusals(&self) -> &[String] {
        &self.refusals
    }

    /// Who is told of each such thing from now on, at once. It must not block.
    pub fn on_refusal(&mut self, tell: impl Fn(&str) + Send + 'static) {
        self.tell = Some(Box::new(tell));
    }

    pub(crate) fn refuse(&mut self, why: String) {
        tracing::warn!(%why, "what the script says comes to nothing");
        if let Some(tell) = &self.tell {
            tell(&why);
        }
        self.refusals.push(why);
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
            self.scheduler.next_wakeup(),
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
            self.scheduler.next_wakeup(),
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
}

#[cfg(test)]
mod tests;
