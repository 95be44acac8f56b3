//! Lists: selectors, pages, consistent snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};

use super::request::{Query, Request};
use super::route::Target;
use super::selector::Selector;
use super::view::View;
use crate::error::{ApiError, Cause};
use crate::store::{Store, key};
use crate::time::Time;

const BASE64: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD_NO_PAD;

/// `storage/etcd3/errors.go`, `handleCompactedErrorForPaging`.
const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list \
    without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the \
    provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was \
    returned and now may show up in the list.";

/// Answers a list.
///
/// # Errors
/// 400 for malformed selectors, 410 for a compacted snapshot, 504 for a resourceVersion of the future.
pub(super) fn list(now: Time, store: &Store, target: &Target, request: &Request) -> Result<Value, ApiError> {
    check(&request.query, false)?;
    let selector = selector(target, request)?;
    let page = Page::asked(store, request)?;
    let all = snapshot(store, target, page.rv)?;
    let after = all.into_iter().filter(|(key, _)| page.after.as_ref().is_none_or(|after| key > after));
    let mut selected: Vec<_> = after.filter(|(_, object)| selector.matches(object)).collect();
    let mut meta = json!({ "resourceVersion": page.rv.to_string() });
    if page.limit > 0 && selected.len() > page.limit {
        let left = selected.len() - page.limit;
        selected.truncate(page.limit);
        let ((ns, name), _) = &selected[page.limit - 1];
        let token = json!({ "v": "meta.k8s.io/v1", "rv": page.rv, "start": format!("{ns}/{name}") });
        meta["continue"] = BASE64.encode(token.to_string()).into();
        if selector.is_everything() {
            meta["remainingItemCount"] = left.into();
        }
    }
    let objects: Vec<&Arc<Value>> = selected.iter().map(|(_, object)| object).collect();
    let view = View::asked(request, &target.group);
    Ok(view.list(now, target.resource, &objects, meta))
}

