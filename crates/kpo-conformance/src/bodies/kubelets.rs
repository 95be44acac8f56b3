//! What only a kubelet does: it rejects, evicts and preempts by itself, forgets, and is started anew.

use super::disruption::node_cpu;
use super::door::{Switch, refused};
use super::preempted::SUCCEEDED;
use super::{ENDURES, WAITS_FOR_SETTINGS, is_waiting, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::{Ended, Started};
use crate::components::{Broken, Components, Fault};
use crate::container::{container, resources};
use crate::ledger::Ledger;
use crate::proxy::{self, Asked, Proxy};
use crate::undo::Undo;
use serde_json::{Value, json};
use std::time::Duration;

/// The taint manager has seen a taint by then.
const PLANS: Duration = Duration::from_secs(3);
/// Refused before anything of it ran.
const REJECTED: &str = "disrupted rejected never rejected";

impl Namespace<'_> {
    async fn first_node(&self) -> Result<String, Error> {
        Ok(self.nodes().await?.into_iter().next().ok_or("the cluster has no node")?)
    }

    /// A task that is bound past the scheduler to a node that refuses it, twice.
    async fn is_rejected(&self, flags: &[&str]) -> Result<(), Error> {
        let there = format!("spec.nodeName={}", self.first_node().await?);
        let own = ["-o", "json", "--rerun-never-started", "1", "--set", &there];
        let ended = self.kpo("run", &shell(&[&own[..], flags].concat(), "echo hello")).await?.exits(75)?;
        ended.came_to(&[REJECTED; 2])?.has_line("hello", 0)?;
        self.is_empty().await
    }
}

/// It is full. Without room for a gate: a node's name forbids one.
pub(super) async fn rejected_by_the_kubelet(namespace: &Namespace<'_>) -> Result<(), Error> {
    let much = format!("spec.containers[0].resources={}", resources("500", "500"));
    namespace.is_rejected(&["--set", &much]).await
}

/// It is not the one that the pod selects.
pub(super) async fn rejected_for_its_node(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.is_rejected(&["--set", r#"spec.nodeSelector={"kpo.rs/disk":"fast"}"#]).await
}

/// Refused as long as the node lacks a label; the body is the scheduler, which took it for one that has it. The next attempt waits behind its gate, and
/// runs.
pub(super) async fn rejected_then_it_runs(namespace: &Namespace<'_>) -> Result<(), Error> {
    let node = namespace.first_node().await?;
    let selector = format!("spec.nodeSelector={}", namespace.of_late_node());
    let flags = ["-o", "json", "--set", "spec.schedulerName=the-body", "--set", &selector];
    let task = namespace.start("run", &shell(&flags, "echo hello"))?;
    namespace.bind("task-1", &node).await?;
    namespace.pod("task-2", "takes its place", |_| true).await?;
    namespace.late_node(true).await?;
    namespace.pod("task-2", "is held no more", |pod| pod["spec"]["schedulingGates"].is_null()).await?;
    namespace.bind("task-2", &node).await?;
    task.ended().await?.exits(0)?.came_to(&[REJECTED, SUCCEEDED])?.has_line("hello", 1)?;
    namespace.is_empty().await
}

impl Namespace<'_> {
    /// Waits for an event.
    async fn hears(&self, reason: &str, words: &str) -> Result<(), Error> {
        let is_it = |event: &Value| {
            event["reason"] == reason && event["message"].as_str().is_some_and(|text| text.contains(words))
        };
        let path = self.path("events");
        let heard =
            || async { Ok(self.get(&path).await?["items"].as_array().is_some_and(|all| all.iter().any(is_it))) };
        self.wait(&format!("{reason}: {words}"), heard).await
    }

    async fn bind(&self, pod: &str, node: &str) -> Result<(), Error> {
        self.pod(pod, "is made", |_| true).await?;
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": node});
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target});
        self.post(&self.path(&format!("pods/{pod}/binding")), &binding).await.map(drop)
    }

    /// A task that runs on this node.
    async fn there(&self, node: &str, flags: &[&str]) -> Result<Started, Error> {
        let selector = format!("spec.nodeSelector={}", json!({"kubernetes.io/hostname": node}));
        let short = ["--set", "spec.terminationGracePeriodSeconds=2", "--set", &selector];
        self.running(&[&short[..], flags].concat(), ENDURES).await
    }
}

const KUBE_SYSTEM: &str = "/api/v1/namespaces/kube-system/pods";

