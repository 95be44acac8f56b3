//! One of the two worlds: it sends a sequence's requests, and remembers what it saw.

use super::normal::Names;
use super::steps::{Body, Step, marker};
use crate::Error;
use crate::target::Target;
use futures::AsyncBufReadExt;
use http::Request;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A watch that has not shown the marker by then has lost it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct World<'a> {
    target: &'a Target,
    namespace: &'a str,
    /// By name: the first version that was seen of it, and the last.
    seen: BTreeMap<String, (Value, Value)>,
    /// The version before the first step.
    began: String,
    /// The version and the token of the last list.
    list: (String, String),
    names: Names,
}

impl<'a> World<'a> {
    pub(super) fn of(namespace: &'a crate::Namespace<'a>) -> Self {
        let (target, namespace) = (namespace.target, namespace.name.as_str());
        let (began, list) = (String::new(), (String::new(), String::new()));
        Self { target, namespace, seen: BTreeMap::new(), began, list, names: Names::default() }
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// What each step was answered, and what each watch showed in the meantime: the same in both worlds.
    pub(super) async fn play(&mut self, steps: &[Step], watches: &[String]) -> Result<Vec<Value>, Error> {
        self.began = self.get("pods").await?["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        self.list.0.clone_from(&self.began);
        let mut told = Vec::new();
        for step in steps.iter().chain([&marker()]) {
            let answer = self.send(step).await?;
            told.push(self.names.same(&answer));
        }
        for watch in watches {
            let events = self.watch(watch).await?;
            told.extend(events.iter().map(|event| self.names.same(event)));
        }
        self.clean().await?;
        Ok(told)
    }

    async fn get(&self, rest: &str) -> Result<Value, Error> {
        Ok(self.target.client.request(Request::get(self.path(rest)).body(Vec::new())?).await?)
    }

    async fn send(&mut self, step: &Step) -> Result<Value, Error> {
        let about = step.path.trim_start_matches("pods/").split(['/', '?']).next().unwrap_or_default();
        let body = match &step.body {
            Body::None => Vec::new(),
            Body::Given(body) => serde_json::to_vec(&self.filled(about, body))?,
            Body::Seen(name, change) => {
                let mut pod =
                    self.seen.get(name).map_or_else(|| json!({"metadata": {"name": name}}), |seen| seen.1.clone());
                merge(&mut pod, &self.filled(name, change));
                serde_json::to_vec(&pod)?
            }
        };
        let request = Request::builder()
            .method(step.method)
            .uri(self.path(&self.filled_path(&step.path)))
            .header("content-type", step.content);
        let response = self.target.client.send(request.body(body.into())?).await?;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        // What is only tried on creation has no version but the one that was sent.
        if step.method != "POST" || !step.path.contains("dryRun") {
            self.remember(&answer);
        }
        Ok(json!({"code": code, "answer": answer}))
    }

    fn remember(&mut self, answer: &Value) {
        if answer["items"].is_array() {
            let text = |field: &str| answer["metadata"][field].as_str().unwrap_or_default().to_owned();
            self.list = (text("resourceVersion"), text("continue"));
        }
        let pods = answer["items"].as_array().cloned().unwrap_or_else(|| vec![answer.clone()]);
        for pod in pods.into_iter().filter(|pod| pod["spec"].is_object()) {
            let Some(name) = pod["metadata"]["name"].as_str().map(str::to_owned) else { continue };
            self.seen.entry(name).and_modify(|seen| seen.1 = pod.clone()).or_insert((pod.clone(), pod));
        }
    }

    /// A path with its placeholders filled in.
    fn filled_path(&self, path: &str) -> String {
        let mut path =
            path.replace("$began", &self.began).replace("$list", &self.list.0).replace("$continue", &self.list.1);
        for word in ["$first-version", "$version"] {
            while let Some(at) = path.find(&format!("{word}:")) {
                let end = at + word.len() + ":a".len();
                let version = self.known(&path[at + word.len() + 1..end], word).unwrap_or_else(|| self.began.clone());
                path.replace_range(at..end, &version);
            }
        }
        path
    }

    /// What a placeholder stands for, of a pod that was seen.
    fn known(&self, name: &str, placeholder: &str) -> Option<String> {
        let (first, last) = self.seen.get(name)?;
        let (pod, field) = match placeholder {
            "$uid" => (last, "uid"),
            "$version" => (last, "resourceVersion"),
            _ => (first, "resourceVersion"),
        };
        pod["metadata"][field].as_str().map(str::to_owned)
    }

    /// The value with its placeholders filled in.
    fn filled(&self, name: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => match text.as_str() {
                "$uid" => self.known(name, text).unwrap_or_else(|| "unknown".to_owned()).into(),
                "$version" | "$first-version" => self.known(name, text).unwrap_or_else(|| "1".to_owned()).into(),
                "$now" => jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
                _ => value.clone(),
            },
            Value::Array(all) => all.iter().map(|one| self.filled(name, one)).collect(),
            Value::Object(all) => {
                Value::Object(all.iter().map(|(key, one)| (key.clone(), self.filled(name, one))).collect())
            }
            _ => value.clone(),
        }
    }

    /// The events to the marker's, or to the end of the initial ones where these are asked for. Bookmarks come by the clock: only the one
    /// at that end counts.
    async fn watch(&self, query: &str) -> Result<Vec<Value>, Error> {
        let path = self.path(&format!("pods?watch=true&timeoutSeconds=60&{}", self.filled_path(query)));
        let stream = self.target.client.request_stream(Request::get(path).body(Vec::new())?).await?;
        let mut stream = std::pin::pin!(stream);
        let mut lines = stream.as_mut().lines();
        let mut events = Vec::new();
        loop {
            let line = tokio::time::timeout(PATIENCE, futures::StreamExt::next(&mut lines)).await;
            let line = line.map_err(|_| format!("the watch {query:?} does not show the marker"))?;
            let event: Value = serde_json::from_str(&line.ok_or("the watch ended early")??)?;
            let metadata = &event["object"]["metadata"];
            let is_end = metadata["annotations"]["k8s.io/initial-events-end"] == "true";
            if event["type"] == "BOOKMARK" && !is_end {
                continue;
            }
            let is_last =
                is_end || event["type"] == "ERROR" || metadata["name"] == "z" && !query.contains("sendInitialEvents");
            events.push(event);
            if is_last {
                return Ok(events);
            }
        }
    }

    /// Leaves an empty namespace.
    pub(super) async fn clean(&self) -> Result<(), Error> {
        let list = self.get("pods").await?;
        for pod in list["items"].as_array().into_iter().flatten() {
            let path = self.path(&format!("pods/{}", pod["metadata"]["name"].as_str().unwrap_or_default()));
            let free = Request::patch(&path).header("content-type", "application/merge-patch+json");
            let nothing = json!({"metadata": {"finalizers": null}}).to_string();
            self.target.client.send(free.body(nothing.into_bytes().into())?).await?;
            let delete = Request::delete(&path).header("content-type", "application/json");
            let at_once = json!({"gracePeriodSeconds": 0}).to_string();
            self.target.client.send(delete.body(at_once.into_bytes().into())?).await?;
        }
        match self.get("pods").await?["items"].as_array() {
            Some(left) if !left.is_empty() => Err("pods are left behind".into()),
            _ => Ok(()),
        }
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return *target = patch.clone() };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().expect("made one").remove(key)),
            value => merge(&mut target[key], value),
        }
    }
}
