//! Creating a pod once, also when the reply is lost.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kpo_core::marks;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::PodManager;
use crate::request::{ApiFailure, ApiRequest, Call, Effect, RequestError, Verb};

/// A pod that was created.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// The pod as the server stored it: what admission made of it.
    pub pod: Value,
    /// Whether it was found by name and nonce after a lost reply (or a crash), instead of answered.
    pub resolved: bool,
}

/// Why a pod was not created.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateError {
    /// The name belongs to a pod that is not this attempt's.
    #[error("a pod of the name {name:?} exists already")]
    NameTaken {
        /// The name.
        name: String,
        /// The UID of the pod that has it.
        uid: String,
        /// Whether it is on its way out.
        terminating: bool,
    },
    /// It may have been created, and nobody can tell: sending it again could run the task twice.
    #[error("the pod {name:?} may have been created, and is not to be found: {evidence}")]
    InDoubt {
        /// The name.
        name: String,
        /// What speaks for it, or why it could not be looked for.
        evidence: String,
    },
    /// The manifest has no `metadata.name` to find the pod again by (`generateName` would make two pods of one lost reply).
    #[error("a pod needs a name to be created once")]
    NoName,
    /// The request failed; the pod does not exist, unless the failure's effect is unknown.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl PodManager {
    /// Creates the pod, once. After a lost reply, a 5xx or an `AlreadyExists` (and before a refusal that follows one of these is passed on)
    /// the pod is read by its name: one with the same nonce and attempt is this one; where there is none, and no event tells of one, the create is sent again until the call's deadline.
    ///
    /// ```no_run
    /// # async fn example(hook: kpo::KubernetesHook) -> Result<(), Box<dyn std::error::Error>> {
    /// use kpo::request::Call;
    /// let pod = serde_json::json!({
    ///     "apiVersion": "v1", "kind": "Pod",
    ///     "metadata": {"name": "nightly-1", "annotations": {"kpo.rs/nonce": "5b0c"}, "labels": {"kpo.rs/attempt": "1"}},
    ///     "spec": {"restartPolicy": "Never", "containers": [{"name": "base", "image": "busybox", "args": ["true"]}]},
    /// });
    /// let created = hook.pods("batch").create(&pod, Call::forever()).await?;
    /// println!("{} {}", created.pod["metadata"]["uid"], created.resolved);
    /// # Ok(()) }
    /// ```
    ///
    /// # Caveats
    /// - A pod whose create's reply was lost, and which was deleted before it was looked for, is known only by its events; where these may not
    ///   be listed, or were dropped, it is created anew. A finalizer protects from that.
    /// - A pod without a nonce annotation cannot be told from a namesake: found after a lost reply, it is `NameTaken`.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub async fn create(&self, pod: &Value, call: Call) -> Result<Created, CreateError> {
        let name = pod["metadata"]["name"].as_str().ok_or(CreateError::NoName)?;
        let created = self.create_when_due(name, || pod.clone(), call, &CancellationToken::new()).await?;
        Ok(created.expect("nobody withdraws it"))
    }

    /// The same with a body that is made when the request's turn has come: with a thousand tasks, most wait for it. `None`: it was withdrawn, and
    /// there is no pod of it. One that is on its way is answered all the same.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn create_when_due(
        &self,
        name: &str,
        pod: impl Fn() -> Value,
        call: Call,
        withdrawn: &CancellationToken,
    ) -> Result<Option<Created>, CreateError> {
        let make = || Cow::Owned(ApiRequest::create(self.namespace(), "pods", pod()));
        let request = ApiRequest::core(Verb::Create, self.namespace(), "pods", None);
        let begun = Timestamp::now();
        let mut attempts = self.requests().attempts(&request, call);
        let mut sent_in_doubt = self.in_doubt.take(name);
        loop {
            let turn = match withdrawn.run_until_cancelled(attempts.begin(true)).await {
                None => return Box::pin(self.withdrawn(name, pod(), sent_in_doubt, call)).await,
                Some(Err(error)) => {
                    return Box::pin(self.refused(name, pod(), sent_in_doubt, error, call)).await.map(Some);
                }
                Some(Ok(turn)) => turn,
            };
            // Boxed, as all that only comes to be then: who waits for its turn takes up no room for it.
            let (generation, failure) = match Box::pin(attempts.unary_in(turn, make)).await {
                (_, Ok(answer)) => return Ok(Some(self.created(attempts.succeeded(answer), false))),
                (generation, Err(failure)) => (generation, failure),
            };
            let in_doubt = failure.effect() == Effect::Unknown;
            sent_in_doubt |= in_doubt;
            if !in_doubt && !matches!(failure, ApiFailure::AlreadyExists(_)) {
                match withdrawn.run_until_cancelled(attempts.failed(generation, failure)).await {
                    None => return Box::pin(self.withdrawn(name, pod(), sent_in_doubt, call)).await,
                    Some(Err(error)) => {
                        return Box::pin(self.refused(name, pod(), sent_in_doubt, error, call)).await.map(Some);
                    }
                    Some(Ok(())) => continue,
                }
            }
            match Box::pin(self.look_for(name, sent_in_doubt, call)).await? {
                Some(found) if is_same_attempt(&found, &pod()) => {
                    return Ok(Some(self.created(attempts.succeeded(found), true)));
                }
                Some(other) => return Err(name_taken(name, &other)),
                None if in_doubt => Box::pin(self.never_existed(name, begun)).await?,
                None => (),
            }
            match withdrawn.run_until_cancelled(attempts.again(failure)).await {
                None => return Box::pin(self.withdrawn(name, pod(), sent_in_doubt, call)).await,
                Some(again) => again?,
            }
        }
    }

    /// Creates a pod whose create may have been sent since that moment, by a process that has died: it is looked for first.
    ///
    /// # Errors
    /// As [`PodManager::create`].
    pub(crate) async fn create_again(
        &self,
        name: &str,
        pod: impl Fn() -> Value,
        since: Timestamp,
        call: Call,
        withdrawn: &CancellationToken,
    ) -> Result<Option<Created>, CreateError> {
        match self.look_for(name, true, call).await? {
            Some(found) if is_same_attempt(&found, &pod()) => Ok(Some(self.created(found, true))),
            Some(other) => Err(name_taken(name, &other)),
            None => {
                self.never_existed(name, since).await?;
                self.create_when_due(name, pod, call, withdrawn).await
            }
        }
    }

    /// There is to be no other try. After one in doubt that is not yet known to have had no effect: it may have arrived late, and be the very
    /// cause of the refusal (a quota that its pod fills).
    async fn refused(
        &self,
        name: &str,
        sent: Value,
        sent_in_doubt: bool,
        refusal: RequestError,
        call: Call,
    ) -> Result<Created, CreateError> {
        if !sent_in_doubt {
            return Err(refusal.into());
        }
        match self.look_for(name, true, call).await? {
            Some(found) if is_same_attempt(&found, &sent) => Ok(self.created(found, true)),
            Some(other) => Err(name_taken(name, &other)),
            None => {
                self.in_doubt.put(name);
                Err(refusal.into())
            }
        }
    }

    /// It is not sent any more. One in doubt may have arrived since it was looked for last.
    async fn withdrawn(
        &self,
        name: &str,
        sent: Value,
        sent_in_doubt: bool,
        call: Call,
    ) -> Result<Option<Created>, CreateError> {
        let found = if sent_in_doubt { self.look_for(name, true, call).await? } else { None };
        Ok(found.filter(|found| is_same_attempt(found, &sent)).map(|found| self.created(found, true)))
    }

    /// The pod of that name. Not to be able to look, once a create was sent in doubt, leaves the doubt; where no server was ever there, there is
    /// none.
    async fn look_for(&self, name: &str, in_doubt: bool, call: Call) -> Result<Option<Value>, CreateError> {
        self.get(name, call).await.map_err(|error| match in_doubt && self.requests().has_contact() {
            true => CreateError::InDoubt { name: name.to_owned(), evidence: format!("{error}: {}", error.failure) },
            false => error.into(),
        })
    }

    /// One look at the events about that name since the create was begun. That they cannot be had is no evidence.
    async fn never_existed(&self, name: &str, begun: Timestamp) -> Result<(), CreateError> {
        let selector = format!("involvedObject.kind=Pod,involvedObject.name={name}");
        let request =
            ApiRequest::list(self.namespace(), "events").query("fieldSelector", selector).query("limit", "500");
        let Ok(list) = self.requests().once(&request, Some(LOOK_TIME)).await else { return Ok(()) };
        let since = begun - CLOCK_SKEW;
        let mut events = list["items"].as_array().into_iter().flatten();
        match events.rfind(|event| happened(event).is_some_and(|at| at >= since)) {
            Some(event) => Err(CreateError::InDoubt { name: name.to_owned(), evidence: described(event) }),
            None => Ok(()),
        }
    }

    /// Asks the server what it would make of the pod; nothing is stored (`dryRun=All`). Quota is not charged, webhooks without side
    /// effects are called.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn create_dry_run(&self, pod: &Value, call: Call) -> Result<Value, RequestError> {
        let request = ApiRequest::create(self.namespace(), "pods", pod.clone()).query("dryRun", "All");
        self.requests().send(&request, call).await
    }

    fn created(&self, pod: Value, resolved: bool) -> Created {
        self.seen.remember(self.namespace(), &pod);
        Created { pod, resolved }
    }
}

