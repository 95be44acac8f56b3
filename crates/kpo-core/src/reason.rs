//! The closed registry of reasons. `docs/reasons.md` is made from it: `KPO_BLESS=1 cargo test -p kpo-core --test reasons`.

use crate::verdict::Cause;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kpo's commands exit with where no container's own code is returned. Stable.
///
/// A failed program's code is returned as it is, also after running out of memory or time. kpo's own lie outside what shells and most
/// programs use; they follow `timeout(1)`, `docker run` and `sysexits.h`.
pub mod exit {
    /// The program succeeded.
    pub const SUCCESS: i32 = 0;
    /// The task failed and its own container has no code to return: an init container failed, storage ran out.
    pub const FAILED: i32 = 1;
    /// The command line or the manifest is wrong; nothing was created.
    pub const USAGE: i32 = 2;
    /// The result that was asked for is missing or broken (`EX_DATAERR`).
    pub const BROKEN_RESULT: i32 = 65;
    /// There is no pod of the task: finished and cleaned up, or lost (`EX_NOINPUT`).
    pub const NO_POD: i32 = 66;
    /// The attempt was taken away and may not, or no more, run again (`EX_TEMPFAIL`).
    pub const DISRUPTED: i32 = 75;
    /// Another observer has taken the task over: how it ends is known there.
    pub const TAKEN_OVER: i32 = 76;
    /// A right is missing (`EX_NOPERM`).
    pub const FORBIDDEN: i32 = 77;
    /// A clock of kpo's, or `activeDeadlineSeconds`, ran out (as `timeout`).
    pub const TIMEOUT: i32 = 124;
    /// kpo's own failure: no connection, a broken cluster, a bug (as `docker run`).
    pub const OWN: i32 = 125;
    /// The program could not be launched: image, configuration, refused (as `docker run`).
    pub const LAUNCH_FAILED: i32 = 126;
    /// Cancelled by the user (128 + SIGINT).
    pub const CANCELLED: i32 = 130;
    /// Killed (128 + SIGKILL), where the kubelet reported no code.
    pub const KILLED: i32 = 137;
}

/// Why something is as it is. Each has a stable code, a sentence, a section of docs/reasons.md, an exit code and an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reason {
    /// The program ended with 0.
    Succeeded,
    /// The program ended with 0 after somebody else's deletion request.
    SucceededWhileTerminating,
    /// The program ended with another code.
    ProgramFailed,
    /// It was killed at its memory limit.
    OutOfMemory,
    /// `activeDeadlineSeconds` ran out.
    DeadlineExceeded,
    /// It used more local storage than it was given (emptyDir limit, ephemeral-storage limit).
    StorageExceeded,
    /// An init container failed.
    InitFailed,
    /// The program succeeded, but the result that was asked for is missing or broken.
    ResultMissing,
    /// The image cannot be pulled.
    Image,
    /// The name of the image is invalid.
    ImageInvalid,
    /// The configuration of a container cannot be made (missing Secret or ConfigMap).
    Config,
    /// The runtime could not start the program.
    StartError,
    /// A volume cannot be mounted in time, or another start did not happen within its clock.
    StartTimeout,
    /// No node within the scheduling clock.
    ScheduleTimeout,
    /// Not released by its queue within the queue clock.
    QueueTimeout,
    /// The running clock ran out.
    RunTimeout,
    /// The total clock ran out.
    Timeout,
    /// The quota stayed full until the clock ended.
    QuotaExceeded,
    /// The API server, or an admission that it asks, could not answer until the clock ended.
    Unavailable,
    /// The API server refused the pod (quota demands limits, LimitRange, Pod Security, webhook, invalid).
    Refused,
    /// Admission changed what must stay.
    Altered,
    /// A right is missing.
    Forbidden,
    /// The namespace does not exist or is being terminated.
    Namespace,
    /// The name belongs to a pod that is not this task's.
    NameTaken,
    /// Preempted by the scheduler.
    Preempted,
    /// Preempted by a kubelet for a critical pod.
    PreemptedByCriticalPod,
    /// Evicted through the API.
    Evicted,
    /// Evicted by a NoExecute taint.
    TaintEvicted,
    /// Evicted by its node, which ran short of something.
    NodePressure,
    /// Its node shut down.
    NodeShutdown,
    /// Its node is gone.
    NodeGone,
    /// Its node was rebooted or lost its containers.
    NodeReboot,
    /// A kubelet refused it.
    Rejected,
    /// A queue took it back.
    QueueEvicted,
    /// A virtual kubelet's provider failed.
    ProviderFailed,
    /// Disrupted by a controller that is not known here.
    DisruptedByOther,
    /// The attempt before was seen to have run after all.
    StartedAfterAll,
    /// Somebody deleted it; nobody signed.
    DeletedOutside,
    /// It vanished unobserved.
    Vanished,
    /// Its node does not answer.
    Unreachable,
    /// The user cancelled.
    CancelledByUser,
    /// No pod of the task was found: finished and cleaned, or lost.
    NoPod,
}

