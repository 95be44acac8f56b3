//! Containers that a mutating webhook puts into the pod: they are not the task's.

use super::preempted::SUCCEEDED;
use super::{WAITS_FOR_SETTINGS, disruption, is_without_image, same, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::components::Components;
use crate::container::{SIDECAR, container};
use crate::ledger::Ledger;
use crate::webhook::Webhook;
use serde_json::{Value, json};

/// Has to be ended: at the end of a pod nobody ends a plain container that runs on.
const RUNS: &str = "echo injected; trap 'exit 0' TERM; while true; do sleep 0.2; done";

/// An init container, and the sidecar as its first container: who takes the first for the task's takes the wrong one.
fn plain() -> Value {
    json!([{"op": "add", "path": "/spec/initContainers", "value": [container("prepares", "echo injected")]},
        {"op": "add", "path": "/spec/containers/0", "value": container("side", RUNS)}])
}

/// An init container that runs on as the pod does (`restartPolicy: Always`).
fn native() -> Value {
    json!([{"op": "add", "path": "/spec/initContainers", "value": [container("prepares", "echo injected"), side()]}])
}

fn side() -> Value {
    let mut side = container("side", RUNS);
    side["restartPolicy"] = json!("Always");
    side
}

/// It stops with a failure of its own while the task goes on.
fn failing() -> Value {
    json!([{"op": "add", "path": "/spec/containers/0", "value": container("side", "exit 3")}])
}

/// A task that ends, and one that is taken away before it began, though what was injected had run.
async fn with(namespace: &Namespace<'_>, patch: Value) -> Result<(), Error> {
    let _webhook = Webhook::start(namespace, patch).await?;
    let ledger = Ledger::open(namespace).await?;
    let run = |task: &str, flags: &[&str], script: &str| {
        let flags = [&["--set", "spec.terminationGracePeriodSeconds=2"], flags].concat();
        namespace.start("run", &ledger.run(task, &flags, script))
    };
    let ends = run("ends", &[], "sleep 1; echo hello")?;
    let fails = run("fails", &[], "sleep 1; echo hello; exit 7")?;
    let taken = run("taken", &["-o", "json", "--set", WAITS_FOR_SETTINGS], "echo hello")?;
    namespace.pod("taken-1", "waits, and what was injected has run", |pod| own_waits(pod) && other_ran(pod)).await?;
    namespace.evict("taken-1").await?;
    namespace.pod("taken-2", "takes its place", |_| true).await?;
    namespace.give_settings().await?;
    disruption::disrupted(&taken.ended().await?.exits(0)?, "eviction", "never")?;
    ends.ended().await?.exits(0)?.prints("hello\n")?;
    fails.ended().await?.exits(7)?.prints("hello\n")?;
    for (task, starts) in [("ends", 1), ("fails", 1), ("taken", 2)] {
        ledger.shows(task, &[starts])?;
    }
    namespace.is_empty().await
}

/// All statuses, those of init containers too.
fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainerStatuses", "containerStatuses"].into_iter().flat_map(|key| pod["status"][key].as_array()).flatten()
}

fn own_waits(pod: &Value) -> bool {
    statuses(pod).any(|one| one["name"] == "base" && one["state"]["waiting"]["reason"] == "CreateContainerConfigError")
}

fn other_ran(pod: &Value) -> bool {
    statuses(pod).any(|one| one["name"] == "side" && !one["state"]["waiting"].is_object())
}

/// The cluster takes no gates: the replacement runs at once.
pub(super) async fn no_gates(namespace: &Namespace<'_>) -> Result<(), Error> {
    let none = json!([{"op": "add", "path": "/spec/schedulingGates", "value": []}]);
    let _webhook = Webhook::start_for(namespace, none, json!({"schedulingGates": [{"name": "kpo.rs/tried"}]})).await?;
    let task = namespace.waiting(&[]).await?;
    namespace.evict("task-1").await?;
    let second = namespace.pod("task-2", "takes its place", |_| true).await?;
    namespace.give_settings().await?;
    task.ended().await?.exits(0)?.came_to(&["disrupted eviction never evicted", SUCCEEDED])?.has_line("hello", 1)?;
    same("gates", &second["spec"]["schedulingGates"], &Value::Null)?;
    namespace.is_empty().await
}

