//! Where a task stands. Every move between stages is a row of [`MOVES`]; a test pins the table and takes each row.

use crate::outcome::Outcome;
use crate::reason::Reason;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "stage")]
pub enum Stage {
    /// A create waits for its answer, or (`again_at`) is asked again after a refusal for now.
    Creating {
        /// When it is asked again. `None`: its answer is awaited.
        again_at: Option<Time>,
        /// Whether the create whose answer is awaited was withdrawn, since the task is to stop.
        withdrawn: bool,
    },
    /// The delay before a create that no gate can hold: the name is fixed, or gates are not to be had.
    Delaying {
        /// Its end.
        until: Time,
    },
    /// The current pod is there, and is followed; its gate, if it has kpo's, is lifted in time.
    Following,
    /// Its own deletion is on the way; when the pod has ended, `reason` is the verdict's, unless it had ended before.
    Stopping {
        /// Why it is stopped.
        reason: Reason,
        /// Since when.
        since: Time,
    },
    /// It has ended; the events about it are awaited, until then at most.
    Explaining {
        /// Not longer than this.
        until: Time,
    },
    /// The verdict is final; logs and result are on the way.
    Completing {
        /// The result as read. `None`: not read (yet).
        result: Option<Result<String, String>>,
    },
    /// The outcome is handed over.
    Delivering {
        /// What was handed over.
        outcome: Box<Outcome>,
    },
    /// The outcome was taken; pods are cleaned up.
    Cleaning,
    /// Nothing more comes of it.
    Finished,
    /// The observer has left; the pods stay.
    Detached {
        /// Where the task stood: a snapshot goes on from there.
        from: Box<Stage>,
    },
}

/// A stage without its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names of Stage")]
pub enum StageName {
    Creating,
    Delaying,
    Following,
    Stopping,
    Explaining,
    Completing,
    Delivering,
    Cleaning,
    Finished,
    Detached,
}

use StageName::{
    Cleaning, Completing, Creating, Delaying, Delivering, Detached, Explaining, Finished, Following, Stopping,
};

/// All moves there are: from, to, and what makes it.
pub const MOVES: &[(StageName, StageName, &str)] = &[
    (Creating, Creating, "refused for now: asked again later; or withdrawn, since it is to stop"),
    (Creating, Delaying, "the name still belongs to a predecessor on its way out"),
    (Creating, Following, "accepted, or found under its name with our nonce"),
    (Creating, Completing, "refused for good, or stopped while it waited"),
    (Creating, Explaining, "taken over before there was a pod: the other's attempt is waited for"),
    (Creating, Detached, "the observer leaves"),
    (Delaying, Creating, "the delay is over and the predecessor gone"),
    (Delaying, Completing, "stopped while it waited"),
    (Delaying, Following, "a follower sees the next attempt"),
    (Delaying, Explaining, "taken over before there was a pod: the other's attempt is waited for"),
    (Delaying, Detached, "the observer leaves"),
    (Following, Following, "a follower sees the next attempt"),
    (Following, Stopping, "cancel, deadline, or a launch failure"),
    (Following, Explaining, "it was taken away: events explain by whom"),
    (Following, Creating, "it failed, and retries are left"),
    (
        Following,
        Delaying,
        "it failed, and retries are left, but no gate can hold the next attempt; or the gate that holds it may not be lifted",
    ),
    (Following, Completing, "it ended by itself"),
    (Following, Detached, "the observer leaves"),
    (Stopping, Following, "taken over meanwhile, it sees the next attempt"),
    (Stopping, Creating, "its program failed by itself meanwhile, and retries are left"),
    (Stopping, Delaying, "the same, but no gate can hold the next attempt"),
    (Stopping, Explaining, "it was taken away by somebody else meanwhile"),
    (Stopping, Completing, "it has ended, or was waited for long enough"),
    (Stopping, Detached, "the observer leaves"),
    (Explaining, Creating, "it may run again"),
    (Explaining, Delaying, "it may run again, but no gate can hold the next attempt"),
    (Explaining, Completing, "it may not run again"),
    (Explaining, Explaining, "a follower waits for the next attempt"),
    (Explaining, Following, "a follower sees the next attempt"),
    (Explaining, Detached, "the observer leaves"),
    (Completing, Completing, "the wait for the result is given up: cancel or deadline"),
    (Completing, Delivering, "logs and result are in"),
    (Completing, Detached, "the observer leaves"),
    (Delivering, Cleaning, "the caller has taken the outcome"),
    (Delivering, Detached, "the observer leaves"),
    (Cleaning, Finished, "nothing is left to clean up"),
    (Cleaning, Detached, "the observer leaves"),
];

impl Stage {
    /// Its name.
    pub fn name(&self) -> StageName {
        match self {
            Stage::Creating { .. } => Creating,
            Stage::Delaying { .. } => Delaying,
            Stage::Following => Following,
            Stage::Stopping { .. } => Stopping,
            Stage::Explaining { .. } => Explaining,
            Stage::Completing { .. } => Completing,
            Stage::Delivering { .. } => Delivering,
            Stage::Cleaning => Cleaning,
            Stage::Finished => Finished,
            Stage::Detached { .. } => Detached,
        }
    }

    /// A create that is to be answered.
    pub(super) const CREATING: Stage = Stage::Creating { again_at: None, withdrawn: false };

    /// A create that is sent (again) at that moment.
    pub(super) fn creating_at(at: Time) -> Self {
        Stage::Creating { again_at: Some(at), withdrawn: false }
    }

    /// Whether the verdict on the task is final.
    pub fn is_concluded(&self) -> bool {
        matches!(self.name(), Completing | Delivering | Cleaning | Finished)
    }

    /// Whether the table has a move to that stage.
    pub fn may_become(&self, next: &Stage) -> bool {
        let (from, to) = (self.name(), next.name());
        MOVES.iter().any(|(a, b, _)| (*a, *b) == (from, to))
    }
}