/// What the registry says of a reason.
struct Page {
    code: &'static str,
    exit: i32,
    sentence: &'static str,
    next: &'static str,
    example: &'static str,
}

impl Reason {
    /// All of them, in the order of docs/reasons.md.
    pub const ALL: [Reason; 42] = [
        Reason::Succeeded,
        Reason::SucceededWhileTerminating,
        Reason::ProgramFailed,
        Reason::OutOfMemory,
        Reason::DeadlineExceeded,
        Reason::StorageExceeded,
        Reason::InitFailed,
        Reason::ResultMissing,
        Reason::Image,
        Reason::ImageInvalid,
        Reason::Config,
        Reason::StartError,
        Reason::StartTimeout,
        Reason::ScheduleTimeout,
        Reason::QueueTimeout,
        Reason::RunTimeout,
        Reason::Timeout,
        Reason::QuotaExceeded,
        Reason::Unavailable,
        Reason::Refused,
        Reason::Altered,
        Reason::Forbidden,
        Reason::Namespace,
        Reason::NameTaken,
        Reason::Preempted,
        Reason::PreemptedByCriticalPod,
        Reason::Evicted,
        Reason::TaintEvicted,
        Reason::NodePressure,
        Reason::NodeShutdown,
        Reason::NodeGone,
        Reason::NodeReboot,
        Reason::Rejected,
        Reason::QueueEvicted,
        Reason::ProviderFailed,
        Reason::DisruptedByOther,
        Reason::StartedAfterAll,
        Reason::DeletedOutside,
        Reason::Vanished,
        Reason::Unreachable,
        Reason::CancelledByUser,
        Reason::NoPod,
    ];

