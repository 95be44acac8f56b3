//! Tasks that are preempted by the scheduler: what becomes of them under each policy, and with other containers beside.

use super::disruption::TRAPS;
use super::slot::{Slot, with_slot};
use super::{ENDURES, NO_IMAGE_SET, is_without_image, same, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::container::{NO_IMAGE, container};
use crate::is_long;
use crate::ledger::Ledger;
use crate::proxy::{Fault, Proxy};
use serde_json::{Value, json};

/// The verdict of an attempt that was preempted before its program began.
const NEVER: &str = "disrupted preemption never preempted";
/// Of one whose program, or another container that counts, had begun.
const STARTED: &str = "disrupted preemption started preempted";
pub(super) const SUCCEEDED: &str = "succeeded succeeded 0";
/// Somebody else's.
pub(super) const HELD: &str = "example.org/held";

impl Namespace<'_> {
    /// Waits until just these pods are left.
    pub(super) async fn are_left(&self, names: &[&str]) -> Result<(), Error> {
        let are = |pods: Vec<Value>| {
            pods.iter().map(|pod| pod["metadata"]["name"].as_str()).eq(names.iter().map(|name| Some(*name)))
        };
        self.wait(&format!("only {names:?} are left"), || async { Ok(are(self.pods().await?)) }).await
    }

    /// Puts finalizers of others onto a pod, beside or in place of those that it has; none: takes all away.
    pub(super) async fn finalizers(&self, pod: &str, all: &[&str]) -> Result<(), Error> {
        let path = self.path(&format!("pods/{pod}"));
        self.merge(&path, &json!({"metadata": {"finalizers": all}})).await?;
        Ok(())
    }
}

pub(super) async fn never_rerun(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let task = slot.waiting(&["--rerun", "never"]).await?;
        slot.preempt().await?;
        task.ended().await?.exits(75)?.came_to(&[NEVER]).map(drop)
    })
    .await
}

pub(super) async fn protected(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let task = slot.waiting(&["--protect"]).await?;
        slot.preempt_and_go_on().await?;
        task.ended().await?.exits(0)?.came_to(&[NEVER, SUCCEEDED])?.has_line("hello", 1).map(drop)
    })
    .await
}

/// It never ran, and its object stays: the task goes on beside it, and waits for nobody.
pub(super) async fn held_by_a_finalizer_of_others(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let task = slot.waiting(&[]).await?;
        namespace.finalizers("task-1", &[HELD]).await?;
        slot.preempt_and_go_on().await?;
        task.ended().await?.exits(0)?.came_to(&[NEVER, SUCCEEDED])?.has_line("hello", 1)?;
        namespace.are_left(&["task-1"]).await?;
        namespace.finalizers("task-1", &[]).await
    })
    .await
}

pub(super) async fn one_line_says_it_all(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let task = slot.waits(&[], "echo no such table; exit 3").await?;
        slot.preempt_and_go_on().await?;
        let ended = task.ended().await?.exits(3)?.came_to(&[NEVER, "failed programFailed 3"])?;
        let ended = ended.because("programFailed", &format!("exited 3 on {}", slot.node))?;
        ended.because("programFailed", "attempt 2")?.has_line("no such table", 1).map(drop)
    })
    .await
}

/// A preemption before the start and a failure of the program: two budgets, and each pays for its own.
pub(super) async fn retries_of_the_user(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let flags = ["--retries", "1", "--rerun-never-started", "1"];
        let task = slot.waits(&flags, "[ $KPO_ATTEMPT != 2 ] || exit 3; echo hello").await?;
        slot.preempt_and_go_on().await?;
        let ended = task.ended().await?.exits(0)?;
        ended.came_to(&[NEVER, "failed programFailed 3", SUCCEEDED])?.has_line("hello", 1).map(drop)
    })
    .await
}

pub(super) async fn preempted_finishes_in_grace(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let task = slot.running(&[], TRAPS).await?;
        slot.preempt().await?;
        let ended = task.ended().await?.exits(0)?;
        ended.came_to(&["succeeded succeededWhileTerminating 0"])?.has_line("term", 1).map(drop)
    })
    .await
}

