//! The causes, by the names of their recordings.

use super::stage::{NODE, Stage, container, program, state, with};
use crate::Error;
use crate::components::Fault::{Killed, Paused};
use crate::registry::{OTHER_SLOW_IMAGE, Registry, SLOW_IMAGE};
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) struct Cause {
    pub(super) name: &'static str,
    pub(super) play: for<'a> fn(&'a Stage<'a>) -> LocalBoxFuture<'a, Result<(), Error>>,
}

macro_rules! causes {
    ($($name:ident)*) => { &[$(Cause { name: stringify!($name), play: |stage| Box::pin($name(stage)) },)*] };
}

pub(super) const CAUSES: &[Cause] = causes! {
    succeeded failed_exit_3 oom_killed run_container_error init_fails native_sidecar_result deadline_exceeded
    create_container_config_error image_pull_error slow_pull rejected_outofcpu emptydir_over_limit log_rotated
    unscheduled_deleted gated_deleted gates_lifted deleted_while_pulling deleted_during_slow_pull deleted_in_init deleted_while_running deleted_again_at_once
    succeeded_then_deleted container_record_lost_in_grace evicted_by_api preempted_before_start preempted_before_start_with_sidecar
    preempted_while_running preempted_finishes_in_grace preempted_sidecar_runs_image_pulling critical_pod_preempts
    taint_evicted_while_running memory_pressure storage_pressure finished_while_kubelet_was_down kubelet_restarted_while_running
    node_rebooted unreachable_then_back out_of_service node_deleted
};

const MOST: &str = "1500m";

fn most() -> Value {
    json!({"resources": {"requests": {"cpu": MOST}}})
}

/// A program that does not heed TERM.
fn sleeps() -> Value {
    program("sleep 100", json!({}))
}

async fn succeeded(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("echo hello", json!({}))).await?;
    stage.phase("Succeeded").await.map(drop)
}

async fn failed_exit_3(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("echo oops >&2; exit 3", json!({}))).await?;
    stage.phase("Failed").await.map(drop)
}

async fn oom_killed(stage: &Stage<'_>) -> Result<(), Error> {
    let little = json!({"resources": {"limits": {"memory": "20Mi"}, "requests": {"memory": "20Mi"}}});
    stage.task(program("dd if=/dev/zero of=/dev/shm/x bs=1M count=60", little)).await?;
    stage.phase("Failed").await.map(drop)
}

async fn run_container_error(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("", json!({"command": ["/no/such/program"]}))).await?;
    stage.phase("Failed").await.map(drop)
}

async fn init_fails(stage: &Stage<'_>) -> Result<(), Error> {
    let setup = json!({"initContainers": [container("setup", "exit 7")]});
    stage.task(with(program("echo hello", json!({})), setup)).await?;
    stage.phase("Failed").await.map(drop)
}

async fn native_sidecar_result(stage: &Stage<'_>) -> Result<(), Error> {
    let mount = json!({"volumeMounts": [{"name": "x", "mountPath": "/airflow/xcom"}]});
    let script =
        "trap 'cat /airflow/xcom/return.json > /dev/termination-log; exit 0' TERM; while :; do sleep 0.2; done";
    let mut sidecar = with(container("result", script), mount.clone());
    sidecar["restartPolicy"] = json!("Always");
    let base = program("echo '{\"answer\": 42}' > /airflow/xcom/return.json; sleep 1", mount);
    stage.task(with(base, json!({"initContainers": [sidecar], "volumes": [{"name": "x", "emptyDir": {}}]}))).await?;
    stage.phase("Succeeded").await.map(drop)
}

async fn deadline_exceeded(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(with(sleeps(), json!({"activeDeadlineSeconds": 5}))).await?;
    stage.phase("Failed").await.map(drop)
}

async fn create_container_config_error(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("echo hello", json!({"envFrom": [{"secretRef": {"name": "nope"}}]}))).await?;
    stage.waits("CreateContainerConfigError").await.map(drop)
}

