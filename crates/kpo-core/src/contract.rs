//! What goes into a [`Task`](crate::Task) and what comes out: all of it data.

#[cfg(test)]
mod samples;

use crate::outcome::Outcome;
use crate::pod::{ClusterEvent, Pod};
use crate::reason::Reason;
use crate::time::Time;
use crate::verdict::Verdict;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Input {
    /// Time passed: the `until` of the last [`Wait`], or any moment that suits the driver.
    Tick,
    /// A watch, list or read showed a pod of ours.
    Seen {
        /// How it was seen.
        sight: Sight,
        /// What was seen.
        pod: Box<Pod>,
    },
    /// Observation was interrupted: what happens from now until [`Input::Covered`] may be missed.
    Gap,
    /// Observation goes on; everything since the last sight was or will be delivered, or a relist said what is there now.
    Covered {
        /// Whether nothing was missed (a watch resumed from its resourceVersion), or something may have been (a relist).
        gapless: bool,
    },
    /// Watching is forbidden: pods are read again and again instead. Observation is interrupted until [`Input::Covered`].
    Unwatched {
        /// The server's words.
        message: String,
        /// How often they are read.
        every: Duration,
    },
    /// A consistent list newer than the create did not show this pod. Proves nothing; the core asks for it by name.
    Missing {
        /// The pod's UID.
        uid: String,
    },
    /// The answer to a command.
    Reply {
        /// Whose.
        to: CommandId,
        /// What.
        reply: Reply,
    },
    /// Somebody or something wants it to stop. Ranked: a stronger wish replaces a weaker one.
    Stop(Stop),
}

/// How a pod was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Sight {
    /// A watch's ADDED, an element of a list, a read, or the answer to a write.
    Present,
    /// A watch's DELETED. With a `deletionTimestamp` and no grace left it is gone and this is its last state; otherwise it may
    /// only have stopped matching, and one GET decides ([`Pod::is_last_version`]).
    Deleted,
}

/// What stops a task, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Stop {
    /// The observer leaves: nothing is deleted.
    Shutdown,
    /// A deadline has passed: the pod is deleted.
    Deadline,
    /// The user cancels: the pod is deleted.
    User,
}

/// Names a command, for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(pub u64);

