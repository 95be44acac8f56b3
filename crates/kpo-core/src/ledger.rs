//! The ledger: everything observed of one attempt, keyed by its UID.
//!
//! [`Ledger::observe`] turns each sight of the pod into [`Fact`]s, one entry for each change. [`Ledger::situation`] says
//! what the attempt is now; when it has ended, [`classify`](crate::classify) says what became of it. Facts are only ever added:
//! what was once seen (a container ID, a start) stays seen, whatever a later sight shows.

use crate::contract::Sight;
use crate::pod::{ClusterEvent, Phase, Pod, PodStatus};
use crate::spec::Template;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One thing that was learnt, and when.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// By the observer's clock.
    pub at: Time,
    /// What.
    pub fact: Fact,
}

/// What was learnt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "fact")]
pub enum Fact {
    /// The first sight of the pod.
    FirstSeen {
        /// Whether it was the answer to our own create or a sight of the pod before it was bound: nothing was missed.
        from_creation: bool,
    },
    /// Observation was interrupted here.
    GapOpened,
    /// Observation went on here.
    GapClosed {
        /// Whether something may have been missed.
        missed: bool,
    },
    /// It is held by these gates (empty: no longer).
    Gated {
        /// Their names.
        gates: Vec<String>,
    },
    /// The scheduler found no node.
    Unschedulable {
        /// Its sentence.
        message: String,
    },
    /// The scheduler makes room for it on a node.
    Nominated {
        /// The node.
        node: String,
    },
    /// It was bound.
    Assigned {
        /// The node.
        node: String,
    },
    /// A condition that matters changed (DisruptionTarget, TerminationTarget, PodReadyToStartContainers, Ready).
    Condition {
        /// Its type.
        kind: String,
        /// `True`, `False`, `Unknown`.
        status: String,
        /// Its reason.
        reason: Option<String>,
        /// Its message.
        message: Option<String>,
    },
    /// Deletion was requested.
    DeletionRequested {
        /// Its grace in seconds.
        grace_seconds: i64,
        /// Whether by this observer or one of its kind.
        ours: bool,
    },
    /// A container waits.
    ContainerWaiting {
        /// Which.
        container: String,
        /// Why.
        reason: Option<String>,
        /// The kubelet's sentence.
        message: Option<String>,
    },
    /// A sign of life: the container runs or has run.
    ContainerRan {
        /// Which.
        container: String,
        /// What showed it.
        sign: Sign,
    },
    /// A container has ended.
    ContainerEnded {
        /// Which.
        container: String,
        /// Its code.
        exit_code: i32,
        /// The kubelet's word.
        reason: Option<String>,
    },
    /// The phase changed.
    Phase {
        /// To what.
        phase: Phase,
        /// The status' reason.
        reason: Option<String>,
        /// The status' message.
        message: Option<String>,
        /// The manager that owns it. `None`: not told.
        writer: Option<String>,
    },
    /// An event of the cluster's about it.
    Told {
        /// Its reason.
        reason: String,
        /// Its sentence.
        message: String,
        /// Its reporter.
        reporter: String,
        /// The other party, as `namespace/name`.
        related: Option<String>,
    },
    /// It is gone.
    Gone {
        /// How that is known.
        how: Absence,
    },
}

/// What showed that a container runs or has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// A state `running`.
    Running,
    /// The runtime's ID.
    ContainerId,
    /// A `startedAt` other than the epoch.
    StartedAt,
    /// A `lastState`.
    LastState,
    /// A `restartCount` above 0.
    RestartCount,
    /// A `Started` event.
    StartedEvent,
}

/// How a pod was found to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    /// A watch's DELETED showed its last state.
    Observed,
    /// A read by name found none, or another UID: how it ended was not seen.
    Unobserved,
}

/// What was learnt of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// In the order of learning; one entry a change, at most [`Ledger::CAPACITY`].
    pub entries: Vec<Entry>,
    /// The last sight of it. `None`: none yet.
    pub last: Option<Pod>,
    /// Whether every moment since its creation was observed.
    pub gapless: bool,
    /// Whether a gap is open now.
    pub in_gap: bool,
    /// Signs of life by container, each with the index of its entry. Kept for ever.
    pub ran: BTreeMap<String, u32>,
    /// Its own deletion request of ours was accepted.
    pub our_delete: bool,
    /// How it was found to be gone. `None`: it is there.
    pub gone: Option<Absence>,
}

/// What an attempt is now: the one value that the task's transitions match.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Situation {
    /// Held by gates; `ours` says that kpo's own is the only one.
    Gated {
        /// The gates of others.
        others: Vec<String>,
        /// Whether kpo's own gate is (still) there.
        ours: bool,
    },
    /// Waits for a node.
    Unscheduled {
        /// What the scheduler says.
        message: Option<String>,
        /// Since when a scale-up or nomination is evidenced. `None`: none.
        scaling_up_since: Option<Time>,
    },
    /// Bound; its own container has not run yet.
    Starting {
        /// The node.
        node: String,
        /// Container and reason.
        waiting: Option<String>,
        /// The last progress on the way to its start.
        progress: Time,
        /// An error of the image or configuration that cannot heal, if there is one.
        fatal: Option<crate::reason::Reason>,
    },
    /// Its own container runs.
    Running {
        /// The node.
        node: String,
    },
    /// Deletion was requested, it has not ended.
    Terminating {
        /// The node. `None`: unbound.
        node: Option<String>,
        /// Since when its node has been silent. `None`: it is not.
        unreachable_since: Option<Time>,
    },
    /// A DELETED or a relist leaves open whether it is gone: one GET decides.
    Doubtful,
    /// Its own container has ended, or the pod is terminal or gone: a verdict can be reached.
    Ended,
}

/// Which containers count for *never*, and which one is the task's.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The template's part.
    pub template: &'a Template,
}

impl Ledger {
    /// Entries kept. Signs of life, deletion, phases and the end are always kept; waiting reasons are dropped first.
    pub const CAPACITY: usize = 256;
}
