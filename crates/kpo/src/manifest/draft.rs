//! A pod on its way from the user's file and flags to a manifest.

use super::document::{Document, scalar};
use super::error::{ManifestError, Place, Problem};
use super::kind::{self, Found, parsed};
use super::path::{Path, Step};
use super::{Request, left_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How the own container is called where no manifest names one (as upstream's operator calls it).
const BASE: &str = "base";

pub(super) struct Draft {
    pub(super) document: Option<Document>,
    prefix: Path,
    /// The flag that wrote each path.
    flags: BTreeMap<Path, String>,
    pub(super) pod: Value,
    pub(super) total: Option<Duration>,
    pub(super) unused: Vec<String>,
    pub(super) suspended: Option<String>,
}

impl Draft {
    /// Reads the file, or begins with an empty pod for `--image`.
    pub(super) fn new(request: &Request) -> Result<Self, ManifestError> {
        let document = request.file.clone().map(Document::parse).transpose()?;
        let found = match &document {
            Some(document) => kind::find(document)?,
            None if request.image.is_none() && request.set.is_empty() => {
                return Err(ManifestError::new(Place::default(), Problem::Nothing));
            }
            None => empty(),
        };
        let Found { prefix, pod, total, unused, suspended } = found;
        Ok(Self { document, prefix, flags: BTreeMap::new(), pod, total, unused, suspended })
    }

    /// Applies `--image`, `--env`, the command, and last `--set`.
    pub(super) fn apply(&mut self, request: &Request) -> Result<(), ManifestError> {
        if let Some(name) = &request.name {
            self.write("--name", &parsed("metadata.name"), name.as_str().into())?;
        }
        if let Some(flag) = makes_a_container(request).filter(|_| self.containers().is_empty()) {
            let name = request.container.as_deref().unwrap_or(BASE);
            self.write(flag, &parsed("spec.containers[0].name"), name.into())?;
        }
        let own = self.own_container(request.container.as_deref()).map(|index| parsed("spec.containers").index(index));
        if let Some(own) = own {
            self.apply_to(&own, request)?;
        }
        request.set.iter().try_for_each(|assignment| self.assign(assignment))
    }

    fn apply_to(&mut self, own: &Path, request: &Request) -> Result<(), ManifestError> {
        if let Some(image) = &request.image {
            self.write("--image", &own.key("image"), image.as_str().into())?;
        }
        if !request.args.is_empty() {
            let field = if request.command { "command" } else { "args" };
            self.write("--", &own.key(field), json!(request.args))?;
        }
        if request.command {
            self.remove(own, "args");
        }
        request.env.iter().try_for_each(|variable| self.set_env(own, variable))
    }

    fn set_env(&mut self, own: &Path, variable: &str) -> Result<(), ManifestError> {
        let (name, value) = variable.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            ManifestError::new(
                Place::flag("--env"),
                Problem::Assignment { what: "the name or the '='", example: "--env NAME=VALUE" },
            )
        })?;
        let env = own.key("env");
        let list = self.get(&env).and_then(Value::as_array);
        let known =
            list.and_then(|list| list.iter().position(|entry| entry.get("name").and_then(Value::as_str) == Some(name)));
        let index = known.unwrap_or_else(|| list.map_or(0, Vec::len));
        self.write(&format!("--env {name}"), &env.index(index), json!({"name": name, "value": value}))
    }

    fn assign(&mut self, assignment: &str) -> Result<(), ManifestError> {
        let flag = format!("--set {}", left_of(assignment));
        let fault = |problem| ManifestError::new(Place::flag(&flag), problem);
        let (written, value) = split_assignment(assignment).ok_or_else(|| {
            fault(Problem::Assignment { what: "the '='", example: "--set spec.nodeSelector.disk=ssd" })
        })?;
        let path = Path::parse(written).map_err(|error| fault(Problem::Path { path: written.to_owned(), error }))?;
        let path = rooted(path);
        let value = scalar(value).ok_or_else(|| fault(Problem::Value))?;
        let flag = format!("--set {written}");
        self.write(&flag, &path, value)
    }

    fn write(&mut self, flag: &str, path: &Path, value: Value) -> Result<(), ManifestError> {
        let written = path
            .set(&mut self.pod, value)
            .map_err(|error| ManifestError::new(Place::flag(flag), Problem::Path { path: path.to_string(), error }))?;
        self.flags.insert(written, flag.to_owned());
        Ok(())
    }

    /// Takes an entry off a container: a command that replaces the image's entrypoint replaces the arguments that were meant for it.
    fn remove(&mut self, container: &Path, key: &str) {
        let Some(Step::Index(index)) = container.0.last() else { return };
        let found = self.pod.pointer_mut(&format!("/spec/containers/{index}")).and_then(Value::as_object_mut);
        if let Some(container) = found {
            container.remove(key);
        }
    }

    /// The value at a path without searches.
    pub(super) fn get(&self, path: &Path) -> Option<&Value> {
        path.0.iter().try_fold(&self.pod, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
            Step::Where(..) => None,
        })
    }

    fn containers(&self) -> &[Value] {
        self.get(&parsed("spec.containers")).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The index of the task's own container: the one asked for, else the annotated one, else `base`, else the first.
    pub(super) fn own_container(&self, asked: Option<&str>) -> Option<usize> {
        let named =
            |name: &str| self.containers().iter().position(|c| c.get("name").and_then(Value::as_str) == Some(name));
        match asked.or_else(|| self.annotated()) {
            Some(name) => named(name),
            None => named(BASE).or_else(|| (!self.containers().is_empty()).then_some(0)),
        }
    }

    /// The container that the manifest's annotation names.
    pub(super) fn annotated(&self) -> Option<&str> {
        let annotations = parsed("metadata.annotations");
        self.get(&annotations.key(kpo_core::marks::DEFAULT_CONTAINER)).and_then(Value::as_str)
    }

    /// Where a path was written: a flag, a line of the file, or the nearest of its parents.
    pub(super) fn place(&self, path: &Path) -> Place {
        for path in path.upwards() {
            if let Some(flag) = self.flags.get(&path) {
                return Place::flag(flag);
            }
            if let Some(position) = self.position(&path) {
                return position;
            }
        }
        self.document.as_ref().map_or_else(Place::default, |document| Place::new(&document.source, None))
    }

    fn position(&self, path: &Path) -> Option<Place> {
        let document = self.document.as_ref()?;
        let outer = ["metadata.name", "metadata.generateName", "metadata.namespace"].map(parsed).contains(path);
        let path = if outer { path.clone() } else { path.under(&self.prefix) };
        document.position(&path).map(|position| Place::new(&document.source, Some(position)))
    }
}

/// The flag that makes a container where there is none yet: `--set`, which comes last, may give it its image.
fn makes_a_container(request: &Request) -> Option<&'static str> {
    let flags =
        [("--image", request.image.is_some()), ("--", !request.args.is_empty()), ("--env", !request.env.is_empty())];
    flags.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
}

fn empty() -> Found {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": []}});
    Found { prefix: Path::default(), pod, total: None, unused: Vec::new(), suspended: None }
}

/// Splits at the first `=` that stands neither in brackets nor in quotes.
fn split_assignment(text: &str) -> Option<(&str, &str)> {
    let (mut bracket, mut quoted) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !bracket => quoted = !quoted,
            '[' if !quoted => bracket = true,
            ']' if !quoted => bracket = false,
            '=' if !bracket && !quoted => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// `containers[0].image` is `spec.containers[0].image`: at its root a pod has only four entries.
fn rooted(path: Path) -> Path {
    match path.0.first() {
        Some(Step::Key(key)) if !["apiVersion", "kind", "metadata", "spec"].contains(&key.as_str()) => {
            path.under(&parsed("spec"))
        }
        _ => path,
    }
}
