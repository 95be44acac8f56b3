//! The checks of a pod's spec, in upstream's order (`ValidatePodSpec`): those that a task's pod can run into.

use serde_json::Value;

use super::metadata::{labels, qualified_name};
use super::names::{label_faults, label_value_faults, subdomain_faults};
use crate::error::{ApiError, Cause};
use crate::quantity::Quantity;

/// Decoding refuses what is no quantity, before validation.
pub(in crate::api) fn quantities(spec: &Value) -> Result<(), ApiError> {
    let containers = ["initContainers", "containers"].into_iter().flat_map(|list| list_of(spec, list));
    for container in containers {
        let parts = ["limits", "requests"].into_iter().map(|part| &container["resources"][part]);
        let mut amounts = parts.flat_map(|part| part.as_object().into_iter().flatten());
        if amounts.any(|(_, amount)| Quantity::of(amount).is_none()) {
            return Err(ApiError::bad_request(
                "Pod in version \"v1\" cannot be handled as a Pod: quantities must match the regular expression \
                 '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ));
        }
    }
    Ok(())
}

fn list_of<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object[field].as_array().into_iter().flatten()
}

/// `ValidatePodSpec`. `path` is where the spec is.
pub(super) fn spec(path: &str, spec: &Value, causes: &mut Vec<Cause>) {
    let volumes = volumes(path, spec, causes);
    containers(path, spec, &volumes, causes);
    one_of(path, spec, "restartPolicy", &["Always", "OnFailure", "Never"], causes);
    one_of(path, spec, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], causes);
    labels(&format!("{path}.nodeSelector"), &spec["nodeSelector"], causes);
    if spec["dnsPolicy"] == "None" && !spec["dnsConfig"].is_object() {
        let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
        causes.push(Cause::required(format!("{path}.dnsConfig"), detail));
    }
    scheduling_gates(path, spec, causes);
    named(path, spec, &["serviceAccountName", "nodeName"], subdomain_faults, causes);
    let deadline = &spec["activeDeadlineSeconds"];
    if deadline.as_i64().is_some_and(|s| s < 1 || s > i64::from(i32::MAX)) {
        let detail = "must be between 1 and 2147483647, inclusive";
        causes.push(Cause::invalid(format!("{path}.activeDeadlineSeconds"), deadline, detail));
    }
    named(path, spec, &["hostname", "subdomain"], label_faults, causes);
    tolerations(&format!("{path}.tolerations"), spec, causes);
    named(path, spec, &["priorityClassName"], subdomain_faults, causes);
}

/// Text fields of the spec that are names, where they are set.
fn named(path: &str, spec: &Value, fields: &[&str], faults: fn(&str) -> Vec<String>, causes: &mut Vec<Cause>) {
    for field in fields {
        let text = spec[field].as_str().filter(|text| !text.is_empty());
        let found = text.map(faults).unwrap_or_default();
        causes.extend(found.iter().map(|fault| Cause::invalid(format!("{path}.{field}"), &spec[field], fault)));
    }
}

fn scheduling_gates(path: &str, spec: &Value, causes: &mut Vec<Cause>) {
    let mut seen = Vec::new();
    for (at, gate) in list_of(spec, "schedulingGates").enumerate() {
        let field = format!("{path}.schedulingGates[{at}]");
        qualified_name(&field, &gate["name"], causes);
        let name = gate["name"].as_str().unwrap_or_default();
        if seen.contains(&name) {
            causes.push(Cause::duplicate(field, name));
        }
        seen.push(name);
    }
}

