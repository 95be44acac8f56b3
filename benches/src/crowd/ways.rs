//! The ways of running many tasks.

use super::Given;
use super::audit::Audit;
use super::scene::Scene;
use crate::process::{self, Ran};
use crate::{Error, process::run_sampled};
use futures::future::LocalBoxFuture;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Whose requests are its own: how their user agents, or controllers' names, begin.
    pub(super) agents: &'static [&'static str],
    /// Whether a process of it is so large that there cannot be as many as tasks.
    pub(super) is_heavy: bool,
    pub(super) run: for<'a> fn(&'a Scene<'a>, &'a Audit) -> LocalBoxFuture<'a, Result<Given, Error>>,
}

pub(super) const WAYS: &[Way] = &[
    Way {
        name: "one",
        title: "kpo, one process",
        agents: &["kpo/"],
        is_heavy: false,
        run: |scene, _| Box::pin(one_process(scene)),
    },
    Way {
        name: "each",
        title: "kpo run, a process a task",
        agents: &["kpo/"],
        is_heavy: false,
        run: |scene, _| Box::pin(a_process_each(scene)),
    },
    Way {
        name: "kubectl",
        title: "kubectl run, wait, logs, delete, until it succeeds",
        agents: &["kubectl/"],
        is_heavy: true,
        run: |scene, _| Box::pin(kubectl(scene)),
    },
    Way {
        name: "job",
        title: "a Job with podFailurePolicy (nobody reads its log)",
        agents: &["job-controller", ""],
        is_heavy: false,
        run: |scene, audit| Box::pin(jobs(scene, audit)),
    },
];

/// Who has not succeeded then never will.
const MOST_TRIES: usize = 5;

/// The manifests of the two kinds of tasks, as files, which [`Scene::clear`] removes.
fn manifests(scene: &Scene<'_>) -> Result<[PathBuf; 2], Error> {
    let [victim, task] = scene.manifests();
    std::fs::write(&victim, scene.pod(0).to_string())?;
    std::fs::write(&task, scene.pod(scene.count).to_string())?;
    Ok([victim, task])
}

async fn one_process(scene: &Scene<'_>) -> Result<Given, Error> {
    let [victim, task] = manifests(scene)?;
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.arg("crowd-tasks").args([&scene.namespace, &scene.count.to_string(), &scene.victims().to_string()]);
    command.args([victim, task]).env("KUBECONFIG", scene.world.kubeconfig()).stderr(Stdio::inherit());
    let output = command.output().await?;
    let said: super::tasks::Said = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stdout)))?;
    Ok(Given { known: said.known, memory: said.peak, cpu: Duration::from_nanos(said.cpu) })
}

async fn a_process_each(scene: &Scene<'_>) -> Result<Given, Error> {
    let [victim, task] = manifests(scene)?;
    let kpo = std::env::current_exe()?.with_file_name("kpo");
    each(scene, |number| {
        let mut command = Command::new(&kpo);
        command.args(["run", "-q", "-n", &scene.namespace, "--name", &format!("t-{number}")]);
        command.arg(if number < scene.victims() { &victim } else { &task }).env("KUBECONFIG", scene.world.kubeconfig());
        Box::new(move || run_sampled(&mut command).map(|ran| vec![ran]))
    })
    .await
}

/// What one would write in a shell. A wait that sees its pod deleted goes on waiting: only its timeout ends it.
async fn kubectl(scene: &Scene<'_>) -> Result<Given, Error> {
    each(scene, |number| {
        let (name, namespace, kubeconfig) = (format!("t-{number}"), scene.namespace.clone(), scene.world.kubeconfig());
        let overrides = scene.pod(number).to_string();
        let call = move |arguments: &[&str]| {
            let mut command = Command::new("kubectl");
            command.args(["-n", &namespace]).args(arguments).env("KUBECONFIG", &kubeconfig);
            run_sampled(&mut command)
        };
        Box::new(move || {
            let mut all = Vec::new();
            for _ in 0..MOST_TRIES {
                all.push(call(&["run", &name, "--image=busybox:1", "--restart=Never", "--overrides", &overrides])?);
                let pod = format!("pod/{name}");
                all.push(call(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", &pod])?);
                if all.last().is_some_and(|ran| ran.code == 0) {
                    break;
                }
            }
            // Its end was known then.
            let known = all.pop();
            all.push(call(&["logs", &name])?);
            all.push(call(&["delete", "pod", &name])?);
            all.extend(known);
            Ok(all)
        })
    })
    .await
}

type Work = Box<dyn FnOnce() -> Result<Vec<Ran>, Error> + Send>;

/// A thread a task; the last process of each is the one by whose end its success was known.
async fn each(scene: &Scene<'_>, work: impl Fn(u64) -> Work) -> Result<Given, Error> {
    let threads =
        (0..scene.count).map(|number| (number, tokio::task::spawn_blocking(work(number)))).collect::<Vec<_>>();
    let mut given = Given::default();
    for (number, thread) in threads {
        let all = thread.await??;
        let last = all.last().ok_or("a task without a process")?;
        if last.code == 0 {
            given.known.insert(format!("t-{number}"), last.ended);
        }
        given.memory += all.iter().map(|ran| ran.peak).max().unwrap_or_default();
        given.cpu += all.iter().map(|ran| ran.cpu).sum::<Duration>();
    }
    Ok(given)
}

/// What Kubernetes itself offers: a Job that makes a disrupted pod anew and does not count it. It would do so after the program has run, too.
async fn jobs(scene: &Scene<'_>, audit: &Audit) -> Result<Given, Error> {
    for number in 0..scene.count {
        let mut template = scene.pod(number);
        template.as_object_mut().ok_or("a pod that is none")?.retain(|key, _| key == "metadata" || key == "spec");
        let ignore = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": format!("t-{number}")},
            "spec": {"backoffLimit": 0, "podFailurePolicy": {"rules": [ignore]}, "template": template}});
        scene.post(&format!("/apis/batch/v1/namespaces/{}/jobs", scene.namespace), &job).await?;
    }
    let done = || Ok(audit.heard(&scene.namespace)?.succeeded.len() as u64 >= scene.count && settled(scene, audit)?);
    scene.wait("all Jobs are complete", done).await?;
    let known: BTreeMap<String, i64> = audit.heard(&scene.namespace)?.completed;
    Ok(Given { known, ..Given::default() })
}

/// Whether each Job was written after its pod's last write.
fn settled(scene: &Scene<'_>, audit: &Audit) -> Result<bool, Error> {
    let heard = audit.heard(&scene.namespace)?;
    let is_later = |(task, at): (&String, &i64)| heard.completed.get(task).is_some_and(|completed| completed > at);
    let is_quiet = heard.succeeded.values().max().is_some_and(|last| process::now() - last > 10_000_000_000);
    Ok(heard.succeeded.len() as u64 == scene.count && heard.succeeded.iter().all(is_later) && is_quiet)
}
