//! Pods that are taken away.

use super::{ENDURES, WAITS_FOR_SETTINGS, is_running, is_waiting, same, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::{Ended, Started};
use crate::container::{container, resources};
use crate::ledger::Ledger;
use crate::undo::Undo;
use serde_json::{Value, json};

pub(super) const TRAPS: &str = "trap 'echo term; exit 0' TERM; while true; do sleep 1; done";

/// Fails unless the last attempt was disrupted so.
pub(super) fn disrupted(ended: &Ended, cause: &str, started: &str) -> Result<(), Error> {
    let outcome = ended.outcome()?;
    let verdict = &outcome["attempts"][0]["verdict"];
    same("cause and started", &json!([verdict["cause"], verdict["started"]]), &json!([cause, started]))
}

/// A node's CPU that pods may have, in thousandths.
pub(super) fn node_cpu(node: &Value) -> Result<u64, Error> {
    let cpu = node["status"]["allocatable"]["cpu"].as_str().unwrap_or_default();
    Ok(cpu.strip_suffix('m').map_or_else(|| cpu.parse::<u64>().map(|n| n * 1000), str::parse)?)
}

impl Namespace<'_> {
    /// A task that cannot start before its settings are there; its outcome is JSON.
    pub(super) async fn waiting(&self, flags: &[&str]) -> Result<Started, Error> {
        self.waits(flags, "echo hello").await
    }

    /// The same with another program.
    pub(super) async fn waits(&self, flags: &[&str], script: &str) -> Result<Started, Error> {
        let flags = [&["-o", "json", "--set", WAITS_FOR_SETTINGS], flags].concat();
        let started = self.start("run", &shell(&flags, script))?;
        self.pod("task-1", "waits for its settings", is_waiting).await?;
        Ok(started)
    }

    /// A task whose program runs; its outcome is JSON.
    pub(super) async fn running(&self, flags: &[&str], script: &str) -> Result<Started, Error> {
        let started = self.start("run", &shell(&[&["-o", "json"], flags].concat(), script))?;
        self.runs(started).await
    }

    /// Waits until the first attempt of that command runs.
    pub(super) async fn runs(&self, started: Started) -> Result<Started, Error> {
        match self.pod("task-1", "runs", is_running).await {
            Ok(_) => Ok(started),
            Err(error) => {
                // What it says may say why; it may have ended.
                let _ = started.signal("KILL").await;
                Err(format!("{error}; kpo: {}", started.ended().await?).into())
            }
        }
    }

    pub(crate) async fn evict(&self, pod: &str) -> Result<(), Error> {
        let eviction =
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": self.name}});
        self.post(&self.path(&format!("pods/{pod}/eviction")), &eviction).await?;
        Ok(())
    }

    /// A pod that somebody else makes; its UID.
    pub(super) async fn somebodys(&self, name: &str) -> Result<Value, Error> {
        let container = container("base", &format!("echo theirs; {ENDURES}"));
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}});
        Ok(self.post(&self.path("pods"), &pod).await?["metadata"]["uid"].clone())
    }

    /// It is the only pod, as it was made.
    pub(super) async fn is_left_alone(&self, name: &str, uid: &Value) -> Result<(), Error> {
        let left = self.pods().await?;
        let is_it = |pod: &&Value| pod["metadata"]["name"] == name && pod["metadata"]["uid"] == *uid;
        let theirs = left.iter().find(is_it).ok_or_else(|| format!("{name} is gone"))?;
        same("deleted", &theirs["metadata"]["deletionTimestamp"], &Value::Null)?;
        same("annotations", &theirs["metadata"]["annotations"], &Value::Null)?;
        same("pods", &json!(left.len()), &json!(1))
    }

    /// Six tenths of a node's CPU: two such do not fit.
    async fn most_of_a_node(&self) -> Result<(String, String), Error> {
        let nodes = self.get("/api/v1/nodes").await?;
        let node = &nodes["items"][0];
        let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Ok((name, format!("{}m", node_cpu(node)? * 6 / 10)))
    }

    /// A DaemonSet of higher priority arrives on a node.
    pub(super) async fn daemonset(&self, node: &str, cpu: &str) -> Result<(), Error> {
        let (name, label) = (&self.name, json!({"app": "agent"}));
        self.priority_class().await?;
        let mut container = container("agent", "exec sleep 100000");
        container["resources"] = resources(cpu, cpu);
        let spec = json!({"priorityClassName": name, "terminationGracePeriodSeconds": 0, "nodeSelector": {"kpo.rs/conformance": name}, "containers": [container]});
        let template = json!({"metadata": {"labels": label}, "spec": spec});
        let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
            "spec": {"selector": {"matchLabels": label}, "template": template}});
        self.post(&format!("/apis/apps/v1/namespaces/{name}/daemonsets"), &set).await?;
        self.label_node(node, "kpo.rs/conformance", json!(name)).await
    }

    /// It goes again. A node's label and the priority go with the body.
    pub(super) async fn no_daemonset(&self) -> Result<(), Error> {
        self.delete(&format!("/apis/apps/v1/namespaces/{}/daemonsets/agent", self.name), &json!({})).await.map(drop)
    }

    /// A priority above a task's, by the name of the namespace.
    pub(super) async fn priority_class(&self) -> Result<(), Error> {
        let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
        self.post(classes, &json!({"metadata": {"name": self.name}, "value": 1_000_000})).await?;
        self.afterwards(Undo::Delete(format!("{classes}/{}", self.name)));
        Ok(())
    }
}

