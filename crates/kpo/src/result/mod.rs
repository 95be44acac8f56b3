//! Results: what a program leaves in a file comes out of its pod, whole or with a clear word (design rule 7).
//!
//! The program writes one JSON value to a path, upstream's `/airflow/xcom/return.json` unless the user says otherwise. Three ways lead out:
//!
//! - [`Plan::Sidecar`] (default): a native sidecar shares the file's directory. The kubelet stops it when the program has ended; it then
//!   writes length, SHA-256 and content to its termination message, larger results base64 coded to its log. No exec, nothing to kill, and
//!   a small result is part of the pod's last status, even of a deleted pod.
//! - [`Plan::Message`] (cheapest): the path *is* the termination message of the program's own container. `mv` onto it fails (it is a
//!   mount), only the last 4096 bytes are read, and nothing carries its length or checksum: a result that reaches the limit counts only if
//!   it is a whole JSON object or array.
//! - [`Plan::Exec`] (fallback, for clusters without native sidecars, before 1.29): a plain container keeps the pod alive while the result
//!   is fetched by exec, as upstream's operator does it. Whoever attaches may fetch it again; stopped before, it reports as the sidecar does.
//!
//! # Guarantees
//! What comes out is what went in (checked by length and checksum, but for `Message`), and one JSON value. Everything else is a
//! [`ResultError`] that says what is wrong. The transformations only touch what is passed to them, and fail before they change it.
//!
//! # Caveats
//! The sidecar's user must be able to read the file. It runs as the program's user where the manifest names one, else as
//! [`SidecarOptions::user`]. Its image needs `sh`, `cat`, `wc`, `sha256sum`, `sleep`, `kill` and `base64`: busybox has them, also in Debian's
//! static build (which lacks `cksum`).

mod frame;
mod pod;
#[cfg(test)]
mod tests;

use std::time::Duration;

use kpo_core::{Pod, ResultBy, pod::Terminated};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::sleep;

use crate::request::{ApiRequest, Call, RequestError, Requests};

pub use frame::{Report, decode_frame, decode_log, decode_message, parse_json};
pub use pod::{ManifestError, SidecarOptions, add_message, add_sidecar, add_waiter, detect};

/// Where a program leaves its result unless told otherwise: upstream's contract
/// (`airflow/providers/cncf/kubernetes/utils/xcom_sidecar.py`).
pub const DEFAULT_PATH: &str = "/airflow/xcom/return.json";

/// Name of the container that kpo adds for a result.
pub const CONTAINER: &str = "kpo-result";

/// Most bytes of one termination message (`pkg/kubelet/container/runtime.go`, `MaxContainerTerminationMessageLength`).
pub const MESSAGE_LIMIT: usize = 4096;

/// Most bytes of all termination messages of a pod (same place, `MaxPodTerminationMessageLogLength`): each container has an equal share.
pub const POD_MESSAGE_LIMIT: usize = 12 << 10;

/// How a task's result leaves its pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "mode")]
pub enum Plan {
    /// By the native sidecar [`CONTAINER`].
    Sidecar {
        /// The file.
        path: String,
        /// Most bytes that it hands over.
        limit: usize,
    },
    /// By the termination message of the program's own container.
    Message {
        /// The file.
        path: String,
        /// The program's container.
        container: String,
    },
    /// By exec into the plain container [`CONTAINER`].
    Exec {
        /// The file.
        path: String,
        /// Most bytes that it hands over.
        limit: usize,
    },
}

impl Plan {
    /// Which way this is.
    pub fn by(&self) -> ResultBy {
        match self {
            Plan::Sidecar { .. } => ResultBy::Sidecar,
            Plan::Message { .. } => ResultBy::Message,
            Plan::Exec { .. } => ResultBy::Exec,
        }
    }

    /// Most bytes of a result, in the pod as the API server admitted it.
    ///
    /// ```
    /// use kpo::result::Plan;
    /// let mut pod = kpo_core::Pod::default();
    /// pod.spec.containers = vec![Default::default(); 4];
    /// let plan = Plan::Message { path: "/result/out.json".into(), container: "base".into() };
    /// assert_eq!(plan.limit(&pod), 3072);
    /// ```
    pub fn limit(&self, admitted: &Pod) -> usize {
        match self {
            Plan::Sidecar { limit, .. } | Plan::Exec { limit, .. } => *limit,
            Plan::Message { .. } => message_limit(containers(admitted)),
        }
    }

