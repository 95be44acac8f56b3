//! What the API server writes into an object that was submitted without it (`pkg/apis/core/v1/defaults.go`,
//! `pkg/apis/apps/v1/defaults.go`).

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::quantity::Quantity;
use crate::resource::Resource;

/// Writes the static defaults of a resource into an object.
pub fn apply(resource: Resource, object: &mut Value) {
    match resource {
        Resource::Pods => pod_spec(&mut object["spec"]),
        Resource::DaemonSets => daemon_set(&mut object["spec"]),
        Resource::PodTemplates => pod_spec(&mut object["template"]["spec"]),
        Resource::Namespaces => namespace(object),
        Resource::Secrets => secret(object),
        Resource::PriorityClasses => fill(object, &[("preemptionPolicy", json!("PreemptLowerPriority"))]),
        Resource::Events => fill(object, &[("source", json!({}))]),
        Resource::Nodes => node(object),
        _ => {}
    }
}

/// Sets the fields that are missing or null.
fn fill(object: &mut Value, defaults: &[(&str, Value)]) {
    if !object.is_object() {
        *object = json!({});
    }
    let map = object.as_object_mut().expect("made an object above");
    for (name, value) in defaults {
        let entry = map.entry(*name).or_insert(Value::Null);
        if entry.is_null() || *entry == "" {
            *entry = value.clone();
        }
    }
}

fn each<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = value.as_object_mut().and_then(|map| map.get_mut(field));
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

fn pod_spec(spec: &mut Value) {
    fill(
        spec,
        &[
            ("restartPolicy", json!("Always")),
            ("dnsPolicy", json!("ClusterFirst")),
            ("schedulerName", json!("default-scheduler")),
            ("securityContext", json!({})),
            ("terminationGracePeriodSeconds", json!(30)),
            ("enableServiceLinks", json!(true)),
        ],
    );
    for list in ["containers", "initContainers"] {
        each(spec, list).for_each(container);
    }
    if spec["hostNetwork"] == true {
        for list in ["containers", "initContainers"] {
            each(spec, list).for_each(host_ports);
        }
    }
    each(spec, "volumes").for_each(volume);
    let empty = ["nodeName", "priorityClassName", "hostname"];
    let map = spec.as_object_mut().expect("fill made it an object");
    map.retain(|name, value| !(value.is_null() || (empty.contains(&name.as_str()) && *value == "")));
}

fn container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default().to_owned();
    fill(
        container,
        &[
            ("imagePullPolicy", json!(pull_policy(&image))),
            ("terminationMessagePath", json!("/dev/termination-log")),
            ("terminationMessagePolicy", json!("File")),
            ("resources", json!({})),
        ],
    );
    each(container, "ports").for_each(|port| fill(port, &[("protocol", json!("TCP"))]));
    for variable in each(container, "env") {
        if variable["valueFrom"]["fieldRef"].is_object() {
            fill(&mut variable["valueFrom"]["fieldRef"], &[("apiVersion", json!("v1"))]);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[probe].is_object() {
            fill_probe(&mut container[probe]);
        }
    }
    resources(&mut container["resources"]);
    container.as_object_mut().expect("fill made it an object").retain(|_, value| !value.is_null());
}

/// `SetDefaults_HostNetworkPorts`.
fn host_ports(container: &mut Value) {
    for port in each(container, "ports") {
        if port["hostPort"].as_i64().unwrap_or(0) == 0 {
            port["hostPort"] = port["containerPort"].clone();
        }
    }
}

fn fill_probe(probe: &mut Value) {
    let numbers = [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)];
    fill(probe, &numbers.map(|(name, value)| (name, json!(value))));
    if probe["httpGet"].is_object() {
        fill(&mut probe["httpGet"], &[("path", json!("/")), ("scheme", json!("HTTP"))]);
    }
}

/// `latest` is pulled always, everything else if it is not there (`parsers.ParseImageName`).
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        _ if last.contains('@') => "IfNotPresent",
        Some((_, tag)) if tag != "latest" => "IfNotPresent",
        _ => "Always",
    }
}

