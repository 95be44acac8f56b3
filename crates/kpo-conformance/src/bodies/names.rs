//! Names and labels: what is the task's, and what only looks like it.

use super::preempted::{HELD, SUCCEEDED};
use super::{WAITS_FOR_SETTINGS, is_running, is_waiting, same, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::container::{SIDECAR, container};
use crate::ledger::Ledger;
use crate::proxy::{Fault, Proxy};
use serde_json::{Value, json};

const ENDS: &str = "until [ -e /ledger/stop ]; do sleep 0.1; done; echo hello";

/// An impostor has the name: it is left alone, and nothing is created.
pub(super) async fn name_is_taken(namespace: &Namespace<'_>) -> Result<(), Error> {
    let uid = namespace.somebodys("task-1").await?;
    let ended = namespace.kpo("run", &shell(&["-o", "json"], "true")).await?.exits(126)?;
    ended.came_to(&["launchFailed nameTaken"])?.never_says("theirs")?;
    namespace.is_left_alone("task-1", &uid).await
}

/// The next attempt's name belongs to a foreign pod that is on its way out: it is waited for.
pub(super) async fn next_name_is_taken_for_a_while(namespace: &Namespace<'_>) -> Result<(), Error> {
    let proxy = Proxy::start(namespace, |_| Fault::Pass).await?;
    let flags = ["-o", "json", "--set", WAITS_FOR_SETTINGS];
    let task = namespace.start_as(proxy.kubeconfig(), "run", &shell(&flags, "echo hello"))?;
    namespace.pod("task-1", "waits for its settings", is_waiting).await?;
    namespace.somebodys("task-2").await?;
    namespace.finalizers("task-2", &[HELD]).await?;
    namespace.delete(&namespace.path("pods/task-2"), &json!({})).await?;
    namespace.evict("task-1").await?;
    // The first attempt's, and two that were refused.
    namespace.saw(&proxy, "create pods", 3).await?;
    namespace.finalizers("task-2", &[]).await?;
    namespace.give_settings().await?;
    let ended = task.ended().await?.exits(0)?.came_to(&["disrupted eviction never evicted", SUCCEEDED])?;
    ended.has_line("hello", 1)?.never_says("theirs")?;
    namespace.is_empty().await
}

/// Another pod carries the task's label: who takes over takes the one with the right nonce, and leaves the other alone.
pub(super) async fn more_pods_with_the_label(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let task = namespace.start("run", &ledger.run("task", &["-o", "json"], ENDS))?;
    namespace.pod("task-1", "runs", is_running).await?;
    let uid = namespace.somebodys("other").await?;
    namespace.label("other", json!("task")).await?;
    let second = namespace.taken_over(task).await?;
    ledger.allow("stop")?;
    second.ended().await?.exits(0)?.came_to(&[SUCCEEDED])?.has_line("hello", 1)?.never_says("theirs")?;
    ledger.shows("task", &[1])?;
    namespace.are_left(&["other"]).await?;
    namespace.is_left_alone("other", &uid).await
}

impl Namespace<'_> {
    /// Gives a pod the label of a task; null: takes it off.
    pub(super) async fn label(&self, pod: &str, task: Value) -> Result<(), Error> {
        let labels = json!({"metadata": {"labels": {"kpo.rs/task": task}}});
        self.merge(&self.path(&format!("pods/{pod}")), &labels).await.map(drop)
    }
}

/// A watch by label says DELETED, one read says otherwise.
pub(super) async fn label_stripped_from_a_live_pod(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let task = namespace.start("run", &ledger.run("task", &["-o", "json"], ENDS))?;
    namespace.pod("task-1", "runs", is_running).await?;
    let proxy = Proxy::start(namespace, |_| Fault::Pass).await?;
    let follower = namespace.start_as(proxy.kubeconfig(), "attach", &["task", "-o", "json"])?;
    namespace.saw(&proxy, "get pods/1/log base", 1).await?;
    namespace.label("task-1", Value::Null).await?;
    namespace.saw(&proxy, "get pods/1", 1).await?;
    ledger.allow("stop")?;
    for ended in [task.ended().await?, follower.ended().await?] {
        ended.exits(0)?.came_to(&[SUCCEEDED])?.has_line("hello", 1)?;
    }
    ledger.shows("task", &[1])?;
    namespace.is_empty().await
}

/// The program has left its result, which its sidecar hands over when all the others have ended: a label that is taken off meanwhile is not the end of
/// the pod for one who follows.
pub(super) async fn label_stripped_while_a_result_is_awaited(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let mut side = container("side", "until [ -e /ledger/side ]; do sleep 0.1; done");
    side["volumeMounts"] = json!([{"name": "ledger", "mountPath": "/ledger"}]);
    let side = format!("spec.containers[1]={side}");
    let flags = ["--result", "--results-image", SIDECAR, "--set", &side];
    let script = "until [ -e /ledger/stop ]; do sleep 0.1; done; mkdir -p /airflow/xcom; echo [1,2,3] > /airflow/xcom/return.json";
    let task = namespace.start("run", &ledger.run("task", &flags, script))?;
    namespace.pod("task-1", "runs", is_running).await?;
    task.signal("KILL").await?;
    task.ended().await?;
    let proxy = Proxy::start(namespace, |_| Fault::Pass).await?;
    let follower = namespace.start_as(proxy.kubeconfig(), "attach", &["task", "-o", "json"])?;
    namespace.saw(&proxy, "get pods/1/log base", 1).await?;
    ledger.allow("stop")?;
    namespace.pod("task-1", "has left its result", own_has_ended).await?;
    namespace.label("task-1", Value::Null).await?;
    namespace.saw(&proxy, "get pods/1", 1).await?;
    ledger.allow("side")?;
    let ended = follower.ended().await?.exits(0)?.came_to(&[SUCCEEDED])?;
    same("result", &ended.outcome()?["result"], &json!([1, 2, 3]))?;
    namespace.remove_leftovers().await
}

fn own_has_ended(pod: &Value) -> bool {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    statuses.into_iter().any(|one| one["name"] == "base" && one["state"]["terminated"].is_object())
}
