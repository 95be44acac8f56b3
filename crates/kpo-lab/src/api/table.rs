//! Tables, as `kubectl get` prints them (`pkg/printers/internalversion/printers.go`).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::view::{RowObject, metadata};
use crate::resource::Resource;
use crate::time::Time;

/// A column: its name and whether only `-o wide` shows it.
type Column = (&'static str, bool);

/// A table of objects.
pub(super) fn table(
    now: Time,
    resource: Resource,
    objects: &[&Arc<Value>],
    part: RowObject,
    meta: Value,
    first: bool,
) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({ "cells": cells(now, resource, object) });
            match part {
                RowObject::Nothing => {}
                RowObject::Metadata => row["object"] = metadata(object),
                RowObject::Whole => row["object"] = (***object).clone(),
            }
            row
        })
        .collect();
    let definitions: Vec<Value> = columns(resource).iter().map(definition).collect();
    let definitions = if first { json!(definitions) } else { Value::Null };
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": definitions, "rows": rows })
}

fn definition((name, wide): &Column) -> Value {
    let format = if *name == "Name" { "name" } else { "" };
    json!({ "name": name, "type": "string", "format": format, "description": name, "priority": i32::from(*wide) })
}

fn columns(resource: Resource) -> &'static [Column] {
    match resource {
        Resource::Pods => &[
            ("Name", false),
            ("Ready", false),
            ("Status", false),
            ("Restarts", false),
            ("Age", false),
            ("IP", true),
            ("Node", true),
            ("Nominated Node", true),
            ("Readiness Gates", true),
        ],
        Resource::Nodes => &[("Name", false), ("Status", false), ("Roles", false), ("Age", false), ("Version", false)],
        Resource::Events => &[
            ("Last Seen", false),
            ("Type", false),
            ("Reason", false),
            ("Object", false),
            ("Source", true),
            ("Message", false),
            ("Name", true),
        ],
        Resource::Namespaces => &[("Name", false), ("Status", false), ("Age", false)],
        Resource::ConfigMaps => &[("Name", false), ("Data", false), ("Age", false)],
        Resource::Secrets => &[("Name", false), ("Type", false), ("Data", false), ("Age", false)],
        Resource::PriorityClasses => &[("Name", false), ("Value", false), ("Global-Default", false), ("Age", false)],
        Resource::DaemonSets => &[
            ("Name", false),
            ("Desired", false),
            ("Current", false),
            ("Ready", false),
            ("Available", false),
            ("Age", false),
        ],
        Resource::ResourceQuotas => &[("Name", false), ("Used", false), ("Age", false)],
        _ => &[("Name", false), ("Age", false)],
    }
}

fn cells(now: Time, resource: Resource, object: &Value) -> Vec<Value> {
    let name = object["metadata"]["name"].clone();
    let age = json!(age(now, &object["metadata"]["creationTimestamp"]));
    let count = |field: &str| json!(object[field].as_object().map_or(0, serde_json::Map::len));
    let status = |field: &str| json!(object["status"][field].as_i64().unwrap_or(0));
    match resource {
        Resource::Pods => pod_cells(now, object),
        Resource::Nodes => node_cells(now, object),
        Resource::Events => event_cells(now, object),
        Resource::Namespaces => vec![name, object["status"]["phase"].clone(), age],
        Resource::ConfigMaps => vec![name, count("data"), age],
        Resource::Secrets => vec![name, object["type"].clone(), count("data"), age],
        Resource::PriorityClasses => {
            vec![name, object["value"].clone(), json!(object["globalDefault"] == true), age]
        }
        Resource::DaemonSets => {
            let numbers = ["desiredNumberScheduled", "currentNumberScheduled", "numberReady", "numberAvailable"];
            [vec![name], numbers.map(status).to_vec(), vec![age]].concat()
        }
        Resource::ResourceQuotas => vec![name, json!(quota_text(object)), age],
        _ => vec![name, age],
    }
}

