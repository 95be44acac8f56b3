//! From the cluster's events to facts: explanation, a credit for waiting, and at most a bar to *never*. Never a proof.

use super::note::sentence;
use super::{Fact, Ledger, Sign};
use crate::pod::ClusterEvent;
use crate::time::Time;

/// Events of the kubelet's that say that the runtime had the container (`pkg/kubelet/events/event.go`).
const HAD_CONTAINER: [&str; 3] = ["Created", "Started", "Killing"];
/// Events that are progress on the way to a start.
const PROGRESS: [&str; 5] = ["Scheduled", "SuccessfulAttachVolume", "Pulled", "Created", "Started"];
/// Events that explain a disruption: scheduler, taint manager, autoscalers, kubelet, node controller.
const EXPLAIN: [&str; 12] = [
    "Preempted",
    "Preempting",
    "TaintManagerEviction",
    "Evicted",
    "EvictedByEvictionAPI",
    "ScaleDown",
    "Disrupted",
    "NodeNotReady",
    "NodeShutdown",
    "DeletingNode",
    "ExceededGracePeriod",
    "Stopped",
];

/// Whether an event of that reason explains a verdict.
pub(crate) fn explains(reason: &str) -> bool {
    EXPLAIN.contains(&reason)
}

impl Ledger {
    /// Takes an event about the pod in. One that names another UID is not about it; the taint manager's name none.
    pub fn told(&mut self, now: Time, event: &ClusterEvent) {
        if !self.is_about_it(event) {
            return;
        }
        let at = event.time().map_or(now, |at| at.min(now));
        self.event_signs(now, event);
        self.event_progress(at, event);
        let fact = Fact::Told {
            reason: event.reason.clone(),
            message: sentence(&event.message),
            reporter: event.reporter().to_owned(),
            related: event.related.as_ref().map(|other| format!("{}/{}", other.namespace, other.name)),
        };
        if (event.kind == "Warning" || explains(&event.reason) || is_scaling(event)) && !self.knows(&fact) {
            self.note(now, fact);
        }
    }

    /// Whether the event is about this pod: by its UID, or, where it names none, by its time. Names are used again.
    fn is_about_it(&self, event: &ClusterEvent) -> bool {
        let uid = &event.involved_object.uid;
        if !uid.is_empty() {
            return self.uid() == Some(uid);
        }
        let created =
            self.last.as_ref().and_then(|pod| pod.metadata.creation_timestamp.as_deref()).and_then(Time::parse);
        event.time().is_none_or(|at| Some(at) >= created)
    }

    fn event_signs(&mut self, now: Time, event: &ClusterEvent) {
        let uid = &event.involved_object.uid;
        if HAD_CONTAINER.contains(&event.reason.as_str()) && event.is_by_kubelet() && self.uid() == Some(uid) {
            self.has_run(now, event.container(), Sign::Event);
        }
    }

    fn event_progress(&mut self, at: Time, event: &ClusterEvent) {
        if PROGRESS.contains(&event.reason.as_str()) && self.last.is_some() {
            self.progress = self.progress.max(at);
        }
        match event.reason.as_str() {
            "TriggeredScaleUp" | "Nominated" => self.scale_up = self.scale_up.max(Some(at)),
            reason if refuses_a_node(reason, event.reporter()) => self.no_scale_up = self.no_scale_up.max(Some(at)),
            _ => {}
        }
    }
}

/// Whether an autoscaler says that it makes no node. Karpenter's "Failed to schedule pod, …" has the scheduler's reason and its own reporter.
fn refuses_a_node(reason: &str, reporter: &str) -> bool {
    reason == "NotTriggerScaleUp" || (reason == "FailedScheduling" && reporter == "karpenter")
}

impl Fact {
    /// Whether an autoscaler says that it makes no node.
    pub(crate) fn refuses_a_node(&self) -> bool {
        matches!(self, Fact::Told { reason, reporter, .. } if refuses_a_node(reason, reporter))
    }
}

/// Whether it is about the node that is, or is not, being made for it.
fn is_scaling(event: &ClusterEvent) -> bool {
    matches!(event.reason.as_str(), "TriggeredScaleUp" | "NotTriggerScaleUp" | "Nominated")
}
