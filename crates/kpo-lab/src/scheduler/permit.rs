//! Permit (`framework/interface.go`, `WaitingPod`): a plugin lets a pod wait when its node is chosen; its room there is reserved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Scheduler, fit};
use crate::events::{self, Report};
use crate::pod;
use crate::time::Time;
use crate::world::Cx;

/// Which pods wait how long, and those that do.
#[derive(Debug, Default)]
pub(super) struct Permits {
    /// Patterns of pods' names, and how long these wait.
    rules: Vec<(String, Duration)>,
    waiting: BTreeMap<String, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    until: Time,
    node: String,
    pod: Arc<Value>,
}

impl Permits {
    pub(super) fn holds(&self, uid: &str) -> bool {
        self.waiting.contains_key(uid)
    }

    /// The rules alone.
    pub(super) fn without_waiting(&mut self) -> Permits {
        Permits { rules: std::mem::take(&mut self.rules), waiting: BTreeMap::new() }
    }
}

impl Scheduler {
    /// Lets pods of such a name wait from now on.
    pub(crate) fn permit_after(&mut self, pattern: String, wait: Duration) {
        self.permits.rules.push((pattern, wait));
    }

    pub(crate) fn next_wakeup(&self) -> Option<Time> {
        self.permits.waiting.values().map(|waiting| waiting.until).min()
    }

    /// The node on which room is reserved for a pod that waits.
    pub(crate) fn reserved_node(&self, uid: &str) -> Option<&str> {
        self.permits.waiting.get(uid).map(|waiting| waiting.node.as_str())
    }

    /// Whether it waits from now on.
    pub(super) fn waits_at_permit(&mut self, now: Time, pod: &Arc<Value>, node: &str) -> bool {
        let rule = self.permits.rules.iter().find(|(pattern, _)| crate::scripted::glob(pattern, pod::name(pod)));
        let Some((_, wait)) = rule else { return false };
        let waiting = Waiting { until: now + *wait, node: node.to_owned(), pod: pod.clone() };
        self.permits.waiting.insert(pod::uid(pod).to_owned(), waiting);
        self.nodes.entry(node.to_owned()).or_default().add(pod.clone());
        true
    }

    /// Binds those whose wait is over. True if there were some.
    pub(super) fn bind_permitted(&mut self, cx: &mut Cx<'_>) -> bool {
        let due: Vec<Waiting> =
            self.permits.waiting.extract_if(.., |_, waiting| waiting.until <= cx.now).map(|(_, due)| due).collect();
        for waiting in &due {
            self.bind(cx, &waiting.pod, &waiting.node);
        }
        !due.is_empty()
    }

    /// It waits no longer: its room is free again.
    pub(super) fn give_back(&mut self, uid: &str) {
        let Some(waiting) = self.permits.waiting.remove(uid) else { return };
        if self.nodes.get_mut(&waiting.node).is_some_and(|node| node.remove(uid)) {
            self.retry();
        }
    }

    /// `waitingPod.Reject("preempted")`: the victim is told by an event, loses its room, and looks again. Nothing is deleted, no condition says why.
    pub(super) fn reject_waiting(&mut self, cx: &mut Cx<'_>, victim: &Arc<Value>, preempted: &Report, related: Value) {
        self.give_back(pod::uid(victim));
        cx.events.scheduler(cx.store, cx.now, "Preempting", events::reference(victim), Some(related), preempted);
        let message = format!("0/1 nodes are available: {}.", fit::counted([&"preempted".to_owned()].into_iter()));
        let report = Report::warning("FailedScheduling", message.clone());
        cx.events.scheduler(cx.store, cx.now, "Scheduling", events::reference(victim), None, &report);
        self.write_unschedulable(cx, victim, &message, None);
    }
}
