//! A provisioner: adds a node for pods that fit none (cluster-autoscaler's or Karpenter's part, as far as pods see it).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::events::{self, Report, Source};
use crate::kubelet::node_ip;
use crate::nodes::NodeSpec;
use crate::pod;
use crate::resource::Resource;
use crate::scheduler::NodeInfo;
use crate::store::{Change, ChangeKind};
use crate::time::Time;
use crate::world::Cx;

/// Whose events the provisioner writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProvisionerKind {
    /// `TriggeredScaleUp` and `NotTriggerScaleUp` from `cluster-autoscaler`.
    #[default]
    ClusterAutoscaler,
    /// `Nominated` and `FailedScheduling` from `karpenter`.
    Karpenter,
}

/// What a provisioner adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvisionerSpec {
    /// Whose events it writes.
    pub kind: ProvisionerKind,
    /// From a pod that fits nowhere to the node's coming up.
    pub delay: Duration,
    /// The nodes it adds, in this order; the last one again and again. A `*` in a name is the node's number.
    pub nodes: Vec<NodeSpec>,
    /// How many it adds at most; None for any number.
    pub limit: Option<usize>,
}

/// A node on its way.
#[derive(Debug)]
struct Coming {
    at: Time,
    spec: NodeSpec,
    info: NodeInfo,
}

/// The provisioner at work. Without a specification it does nothing.
#[derive(Debug, Default)]
pub(crate) struct Provisioner {
    spec: Option<ProvisionerSpec>,
    added: usize,
    coming: Vec<Coming>,
    /// Pods that were looked at: UID and what was said.
    seen: BTreeMap<String, bool>,
    todo: Vec<(String, String)>,
}

impl Provisioner {
    /// Sets what it adds from now on; None for nothing.
    pub(crate) fn set(&mut self, spec: Option<ProvisionerSpec>) {
        self.spec = spec;
    }

    /// Takes note of a change.
    pub(crate) fn observe(&mut self, change: &Change) {
        if change.resource != Resource::Pods {
            return;
        }
        let pod = &change.object;
        if change.kind == ChangeKind::Deleted || !pod::node_name(pod).is_empty() {
            self.seen.remove(pod::uid(pod));
        } else if is_unschedulable(pod) && !self.seen.contains_key(pod::uid(pod)) {
            self.todo.push((pod::namespace(pod).to_owned(), pod::name(pod).to_owned()));
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<Time> {
        self.coming.iter().map(|coming| coming.at).min()
    }

    /// True if it did something.
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let todo = std::mem::take(&mut self.todo);
        let busy = !todo.is_empty();
        for (ns, name) in todo {
            if let Some(pod) = cx.store.get(Resource::Pods, &ns, &name) {
                self.look_at(cx, &pod);
            }
        }
        busy
    }

    /// The nodes that have come up.
    pub(crate) fn arrived(&mut self, now: Time) -> Vec<NodeSpec> {
        let (due, left): (Vec<Coming>, Vec<Coming>) =
            std::mem::take(&mut self.coming).into_iter().partition(|coming| coming.at <= now);
        self.coming = left;
        due.into_iter().map(|coming| coming.spec).collect()
    }

    fn look_at(&mut self, cx: &mut Cx<'_>, pod: &Arc<Value>) {
        let Some(spec) = self.spec.clone() else { return };
        if self.seen.contains_key(pod::uid(pod)) || !is_unschedulable(pod) || is_for_one_node(pod) {
            return;
        }
        let helps = self.place(cx, &spec, pod);
        self.seen.insert(pod::uid(pod).to_owned(), helps.is_ok());
        let report = spec.kind.report(helps);
        cx.events.count(cx.store, cx.now, &spec.kind.source(), events::reference(pod), &report);
    }

    /// Finds the pod a place on a node that is coming, or lets one come. The node's name, or why it does not help.
    fn place(&mut self, cx: &Cx<'_>, spec: &ProvisionerSpec, pod: &Arc<Value>) -> Result<String, String> {
        for coming in &mut self.coming {
            if coming.info.check(pod, &[]).is_ok() {
                coming.info.add(pod.clone());
                return Ok(coming.spec.name.clone());
            }
        }
        if spec.limit.is_some_and(|limit| self.added >= limit) {
            return Err("1 max node group size reached".to_owned());
        }
        let Some(template) = spec.nodes.get(self.added).or(spec.nodes.last()) else {
            return Err("no node groups".to_owned());
        };
        let mut node = template.clone();
        let number = (1..).find(|number| free(cx, &self.coming, &node.name.replace('*', &number.to_string())));
        node.name = node.name.replace('*', &number.unwrap_or(1).to_string());
        let mut info = NodeInfo::default();
        info.renew(Arc::new(node.object(cx.now, &node_ip(0))));
        info.check(pod, &[]).map_err(|misfit| format!("1 {}", misfit.reasons.join(", 1 ")))?;
        info.add(pod.clone());
        self.added += 1;
        let name = node.name.clone();
        self.coming.push(Coming { at: cx.now + spec.delay, spec: node, info });
        Ok(name)
    }
}

/// Whether no node has, or will have, this name.
fn free(cx: &Cx<'_>, coming: &[Coming], name: &str) -> bool {
    cx.store.get(Resource::Nodes, "", name).is_none() && coming.iter().all(|coming| coming.spec.name != name)
}

fn is_unschedulable(pod: &Value) -> bool {
    let condition = pod::condition(pod, "PodScheduled");
    let said =
        condition.is_some_and(|scheduled| scheduled["status"] == "False" && scheduled["reason"] == "Unschedulable");
    said && pod["status"].get("nominatedNodeName").is_none() && !pod::is_terminating(pod)
}

/// DaemonSets' pods are for a node that is there: autoscalers pass them over.
fn is_for_one_node(pod: &Value) -> bool {
    pod::list(&pod["metadata"], "ownerReferences").iter().any(|owner| owner["kind"] == "DaemonSet")
}

impl ProvisionerKind {
    pub(crate) fn source(self) -> Source {
        let component = match self {
            ProvisionerKind::ClusterAutoscaler => "cluster-autoscaler",
            ProvisionerKind::Karpenter => "karpenter",
        };
        Source { component, host: String::new(), manager: component }
    }

    fn report(self, helps: Result<String, String>) -> Report {
        match (self, helps) {
            (ProvisionerKind::ClusterAutoscaler, Ok(_)) => {
                Report::normal("TriggeredScaleUp", "pod triggered scale-up: [{lab 0->1 (max: 1000)}]")
            }
            (ProvisionerKind::ClusterAutoscaler, Err(why)) => {
                Report::normal("NotTriggerScaleUp", format!("pod didn't trigger scale-up: {why}"))
            }
            (ProvisionerKind::Karpenter, Ok(node)) => {
                Report::normal("Nominated", format!("Pod should schedule on: nodeclaim/default-{node}"))
            }
            (ProvisionerKind::Karpenter, Err(why)) => Report::warning(
                "FailedScheduling",
                format!("Failed to schedule pod, incompatible with nodepool \"default\", {why}"),
            ),
        }
    }
}
