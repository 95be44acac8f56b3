//! What can become of one attempt at a request, as a closed list.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use serde_json::Value;

use crate::hook::CredentialError;

/// Whether a request that got no answer may have had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The request did not leave this process (no connection, no credentials): nothing can have happened.
    None,
    /// The connection broke or fell silent after it may have been sent: it may have been done, or not.
    Unknown,
}

/// Where a connection failed, as far as the error tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// The server's host name has no address.
    Dns,
    /// Nobody listens at the server's address.
    Refused,
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// The server's certificate is not trusted, has expired or is for another name.
    Certificate,
    /// The proxy cannot be reached, refused, or answered as no proxy does.
    Proxy,
    /// This process, or its machine, has as many files and connections open as it may (`EMFILE`, `ENFILE`): raise `ulimit -n`. A task takes two
    /// to four: its watch, and a stream for each container's log.
    Descriptors,
    /// No connection, for another reason.
    Connect,
    /// The limit on this client's requests left no turn before the deadline: nothing was sent.
    Turn,
    /// No answer within the time that one attempt has.
    Timeout,
    /// The connection broke while the answer was awaited or read.
    Broken,
}

impl TransportKind {
    /// Whether waiting is unlikely to help: the configuration is wrong, not the network.
    pub fn is_configuration(self) -> bool {
        matches!(self, TransportKind::Certificate)
    }
}

/// The API server's refusal: its `metav1.Status`, or what there is of one where a proxy answered in its own words.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiStatus {
    /// The HTTP status code, from the status line (a proxy's body has none).
    pub code: u16,
    /// `Status.reason`, such as `NotFound`; empty where the body was no Status.
    pub reason: String,
    /// `Status.message`, or the start of a foreign body, one line, at most 512 characters.
    pub message: String,
    /// `Status.details`; `Null` where there is none.
    pub details: Value,
    /// `Retry-After`, else `details.retryAfterSeconds`; `None` if the server named no time.
    pub retry_after: Option<Duration>,
    /// Whether the body was a Kubernetes Status. `false` means that somebody in between answered.
    pub is_status: bool,
}

impl ApiStatus {
    /// The messages of `details.causes`, in order.
    pub fn causes(&self) -> impl Iterator<Item = &str> {
        let causes = self.details.get("causes").and_then(Value::as_array);
        causes.into_iter().flatten().filter_map(|c| c.get("message")?.as_str())
    }
}

/// The outcome of one attempt that did not succeed.
///
/// Clone is cheap: an observer may keep it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiFailure {
    /// No answer.
    #[error("{}", describe_transport(*.kind, .server))]
    Transport {
        /// Whether the request may have had its effect all the same.
        effect: Effect,
        /// Where it failed.
        kind: TransportKind,
        /// The server that was tried: `host:port`, and the kubeconfig's context where it is from one; empty for a client made by the caller.
        server: Arc<str>,
        /// The error underneath; `None` for a timeout.
        source: Option<Arc<dyn StdError + Send + Sync>>,
    },
    /// The credentials for the request could not be obtained; it was not sent.
    #[error(transparent)]
    Credentials(Arc<CredentialError>),
    /// 401: the credentials were not accepted.
    #[error("the API server does not accept the credentials: {}", .0.message)]
    Unauthorized(Box<ApiStatus>),
    /// 403: not allowed by RBAC, quota, or an admission plugin (the message tells which).
    #[error("{}", .0.message)]
    Forbidden(Box<ApiStatus>),
    /// 404.
    #[error("{}", .0.message)]
    NotFound(Box<ApiStatus>),
    /// 409 with the reason `AlreadyExists`.
    #[error("{}", .0.message)]
    AlreadyExists(Box<ApiStatus>),
    /// 409: a precondition (UID, resourceVersion) did not hold, or somebody else wrote first.
    #[error("{}", .0.message)]
    Conflict(Box<ApiStatus>),
    /// 409 on a `resourcequotas` object: two creates raced for the quota's counter. Passes by itself.
    #[error("{}", .0.message)]
    QuotaConflict(Box<ApiStatus>),
    /// 410: the resourceVersion is too old (compacted).
    #[error("{}", .0.message)]
    Gone(Box<ApiStatus>),
    /// 422: the object is invalid.
    #[error("{}", .0.message)]
    Invalid(Box<ApiStatus>),
    /// 429.
    #[error("the API server asks to slow down: {}", .0.message)]
    TooManyRequests(Box<ApiStatus>),
    /// 504 "Too large resource version": the replica that answered has not seen that version yet. Wait, then ask again.
    #[error("{}", .0.message)]
    TooLargeResourceVersion(Box<ApiStatus>),
    /// Any other 5xx.
    #[error("the API server failed with {}: {}", .0.code, .0.message)]
    Server(Box<ApiStatus>),
    /// Any other refusal, such as 400 or 405.
    #[error("the API server refused with {}: {}", .0.code, .0.message)]
    Refused(Box<ApiStatus>),
    /// A refusal in the words of somebody in between (a proxy, an ingress without a way to the server): the API server has said nothing. It may
    /// have had the request all the same.
    #[error("something in front of the API server answered with {}: {}", .0.code, .0.message)]
    Foreign(Box<ApiStatus>),
    /// A success whose body is not what a Kubernetes API server sends. Nothing is known of the effect.
    #[error("the answer ({code}) is not JSON: this does not look like a Kubernetes API server")]
    Unreadable {
        /// The HTTP status code.
        code: u16,
    },
}

