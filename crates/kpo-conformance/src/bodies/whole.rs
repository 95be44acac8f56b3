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
    let flags = ["-o", "json", "--rerun", "idempotent"];
    namespace.kpo("run", &shell(&flags, "echo no; exit 7")).await?.exits(7)?.came_to(&["failed programFailed 7"])?;
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

/// Its own end is what it shows.
pub(super) async fn kept_after_success(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.kpo("run", &shell(&["--on-finish", "keep"], "sleep 1")).await?.exits(0)?;
    let pod = namespace.pod("task-1", "has ended", |pod| pod["status"]["phase"] != "Running").await?;
    same("phase and reason", &json!([pod["status"]["phase"], pod["status"]["reason"]]), &json!(["Succeeded", null]))?;
    same("activeDeadlineSeconds", &pod["spec"]["activeDeadlineSeconds"], &json!(null))?;
    namespace.remove_leftovers().await
}

pub(super) async fn kept_after_failure(namespace: &Namespace<'_>) -> Result<(), Error> {
    let flags = ["--on-finish", "keep-failed=2h", "--protect"];
    namespace.kpo("run", &shell(&flags, "exit 3")).await?.exits(3)?;
    let pod = namespace.pod("task-1", "is kept", |pod| pod["status"]["phase"] == "Failed").await?;
    let metadata = &pod["metadata"];
    let expires = metadata["annotations"]["kpo.rs/expires"].is_string();
    same("expires, and is held", &json!([expires, metadata["finalizers"]]), &json!([true, null]))?;
    namespace.kpo("why", &["task"]).await?.exits(0).map(drop)
}