/// What the driver shall do. It answers each with one [`Reply`], when it has happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Command {
    /// Create an attempt's pod from the template and these additions. A lost reply is resolved by name, nonce and UID before it is answered.
    Create(Box<Create>),
    /// Do not send that create (again); one that is on its way is answered as ever. The reply is the create's own.
    Withdraw {
        /// The create.
        create: CommandId,
    },
    /// Read the pod of that name, to learn whether it is still that attempt's. Replies: `Pod` (whosever it is), `NotFound`, `Refused`.
    Read {
        /// Its name.
        name: String,
        /// The UID of the pod that is asked about: the answer is about no other attempt of the same name.
        uid: String,
    },
    /// Delete, with preconditions on UID and resourceVersion. Replies: `Done` (accepted), `NotFound`, `Conflict` (it changed: look again), `Refused`.
    Delete {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// The version of the last sight.
        resource_version: String,
        /// Grace in seconds. `None`: the pod's own.
        grace_seconds: Option<u32>,
    },
    /// Lift kpo's gate. Replies: `Pod`, `NotFound`, `Conflict`, `Refused`.
    Ungate {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Take kpo's own finalizer off, and no other. Replies: `Done`, `NotFound`, `Refused`.
    Release {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Put kpo's finalizer on. Replies: `Pod`, `NotFound`, `Conflict`, `Refused`.
    Protect {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Set kpo's annotations (state, observer, expiry) and, where given, `activeDeadlineSeconds`. Replies: `Pod`, `NotFound`, `Conflict`, `Refused`.
    Annotate {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// The annotations, by full name.
        annotations: Vec<(String, String)>,
        /// Stops a kept pod whose sidecars run on. `None`: left as it is.
        active_deadline_seconds: Option<u32>,
        /// The resourceVersion it must still have. `None`: any.
        resource_version: Option<String>,
    },
    /// List the events about that pod, once. Replies: `Events` (those that name another UID may be among them), `Refused`.
    ListEvents {
        /// The pod's name: some events name no UID.
        name: String,
        /// The pod's UID.
        uid: String,
    },
    /// Stream a container's log from its start (attached later: from what was not yet delivered) until [`Command::CloseLogs`]. No reply.
    FollowLog {
        /// The pod's name.
        name: String,
        /// Its UID.
        uid: String,
        /// The container.
        container: String,
    },
    /// These containers have ended, or the pod is gone: read what their current logs still hold, then close. Reply: `Done`, once all lines are out.
    CloseLogs {
        /// The pod's name.
        name: String,
        /// Its UID.
        uid: String,
        /// Why the pod's logs end here, for naming a gap. `None`: its containers ended by themselves.
        cause: Option<Reason>,
    },
    /// Read the result. Replies: `Result`.
    ReadResult {
        /// The pod's name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Hand the outcome over. Reply `Done` once the caller has durably taken it: nothing is deleted before.
    Deliver(Box<Outcome>),
}

/// What is added to the template for an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Create {
    /// The pod's name.
    pub name: String,
    /// The attempt's number.
    pub attempt: u32,
    /// Whether it starts behind kpo's gate.
    pub gated: bool,
    /// Whether it carries kpo's finalizer.
    pub protect: bool,
    /// `activeDeadlineSeconds`: the smaller of what is left of the template's and of `--timeout`. `None`: none.
    pub active_deadline_seconds: Option<u32>,
    /// Nodes that have disrupted this task twice or more: others are preferred (never required).
    pub avoid_nodes: Vec<String>,
    /// For `KPO_PREVIOUS_VERDICT`: `class/cause/started`. Empty in the first attempt.
    pub previous_verdict: String,
    /// For `kpo.rs/observer`.
    pub observer: String,
    /// For `kpo.rs/state`: what the next observer needs ([`Carried`] as JSON).
    pub state: Carried,
    /// It may have been sent by a process that has died since: its pod, made after this moment, is looked for before another is created.
    /// `None`: it was not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sent_before: Option<Time>,
}

/// What travels on a task's current pod, so that any machine can go on with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Carried {
    /// Version of this form: [`STATE_VERSION`](crate::STATE_VERSION).
    pub version: u32,
    /// The task.
    pub spec: crate::Spec,
    /// When the first attempt was created.
    pub began: Time,
    /// The attempts before this one.
    pub attempts: Vec<crate::AttemptRecord>,
    /// The verdict on this very pod, once there is one that is final for the task.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<Verdict>,
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reply {
    /// It is done.
    Done,
    /// The pod as it is now.
    Pod(Box<Pod>),
    /// Creating: it was withdrawn, and there is no pod of it.
    Withdrawn,
    /// Creating: the pod was accepted, but admission changed what must stay for the task to be run rightly (its own container, the
    /// restart policy, kpo's marks).
    Altered {
        /// The pod as it is.
        pod: Box<Pod>,
        /// What was changed, one clause each.
        differences: Vec<String>,
    },
    /// There is no pod of that name, or it has another UID. Creating: the answer was lost, and the pod it made has vanished since.
    NotFound,
    /// Somebody changed it in between.
    Conflict,
    /// The events asked for.
    Events(Vec<ClusterEvent>),
    /// The result: `Ok` with its JSON or text, `Err` with one line on what was wrong. Held apart from the ledger.
    Result(Result<String, String>),
    /// Creating: the name belongs to a pod that is not ours. `terminating`: it is on its way out.
    NameTaken {
        /// Its UID.
        uid: String,
        /// Whether deletion was requested.
        terminating: bool,
    },
    /// The API server refused for good or for now; the request has had no effect.
    Refused(Refusal),
}

/// A refusal, as the API server words it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// `Forbidden`, `Invalid`, `NotFound`, ….
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// When to ask again, if it said so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<Duration>,
}

/// What [`Task::poll`](crate::Task::poll) returns.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Output {
    /// Do this.
    Command(CommandId, Command),
    /// Say this.
    Event(Event),
    /// Nothing before `until`, because …. The queue is drained.
    Wait(Wait),
}

