//! What a cause does to the pod `task`, its node and its cluster.

use crate::Error;
use crate::cluster::Namespace;
use crate::components::{Components, Fault};
use crate::container::IMAGE;
use serde_json::{Value, json};
use std::time::Duration;

/// The cluster's only real node.
pub(super) const NODE: &str = "node-1";
/// What the nodes' kubelets mark a node with that they do not reach any more.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub(super) struct Stage<'a> {
    pub(super) namespace: &'a Namespace<'a>,
    pub(super) components: Components,
}

/// A container of a shell script.
pub(super) fn container(name: &str, script: &str) -> Value {
    json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script]})
}

/// A pod's spec with one container, which may want more.
pub(super) fn program(script: &str, more: Value) -> Value {
    let mut base = container("base", script);
    merge(&mut base, more);
    json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": [base]})
}

/// A spec with more.
pub(super) fn with(mut spec: Value, more: Value) -> Value {
    merge(&mut spec, more);
    spec
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(fields), Value::Object(more)) = (into.as_object_mut(), more) {
        fields.extend(more);
    }
}

impl<'a> Stage<'a> {
    pub(super) async fn set(namespace: &'a Namespace<'a>) -> Result<Self, Error> {
        let class = json!({"metadata": {"name": "rec-high"}, "value": 1000});
        // There from the cause before.
        let _ = namespace.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
        Ok(Self { namespace, components: Components::here()? })
    }

    pub(super) async fn task(&self, spec: Value) -> Result<(), Error> {
        self.pod("task", spec).await
    }

    pub(super) async fn pod(&self, name: &str, spec: Value) -> Result<(), Error> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "task"}}, "spec": spec});
        self.namespace.post(&self.namespace.path("pods"), &pod).await.map(drop)
    }

    /// A pod of higher priority that wants most of the node.
    pub(super) async fn preemptor(&self) -> Result<(), Error> {
        let most = json!({"resources": {"requests": {"cpu": "1500m"}}});
        let spec = with(
            program("sleep 1000", most),
            json!({"priorityClassName": "rec-high", "terminationGracePeriodSeconds": 0}),
        );
        self.pod("preemptor", spec).await
    }

    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value, Error> {
        self.namespace.pod("task", what, is_so).await
    }

    pub(super) async fn phase(&self, phase: &str) -> Result<Value, Error> {
        self.until(phase, |pod| pod["status"]["phase"] == phase).await
    }

    pub(super) async fn running(&self) -> Result<Value, Error> {
        self.until("runs", |pod| state(pod, "running")).await
    }

    /// It waits for this reason.
    pub(super) async fn waits(&self, reason: &'static str) -> Result<Value, Error> {
        self.until(reason, |pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason).await
    }

    /// The pod is gone.
    pub(super) async fn gone(&self) -> Result<(), Error> {
        let path = self.namespace.path("pods/task");
        let patience = Duration::from_secs(300);
        let wait = self
            .namespace
            .wait_for(patience, "task is gone", || async { Ok(self.namespace.get(&path).await.is_err()) });
        wait.await
    }

    pub(super) async fn delete(&self) -> Result<(), Error> {
        self.namespace.delete(&self.namespace.path("pods/task"), &json!({})).await.map(drop)
    }

    pub(super) async fn merge(&self, path: &str, patch: &Value) -> Result<(), Error> {
        self.namespace.merge(path, patch).await.map(drop)
    }

    /// Taints the node, or takes its taints away.
    pub(super) async fn taint(&self, taints: &[(&str, &str)]) -> Result<(), Error> {
        let taints: Vec<Value> = taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
        self.merge(&format!("/api/v1/nodes/{NODE}"), &json!({"spec": {"taints": taints}})).await
    }

    /// The cluster's controllers hear nothing of the node any more, and whoever operates it says that it is off.
    pub(super) async fn out_of_service(&self) -> Result<(), Error> {
        let node = format!("/api/v1/nodes/{NODE}");
        let is_lost = |node: &Value| {
            let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
            taints
                .iter()
                .any(|taint| taint["key"] == "node.kubernetes.io/unreachable" && taint["effect"] == "NoExecute")
        };
        let wait = || async { Ok(self.namespace.get(&node).await.is_ok_and(|node| is_lost(&node))) };
        self.namespace.wait_for(Duration::from_secs(120), "the node is unreachable", wait).await?;
        let mut taints = self.namespace.get(&node).await?["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.push(json!({"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}));
        self.merge(&node, &json!({"spec": {"taints": taints}})).await
    }

    /// Another node, which is well and takes nobody: where all nodes of a cluster are silent, nobody is evicted.
    pub(super) async fn keeper(&self) -> Result<(), Error> {
        self.components.run(&["start", "kwok"]).await?;
        let taint = json!({"key": "keep", "effect": "NoSchedule"});
        let node = json!({"metadata": {"name": "keeper", "labels": {"type": "kwok"}}, "spec": {"taints": [taint]}});
        self.namespace.post("/api/v1/nodes", &node).await?;
        let path = "/api/v1/nodes/keeper";
        let ready = || async { Ok(self.namespace.get(path).await?["status"]["conditions"][0]["status"] == "True") };
        self.namespace.wait("the keeper is ready", ready).await
    }

    pub(super) async fn kubelet(&self, fault: Fault) -> Result<(), Error> {
        self.components.suffer("kubelet", fault).await
    }

    pub(super) async fn begin(&self, fault: Fault) -> Result<(), Error> {
        self.components.begin("kubelet", fault).await
    }

    pub(super) async fn end(&self, fault: Fault) -> Result<(), Error> {
        self.components.end("kubelet", fault).await
    }

    /// Kills the containers of the pod and takes them out of containerd, their sandbox among them.
    pub(super) async fn lose_containers(&self) -> Result<(), Error> {
        self.components.run(&["lose-containers", &self.namespace.name]).await
    }

    pub(super) async fn components(&self, arguments: &[&str]) -> Result<(), Error> {
        self.components.run(arguments).await
    }

    pub(super) async fn pause(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// What was broken off may have left the kubelet as it was then.
    pub(super) async fn mend(&self) -> Result<(), Error> {
        // It is mostly not paused.
        let _ = self.components.run(&["signal", "kubelet", "CONT"]).await;
        self.components.run(&["start", "kubelet"]).await
    }

    /// The cluster is as it was, whatever came over it: the keeper does not count.
    pub(super) async fn is_well(&self) -> Result<(), Error> {
        // There is mostly none.
        let _ = self.namespace.delete("/api/v1/nodes/keeper", &json!({})).await;
        self.namespace.is_well().await
    }

    /// Takes away what is left, and waits for it: the next cause is to find the node free.
    pub(super) async fn clear(&self) -> Result<(), Error> {
        self.namespace.delete(&self.namespace.path("pods"), &json!({"gracePeriodSeconds": 1})).await?;
        self.namespace.is_empty().await?;
        self.namespace.delete(&format!("/api/v1/namespaces/{}", self.namespace.name), &json!({})).await.map(drop)
    }
}

/// Whether the first container is in this state.
pub(super) fn state(pod: &Value, state: &str) -> bool {
    pod["status"]["containerStatuses"][0]["state"][state].is_object()
}