pub(super) async fn preempted_stops_half_way(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let task = slot.running(&["--exit-zero-after-term", "disrupted"], TRAPS).await?;
        slot.preempt().await?;
        task.ended().await?.exits(75)?.came_to(&[&format!("{STARTED} 0")]).map(drop)
    })
    .await
}

pub(super) async fn preempted_while_running_idempotent(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    with_slot(namespace, async |slot| {
        let (wanted, script) = (slot.wanted(), format!("[ $KPO_ATTEMPT = 1 ] || exit 0; {ENDURES}"));
        let flags = ["-o", "json", "--rerun", "idempotent", "--set", &wanted];
        let task = namespace.start("run", &ledger.run("task", &flags, &script))?;
        namespace.pod("task-1", "runs", super::is_running).await?;
        slot.preempt_once().await?;
        task.ended().await?.exits(0)?.came_to(&[&format!("{STARTED} 143"), SUCCEEDED])?;
        ledger.shows("task", &[1, 2])
    })
    .await
}

/// The replacement waits behind kpo's own gate.
pub(super) async fn cancelled_during_backoff(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let task = slot.waiting(&[]).await?;
        slot.preempt().await?;
        namespace.pod("task-2", "takes its place", |_| true).await?;
        task.signal("INT").await?;
        task.ended().await?.exits(130)?.came_to(&[NEVER, "cancelled cancelledByUser"])?.has_line("hello", 0).map(drop)
    })
    .await
}

pub(super) async fn observer_dies_and_the_pod_is_preempted(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let task = slot.waiting(&[]).await?;
        let second = namespace.taken_over(task).await?;
        slot.preempt_and_go_on().await?;
        second.ended().await?.exits(0)?.came_to(&[NEVER, SUCCEEDED])?.has_line("hello", 1).map(drop)
    })
    .await
}

/// The second only follows, from one attempt to the next.
pub(super) async fn two_observers_and_a_preemption(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let first = slot.waiting(&[]).await?;
        let proxy = Proxy::start(namespace, |_| Fault::Pass).await?;
        let second = namespace.start_as(proxy.kubeconfig(), "attach", &["task"])?;
        // It looks, watches, and looks again: from then on it has seen the pod.
        namespace.saw(&proxy, "list pods", 2).await?;
        slot.preempt_and_go_on().await?;
        let (first, second) = futures::future::join(first.ended(), second.ended()).await;
        first?.exits(0)?.came_to(&[NEVER, SUCCEEDED])?;
        second?.exits(0)?.prints("hello\n").map(drop)
    })
    .await
}

/// The total clock goes on over attempts: the second pod has what is left of it.
pub(super) async fn timeout_across_attempts(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let task = slot.waits(&["--timeout", "15s"], ENDURES).await?;
        slot.preempt_and_go_on().await?;
        let second = namespace.pod("task-2", "runs", super::is_running).await?;
        let left = second["spec"]["activeDeadlineSeconds"].as_i64().unwrap_or_default();
        let ended = task.ended().await?.exits(124)?.came_to(&[NEVER, "cancelled timeout 143"])?;
        if (1..16).contains(&left) { Ok(()) } else { Err(format!("{left} s are left of 15: {ended}").into()) }
    })
    .await
}

/// Preempted before every start, until the budget is used up; the long run uses up the default one, with all its backoffs.
pub(super) async fn backoff(namespace: &Namespace<'_>) -> Result<(), Error> {
    let budget = if is_long() { 8 } else { 2 };
    with_slot(namespace, async |slot| {
        let task = slot.waiting(&["--rerun-never-started", &budget.to_string()]).await?;
        for attempt in 1..=budget {
            slot.preempt().await?;
            let next = format!("task-{}", attempt + 1);
            let pod = namespace.pod(&next, "takes its place", |_| true).await?;
            avoids(&pod, &slot.node, attempt > 1)?;
            slot.give_way().await?;
            namespace.pod(&next, "waits for its settings", super::is_waiting).await?;
        }
        slot.preempt().await?;
        let ended = task.ended().await?.exits(75)?.came_to(&vec![NEVER; budget + 1])?;
        ended.because("preempted", "").map(drop)
    })
    .await
}

