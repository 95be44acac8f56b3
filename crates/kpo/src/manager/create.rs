//! Creating a pod once, also when the reply is lost.

use std::borrow::Cow;
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::PodManager;
use super::doubt::{CLOCK_SKEW, is_same_attempt};
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
        let begun = Instant::now();
        let mut creation = Creation { pods: self, name, pod, call, withdrawn, attempts, begun, in_doubt };
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
        self.never_existed(name, pod(), age, call).await?;
        self.create_when_due(name, pod, call, withdrawn).await
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

    pub(super) fn created(&self, pod: Value, resolved: bool) -> Created {
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
    async fn run(&mut self) -> Result<Option<Created>, CreateError> {
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
            let age = || SignedDuration::try_from(self.begun.elapsed()).expect("no process is older than time");
            self.pods.never_existed(self.name, (self.pod)(), age, self.call).await?;
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
