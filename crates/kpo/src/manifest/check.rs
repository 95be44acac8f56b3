//! What can be checked without a cluster, each fault with its place.

use super::draft::Draft;
use super::error::{ManifestError, Place, Problem};
use super::kind::parsed;
use super::path::Path;
use super::{Manifest, Request, name};
use serde_json::Value;
use std::collections::BTreeSet;

/// Checks the draft and makes a manifest of it.
pub(super) fn finish(draft: &Draft, request: &Request) -> Result<Manifest, ManifestError> {
    let names = names(draft, request)?;
    for path in ["metadata.labels", "metadata.annotations", "spec.nodeSelector"] {
        texts_of_map(draft, &parsed(path))?;
    }
    restart_policy(draft)?;
    let counted = all_containers(draft)?;
    let container = own_container(draft, request)?;
    Ok(Manifest {
        name: names.name,
        generate_name: names.generate_name,
        namespace: names.namespace,
        pod: without_null_policy(draft.pod.clone()),
        container,
        counted,
        grace_seconds: seconds(draft, "spec.terminationGracePeriodSeconds")?.unwrap_or(30),
        active_deadline_seconds: seconds(draft, "spec.activeDeadlineSeconds")?,
        total: draft.total,
        unused: draft.unused.clone(),
        suspended: draft.suspended.clone(),
    })
}

struct Names {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
}

fn names(draft: &Draft, request: &Request) -> Result<Names, ManifestError> {
    shaped(draft, &parsed("metadata"), Shape::Map)?;
    let own = text(draft, "metadata.name")?;
    if let Some(own) = &own {
        name::task(own).map_err(|problem| at(draft, &parsed("metadata.name"), problem))?;
    }
    let namespace = text(draft, "metadata.namespace")?;
    if let Some(flag) = &request.namespace {
        name::namespace(flag).map_err(|problem| ManifestError::new(Place::flag("--namespace"), problem))?;
    }
    if let Some(own) = &namespace {
        let path = parsed("metadata.namespace");
        name::namespace(own).map_err(|problem| at(draft, &path, problem))?;
        if let Some(flag) = request.namespace.as_ref().filter(|flag| *flag != own) {
            return Err(at(draft, &path, Problem::Namespace { manifest: own.clone(), flag: flag.clone() }));
        }
    }
    let generate_name = text(draft, "metadata.generateName")?;
    Ok(Names { name: own, generate_name, namespace: request.namespace.clone().or(namespace) })
}

fn restart_policy(draft: &Draft) -> Result<(), ManifestError> {
    let path = parsed("spec.restartPolicy");
    match draft.get(&path) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(value)) if value == "Never" => Ok(()),
        Some(value) => {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Err(at(draft, &path, Problem::RestartPolicy { value }))
        }
    }
}

/// A restart policy of null is none: what is added on the way out must not take it for one.
fn without_null_policy(mut pod: Value) -> Value {
    if let Some(spec) = pod
        .get_mut("spec")
        .and_then(Value::as_object_mut)
        .filter(|spec| spec.get("restartPolicy") == Some(&Value::Null))
    {
        spec.remove("restartPolicy");
    }
    pod
}

fn all_containers(draft: &Draft) -> Result<Vec<String>, ManifestError> {
    let (init, main) = (parsed("spec.initContainers"), parsed("spec.containers"));
    shaped(draft, &parsed("spec"), Shape::Map)?;
    if list(draft, &main)?.is_empty() {
        return Err(at(draft, &main, Problem::NoContainers));
    }
    let mut seen = BTreeSet::new();
    let mut counted = Vec::new();
    for (path, restarts) in [(init, SIDECAR), (main, NEVER)] {
        for index in 0..list(draft, &path)?.len() {
            let path = path.index(index);
            let own = container(draft, &path)?;
            runs_once(draft, &path, &own, restarts)?;
            unattended(draft, &path, &own)?;
            if !seen.insert(own.clone()) {
                return Err(at(draft, &path.key("name"), Problem::SameName { name: own }));
            }
            counted.push(own);
        }
    }
    Ok(counted)
}

fn container(draft: &Draft, path: &Path) -> Result<String, ManifestError> {
    shaped(draft, path, Shape::Map)?;
    let name_path = path.key("name");
    let own = shaped(draft, &name_path, Shape::Text)?.and_then(Value::as_str);
    let own = own.ok_or_else(|| at(draft, &name_path, Problem::NoContainerName))?;
    name::container(own).map_err(|problem| at(draft, &name_path, problem))?;
    let image = shaped(draft, &path.key("image"), Shape::Text)?.and_then(Value::as_str).unwrap_or_default();
    if image.trim().is_empty() {
        return Err(at(draft, &path.key("image"), Problem::NoImage { container: own.to_owned() }));
    }
    for field in ["command", "args"] {
        let path = path.key(field);
        (0..list(draft, &path)?.len())
            .try_for_each(|index| shaped(draft, &path.index(index), Shape::Text).map(drop))?;
    }
    let env = path.key("env");
    (0..list(draft, &env)?.len())
        .try_for_each(|index| shaped(draft, &env.index(index).key("value"), Shape::Text).map(drop))?;
    Ok(own.to_owned())
}

