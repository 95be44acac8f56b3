//! One way's stage: nodes that are just large enough, DaemonSet-like pods that take those of a third of the tasks, and the fresh nodes that come then.

use super::audit::Audit;
use super::ways::Way;
use super::{Given, World};
use crate::Error;
use http::Request;
use serde_json::{Value, json};
use std::cell::Cell;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// CPUs of a simulated node; a task takes one.
const TASKS_OF_A_NODE: u64 = 10;
/// A third of the tasks is preempted.
const PART: u64 = 3;
/// The two kinds of tasks, by the label of their pods and of the nodes that are theirs. When the others end shall not decide who is preempted.
const VICTIM: &str = "victim";
const TASK: &str = "task";
/// Longer than anything on this stage takes.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) struct Scene<'a> {
    pub(super) world: &'a World,
    pub(super) namespace: String,
    pub(super) count: u64,
    own_bytes: Cell<u64>,
}

impl<'a> Scene<'a> {
    pub(super) async fn set(world: &'a World, name: &str, count: u64) -> Result<Self, Error> {
        let scene =
            Self { world, namespace: format!("crowd-{name}-{}", std::process::id()), count, own_bytes: Cell::new(0) };
        for namespace in [&scene.namespace, &scene.agents()] {
            scene.post("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await?;
        }
        for (name, value) in [("crowd-low", -10), ("crowd-high", 1000)] {
            let class = json!({"metadata": {"name": name}, "value": value});
            // There from the way before.
            let _ = scene.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
        }
        scene.nodes("steady", TASK, count - scene.victims()).await?;
        scene.nodes("early", VICTIM, scene.victims()).await?;
        // What these have too much is taken: where there is room nobody is preempted.
        scene.take(0..scene.spare()).await?;
        Ok(scene)
    }

    /// Where what preempts lives.
    fn agents(&self) -> String {
        format!("{}-agents", self.namespace)
    }

    /// How many of the tasks are preempted before they start.
    pub(super) fn victims(&self) -> u64 {
        self.count / PART
    }

    /// Room on the victims' nodes that they do not need.
    fn spare(&self) -> u64 {
        self.victims().next_multiple_of(TASKS_OF_A_NODE) - self.victims()
    }

    /// Bytes of answers to what the stage itself asked.
    pub(super) fn own_bytes(&self) -> u64 {
        self.own_bytes.get()
    }

    /// The pod of a task; the first third are those that will be preempted.
    pub(super) fn pod(&self, number: u64) -> Value {
        let is_victim = number < self.victims();
        let kind = if is_victim { VICTIM } else { TASK };
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"labels": {"crowd": kind}},
            "spec": {"restartPolicy": "Never", "nodeSelector": {"type": "kwok", "crowd": kind}, "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "base", "image": "busybox:1", "resources": {"requests": {"cpu": "1"}}}]}});
        if is_victim {
            pod["spec"]["priorityClassName"] = json!("crowd-low");
        }
        pod
    }

    /// Lets a way run its tasks while a third of the pods are preempted before they start.
    pub(super) async fn play(&self, way: &Way) -> Result<Given, Error> {
        let audit = Audit::from_now(&self.world.folder)?;
        let disturb = async {
            self.wait("all are bound", || Ok(audit.heard(&self.namespace)?.bound >= self.count)).await?;
            self.take(self.spare()..self.spare() + self.victims()).await?;
            self.wait("a third is preempted", || {
                Ok(audit.heard(&self.namespace)?.preempted.len() as u64 >= self.victims())
            })
            .await?;
            self.nodes("late", VICTIM, self.victims()).await
        };
        let (given, ()) = futures::future::try_join((way.run)(self, &audit), disturb).await?;
        Ok(given)
    }

    /// Pods that take a victim's room each, if they have to.
    async fn take(&self, numbers: Range<u64>) -> Result<(), Error> {
        for number in numbers {
            let mut pod = self.pod(0);
            pod["metadata"] = json!({"name": format!("agent-{number}")});
            pod["spec"]["priorityClassName"] = json!("crowd-high");
            self.post(&format!("/api/v1/namespaces/{}/pods", self.agents()), &pod).await?;
        }
        Ok(())
    }

    /// Room for so many tasks.
    async fn nodes(&self, name: &str, kind: &str, tasks: u64) -> Result<(), Error> {
        for number in 0..tasks.div_ceil(TASKS_OF_A_NODE) {
            let labels = json!({"type": "kwok", "crowd": kind});
            let node = json!({"metadata": {"name": format!("{name}-{number}"), "labels": labels}});
            self.post("/api/v1/nodes", &node).await?;
        }
        Ok(())
    }

    pub(super) async fn wait(&self, what: &str, is_so: impl Fn() -> Result<bool, Error>) -> Result<(), Error> {
        let until = Instant::now() + PATIENCE;
        while !is_so()? {
            if Instant::now() > until {
                return Err(format!("waited {} s in vain: {what}", PATIENCE.as_secs()).into());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    /// Where the manifests of the two kinds of tasks lie, for ways that want files.
    pub(super) fn manifests(&self) -> [PathBuf; 2] {
        [VICTIM, TASK].map(|kind| std::env::temp_dir().join(format!("kpo-{}-{kind}.json", self.namespace)))
    }

    /// Takes all away that it made.
    pub(super) async fn clear(&self) -> Result<(), Error> {
        // Not every way wants them.
        self.manifests().iter().for_each(|path| drop(std::fs::remove_file(path)));
        for namespace in [&self.namespace, &self.agents()] {
            let path = format!("/api/v1/namespaces/{namespace}");
            // Nobody is left to end them when the nodes are gone.
            self.send(Request::delete(format!("{path}/pods?gracePeriodSeconds=0")).body(Vec::new())?).await?;
            self.send(Request::delete(path).body(Vec::new())?).await?;
        }
        self.send(Request::delete("/api/v1/nodes?labelSelector=type%3Dkwok").body(Vec::new())?).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<(), Error> {
        let request = Request::post(path).header("content-type", "application/json");
        self.send(request.body(serde_json::to_vec(body)?)?).await
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<(), Error> {
        let answer = self.world.client.request_text(request).await?;
        self.own_bytes.set(self.own_bytes.get() + answer.len() as u64);
        Ok(())
    }
}
