//! Tasks that nothing happens to.

use super::{is_running, same, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::container::container;
use serde_json::json;

pub(super) async fn undisturbed(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.kpo("run", &shell(&[], "echo hello")).await?.exits(0)?.prints("hello\n")?;
    namespace.is_empty().await
}

pub(super) async fn exit_code(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ended = namespace.kpo("run", &shell(&["-o", "json"], "echo no; exit 7")).await?.exits(7)?;
    let outcome = ended.outcome()?;
    same("verdict", &outcome["verdict"], &json!("failed"))?;
    same("attempts", &json!(outcome["attempts"].as_array().map(Vec::len)), &json!(1))?;
    namespace.is_empty().await
}

pub(super) async fn init_containers(namespace: &Namespace<'_>) -> Result<(), Error> {
    let init = format!("spec.initContainers=[{}]", container("prepare", "echo prepared"));
    let ended = namespace.kpo("run", &shell(&["--set", &init], "echo hello")).await?;
    ended.exits(0)?.prints("hello\n")?.says("[prepare] prepared")?;
    namespace.is_empty().await
}

pub(super) async fn name_in_use(namespace: &Namespace<'_>) -> Result<(), Error> {
    let first = namespace.start("run", &shell(&["--set", "spec.terminationGracePeriodSeconds=1"], "sleep 600"))?;
    namespace.pod("task-1", "runs", is_running).await?;
    namespace.kpo("run", &shell(&[], "echo hello")).await?.exits(126)?.prints("")?.says("kpo attach")?;
    same("pods", &json!(namespace.pods().await?.len()), &json!(1))?;
    first.signal("INT").await?;
    first.ended().await?.exits(130)?;
    namespace.is_empty().await
}

pub(super) async fn sidecar_runs_on(namespace: &Namespace<'_>) -> Result<(), Error> {
    let sidecar = format!("spec.containers[1]={}", container("side", "while true; do sleep 1; done"));
    let flags = ["--set", &sidecar, "--set", "spec.terminationGracePeriodSeconds=1"];
    namespace.kpo("run", &shell(&flags, "echo hello")).await?.exits(0)?.prints("hello\n")?;
    namespace.is_empty().await
}

pub(super) async fn kept_after_failure(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.kpo("run", &shell(&["--on-finish", "keep-failed"], "exit 3")).await?.exits(3)?;
    namespace.pod("task-1", "is kept", |pod| pod["status"]["phase"] == "Failed").await?;
    namespace.kpo("why", &["task"]).await?.exits(0).map(drop)
}
