//! The ledger: everything observed of one attempt, keyed by its UID.
//!
//! [`Ledger::observe`] turns each sight of the pod into [`Fact`]s, one entry for each change. [`Ledger::situation`] says
//! what the attempt is now; when it has ended, [`classify`](crate::classify) says what became of it. Facts are only ever added:
//! what was once seen (a container ID, a start) stays seen, whatever a later sight shows.

mod note;
mod observe;
mod situation;
mod told;

pub(crate) use observe::{is_single_binary, may_be_kubelet};
pub(crate) use situation::OVERDUE;
pub(crate) use told::explains;

use crate::pod::{Phase, Pod};
use crate::reason::Reason;
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
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "fact")]
pub enum Fact {
    /// The first sight of the pod.
    FirstSeen {
        /// Whether no kubelet had reported anything of it yet: nothing was missed.
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
        /// Whether that is known to be a kubelet.
        kubelet: bool,
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
    /// A `terminated` state that is not the kubelet's `ContainerStatusUnknown`.
    Terminated,
    /// A `Created`, `Started` or `Killing` event of the kubelet's: the runtime had the container.
    Event,
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
#[serde(rename_all = "camelCase", default)]
pub struct Ledger {
    /// In the order of learning; one entry a change, bounded (see [`Ledger::VITAL`]). Only ever added to: an index stays what it is.
    pub entries: Vec<Entry>,
    /// The newest sight of it, without what no decision needs any more. `None`: none yet.
    pub last: Option<Pod>,
    /// Whether all that was ever reported of it since its creation was observed.
    pub gapless: bool,
    /// Whether a gap is open now.
    pub in_gap: bool,
    /// Whether the next sight comes after a gap: it may show several writes at once.
    pub after_gap: bool,
    /// Signs of life by container, each with the index of its entry. Kept for ever. The empty name: of a container that is not known.
    pub ran: BTreeMap<String, u32>,
    /// How containers ended, by container: the first end stands, unless it was seen to run again.
    pub ends: BTreeMap<String, End>,
    /// The entry of its first terminal phase. `None`: none was seen.
    pub terminal: Option<u32>,
    /// A deletion request of ours was sent.
    pub our_delete: bool,
    /// A DELETED left open whether it is gone.
    pub doubtful: bool,
    /// How it was found to be gone. `None`: it is there.
    pub gone: Option<Absence>,
    /// The last progress on the way to its start, see [`Situation::Starting`].
    pub progress: Time,
    /// Failed tries to pull an image that were seen.
    pub pull_failures: u32,
    /// The last evidence that a node is being made for it.
    pub scale_up: Option<Time>,
    /// The last word that none will be.
    pub no_scale_up: Option<Time>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Its entry.
    pub entry: u32,
    /// Its exit code.
    pub exit_code: i32,
    /// The kubelet's word.
    pub reason: Option<String>,
    /// Whether the runtime told it. Not so: the kubelet could not locate the container (`ContainerStatusUnknown`), and the code is made up.
    pub located: bool,
    /// When, by the node's clock. `None`: not told.
    pub finished: Option<Time>,
    /// Whether a line of its termination message begins with `committed`. `None`: its beginning may have been cut off.
    pub committed: Option<bool>,
    /// How often it had been started again by then.
    pub restarts: i64,
}

/// What an attempt is now: the one value that the task's transitions match.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Situation {
    /// Held by gates.
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
        /// The init container that runs. `None`: none does, or only sidecars.
        init: Option<String>,
        /// Container and reason (`base: ImagePullBackOff`).
        waiting: Option<String>,
        /// The last progress on the way to its start. Progress is: it was bound; the kubelet acknowledged it; its sandbox came up; a
        /// container began to run or ended; a waiting reason other than an error appeared; an event said that an image was pulled, a
        /// volume attached, a container created or started. A failed try and the wait after it are none.
        progress: Time,
        /// What hinders the start: the reason if the clock runs out. `None`: nothing known.
        hindrance: Option<Reason>,
        /// An error of the image that cannot heal, or has not after [`Ledger::PULL_TRIES`]. Whether that ends the task is its spec's say.
        fatal: Option<Reason>,
    },
    /// Its own container runs, or has ended and the kubelet is about to say of what ([`Ledger::turns_at`]).
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
    /// A DELETED leaves open whether it is gone: one GET decides.
    Doubtful,
    /// Its own container has ended, or the pod is terminal or gone: a verdict can be reached.
    Ended,
}

