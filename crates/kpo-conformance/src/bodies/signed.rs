//! Controllers that the cluster does not have: a body sends the requests that they send.

use super::preempted::SUCCEEDED;
use super::{ENDURES, is_running, same};
use crate::Error;
use crate::cluster::Namespace;
use crate::components::Components;
use crate::ledger::Ledger;
use crate::registry::{OTHER_SLOW_IMAGE, Registry};
use crate::undo::Undo;
use serde_json::json;

const EVICTED: &str = "disrupted eviction started evicted 143";
const BY_KUEUE: &str = "kueue.x-k8s.io/managed";

impl Namespace<'_> {
    /// Writes a condition as this controller does, and leaves the others.
    async fn condition(&self, by: &str, kind: &str, status: &str, reason: &str, words: &str) -> Result<(), Error> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let condition =
            json!({"type": kind, "status": status, "reason": reason, "message": words, "lastTransitionTime": now});
        let path = self.path(&format!("pods/task-1/status?fieldManager={by}"));
        self.patch("strategic-merge", &path, &json!({"status": {"conditions": [condition]}})).await?;
        Ok(())
    }

    /// Kueue takes it back: its own condition, then a deletion like any other.
    async fn kueue_evicts(&self) -> Result<(), Error> {
        let words = "Preempted to accommodate a workload in the ClusterQueue";
        self.condition("kueue", "TerminationTarget", "True", "StoppedByKueue", words).await?;
        self.delete(&self.path("pods/task-1"), &json!({})).await.map(drop)
    }
}

/// Its event comes after the eviction.
pub(super) async fn evicted_by_karpenter(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.running(&[], ENDURES).await?;
    let pod = namespace.get(&namespace.path("pods/task-1")).await?;
    namespace.evict("task-1").await?;
    namespace.event(&pod, "karpenter", "Evicted", "Evicted pod: Underutilized").await?;
    task.ended().await?.exits(75)?.came_to(&[EVICTED])?;
    namespace.is_empty().await
}

/// A kubelet that pulls its image goes on, starts the program, and only then ends it.
pub(super) async fn evicted_while_pulling(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    // It may be there from the run before.
    components.run(&["untag", OTHER_SLOW_IMAGE]).await?;
    let registry = Registry::slow(&components, &namespace.target.kubeconfig).await?;
    let ledger = Ledger::open(namespace).await?;
    let image = format!("spec.containers[0].image={OTHER_SLOW_IMAGE}");
    let task = namespace.start("run", &ledger.run("task", &["-o", "json", "--set", &image], ENDURES))?;
    namespace.wait("its image is half there", || async { Ok(registry.is_half_way()) }).await?;
    namespace.evict("task-1").await?;
    let ended = task.ended().await?.exits(75)?;
    // It is ended as soon as it is started: whether it has set its trap by then is a matter of moments.
    let is_killed = ended.outcome()?["attempts"][0]["verdict"]["exitCode"] == 137;
    ended.came_to(&[if is_killed { "disrupted eviction started evicted 137" } else { EVICTED }])?;
    ledger.shows("task", &[1])?;
    namespace.is_empty().await
}

/// Its event comes before the eviction, and the node takes nobody any more.
pub(super) async fn evicted_by_the_cluster_autoscaler(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.is_own_cluster()?;
    let task = namespace.waiting(&[]).await?;
    let pod = namespace.get(&namespace.path("pods/task-1")).await?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    namespace.event(&pod, "cluster-autoscaler", "ScaleDown", "deleting pod for node scale down").await?;
    namespace.cordon(node, true).await?;
    namespace.evict("task-1").await?;
    namespace.give_settings().await?;
    let outcome = task.ended().await?.exits(0)?.came_to(&["disrupted eviction never evicted", SUCCEEDED])?.outcome()?;
    same("on another node", &json!(outcome["attempts"][1]["pod"]["node"] != node), &json!(true))?;
    namespace.is_empty().await
}

