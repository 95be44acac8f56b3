//! Creating a pod once, also when the reply is lost.

use kpo_core::marks;
use serde_json::Value;

use super::PodManager;
use crate::request::{ApiFailure, ApiRequest, Call, Effect, RequestError};

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
    /// The manifest has no `metadata.name` to find the pod again by (`generateName` would make two pods of one lost reply).
    #[error("a pod needs a name to be created once")]
    NoName,
    /// The request failed; the pod does not exist, unless the failure's effect is unknown.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl PodManager {
    /// Creates the pod, once. After a lost reply, a 5xx or an `AlreadyExists` the pod is read by its name: one with the same nonce and
    /// attempt is this one; where there is none, the create is sent again until the call's deadline.
    ///
    /// # Caveats
    /// A pod whose create's reply was lost, and which somebody deleted before it was looked for, is created anew. Where that must not
    /// happen, protect it with a finalizer. A pod without a nonce annotation cannot be told from a namesake: found after a lost reply, it is
    /// `NameTaken`.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub async fn create(&self, pod: &Value, call: Call) -> Result<Created, CreateError> {
        let name = pod["metadata"]["name"].as_str().ok_or(CreateError::NoName)?;
        let request = ApiRequest::create(self.namespace(), "pods", pod.clone());
        let mut attempts = self.requests().attempts(&request, call);
        loop {
            let (generation, failure) = match attempts.unary(&request).await {
                (_, Ok(answer)) => return Ok(self.created(attempts.succeeded(answer), false)),
                (generation, Err(failure)) => (generation, failure),
            };
            let in_doubt = failure.effect() == Effect::Unknown;
            if in_doubt || matches!(failure, ApiFailure::AlreadyExists(_)) {
                match self.get(name, call).await? {
                    Some(found) if is_same_attempt(&found, pod) => {
                        return Ok(self.created(attempts.succeeded(found), true));
                    }
                    Some(other) => return Err(name_taken(name, &other)),
                    None => attempts.again(failure).await?,
                }
            } else {
                attempts.failed(generation, failure).await?;
            }
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