/// `ValidateTolerations`. `path` is where the list is.
pub(super) fn tolerations(path: &str, spec: &Value, causes: &mut Vec<Cause>) {
    for (at, toleration) in list_of(spec, "tolerations").enumerate() {
        let path = format!("{path}[{at}]");
        let text = |field: &str| toleration[field].as_str().unwrap_or_default();
        let mut refuse = |field: &str, value: &str, detail: &str| {
            causes.push(Cause::invalid(format!("{path}.{field}"), &value.into(), detail));
        };
        if text("key").is_empty() && text("operator") != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            refuse("operator", text("operator"), detail);
        }
        if toleration["tolerationSeconds"].is_i64() && text("effect") != "NoExecute" {
            refuse("effect", text("effect"), "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match text("operator") {
            "" | "Equal" => {
                let faults = label_value_faults(text("value"));
                if !faults.is_empty() {
                    refuse("operator", text("value"), &faults.join(";"));
                }
            }
            "Exists" if !text("value").is_empty() => {
                refuse("operator", text("value"), "value must be empty when `operator` is 'Exists'");
            }
            _ => one_of(&path, toleration, "operator", &["Equal", "Exists"], causes),
        }
        one_of(&path, toleration, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"], causes);
    }
}

fn one_of(path: &str, object: &Value, field: &str, known: &[&str], causes: &mut Vec<Cause>) {
    if let Some(value) = object[field].as_str().filter(|value| !value.is_empty() && !known.contains(value)) {
        causes.push(Cause::not_supported(format!("{path}.{field}"), value, known));
    }
}

/// A label; what is missing is required.
fn label(field: &str, name: &Value, causes: &mut Vec<Cause>) {
    match name.as_str().unwrap_or_default() {
        "" => causes.push(Cause::required(field, "")),
        text => causes.extend(label_faults(text).iter().map(|fault| Cause::invalid(field, name, fault))),
    }
}

/// The names of the volumes that are valid.
fn volumes<'a>(path: &str, spec: &'a Value, causes: &mut Vec<Cause>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (at, volume) in list_of(spec, "volumes").enumerate() {
        let before = causes.len();
        let (field, name) = (format!("{path}.volumes[{at}].name"), volume["name"].as_str().unwrap_or_default());
        label(&field, &volume["name"], causes);
        if names.contains(&name) {
            causes.push(Cause::duplicate(field, name));
        }
        if causes.len() == before {
            names.push(name);
        }
    }
    names
}

/// `validateContainers`, then `validateInitContainers`.
fn containers(path: &str, spec: &Value, volumes: &[&str], causes: &mut Vec<Cause>) {
    if list_of(spec, "containers").next().is_none() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut names = Vec::new();
    for list in ["containers", "initContainers"] {
        for (at, one) in list_of(spec, list).enumerate() {
            let at = format!("{path}.{list}[{at}]");
            container(&at, one, volumes, causes);
            let name = one["name"].as_str().unwrap_or_default();
            if names.contains(&name) {
                causes.push(Cause::duplicate(format!("{at}.name"), name));
            }
            names.push(name);
        }
    }
}

/// `validateContainerCommon`.
fn container(at: &str, container: &Value, volumes: &[&str], causes: &mut Vec<Cause>) {
    label(&format!("{at}.name"), &container["name"], causes);
    if container["image"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required(format!("{at}.image"), ""));
    }
    one_of(at, container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], causes);
    for (n, variable) in list_of(container, "env").enumerate() {
        if variable["name"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("{at}.env[{n}].name"), ""));
        }
        if variable["value"].as_str().is_some_and(|v| !v.is_empty()) && variable["valueFrom"].is_object() {
            let detail = "may not be specified when `value` is not empty";
            causes.push(Cause::invalid(format!("{at}.env[{n}].valueFrom"), &"".into(), detail));
        }
    }
    mounts(at, container, volumes, causes);
    one_of(at, container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], causes);
    limits(at, container, causes);
}

fn mounts(at: &str, container: &Value, volumes: &[&str], causes: &mut Vec<Cause>) {
    let mut paths = Vec::new();
    for (n, mount) in list_of(container, "volumeMounts").enumerate() {
        let field = format!("{at}.volumeMounts[{n}]");
        let text = |field: &str| mount[field].as_str().unwrap_or_default();
        if text("name").is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        }
        if !volumes.contains(&text("name")) {
            causes.push(Cause::not_found(format!("{field}.name"), text("name")));
        }
        if text("mountPath").is_empty() {
            causes.push(Cause::required(format!("{field}.mountPath"), ""));
        }
        if paths.contains(&text("mountPath")) {
            causes.push(Cause::invalid(format!("{field}.mountPath"), &text("mountPath").into(), "must be unique"));
        }
        paths.push(text("mountPath"));
    }
}

fn limits(at: &str, container: &Value, causes: &mut Vec<Cause>) {
    let resources = &container["resources"];
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let (asked, limit) = (Quantity::of(request), Quantity::of(&resources["limits"][name]));
        if let (Some(asked), Some(limit)) = (asked, limit)
            && asked > limit
        {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            causes.push(Cause::invalid(format!("{at}.resources.requests"), request, &detail));
        }
    }
}
