//! The four kinds that end, and where their pod stands.

use super::check::kind_of;
use super::document::Document;
use super::error::{ManifestError, Place, Problem};
use super::path::Path;
use crate::body;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What was found of a pod in a document.
pub(super) struct Found {
    /// Where the pod's `metadata` and `spec` stand.
    pub(super) prefix: Path,
    /// The pod.
    pub(super) pod: Value,
    /// A Job's total clock.
    pub(super) total: Option<Duration>,
    /// What of a Job or CronJob means nothing to a task.
    pub(super) unused: Vec<String>,
    /// Where a Job or CronJob says that it is suspended.
    pub(super) suspended: Option<String>,
}

/// What the server writes into `metadata`: a pod that was read from a cluster can be handed in again. What kpo put on it goes, too.
const SERVERS_OWN: [&str; 8] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "selfLink",
];

/// Finds the pod in a document.
pub(super) fn find(document: &Document) -> Result<Found, ManifestError> {
    let fault = |path: &str, problem| Err(ManifestError::new(place(document, path), problem));
    let Some(kind) = document.value.get("kind").and_then(Value::as_str) else { return fault("kind", Problem::NoKind) };
    let (version, prefix) = match kind {
        "Pod" => ("v1", ""),
        "PodTemplate" => ("v1", "template"),
        "Job" => ("batch/v1", "spec.template"),
        "CronJob" => ("batch/v1", "spec.jobTemplate.spec.template"),
        other => return fault("kind", Problem::Kind { kind: other.to_owned() }),
    };
    if let Some(found) = document.value.get("apiVersion").and_then(Value::as_str).filter(|found| *found != version) {
        let problem = Problem::ApiVersion { kind: kind.into(), found: found.into(), expected: version };
        return fault("apiVersion", problem);
    }
    let job = match kind {
        "Job" => Some(""),
        "CronJob" => Some("spec.jobTemplate."),
        _ => None,
    };
    let (total, mut unused) = job.map_or(Ok((None, Vec::new())), |job| job_of(document, job))?;
    if kind == "CronJob" {
        let cron = document.value.get("spec").and_then(Value::as_object);
        let others = cron.into_iter().flat_map(Map::keys).filter(|key| *key != "jobTemplate");
        unused.extend(others.map(|key| format!("spec.{key}")));
    }
    let prefix = if prefix.is_empty() { Path::default() } else { parsed(prefix) };
    let suspended = unused.iter().find(|path| is_suspension(document, path)).cloned();
    Ok(Found { pod: pod_at(document, &prefix), prefix, total, unused, suspended })
}

fn is_suspension(document: &Document, path: &str) -> bool {
    let pointer = format!("/{}", path.replace('.', "/"));
    path.ends_with("spec.suspend") && document.value.pointer(&pointer) == Some(&Value::Bool(true))
}

fn pod_at(document: &Document, prefix: &Path) -> Value {
    let pointer: String =
        prefix.to_string().split('.').filter(|part| !part.is_empty()).map(|part| format!("/{part}")).collect();
    let mut pod = document.value.pointer(&pointer).cloned().unwrap_or_else(|| json!({}));
    let Some(map) = pod.as_object_mut() else { return pod };
    map.remove("status");
    map.insert("apiVersion".into(), "v1".into());
    map.insert("kind".into(), "Pod".into());
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.retain(|key, _| !SERVERS_OWN.contains(&key.as_str()));
        for key in ["name", "generateName", "namespace"] {
            if let Some(value) = document.value.pointer(&format!("/metadata/{key}")) {
                metadata.insert(key.into(), value.clone());
            }
        }
    }
    body::strip_marks(&mut pod);
    pod
}

