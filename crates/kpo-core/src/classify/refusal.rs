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
    match refusal.code {
        403 => forbidden(message),
        404 => for_good(Reason::Namespace),
        409 if message.contains("is being terminated") => for_good(Reason::Namespace),
        // A conflict of the quota's own bookkeeping (`Operation cannot be fulfilled on resourcequotas …`).
        409 | 408 | 425 | 429 => for_now(Reason::QuotaExceeded),
        // A webhook that cannot be asked is the API server's trouble, one that says no is an answer.
        500 if message.contains("admission webhook") && message.contains("denied the request") => {
            for_good(Reason::Refused)
        }
        400..=499 => for_good(Reason::Refused),
        _ => for_now(Reason::Unavailable),
    }
}

/// 403 is many things (`pkg/quota`, `plugin/pkg/admission/*`, RBAC): the words tell which.
fn forbidden(message: &str) -> Refused {
    if message.contains("exceeded quota") {
        for_now(Reason::QuotaExceeded)
    } else if message.contains("is being terminated") {
        for_good(Reason::Namespace)
    } else if message.contains("cannot create resource") || message.contains("User \"") {
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
