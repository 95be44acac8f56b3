//! A task's newest pod, and what is said where there is none.

use crate::connect::FIRST_ANSWER;
use crate::error::{CliError, ErrorKind};
use crate::render;
use kpo::PodManager;
use kpo::request::{Call, RequestError};
use kpo_core::marks;
use serde_json::Value;

/// What would have left a trace of a task without a pod.
pub(super) const TRACES: [&str; 2] = [
    "A task that has ended is cleaned up: --on-finish=keep-failed keeps the last pod of a failure, with its log.",
    "A pod that is taken away while nobody watches leaves no trace, unless its task was run with --protect.",
];

/// The newest pod of a task of that name.
pub(super) async fn newest(pods: &PodManager, task: &str, call: Call) -> Result<Option<Value>, RequestError> {
    let list = pods.list(&format!("{}={task}", marks::TASK), call).await?;
    let attempt =
        |pod: &Value| pod["metadata"]["labels"][marks::ATTEMPT].as_str().and_then(|number| number.parse::<u32>().ok());
    Ok(list.items.into_iter().max_by_key(attempt))
}

/// Why a command has found no pod of a task. What was named may also be a pod. `again`: the flags of the connection.
pub(super) async fn no_pod(pods: &PodManager, command: &str, task: &str, again: &str) -> CliError {
    let program = render::program();
    if let Some(owner) = owner(pods, task).await {
        return CliError::new(ErrorKind::NotFound, format!("{task} is a pod of task {owner}"))
            .hint(format!("{program} {command} {owner}{again}"));
    }
    let text = format!("no pod of task {task} in namespace {}: finished and cleaned up, or lost", pods.namespace());
    CliError::new(ErrorKind::NotFound, text).hint(format!("Those that have one: {program} ls{again}")).hints(TRACES)
}

/// The task of the pod of that name. `None`: there is no such pod, or it cannot be looked at.
async fn owner(pods: &PodManager, name: &str) -> Option<String> {
    let pod = pods.get(name, Call::within(FIRST_ANSWER)).await.ok().flatten()?;
    pod["metadata"]["labels"][marks::TASK].as_str().map(str::to_owned)
}
