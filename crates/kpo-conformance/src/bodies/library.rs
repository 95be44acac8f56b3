//! What the command line has no flag for, by the library: a pod with a name of the user's, and tasks beside others, all seen by one watch by label.

use super::preempted::SUCCEEDED;
use super::{WAITS_FOR_SETTINGS, is_running, is_waiting};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::Ended;
use crate::container;
use crate::ledger::Ledger;
use kpo::Naming;
use kpo::driver::{self, Running, TaskRequest, What};
use kpo::hook::{ConnectOptions, KubernetesHook, Source};
use kpo::manifest::{Request, manifest};
use kpo::watch::{Watch, WatchOptions};
use serde_json::{Value, json};

/// What these arguments of `run` ask for.
fn request(namespace: &str, arguments: Vec<String>) -> Result<TaskRequest, Error> {
    let mut request = Request { command: true, ..Request::default() };
    let mut arguments = arguments.into_iter();
    while let Some(flag) = arguments.next() {
        match flag.as_str() {
            "--image" => request.image = arguments.next(),
            "--name" => request.name = arguments.next(),
            "--set" => request.set.extend(arguments.next()),
            "--command" => (),
            "--" => request.args = arguments.by_ref().collect(),
            other => return Err(format!("the library's bodies do not know {other}").into()),
        }
    }
    let task = request.name.clone().ok_or("a task has a name")?;
    Ok(TaskRequest::new(&task, namespace, &manifest(request)?)?)
}

impl Namespace<'_> {
    async fn hook(&self) -> Result<KubernetesHook, Error> {
        let source = Source::File(self.kubeconfig().to_owned());
        Ok(KubernetesHook::connect(ConnectOptions { source, ..ConnectOptions::default() }).await?)
    }
}

/// What it came to, as the command line would print it.
async fn ended(mut running: Running) -> Result<Ended, Error> {
    let mut ended = Err("no outcome came".into());
    while let Some(event) = running.next().await {
        if let What::Outcome(delivery) = event.what {
            let outcome = delivery.outcome();
            let stdout = serde_json::to_string(outcome)?;
            ended = Ok(Ended { code: outcome.exit_code, stdout, stderr: String::new() });
            delivery.taken();
        }
    }
    ended
}

/// The pod is called as the user said: its successor waits until it is gone.
pub(super) async fn fixed_name(namespace: &Namespace<'_>) -> Result<(), Error> {
    let run = container::run("mine", &["--set", WAITS_FOR_SETTINGS], "echo hello");
    let mut request = request(&namespace.name, run)?;
    request.spec.naming = Naming::Fixed;
    let task = ended(driver::run(&namespace.hook().await?, request));
    let story = async {
        let first = namespace.pod("mine", "waits for its settings", is_waiting).await?;
        namespace.evict("mine").await?;
        let is_another = |pod: &Value| pod["metadata"]["uid"] != first["metadata"]["uid"];
        namespace.pod("mine", "is another", is_another).await?;
        namespace.give_settings().await
    };
    let (ended, ()) = futures::future::try_join(task, story).await?;
    ended.exits(0)?.came_to(&["disrupted eviction never evicted", SUCCEEDED])?;
    namespace.is_empty().await
}

/// Somebody takes kpo's label off one's pod, which a watch by label shows as a deletion, and gives another's to a pod of his own: each task goes on to its
/// end, and the pod is left alone.
pub(super) async fn beside_others(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let hook = namespace.hook().await?;
    let watch = Watch::start(hook.requests().clone(), &namespace.name, WatchOptions::default());
    let run = |task: &str| {
        let run = ledger.run(task, &[], "until [ -e /ledger/stop ]; do sleep 0.1; done");
        let running = driver::run_beside(&hook, &watch, request(&namespace.name, run)?);
        Ok::<_, Error>(ended(running.ok_or("another task of that id is watched")?))
    };
    let story = async {
        for pod in ["stripped-1", "crowded-1"] {
            namespace.pod(pod, "runs", is_running).await?;
        }
        let uid = namespace.somebodys("other").await?;
        namespace.label("other", json!("crowded")).await?;
        namespace.label("stripped-1", Value::Null).await?;
        namespace.pod("other", "runs", is_running).await?;
        ledger.allow("stop")?;
        Ok(uid)
    };
    let (stripped, crowded, uid) = futures::future::try_join3(run("stripped")?, run("crowded")?, story).await?;
    for (task, ended) in [("stripped", stripped), ("crowded", crowded)] {
        ended.exits(0)?.came_to(&[SUCCEEDED])?;
        ledger.shows(task, &[1])?;
    }
    namespace.are_left(&["other"]).await?;
    namespace.is_left_alone("other", &uid).await
}
