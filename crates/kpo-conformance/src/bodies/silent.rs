//! A node that says nothing for so long that its pods are taken away, while what runs on it runs on.

use super::disruption::disrupted;
use super::preempted::SUCCEEDED;
use super::{ENDURES, WAITS_FOR_SETTINGS, is_running, is_waiting, same};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::Started;
use crate::components::{Broken, Components, Fault, NotHere};
use crate::is_long;
use crate::ledger::Ledger;
use serde_json::{Value, json};
use std::time::Duration;

/// A pod stays on a silent node for 300 s unless it says otherwise.
const LEAVES: &str = r#"spec.tolerations=[{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":5}]"#;
/// The first attempt endures; the second ends.
const ENDS_ELSEWHERE: &str =
    "trap 'exit 143' TERM; [ $KPO_ATTEMPT = 1 ] || { echo elsewhere; exit; }; while true; do sleep 0.2; done";

/// Tasks on the node that falls silent.
struct There {
    ledger: Ledger,
    stays: Started,
    waits: Started,
    /// The same as the first, of a program that may run twice.
    again: Started,
    /// Replaced, under the default policy and under the one by which it may run twice.
    moves: [(&'static str, Started); 2],
}

impl There {
    /// One that stays whatever happens, one that has not started, and one that may be replaced at the risk that it still runs.
    async fn begin(namespace: &Namespace<'_>, other: &str) -> Result<Self, Error> {
        let ledger = Ledger::open(namespace).await?;
        let run = |task: &str, flags: &[&str], script: &str| {
            let flags = [&["-o", "json", "--set", LEAVES], flags].concat();
            namespace.start("run", &ledger.run(task, &flags, script))
        };
        namespace.cordon(other, true).await?;
        let stays = run("stays", &[], ENDURES)?;
        let waits = run("waits", &["--set", WAITS_FOR_SETTINGS], "echo hello")?;
        let again = run("again", &["--rerun", "idempotent"], ENDS_ELSEWHERE)?;
        let replaced = ["--replace-unreachable-after", "5s"];
        let twice = [&replaced[..], &["--rerun", "idempotent"]].concat();
        let moves =
            [("moves", run("moves", &replaced, ENDS_ELSEWHERE)?), ("twice", run("twice", &twice, ENDS_ELSEWHERE)?)];
        let began = namespace.are_there().await;
        namespace.cordon(other, false).await?;
        began.map(|()| Self { ledger, stays, waits, again, moves })
    }
}

impl Namespace<'_> {
    async fn are_there(&self) -> Result<(), Error> {
        for pod in ["stays-1", "again-1", "moves-1", "twice-1"] {
            self.pod(pod, "runs", is_running).await?;
        }
        self.pod("waits-1", "waits for its settings", is_waiting).await?;
        Ok(())
    }

    /// The node is silent: what is to be taken away cannot go, and what may be replaced is.
    async fn are_stuck(&self) -> Result<(), Error> {
        for pod in ["stays-1", "again-1", "waits-1"] {
            self.pod(pod, "is being deleted", is_going).await?;
        }
        self.pod("moves-2", "takes its place", |_| true).await?;
        self.pod("twice-2", "takes its place", |_| true).await.map(drop)
    }
}

fn is_going(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

/// What these bodies need: two nodes, of which the last falls silent, and time.
async fn two_nodes(namespace: &Namespace<'_>) -> Result<(Components, String, String), Error> {
    let components = Components::here()?;
    let nodes = namespace.nodes().await?;
    let [other, victim] = &nodes[..] else { return Err(NotHere("it needs two nodes".to_owned()).into()) };
    if !is_long() {
        return Err(NotHere("a node is missed after a minute: KPO_LONG=1".to_owned()).into());
    }
    namespace.is_well().await?;
    Ok((components, other.clone(), victim.clone()))
}

/// Only one of two nodes: where all are silent nothing is taken away.
pub(super) async fn node_silent(namespace: &Namespace<'_>) -> Result<(), Error> {
    let (components, other, _) = two_nodes(namespace).await?;
    let (_, kubelet) = namespace.victim().await?;
    let there = There::begin(namespace, &other).await?;
    let broken = Broken::begin(&components, &kubelet, Fault::Paused(Duration::ZERO)).await?;
    namespace.are_stuck().await?;
    for (task, moves) in there.moves {
        moved(&there.ledger, task, moves.ended().await?)?;
    }
    // However long it takes, nothing is started beside what may still run.
    same("beside it", &json!(namespace.get(&namespace.path("pods/again-2")).await.is_ok()), &json!(false))?;
    broken.end().await?;
    namespace.is_well().await?;
    namespace.pod("waits-2", "takes its place", |_| true).await?;
    namespace.give_settings().await?;
    disrupted(&there.stays.ended().await?.exits(75)?, "taint", "started")?;
    there.ledger.shows("stays", &[1])?;
    there.again.ended().await?.exits(0)?.came_to(&["disrupted taint started taintEvicted 143", SUCCEEDED])?;
    there.ledger.shows("again", &[1, 2])?;
    disrupted(&there.waits.ended().await?.exits(0)?, "taint", "never")?;
    there.ledger.shows("waits", &[2])?;
    namespace.is_empty().await
}

/// It ran twice, as it was told that it may: the first one may still run.
fn moved(ledger: &Ledger, task: &str, ended: crate::command::Ended) -> Result<(), Error> {
    let ended = ended.exits(0)?.says("elsewhere")?;
    disrupted(&ended, "unreachable", "started")?;
    same("attempts", &json!(ended.outcome()?["attempts"].as_array().map(Vec::len)), &json!(2))?;
    ledger.shows(task, &[1, 2])
}

/// All nodes fall silent: the controller stops evicting, and the program is just awaited.
pub(super) async fn all_nodes_silent(namespace: &Namespace<'_>) -> Result<(), Error> {
    let (components, _, _) = two_nodes(namespace).await?;
    let ledger = Ledger::open(namespace).await?;
    let script = "until [ -e /ledger/stop ]; do sleep 0.1; done; echo hello";
    let leaves = LEAVES.replace(":5}", ":30}");
    let task = namespace.start("run", &ledger.run("task", &["-o", "json", "--set", &leaves], script))?;
    namespace.pod("task-1", "runs", is_running).await?;
    let paused = Fault::Paused(Duration::ZERO);
    let (first, second) =
        (Broken::begin(&components, "kubelet", paused).await?, Broken::begin(&components, "kubelet-2", paused).await?);
    let are_lost = || async {
        Ok(namespace.get("/api/v1/nodes").await?["items"].as_array().is_some_and(|all| all.iter().all(is_lost)))
    };
    namespace.wait_for(LONG, "all nodes are silent", are_lost).await?;
    // Longer than its pod would have been left there.
    tokio::time::sleep(Duration::from_secs(45)).await;
    same("is going", &json!(is_going(&namespace.get(&namespace.path("pods/task-1")).await?)), &json!(false))?;
    ledger.allow("stop")?;
    first.end().await?;
    second.end().await?;
    task.ended().await?.exits(0)?.came_to(&[SUCCEEDED])?.has_line("hello", 1)?;
    ledger.shows("task", &[1])?;
    namespace.is_well().await?;
    namespace.is_empty().await
}

fn is_lost(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "Unknown"))
}

