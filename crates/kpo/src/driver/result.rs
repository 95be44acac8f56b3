//! Fetching a task's result, as soon as its pod can hand it over.

use super::pods::Sight;
use crate::manager::{ExecCommand, ExecError, PodManager};
use crate::request::Call;
use crate::result::{self, CONTAINER, Plan, Report, ResultError};
use crate::watch::{Observation, PodVersion, Sighting, Watch, WatchOptions};
use kpo_core::Pod;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long the result's container may be silent once it is asked: it answers at once.
const IDLE: Duration = Duration::from_secs(30);

/// The result as the program wrote it, or one line on why there is none.
pub(super) async fn read(
    pods: PodManager,
    plan: Plan,
    sights: watch::Receiver<Sight>,
    name: String,
    uid: String,
) -> Result<String, String> {
    let read = match &plan {
        Plan::Exec { path, limit } => {
            // What is left of it once its container was stopped is as good.
            let left = by_status(&pods, &plan, CONTAINER, sights);
            tokio::select! {
                biased;
                read = by_exec(&pods, (&name, &uid), path, *limit) => read,
                left = left => left,
            }
        }
        Plan::Sidecar { .. } => by_status(&pods, &plan, CONTAINER, sights).await,
        Plan::Message { container, .. } => by_status(&pods, &plan, container, sights).await,
    };
    read.map_err(|error| crate::chain(&error))
}

/// Waits until the container that hands the result over has ended, or its pod is gone.
async fn by_status(
    pods: &PodManager,
    plan: &Plan,
    container: &str,
    mut sights: watch::Receiver<Sight>,
) -> Result<String, ResultError> {
    let last = sights.wait_for(|sight| sight.last || sight.pod.as_ref().is_some_and(|pod| is_ready(pod, container)));
    let pod = last.await.ok().and_then(|sight| sight.pod.clone());
    let pod = pod.ok_or_else(|| no_report(container, "its pod is gone".to_owned()))?;
    let pod = if is_ready(&pod, container) { pod } else { by_name(pods, pod, container).await? };
    result::read(pods.requests(), &pod, plan, Call::forever()).await
}

/// A pod that its watch has lost sight of, looked at by its name until that container has ended; its last state if it is gone.
async fn by_name(pods: &PodManager, mut pod: Arc<Pod>, container: &str) -> Result<Arc<Pod>, ResultError> {
    let uid = pod.metadata.uid.clone();
    loop {
        let found = pods.get(&pod.metadata.name, Call::forever()).await.map_err(|error| unread(container, &error))?;
        let found: Option<Pod> = found.and_then(|found| serde_json::from_value(found).ok());
        let Some(found) = found.filter(|found| found.metadata.uid == uid) else { return Ok(pod) };
        pod = watched(pods, Arc::new(found), container).await;
        if is_ready(&pod, container) {
            return Ok(pod);
        }
    }
}

/// The same until its own watch, too, shows no more of it.
async fn watched(pods: &PodManager, mut pod: Arc<Pod>, container: &str) -> Arc<Pod> {
    let (requests, options) = (pods.requests().clone(), WatchOptions::of(pods.requests()));
    let mut watch = Watch::pod(requests, pods.namespace(), &PodVersion::of(&pod), options);
    while !is_ready(&pod, container) {
        match watch.next().await {
            Some(Observation::Seen { sighting, pod: seen }) if seen.metadata.uid == pod.metadata.uid => {
                pod = seen;
                if sighting == Sighting::Deleted {
                    break;
                }
            }
            Some(Observation::Absent { .. }) | None => break,
            Some(_) => {}
        }
    }
    pod
}

fn is_ready(pod: &Pod, container: &str) -> bool {
    let ended = pod.status_of(container).is_some_and(|status| status.state.terminated.is_some());
    ended || pod.status.phase.is_terminal()
}

async fn by_exec(
    pods: &PodManager,
    (name, uid): (&str, &str),
    path: &str,
    limit: usize,
) -> Result<String, ResultError> {
    let command = ExecCommand {
        limit: limit + 4096,
        timeout: None,
        idle: IDLE,
        ..ExecCommand::new(CONTAINER, Plan::read_command(path, limit))
    };
    let run = async || match pods.exec_again(name, uid, &command).await {
        Ok(output) => Ok(output.stdout),
        // The watch shows its end, and what was left.
        Err(ExecError::Gone) => std::future::pending().await,
        Err(error) => Err(unread(CONTAINER, &error)),
    };
    let decode = |report: &[u8]| result::decode_frame(report, path, limit).and_then(Report::into_bytes);
    result::text(result::whole(run, decode).await?)
}

fn unread(container: &str, error: &(dyn std::error::Error + 'static)) -> ResultError {
    no_report(container, crate::chain(error))
}

fn no_report(container: &str, state: String) -> ResultError {
    ResultError::NoReport { container: container.to_owned(), state }
}
