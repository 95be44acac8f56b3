//! Changing and deleting a pod, bound to its UID.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::PodManager;
use crate::request::{ApiFailure, ApiRequest, ApiStatus, Call, RequestError};

/// What a write is bound to. A pod of that name with another UID is another pod: the write then finds nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precondition {
    /// The pod's UID.
    pub uid: String,
    /// The version the pod must still have. `None`: any.
    pub resource_version: Option<String>,
}

impl Precondition {
    /// Bound to a UID, in any version.
    pub fn uid(uid: impl Into<String>) -> Self {
        Self { uid: uid.into(), resource_version: None }
    }

    /// Bound to a UID and a version.
    #[must_use]
    pub fn at(mut self, resource_version: impl Into<String>) -> Self {
        self.resource_version = Some(resource_version.into());
        self
    }

    /// Bound to this very state of a pod. `None` if it has no UID or version (it does not come from an API server).
    pub fn of(pod: &Value) -> Option<Self> {
        let text = |key: &str| pod["metadata"][key].as_str();
        Some(Self::uid(text("uid")?).at(text("resourceVersion")?))
    }

    fn to_json(&self) -> Value {
        let mut object = json!({"uid": self.uid});
        if let Some(version) = &self.resource_version {
            object["resourceVersion"] = json!(version);
        }
        object
    }
}

/// How a pod is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOptions {
    /// What the delete is bound to.
    pub precondition: Precondition,
    /// Seconds between TERM and KILL. `None`: the pod's own `terminationGracePeriodSeconds`. 0 forces: the object goes at once, its
    /// containers may live on.
    pub grace_seconds: Option<u32>,
}

impl DeleteOptions {
    fn to_json(&self) -> Value {
        let mut body =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": self.precondition.to_json()});
        if let Some(seconds) = self.grace_seconds {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        body
    }
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// It was done; the object (or, for a delete that took effect at once, a Status) as the server answered it.
    Done(Value),
    /// There is no pod of that name and UID any more.
    Gone,
    /// The pod has another version than the precondition names: look again. After a lost reply it may be the write's own effect.
    Conflict,
}

impl PodManager {
    /// Deletes the pod.
    ///
    /// ```no_run
    /// # async fn example(pods: kpo::PodManager, pod: serde_json::Value) -> Result<(), Box<dyn std::error::Error>> {
    /// use kpo::{manager::{DeleteOptions, Precondition, Written}, request::Call};
    /// // This very state of the pod: whoever changed it since is not overruled.
    /// let precondition = Precondition::of(&pod).ok_or("not from an API server")?;
    /// let options = DeleteOptions { precondition, grace_seconds: None };
    /// match pods.delete("nightly-1", &options, Call::forever()).await? {
    ///     Written::Done(_) => println!("it is being stopped"),
    ///     Written::Gone => println!("it is gone"),
    ///     Written::Conflict => println!("it changed: look again"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// After a lost reply the delete is repeated: it then finds its own effect as `Gone` or `Conflict`.
    ///
    /// # Errors
    /// Any other failure.
    pub async fn delete(&self, name: &str, options: &DeleteOptions, call: Call) -> Result<Written, RequestError> {
        self.delete_when_due(name, || options.clone(), call).await
    }

    /// The same, bound to what is known when the request's turn has come.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn delete_when_due(
        &self,
        name: &str,
        options: impl Fn() -> DeleteOptions,
        call: Call,
    ) -> Result<Written, RequestError> {
        let make = || Cow::Owned(ApiRequest::delete(self.namespace(), "pods", name, options().to_json()));
        written(self.requests().send_made(make, call).await)
    }

