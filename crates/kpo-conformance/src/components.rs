//! The parts of a real cluster on this machine (`cluster/cluster`), which can be killed, paused and started.

use crate::Error;
use crate::cluster::Namespace;
use crate::undo::Undo;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Where the script is that drives the cluster; whoever brings the cluster up sets it. Without it the cluster is somebody else's.
const SCRIPT: &str = "KPO_CLUSTER_SCRIPT";
/// How long a cluster may take to be well again.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a body says that cannot be run on this cluster.
#[derive(Debug)]
pub(crate) struct NotHere(pub(crate) String);

impl std::fmt::Display for NotHere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot be run here: {}", self.0)
    }
}

impl std::error::Error for NotHere {}

/// What becomes of a component for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Killed, and started anew.
    Killed(Duration),
    /// Stopped (SIGSTOP), and continued.
    Paused(Duration),
}

/// The components of the cluster, by the names that the script gives them.
pub(crate) struct Components(PathBuf);

impl Components {
    /// # Errors
    /// [`NotHere`] on a cluster that is not driven from here.
    pub(crate) fn here() -> Result<Self, Error> {
        let script = std::env::var_os(SCRIPT).map(PathBuf::from);
        Ok(Self(script.ok_or_else(|| NotHere(format!("{SCRIPT} does not name the script that drives the cluster")))?))
    }

    /// Lets a component suffer it. The component is back when this returns, whatever else fails; whether it is well is another question
    /// ([`Namespace::is_well`]).
    pub(crate) async fn suffer(&self, component: &str, fault: Fault) -> Result<(), Error> {
        self.begin(component, fault).await?;
        let (Fault::Killed(span) | Fault::Paused(span)) = fault;
        tokio::time::sleep(span).await;
        self.end(component, fault).await
    }

    /// The fault's beginning, for who ends it himself.
    pub(crate) async fn begin(&self, component: &str, fault: Fault) -> Result<(), Error> {
        match fault {
            Fault::Killed(_) => self.run(&["signal", component, "KILL"]).await,
            Fault::Paused(_) => self.run(&["signal", component, "STOP"]).await,
        }
    }

    /// The fault's end.
    pub(crate) async fn end(&self, component: &str, fault: Fault) -> Result<(), Error> {
        self.run(&mends(component, fault)).await
    }

    /// Runs the script with other words than those.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<(), Error> {
        // What it starts goes on: it must not hold a pipe of ours.
        let status = Command::new(&self.0).args(arguments).status().await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{} {}: {status}", self.0.display(), arguments.join(" ")).into())
        }
    }
}

/// A component that suffers, for a body that may fail in the meantime: it goes on when this is dropped, for the bodies that come next need it.
pub(crate) struct Broken<'a> {
    components: &'a Components,
    component: String,
    fault: Fault,
    ended: bool,
}

impl<'a> Broken<'a> {
    pub(crate) async fn begin(components: &'a Components, component: &str, fault: Fault) -> Result<Self, Error> {
        components.begin(component, fault).await?;
        Ok(Self { components, component: component.to_owned(), fault, ended: false })
    }

    pub(crate) async fn end(mut self) -> Result<(), Error> {
        self.ended = true;
        self.components.end(&self.component, self.fault).await
    }
}

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // Its body has failed already, and says why.
            let _ = std::process::Command::new(&self.components.0).args(mends(&self.component, self.fault)).status();
        }
    }
}

/// What the script is told so that a fault ends.
fn mends(component: &str, fault: Fault) -> Vec<&str> {
    match fault {
        Fault::Killed(_) => vec!["start", component],
        Fault::Paused(_) => vec!["signal", component, "CONT"],
    }
}

impl Namespace<'_> {
    /// Waits until the API server serves and each node is ready and without a taint.
    pub(crate) async fn is_well(&self) -> Result<(), Error> {
        let until = Instant::now() + PATIENCE;
        loop {
            let nodes = self.get("/api/v1/nodes").await.unwrap_or_default();
            if nodes["items"].as_array().is_some_and(|all| all.iter().all(is_usable)) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("the cluster is not well after {} s", PATIENCE.as_secs()).into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Fails with [`NotHere`] on somebody else's cluster: other pods run on its nodes, and these do not share this machine's folders.
    pub(crate) fn is_own_cluster(&self) -> Result<(), Error> {
        if self.target.is_lab() { Ok(()) } else { Components::here().map(drop) }
    }

    /// Has a node take no more pods, or take them again.
    pub(crate) async fn cordon(&self, node: &str, on: bool) -> Result<(), Error> {
        self.change_node(node, json!({"spec": {"unschedulable": on}}), json!({"spec": {"unschedulable": null}})).await
    }

    /// Gives a node these taints and no others.
    pub(crate) async fn taint(&self, node: &str, taints: &Value) -> Result<(), Error> {
        self.change_node(node, json!({"spec": {"taints": taints}}), json!({"spec": {"taints": null}})).await
    }

    /// Labels a node, or takes the label away.
    pub(crate) async fn label_node(&self, node: &str, key: &str, value: Value) -> Result<(), Error> {
        let labels = |value: Value| json!({"metadata": {"labels": {key: value}}});
        self.change_node(node, labels(value), labels(Value::Null)).await
    }

    async fn change_node(&self, node: &str, change: Value, back: Value) -> Result<(), Error> {
        let path = format!("/api/v1/nodes/{node}");
        self.afterwards(Undo::Merge(path.clone(), back));
        self.merge(&path, &change).await.map(drop)
    }

    /// The nodes' names.
    pub(crate) async fn nodes(&self) -> Result<Vec<String>, Error> {
        let nodes = self.get("/api/v1/nodes").await?;
        let names = nodes["items"].as_array().into_iter().flatten();
        Ok(names.filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect())
    }

    /// The node that faults befall, and its kubelet: the last one, so that another goes on where there are two.
    pub(crate) async fn victim(&self) -> Result<(String, String), Error> {
        let node = self.nodes().await?.pop().ok_or("the cluster has no node")?;
        let suffix = node.strip_prefix("node").filter(|suffix| *suffix != "-1").unwrap_or_default();
        Ok((node.clone(), format!("kubelet{suffix}")))
    }
}

fn is_usable(node: &Value) -> bool {
    let ready = |all: &Vec<Value>| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
    node["status"]["conditions"].as_array().is_some_and(ready) && node["spec"]["taints"].is_null()
}
