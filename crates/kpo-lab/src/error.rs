//! A refusal of the API server: a `metav1.Status` of status Failure, worded as upstream words it.

use serde_json::{Value, json};

use crate::resource::Resource;

/// Why the API server refused. Messages are upstream's
/// (`staging/src/k8s.io/apimachinery/pkg/api/errors/errors.go`), because clients and people read them.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status code.
    pub code: u16,
    /// `metav1.StatusReason`: `NotFound`, `AlreadyExists`, …; empty where upstream gives none.
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// `metav1.StatusDetails` without `retryAfterSeconds`. None where upstream sends none.
    pub details: Option<Value>,
    /// Seconds after which to try again: `details.retryAfterSeconds` and the `Retry-After` header. None: not said.
    pub retry_after: Option<u32>,
}

/// One cause of a 422: which field, what kind of fault, and the sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The field's path: `spec.containers[0].name`.
    pub field: String,
    /// `FieldValueRequired`, `FieldValueInvalid`, `FieldValueForbidden`, …
    pub reason: &'static str,
    /// As `field.Error.ErrorBody()` prints it: `Required value`, `Invalid value: "x": …`.
    pub body: String,
}

impl Cause {
    fn to_json(&self) -> Value {
        json!({ "reason": self.reason, "message": self.body, "field": self.field })
    }

    /// `field.Required`.
    pub fn required(field: impl Into<String>, detail: &str) -> Cause {
        let body = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Cause { field: field.into(), reason: "FieldValueRequired", body }
    }

    /// `field.Invalid`. `value` is printed as JSON.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Cause {
        Cause { field: field.into(), reason: "FieldValueInvalid", body: format!("Invalid value: {value}: {detail}") }
    }

    /// `field.Forbidden`.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Cause {
        Cause { field: field.into(), reason: "FieldValueForbidden", body: format!("Forbidden: {detail}") }
    }

    /// `field.Duplicate`.
    pub fn duplicate(field: impl Into<String>, value: &str) -> Cause {
        Cause { field: field.into(), reason: "FieldValueDuplicate", body: format!("Duplicate value: {value:?}") }
    }

    /// `field.NotSupported`.
    pub fn not_supported(field: impl Into<String>, value: &str, supported: &[&str]) -> Cause {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let body = format!("Unsupported value: {value:?}: supported values: {}", list.join(", "));
        Cause { field: field.into(), reason: "FieldValueNotSupported", body }
    }

    /// `field.NotFound`.
    pub fn not_found(field: impl Into<String>, value: &str) -> Cause {
        Cause { field: field.into(), reason: "FieldValueNotFound", body: format!("Not found: {value:?}") }
    }
}