async fn image_pull_error(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("echo hello", json!({"image": "nowhere.invalid/none:1"}))).await?;
    stage.waits("ImagePullBackOff").await.map(drop)
}

/// An image of a megabyte that takes some seconds.
async fn slow_pull(stage: &Stage<'_>) -> Result<(), Error> {
    let _registry = Registry::slow(&stage.components, &stage.namespace.target.kubeconfig).await?;
    stage.task(program("echo hello", json!({"image": SLOW_IMAGE}))).await?;
    stage.phase("Succeeded").await.map(drop)
}

/// Its kubelet goes on with what it has begun: it pulls the image, starts the container, and only then ends the pod.
async fn deleted_during_slow_pull(stage: &Stage<'_>) -> Result<(), Error> {
    let registry = Registry::slow(&stage.components, &stage.namespace.target.kubeconfig).await?;
    stage.task(program("sleep 100", json!({"image": OTHER_SLOW_IMAGE}))).await?;
    stage.namespace.wait("its image is half there", || async { Ok(registry.is_half_way()) }).await?;
    stage.delete().await?;
    stage.gone().await
}

async fn rejected_outofcpu(stage: &Stage<'_>) -> Result<(), Error> {
    let all = json!({"resources": {"requests": {"cpu": "5"}}});
    stage.task(with(program("echo hello", all), json!({"nodeName": NODE}))).await?;
    stage.phase("Failed").await.map(drop)
}

async fn emptydir_over_limit(stage: &Stage<'_>) -> Result<(), Error> {
    let mount = json!({"volumeMounts": [{"name": "x", "mountPath": "/x"}]});
    let base = program("dd if=/dev/zero of=/x/f bs=1M count=20; sleep 200", mount);
    stage.task(with(base, json!({"volumes": [{"name": "x", "emptyDir": {"sizeLimit": "5Mi"}}]}))).await?;
    // The kubelet measures volumes once a minute.
    stage
        .namespace
        .wait_for(Duration::from_secs(180), "it is evicted", || async {
            Ok(stage.namespace.get(&stage.namespace.path("pods/task")).await?["status"]["phase"] == "Failed")
        })
        .await
}

/// The kubelet looks every ten seconds whether a log has 10 MiB.
async fn log_rotated(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("seq 1 400000; sleep 12; echo end", json!({}))).await?;
    stage.phase("Succeeded").await.map(drop)
}

async fn unscheduled_deleted(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("echo hello", json!({"resources": {"requests": {"cpu": "64"}}}))).await?;
    stage.until("is not scheduled", |pod| pod["status"]["conditions"][0]["reason"] == "Unschedulable").await?;
    stage.pause(1000).await;
    stage.delete().await?;
    stage.gone().await
}

fn gated() -> Value {
    with(
        program("echo hello", json!({})),
        json!({"schedulingGates": [{"name": "example.com/quota"}, {"name": "kpo.rs/backoff"}]}),
    )
}

async fn gated_deleted(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(gated()).await?;
    stage.pause(1000).await;
    stage.delete().await?;
    stage.gone().await
}

/// One after the other.
async fn gates_lifted(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(gated()).await?;
    for left in [json!([{"name": "kpo.rs/backoff"}]), json!([])] {
        stage.pause(1000).await;
        stage.merge(&stage.namespace.path("pods/task"), &json!({"spec": {"schedulingGates": left}})).await?;
    }
    stage.phase("Succeeded").await.map(drop)
}

async fn deleted_while_pulling(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("echo hello", json!({"image": "nowhere.invalid/none:1"}))).await?;
    stage.waits("ErrImagePull").await?;
    stage.delete().await?;
    stage.gone().await
}

async fn deleted_in_init(stage: &Stage<'_>) -> Result<(), Error> {
    stage
        .task(with(program("echo hello", json!({})), json!({"initContainers": [container("setup", "sleep 100")]})))
        .await?;
    stage
        .until("its init runs", |pod| pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object())
        .await?;
    stage.delete().await?;
    stage.gone().await
}

