//! Each way to take a pod away, at each stage at which it can be found: what kpo says of it, and what the node saw.
//!
//! The table is `disruptions.md` of the project's notes, read for one attempt: what is proven never to have run has no line in the ledger of side
//! effects, and what may have run has not run again.

use super::disruption::node_cpu;
use super::{ENDURES, NO_IMAGE_SET, WAITS_FOR_SETTINGS, is_running, is_waiting, is_without_image};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::{Ended, Started};
use crate::components::{Components, Fault};
use crate::container::{container, resources};
use crate::ledger::Ledger;
use crate::registry::{Registry, SLOW_IMAGE};
use serde_json::{Value, json};
use std::time::Duration;

/// Where the attempt is when it is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Held by somebody's scheduling gate.
    Gated,
    /// No node suits it.
    Unbound,
    /// On a node, with an image that is not to be had.
    NoImage,
    /// On a node, and its image is half there.
    Pulling,
    /// On a node, without its settings.
    Waiting,
    /// Its init container runs.
    Init,
    /// Its program runs.
    Running,
    /// Deleted by hand, and its program uses its grace.
    Ending,
}

/// How it is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Preempted,
    Evicted,
    Tainted,
    NodeDeleted,
    Deleted,
    ForceDeleted,
}

use Blow::{Deleted, Evicted, ForceDeleted, NodeDeleted, Preempted, Tainted};
use Stage::{Ending, Gated, Init, NoImage, Pulling, Running, Unbound, Waiting};

/// Class, cause and started of the attempt's verdict. A stage that is missing does not apply: who is on no node can be preempted from none.
const TABLE: &[(Blow, Stage, [&str; 3])] = &[
    (Preempted, NoImage, ["disrupted", "preemption", "never"]),
    (Preempted, Pulling, ["disrupted", "preemption", "never"]),
    (Preempted, Waiting, ["disrupted", "preemption", "never"]),
    (Preempted, Init, ["disrupted", "preemption", "started"]),
    (Preempted, Running, ["disrupted", "preemption", "started"]),
    // A deletion that is under way already nobody signs any more.
    (Preempted, Ending, ["disrupted", "deleted-outside", "started"]),
    (Evicted, Gated, ["disrupted", "eviction", "never"]),
    (Evicted, Unbound, ["disrupted", "eviction", "never"]),
    (Evicted, NoImage, ["disrupted", "eviction", "never"]),
    (Evicted, Pulling, ["disrupted", "eviction", "never"]),
    (Evicted, Waiting, ["disrupted", "eviction", "never"]),
    (Evicted, Init, ["disrupted", "eviction", "started"]),
    (Evicted, Running, ["disrupted", "eviction", "started"]),
    (Evicted, Ending, ["disrupted", "deleted-outside", "started"]),
    (Tainted, NoImage, ["disrupted", "taint", "never"]),
    (Tainted, Pulling, ["disrupted", "taint", "never"]),
    (Tainted, Waiting, ["disrupted", "taint", "never"]),
    (Tainted, Init, ["disrupted", "taint", "started"]),
    (Tainted, Running, ["disrupted", "taint", "started"]),
    (Tainted, Ending, ["disrupted", "deleted-outside", "started"]),
    (NodeDeleted, NoImage, ["disrupted", "node-gone", "unknown"]),
    (NodeDeleted, Pulling, ["disrupted", "node-gone", "unknown"]),
    (NodeDeleted, Waiting, ["disrupted", "node-gone", "unknown"]),
    (NodeDeleted, Init, ["disrupted", "node-gone", "started"]),
    (NodeDeleted, Running, ["disrupted", "node-gone", "started"]),
    // It was not its deletion that ended it: PodGC wrote the phase.
    (NodeDeleted, Ending, ["disrupted", "node-gone", "started"]),
    (Deleted, Gated, ["disrupted", "deleted-outside", "never"]),
    (Deleted, Unbound, ["disrupted", "deleted-outside", "never"]),
    (Deleted, NoImage, ["disrupted", "deleted-outside", "never"]),
    (Deleted, Pulling, ["disrupted", "deleted-outside", "never"]),
    (Deleted, Waiting, ["disrupted", "deleted-outside", "never"]),
    (Deleted, Init, ["disrupted", "deleted-outside", "started"]),
    (Deleted, Running, ["disrupted", "deleted-outside", "started"]),
    (ForceDeleted, Gated, ["disrupted", "deleted-outside", "never"]),
    (ForceDeleted, Unbound, ["disrupted", "deleted-outside", "never"]),
    (ForceDeleted, NoImage, ["disrupted", "deleted-outside", "unknown"]),
    (ForceDeleted, Pulling, ["disrupted", "deleted-outside", "unknown"]),
    (ForceDeleted, Waiting, ["disrupted", "deleted-outside", "unknown"]),
    (ForceDeleted, Init, ["disrupted", "deleted-outside", "started"]),
    (ForceDeleted, Running, ["disrupted", "deleted-outside", "started"]),
    (ForceDeleted, Ending, ["disrupted", "deleted-outside", "started"]),
];

