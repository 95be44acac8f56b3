//! What of a pod may change (`ValidatePodUpdate`, `ValidatePodStatusUpdate`).

use serde_json::{Value, json};

use super::metadata::qualified_name;
use super::pod::tolerations;
use crate::error::Cause;
use crate::pod::{is_sidecar, list};

/// What `ValidatePodUpdate` says before it prints how the specs differ, in Go's words, which the lab leaves out.
pub(super) const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
    `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` \
    (allow it to be set to 1 if it was previously negative)";

/// Checks the spec of a pod that replaces another's.
pub(super) fn spec(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    for name in ["containers", "initContainers"] {
        if list(old, name).len() != list(new, name).len() {
            causes.push(Cause::forbidden(format!("spec.{name}"), "pod updates may not add or remove containers"));
            return;
        }
        for (at, container) in list(new, name).iter().enumerate() {
            if container["image"].as_str().is_none_or(str::is_empty) {
                causes.push(Cause::required(format!("spec.{name}[{at}].image"), ""));
            }
        }
    }
    if !deadline(old, new, causes) {
        return;
    }
    only_more_tolerations(old, new, causes);
    only_fewer_gates(old, new, causes);
    let gated = !list(old, "schedulingGates").is_empty();
    if gated {
        node_selector(old, new, causes);
    }
    if comparable(old, old, gated) != comparable(new, old, gated) {
        causes.push(Cause::forbidden("spec", UPDATABLE));
    }
}

/// A deadline may come, and be shortened. False where nothing after it is looked at.
fn deadline(old: &Value, new: &Value, causes: &mut Vec<Cause>) -> bool {
    let (field, value) = ("spec.activeDeadlineSeconds", &new["activeDeadlineSeconds"]);
    let before = causes.len();
    match (old["activeDeadlineSeconds"].as_i64(), value.as_i64()) {
        (_, Some(new)) if new < 0 || new > i64::from(i32::MAX) => {
            causes.push(Cause::invalid(field, value, "must be between 0 and 2147483647, inclusive"));
        }
        (Some(old), Some(new)) if new > old => {
            causes.push(Cause::invalid(field, value, "must be less than or equal to previous value"));
        }
        (Some(_), None) => {
            causes.push(Cause::invalid(field, value, "must not update from a positive integer to nil value"));
            return true;
        }
        _ => {}
    }
    causes.len() == before
}

fn only_more_tolerations(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let plain = |toleration: &Value| {
        let mut plain = toleration.clone();
        plain.as_object_mut().map(|map| map.remove("tolerationSeconds"));
        plain
    };
    let kept: Vec<Value> = list(new, "tolerations").iter().map(plain).collect();
    if list(old, "tolerations").iter().any(|toleration| !kept.contains(&plain(toleration))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        return causes.push(Cause::forbidden("spec.tolerations", detail));
    }
    tolerations("spec.tolerations", new, causes);
}

fn only_fewer_gates(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let known = list(old, "schedulingGates");
    for (at, gate) in list(new, "schedulingGates").iter().enumerate() {
        if known.iter().all(|known| known["name"] != gate["name"]) {
            let name = gate["name"].as_str().unwrap_or_default();
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            causes.push(Cause::forbidden(format!("spec.schedulingGates[{at}].name"), &detail));
        }
    }
}

/// A gated pod may narrow where it goes, and not widen it (KEP-3838).
fn node_selector(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let new = &new["nodeSelector"];
    let mut known = old["nodeSelector"].as_object().into_iter().flatten();
    if known.any(|(key, value)| new.get(key) != Some(value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        let value = if new.is_null() { &json!({}) } else { new };
        causes.push(Cause::invalid("spec.nodeSelector", value, detail));
    }
}

/// The spec without what may change, so that two can be compared.
fn comparable(spec: &Value, old: &Value, gated: bool) -> Value {
    let mut rest = spec.clone();
    for list in ["containers", "initContainers"] {
        for container in rest[list].as_array_mut().into_iter().flatten() {
            container["image"] = Value::Null;
        }
    }
    let Some(map) = rest.as_object_mut() else { return rest };
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        map.remove(field);
    }
    if gated {
        map.remove("nodeSelector");
        map.remove("affinity");
    }
    let was_negative = old["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0);
    if was_negative && spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s == 1) {
        map.insert("terminationGracePeriodSeconds".into(), old["terminationGracePeriodSeconds"].clone());
    }
    map.retain(|_, value| !value.is_null());
    rest
}

/// Checks the status of a pod that replaces another's.
pub(super) fn status(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    for (at, condition) in list(&new["status"], "conditions").iter().enumerate() {
        let kind = condition["type"].as_str().unwrap_or_default();
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind) {
            qualified_name(&format!("status.conditions[{at}].Type"), &kind.into(), causes);
        }
    }
    if old["status"]["qosClass"] != new["status"]["qosClass"] {
        causes.push(Cause::invalid("status.qosClass", &new["status"]["qosClass"], "field is immutable"));
    }
    for field in ["containerStatuses", "initContainerStatuses"] {
        ended_containers(field, old, new, causes);
    }
}

/// A container that has ended and is not restarted stays ended (`ValidateContainerStateTransition`).
fn ended_containers(field: &str, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    for (at, before) in list(&old["status"], field).iter().enumerate() {
        let ended = &before["state"]["terminated"];
        let now = list(&new["status"], field).iter().find(|status| status["name"] == before["name"]);
        let runs_again = now.is_some_and(|now| !now["state"]["terminated"].is_object());
        if ended.is_object() && runs_again && !restarts(field, &old["spec"], before) {
            let detail = "may not be transitioned to non-terminated state";
            causes.push(Cause::forbidden(format!("status.{field}[{at}].state"), detail));
        }
    }
}

fn restarts(field: &str, spec: &Value, status: &Value) -> bool {
    let is_its = |one: &&Value| one["name"] == status["name"];
    let sidecar = || list(spec, "initContainers").iter().find(is_its).is_some_and(is_sidecar);
    match spec["restartPolicy"].as_str() {
        Some("OnFailure") if status["state"]["terminated"]["exitCode"].as_i64() != Some(0) => true,
        Some("OnFailure" | "Never") => field == "initContainerStatuses" && sidecar(),
        _ => true,
    }
}
