//! Preemption: which pods go for a more important one, and the writes by which they go (`pkg/scheduler/framework/preemption`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::fit::{self, Misfit, NodeInfo};
use super::{NAME, Scheduler};
use crate::api;
use crate::events::{self, Report};
use crate::pod;
use crate::resource::Resource;
use crate::store::{DeleteOptions, Deletion, Writer};
use crate::world::Cx;

/// Where room can be made, and at whose cost.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub node: String,
    pub victims: Vec<Arc<Value>>,
}

impl Scheduler {
    /// The node on which making room costs least, or upstream's sentence why there is none.
    pub(super) fn plan_preemption(&self, pod: &Value, misfits: &BTreeMap<String, Misfit>) -> Result<Plan, String> {
        if pod["spec"]["preemptionPolicy"] == "Never" {
            return Err("not eligible due to preemptionPolicy=Never.".to_owned());
        }
        let mut best: Option<(Cost, Plan)> = None;
        let mut reasons: BTreeMap<&str, String> = BTreeMap::new();
        for (name, misfit) in misfits {
            let victims = if misfit.resolvable { self.victims(name, pod) } else { None };
            match victims {
                Some(victims) if !victims.is_empty() => {
                    let cost = cost(&victims);
                    if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                        best = Some((cost, Plan { node: name.clone(), victims }));
                    }
                }
                _ => drop(reasons.insert(name, why_not(misfit).to_owned())),
            }
        }
        best.map(|(_, plan)| plan)
            .ok_or_else(|| format!("0/{} nodes are available: {}.", misfits.len(), fit::counted(reasons.values())))
    }

    /// The pods that have to go from a node: all less important ones, but for those that can stay, the most important first.
    fn victims(&self, node: &str, pod: &Value) -> Option<Vec<Arc<Value>>> {
        let reserved = self.reserved(node, pod);
        let mut left: NodeInfo = self.nodes.get(node)?.clone();
        let less: Vec<Arc<Value>> =
            left.pods().filter(|other| pod::priority(other) < pod::priority(pod)).cloned().collect();
        for other in &less {
            left.remove(pod::uid(other));
        }
        left.check(pod, &reserved).ok()?;
        let mut less = less;
        less.sort_by_key(|other| (Reverse(pod::priority(other)), start_time(other).to_owned()));
        let mut victims = Vec::new();
        for other in less {
            left.add(other.clone());
            if left.check(pod, &reserved).is_err() {
                left.remove(pod::uid(&other));
                victims.push(other);
            }
        }
        Some(victims)
    }

    /// Preempts a pod for another, whatever the scheduler would have decided.
    pub(crate) fn force(&mut self, cx: &mut Cx<'_>, preemptor: &Arc<Value>, victim: &Arc<Value>, node: &str) {
        let node = node.to_owned();
        let nodes = self.nodes.values().filter(|node| node.is_there()).count();
        let message = format!("0/{nodes} nodes are available: {nodes} Insufficient cpu.");
        let report = Report::warning("FailedScheduling", message.clone());
        cx.events.scheduler(cx.store, cx.now, "Scheduling", events::reference(preemptor), None, &report);
        self.enqueue(preemptor);
        self.write_unschedulable(cx, preemptor, &message, Some(node.clone()));
        self.preempt(cx, preemptor, &Plan { node, victims: vec![victim.clone()] });
    }

    /// How much of a resource a node has left, in thousandths.
    pub(crate) fn free(&self, node: &str, resource: &str) -> i64 {
        self.nodes.get(node).map_or(0, |node| node.free(resource))
    }

    /// Condition, deletion, event: of each victim, in this order.
    pub(super) fn preempt(&mut self, cx: &mut Cx<'_>, preemptor: &Arc<Value>, plan: &Plan) {
        let latest = cx.store.get(Resource::Pods, pod::namespace(preemptor), pod::name(preemptor));
        let related = events::reference(latest.as_deref().unwrap_or(preemptor));
        for victim in &plan.victims {
            self.take_away(cx, preemptor, related.clone(), victim, &plan.node);
        }
        self.withdraw_nominations(cx, preemptor, &plan.node);
    }

    fn take_away(&mut self, cx: &mut Cx<'_>, preemptor: &Value, related: Value, victim: &Arc<Value>, node: &str) {
        let (ns, name) = (pod::namespace(victim), pod::name(victim));
        let message = format!("Preempted by pod {} on node {node}", pod::uid(preemptor));
        let report = Report::normal("Preempted", message);
        if self.reserved_node(pod::uid(victim)).is_some() {
            return self.reject_waiting(cx, victim, &report, related);
        }
        if pod::is_terminating(victim) {
            return;
        }
        let condition = json!({
            "lastProbeTime": null, "lastTransitionTime": cx.now.rfc3339(),
            "message": format!("{NAME}: preempting to accommodate a higher priority pod"),
            "observedGeneration": victim["metadata"]["generation"], "reason": "PreemptionByScheduler", "status": "True",
            "type": "DisruptionTarget",
        });
        let change = |pod: &mut Value| pod::set_condition(pod, condition);
        let writer = Writer::status("kube-scheduler");
        if cx.store.update_status(cx.now, Resource::Pods, ns, name, change, &writer).is_err() {
            return;
        }
        // Without a UID precondition, as upstream.
        match api::delete(cx.now, cx.store, Resource::Pods, ns, name, &DeleteOptions::default()) {
            Ok(Deletion::Pending(marked)) => self.pod_changed(&marked),
            Ok(Deletion::Gone(last)) => self.pod_gone(&last),
            Err(_) => return,
        }
        cx.events.scheduler(cx.store, cx.now, "Preempting", events::reference(victim), Some(related), &report);
    }

    /// Less important pods that were promised the node have to look again.
    fn withdraw_nominations(&mut self, cx: &mut Cx<'_>, preemptor: &Value, node: &str) {
        let less = |pod: &&Arc<Value>| {
            pod["status"]["nominatedNodeName"] == node && pod::priority(pod) < pod::priority(preemptor)
        };
        let others = self.promised.iter().filter_map(|uid| self.pending.get(uid)).map(|pending| &pending.pod);
        let losers: Vec<Arc<Value>> = others.filter(less).cloned().collect();
        for loser in losers {
            let change = |pod: &mut Value| {
                if let Some(status) = pod["status"].as_object_mut() {
                    status.remove("nominatedNodeName");
                }
            };
            let (ns, name) = (pod::namespace(&loser), pod::name(&loser));
            let writer = Writer::status("kube-scheduler");
            if let Ok(written) = cx.store.update_status(cx.now, Resource::Pods, ns, name, change, &writer) {
                self.enqueue(&written);
                self.todo.insert(pod::uid(&loser).to_owned());
            }
        }
    }
}

fn why_not(misfit: &Misfit) -> &'static str {
    if misfit.resolvable {
        "No preemption victims found for incoming pod"
    } else {
        "Preemption is not helpful for scheduling"
    }
}

fn start_time(pod: &Value) -> &str {
    pod["status"]["startTime"].as_str().unwrap_or_default()
}

/// `pickOneNodeForPreemption`: highest priority among victims, sum of priorities, number; the later the victims started the better.
type Cost = (i64, i64, usize, Reverse<String>);

fn cost(victims: &[Arc<Value>]) -> Cost {
    let priorities = || victims.iter().map(|victim| pod::priority(victim));
    let highest = priorities().max().unwrap_or(i64::MIN);
    let important = victims.iter().filter(|victim| pod::priority(victim) == highest);
    let earliest = important.map(|victim| start_time(victim)).min().unwrap_or_default();
    (highest, priorities().sum(), victims.len(), Reverse(earliest.to_owned()))
}
