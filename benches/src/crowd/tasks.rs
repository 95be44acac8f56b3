//! All tasks in one process, with one watch.

use crate::{Error, process, say};
use kpo::driver::{self, Running, TaskRequest, What};
use kpo::hook::ConnectOptions;
use kpo::manifest::{Request, Source, manifest};
use kpo::watch::{Watch, WatchOptions};
use kpo::{KubernetesHook, TaskEvent};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the process says of itself when all have ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Said {
    /// When each task was known to have succeeded.
    pub(super) known: BTreeMap<String, i64>,
    /// Nanoseconds of a core.
    pub(super) cpu: u64,
    /// Bytes of its largest resident set.
    pub(super) peak: u64,
}

/// Runs `count` tasks, the first `victims` of one manifest, the others of another.
pub(crate) async fn run(namespace: &str, count: &str, victims: &str, manifests: [&str; 2]) -> Result<(), Error> {
    let (count, victims) = (count.parse::<u64>()?, victims.parse::<u64>()?);
    let hook = KubernetesHook::connect(ConnectOptions::default()).await?;
    let watch = Watch::start(hook.requests().clone(), namespace, WatchOptions::default());
    let read = |path: &str| Ok::<_, Error>(Source { name: path.to_owned(), text: std::fs::read_to_string(path)? });
    let [victim, task] = [read(manifests[0])?, read(manifests[1])?];
    let mut running = Vec::new();
    for number in 0..count {
        let file = if number < victims { &victim } else { &task };
        let wanted = Request { file: Some(file.clone()), namespace: Some(namespace.to_owned()), ..Request::default() };
        let request = TaskRequest::new(&format!("t-{number}"), namespace, &manifest(wanted)?)?;
        running.push(driver::run_beside(&hook, &watch, request).ok_or("two tasks of one name")?);
    }
    let known = futures::future::try_join_all(running.into_iter().map(end)).await?.into_iter().flatten().collect();
    let cpu = u64::try_from(process::own_cpu().as_nanos())?;
    say(&serde_json::to_string(&Said { known, cpu, peak: process::own_size("VmHWM") })?);
    Ok(())
}

/// Follows a task to its end; when its success was known.
async fn end(mut task: Running) -> Result<Option<(String, i64)>, Error> {
    let mut known = None;
    while let Some(event) = task.next().await {
        match event.what {
            What::Task(TaskEvent::Ended { .. }) => known = Some(process::now()),
            What::Outcome(delivery) => {
                let outcome = delivery.taken();
                if outcome.verdict.as_deref() != Some("succeeded") {
                    return Err(format!("{}: {}", outcome.task, outcome.message).into());
                }
            }
            _ => {}
        }
    }
    Ok(known.map(|at| (task.spec().task.clone(), at)))
}
