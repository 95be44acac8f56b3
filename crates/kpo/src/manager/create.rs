//! Creating a pod once, also when the reply is lost.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kpo_core::marks;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::PodManager;
use crate::request::{ApiFailure, ApiRequest, Attempts, Call, Effect, RequestError, Turn, Verb};

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
    /// the pod is read by its name: one with the same nonce and attempt is this one; where there is none, and no event tells of one, the create is
    /// sent again until the call's deadline.
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
        let request = ApiRequest::core(Verb::Create, self.namespace(), "pods", None);
        let attempts = self.requests().attempts(&request, call);
        let in_doubt = self.in_doubt.take(name);
        let creation = Creation { pods: self, name, pod, call, withdrawn, attempts, begun: Instant::now(), in_doubt };
        creation.run().await
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
        if let Some(found) = self.find(name, &pod(), true, call).await? {
            return Ok(Some(found));
        }
        // Another machine's clock may have said since when.
        let age = || Timestamp::now().duration_since(since) + CLOCK_SKEW;
        self.never_existed(name, pod(), age).await?;
        self.create_when_due(name, pod, call, withdrawn).await
    }

    /// The pod that was sent, if it is there. Another one of its name is an error.
    async fn find(&self, name: &str, sent: &Value, in_doubt: bool, call: Call) -> Result<Option<Created>, CreateError> {
        match self.look_for(name, in_doubt, call).await? {
            Some(found) if is_same_attempt(&found, sent) => Ok(Some(self.created(found, true))),
            Some(other) => Err(name_taken(name, &other)),
            None => Ok(None),
        }
    }

    /// The pod of that name. Not to be able to look, once a create was sent in doubt, leaves the doubt; where no server was ever there, there is
    /// none.
    async fn look_for(&self, name: &str, in_doubt: bool, call: Call) -> Result<Option<Value>, CreateError> {
        self.get(name, call).await.map_err(|error| match in_doubt && self.requests().may_have_reached() {
            true => CreateError::InDoubt { name: name.to_owned(), evidence: format!("{error}: {}", error.failure) },
            false => error.into(),
        })
    }

    /// One look at the events about that name. That they cannot be had is no evidence; nor are those about a pod that is older than the create.
    ///
    /// How old a pod is the API server's clock tells, which dates each event when it is stored, and the answer to a create that is not made
    /// (`dryRun`): were it ours, the first event about it would be no older than the create, whose `age` is measured here. No clock of another
    /// machine has a part in that, so none that is wrong can hide a pod of ours. Where it is not told, or is too close, the evidence stands.
    async fn never_existed(
        &self,
        name: &str,
        sent: Value,
        age: impl Fn() -> SignedDuration,
    ) -> Result<(), CreateError> {
        let events = self.events_since(name, Timestamp::now() - age() - CLOCK_SKEW).await;
        if events.is_empty() {
            return Ok(());
        }
        let begun = self.server_time(sent).await.map(|now| now - age() - CLOCK_TICK);
        match events.iter().rfind(|event| begun.is_none_or(|begun| !is_of_older_pod(event, &events, begun))) {
            Some(event) => Err(CreateError::InDoubt { name: name.to_owned(), evidence: described(event) }),
            None => Ok(()),
        }
    }

    /// The events about that name, where one of them happened since, by the clocks of those who saw it.
    async fn events_since(&self, name: &str, since: Timestamp) -> Vec<Value> {
        let selector = format!("involvedObject.kind=Pod,involvedObject.name={name}");
        let request =
            ApiRequest::list(self.namespace(), "events").query("fieldSelector", selector).query("limit", "500");
        let listed = self.requests().once(&request, Some(LOOK_TIME)).await;
        let Some(Value::Array(events)) = listed.ok().map(|mut list| list["items"].take()) else { return Vec::new() };
        let is_recent = |event: &Value| happened(event).is_some_and(|at| at >= since);
        if events.iter().any(is_recent) { events } else { Vec::new() }
    }

    /// The API server's clock, as it would date the pod if it made it now. `None`: it does not say.
    async fn server_time(&self, pod: Value) -> Option<Timestamp> {
        let request = ApiRequest::create(self.namespace(), "pods", pod).query("dryRun", "All");
        let made = self.requests().once(&request, Some(LOOK_TIME)).await.ok()?;
        stored_at(&made)
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

/// A create under way.
struct Creation<'a, P> {
    pods: &'a PodManager,
    name: &'a str,
    pod: P,
    call: Call,
    withdrawn: &'a CancellationToken,
    attempts: Attempts<'a>,
    begun: Instant,
    /// Whether one was sent whose effect is not known.
    in_doubt: bool,
}

