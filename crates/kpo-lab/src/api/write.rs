//! Writes, as an API client gets them: defaulted, admitted, validated.

use std::sync::Arc;

use serde_json::{Value, json};

use super::admission::{self, quota};
use super::{defaults, shape, typed, validate};
use crate::error::{ApiError, Cause, aggregate};
use crate::pod;
use crate::resource::Resource;
use crate::store::{self, DeleteOptions, Deletion, Store, Writer, key, metadata_mut};
use crate::time::Time;

/// Creates an object as the API server would for a client: names it, defaults, admits, validates, stores. Controllers use this too.
///
/// # Errors
/// 403 by admission, 404 without the namespace, 409 if it exists, 422 if it is invalid, 500 with a resourceVersion.
pub fn create(
    now: Time,
    store: &mut Store,
    resource: Resource,
    object: Value,
    writer: &Writer,
) -> Result<Arc<Value>, ApiError> {
    let has_version = object["metadata"]["resourceVersion"].as_str().is_some_and(|rv| !["", "0"].contains(&rv));
    let (submitted, admitted) = admit(now, store, resource, object)?;
    if has_version {
        // `storage.ErrResourceVersionSetOnCreate` is no API error of its own.
        return Err(ApiError::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    let created = store.create_admitted(now, resource, &submitted, admitted, writer)?;
    after_create(now, store, resource, &created);
    Ok(created)
}

/// What [`create`] would store, with nothing stored (`dryRun=All`).
///
/// # Errors
/// As [`create`].
pub fn dry_create(
    now: Time,
    store: &mut Store,
    resource: Resource,
    object: Value,
    writer: &Writer,
) -> Result<Value, ApiError> {
    let version = object["metadata"]["resourceVersion"].clone();
    let (submitted, admitted) = admit(now, store, resource, object)?;
    let mut created = store.prepare_new(now, resource, &submitted, admitted, writer)?;
    if version.is_string() {
        // Only the storage would refuse it.
        created["metadata"]["resourceVersion"] = version;
    }
    Ok(created)
}

/// The object as defaulted, and as admitted.
fn admit(now: Time, store: &mut Store, resource: Resource, mut object: Value) -> Result<(Value, Value), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the object provided is not an object"));
    }
    shape::check(resource, &object)?;
    typed::settle(resource, &mut object);
    store.name_it(&mut object);
    let (ns, name) = key(resource, &object);
    reset_status(now, resource, &mut object);
    defaults::apply(resource, &mut object);
    admission::namespace(store, resource, &ns, &name)?;
    let mut admitted = object.clone();
    if resource == Resource::Pods {
        admission::mutate_pod(store, &ns, &mut admitted)?;
        admitted["status"]["qosClass"] = defaults::qos_class(&admitted["spec"]).into();
    }
    validate::create(resource, &admitted)?;
    if resource == Resource::Pods {
        admission::check_pod(store, &ns, &admitted)?;
    }
    Ok((object, admitted))
}

/// A client cannot write the status of a new object (`PrepareForCreate`); nodes register with theirs.
fn reset_status(now: Time, resource: Resource, object: &mut Value) {
    match resource {
        Resource::Pods => {
            object["status"] = json!({ "phase": "Pending" });
            gated_condition(now, object);
        }
        Resource::Namespaces => object["status"] = json!({ "phase": "Active" }),
        Resource::DaemonSets => {
            object["status"] = json!({ "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0 });
        }
        Resource::ResourceQuotas | Resource::PodDisruptionBudgets => object["status"] = json!({}),
        _ => {}
    }
}

/// A gated pod says so from its creation (`registry/core/pod/strategy.go`, `applySchedulingGatedCondition`).
fn gated_condition(now: Time, pod: &mut Value) {
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        pod["status"]["conditions"] = json!([{
            "lastProbeTime": null, "lastTransitionTime": now.rfc3339(),
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "reason": "SchedulingGated", "status": "False", "type": "PodScheduled",
        }]);
    }
}

fn after_create(now: Time, store: &mut Store, resource: Resource, created: &Value) {
    let (ns, name) = key(resource, created);
    match resource {
        Resource::Pods | Resource::ResourceQuotas => quota::refresh(now, store, &ns),
        Resource::Namespaces => default_account(now, store, &name),
        _ => {}
    }
}

/// Every namespace gets its default service account (`pkg/controller/serviceaccount`).
fn default_account(now: Time, store: &mut Store, ns: &str) {
    let account = json!({ "metadata": { "name": "default", "namespace": ns } });
    let writer = Writer::new("kube-controller-manager");
    // Fails only if somebody made it before: then it is there.
    let _ = store.create(now, Resource::ServiceAccounts, account, &writer);
}

/// Which part of an object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The object itself: its status stays.
    Main,
    /// The status subresource: the spec stays.
    Status,
}

