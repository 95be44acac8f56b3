//! The embedded cluster, for `kpo lab` and `kpo run --lab`.

use crate::error::{CliError, ErrorKind};
use crate::retries::Retries;
use kpo::KubernetesHook;
use kpo::hook::{ConnectOptions, Source};
use kpo::manifest::Manifest;
use kpo::request::RequestOptions;
use kpo_lab::{Lab, LiveError, World, script};
use serde_json::Value;
use std::path::Path;
use tokio::sync::mpsc;

/// A cluster that ends with this value.
pub(crate) type RunningLab = Lab<World>;

/// Starts a cluster: `quiet`, `preemption`, or what a script's file says; and tells what of that comes to nothing.
pub(crate) async fn start(script: &str) -> Result<(RunningLab, Refusals), CliError> {
    let script = read(script)?;
    let (tell, told) = mpsc::unbounded_channel();
    // Nobody listens any more: the command is at its end.
    let lab = Lab::live(&script, move |why| drop(tell.send(why.to_owned()))).await.map_err(|error| match error {
        LiveError::Refused(_) => CliError::input(error.to_string()),
        error => CliError::because(ErrorKind::Local, "the lab cannot start", &error),
    })?;
    Ok((lab, Refusals(told)))
}

/// What of a lab's script comes to nothing, and why.
pub(crate) struct Refusals(mpsc::UnboundedReceiver<String>);

impl Refusals {
    /// The next one, as it is said. Cancel safe. After the last: never.
    pub(crate) async fn next(&mut self) -> String {
        match self.0.recv().await {
            Some(why) => format!("the lab's script, {why}"),
            None => std::future::pending().await,
        }
    }
}

/// In a lab that no script fills with life, a container without command and arguments can never start: said before anything is made.
pub(crate) fn demand_programs(script: &str, manifest: &Manifest) -> Result<(), CliError> {
    let has = |container: &Value, key: &str| container[key].as_array().is_some_and(|words| !words.is_empty());
    let lists = ["initContainers", "containers"].map(|key| &manifest.pod["spec"][key]);
    let mut containers = lists.into_iter().filter_map(Value::as_array).flatten();
    let idle = containers.find(|container| !has(container, "command") && !has(container, "args"));
    let Some(idle) = idle.filter(|_| script::built_in(script).is_some()) else { return Ok(()) };
    let name = idle["name"].as_str().unwrap_or_default();
    Err(CliError::input(format!("container {name:?} has no command, and in the lab images are only names"))
        .hint("Say what it shall run: kpo run --lab --image busybox -- echo hello"))
}

fn read(name: &str) -> Result<script::Script, CliError> {
    if let Some(script) = script::built_in(name) {
        return Ok(script);
    }
    let path = Path::new(name);
    let source = crate::files::read_source(path).map_err(|error| {
        error.hint(format!("The lab brings along: {}. To write one: kpo help scripts", script::NAMES.join(", ")))
    })?;
    script::parse_scenario(&source.text)
        .map_err(|error| CliError::input(format!("{name}:{error}")).hint("All that can be written: kpo help scripts"))
}

/// Connects to it as to any cluster.
pub(crate) async fn connect(lab: &RunningLab) -> Result<(KubernetesHook, Retries), CliError> {
    let (observer, retries) = Retries::channel();
    let requests = RequestOptions { observer: Some(observer), ..RequestOptions::default() };
    let source = Source::Text(lab.kubeconfig().unwrap_or_default());
    let options = ConnectOptions { source, requests, ..ConnectOptions::default() };
    Ok((KubernetesHook::connect(options).await?, retries))
}