fn describe_transport(kind: TransportKind, server: &str) -> String {
    let at = if server.is_empty() { "the API server".to_owned() } else { format!("the API server at {server}") };
    match kind {
        TransportKind::Dns => format!("the host name of {at} cannot be resolved"),
        TransportKind::Refused => format!("{at} refused the connection"),
        TransportKind::ConnectTimeout => {
            format!("no connection to {at} within the time for connecting")
        }
        TransportKind::Certificate => format!("the certificate of {at} is not trusted"),
        TransportKind::Proxy => format!("the proxy makes no connection to {at}"),
        TransportKind::Descriptors => {
            format!("no connection to {at}: as many files are open as may be (ulimit -n)")
        }
        TransportKind::Connect => format!("cannot connect to {at}"),
        TransportKind::Turn => format!("this client's own limit left no turn for a request to {at}"),
        TransportKind::Timeout => format!("{at} did not answer in time"),
        TransportKind::Broken => format!("the connection to {at} broke"),
    }
}

impl ApiFailure {
    /// The server's own words, if it answered.
    pub fn status(&self) -> Option<&ApiStatus> {
        match self {
            ApiFailure::Transport { .. } | ApiFailure::Credentials(_) | ApiFailure::Unreadable { .. } => None,
            ApiFailure::Unauthorized(status)
            | ApiFailure::Forbidden(status)
            | ApiFailure::NotFound(status)
            | ApiFailure::AlreadyExists(status)
            | ApiFailure::Conflict(status)
            | ApiFailure::QuotaConflict(status)
            | ApiFailure::Gone(status)
            | ApiFailure::Invalid(status)
            | ApiFailure::TooManyRequests(status)
            | ApiFailure::TooLargeResourceVersion(status)
            | ApiFailure::Server(status)
            | ApiFailure::Refused(status)
            | ApiFailure::Foreign(status) => Some(status),
        }
    }

