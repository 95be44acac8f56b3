//! Whether a create in doubt has made its pod: it is looked for by its name, and its traces among the events.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kpo_core::marks;
use serde_json::Value;

use super::create::{CreateError, Created};
use super::{PodManager, text};
use crate::request::{ApiRequest, Call, RequestError};

impl PodManager {
    /// The pod that was sent, if it is there. Another one of its name is an error.
    pub(super) async fn find(
        &self,
        name: &str,
        sent: &Value,
        in_doubt: bool,
        call: Call,
    ) -> Result<Option<Created>, CreateError> {
        match self.look_for(name, in_doubt, call).await? {
            Some(found) if is_same_attempt(&found, sent) => Ok(Some(self.created(found, true))),
            Some(other) => Err(name_taken(name, &other)),
            None => Ok(None),
        }
    }

    /// The pod of that name. Not to be able to look, once a create was sent in doubt, leaves the doubt; where no server was ever there, there is
    /// none.
    pub(super) async fn look_for(
        &self,
        name: &str,
        is_in_doubt: bool,
        call: Call,
    ) -> Result<Option<Value>, CreateError> {
        self.get(name, call).await.map_err(|error| match is_in_doubt && self.requests().may_have_reached() {
            true => in_doubt(name, &error),
            false => error.into(),
        })
    }

    /// The events about that name. That they may not be had is no evidence; nor are those about a pod that is older than the create. An outage leaves the
    /// doubt.
    ///
    /// How old a pod is the API server's clock tells, which dates each event when it is stored, and the answer to a create that is not made
    /// (`dryRun`): were it ours, the first event about it would be no older than the create, whose `age` is measured here. No clock of another
    /// machine has a part in that, so none that is wrong can hide a pod of ours. Where it is not told, or is too close, the evidence stands.
    pub(super) async fn never_existed(
        &self,
        name: &str,
        sent: Value,
        age: impl Fn() -> SignedDuration,
        call: Call,
    ) -> Result<(), CreateError> {
        let events = self.events_about(name, call).await?;
        let since = Timestamp::now() - age() - CLOCK_SKEW;
        let recent: Vec<&Value> = events.iter().filter(|event| happened(event).is_some_and(|at| at >= since)).collect();
        if recent.is_empty() {
            return Ok(());
        }
        let begun = self.server_time(sent).await.map(|now| now - age() - CLOCK_TICK);
        let is_older = |event: &Value| begun.is_some_and(|begun| is_of_older_pod(event, &events, begun));
        match recent.into_iter().rfind(|event| !is_older(event)) {
            Some(event) => Err(CreateError::InDoubt { name: name.to_owned(), evidence: described(event) }),
            None => Ok(()),
        }
    }

    async fn events_about(&self, name: &str, call: Call) -> Result<Vec<Value>, CreateError> {
        match self.list_events_of_name(name, call).await {
            Ok(events) => Ok(events),
            Err(error) if !error.failure.is_transient() => Ok(Vec::new()),
            Err(error) => Err(in_doubt(name, &error)),
        }
    }

    /// The API server's clock, as it would date the pod if it made it now. `None`: it does not say.
    async fn server_time(&self, pod: Value) -> Option<Timestamp> {
        let request = ApiRequest::create(self.namespace(), "pods", pod).query("dryRun", "All");
        let made = self.requests().once(&request, Some(LOOK_TIME)).await.ok()?;
        stored_at(&made)
    }
}

/// Names of pods whose create was refused after one in doubt, which may still arrive.
#[derive(Debug, Clone, Default)]
pub(super) struct InDoubt(Arc<Mutex<BTreeSet<String>>>);

impl InDoubt {
    pub(super) fn put(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// Whether it was one; it no longer is.
    pub(super) fn take(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

/// Time for the look at the clock.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// How far this machine's clock may be ahead of the cluster's.
pub(super) const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);
/// The API server's times are whole seconds; where there are several of them, their clocks agree within another (etcd demands more).
const CLOCK_TICK: SignedDuration = SignedDuration::from_secs(2);

/// When an event was last seen: series, `eventTime` of events.k8s.io, or the times of core/v1.
fn happened(event: &Value) -> Option<Timestamp> {
    let times =
        [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"], &event["firstTimestamp"]];
    times.into_iter().find_map(|time| time.as_str()?.parse().ok())
}

/// When the API server stored an object first, by its own clock.
fn stored_at(object: &Value) -> Option<Timestamp> {
    object["metadata"]["creationTimestamp"].as_str()?.parse().ok()
}

/// Whether that event, or another about the same UID, was stored before the create was begun.
fn is_of_older_pod(event: &Value, events: &[Value], begun: Timestamp) -> bool {
    let is_old = |event: &Value| stored_at(event).is_some_and(|at| at < begun);
    let uid = &event["involvedObject"]["uid"];
    let is_named = uid.as_str().is_some_and(|uid| !uid.is_empty());
    is_old(event) || (is_named && events.iter().any(|other| other["involvedObject"]["uid"] == *uid && is_old(other)))
}

fn described(event: &Value) -> String {
    let uid = text(&event["involvedObject"]["uid"]);
    format!("event {}: {} (UID {uid})", text(&event["reason"]), text(&event["message"]))
}

fn in_doubt(name: &str, error: &RequestError) -> CreateError {
    CreateError::InDoubt { name: name.to_owned(), evidence: format!("{error}: {}", error.failure) }
}

/// The same task's (nonce) same attempt: a name that the user fixed belongs to one attempt after the other.
pub(super) fn is_same_attempt(found: &Value, sent: &Value) -> bool {
    let nonce = |pod: &Value| pod["metadata"]["annotations"][marks::NONCE].clone();
    let attempt = |pod: &Value| pod["metadata"]["labels"][marks::ATTEMPT].clone();
    !nonce(sent).is_null() && nonce(found) == nonce(sent) && attempt(found) == attempt(sent)
}

fn name_taken(name: &str, other: &Value) -> CreateError {
    CreateError::NameTaken {
        name: name.to_owned(),
        uid: text(&other["metadata"]["uid"]),
        terminating: !other["metadata"]["deletionTimestamp"].is_null(),
    }
}