/// Over, with the pod or without; or to be sent again now.
type Step = Result<ControlFlow<Option<Created>>, CreateError>;

impl<P: Fn() -> Value> Creation<'_, P> {
    async fn run(mut self) -> Result<Option<Created>, CreateError> {
        loop {
            let turn = match self.withdrawn.run_until_cancelled(self.attempts.begin(true)).await {
                Some(Ok(turn)) => turn,
                Some(Err(error)) => return Box::pin(self.refused(error)).await.map(Some),
                None => return Box::pin(self.withdrawn()).await,
            };
            // Boxed, as all that only comes to be then: who waits for its turn takes up no room for it.
            if let ControlFlow::Break(created) = Box::pin(self.send(turn)).await? {
                return Ok(created);
            }
        }
    }

    /// One try, and the wait for the next.
    async fn send(&mut self, turn: Turn) -> Step {
        let make = || Cow::Owned(ApiRequest::create(self.pods.namespace(), "pods", (self.pod)()));
        let (generation, answer) = self.attempts.unary_in(turn, make).await;
        let failure = match answer {
            Ok(pod) => return Ok(ControlFlow::Break(Some(self.attempts.succeeded(self.pods.created(pod, false))))),
            Err(failure) => failure,
        };
        let in_doubt = failure.effect() == Effect::Unknown;
        self.in_doubt |= in_doubt;
        match failure {
            failure if in_doubt => self.look_and_wait(failure, true).await,
            failure @ ApiFailure::AlreadyExists(_) => self.look_and_wait(failure, false).await,
            failure => self.wait(generation, failure).await,
        }
    }

    /// After a failure that had no effect.
    async fn wait(&mut self, generation: u64, failure: ApiFailure) -> Step {
        match self.withdrawn.run_until_cancelled(self.attempts.failed(generation, failure)).await {
            Some(Ok(())) => Ok(ControlFlow::Continue(())),
            Some(Err(error)) => self.refused(error).await.map(|created| ControlFlow::Break(Some(created))),
            None => self.withdrawn().await.map(ControlFlow::Break),
        }
    }

    /// After one that may have had its effect, or met the effect of one before.
    async fn look_and_wait(&mut self, failure: ApiFailure, in_doubt: bool) -> Step {
        if let Some(found) = self.pods.find(self.name, &(self.pod)(), self.in_doubt, self.call).await? {
            return Ok(ControlFlow::Break(Some(self.attempts.succeeded(found))));
        }
        if in_doubt {
            let age = || SignedDuration::try_from(self.begun.elapsed()).unwrap_or(SignedDuration::MAX);
            self.pods.never_existed(self.name, (self.pod)(), age).await?;
        }
        match self.withdrawn.run_until_cancelled(self.attempts.again(failure)).await {
            Some(again) => Ok(ControlFlow::Continue(again?)),
            None => self.withdrawn().await.map(ControlFlow::Break),
        }
    }

    /// There is to be no other try. After one in doubt that is not yet known to have had no effect: it may have arrived late, and be the very
    /// cause of the refusal (a quota that its pod fills).
    async fn refused(&self, refusal: RequestError) -> Result<Created, CreateError> {
        if !self.in_doubt {
            return Err(refusal.into());
        }
        match self.pods.find(self.name, &(self.pod)(), true, self.call).await? {
            Some(found) => Ok(found),
            None => {
                self.pods.in_doubt.put(self.name);
                Err(refusal.into())
            }
        }
    }

    /// It is not sent any more. One in doubt may have arrived since it was looked for last.
    async fn withdrawn(&self) -> Result<Option<Created>, CreateError> {
        if !self.in_doubt {
            return Ok(None);
        }
        let found = self.pods.look_for(self.name, true, self.call).await?;
        let ours = found.filter(|found| is_same_attempt(found, &(self.pod)()));
        Ok(ours.map(|found| self.pods.created(found, true)))
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