/// A critical pod is put onto the node, and its kubelet makes room for it.
pub(super) async fn critical_pod_preempts(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.is_own_cluster()?;
    let node = namespace.first_node().await?;
    let cpu = node_cpu(&namespace.get(&format!("/api/v1/nodes/{node}")).await?)? * 6 / 10;
    let most = resources(&format!("{cpu}m"), &format!("{cpu}m"));
    let set = format!("spec.containers[0].resources={most}");
    let task = namespace.there(&node, &["--set", &set]).await?;
    let mut container = container("critical", ENDURES);
    container["resources"] = most;
    let spec = json!({"nodeName": node, "priorityClassName": "system-node-critical", "terminationGracePeriodSeconds": 0, "containers": [container]});
    namespace.post(KUBE_SYSTEM, &json!({"metadata": {"name": namespace.name}, "spec": spec})).await?;
    namespace.afterwards(Undo::Delete(format!("{KUBE_SYSTEM}/{}", namespace.name)));
    task.ended().await?.exits(75)?.came_to(&["disrupted critical-pod started preemptedByCriticalPod 143"])?;
    namespace.is_empty().await
}

/// A NoExecute taint goes before the toleration is over: the taint manager cancels, in words that begin like an eviction's.
pub(super) async fn taint_eviction_is_cancelled(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.is_own_cluster()?;
    let node = namespace.first_node().await?;
    let tolerates =
        json!([{"key": "kpo.rs/conformance", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
    let task = namespace.there(&node, &["--set", &format!("spec.tolerations={tolerates}")]).await?;
    namespace.taint(&node, &json!([{"key": "kpo.rs/conformance", "effect": "NoExecute"}])).await?;
    // The taint manager has no word for an eviction that it only plans.
    tokio::time::sleep(PLANS).await;
    namespace.taint(&node, &Value::Null).await?;
    namespace.hears("TaintManagerEviction", "Cancelling deletion").await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({})).await?;
    task.ended().await?.exits(75)?.came_to(&["disrupted deleted-outside started deletedOutside 143"])?;
    namespace.is_empty().await
}

/// The cluster's only one whose kubelet can be told when to evict.
const NODE: &str = "node-1";

/// Less memory is left than its kubelet wants: what runs is evicted, what comes is rejected, until there is enough again.
pub(super) async fn node_under_pressure(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    namespace.is_well().await?;
    let evicted = namespace.there(NODE, &[]).await?;
    namespace.afterwards(Undo::Script(vec!["evict-below"]));
    components.run(&["evict-below", "memory.available", "99%"]).await?;
    under_pressure(namespace, &components, evicted).await?;
    namespace.is_well().await?;
    namespace.is_empty().await
}

async fn under_pressure(namespace: &Namespace<'_>, components: &Components, evicted: Started) -> Result<(), Error> {
    evicted.ended().await?.exits(75)?.came_to(&["disrupted node-pressure started nodePressure 143"])?;
    // Only pods that ask for nothing are refused for memory, and the quota would refuse these.
    namespace.delete(&namespace.path("resourcequotas/limits"), &json!({})).await?;
    let flags = ["-o", "json", "--set", "spec.nodeName=node-1", "--set", "spec.containers[0].resources={}"];
    let task = namespace.start("run", &shell(&flags, "echo hello"))?;
    namespace.pod("task-2", "takes its place", |_| true).await?;
    components.run(&["evict-below"]).await?;
    let ended = task.ended().await?.exits(0)?.has_line("hello", 1)?;
    // How often it comes too early is a matter of moments.
    let count = ended.outcome()?["attempts"].as_array().map_or(0, Vec::len).max(2);
    ended.came_to(&[vec![REJECTED; count - 1], vec![SUCCEEDED]].concat()).map(drop)
}

/// What runs on a node whose kubelet is not there, or silent, is lost with the runtime's records of it.
async fn records_are_lost(namespace: &Namespace<'_>, fault: Fault) -> Result<Ended, Error> {
    let components = Components::here()?;
    namespace.is_well().await?;
    let task = namespace.there(NODE, &[]).await?;
    let broken = Broken::begin(&components, "kubelet", fault).await?;
    components.run(&["lose-containers", &namespace.name]).await?;
    broken.end().await?;
    let ended = task.ended().await?;
    namespace.is_well().await?;
    namespace.is_empty().await?;
    ended.exits(75)
}

/// As after a power cut: the runtime knows its containers still, and finds none of them.
pub(super) async fn node_rebooted(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    namespace.is_well().await?;
    let task = namespace.there(NODE, &[]).await?;
    components.run(&["lose-power"]).await?;
    let ended = task.ended().await?.exits(75)?;
    namespace.is_well().await?;
    ended.came_to(&["disrupted node-reboot started nodeReboot 255"])?;
    namespace.is_empty().await
}

/// The same where no record of a container is left, either.
pub(super) async fn node_rebooted_records_lost(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ended = records_are_lost(namespace, Fault::Killed(Duration::ZERO)).await?;
    ended.came_to(&["disrupted node-reboot started nodeReboot"]).map(drop)
}

pub(super) async fn records_lost_under_a_silent_kubelet(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ended = records_are_lost(namespace, Fault::Paused(Duration::ZERO)).await?;
    ended.came_to(&["disrupted node-reboot started nodeReboot"]).map(drop)
}

/// Its node has lost the label that it selects, and the kubelet, started anew, refuses what it runs: a clean rejection to who comes now, and not to who
/// has seen it run.
pub(super) async fn rejected_after_all(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    namespace.is_well().await?;
    namespace.late_node(true).await?;
    let selector = format!("spec.nodeSelector={}", namespace.of_late_node());
    let task = namespace.running(&["--set", &selector], ENDURES).await?;
    namespace.late_node(false).await?;
    components.suffer("kubelet", Fault::Killed(Duration::ZERO)).await?;
    let ended = task.ended().await?.exits(75)?;
    namespace.is_well().await?;
    ended.came_to(&["disrupted rejected started rejected 143"])?;
    namespace.is_empty().await
}

/// Uses its grace until it is told to end, and ends well.
const LINGERS: &str = "trap 'touch /ledger/ending; until [ -e /ledger/end ]; do sleep 0.1; done; touch /ledger/ended; exit 0' TERM; while true; do sleep 0.2; done";

/// It is being stopped when its node falls silent, ends in the silence, and is seen to when the node is back.
pub(super) async fn cancelled_and_then_silent(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    namespace.is_well().await?;
    let ledger = Ledger::open(namespace).await?;
    let (node, kubelet) = namespace.victim().await?;
    let selector = format!("spec.nodeSelector={}", json!({"kubernetes.io/hostname": node}));
    let task = namespace.start("run", &ledger.run("task", &["-o", "json", "--set", &selector], LINGERS))?;
    namespace.pod("task-1", "runs", super::is_running).await?;
    task.signal("INT").await?;
    namespace.wait("it is told to end", || async { Ok(ledger.has("ending")) }).await?;
    let broken = Broken::begin(&components, &kubelet, Fault::Paused(Duration::ZERO)).await?;
    ledger.allow("end")?;
    namespace.wait("it has ended", || async { Ok(ledger.has("ended")) }).await?;
    broken.end().await?;
    task.ended().await?.exits(130)?.came_to(&["cancelled cancelledByUser 0"])?;
    namespace.is_empty().await
}

/// Nobody may watch, nor list events: the second attempt runs between two reads, then the kubelet, started anew, refuses it and ends it. That its program
/// had begun is seen by what the kubelet tells of what it has ended.
pub(super) async fn rejected_between_two_reads(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    namespace.is_well().await?;
    let ledger = Ledger::open(namespace).await?;
    let blind = Switch::default();
    let proxy = Proxy::start(namespace, forbids(blind.clone())).await?;
    namespace.late_node(true).await?;
    let selector = format!("spec.nodeSelector={}", namespace.of_late_node());
    let flags = ["-o", "json", "--set", WAITS_FOR_SETTINGS, "--set", &selector];
    let task = namespace.start_as(proxy.kubeconfig(), "run", &ledger.run("task", &flags, ENDURES))?;
    namespace.pod("task-1", "waits for its settings", is_waiting).await?;
    namespace.evict("task-1").await?;
    namespace.pod("task-2", "waits for its settings", is_waiting).await?;
    blind.set(true);
    namespace.give_settings().await?;
    namespace.wait("the second attempt has begun", || async { Ok(!ledger.starts()?.is_empty()) }).await?;
    namespace.late_node(false).await?;
    components.suffer("kubelet", Fault::Killed(Duration::ZERO)).await?;
    namespace.pod("task-2", "is refused", |pod| pod["status"]["phase"] == "Failed").await?;
    blind.set(false);
    let ended = task.ended().await?.exits(75)?;
    namespace.is_well().await?;
    ended.came_to(&["disrupted eviction never evicted", "disrupted rejected started rejected 143"])?;
    ledger.shows("task", &[2])?;
    namespace.is_empty().await
}

/// Neither watches of pods nor lists of events are allowed; while the switch is on, nothing is read at all.
fn forbids(blind: Switch) -> impl Fn(&Asked) -> proxy::Fault + Send + Sync + 'static {
    move |asked| match asked.what.as_str() {
        "watch pods" | "list events" => refused(403, None),
        what if blind.is_on() && (what.starts_with("get ") || what.starts_with("list ")) => refused(503, Some(1)),
        _ => proxy::Fault::Pass,
    }
}
