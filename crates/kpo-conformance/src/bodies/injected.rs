//! Containers that a mutating webhook puts into the pod: they are not the task's.

use super::{WAITS_FOR_SETTINGS, disruption};
use crate::Error;
use crate::cluster::Namespace;
use crate::container::container;
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
    let mut side = container("side", RUNS);
    side["restartPolicy"] = json!("Always");
    json!([{"op": "add", "path": "/spec/initContainers", "value": [container("prepares", "echo injected"), side]}])
}

/// It stops with a failure of its own while the task goes on.
fn failing() -> Value {
    json!([{"op": "add", "path": "/spec/containers/0", "value": container("side", "exit 3")}])
}

/// A task that ends, and one that is taken away before it began, though what was injected had run.
async fn with(namespace: &Namespace<'_>, patch: Value) -> Result<(), Error> {
    let webhook = Webhook::start(namespace, patch).await?;
    let both = both(namespace).await;
    webhook.end(namespace).await?;
    both
}

async fn both(namespace: &Namespace<'_>) -> Result<(), Error> {
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

pub(super) async fn plain_sidecar_injected(namespace: &Namespace<'_>) -> Result<(), Error> {
    with(namespace, plain()).await
}

pub(super) async fn native_sidecar_injected(namespace: &Namespace<'_>) -> Result<(), Error> {
    with(namespace, native()).await
}

pub(super) async fn failing_sidecar_injected(namespace: &Namespace<'_>) -> Result<(), Error> {
    with(namespace, failing()).await
}
