//! How a program ends, or fails to begin: the kubelet's words for it.

use super::preempted::SUCCEEDED;
use super::{ENDURES, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::container::{container, resources, run_program};
use serde_json::{Value, json};

/// More than the storage that is given, and it runs on.
const FILLS: &str = "head -c 20000000 /dev/zero > $PLACE/x; while true; do sleep 0.2; done";

/// Runs a task to its end.
async fn comes_to(
    namespace: &Namespace<'_>,
    flags: &[&str],
    script: &str,
    code: i32,
    verdict: &str,
) -> Result<(), Error> {
    let ended = namespace.kpo("run", &shell(&[&["-o", "json"], flags].concat(), script)).await?;
    ended.exits(code)?.came_to(&[verdict])?;
    namespace.is_empty().await
}

/// The argument that gives the task these init containers.
pub(super) fn init(containers: &[Value]) -> String {
    format!("spec.initContainers={}", json!(containers))
}

pub(super) async fn init_fails(namespace: &Namespace<'_>) -> Result<(), Error> {
    let init = init(&[container("setup", "exit 5")]);
    comes_to(namespace, &["--set", &init], "echo hello", 1, "failed initFailed").await
}

/// It works for longer than the starting clock: that is progress, not a start that hangs.
pub(super) async fn init_container_works_for_long(namespace: &Namespace<'_>) -> Result<(), Error> {
    let init = init(&[container("setup", "sleep 12")]);
    comes_to(namespace, &["--start-timeout", "8s", "--set", &init], "echo hello", 0, SUCCEEDED).await
}

pub(super) async fn not_executable(namespace: &Namespace<'_>) -> Result<(), Error> {
    let run = run_program("task", &["-o", "json", "--rerun", "idempotent"], &["/no/such/program"]);
    namespace.kpo("run", &run).await?.exits(126)?.came_to(&["launchFailed startError 128"])?;
    namespace.is_empty().await
}

/// The program itself, process 1, is killed at its container's limit.
pub(super) async fn out_of_memory(namespace: &Namespace<'_>) -> Result<(), Error> {
    let mut little = resources("10m", "1");
    little["limits"]["memory"] = json!("24Mi");
    let set = format!("spec.containers[0].resources={little}");
    let flags = ["--rerun", "idempotent", "--set", &set];
    comes_to(namespace, &flags, "exec tail -n 1 /dev/zero", 137, "failed outOfMemory 137").await
}

/// Long enough for it to have begun.
pub(super) async fn deadline_of_the_template(namespace: &Namespace<'_>) -> Result<(), Error> {
    let flags = ["--rerun", "idempotent", "--set", "spec.activeDeadlineSeconds=6"];
    comes_to(namespace, &flags, ENDURES, 143, "failed deadlineExceeded 143").await
}

/// The argument that limits what the task's container may write.
fn with_storage(limit: &str) -> String {
    let mut little = resources("10m", "1");
    little["limits"]["ephemeral-storage"] = json!(limit);
    format!("spec.containers[0].resources={little}")
}

/// The kubelet measures what a pod has written every ten seconds, and its volumes every minute. Whether it still knows the container's exit code when it
/// writes the phase is a race of its own.
async fn fills(namespace: &Namespace<'_>, more: &[&str]) -> Result<(), Error> {
    let short = ["--rerun", "idempotent", "--set", "spec.terminationGracePeriodSeconds=1"];
    let ended = namespace.kpo("run", &shell(&[&["-o", "json"], &short[..], more].concat(), FILLS)).await?;
    if ended.code == Some(1) {
        ended.came_to(&["failed storageExceeded"])?
    } else {
        ended.exits(137)?.came_to(&["failed storageExceeded 137"])?
    };
    namespace.is_empty().await
}

pub(super) async fn storage_over_the_pods_limit(namespace: &Namespace<'_>) -> Result<(), Error> {
    fills(namespace, &["--set", &with_storage("5Mi"), "--env", "PLACE=/tmp"]).await
}

/// One container is beyond its limit; the pod as a whole is not.
pub(super) async fn storage_over_a_containers_limit(namespace: &Namespace<'_>) -> Result<(), Error> {
    let mut idle = container("idle", ENDURES);
    idle["resources"]["limits"]["ephemeral-storage"] = json!("1Gi");
    let idle = format!("spec.containers[1]={idle}");
    fills(namespace, &["--set", &with_storage("5Mi"), "--env", "PLACE=/tmp", "--set", &idle]).await
}

pub(super) async fn volume_over_limit(namespace: &Namespace<'_>) -> Result<(), Error> {
    let volume = r#"spec.volumes=[{"name":"data","emptyDir":{"sizeLimit":"5Mi"}}]"#;
    let mount = r#"spec.containers[0].volumeMounts=[{"name":"data","mountPath":"/data"}]"#;
    fills(namespace, &["--set", volume, "--set", mount, "--env", "PLACE=/data"]).await
}

pub(super) async fn config_map_comes_late(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.waiting(&[]).await?;
    namespace.give_settings().await?;
    task.ended().await?.exits(0)?.came_to(&[SUCCEEDED])?.has_line("hello", 1)?;
    namespace.is_empty().await
}

pub(super) async fn not_kept_after_success(namespace: &Namespace<'_>) -> Result<(), Error> {
    comes_to(namespace, &["--on-finish", "keep-failed"], "true", 0, SUCCEEDED).await
}

/// It is kept, and the cluster keeps no ended pods: what PodGC does when there are too many. Who comes then is told that there is none.
pub(super) async fn collected_over_the_threshold(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.start("run", &shell(&["-o", "json", "--on-finish", "keep-failed"], "sleep 1; exit 3"))?;
    task.ended().await?.exits(3)?.came_to(&["failed programFailed 3"])?;
    namespace.are_left(&["task-1"]).await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({"gracePeriodSeconds": 0})).await?;
    namespace.is_empty().await?;
    namespace.kpo("attach", &["task"]).await?.exits(66)?.says("finished and cleaned up, or lost").map(drop)
}

/// All is said in the last moment.
pub(super) async fn log_at_the_very_end(namespace: &Namespace<'_>) -> Result<(), Error> {
    for script in ["echo a; echo b; echo c", "sleep 2; echo a; echo b; echo c"] {
        namespace.kpo("run", &shell(&[], script)).await?.exits(0)?.prints("a\nb\nc\n")?;
        namespace.is_empty().await?;
    }
    Ok(())
}

/// Init containers, native sidecars and the program speak; only the last is the task's output.
pub(super) async fn logs_of_all_kinds_of_containers(namespace: &Namespace<'_>) -> Result<(), Error> {
    let mut proxy = container("proxy", &format!("echo proxying; {ENDURES}"));
    proxy["restartPolicy"] = json!("Always");
    let init = init(&[proxy, container("setup", "echo setting up; sleep 1; echo set up")]);
    let flags = ["--set", &init, "--set", "spec.terminationGracePeriodSeconds=2"];
    let ended = namespace.kpo("run", &shell(&flags, "echo first; sleep 2; echo last")).await?.exits(0)?;
    let ended = ended.prints("first\nlast\n")?.has_line("[proxy] proxying", 1)?;
    ended.has_line("[setup] setting up", 1)?.has_line("[setup] set up", 1)?;
    namespace.is_empty().await
}
