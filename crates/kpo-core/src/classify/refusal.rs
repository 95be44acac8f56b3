//! What a refused create means: for good, or for now.

use crate::contract::Refusal;
use crate::reason::Reason;

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// Whether asking again can help.
    pub retry: bool,
}

/// What that answer to a create means.
pub fn refusal(refusal: &Refusal) -> Refused {
    let message = refusal.message.as_str();
    // A webhook that says no is an answer, whatever its code; one that cannot be asked is the API server's trouble (500).
    if message.contains("admission webhook") && message.contains("denied the request") {
        return for_good(Reason::Refused);
    }
    match refusal.code {
        401 => for_good(Reason::Forbidden),
        403 => forbidden(message),
        404 if message.contains("namespaces") => for_good(Reason::Namespace),
        // A conflict in the quota's own bookkeeping: `Operation cannot be fulfilled on resourcequotas "…"`.
        409 if message.contains("resourcequotas") => for_now(Reason::QuotaExceeded),
        408 | 409 | 425 | 429 => for_now(Reason::Unavailable),
        400..=499 => for_good(Reason::Refused),
        _ => for_now(Reason::Unavailable),
    }
}

/// 403 is many things: RBAC (`plugin/pkg/auth/authorizer/rbac`), the quota (`k8s.io/apiserver/pkg/admission/plugin/resourcequota`), LimitRange,
/// Pod Security, the namespace's lifecycle. The words tell which.
fn forbidden(message: &str) -> Refused {
    if message.contains("exceeded quota: ") {
        for_now(Reason::QuotaExceeded)
    } else if message.contains("is being terminated") {
        for_good(Reason::Namespace)
    } else if message.contains("cannot create resource") {
        for_good(Reason::Forbidden)
    } else if is_unready_admission(message) {
        for_now(Reason::Unavailable)
    } else {
        for_good(Reason::Refused)
    }
}

/// Admission that is not ready yet: a namespace whose service account or token has not been made
/// (`plugin/pkg/admission/serviceaccount`: `error looking up service account …`, `no API token found …`), a quota without status.
fn is_unready_admission(message: &str) -> bool {
    let account = message.contains("error looking up service account") && message.contains("\"default\" not found");
    account || message.contains("status unknown for quota") || message.contains("no API token found")
}

fn for_good(reason: Reason) -> Refused {
    Refused { reason, retry: false }
}

fn for_now(reason: Reason) -> Refused {
    Refused { reason, retry: true }
}
