//! The form that an object has once the API server has read it into its Go type and prints it again: what is empty is left out, what the
//! type always prints is there (the `omitempty` tags of `core/v1/types.go`). The lab keeps objects as JSON, so it is brought about here.

use serde_json::{Map, Value, json};

use crate::resource::Resource;

/// Maps whose keys are the user's: a value that is empty stays.
const FREE_MAPS: [&str; 8] =
    ["labels", "annotations", "nodeSelector", "matchLabels", "limits", "requests", "overhead", "driverOptions"];

/// Fields that are left out when they are zero. (Elsewhere a zero is a pointer to one, and stays.)
const OMITTED_ZEROS: [&str; 11] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
    "hostPort",
    "initialDelaySeconds",
    "observedGeneration",
    "generation",
];

/// Brings a sent object into that form. The status of what is no pod is left as it is.
pub(super) fn settle(resource: Resource, object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    if let Some(meta) = map.get_mut("metadata") {
        compact(meta);
    }
    if resource != Resource::Pods {
        return;
    }
    if let Some(spec) = map.get_mut("spec") {
        compact(spec);
        // `Convert_v1_Pod_To_core_Pod`.
        if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
            spec["terminationGracePeriodSeconds"] = 1.into();
        }
        // One field of two names (`Convert_v1_PodSpec_To_core_PodSpec`).
        let account = spec.get("serviceAccountName").or(spec.get("serviceAccount")).cloned();
        if let Some(account) = account {
            fill(spec, &[("serviceAccountName", account.clone())]);
            spec["serviceAccount"] = account;
        }
    }
    if let Some(status) = map.get_mut("status") {
        compact(status);
        pod_status(status);
    }
}

/// Leaves out nulls, and lists, texts and the user's maps that are empty. An object that is there and empty stays.
fn compact(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(compact),
        Value::Object(map) => map.retain(|name, value| {
            if FREE_MAPS.contains(&name.as_str()) {
                return free_map(value);
            }
            compact(value);
            match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::String(text) => !text.is_empty(),
                Value::Bool(false) => !OMITTED_ZEROS.contains(&name.as_str()),
                Value::Number(number) => number.as_i64() != Some(0) || !OMITTED_ZEROS.contains(&name.as_str()),
                _ => true,
            }
        }),
        _ => {}
    }
}

/// Whether anything is in it. A value that is null is read as an empty one.
fn free_map(value: &mut Value) -> bool {
    for value in value.as_object_mut().into_iter().flat_map(Map::values_mut).filter(|value| value.is_null()) {
        *value = "".into();
    }
    value.as_object().is_some_and(|map| !map.is_empty())
}

/// What a pod's status always prints.
fn pod_status(status: &mut Value) {
    for condition in items(status, "conditions") {
        fill(
            condition,
            &[
                ("type", json!("")),
                ("status", json!("")),
                ("lastProbeTime", Value::Null),
                ("lastTransitionTime", Value::Null),
            ],
        );
    }
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        items(status, list).for_each(container_status);
    }
}

fn container_status(status: &mut Value) {
    let texts = ["name", "image", "imageID"].map(|name| (name, json!("")));
    fill(status, &texts);
    let zeros = [("ready", json!(false)), ("restartCount", json!(0)), ("state", json!({})), ("lastState", json!({}))];
    fill(status, &zeros);
    for state in ["state", "lastState"] {
        if status[state]["running"].is_object() {
            fill(&mut status[state]["running"], &[("startedAt", Value::Null)]);
        }
        if status[state]["terminated"].is_object() {
            let fields = [("exitCode", json!(0)), ("startedAt", Value::Null), ("finishedAt", Value::Null)];
            fill(&mut status[state]["terminated"], &fields);
        }
    }
}

fn items<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn fill(object: &mut Value, fields: &[(&str, Value)]) {
    let Some(map) = object.as_object_mut() else { return };
    for (name, value) in fields {
        map.entry(*name).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(mut pod: Value) -> Value {
        settle(Resource::Pods, &mut pod);
        pod
    }

    #[test]
    fn what_is_empty_is_left_out_and_what_is_always_printed_is_there() {
        let table = [
            (json!({ "metadata": { "labels": {}, "finalizers": [], "annotations": null } }), json!({ "metadata": {} })),
            (
                json!({ "metadata": { "labels": { "a": "", "b": null } } }),
                json!({ "metadata": { "labels": { "a": "", "b": "" } } }),
            ),
            (
                json!({ "spec": { "terminationGracePeriodSeconds": -1, "activeDeadlineSeconds": 0, "hostNetwork": false,
                    "automountServiceAccountToken": false, "volumes": [{ "name": "v", "emptyDir": { "medium": "" } }] } }),
                json!({ "spec": { "terminationGracePeriodSeconds": 1, "activeDeadlineSeconds": 0,
                    "automountServiceAccountToken": false, "volumes": [{ "name": "v", "emptyDir": {} }] } }),
            ),
            (
                json!({ "spec": { "serviceAccount": "a", "hostname": "" } }),
                json!({ "spec": { "serviceAccount": "a", "serviceAccountName": "a" } }),
            ),
            (
                json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }),
                json!({ "status": { "conditions": [
                    { "type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": null }] } }),
            ),
            (
                json!({ "status": { "containerStatuses": [{ "name": "c", "state": { "terminated": {} } }] } }),
                json!({ "status": { "containerStatuses": [{ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "lastState": {}, "state": { "terminated": { "exitCode": 0, "startedAt": null, "finishedAt": null } } }] } }),
            ),
        ];
        for (sent, expected) in table {
            assert_eq!(settled(sent.clone()), expected, "{sent}");
            assert_eq!(settled(expected.clone()), expected, "settled already");
        }
    }
}
