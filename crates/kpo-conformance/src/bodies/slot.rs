//! A preemption that befalls one pod and no other, whatever runs beside it.

use super::ENDURES;
use crate::Error;
use crate::cluster::Namespace;
use crate::command::Started;
use crate::container::{container, resources};
use crate::undo::Undo;
use serde_json::{Value, json};

/// A resource of the body's own, of which one node has one: who wants it too, and is of higher priority, preempts who has it.
pub(super) struct Slot<'a> {
    namespace: &'a Namespace<'a>,
    pub(super) node: String,
    resource: String,
}

/// Plays with a slot; no pod may be left then.
pub(super) async fn with_slot(
    namespace: &Namespace<'_>,
    play: impl AsyncFnOnce(&Slot<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let slot = Slot::open(namespace).await?;
    play(&slot).await?;
    slot.give_way().await?;
    namespace.is_empty().await
}

impl<'a> Slot<'a> {
    async fn open(namespace: &'a Namespace<'a>) -> Result<Self, Error> {
        let node = namespace.nodes().await?.into_iter().next().ok_or("the cluster has no node")?;
        let slot = Self { namespace, node, resource: format!("kpo.rs/{}", namespace.name) };
        // The node's kubelet keeps what somebody says that it has besides.
        let path = format!("/api/v1/nodes/{}/status", slot.node);
        namespace.merge(&path, &slot.amount(json!("1"))).await?;
        namespace.afterwards(Undo::Merge(path, slot.amount(Value::Null)));
        namespace.priority_class().await?;
        Ok(slot)
    }

    fn amount(&self, count: Value) -> Value {
        let amount = json!({ &self.resource: count });
        json!({"status": {"capacity": amount, "allocatable": amount}})
    }

    fn resources(&self) -> Value {
        let mut all = resources("10m", "1");
        for kind in ["requests", "limits"] {
            all[kind][&self.resource] = json!("1");
        }
        all
    }

    /// The argument by which a task wants it.
    pub(super) fn wanted(&self) -> String {
        format!("spec.containers[0].resources={}", self.resources())
    }

    /// A task in it that waits for its settings.
    pub(super) async fn waits(&self, flags: &[&str], script: &str) -> Result<Started, Error> {
        self.namespace.waits(&[&["--set", &self.wanted()], flags].concat(), script).await
    }

    /// The same of a program that only greets.
    pub(super) async fn waiting(&self, flags: &[&str]) -> Result<Started, Error> {
        self.waits(flags, "echo hello").await
    }

    /// A task in it that runs.
    pub(super) async fn running(&self, flags: &[&str], script: &str) -> Result<Started, Error> {
        self.namespace.running(&[&["--set", &self.wanted()], flags].concat(), script).await
    }

    /// One of higher priority comes, and stays.
    pub(super) async fn preempt(&self) -> Result<(), Error> {
        let mut container = container("agent", ENDURES);
        container["resources"] = self.resources();
        let spec = json!({"priorityClassName": self.namespace.name, "terminationGracePeriodSeconds": 0, "containers": [container]});
        let pod = json!({"metadata": {"name": "preemptor"}, "spec": spec});
        self.namespace.post(&self.namespace.path("pods"), &pod).await?;
        Ok(())
    }

    /// It goes, if it is there.
    pub(super) async fn give_way(&self) -> Result<(), Error> {
        let path = self.namespace.path("pods/preemptor");
        if self.namespace.get(&path).await.is_err() {
            return Ok(());
        }
        self.namespace.delete(&path, &json!({"gracePeriodSeconds": 0})).await?;
        let gone = || async { Ok(self.namespace.get(&path).await.is_err()) };
        self.namespace.wait("the preemptor is gone", gone).await
    }

    /// Preempts the first attempt, waits for the second one, and makes room for it.
    pub(super) async fn preempt_once(&self) -> Result<(), Error> {
        self.preempt().await?;
        self.namespace.pod("task-2", "takes its place", |_| true).await?;
        self.give_way().await
    }

    /// The same for a task whose pods wait for their settings, which come with that.
    pub(super) async fn preempt_and_go_on(&self) -> Result<(), Error> {
        self.preempt_once().await?;
        self.namespace.give_settings().await
    }
}