async fn deleted_while_running(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(sleeps()).await?;
    stage.running().await?;
    stage.pause(1000).await;
    stage.delete().await?;
    stage.gone().await
}

/// Deleted, and a second later without any grace.
async fn deleted_again_at_once(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(with(sleeps(), json!({"terminationGracePeriodSeconds": 30}))).await?;
    stage.running().await?;
    stage.pause(1000).await;
    stage.delete().await?;
    stage.pause(1000).await;
    stage.namespace.delete(&stage.namespace.path("pods/task"), &json!({"gracePeriodSeconds": 0})).await?;
    stage.gone().await
}

async fn succeeded_then_deleted(stage: &Stage<'_>) -> Result<(), Error> {
    succeeded(stage).await?;
    stage.delete().await?;
    stage.gone().await
}

async fn container_record_lost_in_grace(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(with(sleeps(), json!({"terminationGracePeriodSeconds": 10}))).await?;
    stage.running().await?;
    stage.pause(1000).await;
    stage.delete().await?;
    stage.pause(2000).await;
    // A kubelet that sees the end before the record is gone has nothing to miss.
    let silent = Paused(Duration::ZERO);
    stage.begin(silent).await?;
    stage.lose_containers().await?;
    stage.end(silent).await?;
    stage.gone().await
}

async fn evicted_by_api(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(sleeps()).await?;
    stage.running().await?;
    stage.pause(1000).await;
    stage.namespace.evict("task").await?;
    stage.gone().await
}

/// A volume that is not there keeps it from starting.
fn waits_for_a_volume() -> Value {
    let mut more = most();
    more["volumeMounts"] = json!([{"name": "v", "mountPath": "/late"}]);
    with(program("echo hello", more), json!({"volumes": [{"name": "v", "configMap": {"name": "late"}}]}))
}

fn sidecar() -> Value {
    let mut sidecar = container("result", "trap 'exit 0' TERM; while :; do sleep 0.2; done");
    sidecar["restartPolicy"] = json!("Always");
    json!({ "initContainers": [sidecar] })
}

/// The task is preempted so many milliseconds after it was made.
async fn preempted(stage: &Stage<'_>, spec: Value, after: u64) -> Result<(), Error> {
    stage.task(spec).await?;
    stage.pause(after).await;
    stage.preemptor().await?;
    stage.gone().await?;
    stage.namespace.pod("preemptor", "runs", |pod| state(pod, "running")).await.map(drop)
}

async fn preempted_before_start(stage: &Stage<'_>) -> Result<(), Error> {
    preempted(stage, waits_for_a_volume(), 2200).await
}

async fn preempted_before_start_with_sidecar(stage: &Stage<'_>) -> Result<(), Error> {
    preempted(stage, with(waits_for_a_volume(), sidecar()), 2200).await
}

async fn preempted_while_running(stage: &Stage<'_>) -> Result<(), Error> {
    preempted(stage, program("sleep 100", most()), 4000).await
}

async fn preempted_finishes_in_grace(stage: &Stage<'_>) -> Result<(), Error> {
    let spec = program("sleep 8; echo done", most());
    preempted(stage, with(spec, json!({"terminationGracePeriodSeconds": 30})), 4000).await
}

async fn preempted_sidecar_runs_image_pulling(stage: &Stage<'_>) -> Result<(), Error> {
    let mut more = most();
    more["image"] = json!("nowhere.invalid/none:1");
    preempted(stage, with(program("echo hello", more), sidecar()), 6000).await
}

/// The kubelet itself makes room for a critical pod.
async fn critical_pod_preempts(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("sleep 100", most())).await?;
    stage.running().await?;
    stage.pause(1000).await;
    let spec =
        with(program("sleep 1000", most()), json!({"nodeName": NODE, "priorityClassName": "system-node-critical"}));
    let pod = json!({"metadata": {"name": "rec-critical"}, "spec": spec});
    stage.namespace.post("/api/v1/namespaces/kube-system/pods", &pod).await?;
    let played = stage.phase("Failed").await;
    stage
        .namespace
        .delete("/api/v1/namespaces/kube-system/pods/rec-critical", &json!({"gracePeriodSeconds": 1}))
        .await?;
    played.map(drop)
}

