//! What became of an attempt, and why that is believed.

use crate::reason::Reason;
use serde::{Deserialize, Serialize};

/// What became of an attempt. The first terminal verdict wins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The class.
    #[serde(flatten)]
    pub class: Class,
    /// The registered reason: code, sentence, docs, exit code.
    pub reason: Reason,
    /// Exit code of the task's own container. `None`: none was reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// Why *never* is believed. `Some` exactly where `class` is disrupted and `started` is `never`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proof: Option<Proof>,
    /// What the cluster said of it, in its own words (a message, a preemptor's name). `None`: nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// Whether no process of the attempt can be alive any more: it never ran, or a kubelet wrote a terminal phase with
    /// every container terminated. A replacement demands it.
    pub stopped: bool,
    /// The ledger's entries it rests on, by index. Where an attempt is reported they are spelt out
    /// ([`AttemptVerdict`](crate::AttemptVerdict)).
    #[serde(rename = "evidenceIndexes", skip_serializing_if = "Vec::is_empty", default)]
    pub evidence: Vec<u32>,
}

impl Verdict {
    /// What a command about it exits with: the container's code where the program ended by itself, else the reason's.
    pub fn process_code(&self) -> i32 {
        let own = self.exit_code.filter(|code| self.class == Class::Failed && *code != 0);
        own.unwrap_or_else(|| self.reason.exit_code())
    }
}

/// The class of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Class {
    /// The program ended with 0.
    Succeeded,
    /// The program failed, or used more than it was given.
    Failed,
    /// It could not be launched: image, configuration, refused by the API server.
    LaunchFailed,
    /// It was taken away.
    Disrupted {
        /// By whom or what.
        cause: Cause,
        /// Whether its program ran.
        started: Started,
    },
    /// We stopped it: the user's cancel, or a deadline of kpo's.
    Cancelled,
}

impl Class {
    /// `succeeded`, `failed`, `launchFailed`, `disrupted`, `cancelled`.
    pub fn name(&self) -> &'static str {
        match self {
            Class::Succeeded => "succeeded",
            Class::Failed => "failed",
            Class::LaunchFailed => "launchFailed",
            Class::Disrupted { .. } => "disrupted",
            Class::Cancelled => "cancelled",
        }
    }
}

/// Whether the program of a disrupted attempt ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Started {
    /// Proven: no container that counts ever ran ([`Proof`]).
    Never,
    /// Seen to have run.
    Started,
    /// Neither seen nor disproved. Treated as started.
    Unknown,
}

/// What proves that nothing ran, for one UID (design rule 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// (a) The final object carries a `deletionTimestamp` and no `spec.nodeName`: binding refuses such a pod.
    NeverBound,
    /// (b) A kubelet wrote the terminal phase, and no observation ever showed a sign of life of a container that counts.
    KubeletAttested,
    /// (c) A kubelet rejected it, and the ledger covers the UID without a gap since its creation.
    KubeletRejected,
}

/// By whom or what an attempt was disrupted (the rows of `disruptions.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The scheduler made room for a pod of higher priority (condition reason `PreemptionByScheduler`).
    Preemption,
    /// A kubelet made room for a critical pod (`Preempting`).
    CriticalPod,
    /// The eviction API: drain, autoscaler, Karpenter, descheduler (`EvictionByEvictionAPI`).
    Eviction,
    /// A NoExecute taint (`DeletionByTaintManager`).
    Taint,
    /// The node ran short of memory, disk or PIDs (`Evicted`, condition `TerminationByKubelet`).
    NodePressure,
    /// The node shut down in an orderly way (`Terminated`, `Shutdown`, `NodeShutdown`).
    NodeShutdown,
    /// The node is gone, or was given up (PodGC, cloud controller, out-of-service taint).
    NodeGone,
    /// The node was rebooted, or its runtime lost the containers (exit 255 `Unknown`, `ContainerStatusUnknown`).
    NodeReboot,
    /// The kubelet refused it (`OutOfcpu`, `NodeAffinity`, `UnexpectedAdmissionError`, …).
    Rejected,
    /// A queue took it back (Kueue, condition `TerminationTarget`).
    Queue,
    /// The provider behind a virtual kubelet failed (`ProviderFailed`).
    Provider,
    /// Another controller with a DisruptionTarget condition whose reason is not known here.
    Other,
    /// Somebody deleted it and nobody signed.
    DeletedOutside,
    /// It vanished while nobody watched.
    Vanished,
    /// Its node does not answer, and it may still run there.
    Unreachable,
}

impl Cause {
    /// As in JSON: `preemption`, `deleted-outside`, ….
    pub fn name(self) -> &'static str {
        match self {
            Cause::Preemption => "preemption",
            Cause::CriticalPod => "critical-pod",
            Cause::Eviction => "eviction",
            Cause::Taint => "taint",
            Cause::NodePressure => "node-pressure",
            Cause::NodeShutdown => "node-shutdown",
            Cause::NodeGone => "node-gone",
            Cause::NodeReboot => "node-reboot",
            Cause::Rejected => "rejected",
            Cause::Queue => "queue",
            Cause::Provider => "provider",
            Cause::Other => "other",
            Cause::DeletedOutside => "deleted-outside",
            Cause::Vanished => "vanished",
            Cause::Unreachable => "unreachable",
        }
    }
}

impl Started {
    /// `never`, `started` or `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Started::Never => "never",
            Started::Started => "started",
            Started::Unknown => "unknown",
        }
    }
}
