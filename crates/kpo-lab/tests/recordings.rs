//! Each recorded cause is played in the lab, and the pod's writes are compared with a real cluster's: their order, their fields, their writers.
//!
//! [`forgive`] names every difference that is not one: times, identities, addresses, the image's resolved name, the service account's volume, and
//! who created the pod. [`DIFFERS`] names what the lab does otherwise; `LIMITS.md` says so to its users.

use std::path::PathBuf;
use std::time::Duration;

use kpo_lab::{ChangeKind, Resource, Time, World, Writer, script};
use serde_json::{Value, json};

/// Where the lab differs: in which recording, how many of its writes are the same, which fields are not, and why.
const DIFFERS: [(&str, usize, &[&str], &str); 4] = [
    (
        "memory_pressure",
        5,
        &[],
        "a restarted kubelet that refuses what runs writes nothing while it ends that; the lab's says that it is ending",
    ),
    ("storage_pressure", 5, &[], "the same"),
    (
        "container_record_lost_in_grace",
        7,
        &[],
        "the lab's kubelet misses the container at once, not first its sandbox and address",
    ),
    ("node_rebooted", 6, &["podIP"], "the lab's kubelet keeps the address of a sandbox that is gone"),
];

/// What was done to the pod in each recording, in the lab's own words; the time that it takes.
const PLAYED: [(&str, u64, &str); 39] = [
    ("succeeded", 10, "container base runs 0s"),
    ("failed_exit_3", 10, "container base runs 0s exit 3"),
    ("oom_killed", 10, "container base oom after 0s"),
    ("succeeded_then_deleted", 10, "container base runs 0s\nwhen pod task succeeded: delete it"),
    (
        "run_container_error",
        10,
        "container base not-executable \"failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \\\"/no/such/program\\\": stat /no/such/program: no such file or directory: unknown\"",
    ),
    ("create_container_config_error", 10, ""),
    (
        "image_pull_error",
        13,
        "image nowhere.invalid/* fails \"failed to pull and unpack image \\\"nowhere.invalid/none:1\\\": failed to resolve reference \\\"nowhere.invalid/none:1\\\": failed to do request: Head \\\"http://10.78.0.1:5000/v2/none/manifests/1?ns=nowhere.invalid\\\": dial tcp 10.78.0.1:5000: connect: connection refused\"",
    ),
    ("init_fails", 10, "container setup runs 0s exit 7"),
    (
        "native_sidecar_result",
        15,
        "container base runs 1s writes /airflow/xcom/return.json \"{\\\"answer\\\": 42}\\n\"\ncontainer result runs forever hands-over /airflow/xcom/return.json",
    ),
    ("deadline_exceeded", 20, "container base runs forever on-term ignored"),
    ("rejected_outofcpu", 5, ""),
    ("unscheduled_deleted", 5, "when pod task unschedulable for 1s: delete it"),
    (
        "deleted_while_running",
        20,
        "container base runs forever on-term ignored\nwhen pod task running for 1s: delete it",
    ),
    ("evicted_by_api", 20, "container base runs forever on-term ignored\nwhen pod task running for 1s: evict it"),
    ("preempted_before_start", 20, "at 2200ms: pod preemptor cpu=1500m priority-class=high"),
    ("preempted_before_start_with_sidecar", 20, "at 2200ms: pod preemptor cpu=1500m priority-class=high"),
    (
        "preempted_while_running",
        20,
        "container base runs forever on-term ignored\nat 4s: pod preemptor cpu=1500m priority-class=high",
    ),
    (
        "preempted_finishes_in_grace",
        20,
        "container base of task runs 8s on-term ignored\nat 4s: pod preemptor cpu=1500m priority-class=high",
    ),
    (
        "preempted_sidecar_runs_image_pulling",
        20,
        "image nowhere.invalid/* fails \"failed to pull and unpack image \\\"nowhere.invalid/none:1\\\": failed to resolve reference \\\"nowhere.invalid/none:1\\\": failed to do request: Head \\\"https://nowhere.invalid/v2/none/manifests/1\\\": dial tcp: lookup nowhere.invalid on 10.255.255.53:53: no such host\"\ncontainer result runs forever on-term exits 0 after 200ms\nat 6s: pod preemptor cpu=1500m priority-class=high",
    ),
    (
        "critical_pod_preempts",
        20,
        "container base of task runs forever on-term ignored\nat 2500ms: pod kube-system/critical cpu=1500m node=node-1 priority-class=system-node-critical",
    ),
    ("emptydir_over_limit", 40, "container base runs forever on-term ignored fills /x/f 20971520"),
    (
        "taint_evicted_while_running",
        20,
        "container base runs forever on-term ignored\nat 3s: node node-1 tainted gone=:NoExecute",
    ),
    (
        "unreachable_then_back",
        90,
        "container base runs forever on-term ignored\nnode keeper taint keep=:NoSchedule\nat 2s: node node-1 silent\nthen after 70s: node node-1 answers",
    ),
    (
        "node_deleted",
        120,
        "container base runs forever\nnode keeper taint keep=:NoSchedule\nat 3s: node node-1 deleted",
    ),
    (
        "finished_while_kubelet_was_down",
        20,
        "container base runs 4s\nat 2500ms: kubelet node-1 stopped\nthen after 10s: kubelet node-1 started",
    ),
    ("slow_pull", 30, "image slow.example/* pulls in 10s\ncontainer base runs 0s"),
    ("log_rotated", 30, "container base runs 13s"),
    ("gated_deleted", 10, "when pod task gated for 1s: delete it"),
    (
        "gates_lifted",
        15,
        "container base runs 0s\nat 1s: lift-gate pod task example.com/quota\nat 2s: lift-gate pod task kpo.rs/backoff",
    ),
    (
        "deleted_while_pulling",
        20,
        "image nowhere.invalid/* fails \"failed to pull and unpack image \\\"nowhere.invalid/none:1\\\": failed to resolve reference \\\"nowhere.invalid/none:1\\\": failed to do request: Head \\\"http://10.78.0.1:5000/v2/none/manifests/1?ns=nowhere.invalid\\\": dial tcp 10.78.0.1:5000: connect: connection refused\"\nwhen pod task waiting: delete it",
    ),
    (
        "deleted_during_slow_pull",
        30,
        "image slow.example/* pulls in 10s\ncontainer base runs forever on-term ignored\nat 800ms: delete pod task",
    ),
    ("deleted_in_init", 20, "container setup runs forever on-term ignored\nat 1900ms: delete pod task"),
    (
        "deleted_again_at_once",
        20,
        "container base runs forever on-term ignored\nwhen pod task running for 1s: delete it\nthen after 1s: delete pod task grace=0",
    ),
    (
        "container_record_lost_in_grace",
        30,
        "container base runs forever on-term ignored\nwhen pod task running for 1s: delete it\nthen after 2s: lose records of pod task",
    ),
    (
        "memory_pressure",
        30,
        "container base runs forever on-term ignored\nat 4s: node node-1 low-on memory\nat 4500ms: kubelet node-1 restarted",
    ),
    (
        "storage_pressure",
        30,
        "container base runs forever on-term ignored\nat 4s: node node-1 low-on disk\nat 4500ms: kubelet node-1 restarted",
    ),
    (
        "out_of_service",
        120,
        "container base runs forever\nnode keeper taint keep=:NoSchedule\nat 2s: node node-1 silent\nat 52s: node node-1 tainted node.kubernetes.io/out-of-service=nodeshutdown:NoExecute\nat 100s: node node-1 answers",
    ),
    ("node_rebooted", 30, "container base runs forever\nat 4s: node node-1 rebooted records lost"),
    ("kubelet_restarted_while_running", 30, "container base runs 15s\nat 3s: kubelet node-1 restarted"),
];

