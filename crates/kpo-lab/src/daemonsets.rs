//! The DaemonSet controller: one pod on each node that a DaemonSet is for (`pkg/controller/daemon`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api;
use crate::events::{self, Report, Source};
use crate::pod;
use crate::resource::Resource;
use crate::scheduler::affinity;
use crate::store::{Change, DeleteOptions, Writer};
use crate::time::Time;
use crate::world::Cx;

const MANAGER: &str = "kube-controller-manager";

/// After how long a pod that ended by itself is replaced (`failedPodsBackoff`).
const REPLACE_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// Tolerations that every DaemonSet's pod gets (`AddOrUpdateDaemonPodTolerations`): key and effect.
const TOLERATIONS: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// What has to be looked at again.
#[derive(Debug, Default)]
pub(crate) struct DaemonSets {
    dirty: bool,
    /// When a pod that has ended by itself is replaced.
    later: BTreeMap<String, Time>,
}

impl DaemonSets {
    /// Takes note of a change.
    pub(crate) fn observe(&mut self, change: &Change) {
        self.dirty |= match change.resource {
            Resource::DaemonSets | Resource::Nodes => true,
            Resource::Pods => owner(&change.object).is_some(),
            _ => false,
        };
    }

    /// Everything is looked at again.
    pub(crate) fn resync(&mut self) {
        self.dirty = true;
    }

    pub(crate) fn next_wakeup(&self) -> Option<Time> {
        self.later.values().min().copied()
    }

    /// True if it did something.
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let due = self.next_wakeup().is_some_and(|at| at <= cx.now);
        if !self.dirty && !due {
            return false;
        }
        self.dirty = false;
        let sets: Vec<Arc<Value>> = cx.store.list(Resource::DaemonSets, None).cloned().collect();
        let nodes: Vec<Arc<Value>> = cx.store.list(Resource::Nodes, None).cloned().collect();
        let mut pods: BTreeMap<String, Vec<Arc<Value>>> = BTreeMap::new();
        for pod in cx.store.list(Resource::Pods, None) {
            if let Some(owner) = owner(pod) {
                pods.entry(owner.to_owned()).or_default().push(pod.clone());
            }
        }
        for set in &sets {
            let own = pods.remove(pod::uid(set)).unwrap_or_default();
            self.sync(cx, set, &nodes, &own);
        }
        // What is left has lost its owner: the garbage collector's part.
        for orphan in pods.values().flatten().filter(|pod| !pod::is_terminating(pod)) {
            delete(cx, orphan);
        }
        true
    }

    fn sync(&mut self, cx: &mut Cx<'_>, set: &Arc<Value>, nodes: &[Arc<Value>], pods: &[Arc<Value>]) {
        if pod::is_terminating(set) {
            return;
        }
        let mut wanted: BTreeSet<&str> =
            nodes.iter().filter(|node| runs_on(set, node)).map(|node| pod::name(node)).collect();
        let desired = wanted.len();
        for pod in pods {
            let target = target(pod);
            if pod::is_terminating(pod) {
                wanted.remove(target);
            } else if pod::has_ended(pod) {
                if self.replace_later(cx, pod) {
                    wanted.remove(target);
                }
            } else if !wanted.remove(target) {
                // The node is not one of the set's any more, or has two of them.
                delete(cx, pod);
            }
        }
        for node in wanted {
            create(cx, set, node);
        }
        write_status(cx, set, desired, pods);
    }

    /// A pod that ended by itself makes place after a moment. True while it has not.
    fn replace_later(&mut self, cx: &mut Cx<'_>, pod: &Value) -> bool {
        let uid = pod::uid(pod).to_owned();
        let at = *self.later.entry(uid.clone()).or_insert(cx.now + REPLACE_AFTER);
        if cx.now < at {
            return true;
        }
        self.later.remove(&uid);
        delete(cx, pod);
        // Where a finalizer holds it, its successor comes all the same.
        false
    }
}

/// The UID of the DaemonSet that the pod belongs to.
fn owner(pod: &Value) -> Option<&str> {
    let owners = pod::list(&pod["metadata"], "ownerReferences").iter();
    owners.into_iter().find(|owner| owner["kind"] == "DaemonSet")?["uid"].as_str()
}

/// The node that the pod is for: its own, or the one that its affinity names.
fn target(pod: &Value) -> &str {
    let node = pod::node_name(pod);
    if !node.is_empty() {
        return node;
    }
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0].as_str().unwrap_or_default()
}

/// `NodeShouldRunDaemonPod`.
fn runs_on(set: &Value, node: &Value) -> bool {
    let mut pod = set["spec"]["template"].clone();
    tolerate(&mut pod);
    affinity::matches_required(&pod, node)
        && pod::untolerated(&pod, node, &["NoSchedule", "NoExecute"]).next().is_none()
}

fn tolerate(pod: &mut Value) {
    let mut tolerations = pod::tolerations(pod).to_vec();
    for (key, effect) in TOLERATIONS {
        let toleration = json!({"effect": effect, "key": key, "operator": "Exists"});
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    pod["spec"]["tolerations"] = tolerations.into();
}

fn create(cx: &mut Cx<'_>, set: &Value, node: &str) {
    let mut pod = set["spec"]["template"].clone();
    tolerate(&mut pod);
    let only = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
    let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [only]}});
    pod["spec"]["affinity"]["nodeAffinity"] = affinity;
    pod["metadata"]["generateName"] = format!("{}-", pod::name(set)).into();
    pod["metadata"]["namespace"] = pod::namespace(set).into();
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "blockOwnerDeletion": true, "controller": true, "kind": "DaemonSet", "name": pod::name(set),
        "uid": pod::uid(set),
    }]);
    let report = match api::create(cx.now, cx.store, Resource::Pods, pod, &Writer::new(MANAGER)) {
        Ok(created) => Report::normal("SuccessfulCreate", format!("Created pod: {}", pod::name(&created))),
        Err(error) => Report::warning("FailedCreate", format!("Error creating: {}", error.message)),
    };
    cx.events.count(cx.store, cx.now, &Source::controller("daemonset-controller"), events::reference(set), &report);
}

fn delete(cx: &mut Cx<'_>, pod: &Value) {
    let (ns, name) = (pod::namespace(pod), pod::name(pod));
    let options = DeleteOptions::default().uid(pod::uid(pod));
    // Gone or replaced by now: just as well.
    let _ = api::delete(cx.now, cx.store, Resource::Pods, ns, name, &options);
}

fn write_status(cx: &mut Cx<'_>, set: &Value, desired: usize, pods: &[Arc<Value>]) {
    let live = pods.iter().filter(|pod| !pod::is_terminating(pod) && !pod::has_ended(pod));
    let ready = live.clone().filter(|pod| pod::is_true(pod, "Ready")).count();
    let scheduled = live.filter(|pod| !pod::node_name(pod).is_empty()).count();
    let status = json!({
        "currentNumberScheduled": scheduled, "desiredNumberScheduled": desired, "numberAvailable": ready,
        "numberMisscheduled": 0, "numberReady": ready, "observedGeneration": set["metadata"]["generation"],
        "updatedNumberScheduled": scheduled,
    });
    let change = |set: &mut Value| set["status"] = status;
    let (ns, name) = (pod::namespace(set), pod::name(set));
    // Listed in this very step.
    let _ = cx.store.update_status(cx.now, Resource::DaemonSets, ns, name, change, &Writer::status(MANAGER));
}