/// Uses its grace until the blow has fallen.
const LINGERS: &str = "trap 'touch /ledger/ending' TERM; until [ -e /ledger/ending ]; do sleep 0.1; done; until [ -e /ledger/stop ]; do sleep 0.1; done; exit 143";

impl Stage {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// What `run` is told so that its pod gets no further than this.
    fn flags(self) -> Vec<String> {
        let init = json!([container("prepare", ENDURES)]);
        let set = match self {
            Gated => r#"spec.schedulingGates=[{"name":"example.com/hold"}]"#.to_owned(),
            Unbound => r#"spec.nodeSelector={"kpo.rs/nowhere":""}"#.to_owned(),
            NoImage => NO_IMAGE_SET.to_owned(),
            Pulling => format!("spec.containers[0].image={SLOW_IMAGE}"),
            Waiting => WAITS_FOR_SETTINGS.to_owned(),
            Init => format!("spec.initContainers={init}"),
            // PodGC comes late.
            Ending => "spec.terminationGracePeriodSeconds=120".to_owned(),
            Running => return Vec::new(),
        };
        vec!["--set".to_owned(), set]
    }

    /// Whether a pod is there.
    fn is_reached(self, pod: &Value) -> bool {
        let status = &pod["status"];
        match self {
            Gated => status["conditions"][0]["reason"] == "SchedulingGated",
            Unbound => status["conditions"][0]["reason"] == "Unschedulable",
            NoImage => is_without_image(&status["containerStatuses"][0]),
            Waiting => is_waiting(pod),
            Init => status["initContainerStatuses"][0]["state"]["running"].is_object(),
            // What of its image is there only the registry knows.
            Pulling => status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating",
            Running | Ending => is_running(pod),
        }
    }

    fn is_on_a_node(self) -> bool {
        !matches!(self, Gated | Unbound)
    }
}

/// A task at its stage, and what is to be said of it.
struct Struck {
    stage: Stage,
    expected: [&'static str; 3],
    task: Started,
}

impl Struck {
    fn pod(&self) -> String {
        format!("{}-1", self.stage.name())
    }
}

/// Where a blow finds the tasks, and what they need there.
struct Ground<'a> {
    namespace: &'a Namespace<'a>,
    ledger: &'a Ledger,
    registry: &'a Registry,
    /// What each of them is told: the node where it has one, a tenth of whose CPU it requests.
    selector: String,
    requests: String,
}

impl Ground<'_> {
    /// All stages at which this blow can fall, each at its stage. A node pulls one image after the other: the pull that does not end is the last.
    async fn under_way(&self, blow: Blow) -> Result<Vec<Struck>, Error> {
        let (pulling, others): (Vec<_>, Vec<_>) =
            TABLE.iter().filter(|(by, ..)| *by == blow).partition(|(_, stage, _)| *stage == Pulling);
        let mut all = Vec::new();
        for rows in [others, pulling] {
            let from = all.len();
            for (_, stage, expected) in rows {
                all.push(Struck { stage, expected, task: self.start(stage)? });
            }
            for one in &all[from..] {
                self.reached(one).await?;
            }
        }
        Ok(all)
    }

    fn start(&self, stage: Stage) -> Result<Started, Error> {
        let mut flags = vec!["-o", "json", "--rerun-never-started", "0", "--set", &self.requests];
        if stage.is_on_a_node() {
            flags.extend(["--set", &self.selector]);
        }
        let own = stage.flags();
        flags.extend(own.iter().map(String::as_str));
        let script = if stage == Ending { LINGERS } else { ENDURES };
        self.namespace.start("run", &self.ledger.run(&stage.name(), &flags, script))
    }

    async fn reached(&self, one: &Struck) -> Result<(), Error> {
        let namespace = self.namespace;
        namespace.pod(&one.pod(), &format!("is {}", one.stage.name()), |pod| one.stage.is_reached(pod)).await?;
        match one.stage {
            Pulling => namespace.wait("its image is half there", || async { Ok(self.registry.is_half_way()) }).await,
            Ending => {
                namespace.delete(&namespace.path(&format!("pods/{}", one.pod())), &json!({})).await?;
                namespace.wait("the program ends", || async { Ok(self.ledger.has("ending")) }).await
            }
            _ => Ok(()),
        }
    }
}