impl Ledger {
    /// Entries up to which everything is noted.
    pub const ORDINARY: usize = 160;
    /// Entries up to which what explains a verdict is noted: disruption, phases, ends. Beyond it only what there is one of in an
    /// attempt, or one a container: the first sign of life, the deletion request, the first terminal phase, the end.
    pub const VITAL: usize = 224;
    /// Tries after which a refused or unknown image counts as certain.
    pub const PULL_TRIES: u32 = 3;

    /// Its UID. `None`: no sight of it yet.
    pub fn uid(&self) -> Option<&str> {
        self.last.as_ref().map(|pod| pod.metadata.uid.as_str())
    }

    /// Its name. `None`: no sight of it yet.
    pub fn name(&self) -> Option<&str> {
        self.last.as_ref().map(|pod| pod.metadata.name.as_str())
    }

    /// Its node. `None`: not bound, as far as seen.
    pub fn node(&self) -> Option<&str> {
        self.last.as_ref().and_then(|pod| pod.spec.node_name.as_deref()).filter(|node| !node.is_empty())
    }

    /// What an entry says. `None`: there is no such entry.
    pub fn fact(&self, entry: u32) -> Option<&Fact> {
        self.entries.get(entry as usize).map(|entry| &entry.fact)
    }

    /// The container that is the task's own: the template's; else the first that failed, or the pod's default.
    pub fn own<'a>(&'a self, template: &'a Template) -> &'a str {
        if !template.container.is_empty() {
            return &template.container;
        }
        let Some(pod) = &self.last else { return "" };
        let failed = pod.status.container_statuses.iter().find(|status| status.has_failed());
        failed.map(|status| status.name.as_str()).or_else(|| pod.default_container()).unwrap_or_default()
    }

    /// An autoscaler's last word, if it was that it makes no node.
    pub fn no_scale_up_words(&self) -> Option<String> {
        self.no_scale_up.filter(|at| Some(*at) >= self.scale_up)?;
        self.entries.iter().rev().find_map(|entry| match &entry.fact {
            Fact::Told { message, .. } if entry.fact.refuses_a_node() => Some(message.clone()),
            _ => None,
        })
    }

    /// How the task's own container ended. `None`: it has not, as far as seen.
    pub fn own_end(&self, template: &Template) -> Option<&End> {
        self.ends.get(self.own(template))
    }

    /// The entry of the first deletion request. `None`: none was seen.
    pub fn deletion(&self) -> Option<u32> {
        let at = self.entries.iter().position(|entry| matches!(entry.fact, Fact::DeletionRequested { .. }))?;
        u32::try_from(at).ok()
    }

    /// Containers that count and showed a sign of life, with their entries.
    pub fn started(&self, template: &Template) -> impl Iterator<Item = (&str, u32)> {
        let counts = |name: &str| name.is_empty() || template.counts(name);
        self.ran.iter().map(|(name, entry)| (name.as_str(), *entry)).filter(move |(name, _)| counts(name))
    }

    /// Whether the program wrote its commit marker (`until-commit`). `None`: no status of the runtime's says so or otherwise.
    pub fn committed(&self, template: &Template) -> Option<bool> {
        let end = self.own_end(template)?;
        end.committed.filter(|_| end.located && !end.is_lost())
    }
}

impl End {
    /// Whether the node or its runtime lost the container: exit 255, reason `Unknown` (containerd and CRI-O after a reboot).
    pub fn is_lost(&self) -> bool {
        self.exit_code == 255 && self.reason.as_deref() == Some("Unknown")
    }

    /// Whether it may have been killed from outside: by TERM, or by KILL for another reason than its memory.
    pub fn may_be_killed(&self) -> bool {
        matches!(self.exit_code, 137 | 143) && self.reason.as_deref() != Some("OOMKilled")
    }

    /// Whether the runtime could not start the program. The container has an ID, so it bars *never*.
    pub fn is_start_error(&self) -> bool {
        matches!(self.reason.as_deref(), Some("StartError" | "ContainerCannotRun" | "RunContainerError"))
    }
}