/// Replaces an object, or its status, as the API server would for a client.
///
/// # Errors
/// 404, 409 Conflict, 422.
pub fn update(
    now: Time,
    store: &mut Store,
    resource: Resource,
    part: Part,
    object: Value,
    writer: &Writer,
    dry_run: bool,
) -> Result<Arc<Value>, ApiError> {
    shape::check(resource, &object)?;
    let (old, mut sent) = store.prepare_update(resource, object)?;
    typed::settle(resource, &mut sent);
    let new = match part {
        Part::Main => main_part(resource, &old, sent)?,
        Part::Status => status_part(resource, &old, sent)?,
    };
    if dry_run {
        let mut new = new;
        store.sign(now, resource, &old, &mut new, writer);
        return Ok(Arc::new(new));
    }
    let ended = resource == Resource::Pods && old["status"]["phase"] != new["status"]["phase"];
    let ns = key(resource, &new).0;
    let updated = store.finish_update(now, resource, old, new, writer)?;
    if ended || resource == Resource::ResourceQuotas {
        quota::refresh(now, store, &ns);
    }
    Ok(updated)
}

fn main_part(resource: Resource, old: &Value, mut new: Value) -> Result<Value, ApiError> {
    defaults::apply(resource, &mut new);
    if resource == Resource::Pods {
        admission::mutate_update(old, &mut new);
    }
    if resource.has_status() {
        set_or_remove(&mut new, "status", old.get("status"));
    }
    store::bump_generation(resource, old, &mut new);
    validate::update(resource, old, &new)?;
    Ok(new)
}

/// The strategies of status (`PrepareForUpdate`): the spec stays, the metadata is what was sent, but for a pod's owners; its QoS class stays.
fn status_part(resource: Resource, old: &Value, sent: Value) -> Result<Value, ApiError> {
    let mut new = old.clone();
    new["metadata"] = sent["metadata"].clone();
    set_or_remove(&mut new["metadata"], "managedFields", old["metadata"].get("managedFields"));
    set_or_remove(&mut new, "status", sent.get("status"));
    if resource == Resource::Pods {
        set_or_remove(&mut new["metadata"], "ownerReferences", old["metadata"].get("ownerReferences"));
        if !new["status"].is_object() {
            new["status"] = json!({});
        }
        if new["status"]["qosClass"].as_str().unwrap_or_default().is_empty() {
            set_or_remove(&mut new["status"], "qosClass", old["status"].get("qosClass"));
        }
        keep_observed_generations(old, &mut new);
    }
    validate::status_update(resource, old, &new)?;
    Ok(new)
}

/// A client that does not know `observedGeneration` does not clear it (`preserveOldObservedGeneration`).
fn keep_observed_generations(old: &Value, new: &mut Value) {
    const FIELD: &str = "observedGeneration";
    if new["status"].get(FIELD).is_none() {
        set_or_remove(&mut new["status"], FIELD, old["status"].get(FIELD));
    }
    let conditions = new["status"].get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        let known = pod::condition(old, condition["type"].as_str().unwrap_or_default());
        if let (None, Some(generation)) = (condition.get(FIELD), known.and_then(|known| known.get(FIELD))) {
            condition[FIELD] = generation.clone();
        }
    }
}

fn set_or_remove(object: &mut Value, field: &str, value: Option<&Value>) {
    match value {
        Some(value) => object[field] = value.clone(),
        None => drop(object.as_object_mut().map(|map| map.remove(field))),
    }
}