fn recording(name: &str) -> Vec<Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../kpo-core/tests/recordings");
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).expect("the recording is there");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn is_task(object: &Value) -> bool {
    object["kind"] == "Pod" && object["metadata"]["name"] == "task"
}

/// The recorded writes: kind and object.
fn recorded(name: &str) -> Vec<(String, Value)> {
    let lines = recording(name).into_iter().filter(|line| is_task(&line["object"]));
    lines.map(|line| (line["type"].as_str().unwrap_or_default().to_owned(), line["object"].clone())).collect()
}

/// The lab's writes for the same cause.
fn played(name: &str, seconds: u64, text: &str) -> Vec<(String, Value)> {
    let world = play(name, seconds, text);
    let changes = world.store().changes_since(0).expect("nothing is forgotten");
    let changes = changes.filter(|change| change.resource == Resource::Pods && is_task(&change.object));
    let kind = |kind: ChangeKind| match kind {
        ChangeKind::Added => "ADDED",
        ChangeKind::Modified => "MODIFIED",
        ChangeKind::Deleted => "DELETED",
    };
    changes.map(|change| (kind(change.kind).to_owned(), (*change.object).clone())).collect()
}

/// A world in which the cause has had its time.
fn play(name: &str, seconds: u64, text: &str) -> World {
    let first = recorded(name).remove(0).1;
    let ns = first["metadata"]["namespace"].as_str().expect("in a namespace");
    let text = format!(
        "timing upstream\nnode node-1 cpu=2 memory=4Gi pods=110\nnamespace {ns}\npriority-class high 1000\n{}\n",
        text.replace("pod preemptor", &format!("pod {ns}/preemptor"))
    );
    let script = script::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let start = Time::from_secs(1_800_000_000);
    let mut world = World::new(start, 3, Box::new(script.runtime()));
    world.play(&script);
    world.advance(start);
    let pod = json!({
        "metadata": {"name": "task", "namespace": ns, "labels": first["metadata"]["labels"]},
        "spec": without_token(&first["spec"]),
    });
    let store = world.store_mut(start);
    kpo_lab::api::create(start, store, Resource::Pods, pod, &Writer::new("client")).expect("created");
    world.advance(start + Duration::from_secs(seconds));
    assert_eq!(world.livelock(), None);
    world
}

