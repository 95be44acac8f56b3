//! Many tasks in one process with one watch, until they wait, run or have ended; and as many bare streams of the same client.

use crate::{Error, heap, process, say};
use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kpo::driver::{self, Running, TaskRequest, What};
use kpo::hook::ConnectOptions;
use kpo::manifest::{Request, manifest};
use kpo::watch::{Watch, WatchOptions};
use kpo::{KubernetesHook, TaskEvent};
use kube::api::{Api, LogParams};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a process takes, and how much more than before it had anything to do.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// How many were at work.
    pub(crate) count: u64,
    /// Bytes of its values on the heap.
    pub(crate) heap: u64,
    /// Bytes of its resident set.
    pub(crate) resident: u64,
    /// Nanoseconds of a core.
    pub(crate) cpu: u64,
    /// File descriptors that it may have.
    pub(crate) descriptors: u64,
}

impl Taken {
    fn now(count: u64) -> Result<Self, Error> {
        Ok(Self {
            count,
            heap: heap::live() as u64,
            resident: process::own_size("VmRSS"),
            cpu: u64::try_from(process::own_cpu().as_nanos())?,
            descriptors: process::raise_descriptor_limit()?,
        })
    }

    fn since(self, before: &Taken) -> Self {
        let heap = self.heap.saturating_sub(before.heap);
        let resident = self.resident.saturating_sub(before.resident);
        Self { heap, resident, cpu: self.cpu - before.cpu, ..self }
    }
}

/// What a task is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It waits for a node that there is not.
    Waits,
    /// Its first line has come: its log is being followed.
    Talks,
    /// It has ended, and all is cleaned up.
    Ends,
}

/// Runs so many tasks, and prints what they take when all are there.
pub(crate) async fn run(count: &str, image: &str, until: &str) -> Result<(), Error> {
    let until = match until {
        "waits" => Until::Waits,
        "talks" => Until::Talks,
        _ => Until::Ends,
    };
    let count = count.parse::<u64>()?;
    let hook = connect(count).await?;
    let watch = Watch::start(hook.requests().clone(), "default", WatchOptions::default());
    hook.pods("default").list("none=none", kpo::request::Call::forever()).await?;
    let before = Taken::now(0)?;
    let mut tasks = Vec::new();
    for number in 0..count {
        let request = request(number, image, until)?;
        tasks.push(driver::run_beside(&hook, &watch, request).ok_or("two tasks of one name")?);
    }
    let reached = futures::future::try_join_all(tasks.into_iter().map(|task| reach(task, until))).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    say(&serde_json::to_string(&Taken::now(count)?.since(&before))?);
    drop(reached);
    Ok(())
}

/// With more tasks than the limit lets run at once, it would be the limit that is measured.
async fn connect(count: u64) -> Result<KubernetesHook, Error> {
    let mut options = ConnectOptions::default();
    if count > u64::from(options.requests.limit.burst) {
        options.requests.limit.per_second = 0;
    }
    Ok(KubernetesHook::connect(options).await?)
}

fn request(number: u64, image: &str, until: Until) -> Result<TaskRequest, Error> {
    let nowhere = (until == Until::Waits).then(|| "spec.nodeSelector.bench=never".to_owned());
    let wanted = Request { image: Some(image.to_owned()), set: nowhere.into_iter().collect(), ..Request::default() };
    Ok(TaskRequest::new(&format!("task-{number}"), "default", &manifest(wanted)?)?)
}

/// Follows a task until it is where it is wanted; it goes on being driven.
async fn reach(mut task: Running, until: Until) -> Result<Running, Error> {
    while let Some(event) = task.next().await {
        match event.what {
            What::Task(TaskEvent::Waiting { because: kpo::Because::Node { message: Some(_), .. }, .. })
                if until == Until::Waits =>
            {
                return Ok(task);
            }
            What::Log(_) if until == Until::Talks => return Ok(task),
            What::Outcome(delivery) if delivery.outcome().verdict.as_deref() == Some("succeeded") => {
                delivery.taken();
            }
            What::Outcome(delivery) => return Err(delivery.outcome().message.clone().into()),
            _ => {}
        }
    }
    if until == Until::Ends { Ok(task) } else { Err("a task ended too soon".into()) }
}

/// Follows the logs of all pods with the client as it is: what a connection takes, without kpo.
pub(crate) async fn bare_connections() -> Result<(), Error> {
    let hook = connect(u64::MAX).await?;
    let names = hook.pods("default").list("kpo.rs/task", kpo::request::Call::forever()).await?.items;
    let before = Taken::now(0)?;
    let pods: Api<Pod> = Api::namespaced(hook.client(), "default");
    let mut streams = Vec::new();
    for name in names.iter().filter_map(|pod| pod["metadata"]["name"].as_str()) {
        let mut lines = pods.log_stream(name, &LogParams { follow: true, ..LogParams::default() }).await?.lines();
        lines.next().await.ok_or("a log without a line")??;
        streams.push(lines);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    say(&serde_json::to_string(&Taken::now(streams.len() as u64)?.since(&before))?);
    Ok(())
}
