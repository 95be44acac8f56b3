//! When a task runs again, and how often: deletions that nobody signed, the user's retries, the point of no return.

use super::preempted::SUCCEEDED;
use super::{ENDURES, is_running, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::container::container;
use crate::ledger::Ledger;
use serde_json::{Value, json};

const EVICTED: &str = "disrupted eviction started evicted 143";
/// Nobody signed.
const DELETED: &str = "disrupted deleted-outside never deletedOutside";

/// The task may run twice, and still ends: somebody wanted it gone.
pub(super) async fn deleted_by_hand(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.running(&["--rerun", "idempotent"], ENDURES).await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({})).await?;
    task.ended().await?.exits(75)?.came_to(&["disrupted deleted-outside started deletedOutside 143"])?;
    namespace.is_empty().await
}

/// The user said that such deletions mean nothing.
pub(super) async fn helm_deletes_and_it_comes_again(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.waiting(&["--on-unsigned-delete", "recreate"]).await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({})).await?;
    namespace.pod("task-2", "takes its place", |_| true).await?;
    namespace.give_settings().await?;
    task.ended().await?.exits(0)?.came_to(&[DELETED, SUCCEEDED])?.has_line("hello", 1)?;
    namespace.is_empty().await
}

/// Without its grace: nobody attests that nothing ran, and nobody says that it stands still.
pub(super) async fn force_deleted_while_waiting(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.waiting(&["--on-unsigned-delete", "recreate"]).await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({"gracePeriodSeconds": 0})).await?;
    task.ended().await?.exits(75)?.came_to(&["disrupted deleted-outside unknown deletedOutside"])?;
    namespace.is_empty().await
}

/// Deleted before it had a node, and held by kpo's finalizer: PodGC writes a phase that no kubelet wrote; it never had a node.
pub(super) async fn unscheduled_and_held(namespace: &Namespace<'_>) -> Result<(), Error> {
    let selector = format!("spec.nodeSelector={}", namespace.of_late_node());
    let flags = ["-o", "json", "--protect", "--on-unsigned-delete", "recreate", "--set", &selector];
    let task = namespace.start("run", &shell(&flags, "echo hello"))?;
    let is_so = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
    namespace.pod("task-1", "fits nowhere", is_so).await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({})).await?;
    namespace.pod("task-2", "takes its place", |_| true).await?;
    namespace.late_node(true).await?;
    task.ended().await?.exits(0)?.came_to(&[DELETED, SUCCEEDED])?.has_line("hello", 1)?;
    namespace.is_empty().await
}

/// It may run twice, and is evicted each time that it runs.
pub(super) async fn budget_of_started(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let flags = ["-o", "json", "--rerun", "idempotent", "--rerun-started", "2"];
    let task = namespace.start("run", &ledger.run("task", &flags, ENDURES))?;
    for attempt in 1..=3 {
        let pod = format!("task-{attempt}");
        namespace.pod(&pod, "runs", is_running).await?;
        namespace.evict(&pod).await?;
    }
    task.ended().await?.exits(75)?.came_to(&[EVICTED; 3])?;
    ledger.shows("task", &[1, 2, 3])?;
    namespace.is_empty().await
}

pub(super) async fn retries_used_up(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let ended = namespace.kpo("run", &ledger.run("task", &["-o", "json", "--retries", "1"], "exit 4")).await?;
    ended.exits(4)?.came_to(&["failed programFailed 4"; 2])?;
    ledger.shows("task", &[1, 2])?;
    namespace.is_empty().await
}

/// Its program failed while another container of it runs on, and does not heed TERM: the retry is held until that stands still, too. The second attempt
/// fails with 9 if it sees the first one's worker at work.
pub(super) async fn retries_beside_one_that_runs(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let works = "trap '' TERM; i=0; while true; do i=$((i+1)); echo $i > /ledger/$HOSTNAME; sleep 0.1; done";
    let mut worker = container("worker", works);
    worker["volumeMounts"] = json!([{"name": "ledger", "mountPath": "/ledger"}]);
    let worker = format!("spec.containers[1]={worker}");
    let fails = "until [ -s /ledger/$HOSTNAME ]; do sleep 0.1; done; [ $KPO_ATTEMPT != 1 ] || exit 3; \
        a=$(cat /ledger/task-1); sleep 1; [ \"$a\" = \"$(cat /ledger/task-1)\" ] || exit 9";
    let short = ["--set", "spec.terminationGracePeriodSeconds=3"];
    let flags = [&["-o", "json", "--retries", "1", "--set", &worker], &short[..]].concat();
    let ended = namespace.kpo("run", &ledger.run("task", &flags, fails)).await?.exits(0)?;
    ended.came_to(&["failed programFailed 3", SUCCEEDED])?;
    ledger.shows("task", &[1, 2])?;
    namespace.is_empty().await
}

/// Evicted when its program has written this, or nothing, to its termination message; the next attempt ends at once.
async fn until_commit(namespace: &Namespace<'_>, writes: &str) -> Result<(Ledger, crate::command::Ended), Error> {
    let ledger = Ledger::open(namespace).await?;
    let script = format!("[ $KPO_ATTEMPT = 1 ] || exit 0; {writes}; touch /ledger/ready; {ENDURES}");
    let task = namespace.start("run", &ledger.run("task", &["-o", "json", "--rerun", "until-commit"], &script))?;
    namespace.wait("it is ready", || async { Ok(ledger.has("ready")) }).await?;
    namespace.pod("task-1", "runs", is_running).await?;
    namespace.evict("task-1").await?;
    let ended = task.ended().await?;
    namespace.is_empty().await?;
    Ok((ledger, ended))
}

pub(super) async fn until_commit_committed(namespace: &Namespace<'_>) -> Result<(), Error> {
    let (ledger, ended) = until_commit(namespace, "echo committed > /dev/termination-log").await?;
    ended.exits(75)?.came_to(&[EVICTED])?.because("evicted", "passed its point of no return")?;
    ledger.shows("task", &[1])
}

pub(super) async fn until_commit_not_committed(namespace: &Namespace<'_>) -> Result<(), Error> {
    let (ledger, ended) = until_commit(namespace, "true").await?;
    ended.exits(0)?.came_to(&[EVICTED, SUCCEEDED])?;
    ledger.shows("task", &[1, 2])
}
