//! Plays a cause on a real cluster of one node and writes down what the watches of pods and events show: the recordings by which the core's verdicts
//! and the lab's writes are judged. Their form: `crates/kpo-core/tests/recordings/README.md`.

mod causes;
mod stage;

use crate::target::Target;
use crate::{Error, Namespace, say};
use causes::{CAUSES, Cause};
use futures::StreamExt;
use http::Request;
use kube::core::WatchEvent;
use serde_json::{Value, json};
use stage::Stage;
use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

/// What still comes when a cause has had its effect.
const AFTER: Duration = Duration::from_secs(2);
/// No cause takes longer.
const LIMIT: Duration = Duration::from_secs(400);

/// Records the causes of these names (none: all) into files of a folder; how many could not be.
pub(crate) async fn record(kpo: &str, kubeconfig: &str, folder: &str, names: &[&str]) -> Result<usize, Error> {
    let target = Target::open(kpo, kubeconfig).await?;
    if let Some(unknown) = names.iter().find(|name| CAUSES.iter().all(|cause| cause.name != **name)) {
        let known: Vec<&str> = CAUSES.iter().map(|cause| cause.name).collect();
        return Err(format!("there is no cause {unknown}; there are {}", known.join(", ")).into());
    }
    let mut failed = 0;
    for cause in CAUSES.iter().filter(|cause| names.is_empty() || names.contains(&cause.name)) {
        let began = Instant::now();
        let played = tokio::time::timeout(LIMIT, one(&target, cause)).await;
        match played.unwrap_or_else(|_| Err(format!("not done after {} s", LIMIT.as_secs()).into())) {
            Ok(lines) => {
                let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
                std::fs::write(Path::new(folder).join(format!("{}.jsonl", cause.name)), text)?;
                say(&format!("{:7.1} s  {:3} lines  {}", began.elapsed().as_secs_f64(), lines.len(), cause.name));
            }
            Err(error) => {
                failed += 1;
                say(&format!("{:7.1} s  FAILED     {}: {error}", began.elapsed().as_secs_f64(), cause.name));
            }
        }
    }
    Ok(failed)
}

/// Plays one, in a namespace of its own; what was seen meanwhile.
async fn one(target: &Target, cause: &Cause) -> Result<Vec<Value>, Error> {
    let namespace = Namespace::named(target, &format!("rec-{}", cause.name.replace('_', "-"))).await?;
    let stage = Stage::set(&namespace).await?;
    let lines = RefCell::new(Vec::new());
    // Known before anything happens: nothing that does is missed.
    let (pods, events) = (version(&namespace, "pods").await?, version(&namespace, "events").await?);
    let began = Instant::now();
    let watches = async {
        let pods = watch(&namespace, ("Pod", "pods", &pods), began, &lines);
        let events = watch(&namespace, ("Event", "events", &events), began, &lines);
        futures::future::try_join(pods, events).await
    };
    let play = async {
        let played = (cause.play)(&stage).await;
        stage.is_well().await?;
        played?;
        tokio::time::sleep(AFTER).await;
        Ok::<_, Error>(())
    };
    let played = tokio::select! {
        played = play => played,
        ended = watches => Err(ended.map_or_else(|error| error, |_| "a watch has ended".into())),
    };
    if played.is_err() {
        stage.mend().await?;
    }
    let cleared = stage.clear().await;
    played?;
    cleared?;
    Ok(lines.take())
}

async fn version(namespace: &Namespace<'_>, resource: &str) -> Result<String, Error> {
    let list = namespace.get(&namespace.path(resource)).await?;
    Ok(list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned())
}

/// Writes down what a watch shows from a version on.
async fn watch(
    namespace: &Namespace<'_>,
    (kind, resource, version): (&str, &str, &str),
    began: Instant,
    lines: &RefCell<Vec<Value>>,
) -> Result<(), Error> {
    let path = namespace.path(&format!("{resource}?watch=true&timeoutSeconds=3000&resourceVersion={version}"));
    let request = Request::get(path).body(Vec::new())?;
    let mut events = Box::pin(namespace.target.patient.request_events::<Value>(request).await?);
    while let Some(event) = events.next().await {
        let (change, object) = match event? {
            WatchEvent::Added(object) => ("ADDED", object),
            WatchEvent::Modified(object) => ("MODIFIED", object),
            WatchEvent::Deleted(object) => ("DELETED", object),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => return Err(format!("the watch of {resource}: {status:?}").into()),
        };
        let at = (began.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        lines.borrow_mut().push(json!({"t": at, "kind": kind, "type": change, "object": object}));
    }
    Ok(())
}