/// A pod that takes so much of this node, where there may be others.
fn most_of(node: &str, cpu: &str) -> [String; 2] {
    let selector = json!({"kubernetes.io/hostname": node});
    [format!("spec.containers[0].resources={}", resources(cpu, cpu)), format!("spec.nodeSelector={selector}")]
}

/// The request that this project began with.
pub(super) async fn preempted_before_start(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.is_own_cluster()?;
    let (node, cpu) = namespace.most_of_a_node().await?;
    let [wants, there] = most_of(&node, &cpu);
    let task = namespace.waiting(&["--set", &wants, "--set", &there]).await?;
    namespace.daemonset(&node, &cpu).await?;
    namespace.pod("task-2", "takes its place", |_| true).await?;
    namespace.give_settings().await?;
    namespace.no_daemonset().await?;
    let ended = task.ended().await?.exits(0)?;
    disrupted(&ended, "preemption", "never")?;
    same("hellos", &json!(ended.stderr.matches("hello\n").count()), &json!(1))?;
    namespace.is_empty().await
}

pub(super) async fn preempted_while_running(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.is_own_cluster()?;
    let (node, cpu) = namespace.most_of_a_node().await?;
    let [wants, there] = most_of(&node, &cpu);
    let task = namespace.running(&["--set", &wants, "--set", &there], ENDURES).await?;
    namespace.daemonset(&node, &cpu).await?;
    let ended = task.ended().await?.exits(75)?;
    namespace.no_daemonset().await?;
    disrupted(&ended, "preemption", "started")?;
    namespace.is_empty().await
}

pub(super) async fn evicted_before_start(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.waiting(&[]).await?;
    namespace.evict("task-1").await?;
    namespace.pod("task-2", "takes its place", |_| true).await?;
    namespace.give_settings().await?;
    let ended = task.ended().await?.exits(0)?;
    disrupted(&ended, "eviction", "never")?;
    namespace.is_empty().await
}

pub(super) async fn evicted_while_running(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.running(&[], ENDURES).await?;
    namespace.evict("task-1").await?;
    disrupted(&task.ended().await?.exits(75)?, "eviction", "started")?;
    namespace.is_empty().await
}

pub(super) async fn deleted_while_waiting(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.waiting(&[]).await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({})).await?;
    disrupted(&task.ended().await?.exits(75)?, "deleted-outside", "never")?;
    namespace.is_empty().await
}

pub(super) async fn force_deleted_while_running(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.running(&[], ENDURES).await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({"gracePeriodSeconds": 0})).await?;
    disrupted(&task.ended().await?.exits(75)?, "deleted-outside", "started")?;
    namespace.is_empty().await
}

/// An exit 0 is a success, pod deleted or not.
pub(super) async fn succeeds_in_its_grace(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.running(&[], TRAPS).await?;
    namespace.evict("task-1").await?;
    let outcome = task.ended().await?.exits(0)?.outcome()?;
    same("verdict", &outcome["verdict"], &json!("succeeded"))?;
    namespace.is_empty().await
}

/// Somebody makes a pod of the same name: it is not ours, is not taken for ours, and stays.
pub(super) async fn namesake_in_its_place(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let run = ledger.run("task", &["-o", "json"], &format!("echo ours; {ENDURES}"));
    let task = namespace.start("run", &run)?;
    namespace.pod("task-1", "runs", is_running).await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({"gracePeriodSeconds": 0})).await?;
    let uid = namespace.somebodys("task-1").await?;
    let ended = task.ended().await?.exits(75)?.never_says("theirs")?;
    disrupted(&ended, "deleted-outside", "started")?;
    ledger.shows("task", &[1])?;
    namespace.is_left_alone("task-1", &uid).await
}

/// The next attempt's name is somebody's.
pub(super) async fn namesake_of_the_next(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.waiting(&[]).await?;
    let uid = namespace.somebodys("task-2").await?;
    namespace.evict("task-1").await?;
    namespace.give_settings().await?;
    let ended = task.ended().await?.exits(126)?.never_says("theirs")?;
    disrupted(&ended, "eviction", "never")?;
    namespace.is_left_alone("task-2", &uid).await
}