/// Deletes an object as the API server would for a client. A namespace turns Terminating until it is empty.
///
/// # Errors
/// 404, 409 where a precondition fails.
pub fn delete(
    now: Time,
    store: &mut Store,
    resource: Resource,
    ns: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deletion, ApiError> {
    if resource == Resource::Namespaces {
        return super::namespaces::terminate(now, store, name, options);
    }
    let deletion = store.delete(now, resource, ns, name, options)?;
    if resource == Resource::Pods && matches!(deletion, Deletion::Gone(_)) {
        quota::refresh(now, store, ns);
    }
    Ok(deletion)
}

/// Binds a pod as `pods/binding` does it.
///
/// # Errors
/// 404; 409 where the pod is being deleted, assigned or gated; 500 without a node.
pub fn bind(
    now: Time,
    store: &mut Store,
    ns: &str,
    name: &str,
    binding: &Value,
    dry_run: bool,
) -> Result<(), ApiError> {
    let node = binding_target(&binding["target"])?;
    let (pods, uid) = (Resource::Pods, &binding["metadata"]["uid"]);
    let stored = store.get(pods, ns, name).ok_or_else(|| ApiError::not_found(pods, name))?;
    if uid.as_str().is_some_and(|uid| !uid.is_empty()) && *uid != stored["metadata"]["uid"] {
        return Err(store::wrong_uid(pods, ns, name, (uid, &stored["metadata"]["uid"]), dry_run));
    }
    match dry_run {
        true => store.bindable(ns, name).map(drop),
        false => store.bind(now, ns, name, node).map(drop),
    }
}

/// The node that is named (`ValidatePodBinding`, whose causes upstream makes no 422 of).
fn binding_target(target: &Value) -> Result<&str, ApiError> {
    let text = |field: &str| target[field].as_str().unwrap_or_default();
    let mut causes = Vec::new();
    if !["", "Node"].contains(&text("kind")) {
        causes.push(Cause::not_supported("target.kind", text("kind"), &["Node", "<empty>"]));
    }
    if text("name").is_empty() {
        causes.push(Cause::required("target.name", ""));
    }
    if causes.is_empty() {
        Ok(target["name"].as_str().unwrap_or_default())
    } else {
        Err(ApiError::new(500, "", aggregate(&causes)))
    }
}

/// Evicts a pod: the condition, then the deletion (`registry/core/pod/storage/eviction.go`).
///
/// # Errors
/// 404; 409 where a precondition fails; 429 where a disruption budget has no room; what `check` says of the options once the condition is
/// written: nobody looks at them before.
pub fn evict(
    now: Time,
    store: &mut Store,
    ns: &str,
    name: &str,
    options: &DeleteOptions,
    dry_run: bool,
    check: impl FnOnce() -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let pods = Resource::Pods;
    let pod = store.get(pods, ns, name).ok_or_else(|| ApiError::not_found(pods, name))?;
    if !ignores_budgets(&pod) {
        budget(store, ns, &pod)?;
    }
    if dry_run {
        check()?;
        return store.dry_delete(now, pods, ns, name, options).map(drop);
    }
    store::check_preconditions(pods, &pod, options)?;
    store.write_unowned(pods, &pod, |pod| set_condition(now, pod));
    check()?;
    let options = DeleteOptions { resource_version: None, ..options.clone() };
    delete(now, store, pods, ns, name, &options).map(drop)
}

/// `canIgnorePDB`: only a pod that runs is missed.
fn ignores_budgets(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str();
    matches!(phase, Some("Succeeded" | "Failed" | "Pending")) || pod["metadata"].get("deletionTimestamp").is_some()
}

/// `UpdatePodCondition`: since when it is so stays.
fn set_condition(now: Time, pod: &mut Value) {
    let known = pod::condition(pod, "DisruptionTarget").filter(|known| known["status"] == "True");
    let since = known.map_or_else(|| now.rfc3339().into(), |known| known["lastTransitionTime"].clone());
    let condition = json!({
        "lastProbeTime": null, "lastTransitionTime": since, "message": "Eviction API: evicting",
        "reason": "EvictionByEvictionAPI", "status": "True", "type": "DisruptionTarget",
    });
    pod::set_condition(pod, condition);
}

fn budget(store: &Store, ns: &str, pod: &Value) -> Result<(), ApiError> {
    for budget in store.list(Resource::PodDisruptionBudgets, Some(ns)) {
        let selected =
            super::selector::Selector::of_object(&budget["spec"]["selector"]).is_some_and(|s| s.matches(pod));
        let room = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
        if selected && room <= 0 {
            let message = "Cannot evict pod as it would violate the pod's disruption budget.";
            let name = budget["metadata"]["name"].as_str().unwrap_or_default();
            let why = format!("The disruption budget {name} needs more healthy pods than there are now");
            let details = json!({ "causes": [{ "reason": "DisruptionBudget", "message": why }] });
            return Err(ApiError { details: Some(details), ..ApiError::new(429, "TooManyRequests", message) });
        }
    }
    Ok(())
}

/// Writes the path's name (none for a collection) and namespace into a sent object.
pub(super) fn place(resource: Resource, object: &mut Value, ns: &str, name: &str) {
    let meta = metadata_mut(object);
    if !name.is_empty() {
        meta.insert("name".into(), name.into());
    }
    if resource.namespaced() {
        meta.insert("namespace".into(), ns.into());
    }
}
