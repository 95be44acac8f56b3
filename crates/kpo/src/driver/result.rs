//! Fetching a task's result, as soon as its pod can hand it over.

use super::pods::Sight;
use crate::manager::{ExecCommand, PodManager};
use crate::request::Call;
use crate::result::{self, CONTAINER, Plan, Report, ResultError};
use kpo_core::Pod;
use std::time::Duration;
use tokio::sync::watch;

/// How long a result is tried to be read, once it can be: an API server that is away longer loses it a task that could have waited.
const PATIENCE: Duration = Duration::from_secs(300);

/// The result as the program wrote it, or one line on why there is none.
pub(super) async fn read(
    pods: PodManager,
    plan: Plan,
    sights: watch::Receiver<Sight>,
    name: String,
    uid: String,
) -> Result<String, String> {
    let read = match &plan {
        Plan::Exec { path, limit } => by_exec(&pods, &name, &uid, path, *limit).await,
        Plan::Sidecar { .. } => by_status(&pods, &plan, CONTAINER, sights).await,
        Plan::Message { container, .. } => by_status(&pods, &plan, container, sights).await,
    };
    read.map_err(|error| crate::chain(&error))
}

/// Waits until the container that hands the result over has ended, or nothing more will be seen of its pod.
async fn by_status(
    pods: &PodManager,
    plan: &Plan,
    container: &str,
    mut sights: watch::Receiver<Sight>,
) -> Result<String, ResultError> {
    let last = sights.wait_for(|sight| sight.last || sight.pod.as_ref().is_some_and(|pod| is_ready(pod, container)));
    let pod = last.await.ok().and_then(|sight| sight.pod.clone());
    let pod = pod.ok_or_else(|| ResultError::NoReport {
        container: container.to_owned(),
        state: "its pod is gone".to_owned(),
    })?;
    result::read(pods.requests(), &pod, plan, Call::within(PATIENCE)).await
}

fn is_ready(pod: &Pod, container: &str) -> bool {
    let ended = pod.status_of(container).is_some_and(|status| status.state.terminated.is_some());
    ended || pod.status.phase.is_terminal()
}

async fn by_exec(pods: &PodManager, name: &str, uid: &str, path: &str, limit: usize) -> Result<String, ResultError> {
    let no_report = |state: String| ResultError::NoReport { container: CONTAINER.to_owned(), state };
    let command = ExecCommand { limit: limit + 4096, ..ExecCommand::new(CONTAINER, Plan::read_command(path, limit)) };
    let output = pods.exec(name, uid, &command).await.map_err(|error| no_report(crate::chain(&error)))?;
    let Report::Complete(bytes) = result::decode_frame(&output.stdout, path, limit)? else {
        return Err(ResultError::Garbled { container: CONTAINER.to_owned() });
    };
    let value = result::parse_json(&bytes);
    let release = ExecCommand::new(CONTAINER, Plan::release_command(path));
    if let Err(error) = pods.exec(name, uid, &release).await {
        // The pod is deleted next, or stopped by its deadline: its container need not end by itself.
        tracing::debug!(%error, "the result's container was not released");
    }
    value?;
    String::from_utf8(bytes).map_err(|_| ResultError::Checksum)
}