/// Nothing is to be done before `until`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// When to come back with [`Input::Tick`]. `None`: only an input changes anything.
    pub until: Option<Time>,
    /// What it waits for.
    pub because: Because,
}

/// What a task waits for: the clock that runs, and the thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "for")]
pub enum Because {
    /// The reply to a create.
    Creation,
    /// The API server refused for now (quota): asked again at `until`.
    Admission {
        /// Its sentence.
        message: String,
        /// When the clock ends. `None`: never.
        deadline: Option<Time>,
    },
    /// The backoff before an attempt's gate is lifted.
    Backoff,
    /// A predecessor of the same name, or one that may still be alive, to be gone.
    Predecessor,
    /// Gates of others (a queue).
    Queue {
        /// Their names.
        gates: Vec<String>,
        /// When the clock ends. `None`: never.
        deadline: Option<Time>,
    },
    /// A node.
    Node {
        /// What the scheduler says. `None`: nothing yet.
        message: Option<String>,
        /// Whether an evidenced scale-up holds the clock.
        scaling_up: bool,
        /// An autoscaler's sentence on why it makes no node. `None`: none says so.
        refused: Option<String>,
        /// When the clock ends. `None`: never.
        deadline: Option<Time>,
    },
    /// The start of its container on a node.
    Start {
        /// The node.
        node: String,
        /// What the kubelet says: the container, and its reason (`base: ImagePullBackOff`).
        waiting: Option<String>,
        /// The cluster's sentence on what hinders the start. `None`: it says none.
        message: Option<String>,
        /// When the clock ends. `None`: never.
        deadline: Option<Time>,
    },
    /// The program to end.
    Program {
        /// The node.
        node: String,
        /// When the total clock ends. `None`: never.
        deadline: Option<Time>,
    },
    /// A pod on its way out to be gone.
    Termination {
        /// The node. `None`: unbound.
        node: Option<String>,
    },
    /// A node that does not answer, to come back or be given up.
    Unreachable {
        /// The node.
        node: String,
        /// Whether nothing of the pod was seen to start: then its kubelet may also be pulling an image still, which no deletion interrupts
        /// (`SyncPod` in `pkg/kubelet/kuberuntime/kuberuntime_manager.go`; kubernetes#113606).
        may_pull: bool,
    },
    /// Logs, result, or the caller to take the outcome.
    Completion,
    /// Nothing more: the task is finished and cleaned up.
    Finished,
    /// The observer has left.
    Detached,
}

/// What is worth saying, once, in order. Versioned: [`EVENT_VERSION`](crate::EVENT_VERSION).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "event")]
#[non_exhaustive]
pub enum Event {
    /// An attempt's pod was accepted by the API server.
    Created {
        /// The attempt.
        attempt: u32,
        /// The pod's name.
        pod: String,
        /// Its UID.
        uid: String,
        /// Attempts possible at most, this one included.
        at_most: u32,
        /// Whether it waits behind kpo's gate, and for how long.
        backoff: Option<Duration>,
    },
    /// It was found again, not created.
    Adopted {
        /// The attempt.
        attempt: u32,
        /// The pod's name.
        pod: String,
        /// Its UID.
        uid: String,
        /// Whether this observer only follows.
        follows: bool,
        /// Whether the manifest as submitted is known here: without it no other attempt is ever made from here.
        recreates: bool,
        /// What it was found as.
        found: Found,
    },
    /// Its gate was lifted.
    Ungated {
        /// The attempt.
        attempt: u32,
    },
    /// It was bound to a node.
    Assigned {
        /// The attempt.
        attempt: u32,
        /// The node.
        node: String,
    },
    /// It waits, and for something new.
    Waiting {
        /// The attempt.
        attempt: u32,
        /// For what.
        because: Because,
    },
    /// Its own container runs.
    Running {
        /// The attempt.
        attempt: u32,
        /// The node.
        node: String,
    },
    /// Somebody takes it away; it has not ended yet.
    Disrupting {
        /// The attempt.
        attempt: u32,
        /// The cause.
        reason: Reason,
        /// In the cluster's words.
        detail: Option<String>,
    },
    /// What became of an attempt.
    Ended {
        /// The attempt.
        attempt: u32,
        /// The verdict.
        verdict: Box<Verdict>,
        /// What follows.
        next: Next,
    },
    /// A stop was asked for. What it means comes after what is waited for now.
    Stopping {
        /// By what.
        stop: Stop,
        /// What was waited for when it was asked.
        because: Because,
    },
    /// Its pod is being deleted by this observer, to stop it.
    Deleting {
        /// The attempt.
        attempt: u32,
        /// Why.
        reason: Reason,
        /// How long its containers have to end after TERM.
        grace_seconds: u32,
    },
    /// Another observer has taken the task over: from now on this one only follows.
    TakenOver {
        /// Its mark.
        by: String,
    },
    /// Observation is interrupted, or goes on.
    Sight {
        /// Whether it sees.
        watching: bool,
    },
    /// Watching is forbidden: pods are read again and again, until `Sight` says that they are watched.
    Unwatched {
        /// Whether kpo's finalizer holds the pod, so that its last state is seen all the same. Where not, how it ended may stay unknown.
        protected: bool,
        /// How often they are read.
        every: Duration,
        /// The server's words.
        message: String,
    },
    /// Something could not be done, and what that means.
    Hindered {
        /// What.
        what: Hindrance,
        /// The server's words.
        message: String,
    },
    /// The outcome was taken by the caller and everything is cleaned up.
    Finished,
}