/// Refuses what a task is not; else the total clock, and the fields that mean nothing to a task.
fn job_of(document: &Document, prefix: &str) -> Result<(Option<Duration>, Vec<String>), ManifestError> {
    let pointer = format!("/{}spec", prefix.replace('.', "/"));
    let Some(spec) = document.value.pointer(&pointer).and_then(Value::as_object) else { return Ok((None, Vec::new())) };
    typed(document, prefix, spec)?;
    for (field, asks, instead) in REFUSED {
        let Some(value) = spec.get(*field).filter(|value| asks(value)) else { continue };
        let problem = Problem::JobAsks { field, value: brief(value), instead };
        return Err(ManifestError::new(place(document, &format!("{prefix}spec.{field}")), problem));
    }
    let restart = spec.get("template").and_then(|template| template.pointer("/spec/restartPolicy"));
    if restart.and_then(Value::as_str) == Some("OnFailure") {
        let instead = "kpo makes a new pod instead of restarting a container: use Never, and --retries.";
        let problem = Problem::JobAsks { field: "restartPolicy", value: "OnFailure".into(), instead };
        return Err(ManifestError::new(place(document, &format!("{prefix}spec.template.spec.restartPolicy")), problem));
    }
    let total = spec.get("activeDeadlineSeconds").and_then(Value::as_u64).map(Duration::from_secs);
    let means_something = |key: &str| {
        ["template", "activeDeadlineSeconds", "completions", "parallelism", "completionMode"].contains(&key)
    };
    // No retries are what a task has by itself.
    let is_none = |key: &str, value: &Value| key == "backoffLimit" && (value.is_null() || value.as_u64() == Some(0));
    let unused = spec.iter().filter(|(key, value)| !means_something(key) && !is_none(key, value));
    Ok((total, unused.map(|(key, _)| format!("{prefix}spec.{key}")).collect()))
}

type Typed = (&'static str, &'static str, fn(&Value) -> bool);

/// The types of what is read of a Job (batch/v1 `JobSpec`).
const TYPED: &[Typed] = &[
    ("activeDeadlineSeconds", "a whole number of seconds", Value::is_u64),
    ("completions", "a whole number", Value::is_u64),
    ("parallelism", "a whole number", Value::is_u64),
    ("completionMode", "a text", Value::is_string),
    ("suspend", "a boolean", Value::is_boolean),
];

/// What is of another type would not be seen.
fn typed(document: &Document, prefix: &str, spec: &Map<String, Value>) -> Result<(), ManifestError> {
    for (field, expected, fits) in TYPED {
        let Some(value) = spec.get(*field).filter(|value| !value.is_null() && !fits(value)) else { continue };
        let path = format!("{prefix}spec.{field}");
        let quoted = value.as_str().is_some_and(|text| text.parse::<u64>().is_ok());
        let hint = if quoted { " Take off the quotes." } else { "" };
        let problem = Problem::Shape { path: path.clone(), expected, found: kind_of(value), hint };
        return Err(ManifestError::new(place(document, &path), problem));
    }
    Ok(())
}

type Refused = (&'static str, fn(&Value) -> bool, &'static str);

/// What a Job can ask that a task is not (batch/v1 `JobSpec`).
const REFUSED: &[Refused] = &[
    ("completions", above_one, "A task is one pod that ends once: start one task for each."),
    ("parallelism", above_one, "A task is one pod at a time: start one task for each."),
    ("completionMode", |value| value.as_str() == Some("Indexed"), "A task has no index: start one task for each."),
    ("podFailurePolicy", |value| !value.is_null(), "Use --rerun and --retries instead, and leave it out."),
    ("successPolicy", |value| !value.is_null(), "A task succeeds when its program does: leave it out."),
];

fn above_one(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 1.0)
}

fn brief(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "…".to_owned(),
    }
}

/// The place of a path given as text, or of the nearest of its parents.
fn place(document: &Document, path: &str) -> Place {
    let position = parsed(path).upwards().find_map(|path| document.position(&path));
    Place::new(&document.source, position)
}

/// A path that is written in this program.
pub(super) fn parsed(path: &str) -> Path {
    Path::parse(path).unwrap_or_default()
}
