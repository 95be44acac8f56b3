//! Each command of the core as a future that ends in its reply.

use crate::body::Template;
use crate::manager::{CreateError, DeleteOptions, PodManager, Precondition, Written};
use crate::request::{Call, RequestError};
use kpo_core::{Command, Create, Pod, Refusal, Reply, Spec, marks};
use serde_json::{Map, Value, json};

/// Does what needs nothing but the API server. Logs, results and the outcome are the driver's own.
pub(super) async fn perform(pods: PodManager, spec: Spec, template: Option<Template>, command: Command) -> Reply {
    match command {
        Command::Create(create) => create_pod(&pods, &spec, template.as_ref(), &create).await,
        Command::Read { name } => match pods.get(&name, Call::forever()).await {
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
        Command::Annotate { name, uid, annotations, active_deadline_seconds, resource_version } => {
            let precondition = Precondition { uid, resource_version };
            let patch = annotation_patch(annotations, active_deadline_seconds);
            written(pods.patch(&name, &precondition, patch, Call::forever()).await, true)
        }
        Command::ListEvents { uid } => match pods.list_events(&uid, Call::forever()).await {
            Ok(events) => Reply::Events(events.into_iter().filter_map(|e| serde_json::from_value(e).ok()).collect()),
            Err(error) => refused(&error),
        },
        Command::FollowLog { .. } | Command::CloseLogs { .. } | Command::ReadResult { .. } | Command::Deliver(_) => {
            Reply::Done
        }
    }
}

async fn create_pod(pods: &PodManager, spec: &Spec, template: Option<&Template>, create: &Create) -> Reply {
    let Some(template) = template else {
        return Reply::Refused(Refusal {
            code: 0,
            reason: "NoManifest".to_owned(),
            message: "the manifest as submitted is not known here, and nothing is rebuilt from a live pod".to_owned(),
            retry_after: None,
        });
    };
    match pods.create(&template.body(spec, create), Call::forever()).await {
        Ok(created) => seen(created.pod),
        Err(CreateError::NameTaken { uid, terminating, .. }) => Reply::NameTaken { uid, terminating },
        Err(CreateError::Request(error)) => refused(&error),
        Err(error @ CreateError::NoName) => Reply::Refused(Refusal {
            code: 0,
            reason: "NoName".to_owned(),
            message: error.to_string(),
            retry_after: None,
        }),
        // Final: whether it ran is not known, and it is not run twice.
        Err(error @ CreateError::InDoubt { .. }) => Reply::Refused(Refusal {
            code: 410, // the core asks again where there is no code
            reason: "InDoubt".to_owned(),
            message: error.to_string(),
            retry_after: None,
        }),
    }
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
        Err(error) => Reply::Refused(Refusal {
            code: 0,
            reason: "Unreadable".to_owned(),
            message: format!("the API server answered with something that is no pod: {error}"),
            retry_after: None,
        }),
    }
}

/// A failure that no retry of the request layer has healed, in the server's words.
fn refused(error: &RequestError) -> Reply {
    let status = error.failure.status();
    Reply::Refused(Refusal {
        code: error.failure.code().unwrap_or(0),
        reason: status.map(|status| status.reason.clone()).unwrap_or_default(),
        message: status.map_or_else(|| crate::chain(error), |status| status.message.clone()),
        retry_after: error.failure.retry_after(),
    })
}