    /// For [`Plan::Exec`]: the command whose standard output [`decode_frame`] understands, to be run in [`CONTAINER`].
    pub fn read_command(path: &str, limit: usize) -> Vec<String> {
        pod::shell(include_str!("read.sh"), &[path, &limit.to_string()])
    }
}

/// What each of so many containers (init and ephemeral ones too) may write as its termination message, in bytes. The kubelet cuts what is
/// longer, silently (`pkg/kubelet/status/status_manager.go`, `normalizeStatus`).
pub fn message_limit(containers: usize) -> usize {
    MESSAGE_LIMIT.min(POD_MESSAGE_LIMIT / containers.max(1))
}

/// All containers of a pod.
pub fn containers(pod: &Pod) -> usize {
    let spec = &pod.spec;
    spec.containers.len() + spec.init_containers.len() + spec.ephemeral_containers.len()
}

/// Why there is no result. No message shows a part of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// The program did not write the file.
    #[error("the program left no result: before it ends it must write one JSON value to the file {path:?}")]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// The file is there but cannot be read by the sidecar's user.
    #[error(
        "the result {path:?} cannot be read by kpo's container: make the file readable, or run both as the same user"
    )]
    Unreadable {
        /// The file.
        path: String,
    },
    /// It is larger than what can leave.
    #[error("the result is too large: {}, the limit is {limit} bytes", describe_size(*.size))]
    TooLarge {
        /// Its size; `None` where only the limit is known to be reached.
        size: Option<u64>,
        /// The limit in bytes.
        limit: usize,
    },
    /// A part of it is missing.
    #[error("the result was cut: {got} of {expected} bytes arrived")]
    Cut {
        /// Its length.
        expected: usize,
        /// What arrived.
        got: usize,
    },
    /// It is not what the program wrote.
    #[error("the result was damaged on its way: its checksum does not match")]
    Checksum,
    /// It is no text.
    #[error("the result is not UTF-8 text (its byte {at} belongs to no character): write other bytes as base64")]
    NotText {
        /// Which byte, from 1.
        at: usize,
    },
    /// Its termination message has U+FFFD, the character that stands there for each byte that is no UTF-8 text.
    #[error(
        "the result has the character U+FFFD at byte {at}, which a termination message has where bytes are no UTF-8 text: \
         write only UTF-8 text; one that means that character must go by the sidecar"
    )]
    Replaced {
        /// Which byte, from 1.
        at: usize,
    },
    /// It is no JSON value.
    #[error("the result is not JSON: line {line}, column {column}: {reason}")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1; 0 at the end of a line.
        column: usize,
        /// What the parser expected.
        reason: &'static str,
    },
    /// It is JSON, but holds a number that no reader of ours can hold.
    #[error(
        "the result ({length} bytes) has too large a number at line {line}, column {column}: a number must fit 64-bit floating point; write it as a string"
    )]
    NumberTooLarge {
        /// The result's length in bytes.
        length: usize,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The container that hands over the result ended without a word, or has not ended.
    #[error("nothing was handed over: container {container:?} left no report ({state})")]
    NoReport {
        /// The container.
        container: String,
        /// What is known of it.
        state: String,
    },
    /// The container's report is not understood.
    #[error("the report of container {container:?} is not understood: is its image or command another one?")]
    Garbled {
        /// The container.
        container: String,
    },
    /// The log with the result could not be read.
    #[error("the log with the result could not be read")]
    Log(#[source] RequestError),
}

fn describe_size(size: Option<u64>) -> String {
    size.map_or_else(|| "it reaches the limit".to_owned(), |size| format!("it has {size} bytes"))
}

/// Reads a result that needs no exec, from the pod's last status and, where it is large, from the sidecar's log. The result is one JSON
/// value; its text is returned as the program wrote it. A log that breaks off or falls silent is read again until the call's deadline.
///
/// # Errors
/// See [`ResultError`]. Of [`Plan::Exec`] it reads what the container left when it was stopped; while that runs, run
/// [`Plan::read_command`] in it, then [`decode_frame`] and [`Report::into_bytes`] on its output.
pub async fn read(requests: &Requests, pod: &Pod, plan: &Plan, call: Call) -> Result<String, ResultError> {
    let bytes = match plan {
        Plan::Message { container, path } => {
            decode_message(end_of(pod, container)?.message.as_deref().unwrap_or_default(), path, plan.limit(pod))?
                .into_bytes()
        }
        Plan::Sidecar { path, limit } | Plan::Exec { path, limit } => {
            let log = || read_log(requests, pod, *limit, call);
            match decode_frame(termination_message(pod, CONTAINER)?.as_bytes(), path, *limit)? {
                Report::Complete(bytes) => bytes,
                Report::InLog { length, sha256 } => whole(log, |log| decode_log(log, length, &sha256)).await?,
                // The kubelet cut it. Whatever may be cut stands in the log as well.
                Report::Cut { length, sha256, got } => {
                    let cut = |_| ResultError::Cut { expected: length, got };
                    whole(log, |log| decode_log(log, length, &sha256).map_err(cut)).await?
                }
            }
        }
    };
    text(bytes)
}

/// The waits before an answer that lacks its end, and has not grown, is asked for again.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// What was read, decoded. Where its end is missing it is read again, since a server whose own connection breaks may end its answer as if that were
/// whole, and a runtime under load may still be writing; the same for five seconds is all there is.
pub(crate) async fn whole<Fut: Future<Output = Result<Vec<u8>, ResultError>>>(
    read: impl Fn() -> Fut,
    decode: impl Fn(&[u8]) -> Result<Vec<u8>, ResultError>,
) -> Result<Vec<u8>, ResultError> {
    let (mut length, mut waits) = (None, AGAIN.iter());
    loop {
        let raw = read().await?;
        if length.replace(raw.len()) != Some(raw.len()) {
            waits = AGAIN.iter();
        }
        match (decode(&raw), waits.next()) {
            (Err(ResultError::Cut { .. } | ResultError::Garbled { .. }), Some(wait)) => sleep(*wait).await,
            (decoded, _) => return decoded,
        }
    }
}

/// The result's text, if it is one JSON value.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, ResultError> {
    parse_json(&bytes)?;
    String::from_utf8(bytes).map_err(|error| ResultError::NotText { at: error.utf8_error().valid_up_to() + 1 })
}

