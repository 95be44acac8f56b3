//! The scheduler: finds a node for each pod, or makes room for it (`pkg/scheduler`, v1.34).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

pub(crate) mod affinity;
mod fit;
mod permit;
mod preemption;

use crate::events::{self, Report};
use crate::pod;
use crate::resource::Resource;
use crate::store::{Change, ChangeKind, Store, Writer};
use crate::world::Cx;
use fit::Misfit;
pub(crate) use fit::NodeInfo;

/// The name that pods ask for by default; the lab has no other scheduler.
pub(crate) const NAME: &str = "default-scheduler";

/// A pod that waits for a node.
#[derive(Clone, Debug)]
struct Pending {
    pod: Arc<Value>,
    /// When it came, as a number.
    order: u64,
    /// What was last said of it.
    said: Option<String>,
}

/// What the scheduler knows of the cluster, and the pods that wait.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    nodes: BTreeMap<String, NodeInfo>,
    pending: BTreeMap<String, Pending>,
    /// Those of them that were promised a node.
    promised: BTreeSet<String>,
    /// Pods to be tried in the next round.
    todo: BTreeSet<String>,
    arrivals: u64,
    permits: permit::Permits,
}

impl Scheduler {
    /// Forgets everything and reads the store anew.
    pub(crate) fn resync(&mut self, store: &Store) {
        *self = Scheduler { permits: self.permits.without_waiting(), ..Scheduler::default() };
        for node in store.list(Resource::Nodes, None) {
            self.node_changed(node);
        }
        for pod in store.list(Resource::Pods, None) {
            self.pod_changed(pod);
        }
    }

    /// Takes note of a change.
    pub(crate) fn observe(&mut self, change: &Change) {
        let gone = change.kind == ChangeKind::Deleted;
        match change.resource {
            Resource::Nodes if gone => {
                self.forget_node(pod::name(&change.object));
                self.retry();
            }
            Resource::Nodes if schedules_as_before(change) => self.renew(&change.object),
            Resource::Nodes => self.node_changed(&change.object),
            Resource::Pods if gone => self.pod_gone(&change.object),
            Resource::Pods => self.pod_changed(&change.object),
            _ => {}
        }
    }

