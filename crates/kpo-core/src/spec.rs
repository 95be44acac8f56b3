//! What the user asked for, as far as decisions need it. The template itself is opaque to the core.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A task: identity, policies, clocks. Holds no env value and nothing secret: it travels in an annotation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The task's id, a DNS label of at most 63 characters: label `kpo.rs/task`, and stem of the attempts' names.
    pub task: String,
    /// The namespace.
    pub namespace: String,
    /// Random, made once by whoever created the task: tells our pods from namesakes.
    pub nonce: String,
    /// How attempts are named.
    pub naming: Naming,
    /// What of the template decisions need.
    pub template: Template,
    /// May it run again?
    pub rerun: Rerun,
    /// What a deletion that nobody signed means.
    #[serde(default)]
    pub on_unsigned_delete: OnUnsignedDelete,
    /// What an exit 0 after somebody else's deletion request means.
    #[serde(default)]
    pub exit_zero_after_term: ExitZeroAfterTerm,
    /// Its clocks.
    pub clocks: Clocks,
    /// What is kept when it has finished.
    #[serde(default)]
    pub on_finish: OnFinish,
    /// Whether pods carry kpo's finalizer, so that their last state cannot vanish.
    #[serde(default)]
    pub protect: bool,
    /// How long an unreachable, Terminating pod is waited for before it is replaced, at the risk of a second life.
    /// `None` (default): for ever.
    #[serde(default)]
    pub replace_unreachable_after: Option<Duration>,
    /// How a result is handed over; it is read before anything is deleted. `None` (default): none is wanted.
    #[serde(default)]
    pub result: Option<ResultBy>,
    /// Whether image errors that cannot heal end the task early instead of with the starting clock.
    #[serde(default)]
    pub fail_fast_images: bool,
    /// Whether the cluster takes scheduling gates. Where not, backoff is waited in memory, and said so.
    #[serde(default = "yes")]
    pub gates: bool,
}

fn yes() -> bool {
    true
}

/// How a result gets out of the pod (design rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultBy {
    /// A native sidecar reports it when the kubelet stops it: after all other containers have ended.
    Sidecar,
    /// The termination message of the task's own container.
    Message,
    /// Exec into a plain container that waits.
    Exec,
}

/// How attempts are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Naming {
    /// `<task>-<attempt>`.
    #[default]
    Numbered,
    /// The pod is called as the task: a name fixed by the user. Its next attempt waits until the predecessor is gone.
    Fixed,
}

/// What of the template decisions need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Template {
    /// The task's own container. Empty: the first of the pod's that failed, else its default one (a foreign pod under `kpo why`).
    pub container: String,
    /// Containers, init containers among them, that the submitted manifest names: their start counts.
    /// Empty: all of the pod's (a foreign pod under `kpo why`).
    pub counted: Vec<String>,
    /// Seconds between TERM and KILL. Default 30, as the API server's.
    pub grace_seconds: u32,
    /// The template's `activeDeadlineSeconds`. `None`: none. A recreated pod gets what is left of it.
    pub active_deadline_seconds: Option<u32>,
    /// Whether it names its node itself (`spec.nodeName`): the API server takes no gate on such a pod. Default: no.
    #[serde(skip_serializing_if = "is_false")]
    pub names_its_node: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Template {
    /// For a pod that is not a task's (`kpo why`): all its containers count.
    pub fn foreign(pod: &crate::Pod) -> Self {
        let grace = pod.spec.termination_grace_period_seconds.and_then(|seconds| u32::try_from(seconds).ok());
        Self {
            container: String::new(),
            counted: Vec::new(),
            grace_seconds: grace.unwrap_or(30),
            active_deadline_seconds: None,
            names_its_node: false,
        }
    }

    /// Whether a start of that container counts as a start of the task.
    pub fn counts(&self, container: &str) -> bool {
        self.counted.is_empty() || self.counted.iter().any(|name| name == container)
    }
}

/// May a task run again, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rerun {
    /// When.
    pub policy: RerunPolicy,
    /// How often after disruptions before anything ran. Default 8.
    pub never_started: u32,
    /// How often after disruptions of a program that ran or may have run. Default 3.
    pub started: u32,
    /// How often after a failure of the program itself. Default 0: the user's retries are apart.
    pub retries: u32,
}

impl Default for Rerun {
    fn default() -> Self {
        Self { policy: RerunPolicy::IfNotStarted, never_started: 8, started: 3, retries: 0 }
    }
}

/// When a disrupted task runs again (`--rerun`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RerunPolicy {
    /// Never, whatever happened.
    Never,
    /// With proof that nothing ran.
    #[default]
    IfNotStarted,
    /// Also after a start, with an attested terminal status that shows no commit marker
    /// (the program writes `committed` to its termination message before its first side effect).
    UntilCommit,
    /// Always: the user says that it may run twice.
    Idempotent,
}

/// What a deletion that nobody signed means (`--on-unsigned-delete`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnsignedDelete {
    /// Somebody wanted it gone: the task ends.
    #[default]
    End,
    /// As any other disruption: the rerun policy decides.
    Recreate,
}

/// What an exit 0 after somebody else's deletion request means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitZeroAfterTerm {
    /// A success is a success.
    #[default]
    Success,
    /// A disruption after a start, for programs that trap TERM and stop half-way.
    Disrupted,
}

/// The clocks of a task. `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Clocks {
    /// Time behind scheduling gates of others (Kueue). Default `None`.
    pub queue: Option<Duration>,
    /// Time until it is bound, without what a scale-up took (15 minutes of credit at most). Default `None`.
    pub schedule: Option<Duration>,
    /// Time without progress between binding and the start of its own container (pull, volumes). An init container that runs is progress.
    /// Default 10 minutes.
    pub start: Option<Duration>,
    /// Time that its own container may run, in each attempt. Default `None`.
    pub run: Option<Duration>,
    /// Time from the first creation to the end, all attempts together. Default `None`.
    pub total: Option<Duration>,
}

impl Default for Clocks {
    fn default() -> Self {
        Self { queue: None, schedule: None, start: Some(Duration::from_secs(600)), run: None, total: None }
    }
}

/// What is kept when a task has finished (`--on-finish`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "keep")]
pub enum OnFinish {
    /// Nothing.
    #[default]
    None,
    /// The last pod.
    All,
    /// The last pod, if the task did not succeed; for so long (`None`: until somebody removes it).
    Failed {
        /// How long.
        #[serde(rename = "for")]
        lifetime: Option<Duration>,
    },
}

impl Spec {
    /// A task with every default: container `base`, no clocks but the starting one, nothing kept.
    pub fn minimal(task: &str, namespace: &str, nonce: &str) -> Self {
        Self {
            task: task.to_owned(),
            namespace: namespace.to_owned(),
            nonce: nonce.to_owned(),
            naming: Naming::default(),
            template: Template {
                container: "base".to_owned(),
                counted: vec!["base".to_owned()],
                grace_seconds: 30,
                active_deadline_seconds: None,
                names_its_node: false,
            },
            rerun: Rerun::default(),
            on_unsigned_delete: OnUnsignedDelete::default(),
            exit_zero_after_term: ExitZeroAfterTerm::default(),
            clocks: Clocks::default(),
            on_finish: OnFinish::default(),
            protect: false,
            replace_unreachable_after: None,
            result: None,
            fail_fast_images: false,
            gates: true,
        }
    }
}