/// Tasks that are to be stopped while their node is silent: they are told to end, and left when they should long have ended.
pub(super) async fn stopped_on_a_silent_node(namespace: &Namespace<'_>) -> Result<(), Error> {
    let (components, _, victim) = two_nodes(namespace).await?;
    let ledger = Ledger::open(namespace).await?;
    let selector = format!("spec.nodeSelector={}", json!({"kubernetes.io/hostname": victim}));
    let short = ["-o", "json", "--set", "spec.terminationGracePeriodSeconds=1", "--set", &selector];
    let run =
        |task: &str, flags: &[&str]| namespace.start("run", &ledger.run(task, &[&short[..], flags].concat(), ENDURES));
    let (cancelled, timeout) = (run("cancelled", &[])?, run("timeout", &["--timeout", "20s"])?);
    for pod in ["cancelled-1", "timeout-1"] {
        namespace.pod(pod, "runs", is_running).await?;
    }
    let (_, kubelet) = namespace.victim().await?;
    let broken = Broken::begin(&components, &kubelet, Fault::Paused(Duration::ZERO)).await?;
    cancelled.signal("INT").await?;
    let (cancelled, timeout) = futures::future::join(cancelled.ended(), timeout.ended()).await;
    namespace.are_left(&["cancelled-1", "timeout-1"]).await?;
    broken.end().await?;
    cancelled?.exits(130)?.came_to(&["cancelled cancelledByUser"])?;
    timeout?.exits(124)?.came_to(&["cancelled timeout"])?;
    namespace.is_empty().await?;
    namespace.is_well().await
}

