//! Who took it away: the rows of disruptions, by what shows them.

use crate::ledger::{Fact, Ledger, is_single_binary};
use crate::pod::Condition;
use crate::reason::Reason;
use crate::verdict::Cause;

/// A disruption, and in whose words.
#[derive(Clone, Debug)]
pub(super) struct Disruption {
    pub(super) cause: Cause,
    rejected: bool,
    words: Option<String>,
}

/// Beginnings of the reasons with which a kubelet refuses a pod (`pkg/kubelet/lifecycle/predicate.go`, `pkg/kubelet/kubelet.go`,
/// `pkg/kubelet/cm/admission/errors.go`, `pkg/kubelet/sysctl`): open-ended, so its sentence `Pod was rejected: …` says it too.
const REJECTIONS: [&str; 14] = [
    "OutOf",
    "NodeAffinity",
    "TaintToleration",
    "UnexpectedAdmissionError",
    "TopologyAffinityError",
    "UnexpectedPredicateFailureType",
    "UnknownReason",
    "InvalidNodeInfo",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "PodOSNotSupported",
    "AppArmor",
    "SysctlForbidden",
    "ForbiddenSysctl",
    "NodePorts",
];

impl Disruption {
    pub(super) fn of(cause: Cause) -> Self {
        Self { cause, rejected: false, words: None }
    }

    fn said(cause: Cause, words: &str) -> Self {
        Self { cause, rejected: false, words: Some(words.to_owned()).filter(|words| !words.is_empty()) }
    }

    fn rejection(cause: Cause, words: &str) -> Self {
        Self { rejected: true, ..Self::said(cause, words) }
    }

    /// Whether a kubelet refused to admit it.
    pub(super) fn is_rejection(&self) -> bool {
        self.rejected
    }

    /// Whether whoever does that deletes the pod: without a deletion request the condition is stale, or came too late.
    pub(super) fn deletes(&self) -> bool {
        matches!(
            self.cause,
            Cause::Preemption | Cause::Taint | Cause::Eviction | Cause::NodeGone | Cause::Queue | Cause::Other
        )
    }

    pub(super) fn reason(&self) -> Reason {
        Reason::of_cause(self.cause)
    }

    /// In the cluster's words: for a preemption the preemptor, where an event named it.
    pub(super) fn words(&self, ledger: &Ledger) -> Option<String> {
        let preemptor = (self.cause == Cause::Preemption).then(|| preemptor(ledger)).flatten();
        preemptor.or_else(|| self.words.clone())
    }
}

/// What the status' reason says. `None`: nothing of a disruption.
pub(super) fn by_phase(reason: &str, message: &str) -> Option<Disruption> {
    let rejected = message.starts_with("Pod was rejected") || REJECTIONS.iter().any(|start| reason.starts_with(start));
    Some(match reason {
        // Admission under node pressure: `Pod was rejected: The node had condition: [MemoryPressure]`.
        "Evicted" if message.contains("The node had condition") => Disruption::rejection(Cause::Rejected, message),
        "Evicted" => Disruption::said(Cause::NodePressure, message),
        "Preempting" => Disruption::said(Cause::CriticalPod, message),
        "NodeShutdown" => Disruption::rejection(Cause::NodeShutdown, message),
        "Terminated" | "Shutdown" => Disruption::said(Cause::NodeShutdown, message),
        "NodeLost" => Disruption::said(Cause::NodeGone, message),
        "ProviderFailed" => Disruption::said(Cause::Provider, message),
        _ if rejected => Disruption::rejection(Cause::Rejected, message),
        _ => return None,
    })
}

/// What the conditions say: DisruptionTarget by type and status, with open-ended reasons; Kueue's TerminationTarget. Who disrupts says so and then deletes:
/// a condition that was seen to come after the deletion did not sign it.
pub(super) fn by_condition(ledger: &Ledger) -> Option<Disruption> {
    any_condition(ledger).filter(|_| !came_after_the_deletion(ledger))
}

fn any_condition(ledger: &Ledger) -> Option<Disruption> {
    let pod = ledger.last.as_ref()?;
    let kueue = || pod.condition("TerminationTarget").map(|c| Disruption::said(Cause::Queue, words(c)));
    let target = pod.condition("DisruptionTarget").cloned().or_else(|| wiped(ledger));
    target.as_ref().map(by_target).or_else(kueue)
}