impl ApiError {
    /// An error without details.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> ApiError {
        ApiError { code, reason: reason.to_owned(), message: message.into(), details: None, retry_after: None }
    }

    fn about(resource: Resource, name: &str, code: u16, reason: &str, message: String) -> ApiError {
        let mut details = json!({ "name": name, "kind": resource.plural() });
        if !resource.group().is_empty() {
            details["group"] = resource.group().into();
        }
        ApiError { details: Some(details), ..ApiError::new(code, reason, message) }
    }

    /// 404: `pods "x" not found`.
    pub fn not_found(resource: Resource, name: &str) -> ApiError {
        let message = format!("{} {name:?} not found", resource.qualified());
        ApiError::about(resource, name, 404, "NotFound", message)
    }

    /// 409: `pods "x" already exists`.
    pub fn already_exists(resource: Resource, name: &str) -> ApiError {
        let message = format!("{} {name:?} already exists", resource.qualified());
        ApiError::about(resource, name, 409, "AlreadyExists", message)
    }

    /// 409: `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(resource: Resource, name: &str, why: &str) -> ApiError {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified());
        ApiError::about(resource, name, 409, "Conflict", message)
    }

    /// 409 of a write with an outdated resourceVersion (`registry/generic/registry/store.go`, `OptimisticLockErrorMsg`).
    pub fn outdated(resource: Resource, name: &str) -> ApiError {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        ApiError::conflict(resource, name, why)
    }

    /// 409 of a delete whose precondition does not hold. Upstream names the kind there, not the plural
    /// (`registry/rest/delete.go`, `BeforeDelete`).
    pub fn precondition(resource: Resource, name: &str, why: &str) -> ApiError {
        let kind = resource.kind();
        let message = format!("Operation cannot be fulfilled on {kind} {name:?}: {why}");
        let mut error = ApiError::about(resource, name, 409, "Conflict", message);
        if let Some(details) = &mut error.details {
            details["kind"] = kind.into();
        }
        error
    }

    /// 403: `pods "x" is forbidden: why`.
    pub fn forbidden(resource: Resource, name: &str, why: &str) -> ApiError {
        let named = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        let message = format!("{}{named} is forbidden: {why}", resource.qualified());
        let mut error = ApiError::about(resource, name, 403, "Forbidden", message);
        if let (true, Some(details)) = (name.is_empty(), error.details.as_mut().and_then(Value::as_object_mut)) {
            details.remove("name");
        }
        error
    }

    /// 422: `Pod "x" is invalid: causes`.
    pub fn invalid(resource: Resource, name: &str, causes: &[Cause]) -> ApiError {
        let message = format!("{} {name:?} is invalid: {}", kind_and_group(resource), aggregate(causes));
        let mut error = ApiError::about(resource, name, 422, "Invalid", message);
        if let Some(details) = &mut error.details {
            details["kind"] = resource.kind().into();
            details["causes"] = causes.iter().map(Cause::to_json).collect();
            if name.is_empty() {
                details.as_object_mut().map(|map| map.remove("name"));
            }
        }
        error
    }

    /// 422 of options (`metav1`'s own kinds): `ListOptions.meta.k8s.io "" is invalid: causes`.
    pub fn invalid_options(kind: &str, causes: &[Cause]) -> ApiError {
        let message = format!("{kind}.meta.k8s.io \"\" is invalid: {}", aggregate(causes));
        let causes: Value = causes.iter().map(Cause::to_json).collect();
        let details = json!({ "group": "meta.k8s.io", "kind": kind, "causes": causes });
        ApiError { details: Some(details), ..ApiError::new(422, "Invalid", message) }
    }

    /// 400 `BadRequest`.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "BadRequest", message)
    }

    /// 401 `Unauthorized`.
    pub fn unauthorized() -> ApiError {
        ApiError::new(401, "Unauthorized", "Unauthorized")
    }

    /// 405: the resource does not do this.
    pub fn method_not_allowed() -> ApiError {
        let message = "the server does not allow this method on the requested resource";
        ApiError { details: Some(json!({})), ..ApiError::new(405, "MethodNotAllowed", message) }
    }

    /// 404 of a path that names nothing that is served.
    pub fn no_such_path() -> ApiError {
        let message = "the server could not find the requested resource";
        ApiError { details: Some(json!({})), ..ApiError::new(404, "NotFound", message) }
    }

    /// 410: the asked-for resourceVersion was compacted. The text is the watch cache's (`storage/cacher/watch_cache.go`).
    pub fn expired(asked: u64, oldest: u64) -> ApiError {
        ApiError::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// The error with a `Retry-After`.
    pub fn retry_after(mut self, seconds: u32) -> ApiError {
        self.retry_after = Some(seconds);
        self
    }

    /// As a `metav1.Status`.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.clone().into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        if let Some(seconds) = self.retry_after {
            status["details"]["retryAfterSeconds"] = seconds.into();
        }
        status
    }
}

/// The causes as one sentence, each once (`field.ErrorList.ToAggregate`).
pub(crate) fn aggregate(causes: &[Cause]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in causes.iter().map(|cause| format!("{}: {}", cause.field, cause.body)) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn kind_and_group(resource: Resource) -> String {
    match resource.group() {
        "" => resource.kind().to_owned(),
        group => format!("{}.{group}", resource.kind()),
    }
}