fn termination_message<'a>(pod: &'a Pod, container: &str) -> Result<&'a str, ResultError> {
    let ended = end_of(pod, container)?;
    let message = ended.message.as_deref().filter(|message| !message.is_empty());
    message.ok_or_else(|| no_report(container, format!("it ended with exit code {}", ended.exit_code)))
}

fn end_of<'a>(pod: &'a Pod, container: &str) -> Result<&'a Terminated, ResultError> {
    let none = |state: &str| no_report(container, state.to_owned());
    let status = pod.status_of(container).ok_or_else(|| none("it has no status"))?;
    let ended = status.state.terminated.as_ref().or(status.last_state.terminated.as_ref());
    ended.ok_or_else(|| none("it has not ended"))
}

fn no_report(container: &str, state: String) -> ResultError {
    ResultError::NoReport { container: container.to_owned(), state }
}

/// How long the log's headers, and each piece of it, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The length and checksum in the pod's own status prove that the log is this pod's.
async fn read_log(requests: &Requests, pod: &Pod, limit: usize, call: Call) -> Result<Vec<u8>, ResultError> {
    let most = limit / 3 * 4 + limit / 50 + (64 << 10);
    let request = ApiRequest::get(&pod.metadata.namespace, "pods", &pod.metadata.name)
        .subresource("log")
        .query("container", CONTAINER)
        .query("limitBytes", most.to_string());
    requests.read(&request, PATIENCE, call.timeout(PATIENCE)).await.map_err(ResultError::Log)
}

/// The result as JSON.
///
/// # Errors
/// As [`parse_json`].
pub fn to_json(text: &str) -> Result<Value, ResultError> {
    parse_json(text.as_bytes())
}