/// The node is missed after most of a minute.
const LONG: Duration = Duration::from_secs(180);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A person declares the dead node out of service, and PodGC removes what is stuck on it.
pub(super) async fn out_of_service(namespace: &Namespace<'_>) -> Result<(), Error> {
    let (components, _, victim) = two_nodes(namespace).await?;
    let selector = format!("spec.nodeSelector={}", json!({"kubernetes.io/hostname": victim}));
    let task = namespace.running(&["--set", LEAVES, "--set", &selector], ENDURES).await?;
    let (_, kubelet) = namespace.victim().await?;
    let broken = Broken::begin(&components, &kubelet, Fault::Paused(Duration::ZERO)).await?;
    let path = namespace.path("pods/task-1");
    let going = || async { Ok(namespace.get(&path).await.is_ok_and(|pod| is_going(&pod))) };
    namespace.wait_for(LONG, "the pod is to go", going).await?;
    let mut taints = namespace.get(&format!("/api/v1/nodes/{victim}")).await?["spec"]["taints"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    taints.push(json!({"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}));
    namespace.taint(&victim, &json!(taints)).await?;
    let ended = task.ended().await;
    broken.end().await?;
    namespace.taint(&victim, &Value::Null).await?;
    namespace.is_well().await?;
    ended?.exits(75)?.came_to(&["disrupted taint started taintEvicted"])?;
    namespace.is_empty().await
}

/// The machine is gone, the cloud says so, and the node's object is deleted: PodGC removes its pods, and nobody knows what its kubelet would have said. Who
/// may run twice is given his grace and half a minute before he runs elsewhere; what a program had committed nobody attests.
pub(super) async fn node_gone_for_good(namespace: &Namespace<'_>) -> Result<(), Error> {
    let (components, other, victim) = two_nodes(namespace).await?;
    let ledger = Ledger::open(namespace).await?;
    let run = |task: &str, flags: &[&str]| {
        let flags = [&["-o", "json", "--set", "spec.terminationGracePeriodSeconds=2"], flags].concat();
        namespace.start("run", &ledger.run(task, &flags, &format!("echo begun; {ENDS_ELSEWHERE}")))
    };
    namespace.cordon(&other, true).await?;
    let (ends, twice) = (run("ends", &[])?, run("twice", &["--rerun", "idempotent"])?);
    let commits = run("commits", &["--rerun", "until-commit"])?;
    for pod in ["ends-1", "twice-1", "commits-1"] {
        namespace.pod(pod, "runs", is_running).await?;
    }
    namespace.cordon(&other, false).await?;
    let (_, kubelet) = namespace.victim().await?;
    let broken = Broken::begin(&components, &kubelet, Fault::Killed(Duration::ZERO)).await?;
    namespace.cloud_deletes(&victim).await?;
    let gone = "disrupted node-gone started nodeGone";
    for task in [ends, commits] {
        task.ended().await?.exits(75)?.came_to(&[gone])?.says("gap: ")?.has_line("begun", 1)?;
    }
    let twice = twice.ended().await?;
    broken.end().await?;
    namespace.is_well().await?;
    twice.exits(0)?.came_to(&[gone, SUCCEEDED])?.has_line("elsewhere", 1)?;
    for (task, starts) in [("ends", &[1][..]), ("twice", &[1, 2]), ("commits", &[1])] {
        ledger.shows(task, starts)?;
    }
    namespace.is_empty().await
}

impl Namespace<'_> {
    /// What its controller does when a machine is not there any more.
    async fn cloud_deletes(&self, node: &str) -> Result<(), Error> {
        let path = format!("/api/v1/nodes/{node}");
        let uid = self.get(&path).await?["metadata"]["uid"].clone();
        let object = json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid});
        let message = format!("Deleting node {node} because it does not exist in the cloud provider");
        let event = json!({"metadata": {"name": format!("{node}.{}", self.name)}, "involvedObject": object, "type": "Normal",
            "reason": "DeletingNode", "message": message, "source": {"component": "cloud-node-lifecycle-controller"}});
        self.post("/api/v1/namespaces/default/events", &event).await?;
        self.delete(&path, &json!({})).await.map(drop)
    }
}
