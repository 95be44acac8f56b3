//! The user cancels: whatever the task's state is, it goes, and does not run again.

use super::{ENDURES, NO_IMAGE_SET, is_running, is_without_image, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::Started;
use crate::ledger::Ledger;
use crate::proxy::{Fault, Moment, Proxy, Words};
use serde_json::{Value, json};

const BEFORE: &str = "cancelled cancelledByUser";
/// Somebody's gate, as a queue has one.
pub(super) const GATED: &str = r#"spec.schedulingGates=[{"name":"kueue.x-k8s.io/admission"}]"#;

impl Namespace<'_> {
    /// Waits until kpo has sent so many such requests.
    pub(super) async fn saw(&self, proxy: &Proxy, what: &str, count: usize) -> Result<(), Error> {
        self.wait(&format!("{count} times {what}"), || async { Ok(proxy.count(what) >= count) }).await
    }

    /// Cancels it, and nothing may be left.
    async fn cancels(&self, task: Started, verdict: &str) -> Result<(), Error> {
        task.signal("INT").await?;
        task.ended().await?.exits(130)?.came_to(&[verdict])?;
        self.is_empty().await
    }
}

pub(super) fn is_gated(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["reason"] == "SchedulingGated"
}

pub(super) async fn cancelled_while_pulling(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.start("run", &shell(&["-o", "json", "--set", NO_IMAGE_SET], "true"))?;
    let is_so = |pod: &Value| is_without_image(&pod["status"]["containerStatuses"][0]);
    namespace.pod("task-1", "has no image", is_so).await?;
    namespace.cancels(task, BEFORE).await
}

pub(super) async fn cancelled_while_queued(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.start("run", &shell(&["-o", "json", "--set", GATED], "true"))?;
    namespace.pod("task-1", "is held by its gate", is_gated).await?;
    namespace.cancels(task, BEFORE).await
}

/// There is no pod, and none comes.
pub(super) async fn cancelled_while_refused(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.quota("full", json!({"pods": "0"})).await?;
    let proxy = Proxy::start(namespace, |_| Fault::Pass).await?;
    let task = namespace.start_as(proxy.kubeconfig(), "run", &shell(&["-o", "json"], "true"))?;
    namespace.saw(&proxy, "create pods", 1).await?;
    namespace.cancels(task, BEFORE).await
}

/// It is not sent again.
pub(super) async fn cancelled_while_the_create_is_tried_again(namespace: &Namespace<'_>) -> Result<(), Error> {
    let refused = Fault::Answer { code: 503, retry_after: None, words: Words::Server, moment: Moment::Before };
    let rule = move |asked: &crate::proxy::Asked| if asked.what == "create pods" { refused } else { Fault::Pass };
    let proxy = Proxy::start(namespace, rule).await?;
    let task = namespace.start_as(proxy.kubeconfig(), "run", &shell(&["-o", "json"], "true"))?;
    namespace.saw(&proxy, "create pods", 2).await?;
    namespace.cancels(task, BEFORE).await
}

/// Others take it away already: the wish is written down, and it does not run again.
pub(super) async fn cancelled_while_terminating(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let flags = ["-o", "json", "--rerun", "idempotent", "--set", "spec.terminationGracePeriodSeconds=5"];
    let task = namespace.start("run", &ledger.run("task", &flags, "trap '' TERM; while true; do sleep 0.2; done"))?;
    namespace.pod("task-1", "runs", is_running).await?;
    namespace.evict("task-1").await?;
    namespace.pod("task-1", "is being deleted", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await?;
    namespace.cancels(task, "cancelled cancelledByUser 137").await?;
    ledger.shows("task", &[1])
}

/// Who follows is told that it was cancelled, and by no stranger.
pub(super) async fn cancelled_and_followed(namespace: &Namespace<'_>) -> Result<(), Error> {
    let task = namespace.running(&[], ENDURES).await?;
    let proxy = Proxy::start(namespace, |_| Fault::Pass).await?;
    let follower = namespace.start_as(proxy.kubeconfig(), "attach", &["task", "-o", "json"])?;
    namespace.saw(&proxy, "get pods/1/log base", 1).await?;
    namespace.cancels(task, "cancelled cancelledByUser 143").await?;
    follower.ended().await?.exits(130)?.came_to(&["cancelled cancelledByUser 143"]).map(drop)
}