async fn taint_evicted_while_running(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(sleeps()).await?;
    stage.running().await?;
    stage.pause(2000).await;
    stage.taint(&[("gone", "NoExecute")]).await?;
    let gone = stage.gone().await;
    stage.taint(&[]).await?;
    gone
}

async fn evicted_by_kubelet(stage: &Stage<'_>, signal: &str, limit: &str) -> Result<(), Error> {
    stage.task(sleeps()).await?;
    stage.running().await?;
    stage.components(&["evict-below", signal, limit]).await?;
    let played = stage.phase("Failed").await;
    stage.components(&["evict-below"]).await?;
    played.map(drop)
}

/// Less memory is left than the kubelet wants: it is told to want nearly all.
async fn memory_pressure(stage: &Stage<'_>) -> Result<(), Error> {
    evicted_by_kubelet(stage, "memory.available", "99%").await
}

async fn storage_pressure(stage: &Stage<'_>) -> Result<(), Error> {
    evicted_by_kubelet(stage, "nodefs.available", "99%").await
}

async fn finished_while_kubelet_was_down(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("sleep 4; echo done; exit 0", json!({}))).await?;
    stage.running().await?;
    stage.pause(1000).await;
    stage.kubelet(Killed(Duration::from_secs(10))).await?;
    stage.phase("Succeeded").await.map(drop)
}

async fn kubelet_restarted_while_running(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("sleep 15; echo done", json!({}))).await?;
    stage.running().await?;
    stage.pause(2000).await;
    stage.kubelet(Killed(Duration::ZERO)).await?;
    stage.phase("Succeeded").await.map(drop)
}

/// As after a power cut: no container is left, and the kubelet starts.
async fn node_rebooted(stage: &Stage<'_>) -> Result<(), Error> {
    stage.task(program("sleep 300", json!({}))).await?;
    stage.running().await?;
    stage.pause(2000).await;
    let off = Killed(Duration::ZERO);
    stage.begin(off).await?;
    stage.lose_containers().await?;
    stage.end(off).await?;
    stage
        .until("has ended", |pod| pod["status"]["phase"] == "Failed" || pod["status"]["phase"] == "Succeeded")
        .await
        .map(drop)
}

fn soon_unreachable() -> Value {
    let tolerations: Vec<Value> = ["not-ready", "unreachable"]
        .map(|key| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}))
        .into();
    with(program("sleep 300", json!({})), json!({ "tolerations": tolerations }))
}

async fn unreachable_then_back(stage: &Stage<'_>) -> Result<(), Error> {
    stage.keeper().await?;
    stage.task(soon_unreachable()).await?;
    stage.running().await?;
    stage.kubelet(Paused(Duration::from_secs(70))).await?;
    stage.gone().await
}

/// A node that is off for good: who says so has its pods removed.
async fn out_of_service(stage: &Stage<'_>) -> Result<(), Error> {
    stage.keeper().await?;
    stage.task(soon_unreachable()).await?;
    stage.running().await?;
    let silent = Paused(Duration::ZERO);
    stage.begin(silent).await?;
    let played = async {
        stage.out_of_service().await?;
        stage.gone().await
    };
    let played = played.await;
    stage.end(silent).await?;
    stage.taint(&[]).await?;
    played
}

/// The Node object is deleted under a kubelet that lives; a kubelet makes its Node only when it starts.
async fn node_deleted(stage: &Stage<'_>) -> Result<(), Error> {
    stage.keeper().await?;
    stage.task(program("sleep 300", json!({}))).await?;
    stage.running().await?;
    stage.pause(2000).await;
    stage.namespace.delete(&format!("/api/v1/nodes/{NODE}"), &json!({})).await?;
    let gone = stage.gone().await;
    stage.kubelet(Killed(Duration::ZERO)).await?;
    gone
}