/// Amounts in their canonical form, and requests that are missing from their limits.
fn resources(resources: &mut Value) {
    for part in ["limits", "requests"] {
        for amount in resources[part].as_object_mut().into_iter().flat_map(Map::values_mut) {
            canonical(amount);
        }
    }
    for (name, limit) in resources["limits"].as_object().cloned().unwrap_or_default() {
        fill(&mut resources["requests"], &[(&name, limit)]);
    }
    if let Some(map) = resources.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

/// A quantity as the API server prints it; what is none stays for validation to refuse.
fn canonical(amount: &mut Value) {
    if let Some(read) = Quantity::of(amount) {
        *amount = read.to_string().into();
    }
}

const VOLUME_SOURCES_WITH_MODE: [&str; 4] = ["configMap", "secret", "projected", "downwardAPI"];

fn volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|map| map.len() == 1) {
        volume["emptyDir"] = json!({});
    }
    for source in VOLUME_SOURCES_WITH_MODE {
        if volume[source].is_object() {
            fill(&mut volume[source], &[("defaultMode", json!(420))]);
        }
    }
    if !volume["emptyDir"]["sizeLimit"].is_null() {
        canonical(&mut volume["emptyDir"]["sizeLimit"]);
    }
    let downward = each(&mut volume["downwardAPI"], "items");
    for item in downward.filter(|item| item["fieldRef"].is_object()) {
        fill(&mut item["fieldRef"], &[("apiVersion", json!("v1"))]);
    }
    if let Some(map) = volume.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    if let Some(map) = volume.get_mut("emptyDir").and_then(Value::as_object_mut) {
        map.retain(|_, value| !value.is_null());
    }
}

fn daemon_set(spec: &mut Value) {
    fill(
        spec,
        &[
            ("revisionHistoryLimit", json!(10)),
            (
                "updateStrategy",
                json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } }),
            ),
            ("template", json!({})),
        ],
    );
    pod_spec(&mut spec["template"]["spec"]);
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    fill(&mut object["metadata"], &[("labels", json!({}))]);
    fill(&mut object["metadata"]["labels"], &[("kubernetes.io/metadata.name", name)]);
    fill(object, &[("spec", json!({})), ("status", json!({}))]);
    fill(&mut object["spec"], &[("finalizers", json!(["kubernetes"]))]);
    fill(&mut object["status"], &[("phase", json!("Active"))]);
}

/// `stringData` is write-only: it goes into `data` (`pkg/apis/core/v1/conversion.go`).
fn secret(object: &mut Value) {
    fill(object, &[("type", json!("Opaque"))]);
    let plain = object.as_object_mut().and_then(|map| map.remove("stringData"));
    for (name, text) in plain.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
        object["data"][name] = encoded.into();
    }
}

fn node(object: &mut Value) {
    fill(object, &[("spec", json!({})), ("status", json!({}))]);
    let capacity = object["status"]["capacity"].clone();
    if capacity.is_object() {
        fill(&mut object["status"], &[("allocatable", capacity)]);
    }
}

/// `status.qosClass` (`pkg/apis/core/v1/helper/qos/qos.go`).
pub fn qos_class(spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"].into_iter();
    let containers: Vec<&Value> = lists.flat_map(|list| spec[list].as_array().into_iter().flatten()).collect();
    let amount = |container: &Value, part: &str, name: &str| {
        Quantity::of(&container["resources"][part][name]).filter(|amount| !amount.is_zero())
    };
    let counted = ["cpu", "memory"];
    let pairs = || containers.iter().flat_map(|c| counted.iter().map(move |name| (*c, *name)));
    let nothing = pairs().all(|(c, name)| amount(c, "requests", name).is_none() && amount(c, "limits", name).is_none());
    if nothing {
        return "BestEffort";
    }
    let equal = pairs().all(|(c, name)| {
        let limit = amount(c, "limits", name);
        limit.is_some() && limit == amount(c, "requests", name)
    });
    if equal { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spec of the recordings' pods, as the real API server defaulted it (without what admission adds).
    #[test]
    fn pod_gets_the_recorded_defaults() {
        let mut pod = json!({ "metadata": {}, "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 5,
            "containers": [{ "name": "base", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh"] }] } });
        apply(Resource::Pods, &mut pod);
        let expected = json!({
            "containers": [{ "name": "base", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh"], "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File" }],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Never", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 5,
        });
        assert_eq!(pod["spec"], expected);
    }

    #[test]
    fn quality_of_service_and_requests_follow_the_limits() {
        let class = |resources: Value| {
            let mut pod =
                json!({ "spec": { "containers": [{ "name": "base", "image": "i", "resources": resources }] } });
            apply(Resource::Pods, &mut pod);
            qos_class(&pod["spec"])
        };
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({ "requests": { "cpu": "1" } })), "Burstable");
        assert_eq!(class(json!({ "limits": { "cpu": "1", "memory": "1Gi" } })), "Guaranteed");
        assert_eq!(class(json!({ "limits": { "cpu": "1" }, "requests": { "cpu": "500m" } })), "Burstable");
    }

    #[test]
    fn pull_policy_follows_the_tag() {
        let table = [
            ("busybox", "Always"),
            ("busybox:latest", "Always"),
            ("busybox:1.36", "IfNotPresent"),
            ("host:5000/a", "Always"),
            ("a@sha256:00", "IfNotPresent"),
        ];
        for (image, policy) in table {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
