//! What is on a node's machine, whoever knows of it: sandboxes and containers. It outlives the kubelet's memory.

use std::collections::BTreeMap;

use crate::runtime::ContainerId;
use crate::time::Time;

/// A pod's sandbox: its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sandbox {
    /// The pod's address.
    pub ip: String,
    /// Whether it is up.
    pub alive: bool,
}

/// How a container ended, as `state.terminated` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `Unknown`.
    pub reason: String,
    pub message: String,
    pub at: Time,
}

/// One container, of which a name can have several, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub id: ContainerId,
    /// The epoch where its program was never executed.
    pub started: Time,
    pub restart_count: u32,
    /// None while it runs.
    pub ended: Option<Ended>,
    /// The runtime takes it for one that was made and never started: its record is older than its start.
    pub only_created: bool,
}

impl Instance {
    pub(crate) fn runs(&self) -> bool {
        self.ended.is_none() && !self.only_created
    }

    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.ended.as_ref().map(|ended| ended.exit_code)
    }
}

/// A pod on its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodOnMachine {
    pub sandbox: Option<Sandbox>,
    /// By container name; the latest last, at most two.
    pub instances: BTreeMap<String, Vec<Instance>>,
    /// Whether its volumes are set up.
    pub mounted: bool,
}

impl PodOnMachine {
    pub(crate) fn latest(&self, container: &str) -> Option<&Instance> {
        self.instances.get(container)?.last()
    }

    /// The latest one, if it was started as far as the runtime knows.
    pub(crate) fn latest_started(&self, container: &str) -> Option<&Instance> {
        self.latest(container).filter(|instance| !instance.only_created)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = (&str, &Instance)> {
        let latest = self.instances.iter().filter_map(|(name, all)| Some((name.as_str(), all.last()?)));
        latest.filter(|(_, instance)| instance.runs())
    }

    pub(crate) fn runs(&self, container: &str) -> bool {
        self.latest(container).is_some_and(Instance::runs)
    }

    /// How many things of it are not as they were: what the kubelet's look reports one by one.
    pub(crate) fn changes(&self, before: &PodOnMachine) -> usize {
        let sandbox = usize::from(self.is_up() != before.is_up());
        let count = |name: &String| usize::from(self.instances.get(name) != before.instances.get(name));
        let names: std::collections::BTreeSet<&String> = self.instances.keys().chain(before.instances.keys()).collect();
        sandbox + names.into_iter().map(count).sum::<usize>()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|sandbox| sandbox.alive)
    }

    /// Adds a container; the one before the last is forgotten and handed back for removal.
    pub(crate) fn add(&mut self, container: &str, instance: Instance) -> Option<Instance> {
        let all = self.instances.entry(container.to_owned()).or_default();
        all.push(instance);
        (all.len() > 2).then(|| all.remove(0))
    }

    pub(crate) fn find_mut(&mut self, id: &ContainerId) -> Option<&mut Instance> {
        self.instances.values_mut().flatten().find(|instance| instance.id == *id)
    }
}

/// Everything on one machine, by pod UID.
pub(crate) type Machine = BTreeMap<String, PodOnMachine>;
