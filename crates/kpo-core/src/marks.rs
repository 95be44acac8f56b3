//! The names that kpo writes on pods: labels, annotations, the gate, the finalizer, environment variables.

/// Label: the task's id. Pods of a task are found again by it.
pub const TASK: &str = "kpo.rs/task";
/// Label: the attempt's number, from 1.
pub const ATTEMPT: &str = "kpo.rs/attempt";
/// Annotation: the task's nonce. A pod of the right name with another nonce is an impostor and left alone.
pub const NONCE: &str = "kpo.rs/nonce";
/// Annotation: `<observer id>/<epoch>`. Only the observer whose epoch stands there deletes.
pub const OBSERVER: &str = "kpo.rs/observer";
/// Annotation: the manifest as submitted, compressed and base64, at most 128 KiB.
pub const MANIFEST: &str = "kpo.rs/manifest";
/// Annotation: policy, budgets and verdicts so far, as JSON ([`Carried`](crate::Carried)). No env value.
pub const STATE: &str = "kpo.rs/state";
/// Annotation: the code of the reason for which its observer is about to delete the pod. A deletion that follows it is signed by kpo.
pub const STOPPING: &str = "kpo.rs/stopping";
/// Annotation: when a kept pod may be removed (RFC 3339).
pub const EXPIRES: &str = "kpo.rs/expires";
/// Scheduling gate: holds a replacement during its backoff.
pub const GATE: &str = "kpo.rs/backoff";
/// Finalizer of `--protect`: the pod's last state cannot vanish.
pub const FINALIZER: &str = "kpo.rs/protect";
/// Annotation of kubectl's: which container is meant when none is named.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Environment: the task's id.
pub const ENV_TASK: &str = "KPO_TASK";
/// Environment: the attempt's number; it only grows, so it serves as a fencing token.
pub const ENV_ATTEMPT: &str = "KPO_ATTEMPT";
/// Environment: what became of the attempt before (`disrupted/preemption/never`); empty in the first.
pub const ENV_PREVIOUS_VERDICT: &str = "KPO_PREVIOUS_VERDICT";