    /// The node is gone; pods that are assigned to its name count again if it comes back.
    fn forget_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.get_mut(name) {
            info.forget_object();
        }
    }

    fn renew(&mut self, node: &Arc<Value>) {
        if let Some(info) = self.nodes.get_mut(pod::name(node)) {
            info.renew(node.clone());
        }
    }

    fn node_changed(&mut self, node: &Arc<Value>) {
        self.nodes.entry(pod::name(node).to_owned()).or_default().renew(node.clone());
        self.retry();
    }

    fn pod_gone(&mut self, pod: &Arc<Value>) {
        self.dequeue(pod::uid(pod));
        self.release(pod);
    }

    fn release(&mut self, pod: &Value) {
        let freed = self.nodes.get_mut(pod::node_name(pod)).is_some_and(|node| node.remove(pod::uid(pod)));
        if freed {
            self.retry();
        }
    }

    fn pod_changed(&mut self, pod: &Arc<Value>) {
        let uid = pod::uid(pod);
        if pod::has_ended(pod) {
            return self.pod_gone(pod);
        }
        if !pod::node_name(pod).is_empty() {
            self.dequeue(uid);
            self.nodes.entry(pod::node_name(pod).to_owned()).or_default().add(pod.clone());
            return;
        }
        if pod::is_terminating(pod) || is_gated(pod) || pod["spec"]["schedulerName"] != NAME {
            self.dequeue(uid);
            return;
        }
        self.enqueue(pod);
    }

    fn dequeue(&mut self, uid: &str) {
        self.give_back(uid);
        self.pending.remove(uid);
        self.promised.remove(uid);
        self.todo.remove(uid);
    }

    fn enqueue(&mut self, pod: &Arc<Value>) {
        let uid = pod::uid(pod).to_owned();
        match pod["status"]["nominatedNodeName"].is_string() {
            true => drop(self.promised.insert(uid.clone())),
            false => drop(self.promised.remove(&uid)),
        }
        match self.pending.get_mut(&uid) {
            Some(known) => {
                let changed = known.pod["spec"] != pod["spec"];
                known.pod = pod.clone();
                if changed {
                    self.todo.insert(uid);
                }
            }
            None => {
                self.arrivals += 1;
                self.pending.insert(uid.clone(), Pending { pod: pod.clone(), order: self.arrivals, said: None });
                self.todo.insert(uid);
            }
        }
    }

    /// Something may fit now that did not before.
    fn retry(&mut self) {
        self.todo.extend(self.pending.keys().cloned());
    }

    /// Tries all pods that are to be tried, the most important first. True if it did something.
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut order: Vec<(Reverse<i64>, u64, String)> = Vec::new();
        for uid in std::mem::take(&mut self.todo) {
            if let Some(pending) = self.pending.get(&uid) {
                order.push((Reverse(pod::priority(&pending.pod)), pending.order, uid));
            }
        }
        order.sort();
        for (_, _, uid) in &order {
            self.schedule(cx, uid);
        }
        self.bind_permitted(cx) || !order.is_empty()
    }

    fn schedule(&mut self, cx: &mut Cx<'_>, uid: &str) {
        let Some(pending) = self.pending.get(uid).cloned().filter(|_| !self.permits.holds(uid)) else { return };
        // Watch and store may have parted within this round.
        let current = cx.store.get(Resource::Pods, pod::namespace(&pending.pod), pod::name(&pending.pod));
        let Some(pod) = current.filter(|pod| pod::uid(pod) == uid && pod::node_name(pod).is_empty()) else { return };
        let mut misfits: BTreeMap<String, Misfit> = BTreeMap::new();
        let mut best: Option<(i64, i64, Reverse<String>)> = None;
        for (name, node) in self.nodes.iter().filter(|(_, node)| node.is_there()) {
            match node.check(&pod, &self.reserved(name, &pod)) {
                Ok(free) => {
                    let nominated = i64::from(pod["status"]["nominatedNodeName"] == name.as_str()) << 32;
                    let score = (affinity::preference(&pod, node.object()) + nominated, free, Reverse(name.clone()));
                    best = best.max(Some(score));
                }
                Err(misfit) => drop(misfits.insert(name.clone(), misfit)),
            }
        }
        match best {
            Some((_, _, Reverse(node))) if self.waits_at_permit(cx.now, &pod, &node) => {}
            Some((_, _, Reverse(node))) => self.bind(cx, &pod, &node),
            None => self.fail(cx, &pod, &misfits),
        }
    }

    /// What pods of at least the same priority, nominated to the node, will need there.
    fn reserved(&self, node: &str, pod: &Value) -> Vec<Arc<Value>> {
        let others = self.promised.iter().filter_map(|uid| self.pending.get(uid)).map(|pending| &pending.pod);
        let nominated = others.filter(|other| {
            other["status"]["nominatedNodeName"] == node
                && pod::uid(other) != pod::uid(pod)
                && pod::priority(other) >= pod::priority(pod)
        });
        nominated.cloned().collect()
    }

    fn bind(&mut self, cx: &mut Cx<'_>, pod: &Arc<Value>, node: &str) {
        let (ns, name) = (pod::namespace(pod), pod::name(pod));
        let object = events::reference(pod);
        let Ok(bound) = cx.store.bind(cx.now, ns, name, node) else { return };
        let message = format!("Successfully assigned {ns}/{name} to {node}");
        cx.events.scheduler(cx.store, cx.now, "Binding", object, None, &Report::normal("Scheduled", message));
        self.pod_changed(&bound);
    }

    fn fail(&mut self, cx: &mut Cx<'_>, pod: &Arc<Value>, misfits: &BTreeMap<String, Misfit>) {
        if self.waits_for_victims(pod) {
            return;
        }
        let plan = self.plan_preemption(pod, misfits);
        let message = match &plan {
            _ if misfits.is_empty() => fit::NO_NODES.to_owned(),
            Ok(_) => fit::message(misfits),
            Err(why) => {
                format!("{} no new claims to deallocate, preemption: {why}", fit::message(misfits))
            }
        };
        let said = self.pending.get_mut(pod::uid(pod)).and_then(|pending| pending.said.replace(message.clone()));
        if said.as_deref() != Some(&message) {
            let report = Report::warning("FailedScheduling", message.clone());
            cx.events.scheduler(cx.store, cx.now, "Scheduling", events::reference(pod), None, &report);
        }
        let nominated = plan.as_ref().ok().map(|plan| plan.node.clone());
        self.write_unschedulable(cx, pod, &message, nominated);
        if let Ok(plan) = plan {
            self.preempt(cx, pod, &plan);
        }
    }

    /// A pod whose victims are still ending is not talked about again (`PodEligibleToPreemptOthers`).
    fn waits_for_victims(&self, pod: &Value) -> bool {
        let Some(node) = pod["status"]["nominatedNodeName"].as_str().and_then(|name| self.nodes.get(name)) else {
            return false;
        };
        node.pods().any(|other| pod::is_terminating(other) && pod::priority(other) < pod::priority(pod))
    }

    fn write_unschedulable(&mut self, cx: &mut Cx<'_>, pod: &Arc<Value>, message: &str, nominated: Option<String>) {
        let old = pod::condition(pod, "PodScheduled");
        let same = old.is_some_and(|old| old["message"] == message && old["status"] == "False");
        if same && nominated.is_none() {
            return;
        }
        let kept = old.filter(|old| old["status"] == "False").map(|old| old["lastTransitionTime"].clone());
        let condition = json!({
            "lastProbeTime": null, "lastTransitionTime": kept.unwrap_or_else(|| cx.now.rfc3339().into()), "message": message,
            "observedGeneration": pod["metadata"]["generation"], "reason": "Unschedulable", "status": "False",
            "type": "PodScheduled",
        });
        let change = |pod: &mut Value| {
            pod::set_condition(pod, condition);
            if let Some(node) = nominated {
                pod["status"]["nominatedNodeName"] = node.into();
            }
        };
        let (ns, name) = (pod::namespace(pod), pod::name(pod));
        let writer = Writer::status("kube-scheduler");
        if let Ok(written) = cx.store.update_status(cx.now, Resource::Pods, ns, name, change, &writer) {
            self.enqueue(&written);
        }
    }
}

fn is_gated(pod: &Value) -> bool {
    !pod::list(&pod["spec"], "schedulingGates").is_empty()
}

/// Whether nothing of the node changed that a pod's place could depend on: a heartbeat.
fn schedules_as_before(change: &Change) -> bool {
    let Some(old) = &change.old else { return false };
    let new = &change.object;
    old["spec"] == new["spec"]
        && old["metadata"]["labels"] == new["metadata"]["labels"]
        && old["status"]["allocatable"] == new["status"]["allocatable"]
}