/// From the second disruption on one node, others are preferred.
fn avoids(pod: &Value, node: &str, expected: bool) -> Result<(), Error> {
    let preferred =
        pod["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"].to_string();
    same(&format!("{} avoids {node}", pod["metadata"]["name"]), &json!(preferred.contains(node)), &json!(expected))
}

/// Its other container is preempted with it: `init` are the task's own init containers, and one of them has got as far as `reached`.
async fn beside(
    slot: &Slot<'_>,
    namespace: &Namespace<'_>,
    (init, flags): (Value, &[&str]),
    reached: impl Fn(&Value) -> bool,
    expected: &str,
) -> Result<(), Error> {
    let (wanted, init) = (slot.wanted(), format!("spec.initContainers={init}"));
    let own = ["-o", "json", "--rerun-never-started", "0", "--set", &wanted, "--set", &init];
    let short = ["--set", "spec.terminationGracePeriodSeconds=2"];
    let task = namespace.start("run", &shell(&[&own[..], &short, flags].concat(), "echo hello"))?;
    namespace.pod("task-1", "is as far as it comes", reached).await?;
    slot.preempt().await?;
    task.ended().await?.exits(75)?.came_to(&[expected])?.has_line("hello", 0).map(drop)
}

fn sidecar(image: Option<&str>) -> Value {
    let mut proxy = container("proxy", ENDURES);
    proxy["restartPolicy"] = json!("Always");
    image.into_iter().for_each(|image| proxy["image"] = json!(image));
    proxy
}

fn without_image(name: &str) -> Value {
    let mut container = container(name, "true");
    container["image"] = json!(NO_IMAGE);
    container
}

/// The image of its native sidecar is not there: nothing ran.
pub(super) async fn sidecar_not_yet_up(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let reached = |pod: &Value| is_without_image(&pod["status"]["initContainerStatuses"][0]);
        beside(slot, namespace, (json!([sidecar(Some(NO_IMAGE))]), &[]), reached, NEVER).await
    })
    .await
}

/// The user's own sidecar runs while the program's image is not there: the manifest names it, so it counts.
pub(super) async fn sidecar_up_and_image_pulling(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let reached = |pod: &Value| is_without_image(&pod["status"]["containerStatuses"][0]);
        beside(slot, namespace, (json!([sidecar(None)]), &["--set", NO_IMAGE_SET]), reached, STARTED).await
    })
    .await
}

/// The same while the init container behind it has no image.
pub(super) async fn init_container_pulls_beside_a_sidecar(namespace: &Namespace<'_>) -> Result<(), Error> {
    with_slot(namespace, async |slot| {
        let reached = |pod: &Value| is_without_image(&pod["status"]["initContainerStatuses"][1]);
        beside(slot, namespace, (json!([sidecar(None), without_image("setup")]), &[]), reached, STARTED).await
    })
    .await
}

/// A pod that never ran outlives its attempt; the replacement runs and is evicted while nobody watches: nobody knows, and it is not run again.
pub(super) async fn replacement_gone_while_nobody_watched(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    with_slot(namespace, async |slot| {
        let wanted = slot.wanted();
        let flags = ["--set", &wanted, "--set", super::WAITS_FOR_SETTINGS];
        let task = namespace.start("run", &ledger.run("task", &flags, ENDURES))?;
        namespace.pod("task-1", "waits for its settings", super::is_waiting).await?;
        namespace.finalizers("task-1", &[HELD]).await?;
        slot.preempt_and_go_on().await?;
        namespace.pod("task-2", "runs", super::is_running).await?;
        task.signal("KILL").await?;
        task.ended().await?;
        namespace.evict("task-2").await?;
        let path = namespace.path("pods/task-2");
        namespace.wait("task-2 is gone", || async { Ok(namespace.get(&path).await.is_err()) }).await?;
        let attached = namespace.kpo("attach", &["task", "--take-over", "-o", "json"]).await?.exits(75)?;
        attached.came_to(&[NEVER, "disrupted vanished unknown vanished"])?;
        namespace.finalizers("task-1", &[]).await?;
        ledger.shows("task", &[2])
    })
    .await
}