    /// The HTTP status code, if there was an answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            ApiFailure::Unreadable { code } => Some(*code),
            other => other.status().map(|status| status.code),
        }
    }

    /// Whether this is a 404.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiFailure::NotFound(_))
    }

    /// Whether this is a 403.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, ApiFailure::Forbidden(_))
    }

    /// Whether this is a 410 (as an HTTP status; a watch may also carry it in an event).
    pub fn is_gone(&self) -> bool {
        matches!(self, ApiFailure::Gone(_))
    }

    /// Whether the request may have had its effect although it failed: no answer after it may have been sent, an answer that says
    /// nothing (a 5xx: the API server gives up waiting for etcd or a webhook, which may still go through), or one that is not the API server's.
    pub fn effect(&self) -> Effect {
        match self {
            ApiFailure::Transport { effect, .. } => *effect,
            ApiFailure::Server(_) => Effect::Unknown,
            other if other.is_foreign() => Effect::Unknown,
            _ => Effect::None,
        }
    }

    /// Whether somebody answered who does not seem to be an API server.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, ApiFailure::Foreign(_) | ApiFailure::Unreadable { .. })
    }

    /// Whether an API server answered to credentials that it accepted (not a proxy in between, and not in its own distress).
    pub(super) fn is_of_the_server(&self) -> bool {
        let distress =
            matches!(self, ApiFailure::Unauthorized(_) | ApiFailure::Server(_) | ApiFailure::TooManyRequests(_));
        !distress && self.status().is_some_and(|status| status.is_status)
    }

    /// Whether it may pass by itself, so that asking again makes sense.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            ApiFailure::Transport { .. }
                | ApiFailure::Credentials(_)
                | ApiFailure::Unauthorized(_)
                | ApiFailure::QuotaConflict(_)
                | ApiFailure::TooManyRequests(_)
                | ApiFailure::TooLargeResourceVersion(_)
                | ApiFailure::Server(_)
                | ApiFailure::Foreign(_)
                | ApiFailure::Unreadable { .. }
        )
    }

    /// Whether it says that the API server is away, or unwell.
    pub(super) fn is_an_absence(&self) -> bool {
        let of_network = |kind: &TransportKind| !matches!(kind, TransportKind::Turn | TransportKind::Descriptors);
        match self {
            ApiFailure::Transport { kind, .. } => of_network(kind),
            ApiFailure::Server(_) | ApiFailure::Foreign(_) => true,
            _ => false,
        }
    }

    /// Whether RBAC refused: a 403 in the words `… cannot create resource "pods" in API group …` (apiserver
    /// `pkg/endpoints/handlers/responsewriters/errors.go`).
    pub(super) fn is_a_missing_right(&self) -> bool {
        let ApiFailure::Forbidden(status) = self else { return false };
        status.message.contains(" cannot ") && status.message.contains(" resource ")
    }

    /// Whether it is a refusal by a binding to a Role that the API server does not find: `RBAC: role.rbac.authorization.k8s.io "kpo" not found` (kubernetes
    /// `plugin/pkg/auth/authorizer/rbac/rbac.go`). Where it has just started, it has not read it yet.
    pub(super) fn misses_a_role(&self) -> bool {
        let ApiFailure::Forbidden(status) = self else { return false };
        status.message.contains(": RBAC: ") && status.message.contains(" not found")
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.status().and_then(|status| status.retry_after)
    }

    /// Classifies an answer whose HTTP code is not a success.
    ///
    /// The code comes from the status line, the rest from the body where that is a Status. Reason before code, as apimachinery's
    /// `errors.ReasonForError` does (`pkg/api/errors/errors.go`).
    pub(crate) fn from_answer(code: u16, headers: &http::HeaderMap, body: &[u8]) -> Self {
        Self::from_status(ApiStatus::read(code, headers, body))
    }

    /// Classifies the `object` of an ERROR event on a watch, a `metav1.Status`.
    pub(crate) fn from_status_object(object: &Value) -> Self {
        let code = object.get("code").and_then(Value::as_u64).unwrap_or(500) as u16;
        Self::from_status(ApiStatus::from_object(code, object))
    }

    fn from_status(status: ApiStatus) -> Self {
        let on_quota = status.details.get("kind").and_then(Value::as_str) == Some("resourcequotas");
        let too_large = status.is_too_large_resource_version();
        let status = Box::new(status);
        match (status.code, status.reason.as_str()) {
            (401, _) => Self::Unauthorized(status),
            // What a proxy refuses in its own words is no statement about the object; but for a body that it finds too large, which is no
            // smaller the next time.
            (..=499, _) if !status.is_status && !matches!(status.code, 413 | 429) => Self::Foreign(status),
            (403, _) => Self::Forbidden(status),
            (404, _) => Self::NotFound(status),
            (409, "AlreadyExists") => Self::AlreadyExists(status),
            (409, _) if on_quota => Self::QuotaConflict(status),
            (409, _) => Self::Conflict(status),
            (410, _) => Self::Gone(status),
            (422, _) => Self::Invalid(status),
            (429, _) => Self::TooManyRequests(status),
            _ if too_large => Self::TooLargeResourceVersion(status),
            (500.., _) => Self::Server(status),
            _ => Self::Refused(status),
        }
    }
}

/// Longest piece of a foreign body that is kept, in characters.
const FOREIGN_BODY_CHARS: usize = 512;

impl ApiStatus {
    fn read(code: u16, headers: &http::HeaderMap, body: &[u8]) -> Self {
        let object = serde_json::from_slice::<Value>(body).ok();
        let status = object.filter(|o| o.get("kind").and_then(Value::as_str) == Some("Status"));
        let mut status = match status {
            Some(object) => Self::from_object(code, &object),
            None => Self::foreign(code, body),
        };
        status.retry_after = retry_after_header(headers).or(status.retry_after);
        status
    }

    fn from_object(code: u16, object: &Value) -> Self {
        let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let details = object.get("details").cloned().unwrap_or(Value::Null);
        let seconds = details.get("retryAfterSeconds").and_then(Value::as_u64);
        Self {
            code,
            reason: text("reason"),
            message: text("message"),
            retry_after: seconds.filter(|s| *s > 0).map(Duration::from_secs),
            details,
            is_status: true,
        }
    }

    fn foreign(code: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let message: String = words.chars().take(FOREIGN_BODY_CHARS).collect();
        Self {
            code,
            reason: String::new(),
            message: if message.is_empty() { "(no message)".to_owned() } else { message },
            details: Value::Null,
            retry_after: None,
            is_status: false,
        }
    }