/// What kpo said of each, and what the node saw of it.
async fn judge(namespace: &Namespace<'_>, ledger: &Ledger, all: Vec<Struck>) -> Result<(), Error> {
    let mut wrong = Vec::new();
    for Struck { stage, expected, task } in all {
        let ended = task.ended().await?;
        if let Err(error) = judge_one(ledger, stage, expected, &ended) {
            wrong.push(format!("{stage:?}: {error}\n{ended}"));
        }
    }
    namespace.is_empty().await?;
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn judge_one(ledger: &Ledger, stage: Stage, expected: [&str; 3], ended: &Ended) -> Result<(), Error> {
    let outcome = ended.outcome()?;
    let verdict = &outcome["attempts"][0]["verdict"];
    let is = json!([verdict["class"], verdict["cause"], verdict["started"]]);
    super::same("class, cause, started", &is, &json!(expected))?;
    super::same("attempts", &json!(outcome["attempts"].as_array().map(Vec::len)), &json!(1))?;
    let had_run = matches!(stage, Running | Ending);
    ledger.shows(&stage.name(), if had_run { &[1] } else { &[] })
}

/// One blow on all stages.
async fn strike<F>(
    namespace: &Namespace<'_>,
    blow: Blow,
    falls: impl FnOnce(String, Vec<String>) -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    // On somebody else's cluster other pods would be hit too.
    let registry = Registry::held(&Components::here()?, &namespace.target.kubeconfig).await?;
    namespace.is_well().await?;
    let ledger = Ledger::open(namespace).await?;
    let (node, _) = namespace.victim().await?;
    let cpu = format!("{}m", node_cpu(&namespace.get(&format!("/api/v1/nodes/{node}")).await?)? / 10);
    let selector = format!("spec.nodeSelector={}", json!({"kubernetes.io/hostname": node}));
    let requests = format!("spec.containers[0].resources={}", resources(&cpu, &cpu));
    let ground = Ground { namespace, ledger: &ledger, registry: &registry, selector, requests };
    let all = ground.under_way(blow).await?;
    falls(node, all.iter().map(Struck::pod).collect()).await?;
    ledger.allow("stop")?;
    // A kubelet ends no pod while it pulls an image for it: only now it does.
    drop(registry);
    judge(namespace, &ledger, all).await
}

pub(super) async fn preempted_at_each_stage(namespace: &Namespace<'_>) -> Result<(), Error> {
    let falls = |node: String, pods: Vec<String>| async move {
        let cpu = node_cpu(&namespace.get(&format!("/api/v1/nodes/{node}")).await?)?;
        namespace.daemonset(&node, &format!("{}m", cpu * 95 / 100)).await?;
        // The scheduler of 1.36 passes over what is on its way out; before, it signed that too.
        let stay = |pod: &String| !pod.starts_with(&Ending.name());
        let struck = namespace.are_struck(pods.into_iter().filter(stay).collect()).await;
        namespace.no_daemonset().await?;
        struck
    };
    strike(namespace, Preempted, falls).await
}

pub(super) async fn evicted_at_each_stage(namespace: &Namespace<'_>) -> Result<(), Error> {
    let falls = |_, pods: Vec<String>| async move {
        for pod in pods {
            namespace.evict(&pod).await?;
        }
        Ok(())
    };
    strike(namespace, Evicted, falls).await
}

pub(super) async fn tainted_at_each_stage(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.is_own_cluster()?;
    let taint = &json!([{"key": "kpo.rs/conformance", "effect": "NoExecute"}]);
    let (node, _) = namespace.victim().await?;
    let falls = |node: String, pods: Vec<String>| async move {
        namespace.taint(&node, taint).await?;
        namespace.are_struck(pods).await
    };
    let struck = strike(namespace, Tainted, falls).await;
    namespace.taint(&node, &Value::Null).await?;
    struck
}

/// PodGC needs up to a minute to find that the node is gone; its kubelet runs on, and is started anew to register again.
pub(super) async fn node_deleted_at_each_stage(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    let (_, kubelet) = namespace.victim().await?;
    let falls = |node, pods| async move {
        namespace.delete(&format!("/api/v1/nodes/{node}"), &json!({})).await?;
        namespace.are_struck(pods).await
    };
    let struck = strike(namespace, NodeDeleted, falls).await;
    components.suffer(&kubelet, Fault::Killed(Duration::from_secs(1))).await?;
    namespace.is_well().await?;
    struck
}

pub(super) async fn deleted_at_each_stage(namespace: &Namespace<'_>) -> Result<(), Error> {
    strike(namespace, Deleted, |_, pods| namespace.delete_all(pods, json!({}))).await
}

pub(super) async fn force_deleted_at_each_stage(namespace: &Namespace<'_>) -> Result<(), Error> {
    strike(namespace, ForceDeleted, |_, pods| namespace.delete_all(pods, json!({"gracePeriodSeconds": 0}))).await
}

impl Namespace<'_> {
    /// Waits until each of them carries the disruption's mark, or is gone.
    async fn are_struck(&self, pods: Vec<String>) -> Result<(), Error> {
        let is_marked = |pod: &Value| {
            let all = pod["status"]["conditions"].as_array();
            all.is_some_and(|all| all.iter().any(|one| one["type"] == "DisruptionTarget" && one["status"] == "True"))
        };
        for name in pods {
            let path = self.path(&format!("pods/{name}"));
            self.wait(&format!("{name} is struck"), || async {
                Ok(self.get(&path).await.map_or(true, |pod| is_marked(&pod)))
            })
            .await?;
        }
        Ok(())
    }

    async fn delete_all(&self, pods: Vec<String>, options: Value) -> Result<(), Error> {
        for pod in pods {
            self.delete(&self.path(&format!("pods/{pod}")), &options).await?;
        }
        Ok(())
    }
}