fn quota_text(quota: &Value) -> String {
    let used = &quota["status"]["used"];
    let hard = quota["spec"]["hard"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let parts: Vec<String> =
        hard.map(|(name, limit)| format!("{name}: {}/{}", text(&used[name]), text(limit))).collect();
    parts.join(", ")
}

fn pod_cells(now: Time, pod: &Value) -> Vec<Value> {
    let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
    let sidecars = sidecars(pod);
    let all = statuses.iter().chain(&sidecars);
    let ready = all.clone().filter(|status| status["ready"] == true).count();
    let restarts: i64 = all.filter_map(|status| status["restartCount"].as_i64()).sum();
    let total = pod["spec"]["containers"].as_array().map_or(0, Vec::len) + sidecar_names(pod).len();
    let or_none = |value: &Value| value.as_str().filter(|text| !text.is_empty()).unwrap_or("<none>").to_owned();
    vec![
        pod["metadata"]["name"].clone(),
        json!(format!("{ready}/{total}")),
        json!(pod_status(pod)),
        json!(restarts.to_string()),
        json!(age(now, &pod["metadata"]["creationTimestamp"])),
        json!(or_none(&pod["status"]["podIP"])),
        json!(or_none(&pod["spec"]["nodeName"])),
        json!(or_none(&pod["status"]["nominatedNodeName"])),
        json!("<none>"),
    ]
}

fn sidecar_names(pod: &Value) -> Vec<&Value> {
    let inits = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    inits.filter(|init| init["restartPolicy"] == "Always").map(|init| &init["name"]).collect()
}

fn sidecars(pod: &Value) -> Vec<Value> {
    let names = sidecar_names(pod);
    let statuses = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
    statuses.filter(|status| names.contains(&&status["name"])).cloned().collect()
}

/// The STATUS column (`printPod`).
fn pod_status(pod: &Value) -> String {
    let status = &pod["status"];
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let mut reason = text(&status["reason"]).or_else(|| text(&status["phase"])).unwrap_or_default();
    let conditions = status["conditions"].as_array().into_iter().flatten();
    if conditions.clone().any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated") {
        reason = "SchedulingGated".to_owned();
    }
    match initializing(pod) {
        Some(text) => reason = text,
        None => reason = container_reason(status, reason),
    }
    if pod["metadata"].get("deletionTimestamp").is_some() {
        let lost = status["reason"] == "NodeLost";
        let ended = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
        reason = if lost {
            "Unknown".to_owned()
        } else if ended {
            reason
        } else {
            "Terminating".to_owned()
        };
    }
    reason
}

fn initializing(pod: &Value) -> Option<String> {
    let names = sidecar_names(pod);
    let inits = pod["status"]["initContainerStatuses"].as_array()?;
    let total = pod["spec"]["initContainers"].as_array().map_or(0, Vec::len);
    for (at, init) in inits.iter().enumerate() {
        let state = &init["state"];
        if state["terminated"]["exitCode"] == 0 || (names.contains(&&init["name"]) && init["started"] == true) {
            continue;
        }
        if let Some(code) = state["terminated"]["exitCode"].as_i64() {
            let reason = state["terminated"]["reason"].as_str().filter(|reason| !reason.is_empty());
            return Some(reason.map_or(format!("Init:ExitCode:{code}"), |reason| format!("Init:{reason}")));
        }
        let waiting = state["waiting"]["reason"].as_str().filter(|reason| *reason != "PodInitializing");
        return Some(waiting.map_or(format!("Init:{at}/{total}"), |reason| format!("Init:{reason}")));
    }
    None
}

