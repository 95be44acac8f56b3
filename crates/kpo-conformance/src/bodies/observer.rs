//! Observers that leave, die and come back.

use super::{is_running, same, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::ledger::Ledger;
use serde_json::json;

const COUNTS: &str = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 1; done";

pub(super) async fn cancelled(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.start("run", &shell(&[], "trap 'echo term; exit 3' TERM; while true; do sleep 1; done"))?;
    namespace.pod("task-1", "runs", is_running).await?;
    task.signal("INT").await?;
    task.ended().await?.exits(130)?.prints("term\n")?;
    namespace.is_empty().await
}

pub(super) async fn detached_and_attached(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.start("run", &shell(&[], COUNTS))?;
    namespace.pod("task-1", "runs", is_running).await?;
    task.signal("TERM").await?;
    task.ended().await?.says("kpo attach")?;
    namespace.kpo("attach", &["task", "--take-over"]).await?.exits(0)?.prints("1\n2\n3\n4\n5\n6\n7\n8\n")?;
    namespace.is_empty().await
}

pub(super) async fn killed_and_taken_over(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let task = namespace.start("run", &ledger.run("task", &[], COUNTS))?;
    namespace.pod("task-1", "runs", is_running).await?;
    task.signal("KILL").await?;
    same("exit code", &json!(task.ended().await?.code), &json!(null))?;
    namespace.kpo("attach", &["task", "--take-over"]).await?.exits(0)?.prints("1\n2\n3\n4\n5\n6\n7\n8\n")?;
    ledger.shows("task", &[1])?;
    namespace.is_empty().await
}

/// Who attaches afterwards adopts the success, and all that was printed.
pub(super) async fn succeeded_while_nobody_watched(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let task = namespace.start("run", &ledger.run("task", &[], COUNTS))?;
    namespace.pod("task-1", "runs", is_running).await?;
    task.signal("KILL").await?;
    task.ended().await?;
    namespace.pod("task-1", "has succeeded", |pod| pod["status"]["phase"] == "Succeeded").await?;
    namespace.kpo("attach", &["task", "--take-over"]).await?.exits(0)?.prints("1\n2\n3\n4\n5\n6\n7\n8\n")?;
    ledger.shows("task", &[1])?;
    namespace.is_empty().await
}

/// The finalizer keeps the last state for us while nobody watches.
pub(super) async fn protected_and_deleted(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.start("run", &shell(&["--protect"], "sleep 3; echo hello"))?;
    namespace.pod("task-1", "runs", is_running).await?;
    task.signal("KILL").await?;
    task.ended().await?;
    namespace.pod("task-1", "has run", |pod| pod["status"]["phase"] == "Succeeded").await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({"gracePeriodSeconds": 0})).await?;
    namespace.kpo("attach", &["task", "--take-over"]).await?.exits(0)?;
    namespace.is_empty().await
}

/// The second only follows: what it sees is the same, what is written is the first one's.
pub(super) async fn two_observers(namespace: &Namespace<'_>) -> Result<(), Error> {
    let first = namespace.start("run", &shell(&[], COUNTS))?;
    namespace.pod("task-1", "runs", is_running).await?;
    let second = namespace.start("attach", &["task"])?;
    let all = "1\n2\n3\n4\n5\n6\n7\n8\n";
    let (first, second) = futures::future::join(first.ended(), second.ended()).await;
    first?.exits(0)?.prints(all)?;
    second?.exits(0)?.prints(all)?;
    namespace.is_empty().await
}