    /// `storage.IsTooLargeResourceVersion` (apiserver `pkg/storage/errors.go`): a cause of type `ResourceVersionTooLarge`; releases
    /// before it had the cause only the message.
    fn is_too_large_resource_version(&self) -> bool {
        let causes = self.details.get("causes").and_then(Value::as_array);
        let named = |c: &Value| c.get("reason").and_then(Value::as_str) == Some("ResourceVersionTooLarge");
        self.code == 504
            && (causes.is_some_and(|c| c.iter().any(named)) || self.message.contains("Too large resource version"))
    }
}

/// Seconds only: the API server never sends the date form (apiserver `pkg/util/flushwriter`, `httplog`), and a date would need a
/// clock that agrees with the server's.
fn retry_after_header(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
    use serde_json::json;

    use super::*;

    fn variant(failure: &ApiFailure) -> String {
        format!("{failure:?}").split('(').next().unwrap_or_default().to_owned()
    }

    fn status(reason: &str, message: &str, details: Value) -> Vec<u8> {
        json!({"kind": "Status", "reason": reason, "message": message, "details": details}).to_string().into_bytes()
    }

    #[test]
    fn answers_are_told_apart() {
        let quota = json!({"kind": "resourcequotas", "name": "q"});
        let too_large = json!({"causes": [{"reason": "ResourceVersionTooLarge"}]});
        let rows = [
            (401, status("Unauthorized", "", json!({})), "Unauthorized"),
            (403, status("Forbidden", "", json!({})), "Forbidden"),
            (404, status("NotFound", "", json!({})), "NotFound"),
            (403, b"<html>403 Forbidden</html>".to_vec(), "Foreign"),
            (404, b"404 page not found".to_vec(), "Foreign"),
            (409, b"conflict".to_vec(), "Foreign"),
            (410, b"".to_vec(), "Foreign"),
            (413, b"<html>413 Request Entity Too Large</html>".to_vec(), "Refused"),
            (422, b"{}".to_vec(), "Foreign"),
            (401, b"<html>log in</html>".to_vec(), "Unauthorized"),
            (409, status("AlreadyExists", "", json!({})), "AlreadyExists"),
            (409, status("Conflict", "", json!({})), "Conflict"),
            (409, status("Conflict", "", quota), "QuotaConflict"),
            (410, status("Expired", "", json!({})), "Gone"),
            (422, status("Invalid", "", json!({})), "Invalid"),
            (429, b"".to_vec(), "TooManyRequests"),
            (504, status("Timeout", "", too_large), "TooLargeResourceVersion"),
            (504, status("Timeout", "request did not complete", json!({})), "Server"),
            (500, status("InternalError", "", json!({})), "Server"),
            (502, b"<html>".to_vec(), "Server"),
            (400, status("BadRequest", "", json!({})), "Refused"),
            (302, b"".to_vec(), "Foreign"),
        ];
        for (code, body, expected) in rows {
            let failure = ApiFailure::from_answer(code, &HeaderMap::new(), &body);
            assert_eq!((variant(&failure).as_str(), failure.code()), (expected, Some(code)));
        }
    }

    #[test]
    fn no_body_is_too_strange() {
        let bodies: [&[u8]; 7] =
            [b"", b"\xff\xfe", b"[]", b"null", b"{\"kind\":\"Status\"}", b"{\"kind\":7,\"code\":\"x\"}", b"{\"kind\":"];
        for body in bodies {
            let failure = ApiFailure::from_answer(503, &HeaderMap::new(), body);
            assert_eq!(variant(&failure), "Server", "{body:?}");
            assert!(!failure.to_string().contains('\n'));
        }
        let odd = json!({"kind": "Status", "message": 7, "details": "x", "reason": null});
        assert_eq!(variant(&ApiFailure::from_answer(404, &HeaderMap::new(), odd.to_string().as_bytes())), "NotFound");
        let page = format!("<html>\n{}</html>", "word ".repeat(1000));
        let failure = ApiFailure::from_answer(502, &HeaderMap::new(), page.as_bytes());
        assert_eq!(failure.status().map(|s| s.message.chars().count()), Some(FOREIGN_BODY_CHARS));
        assert!(!failure.to_string().contains('\n'));
    }

    #[test]
    fn only_seconds_are_believed_as_retry_after() {
        let asked = |value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            ApiFailure::from_answer(503, &headers, b"").retry_after()
        };
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        for other in ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "", "1.5", "99999999999999999999"] {
            assert_eq!(asked(other), None, "{other}");
        }
    }
}
