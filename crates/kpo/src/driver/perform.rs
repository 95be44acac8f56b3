//! Each command of the core as a future that ends in its reply.

use super::pods::Sight;
use crate::body::Template;
use crate::manager::{Admission, CreateError, DeleteOptions, PodManager, Precondition, Written};
use crate::request::{ApiFailure, Call, RequestError};
use jiff::Timestamp;
use kpo_core::{Command, Create, Pod, Refusal, Reply, Spec, marks};
use serde_json::{Map, Value, json};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Does what needs nothing but the API server. Creates, logs, results and the outcome are the driver's own.
pub(super) async fn perform(pods: PodManager, command: Command) -> Reply {
    match command {
        Command::Read { name, .. } => match pods.get(&name, Call::forever()).await {
            Ok(Some(pod)) => seen(pod),
            Ok(None) => Reply::NotFound,
            Err(error) => refused(&error),
        },
        Command::Delete { name, uid, resource_version, grace_seconds } => {
            let options = DeleteOptions { precondition: Precondition::uid(uid).at(resource_version), grace_seconds };
            written(pods.delete(&name, &options, Call::forever()).await, false)
        }
        Command::Ungate { name, uid } => {
            written(pods.remove_gate(&name, &uid, marks::GATE, Call::forever()).await, true)
        }
        Command::Release { name, uid } => {
            written(pods.remove_finalizer(&name, &uid, marks::FINALIZER, Call::forever()).await, false)
        }
        Command::Protect { name, uid } => {
            written(pods.add_finalizer(&name, &uid, marks::FINALIZER, Call::forever()).await, true)
        }
        Command::Annotate { name, uid, annotations, active_deadline_seconds, resource_version } => {
            let precondition = Precondition { uid, resource_version };
            let patch = annotation_patch(annotations, active_deadline_seconds);
            written(pods.patch(&name, &precondition, patch, Call::forever()).await, true)
        }
        Command::ListEvents { name, uid } => match pods.list_events(&name, &uid, Call::forever()).await {
            Ok(events) => Reply::Events(events.into_iter().filter_map(|e| serde_json::from_value(e).ok()).collect()),
            Err(error) => refused(&error),
        },
        Command::Create(_)
        | Command::Withdraw { .. }
        | Command::FollowLog { .. }
        | Command::CloseLogs { .. }
        | Command::ReadResult { .. }
        | Command::Deliver(_) => Reply::Done,
    }
}

/// How long a watch may take to show what a delete ran into.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// Deletes the pod of an attempt that is over and of which nothing is needed any more: in the version last seen when the request's turn
/// has come, if that still names the same observer. Its kubelet may write meanwhile, and changes nothing by it: then the watch shows
/// what is there now, and no read is needed.
pub(super) async fn clean_up(
    pods: PodManager,
    mut sights: watch::Receiver<Sight>,
    mark: String,
    (name, uid, version): (String, String, String),
) -> Reply {
    let newest = |sight: &Sight| {
        let ours = sight.pod.as_ref().filter(|_| sight.mark.as_ref() == Some(&mark));
        ours.map_or_else(|| version.clone(), |pod| pod.metadata.resource_version.clone())
    };
    let sent = Mutex::new(String::new());
    let now = |sight: &Sight| {
        let version = newest(sight);
        sent.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&version);
        DeleteOptions { precondition: Precondition::uid(&uid).at(version), grace_seconds: None }
    };
    let first = pods.delete_when_due(&name, || now(&sights.borrow()), Call::forever()).await;
    if !matches!(first, Ok(Written::Conflict)) {
        return written(first, false);
    }
    let refused = sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let is_shown =
        timeout(SHOWN_WITHIN, sights.wait_for(|sight| newest(sight) != refused)).await.is_ok_and(|seen| seen.is_ok());
    if !is_shown {
        return Reply::Conflict;
    }
    written(pods.delete_when_due(&name, || now(&sights.borrow()), Call::forever()).await, false)
}