/// Restart policies of its own that a container may have: on an init container `Always` makes it a native sidecar (KEP-753).
const NEVER: &[&str] = &["Never"];
const SIDECAR: &[&str] = &["Never", "Always"];

/// A kubelet that starts a container again would run the task twice (KEP-5307).
fn runs_once(draft: &Draft, path: &Path, own: &str, allowed: &'static [&'static str]) -> Result<(), ManifestError> {
    let container = || own.to_owned();
    let policy = path.key("restartPolicy");
    let value = shaped(draft, &policy, Shape::Text)?.and_then(Value::as_str);
    if let Some(value) = value.filter(|value| !allowed.contains(value)) {
        let sidecar = if allowed == SIDECAR { ", Always for a native sidecar" } else { "" };
        let problem = Problem::ContainerRestarts { container: container(), value: value.to_owned(), sidecar };
        return Err(at(draft, &policy, problem));
    }
    let rules = path.key("restartPolicyRules");
    if !list(draft, &rules)?.is_empty() {
        return Err(at(draft, &rules, Problem::RestartRules { container: container() }));
    }
    Ok(())
}

fn unattended(draft: &Draft, path: &Path, own: &str) -> Result<(), ManifestError> {
    let asks = |field: &&str| draft.get(&path.key(field)) == Some(&Value::Bool(true));
    match ["stdin", "tty"].into_iter().find(asks) {
        Some(field) => Err(at(draft, &path.key(field), Problem::Attended { container: own.to_owned(), field })),
        None => Ok(()),
    }
}

fn own_container(draft: &Draft, request: &Request) -> Result<String, ManifestError> {
    let containers = parsed("spec.containers");
    let name_of = |index| draft.get(&containers.index(index).key("name")).and_then(Value::as_str).map(str::to_owned);
    if let Some(own) = draft.own_container(request.container.as_deref()).and_then(name_of) {
        return Ok(own);
    }
    let known: Vec<String> = (0..list(draft, &containers)?.len()).filter_map(name_of).collect();
    let (place, asked) = match &request.container {
        Some(asked) => (Place::flag("--container"), asked.as_str()),
        None => {
            let path = parsed("metadata.annotations").key(kpo_core::marks::DEFAULT_CONTAINER);
            (draft.place(&path), draft.annotated().unwrap_or_default())
        }
    };
    Err(ManifestError::new(place, Problem::UnknownContainer { name: asked.to_owned(), known: known.join(", ") }))
}

fn seconds(draft: &Draft, path: &str) -> Result<Option<u32>, ManifestError> {
    let parsed = parsed(path);
    match draft.get(&parsed) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|seconds| u32::try_from(seconds).ok()) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(at(draft, &parsed, Shape::Seconds.fault(path, value))),
        },
    }
}

fn texts_of_map(draft: &Draft, path: &Path) -> Result<(), ManifestError> {
    let map = shaped(draft, path, Shape::Map)?.and_then(Value::as_object);
    map.into_iter()
        .flat_map(serde_json::Map::keys)
        .try_for_each(|key| shaped(draft, &path.key(key), Shape::Text).map(drop))
}

fn text(draft: &Draft, path: &str) -> Result<Option<String>, ManifestError> {
    Ok(shaped(draft, &parsed(path), Shape::Text)?.and_then(Value::as_str).map(str::to_owned))
}

fn list<'d>(draft: &'d Draft, path: &Path) -> Result<&'d [Value], ManifestError> {
    Ok(shaped(draft, path, Shape::List)?.and_then(Value::as_array).map_or(&[], Vec::as_slice))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Map,
    List,
    Text,
    Seconds,
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match self {
            Shape::Map => value.is_object(),
            Shape::List => value.is_array(),
            Shape::Text => value.is_string(),
            Shape::Seconds => value.is_u64(),
        }
    }

    fn fault(self, path: &str, value: &Value) -> Problem {
        let expected = match self {
            Shape::Map => "a map",
            Shape::List => "a list",
            Shape::Text => "a text",
            Shape::Seconds => "a whole number of seconds",
        };
        let is_scalar = matches!(value, Value::Bool(_) | Value::Number(_));
        let hint = if self == Shape::Text && is_scalar { " Put it in quotes." } else { "" };
        Problem::Shape { path: path.to_owned(), expected, found: kind_of(value), hint }
    }
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// The value at that path, if it is there (null is not) and has that shape.
fn shaped<'d>(draft: &'d Draft, path: &Path, shape: Shape) -> Result<Option<&'d Value>, ManifestError> {
    match draft.get(path) {
        None | Some(Value::Null) => Ok(None),
        Some(value) if shape.fits(value) => Ok(Some(value)),
        Some(value) => Err(at(draft, path, shape.fault(&path.to_string(), value))),
    }
}

fn at(draft: &Draft, path: &Path, problem: Problem) -> ManifestError {
    ManifestError::new(draft.place(path), problem)
}