/// An event about the pod as the test compares it: type, reason, what of the pod, who, and the sentence without UIDs.
fn event(object: &Value) -> Option<String> {
    if object["kind"] != "Event" || object["involvedObject"]["name"] != "task" {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let message = text(&object["message"]);
    let message = match message.strip_prefix("Preempted by pod ") {
        Some(rest) => format!("Preempted by pod * {}", rest.split_once(' ').map_or("", |(_, rest)| rest)),
        None => message,
    };
    // How long a pull took, and how large the image is.
    let message = match message.split_once("\" in ") {
        Some((pulled, _)) if pulled.starts_with("Successfully pulled image") => format!("{pulled} *"),
        _ => message,
    };
    let uid = if object["involvedObject"].get("uid").is_some() { "" } else { " (no UID)" };
    let (kind, reason) = (text(&object["type"]), text(&object["reason"]));
    let (field, who) = (text(&object["involvedObject"]["fieldPath"]), text(&object["reportingComponent"]));
    Some(format!("{kind} {reason} {field} {who} {} {message}{uid}", text(&object["action"])))
}

/// Events that say something of that very machine or moment: its DNS, its first mount of a token, a configMap cache of a pod that was already
/// terminating, an eviction that was thought over.
fn is_local(event: &str) -> bool {
    ["MissingClusterDNS", "kube-api-access-", "\"late\" not registered", "Cancelling deletion of Pod rec-"]
        .iter()
        .any(|local| event.contains(local))
}

fn events(objects: impl Iterator<Item = Value>) -> std::collections::BTreeSet<String> {
    objects.filter_map(|object| event(&object)).filter(|event| !is_local(event)).collect()
}

#[test]
fn the_lab_says_what_a_real_cluster_said() {
    let mut found = Vec::new();
    for (name, seconds, text) in PLAYED {
        let real = events(recording(name).into_iter().map(|line| line["object"].clone()));
        let world = play(name, seconds, text);
        let lab = events(world.store().list(Resource::Events, None).map(|event| (**event).clone()));
        found.extend(real.difference(&lab).map(|event| format!("{name}: only real: {event}")));
        found.extend(lab.difference(&real).map(|event| format!("{name}: only in the lab: {event}")));
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

/// The spec without the service account's volume and its mounts.
fn without_token(spec: &Value) -> Value {
    let mut spec = spec.clone();
    strip_token(&mut spec);
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("preemptionPolicy");
    }
    spec
}

fn is_token(entry: &Value) -> bool {
    entry["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"))
}

fn strip_token(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for field in ["volumes", "volumeMounts"] {
                if let Some(Value::Array(list)) = fields.get_mut(field) {
                    list.retain(|entry| !is_token(entry));
                    if list.is_empty() {
                        fields.remove(field);
                    }
                }
            }
            fields.values_mut().for_each(strip_token);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_token),
        _ => {}
    }
}