/// `ValidateListOptions` in `meta/internalversion/validation`, and the numbers of the query.
///
/// # Errors
/// 400 for a number that is none, 422 for what does not go together.
pub(super) fn check(query: &Query, watch: bool) -> Result<(), ApiError> {
    query.whole("limit")?;
    query.whole("timeoutSeconds")?;
    let mut causes = Vec::new();
    let initial = query.has("sendInitialEvents");
    if initial && watch && query.get(MATCH) != "NotOlderThan" {
        causes.push(forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
    }
    if query.has(MATCH) {
        matching(query, watch, initial, &mut causes);
    }
    if initial && !watch {
        causes.push(Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid_options("ListOptions", &causes)) }
}

const MATCH: &str = "resourceVersionMatch";

fn forbidden(why: &str) -> Cause {
    Cause::forbidden(MATCH, why)
}

fn matching(query: &Query, watch: bool, initial: bool, causes: &mut Vec<Cause>) {
    let asked = query.get(MATCH);
    let known: &[&str] = if watch { &["NotOlderThan"] } else { &["Exact", "NotOlderThan", ""] };
    let unknown = || Cause::not_supported(MATCH, asked, known);
    if watch && !initial {
        causes.push(forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"));
    }
    if watch && !known.contains(&asked) {
        causes.push(unknown());
    }
    if !watch && !query.has("resourceVersion") {
        causes.push(forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"));
    }
    if query.has("continue") {
        causes.push(forbidden("resourceVersionMatch is forbidden when continue is provided"));
    }
    if !watch && !known.contains(&asked) {
        causes.push(unknown());
    }
    if !watch && asked == "Exact" && query.get("resourceVersion") == "0" {
        causes.push(forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
    }
}

/// The objects that a collection request is about.
///
/// # Errors
/// 400 for malformed selectors.
pub(super) fn selected(store: &Store, target: &Target, request: &Request) -> Result<Vec<Arc<Value>>, ApiError> {
    let selector = selector(target, request)?;
    let objects = store.list(target.resource, namespace(target));
    Ok(objects.filter(|object| selector.matches(object)).cloned().collect())
}

pub(super) fn selector(target: &Target, request: &Request) -> Result<Selector, ApiError> {
    let (labels, fields) = (request.query.get("labelSelector"), request.query.get("fieldSelector"));
    Selector::parse(target.resource, labels, fields)
}

/// The namespace that a collection is limited to.
pub(super) fn namespace(target: &Target) -> Option<&str> {
    let one = target.resource.namespaced() && !target.namespace.is_empty();
    one.then_some(target.namespace.as_str())
}

/// Refuses a resourceVersion that the store has not reached (`storage/errors.go`, `NewTooLargeResourceVersionError`).
///
/// # Errors
/// 504 Timeout with `Retry-After: 1`.
pub(super) fn not_too_large(store: &Store, asked: u64) -> Result<(), ApiError> {
    if asked <= store.rv() {
        return Ok(());
    }
    let message = format!("Too large resource version: {asked}, current: {}", store.rv());
    let cause = json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
    let details = Some(json!({ "causes": [cause] }));
    Err(ApiError { details, ..ApiError::new(504, "Timeout", message) }.retry_after(1))
}

/// A resourceVersion parameter. None where it is missing.
///
/// # Errors
/// 400 where it is no number.
pub(super) fn resource_version(request: &Request) -> Result<Option<u64>, ApiError> {
    let text = request.query.get("resourceVersion");
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |_| {
        ApiError::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    };
    text.parse().map(Some).map_err(invalid)
}

fn unreadable_token(why: &str) -> ApiError {
    ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
}

struct Page {
    /// The resourceVersion that the list shows.
    rv: u64,
    /// The last key of the page before.
    after: Option<(String, String)>,
    /// 0: no limit.
    limit: usize,
}

impl Page {
    fn asked(store: &Store, request: &Request) -> Result<Page, ApiError> {
        let limit = request.query.whole("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0);
        let token = request.query.get("continue");
        if !token.is_empty() {
            if !["", "0"].contains(&request.query.get("resourceVersion")) {
                return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
            }
            return Page::continued(store, token, limit);
        }
        let asked = resource_version(request)?.unwrap_or(0);
        not_too_large(store, asked)?;
        let exact = request.query.get("resourceVersionMatch") == "Exact" && asked > 0;
        Ok(Page { rv: if exact { asked } else { store.rv() }, after: None, limit })
    }

    fn continued(store: &Store, token: &str, limit: usize) -> Result<Page, ApiError> {
        let invalid = || unreadable_token("incorrect encoded start key (version)");
        let decoded =
            BASE64.decode(token.trim_end_matches('=')).map_err(|_| unreadable_token("illegal base64 data"))?;
        let first = decoded.first().map_or(' ', |byte| char::from(*byte));
        let no_json = |_| unreadable_token(&format!("invalid character {first:?} looking for beginning of value"));
        let token: Value = serde_json::from_slice(&decoded).map_err(no_json)?;
        let rv = token["rv"].as_u64().ok_or_else(invalid)?;
        let (ns, name) = token["start"].as_str().and_then(|start| start.split_once('/')).ok_or_else(invalid)?;
        if rv < store.compacted() {
            return Err(ApiError::new(410, "Expired", CONTINUE_EXPIRED));
        }
        Ok(Page { rv, after: Some((ns.to_owned(), name.to_owned())), limit })
    }
}

/// The collection as it was at a resourceVersion: the present with the changes since undone.
fn snapshot(store: &Store, target: &Target, rv: u64) -> Result<BTreeMap<(String, String), Arc<Value>>, ApiError> {
    let (resource, ns) = (target.resource, namespace(target));
    let mut objects: BTreeMap<_, _> =
        store.list(resource, ns).map(|object| (key(resource, object), object.clone())).collect();
    if rv == store.rv() {
        return Ok(objects);
    }
    let compacted = |_| ApiError::new(410, "Expired", "The resourceVersion for the provided list is too old.");
    let since: Vec<_> = store.changes_since(rv).map_err(compacted)?.collect();
    for change in since.into_iter().rev().filter(|change| change.resource == resource) {
        let at = key(resource, &change.object);
        match &change.old {
            Some(old) if ns.is_none_or(|ns| at.0 == ns) => objects.insert(at, old.clone()),
            _ => objects.remove(&at),
        };
    }
    Ok(objects)
}
