//! The closed registry of reasons.

use serde::{Deserialize, Serialize};

/// Why something is as it is. Each has a stable code, a sentence, a section of docs/reasons.md, an exit code and an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
    /// The total clock ran out.
    Timeout,
    /// The quota stayed full until the clock ended.
    QuotaExceeded,
    /// The API server refused the pod (quota demands limits, LimitRange, Pod Security, webhook, invalid).
    Refused,
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