pub(super) async fn gke_recreates_the_node(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.running(&[], ENDURES).await?;
    let (reason, words) = ("DeletionByGCPControllerManager", "GCPControllerManager: node no longer exists");
    namespace.condition("gcp-controller-manager", "DisruptionTarget", "True", reason, words).await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({"gracePeriodSeconds": 0})).await?;
    task.ended().await?.exits(75)?.came_to(&["disrupted node-gone started nodeGone"])?;
    namespace.is_empty().await
}

/// Its finalizer holds the pod: nobody waits for that.
pub(super) async fn kueue_evicts(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.running(&[], ENDURES).await?;
    namespace.finalizers("task-1", &[BY_KUEUE]).await?;
    namespace.kueue_evicts().await?;
    task.ended().await?.exits(75)?.came_to(&["disrupted queue started queueEvicted 143"])?;
    namespace.are_left(&["task-1"]).await?;
    namespace.finalizers("task-1", &[]).await?;
    namespace.is_empty().await
}

pub(super) async fn kueue_evicts_before_the_start(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.waiting(&[]).await?;
    namespace.kueue_evicts().await?;
    namespace.pod("task-2", "takes its place", |_| true).await?;
    namespace.give_settings().await?;
    task.ended().await?.exits(0)?.came_to(&["disrupted queue never queueEvicted", SUCCEEDED])?.has_line("hello", 1)?;
    namespace.is_empty().await
}

/// A mark that was taken back: what is deleted afterwards was not preempted.
pub(super) async fn stale_mark(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.running(&[], ENDURES).await?;
    let (kind, words) = ("DisruptionTarget", "default-scheduler: preempting to accommodate a higher priority pod");
    namespace.condition("kube-scheduler", kind, "True", "PreemptionByScheduler", words).await?;
    namespace.condition("kube-controller-manager", kind, "False", "", "").await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({})).await?;
    task.ended().await?.exits(75)?.came_to(&["disrupted deleted-outside started deletedOutside 143"])?;
    namespace.is_empty().await
}

/// As old control planes wrote it when they lost sight of a node: the kubelet knows better.
pub(super) async fn phase_unknown(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let script = "until [ -e /ledger/stop ]; do sleep 0.1; done; echo hello";
    let task = namespace.start("run", &ledger.run("task", &["-o", "json"], script))?;
    namespace.pod("task-1", "runs", is_running).await?;
    let lost = json!({"phase": "Unknown", "reason": "NodeLost", "message": "Node which was running pod task-1 is unresponsive"});
    let path = namespace.path("pods/task-1/status?fieldManager=kube-controller-manager");
    namespace.merge(&path, &json!({ "status": lost })).await?;
    ledger.allow("stop")?;
    task.ended().await?.exits(0)?.came_to(&[SUCCEEDED])?.has_line("hello", 1)?;
    ledger.shows("task", &[1])?;
    namespace.is_empty().await
}

/// A node without a kubelet, whose pods a provider is to run: the body is its virtual kubelet, and says that it failed. Whether something runs there,
/// nobody knows.
pub(super) async fn provider_fails(namespace: &Namespace<'_>) -> Result<(), Error> {
    // On somebody else's cluster a node that appears may be taken away.
    Components::here()?;
    let node = format!("/api/v1/nodes/{}", namespace.name);
    let object = json!({"metadata": {"name": namespace.name}, "spec": {"taints": [{"key": "kpo.rs/virtual", "effect": "NoSchedule"}]}});
    namespace.post("/api/v1/nodes", &object).await?;
    namespace.afterwards(Undo::Delete(node.clone()));
    let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady"}]);
    namespace.merge(&format!("{node}/status"), &json!({"status": {"conditions": ready}})).await?;
    let there = format!("spec.nodeName={}", namespace.name);
    let task = namespace.start("run", &super::shell(&["-o", "json", "--set", &there], "true"))?;
    namespace.pod("task-1", "is made", |_| true).await?;
    let failed = json!({"phase": "Failed", "reason": "ProviderFailed", "message": "the provider answered 500"});
    let path = namespace.path("pods/task-1/status?fieldManager=virtual-kubelet");
    namespace.merge(&path, &json!({ "status": failed })).await?;
    task.ended().await?.exits(75)?.came_to(&["disrupted provider unknown providerFailed"])?;
    namespace.is_empty().await
}
