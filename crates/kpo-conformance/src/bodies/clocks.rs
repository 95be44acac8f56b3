//! Clocks: which one runs, what it does not count, and what it ends.

use super::cancel::{GATED, is_gated};
use super::preempted::SUCCEEDED;
use super::{ENDURES, is_running, same, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::Started;
use crate::proxy::{Fault, Proxy};
use serde_json::{Value, json};
use std::time::Duration;

/// More than the clocks that must not run meanwhile.
const PASSES: Duration = Duration::from_secs(9);
const SHORT: &str = "8s";

/// The pod carries the clock too, so that one that nobody watches ends by itself.
pub(super) async fn timeout(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.running(&["--timeout", "10s"], ENDURES).await?;
    let pod = namespace.get(&namespace.path("pods/task-1")).await?;
    same("activeDeadlineSeconds", &pod["spec"]["activeDeadlineSeconds"], &json!(11))?;
    task.ended().await?.exits(124)?.came_to(&["cancelled timeout 143"])?;
    namespace.is_empty().await
}

pub(super) async fn queue_timeout(namespace: &Namespace<'_>) -> Result<(), Error> {
    let flags = ["-o", "json", "--queue-timeout", "2s", "--set", GATED];
    let ended = namespace.kpo("run", &shell(&flags, "true")).await?.exits(124)?;
    ended.came_to(&["launchFailed queueTimeout"])?;
    namespace.is_empty().await
}

/// No clock but the queue's runs behind its gate, and none of that is set.
pub(super) async fn queued_by_kueue(namespace: &Namespace<'_>) -> Result<(), Error> {
    let flags = ["-o", "json", "--schedule-timeout", SHORT, "--start-timeout", SHORT, "--set", GATED];
    let task = namespace.start("run", &shell(&flags, "echo hello"))?;
    namespace.pod("task-1", "is held by its gate", is_gated).await?;
    tokio::time::sleep(PASSES).await;
    namespace.merge(&namespace.path("pods/task-1"), &json!({"spec": {"schedulingGates": []}})).await?;
    task.ended().await?.exits(0)?.came_to(&[SUCCEEDED])?;
    namespace.is_empty().await
}

impl Namespace<'_> {
    /// A task for which there is no node yet, and an event of the cluster autoscaler's about it.
    async fn fits_nowhere(&self, clock: &str, event: Option<(&str, &str)>) -> Result<Started, Error> {
        let selector = format!("spec.nodeSelector={}", self.of_late_node());
        let flags = ["-o", "json", "--schedule-timeout", clock, "--set", &selector];
        let task = self.start("run", &shell(&flags, "echo hello"))?;
        let is_so = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
        let pod = self.pod("task-1", "fits nowhere", is_so).await?;
        if let Some((reason, message)) = event {
            self.event(&pod, "cluster-autoscaler", reason, message).await?;
        }
        Ok(task)
    }

    /// A label of this namespace's own: others may wait for a node beside it.
    fn late(&self) -> String {
        format!("kpo.rs/{}", self.name)
    }

    /// The node selector of a task that waits for [`Namespace::late_node`].
    pub(super) fn of_late_node(&self) -> Value {
        json!({ self.late(): "late" })
    }

    /// A node that suits a task of this namespace comes, or goes again.
    pub(super) async fn late_node(&self, comes: bool) -> Result<(), Error> {
        let node = self.nodes().await?.into_iter().next().ok_or("the cluster has no node")?;
        self.label_node(&node, &self.late(), if comes { json!("late") } else { Value::Null }).await
    }

    /// An event about a pod, by a controller that is not here.
    pub(super) async fn event(&self, pod: &Value, by: &str, reason: &str, message: &str) -> Result<(), Error> {
        let metadata = &pod["metadata"];
        let object = json!({"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "namespace": self.name, "uid": metadata["uid"]});
        let name = format!("{}.{}", metadata["name"].as_str().unwrap_or_default(), reason.to_lowercase());
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let event = json!({"metadata": {"name": name}, "involvedObject": object, "type": "Normal", "reason": reason, "message": message,
            "source": {"component": by}, "reportingComponent": by, "firstTimestamp": now, "lastTimestamp": now, "count": 1});
        self.post(&self.path("events"), &event).await?;
        Ok(())
    }
}

pub(super) async fn schedule_timeout(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ended = namespace.fits_nowhere("3s", None).await?.ended().await?.exits(124)?;
    ended.came_to(&["launchFailed scheduleTimeout"])?;
    namespace.is_empty().await
}

pub(super) async fn scale_up_will_not_help(namespace: &Namespace<'_>) -> Result<(), Error> {
    let event = ("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached");
    let ended = namespace.fits_nowhere(SHORT, Some(event)).await?.ended().await?.exits(124)?;
    ended.came_to(&["launchFailed scheduleTimeout"])?;
    namespace.is_empty().await
}

/// A node is coming, says the autoscaler: that time is not charged, and the events are asked before the clock ends.
pub(super) async fn scale_up_is_not_charged(namespace: &Namespace<'_>) -> Result<(), Error> {
    let event = ("TriggeredScaleUp", "pod triggered scale-up: [{group 1->2 (max: 3)}]");
    let task = namespace.fits_nowhere(SHORT, Some(event)).await?;
    tokio::time::sleep(PASSES).await;
    namespace.late_node(true).await?;
    task.ended().await?.exits(0)?.came_to(&[SUCCEEDED])?;
    namespace.is_empty().await
}

/// Nothing is known of the pod, which ends by its own deadline; the task's clock ends all the same.
pub(super) async fn timeout_while_the_api_is_away(namespace: &Namespace<'_>) -> Result<(), Error> {
    let proxy = Proxy::start(namespace, |_| Fault::Pass).await?;
    // kpo waits for its end for the grace and a minute.
    let short = ["--set", "spec.terminationGracePeriodSeconds=1"];
    let run = shell(&[&["-o", "json", "--timeout", "10s"], &short[..]].concat(), ENDURES);
    let task = namespace.start_as(proxy.kubeconfig(), "run", &run)?;
    namespace.pod("task-1", "runs", is_running).await?;
    // From here on nobody listens at its address.
    drop(proxy);
    let outcome = task.ended().await?.exits(124)?.outcome()?;
    same("verdict and reason", &json!([outcome["verdict"], outcome["reason"]]), &json!(["cancelled", "timeout"]))?;
    let is_over = |pod: &Value| pod["status"]["reason"] == "DeadlineExceeded";
    namespace.pod("task-1", "has ended by its own deadline", is_over).await?;
    namespace.remove_leftovers().await
}

/// What is left of the template's deadline is known to who takes over: it began with the pod, not with him.
pub(super) async fn deadline_after_a_take_over(namespace: &Namespace<'_>) -> Result<(), Error> {
    let script = format!("[ $KPO_ATTEMPT = 1 ] || exit 0; {ENDURES}");
    let task = namespace.running(&["--rerun", "idempotent", "--set", "spec.activeDeadlineSeconds=60"], &script).await?;
    let second = namespace.taken_over(task).await?;
    tokio::time::sleep(PASSES).await;
    namespace.evict("task-1").await?;
    let left = namespace.pod("task-2", "takes its place", |_| true).await?["spec"]["activeDeadlineSeconds"].as_i64();
    second.ended().await?.exits(0)?.came_to(&["disrupted eviction started evicted 143", SUCCEEDED])?;
    if !left.is_some_and(|left| (1..=51).contains(&left)) {
        return Err(format!("{left:?} s are left of 60").into());
    }
    namespace.is_empty().await
}

impl Namespace<'_> {
    /// Kills the first observer, and another takes over: the pod carries its mark when this returns.
    pub(super) async fn taken_over(&self, first: Started) -> Result<Started, Error> {
        let mark = |pod: &Value| pod["metadata"]["annotations"]["kpo.rs/observer"].clone();
        let before = mark(&self.get(&self.path("pods/task-1")).await?);
        first.signal("KILL").await?;
        first.ended().await?;
        let second = self.start("attach", &["task", "--take-over", "-o", "json"])?;
        self.pod("task-1", "is another observer's", |pod| mark(pod) != before).await?;
        Ok(second)
    }
}