/// Before the user's own init container, whose image is not there yet, what was injected has run and runs: it does not count.
pub(super) async fn init_container_pulls_beside_a_mesh(namespace: &Namespace<'_>) -> Result<(), Error> {
    let add = |container: &Value| json!({"op": "add", "path": "/spec/initContainers/0", "value": container});
    let before = json!([add(&side()), add(&container("prepares", "echo injected"))]);
    let more = json!({"initContainers": [container("setup", "true")]});
    let _webhook = Webhook::start_for(namespace, before, more).await?;
    let mut setup = container("setup", "true");
    setup["image"] = json!(format!("kpo.rs/mesh-{}:1", std::process::id()));
    let init = format!("spec.initContainers={}", json!([setup]));
    let flags = ["-o", "json", "--set", "spec.terminationGracePeriodSeconds=2", "--set", &init];
    let task = namespace.start("run", &shell(&flags, "echo hello"))?;
    let pulls =
        |pod: &Value| other_ran(pod) && statuses(pod).any(|one| one["name"] == "setup" && is_without_image(one));
    namespace.pod("task-1", "has no image for its init container", pulls).await?;
    namespace.evict("task-1").await?;
    namespace.pod("task-2", "takes its place", |_| true).await?;
    Components::here()?.run(&["tag", setup["image"].as_str().unwrap_or_default()]).await?;
    let ended = task.ended().await?.exits(0)?;
    ended.came_to(&["disrupted eviction never evicted", SUCCEEDED])?.has_line("hello", 1)?;
    namespace.is_empty().await
}

/// What was injected takes its share of the termination messages, so the kubelet cuts what fitted by itself: the log has it whole.
pub(super) async fn result_that_is_cut(namespace: &Namespace<'_>) -> Result<(), Error> {
    let add =
        |list: &str, container: &Value| json!({"op": "add", "path": format!("/spec/{list}/0"), "value": container});
    let prepares = |number: u8| add("initContainers", &container(&format!("prepares-{number}"), "true"));
    let patch = json!([prepares(1), prepares(2), add("containers", &container("side", RUNS))]);
    let more = json!({"initContainers": [container("setup", "true")]});
    let _webhook = Webhook::start_for(namespace, patch, more).await?;
    let writes = r#"mkdir -p /airflow/xcom; (printf '"'; head -c 2900 /dev/zero | tr '\0' x; printf '"') > /airflow/xcom/return.json"#;
    let short = ["--set", "spec.terminationGracePeriodSeconds=2"];
    let flags = [&["-o", "json", "--result", "--results-image", SIDECAR], &short[..]].concat();
    let ended = namespace.kpo("run", &shell(&flags, writes)).await?.exits(0)?.came_to(&[SUCCEEDED])?;
    same("result", &ended.outcome()?["result"], &json!("x".repeat(2900)))?;
    namespace.is_empty().await
}

/// They would run on in a pod that is kept: `activeDeadlineSeconds` ends them.
pub(super) async fn sidecars_run_on_in_a_kept_pod(namespace: &Namespace<'_>) -> Result<(), Error> {
    let _webhook = Webhook::start(namespace, plain()).await?;
    let flags = ["--on-finish", "keep", "--set", "spec.terminationGracePeriodSeconds=2"];
    namespace.kpo("run", &shell(&flags, "sleep 1; echo hello")).await?.exits(0)?.prints("hello\n")?;
    let is_over = |pod: &Value| pod["status"]["reason"] == "DeadlineExceeded";
    let pod = namespace.pod("task-1", "is over", is_over).await?;
    same("activeDeadlineSeconds", &pod["spec"]["activeDeadlineSeconds"], &json!(1))?;
    namespace.remove_leftovers().await
}

pub(super) async fn plain_sidecar_injected(namespace: &Namespace<'_>) -> Result<(), Error> {
    with(namespace, plain()).await
}

pub(super) async fn native_sidecar_injected(namespace: &Namespace<'_>) -> Result<(), Error> {
    with(namespace, native()).await
}

pub(super) async fn failing_sidecar_injected(namespace: &Namespace<'_>) -> Result<(), Error> {
    with(namespace, failing()).await
}
