//! Pods that nobody else clears away (`pkg/controller/podgc`): of nodes that are gone, or declared out of service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api;
use crate::pod;
use crate::resource::Resource;
use crate::store::{Change, ChangeKind, DeleteOptions, Writer};
use crate::time::Time;
use crate::world::Cx;

/// How often it looks (`gcCheckPeriod`).
const PERIOD: Duration = Duration::from_secs(20);

/// How long a node has to be missing (`quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);

/// How many ended pods a cluster keeps by default (`--terminated-pod-gc-threshold`).
const KEPT: usize = 12_500;

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The collector's memory.
#[derive(Debug)]
pub(crate) struct PodGc {
    /// How many ended pods are kept.
    kept: usize,
    /// Nodes with pods but without an object, and since when.
    missing: BTreeMap<String, Time>,
    /// Nodes that may be missing or out of service.
    suspects: BTreeSet<String>,
    /// Pods of no node that are to go.
    unscheduled: bool,
    /// Pods that ended since it last looked, and those it kept then.
    ended: usize,
    /// When it looks next: only while there is something to look at.
    next: Option<Time>,
}

impl Default for PodGc {
    fn default() -> Self {
        Self {
            kept: KEPT,
            missing: BTreeMap::new(),
            suspects: BTreeSet::new(),
            unscheduled: false,
            ended: 0,
            next: None,
        }
    }
}

impl PodGc {
    /// Sets how many ended pods are kept.
    pub(crate) fn keep(&mut self, kept: usize) {
        self.kept = kept;
    }

    /// Takes note of a change.
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object;
        match change.resource {
            Resource::Nodes => {
                self.suspects.insert(pod::name(object).to_owned());
            }
            Resource::Pods if change.kind != ChangeKind::Deleted => {
                let had_ended = change.old.as_ref().is_some_and(|old| pod::has_ended(old));
                self.ended += usize::from(pod::has_ended(object) && !had_ended);
                self.unscheduled |= is_unscheduled_and_terminating(object);
                let bound = change.old.as_ref().is_none_or(|old| pod::node_name(old).is_empty());
                if bound || pod::is_terminating(object) {
                    self.suspects.insert(pod::node_name(object).to_owned());
                }
            }
            _ => {}
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<Time> {
        self.next
    }

    /// True if it did something.
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let suspects = std::mem::take(&mut self.suspects);
        let odd = |node: &String| {
            !node.is_empty() && cx.store.get(Resource::Nodes, "", node).is_none_or(|node| is_out_of_service(&node))
        };
        if suspects.iter().any(odd) || self.ended > self.kept || self.unscheduled {
            self.next.get_or_insert(cx.now + PERIOD);
        }
        if self.next.is_none_or(|at| at > cx.now) {
            return false;
        }
        self.unscheduled = false;
        let pods: Vec<Arc<Value>> = cx.store.list(Resource::Pods, None).cloned().collect();
        self.note_missing(cx, &pods);
        let mut left = !self.missing.is_empty();
        for pod in &pods {
            left |= self.look_at(cx, pod);
        }
        self.ended = collect_ended(cx, &pods, self.kept);
        self.next = left.then(|| cx.now + PERIOD);
        true
    }

    /// Collects the pod if it is time. True if it may be later.
    fn look_at(&self, cx: &mut Cx<'_>, pod: &Value) -> bool {
        let node = pod::node_name(pod);
        if is_unscheduled_and_terminating(pod) {
            // Finalizers may hold it on; nothing more is done to it then.
            if !pod::has_ended(pod) {
                collect(cx, pod, false);
            }
            return false;
        }
        if let Some(since) = self.missing.get(node) {
            if cx.now.since(*since) >= QUARANTINE {
                collect(cx, pod, true);
            }
            return true;
        }
        let object = cx.store.get(Resource::Nodes, "", node).filter(|node| is_out_of_service(node));
        let (Some(node), true) = (object, pod::is_terminating(pod)) else { return false };
        if !pod::is_true(&node, "Ready") {
            collect(cx, pod, false);
        }
        true
    }

    fn note_missing(&mut self, cx: &Cx<'_>, pods: &[Arc<Value>]) {
        let absent = |node: &str| !node.is_empty() && cx.store.get(Resource::Nodes, "", node).is_none();
        let used = |node: &str| pods.iter().any(|pod| pod::node_name(pod) == node);
        self.missing.retain(|node, _| absent(node) && used(node));
        let nodes: BTreeSet<&str> = pods.iter().map(|pod| pod::node_name(pod)).collect();
        for node in nodes.into_iter().filter(|node| absent(node)) {
            self.missing.entry(node.to_owned()).or_insert(cx.now);
        }
    }
}

/// `gcUnscheduledTerminating`: only a finalizer can hold such a pod.
fn is_unscheduled_and_terminating(pod: &Value) -> bool {
    pod::is_terminating(pod) && pod::node_name(pod).is_empty()
}

fn is_out_of_service(node: &Value) -> bool {
    pod::list(&node["spec"], "taints").iter().any(|taint| taint["key"] == OUT_OF_SERVICE)
}

/// Phase Failed if it had not ended, with the condition where the node is gone, and the deletion without grace.
fn collect(cx: &mut Cx<'_>, pod: &Value, orphaned: bool) {
    let (ns, name) = (pod::namespace(pod), pod::name(pod));
    if !pod::has_ended(pod) {
        let condition = orphaned.then(|| {
            json!({
                "lastProbeTime": null, "lastTransitionTime": cx.now.rfc3339(), "message": "PodGC: node no longer exists",
                "observedGeneration": pod["metadata"]["generation"], "reason": "DeletionByPodGC", "status": "True",
                "type": "DisruptionTarget",
            })
        });
        let change = |pod: &mut Value| {
            pod["status"]["phase"] = "Failed".into();
            pod["status"]["observedGeneration"] = pod["metadata"]["generation"].clone();
            if let Some(condition) = condition {
                pod::set_condition(pod, condition);
            }
        };
        let writer = Writer::status("kube-controller-manager");
        // Listed in this very step.
        let _ = cx.store.update_status(cx.now, Resource::Pods, ns, name, change, &writer);
    }
    let _ = api::delete(cx.now, cx.store, Resource::Pods, ns, name, &DeleteOptions::grace(0));
}

/// The oldest of the ended pods, beyond those that are kept. How many are left.
fn collect_ended(cx: &mut Cx<'_>, pods: &[Arc<Value>], kept: usize) -> usize {
    let mut ended: Vec<&Arc<Value>> = pods.iter().filter(|pod| pod::has_ended(pod)).collect();
    ended.sort_by(|a, b| pod::meta(a, "creationTimestamp").cmp(pod::meta(b, "creationTimestamp")));
    let beyond = ended.len().saturating_sub(kept);
    for pod in &ended[..beyond] {
        collect(cx, pod, false);
    }
    ended.len() - beyond
}