/// What is left once everything is forgiven that may differ between two clusters.
fn forgive(mut object: Value) -> Value {
    strip_token(&mut object);
    let writers = writers(&object);
    let meta = object["metadata"].as_object_mut().expect("an object has metadata");
    // Identities, and when it was made.
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        meta.remove(field);
    }
    // Deletion: that there is one, and its grace; not when.
    if meta.contains_key("deletionTimestamp") {
        meta.insert("deletionTimestamp".into(), "T".into());
    }
    blank(&mut object["status"]);
    json!({"metadata": object["metadata"], "spec": object["spec"], "status": object["status"], "writers": writers})
}

/// Times (but not the epoch, which says that a program never ran), addresses, container IDs, resolved images.
fn blank(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let started = fields.contains_key("containerID") && fields.contains_key("image");
            for (field, value) in fields.iter_mut() {
                let forgiven = match field.as_str() {
                    "lastTransitionTime" | "startTime" | "startedAt" | "finishedAt" => *value != "1970-01-01T00:00:00Z",
                    "podIP" | "hostIP" | "ip" | "containerID" => true,
                    "image" | "imageID" => started,
                    _ => false,
                };
                if forgiven && !value.is_null() {
                    *value = "*".into();
                } else {
                    blank(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(blank),
        _ => {}
    }
}

/// Which component owns which field of the status; pod addresses are keys there. The creator is no component.
fn writers(object: &Value) -> Vec<Value> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let components = entries.into_iter().filter(|entry| entry.get("subresource").is_some());
    let plain = |entry: Value| {
        let mut entry =
            json!({"manager": entry["manager"], "subresource": entry["subresource"], "fields": entry["fieldsV1"]});
        if let Some(ips) = entry["fields"]["f:status"].get_mut("f:podIPs") {
            *ips = "*".into();
        }
        entry
    };
    components.map(plain).collect()
}

/// Where two values differ, in words.
fn differences(path: &str, lab: &Value, real: &Value, found: &mut Vec<String>) {
    match (lab, real) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let none = Value::String("(absent)".into());
                differences(&format!("{path}.{key}"), a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{index}]"), a, b, found);
            }
        }
        _ if lab != real => found.push(format!("{path}: lab {lab}, real {real}")),
        _ => {}
    }
}

fn compare(name: &str, seconds: u64, text: &str) -> Vec<String> {
    let (mut real, mut lab) = (recorded(name), played(name, seconds, text));
    let mut found = Vec::new();
    let differs = DIFFERS.iter().find(|(differs, ..)| *differs == name);
    if let Some((_, same, ..)) = differs {
        real.truncate(*same);
        lab.truncate(*same);
    }
    for (index, (real, lab)) in real.iter().zip(&lab).enumerate() {
        let path = format!("{name} write {}", index + 1);
        if lab.0 != real.0 {
            found.push(format!("{path}: lab {}, real {}", lab.0, real.0));
        }
        differences(&path, &forgive(lab.1.clone()), &forgive(real.1.clone()), &mut found);
    }
    found.retain(|found| differs.is_none_or(|(_, _, fields, _)| !fields.iter().any(|field| found.contains(field))));
    if real.len() != lab.len() {
        found.push(format!("{name}: {} writes in the lab, {} recorded", lab.len(), real.len()));
    }
    found
}

#[test]
fn the_lab_writes_what_a_real_cluster_wrote() {
    let found: Vec<String> = PLAYED.iter().flat_map(|(name, seconds, text)| compare(name, *seconds, text)).collect();
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_recording_is_played() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../kpo-core/tests/recordings");
    let files = std::fs::read_dir(folder).expect("the recordings are there");
    let names = files.filter_map(|file| file.ok()?.file_name().to_str()?.strip_suffix(".jsonl").map(str::to_owned));
    let missing: Vec<String> = names.filter(|name| PLAYED.iter().all(|(played, ..)| played != name)).collect();
    assert!(missing.is_empty(), "not played: {missing:?}");
}