    /// Its stable code, as in JSON (`outOfMemory`).
    pub fn code(self) -> &'static str {
        self.page().code
    }

    /// The reason of that code. `None`: there is none, or a later version has it.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// What happened, as a clause without a full stop.
    pub fn sentence(self) -> &'static str {
        self.page().sentence
    }

    /// What to do about it, with flags of kpo or fields of the manifest.
    pub fn next_step(self) -> &'static str {
        self.page().next
    }

    /// Its section in the documentation: `docs/reasons.md#out-of-memory`.
    pub fn section(self) -> String {
        format!("docs/reasons.md#{}", self.anchor())
    }

    /// A line as it is said of a task that it happened to.
    pub fn example(self) -> &'static str {
        self.page().example
    }

    /// What kpo exits with for it, where the container's own code is not returned ([`Verdict::process_code`](crate::Verdict)).
    pub fn exit_code(self) -> i32 {
        self.page().exit
    }

    /// The heading of its section: its code in words, `out-of-memory`.
    pub fn anchor(self) -> String {
        let mut anchor = String::new();
        for letter in self.code().chars() {
            if letter.is_ascii_uppercase() {
                anchor.push('-');
            }
            anchor.push(letter.to_ascii_lowercase());
        }
        anchor
    }

    /// Whether `--retries` may run it again: the program, or what it brought with it, failed. Not so after a success without a result, nor
    /// where time is used up.
    pub fn is_retriable(self) -> bool {
        matches!(self, Reason::ProgramFailed | Reason::OutOfMemory | Reason::StorageExceeded | Reason::InitFailed)
    }

    /// Whether it is about a launch: an attempt that we deleted for it is `launchFailed`, not `cancelled`.
    pub fn is_launch_failure(self) -> bool {
        matches!(
            self,
            Reason::Image
                | Reason::ImageInvalid
                | Reason::Config
                | Reason::StartError
                | Reason::StartTimeout
                | Reason::ScheduleTimeout
                | Reason::QueueTimeout
                | Reason::QuotaExceeded
                | Reason::Unavailable
                | Reason::Refused
                | Reason::Altered
                | Reason::Forbidden
                | Reason::Namespace
                | Reason::NameTaken
        )
    }

    /// The reason of a disruption by that cause.
    pub fn of_cause(cause: Cause) -> Self {
        match cause {
            Cause::Preemption => Reason::Preempted,
            Cause::CriticalPod => Reason::PreemptedByCriticalPod,
            Cause::Eviction => Reason::Evicted,
            Cause::Taint => Reason::TaintEvicted,
            Cause::NodePressure => Reason::NodePressure,
            Cause::NodeShutdown => Reason::NodeShutdown,
            Cause::NodeGone => Reason::NodeGone,
            Cause::NodeReboot => Reason::NodeReboot,
            Cause::Rejected => Reason::Rejected,
            Cause::Queue => Reason::QueueEvicted,
            Cause::Provider => Reason::ProviderFailed,
            Cause::Other => Reason::DisruptedByOther,
            Cause::DeletedOutside => Reason::DeletedOutside,
            Cause::Vanished => Reason::Vanished,
            Cause::Unreachable => Reason::Unreachable,
        }
    }

    #[rustfmt::skip]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn page(self) -> Page {
        match self {
            Reason::Succeeded => Page {
                code: "succeeded",
                exit: exit::SUCCESS,
                sentence: "the program succeeded",
                next: "Nothing: it is done.",
                example: "fresh-squeeze succeeded, exit 0, on node-2, attempt 2 (1 preempted before it ran)",
            },
            Reason::SucceededWhileTerminating => Page {
                code: "succeededWhileTerminating",
                exit: exit::SUCCESS,
                sentence: "the program succeeded, though its pod was being deleted",
                next: "If this program traps TERM and stops half-way, say so with `--exit-zero-after-term=disrupted`: then such an end counts as a disruption.",
                example: "succeeded, exit 0, within the grace after default-scheduler preempted it",
            },
            Reason::ProgramFailed => Page {
                code: "programFailed",
                exit: exit::FAILED,
                sentence: "the program failed",
                next: "Read the last lines of its log. To run it again after such an end use `--retries`; the code is the program's own.",
                example: "failed: the program exited 3 on node-1 after 12 s (attempt 1)",
            },
            Reason::OutOfMemory => Page {
                code: "outOfMemory",
                exit: exit::KILLED,
                sentence: "out of memory: the program was killed at its memory limit",
                next: "Raise `resources.limits.memory` of its container, or make it use less.",
                example: "failed: out of memory: the program was killed at its limit of 512Mi on node-1 after 3 m 10 s",
            },
            Reason::DeadlineExceeded => Page {
                code: "deadlineExceeded",
                exit: exit::TIMEOUT,
                sentence: "the pod was active longer than its activeDeadlineSeconds",
                next: "Raise `spec.activeDeadlineSeconds` (or `--timeout`, which sets it), or make the program faster.",
                example: "failed: Pod was active on the node longer than the specified deadline (exit 137)",
            },
            Reason::StorageExceeded => Page {
                code: "storageExceeded",
                exit: exit::FAILED,
                sentence: "the pod used more local storage than it was given",
                next: "Raise `sizeLimit` of the emptyDir or `resources.limits.ephemeral-storage`, or write to a persistent volume.",
                example: "failed: Usage of EmptyDir volume \"x\" exceeds the limit \"5Mi\".",
            },
            Reason::InitFailed => Page {
                code: "initFailed",
                exit: exit::FAILED,
                sentence: "an init container failed; the program did not run",
                next: "Read that container's log: `kpo logs TASK -c NAME`.",
                example: "failed: init container setup: Error, exit code 7",
            },
            Reason::ResultMissing => Page {
                code: "resultMissing",
                exit: exit::BROKEN_RESULT,
                sentence: "the program succeeded, but its result is missing or broken",
                next: "Let the program write its result to the path given by `--result` before it ends, as one JSON value within the printed limit; or run without `--result`.",
                example: "failed: the program succeeded, but its result is missing or broken: the result was cut: 10 of 20 bytes arrived, on node-1 after 2 s (attempt 1)",
            },
            Reason::Image => Page {
                code: "image",
                exit: exit::LAUNCH_FAILED,
                sentence: "the image cannot be pulled",
                next: "Check `image` for its registry, name and tag, and `imagePullSecrets` for the credentials; with `imagePullPolicy: Never` the image must be on the node.",
                example: "launch failed: busybox:1.99: not found (3 tries)",
            },
            Reason::ImageInvalid => Page {
                code: "imageInvalid",
                exit: exit::LAUNCH_FAILED,
                sentence: "the name of the image is invalid",
                next: "Correct `image`: names are lower case, `[registry/]name[:tag][@digest]`.",
                example: "launch failed: couldn't parse image name \"BusyBox:1 \": invalid reference format",
            },
            Reason::Config => Page {
                code: "config",
                exit: exit::LAUNCH_FAILED,
                sentence: "a Secret or ConfigMap that a container refers to is missing",
                next: "Create what the message names in the same namespace, or mark the reference `optional: true`; for slow deployments raise `--start-timeout`.",
                example: "launch failed: configmap \"late\" not found (waited 10 m)",
            },
            Reason::StartError => Page {
                code: "startError",
                exit: exit::LAUNCH_FAILED,
                sentence: "the runtime could not start the program",
                next: "Check `command` and `args`: that file must be in the image, executable, and made for the node's architecture.",
                example: "launch failed: exec: \"/no/such/program\": stat /no/such/program: no such file or directory",
            },
            Reason::StartTimeout => Page {
                code: "startTimeout",
                exit: exit::TIMEOUT,
                sentence: "the program was not started within the starting clock",
                next: "See what the message names (a volume, a large image, an init container); raise `--start-timeout` if it only needs longer.",
                example: "timed out: no progress towards its start for 10 m: MountVolume.SetUp failed for volume \"v\", on node-1 (attempt 1)",
            },
            Reason::ScheduleTimeout => Page {
                code: "scheduleTimeout",
                exit: exit::TIMEOUT,
                sentence: "no node was found within the scheduling clock",
                next: "See the scheduler's sentence: fewer requests, other selectors or tolerations, more nodes; or raise `--schedule-timeout`.",
                example: "timed out: no node within 15 m: 0/3 nodes are available: 3 Insufficient cpu (attempt 1)",
            },
            Reason::QueueTimeout => Page {
                code: "queueTimeout",
                exit: exit::TIMEOUT,
                sentence: "the queue did not release the pod within the queue clock",
                next: "Ask the queue (`kubectl describe workload`), or raise `--queue-timeout`.",
                example: "timed out: held by kueue.x-k8s.io/admission for 1 h",
            },
            Reason::RunTimeout => Page {
                code: "runTimeout",
                exit: exit::TIMEOUT,
                sentence: "the program did not end within the running clock",
                next: "Raise `--run-timeout`, or make the task smaller.",
                example: "timed out: the program ran for more than 30 m on node-1 after 30 m (attempt 1)",
            },
            Reason::Timeout => Page {
                code: "timeout",
                exit: exit::TIMEOUT,
                sentence: "the task was not done within its total clock",
                next: "Give it more time (`--timeout`; without that, the Job's own `activeDeadlineSeconds`), or make the task smaller.",
                example: "timed out: the task was not done within 30 m on node-1 after 28 m (attempt 1)",
            },
            Reason::QuotaExceeded => Page {
                code: "quotaExceeded",
                exit: exit::LAUNCH_FAILED,
                sentence: "the namespace's quota is full",
                next: "Ask for less, or raise the ResourceQuota; where what is limited is at least what is requested, wait for other pods to end, longer with `--queue-timeout`.",
                example: "launch failed: exceeded quota: team-a, requested: pods=1, used: pods=50, limited: pods=50",
            },
            Reason::Unavailable => Page {
                code: "unavailable",
                exit: exit::OWN,
                sentence: "the API server did not answer the create",
                next: "See whether the cluster's API and its admission webhooks are up; the create is asked again until `--queue-timeout`.",
                example: "failed calling webhook \"pods.example.com\": context deadline exceeded",
            },
            Reason::Refused => Page {
                code: "refused",
                exit: exit::LAUNCH_FAILED,
                sentence: "the API server refused the pod",
                next: "Change what the message names in the manifest; `--dry-run=server` asks without creating.",
                example: "refused: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false",
            },
            Reason::Altered => Page {
                code: "altered",
                exit: exit::LAUNCH_FAILED,
                sentence: "admission changed what must stay for the task to be run rightly",
                next: "Exempt kpo's pods from the webhook that does it (label kpo.rs/task), or name the container that it leaves with -c.",
                example: "altered: the container \"base\" was removed or renamed",
            },
            Reason::Forbidden => Page {
                code: "forbidden",
                exit: exit::FORBIDDEN,
                sentence: "a right is missing",
                next: "Add the rule that the message names to a Role of this user or service account; `kubectl auth can-i create pods` checks it.",
                example: "refused: service account default/kpo may not create pods in namespace prod",
            },
            Reason::Namespace => Page {
                code: "namespace",
                exit: exit::LAUNCH_FAILED,
                sentence: "the namespace does not exist or is being terminated",
                next: "Create the namespace, or name another with `-n`.",
                example: "launch failed: namespaces \"prodd\" not found",
            },
            Reason::NameTaken => Page {
                code: "nameTaken",
                exit: exit::LAUNCH_FAILED,
                sentence: "the name belongs to a pod that is not this task's",
                next: "Choose another `--name`; or, if that pod is the task's that you mean, `kpo attach NAME`.",
                example: "launch failed: pod fresh-squeeze exists, and is not of this task",
            },
            Reason::Preempted => Page {
                code: "preempted",
                exit: exit::DISRUPTED,
                sentence: "preempted by the scheduler for a pod of higher priority",
                next: "Nothing, where it is run again by itself. Against DaemonSets, which a task cannot outrank and should not, leave room on fresh nodes: a startup taint until they are there, or their overhead told to the autoscaler. Against other pods, a PriorityClass that is not below theirs. If it may run twice: `--rerun=idempotent`.",
                example: "lost: preempted by pod default/urgent on node node-1; it had run for 41 s (attempt 1)",
            },
            Reason::PreemptedByCriticalPod => Page {
                code: "preemptedByCriticalPod",
                exit: exit::DISRUPTED,
                sentence: "preempted by its node for a critical pod",
                next: "Leave room on the node for its static and critical pods (`--system-reserved`, `--kube-reserved`). If the task may run twice: `--rerun=idempotent`.",
                example: "lost: Preempted in order to admit critical pod (node-1)",
            },
            Reason::Evicted => Page {
                code: "evicted",
                exit: exit::DISRUPTED,
                sentence: "evicted through the API: a drain, an autoscaler or a descheduler",
                next: "Autoscalers are asked to leave it alone, unless `--disturb=allow` or, without `--disturb=deny`, `--rerun=idempotent` is given; a drain by hand needs a time without tasks. If the task may run twice: `--rerun=idempotent`.",
                example: "lost: Eviction API: evicting (node-2 is drained)",
            },
            Reason::TaintEvicted => Page {
                code: "taintEvicted",
                exit: exit::DISRUPTED,
                sentence: "evicted by a NoExecute taint of its node",
                next: "See the node's taints with effect NoExecute (`kubectl describe node`), and add a toleration for the one, with `tolerationSeconds` where it passes. If the task may run twice: `--rerun=idempotent`.",
                example: "lost: Taint manager: deleting due to NoExecute taint (node-1)",
            },
            Reason::NodePressure => Page {
                code: "nodePressure",
                exit: exit::DISRUPTED,
                sentence: "evicted by its node, which ran short of something",
                next: "Set requests to what the task uses, so that it is not the first to go. If it may run twice: `--rerun=idempotent`.",
                example: "lost: The node was low on resource: memory.",
            },
            Reason::NodeShutdown => Page {
                code: "nodeShutdown",
                exit: exit::DISRUPTED,
                sentence: "its node shut down",
                next: "Spot and preemptible nodes do: use others for long tasks. If it may run twice: `--rerun=idempotent`.",
                example: "lost: Pod was terminated in response to imminent node shutdown.",
            },
            Reason::NodeGone => Page {
                code: "nodeGone",
                exit: exit::DISRUPTED,
                sentence: "its node is gone from the cluster",
                next: "The machine may still run it for a while: look before you start it by hand. If it may run twice: `--rerun=idempotent`.",
                example: "lost: PodGC: node no longer exists",
            },
            Reason::NodeReboot => Page {
                code: "nodeReboot",
                exit: exit::DISRUPTED,
                sentence: "its node was rebooted, or its runtime lost the containers",
                next: "See the node's events. If the task may run twice: `--rerun=idempotent`.",
                example: "lost: The container could not be located when the pod was terminated (node-1)",
            },
            Reason::Rejected => Page {
                code: "rejected",
                exit: exit::DISRUPTED,
                sentence: "the kubelet refused the pod",
                next: "It is tried again elsewhere; if it is refused everywhere, compare its requests, selectors and tolerations with the nodes.",
                example: "lost: Pod was rejected: Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 2000",
            },
            Reason::QueueEvicted => Page {
                code: "queueEvicted",
                exit: exit::DISRUPTED,
                sentence: "the queue took the pod back",
                next: "See the queue (`kubectl describe workload`): a higher priority, or its quota was reclaimed. If the task may run twice: `--rerun=idempotent`.",
                example: "lost: Preempted to accommodate a workload of higher priority in the ClusterQueue",
            },
            Reason::ProviderFailed => Page {
                code: "providerFailed",
                exit: exit::DISRUPTED,
                sentence: "the provider behind a virtual kubelet failed",
                next: "Ask the provider: it says so also where creating the pod merely met an error, so the program may run. If it may run twice: `--rerun=idempotent`.",
                example: "lost: ProviderFailed on virtual-node-aci",
            },
            Reason::DisruptedByOther => Page {
                code: "disruptedByOther",
                exit: exit::DISRUPTED,
                sentence: "taken away by a controller that is not known to kpo",
                next: "See its words, and `kubectl describe pod`. If the task may run twice: `--rerun=idempotent`.",
                example: "lost: DisruptionTarget SpotInterruption: the instance is being reclaimed",
            },
            Reason::StartedAfterAll => Page {
                code: "startedAfterAll",
                exit: exit::DISRUPTED,
                sentence: "the attempt before was seen to have run after all, so its replacement was stopped before it ran",
                next: "Find out from the first attempt's node and log what it did. If the task may run twice: --rerun=idempotent.",
                example: "lost: a Started event of t-1 came after it was judged never to have started; t-2 was not run",
            },
            Reason::DeletedOutside => Page {
                code: "deletedOutside",
                exit: exit::DISRUPTED,
                sentence: "somebody deleted the pod, and nobody signed",
                next: "If that was no wish to end the task: `--on-unsigned-delete=recreate`, and beside it `--rerun=idempotent` where its program may have started, and may run twice. The audit log of the cluster knows who it was.",
                example: "lost: its pod was deleted, and no scheduler, autoscaler or node says that it was they (node-1); it had run for 1 m 2 s (attempt 1)",
            },
            Reason::Vanished => Page {
                code: "vanished",
                exit: exit::DISRUPTED,
                sentence: "the pod vanished while nobody watched",
                next: "`--protect` keeps a pod's last state until it has been read. If the task may run twice: `--rerun=idempotent`.",
                example: "lost: the pod vanished while nobody watched; it is not known whether it ran (attempt 1)",
            },
            Reason::Unreachable => Page {
                code: "unreachable",
                exit: exit::DISRUPTED,
                sentence: "its node does not answer, and it may still run there",
                next: "Bring the node back, or remove it once it is known to be off. `--replace-unreachable-after=10m` replaces it, at the risk that it runs twice.",
                example: "lost: its node does not answer, and it may still run there (node-3); it had run for 6 m (attempt 1)",
            },
            Reason::CancelledByUser => Page {
                code: "cancelledByUser",
                exit: exit::CANCELLED,
                sentence: "cancelled by the user",
                next: "Nothing: it was your wish. Without a cancel, `kpo run` that is left by SIGTERM keeps its pod: see `--on-sigterm`.",
                example: "cancelled: deleted 12 s after it had started; the program had not ended",
            },
            Reason::NoPod => Page {
                code: "noPod",
                exit: exit::NO_POD,
                sentence: "no pod of the task was found: it has finished and was cleaned up, or it is lost",
                next: "Check the id, `-n` and `--context`; `kpo ls` lists the tasks that have pods. `--on-finish=keep` keeps the last one; `--protect` keeps one that is taken away while nobody watches.",
                example: "no pod of task fresh-squeeze: finished and cleaned, or lost",
            },
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
