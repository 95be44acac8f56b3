//! A node that says nothing for so long that its pods are taken away, while what runs on it runs on.

use super::disruption::disrupted;
use super::{ENDURES, WAITS_FOR_SETTINGS, is_running, is_waiting, same};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::Started;
use crate::components::{Broken, Components, Fault, NotHere};
use crate::is_long;
use crate::ledger::Ledger;
use serde_json::{Value, json};
use std::time::Duration;

/// A pod stays on a silent node for 300 s unless it says otherwise.
const LEAVES: &str = r#"spec.tolerations=[{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":5}]"#;
/// The first attempt endures; the second ends.
const ENDS_ELSEWHERE: &str =
    "trap 'exit 143' TERM; [ $KPO_ATTEMPT = 1 ] || { echo elsewhere; exit; }; while true; do sleep 0.2; done";

/// Tasks on the node that falls silent.
struct There {
    ledger: Ledger,
    stays: Started,
    waits: Started,
    moves: Started,
}

impl There {
    /// One that stays whatever happens, one that has not started, and one that may be replaced at the risk that it still runs.
    async fn begin(namespace: &Namespace<'_>, other: &str) -> Result<Self, Error> {
        let ledger = Ledger::open(namespace).await?;
        let run = |task: &str, flags: &[&str], script: &str| {
            let flags = [&["-o", "json", "--set", LEAVES], flags].concat();
            namespace.start("run", &ledger.run(task, &flags, script))
        };
        namespace.is_cordoned(other, true).await?;
        let stays = run("stays", &[], ENDURES)?;
        let waits = run("waits", &["--set", WAITS_FOR_SETTINGS], "echo hello")?;
        let moves = run("moves", &["--replace-unreachable-after", "5s"], ENDS_ELSEWHERE)?;
        let began = namespace.are_there().await;
        namespace.is_cordoned(other, false).await?;
        began.map(|()| Self { ledger, stays, waits, moves })
    }
}

impl Namespace<'_> {
    /// Pods go to other nodes only, or to this one too.
    async fn is_cordoned(&self, node: &str, cordoned: bool) -> Result<(), Error> {
        self.merge(&format!("/api/v1/nodes/{node}"), &json!({"spec": {"unschedulable": cordoned}})).await?;
        Ok(())
    }

    async fn are_there(&self) -> Result<(), Error> {
        self.pod("stays-1", "runs", is_running).await?;
        self.pod("moves-1", "runs", is_running).await?;
        self.pod("waits-1", "waits for its settings", is_waiting).await?;
        Ok(())
    }

    /// The node is silent: what is to be taken away cannot go, and what may be replaced is.
    async fn are_stuck(&self) -> Result<(), Error> {
        let is_going = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
        self.pod("stays-1", "is being deleted", is_going).await?;
        self.pod("waits-1", "is being deleted", is_going).await?;
        self.pod("moves-2", "takes its place", |_| true).await?;
        Ok(())
    }
}

/// Only one of two nodes: where all are silent nothing is taken away.
pub(super) async fn node_silent(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    let nodes = namespace.nodes().await?;
    let [other, _] = &nodes[..] else { return Err(NotHere("it needs two nodes".to_owned()).into()) };
    if !is_long() {
        return Err(NotHere("a node is missed after a minute: KPO_LONG=1".to_owned()).into());
    }
    namespace.is_well().await?;
    let (_, kubelet) = namespace.victim().await?;
    let there = There::begin(namespace, other).await?;
    let broken = Broken::begin(&components, &kubelet, Fault::Paused(Duration::ZERO)).await?;
    namespace.are_stuck().await?;
    let moved = there.moves.ended().await?;
    broken.end().await?;
    moves(&there.ledger, moved)?;
    namespace.is_well().await?;
    namespace.pod("waits-2", "takes its place", |_| true).await?;
    namespace.give_settings().await?;
    disrupted(&there.stays.ended().await?.exits(75)?, "taint", "started")?;
    there.ledger.shows("stays", &[1])?;
    disrupted(&there.waits.ended().await?.exits(0)?, "taint", "never")?;
    there.ledger.shows("waits", &[2])?;
    namespace.is_empty().await
}

/// It ran twice, as it was told that it may: the first one may still run.
fn moves(ledger: &Ledger, ended: crate::command::Ended) -> Result<(), Error> {
    let ended = ended.exits(0)?.says("elsewhere")?;
    disrupted(&ended, "unreachable", "started")?;
    same("attempts", &json!(ended.outcome()?["attempts"].as_array().map(Vec::len)), &json!(2))?;
    ledger.shows("moves", &[1, 2])
}