/// Names of pods whose create was refused after one in doubt, which may still arrive.
#[derive(Debug, Clone, Default)]
pub(super) struct InDoubt(Arc<Mutex<BTreeSet<String>>>);

impl InDoubt {
    fn put(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// Whether it was one; it no longer is.
    fn take(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

/// Time for the look at the events.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// How far this machine's clock may be ahead of the cluster's.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// When an event was last seen: series, `eventTime` of events.k8s.io, or the times of core/v1.
fn happened(event: &Value) -> Option<Timestamp> {
    let times =
        [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"], &event["firstTimestamp"]];
    times.into_iter().find_map(|time| time.as_str()?.parse().ok())
}

fn described(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let uid = text(&event["involvedObject"]["uid"]);
    format!("event {}: {} (UID {uid})", text(&event["reason"]), text(&event["message"]))
}

/// The same task's (nonce) same attempt: a name that the user fixed belongs to one attempt after the other.
fn is_same_attempt(found: &Value, sent: &Value) -> bool {
    let nonce = |pod: &Value| pod["metadata"]["annotations"][marks::NONCE].clone();
    let attempt = |pod: &Value| pod["metadata"]["labels"][marks::ATTEMPT].clone();
    !nonce(sent).is_null() && nonce(found) == nonce(sent) && attempt(found) == attempt(sent)
}

fn name_taken(name: &str, other: &Value) -> CreateError {
    CreateError::NameTaken {
        name: name.to_owned(),
        uid: other["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        terminating: !other["metadata"]["deletionTimestamp"].is_null(),
    }
}