    /// Asks the server whether the pod may be deleted; nothing is (`dryRun=All`). Webhooks without side effects are called.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn delete_dry_run(
        &self,
        name: &str,
        precondition: &Precondition,
        call: Call,
    ) -> Result<Written, RequestError> {
        // In the body: where there is one, the query is not looked at (apiserver pkg/endpoints/handlers/delete.go).
        let mut body = DeleteOptions { precondition: precondition.clone(), grace_seconds: None }.to_json();
        body["dryRun"] = json!(["All"]);
        written(self.requests().send(&ApiRequest::delete(self.namespace(), "pods", name, body), call).await)
    }

    /// Changes the pod by a JSON merge patch (lists are replaced, `null` removes). The precondition travels in the patch's metadata.
    ///
    /// ```no_run
    /// # async fn example(pods: kpo::PodManager) -> Result<(), Box<dyn std::error::Error>> {
    /// use kpo::{manager::{Precondition, Written}, request::Call};
    /// let patch = serde_json::json!({"metadata": {"annotations": {"team.example/reviewed": "yes"}}});
    /// if let Written::Done(pod) = pods.patch("nightly-1", &Precondition::uid("6f0c…"), patch, Call::forever()).await? {
    ///     println!("now at version {}", pod["metadata"]["resourceVersion"]);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Any failure but a vanished pod and a conflict.
    pub async fn patch(
        &self,
        name: &str,
        precondition: &Precondition,
        patch: Value,
        call: Call,
    ) -> Result<Written, RequestError> {
        self.patched(ApiRequest::merge_patch(self.namespace(), "pods", name, guarded(patch, precondition)), call).await
    }

    /// Asks the server whether pods may be patched; none is (`dryRun=All`). `Gone`: they may be, and there is none of that name.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn patch_dry_run(&self, name: &str, call: Call) -> Result<Written, RequestError> {
        let request = ApiRequest::merge_patch(self.namespace(), "pods", name, json!({})).query("dryRun", "All");
        written(self.requests().send(&request, call).await)
    }

    /// Takes one scheduling gate off, and no other, in one request (`schedulingGates` is merged by `name`). `Done` also where it was off
    /// already.
    ///
    /// ```no_run
    /// # async fn example(pods: kpo::PodManager) -> Result<(), Box<dyn std::error::Error>> {
    /// use kpo::request::Call;
    /// pods.remove_gate("nightly-1", "6f0c…", "team.example/license", Call::forever()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Any failure but a vanished pod and a conflict.
    pub async fn remove_gate(&self, name: &str, uid: &str, gate: &str, call: Call) -> Result<Written, RequestError> {
        let patch = json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": gate}]}});
        self.strategic(name, uid, patch, call).await
    }

    /// Takes one finalizer off, and no other, in one request. `Done` also where it was off already.
    ///
    /// ```no_run
    /// # async fn example(pods: kpo::PodManager) -> Result<(), Box<dyn std::error::Error>> {
    /// use kpo::request::Call;
    /// pods.remove_finalizer("nightly-1", "6f0c…", "team.example/archive", Call::forever()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Any failure but a vanished pod and a conflict.
    pub async fn remove_finalizer(
        &self,
        name: &str,
        uid: &str,
        finalizer: &str,
        call: Call,
    ) -> Result<Written, RequestError> {
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [finalizer]}});
        self.strategic(name, uid, patch, call).await
    }

    /// Puts one finalizer on, beside those that are there. `Done` also where it was on already.
    ///
    /// # Errors
    /// Any failure but a vanished pod and a conflict; a pod that is being deleted takes none (422).
    pub async fn add_finalizer(
        &self,
        name: &str,
        uid: &str,
        finalizer: &str,
        call: Call,
    ) -> Result<Written, RequestError> {
        self.strategic(name, uid, json!({"metadata": {"finalizers": [finalizer]}}), call).await
    }

    async fn strategic(&self, name: &str, uid: &str, patch: Value, call: Call) -> Result<Written, RequestError> {
        let body = guarded(patch, &Precondition::uid(uid));
        self.patched(ApiRequest::strategic_merge_patch(self.namespace(), "pods", name, body), call).await
    }

    async fn patched(&self, request: ApiRequest, call: Call) -> Result<Written, RequestError> {
        let answer = written(self.requests().send(&request, call).await);
        if let Ok(Written::Done(pod)) = &answer {
            self.seen.remember(self.namespace(), pod);
        }
        answer
    }
}

fn guarded(mut patch: Value, precondition: &Precondition) -> Value {
    patch["metadata"]["uid"] = json!(precondition.uid);
    if let Some(version) = &precondition.resource_version {
        patch["metadata"]["resourceVersion"] = json!(version);
    }
    patch
}

fn written(answer: Result<Value, RequestError>) -> Result<Written, RequestError> {
    let error = match answer {
        Ok(value) => return Ok(Written::Done(value)),
        Err(error) => error,
    };
    match &error.failure {
        ApiFailure::NotFound(_) => Ok(Written::Gone),
        // Another pod has the name: "Precondition failed: UID in precondition: …" (apiserver pkg/storage/interfaces.go, Preconditions.Check),
        // "the UID in the precondition (…) does not match the UID in record" (pkg/registry/rest/delete.go).
        ApiFailure::Conflict(status) if status.message.contains("UID in") => Ok(Written::Gone),
        ApiFailure::Conflict(_) => Ok(Written::Conflict),
        ApiFailure::Invalid(status) if names_another_uid(status) => Ok(Written::Gone),
        _ => Err(error),
    }
}

/// A patch that names another UID than the pod's is invalid, no conflict (`ValidateObjectMetaAccessorUpdate`, measured on v1.34).
fn names_another_uid(status: &ApiStatus) -> bool {
    let causes = status.details.get("causes").and_then(Value::as_array);
    causes.into_iter().flatten().any(|cause| cause["field"] == "metadata.uid")
}