/// Creates an attempt's pod, unless that is withdrawn before it was sent, or while it is known not to be there. What admission changed at a cost,
/// but not for the worst, is told beside.
pub(super) async fn create_pod(
    pods: PodManager,
    spec: Spec,
    template: Option<Template>,
    create: Box<Create>,
    withdrawn: CancellationToken,
) -> (Reply, Vec<String>) {
    let Some(template) = template else {
        let message = "the manifest as submitted is not known here, and nothing is rebuilt from a live pod";
        return (for_good("NoManifest", message.to_owned()), Vec::new());
    };
    let body = || template.body(&spec, &create);
    let created = match create.sent_before {
        Some(since) => {
            let since = Timestamp::from_nanosecond(i128::from(since.0)).unwrap_or(Timestamp::UNIX_EPOCH);
            Box::pin(pods.create_again(&create.name, body, since, Call::forever(), &withdrawn)).await
        }
        None => pods.create_when_due(&create.name, body, Call::forever(), &withdrawn).await,
    };
    match created {
        Ok(Some(created)) => accepted(&body(), created.pod, &spec.template.container),
        Ok(None) => (Reply::Withdrawn, Vec::new()),
        Err(error) => (without_pod(error), Vec::new()),
    }
}

fn without_pod(error: CreateError) -> Reply {
    match error {
        CreateError::NameTaken { uid, terminating, .. } => Reply::NameTaken { uid, terminating },
        CreateError::Request(error) => not_created(&error),
        CreateError::NoName => for_good("NoName", error.to_string()),
        // It was made and is gone: the core takes it as vanished unobserved.
        CreateError::InDoubt { .. } => Reply::NotFound,
    }
}

/// A create without a deadline is only given up without an answer where nothing ever worked: the configuration is wrong, and asking again
/// changes nothing.
fn not_created(error: &RequestError) -> Reply {
    match &error.failure {
        ApiFailure::Credentials(_) => Reply::Refused(Refusal {
            code: 401,
            reason: "NoCredentials".to_owned(),
            message: crate::chain(error),
            retry_after: None,
        }),
        ApiFailure::Transport { .. } => for_good("NoConnection", crate::chain(error)),
        failure if failure.is_foreign() => for_good("NoConnection", crate::chain(error)),
        _ => refused(error),
    }
}

/// A refusal of ours, worded as the API server's for a bad request: asking again changes nothing.
fn for_good(reason: &str, message: String) -> Reply {
    Reply::Refused(Refusal { code: 400, reason: reason.to_owned(), message, retry_after: None })
}

/// The API server's answer, compared with what was sent.
fn accepted(sent: &Value, stored: Value, own: &str) -> (Reply, Vec<String>) {
    let admission = Admission::compare(sent, &stored, own);
    let differences: Vec<String> = admission.fatal().map(ToString::to_string).collect();
    let reply = match seen(stored) {
        Reply::Pod(pod) if !differences.is_empty() => Reply::Altered { pod, differences },
        reply => reply,
    };
    (reply, admission.costs().collect())
}

fn annotation_patch(annotations: Vec<(String, String)>, active_deadline_seconds: Option<u32>) -> Value {
    let annotations: Map<String, Value> = annotations.into_iter().map(|(key, value)| (key, json!(value))).collect();
    let mut patch = json!({"metadata": {"annotations": annotations}});
    if let Some(seconds) = active_deadline_seconds {
        patch["spec"] = json!({"activeDeadlineSeconds": seconds});
    }
    patch
}

/// `pod`: whether the answer's body is a pod that the core wants to see.
fn written(answer: Result<Written, RequestError>, pod: bool) -> Reply {
    match answer {
        Ok(Written::Done(body)) if pod => seen(body),
        Ok(Written::Done(_)) => Reply::Done,
        Ok(Written::Gone) => Reply::NotFound,
        Ok(Written::Conflict) => Reply::Conflict,
        Err(error) => refused(&error),
    }
}

fn seen(pod: Value) -> Reply {
    match serde_json::from_value::<Pod>(pod) {
        Ok(pod) => Reply::Pod(Box::new(pod)),
        Err(error) => for_good("Unreadable", format!("the API server answered with something that is no pod: {error}")),
    }
}

/// A failure that no retry of the request layer has healed, in the server's words. The code of somebody in between says nothing.
fn refused(error: &RequestError) -> Reply {
    let status = error.failure.status().filter(|_| !error.failure.is_foreign());
    Reply::Refused(Refusal {
        code: status.map_or(0, |status| status.code),
        reason: status.map(|status| status.reason.clone()).unwrap_or_default(),
        message: status.map_or_else(|| crate::chain(error), |status| status.message.clone()),
        retry_after: error.failure.retry_after(),
    })
}
