//! The smallest Roles (docs/rbac.yaml): kpo runs under exactly these, and each right that is missing is named where it is missed.

use super::{WAITS_FOR_SETTINGS, is_waiting, same, shell};
use crate::Error;
use crate::account::{FOR_RUN, rights};
use crate::cluster::Namespace;
use crate::command::Ended;
use crate::container::SIDECAR;
use serde_json::json;
use std::path::Path;

impl Namespace<'_> {
    /// Runs a task that is evicted before it starts, and then runs.
    async fn evicted(&self, kubeconfig: &Path) -> Result<Ended, Error> {
        let flags = ["--set", WAITS_FOR_SETTINGS, "--set", "spec.terminationGracePeriodSeconds=1"];
        let started = self.start_as(kubeconfig, "run", &shell(&flags, "echo hello"))?;
        self.pod("task-1", "waits for its settings", is_waiting).await?;
        self.evict("task-1").await?;
        self.give_settings().await?;
        let ended = started.ended().await?;
        self.take_settings().await?;
        Ok(ended)
    }

    /// Takes over a task that this account may only look at.
    async fn is_only_followed(&self, kubeconfig: &Path) -> Result<Ended, Error> {
        // The name is in use until then.
        self.is_empty().await?;
        let task = self.start("run", &shell(&["--on-finish", "keep"], "sleep 3; echo hello"))?;
        let task = self.runs(task).await?;
        let ended = self.start_as(kubeconfig, "attach", &["task", "--take-over"])?.ended().await?;
        task.ended().await?.exits(0)?.prints("hello\n")?;
        ended.says("it cannot be taken over, and is only followed")?.prints("hello\n")
    }
}

pub(super) async fn smallest_roles(namespace: &Namespace<'_>) -> Result<(), Error> {
    let account = namespace.account("runs", &rights(&FOR_RUN)?).await?;
    namespace.evicted(account.path()).await?.exits(0)?.prints("hello\n")?.never_says("forbidden")?;
    namespace.is_empty().await?;
    for how in ["message", "sidecar"] {
        let flags = ["--protect", "--result", "--results", how, "--results-image", SIDECAR];
        let script = "mkdir -p /airflow/xcom; echo 1 > /airflow/xcom/return.json";
        let ended = namespace.start_as(account.path(), "run", &shell(&flags, script))?.ended().await?;
        ended.exits(0)?.never_says("forbidden")?;
        namespace.is_empty().await?;
    }
    Ok(())
}

pub(super) async fn smallest_role_to_follow(namespace: &Namespace<'_>) -> Result<(), Error> {
    let account = namespace.account("looks", &rights(&["kpo-follow"])?).await?;
    // Kept: where the cluster is slow it has ended before it is followed.
    let task = namespace.start("run", &shell(&["--on-finish", "keep"], "sleep 3; echo hello"))?;
    namespace.pod("task-1", "runs", super::is_running).await?;
    namespace.start_as(account.path(), "why", &["task"])?.ended().await?.exits(0)?.never_says("forbidden")?;
    namespace.start_as(account.path(), "ls", &[""; 0])?.ended().await?.exits(0)?.never_says("forbidden")?;
    let ended = namespace.start_as(account.path(), "attach", &["task"])?.ended().await?;
    ended.exits(0)?.prints("hello\n")?.never_says("forbidden")?;
    task.ended().await?.exits(0)?;
    namespace.remove_leftovers().await
}

pub(super) async fn exec_with_its_role(namespace: &Namespace<'_>) -> Result<(), Error> {
    let flags = ["-o", "json", "--result", "--results", "exec", "--results-image", SIDECAR];
    let run = shell(&flags, "mkdir -p /airflow/xcom; echo 1 > /airflow/xcom/return.json");
    let without = namespace.account("runs", &rights(&FOR_RUN)?).await?;
    let ended = namespace.start_as(without.path(), "run", &run)?.ended().await?;
    same("exit", &json!(ended.code), &json!(65))?;
    ended.says("resources: [pods/exec]")?;
    namespace.is_empty().await?;
    let with = namespace.account("execs", &rights(&["kpo-run", "kpo-logs", "kpo-events", "kpo-exec"])?).await?;
    let outcome = namespace.start_as(with.path(), "run", &run)?.ended().await?.exits(0)?.outcome()?;
    same("result", &outcome["result"], &json!(1))?;
    namespace.is_empty().await
}

/// Each right is taken away in turn: what is lost then is what docs/rbac.yaml says, and the rule to add is named. (How long a task goes unwatched, and what its
/// events would have told, is the rule's word only.)
pub(super) async fn each_right_missing(namespace: &Namespace<'_>) -> Result<(), Error> {
    let all = rights(&FOR_RUN)?;
    for missing in &all {
        let (resource, verb) = missing;
        let rest: Vec<_> = all.iter().filter(|right| *right != missing).cloned().collect();
        let account = namespace.account(&format!("no-{verb}-{}", resource.replace('/', "-")), &rest).await?;
        let rule = format!("{{apiGroups: [\"\"], resources: [{resource}], verbs: [{verb}]}}");
        match (resource.as_str(), verb.as_str()) {
            ("pods", "create") => {
                let ended = namespace.start_as(account.path(), "run", &shell(&[], "echo hello"))?.ended().await?;
                ended.exits(77)?.prints("")?.says("verbs: [create, get, list, watch, patch, delete]")?;
            }
            ("pods", "get") => {
                namespace.start_as(account.path(), "why", &["task"])?.ended().await?.exits(77)?.says(&rule)?;
                // A run needs it only where something went unseen.
                namespace.evicted(account.path()).await?.exits(0)?.prints("hello\n")?.never_says("forbidden")?;
            }
            ("pods", "list") => {
                namespace.start_as(account.path(), "attach", &["task"])?.ended().await?.exits(77)?.says(&rule)?;
                namespace.evicted(account.path()).await?.exits(0)?.prints("hello\n")?.never_says("forbidden")?;
            }
            ("pods/log", _) => {
                namespace.evicted(account.path()).await?.exits(0)?.prints("")?.says(&rule)?;
            }
            ("pods", "delete") => {
                namespace.evicted(account.path()).await?.exits(0)?.prints("hello\n")?.says(&rule)?;
                namespace.are_left(&["task-2"]).await?;
            }
            ("pods", "patch") => {
                namespace.evicted(account.path()).await?.exits(0)?.prints("hello\n")?.says(&rule)?;
                namespace.is_only_followed(account.path()).await?.exits(0)?.says(&rule)?;
            }
            _ => {
                namespace.evicted(account.path()).await?.exits(0)?.prints("hello\n")?.says(&rule)?;
            }
        }
        namespace.remove_leftovers().await?;
    }
    Ok(())
}