/// What an attempt is found as by who attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// It waits, or runs.
    Living,
    /// It has ended, or is being ended: that began before it was found, so that it concerns who observed it then.
    Ending,
    /// The task is over, its outcome was taken, and its pod is kept.
    Over,
}

/// What follows an attempt's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "next")]
pub enum Next {
    /// Another attempt.
    Rerun {
        /// After so long.
        backoff: Duration,
        /// Reruns of this budget that are left after it.
        left: u32,
    },
    /// The task ends here.
    End {
        /// Why no other attempt follows a disruption. `None`: none would be expected.
        why: Option<NoRerun>,
    },
}

/// Why a disrupted task is not run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoRerun {
    /// The policy forbids it: the program ran, or may have run.
    Policy,
    /// The budget is used up.
    Budget,
    /// The program had committed (`until-commit`).
    Committed,
    /// Nobody signed the deletion.
    UnsignedDelete,
    /// A stop was asked for.
    Stopped,
    /// The total clock has run out.
    Deadline,
    /// This observer only follows.
    Follower,
    /// The manifest as submitted is not known here, and nothing is rebuilt from a live pod.
    NoManifest,
    /// The task had ended before: its pod was kept.
    Over,
}

/// What could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hindrance {
    /// The pod could not be read.
    Read,
    /// Events could not be listed: explanations are poorer, nothing else suffers.
    Events,
    /// A pod could not be deleted; it is left behind.
    Delete,
    /// A gate could not be lifted.
    Ungate,
    /// The cluster has no scheduling gates: what they would hold is waited for in memory.
    Gate,
    /// An annotation could not be written.
    Annotate,
    /// A finalizer could not be removed.
    Release,
}

impl Because {
    /// Whether it is the same thing that is waited for, whatever has passed of its clock meanwhile, and however the kubelet now words
    /// its wait (it counts the seconds to its next try).
    pub fn is_like(&self, other: &Because) -> bool {
        self.without_deadline() == other.without_deadline()
    }

    fn without_deadline(&self) -> Because {
        let mut same = self.clone();
        match &mut same {
            Because::Start { deadline, message, .. } => (*deadline, *message) = (None, None),
            Because::Admission { deadline, .. }
            | Because::Queue { deadline, .. }
            | Because::Node { deadline, .. }
            | Because::Program { deadline, .. } => *deadline = None,
            Because::Creation
            | Because::Backoff
            | Because::Predecessor
            | Because::Termination { .. }
            | Because::Unreachable { .. }
            | Because::Completion
            | Because::Finished
            | Because::Detached => {}
        }
        same
    }
}

impl Carried {
    /// As it stands in `kpo.rs/state`.
    pub fn to_json(&self) -> String {
        // A value of strings, integers and lists: its serialisation cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From `kpo.rs/state`.
    ///
    /// # Errors
    /// One line that says what is wrong with the text.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}