/// By the order in which they were learnt; conditions are noted before the deletion that was seen with them.
fn came_after_the_deletion(ledger: &Ledger) -> bool {
    let signs = |fact: &Fact| matches!(fact, Fact::Condition { kind, .. } if kind == "DisruptionTarget" || kind == "TerminationTarget");
    let first = ledger.entries.iter().position(|entry| signs(&entry.fact));
    matches!((ledger.deletion(), first), (Some(deletion), Some(first)) if first > deletion as usize)
}

/// The condition as last seen, where a later status was written without any.
fn wiped(ledger: &Ledger) -> Option<Condition> {
    let pod = ledger.last.as_ref().filter(|pod| pod.status.conditions.is_empty())?;
    let last = ledger.entries.iter().rev().find_map(|entry| match &entry.fact {
        Fact::Condition { kind, status, reason, message } if kind == "DisruptionTarget" => Some(Condition {
            kind: kind.clone(),
            status: status.clone(),
            reason: reason.clone(),
            message: message.clone(),
        }),
        _ => None,
    });
    last.filter(|condition| condition.status == "True" && pod.status.phase.is_terminal())
}

fn by_target(condition: &Condition) -> Disruption {
    let cause = match condition.reason.as_deref().unwrap_or_default() {
        // Documentation says PreemptionByKubeScheduler, the code writes PreemptionByScheduler.
        "PreemptionByScheduler" | "PreemptionByKubeScheduler" => Cause::Preemption,
        "DeletionByTaintManager" => Cause::Taint,
        "EvictionByEvictionAPI" => Cause::Eviction,
        "DeletionByPodGC" | "DeletionByGCPControllerManager" => Cause::NodeGone,
        "TerminationByKubelet" => by_kubelet(words(condition)),
        _ => Cause::Other,
    };
    Disruption::said(cause, words(condition))
}

fn by_kubelet(message: &str) -> Cause {
    if message.contains("critical pod") {
        Cause::CriticalPod
    } else if message.contains("shutdown") {
        Cause::NodeShutdown
    } else {
        Cause::NodePressure
    }
}

fn words(condition: &Condition) -> &str {
    condition.message.as_deref().unwrap_or_default()
}

/// What the events say of a deletion: they sign it where no condition does (older clusters, forced drains). Of who came after it they sign nothing either.
pub(super) fn by_event(ledger: &Ledger) -> Option<Disruption> {
    let late = any_condition(ledger).filter(|_| came_after_the_deletion(ledger)).map(|by| by.cause);
    ledger.entries.iter().rev().find_map(|entry| match &entry.fact {
        Fact::Told { reason, message, reporter, .. } => {
            by_told(reason, message, reporter).filter(|by| Some(by.cause) != late)
        }
        _ => None,
    })
}

fn by_told(reason: &str, message: &str, reporter: &str) -> Option<Disruption> {
    let cause = match reason {
        "Preempted" => Cause::Preemption,
        "TaintManagerEviction" if message.starts_with("Marking for deletion") => Cause::Taint,
        "ScaleDown" => Cause::Eviction,
        "Evicted" | "Disrupted" if reporter.contains("karpenter") => Cause::Eviction,
        "Evicted" if message.starts_with("Evicted pod") => Cause::Eviction,
        "Preempting" => Cause::CriticalPod,
        "NodeShutdown" => Cause::NodeShutdown,
        _ => return None,
    };
    Some(Disruption::said(cause, message))
}

/// A terminal phase that a controller wrote without a word: PodGC, for an out-of-service node.
pub(super) fn by_controller(ledger: &Ledger) -> Option<Disruption> {
    let bound = ledger.node().is_some();
    let fact = ledger.terminal.and_then(|entry| ledger.fact(entry))?;
    let Fact::Phase { writer: Some(writer), reason: None, kubelet, .. } = fact else { return None };
    let gc = writer == "kube-controller-manager" || (is_single_binary(writer) && !kubelet);
    (gc && bound).then(|| Disruption::of(Cause::NodeGone))
}

/// The preemptor, as the scheduler's event names it: by its reference, else in its sentence (a UID in current releases).
fn preemptor(ledger: &Ledger) -> Option<String> {
    ledger.entries.iter().rev().find_map(|entry| match &entry.fact {
        Fact::Told { reason, message, related, .. } if reason == "Preempted" => {
            let by = related.clone().filter(|name| !name.ends_with('/'));
            let node = message.split_once(" on node ").map(|(_, node)| format!(" on node {node}")).unwrap_or_default();
            Some(by.map_or_else(|| message.clone(), |by| format!("preempted by pod {by}{node}")))
        }
        _ => None,
    })
}