fn container_reason(status: &Value, phase: String) -> String {
    let mut reason = phase;
    let mut running = false;
    for container in status["containerStatuses"].as_array().into_iter().flatten().rev() {
        let state = &container["state"];
        let text = |of: &str| state[of]["reason"].as_str().filter(|reason| !reason.is_empty()).map(str::to_owned);
        if let Some(waiting) = text("waiting") {
            reason = waiting;
        } else if let Some(terminated) = text("terminated") {
            reason = terminated;
        } else if state["terminated"].is_object() {
            reason = format!("ExitCode:{}", state["terminated"]["exitCode"]);
        } else if container["ready"] == true && state["running"].is_object() {
            running = true;
        }
    }
    if reason == "Completed" && running { "Running".to_owned() } else { reason }
}

fn node_cells(now: Time, node: &Value) -> Vec<Value> {
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let internal =
        addresses.filter(|address| address["type"] == "InternalIP").map(|address| address["address"].clone());
    let info = &node["status"]["nodeInfo"];
    vec![
        node["metadata"]["name"].clone(),
        json!(node_status(node)),
        json!("<none>"),
        json!(age(now, &node["metadata"]["creationTimestamp"])),
        info["kubeletVersion"].clone(),
        internal.into_iter().next().unwrap_or_else(|| json!("<none>")),
        info["containerRuntimeVersion"].clone(),
    ]
}

fn node_status(node: &Value) -> String {
    let ready = node["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Ready");
    let ready = match ready.and_then(|condition| condition["status"].as_str()) {
        Some("True") => "Ready",
        Some("False") => "NotReady",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = if node["spec"]["unschedulable"] == true { ",SchedulingDisabled" } else { "" };
    format!("{ready}{cordoned}")
}

fn event_cells(now: Time, event: &Value) -> Vec<Value> {
    let seen = ["lastTimestamp", "eventTime", "firstTimestamp"].into_iter().find(|field| event[*field].is_string());
    let object = &event["involvedObject"];
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let name = object["name"].as_str().unwrap_or_default();
    let source = event["source"]["component"].as_str().or(event["reportingComponent"].as_str());
    vec![
        json!(seen.map_or("<unknown>".to_owned(), |field| age(now, &event[field]))),
        event["type"].clone(),
        event["reason"].clone(),
        json!(format!("{kind}/{name}")),
        json!(source.unwrap_or_default()),
        json!(event["message"].as_str().unwrap_or_default().trim()),
        event["metadata"]["name"].clone(),
    ]
}

/// `duration.HumanDuration` of the time since then.
fn age(now: Time, since: &Value) -> String {
    let Some(since) = since.as_str().and_then(Time::parse) else { return "<unknown>".to_owned() };
    human(now.since(since))
}

fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let with = |whole: String, rest: u64, unit: &str| if rest == 0 { whole } else { format!("{whole}{rest}{unit}") };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => with(format!("{minutes}m"), seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => with(format!("{hours}h"), minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => with(format!("{days}d"), hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_print_as_kubectl_does() {
        let table = [
            (0, "0s"),
            (119, "119s"),
            (125, "2m5s"),
            (600, "10m"),
            (11_000, "3h3m"),
            (30_000, "8h"),
            (180_000, "2d2h"),
        ];
        for (seconds, text) in table {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn status_column_follows_the_containers() {
        let pod = |status: Value| json!({ "metadata": { "name": "a" }, "spec": { "containers": [{ "name": "base" }] }, "status": status });
        let waiting = json!({ "phase": "Pending", "containerStatuses": [{ "name": "base", "state": { "waiting": { "reason": "ImagePullBackOff" } } }] });
        let done = json!({ "phase": "Succeeded", "containerStatuses": [{ "name": "base", "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } }] });
        let table = [
            (json!({ "phase": "Pending" }), "Pending"),
            (waiting, "ImagePullBackOff"),
            (done, "Completed"),
            (json!({ "phase": "Failed", "reason": "OutOfcpu" }), "OutOfcpu"),
        ];
        for (status, text) in table {
            assert_eq!(pod_status(&pod(status)), text);
        }
    }
}
