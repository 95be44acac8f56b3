//! Parts of the cluster that fail while tasks are under way: nothing is lost, and nothing runs twice.

use super::{ENDURES, WAITS_FOR_SETTINGS, disruption, is_running, is_waiting, same};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::Started;
use crate::components::{Broken, Components, Fault};
use crate::is_long;
use crate::ledger::Ledger;
use crate::proxy;
use serde_json::json;
use std::time::{Duration, Instant};

/// Counts until it is told to stop: what is missing in between, and what is missing at the end, shows.
pub(super) const COUNTS: &str =
    "i=0; until [ -e /ledger/stop ]; do i=$((i+1)); echo $i; sleep 0.1; done; echo $i is the last; exit 7";
/// Ends in the middle of the outage, and hands a result back.
const ENDS: &str = "until [ -e /ledger/end ]; do sleep 0.1; done; mkdir -p /airflow/xcom; echo 1 > /airflow/xcom/return.json; echo ended";

/// Tasks at different stages: one that runs on, one that ends in the meantime, one that has not started (and is evicted once all is well: its
/// second attempt runs), one that is evicted in the meantime, and one that is only begun then.
struct Underway<'a> {
    namespace: &'a Namespace<'a>,
    ledger: Ledger,
    /// Whether what fails is the node's, and whether the runtime that writes the logs does.
    of_node: bool,
    torn: bool,
    selector: String,
    counts: Started,
    ends: Started,
    waits: Started,
    evicted: Option<Started>,
    late: Option<Started>,
}

impl<'a> Underway<'a> {
    /// All on one node, up to the stage at which the fault is to find them.
    async fn begin(namespace: &'a Namespace<'a>, node: &str, component: &str) -> Result<Self, Error> {
        let ledger = Ledger::open(namespace).await?;
        let torn = component.starts_with("containerd");
        let of_node = torn || component.starts_with("kubelet");
        let selector = format!("spec.nodeSelector={}", json!({"kubernetes.io/hostname": node}));
        let run = |task: &str, flags: &[&str], script: &str| {
            let flags = [&["--set", &selector], flags].concat();
            namespace.start("run", &ledger.run(task, &flags, script))
        };
        let counts = run("counts", &["--on-finish", "keep"], COUNTS)?;
        let hands = ["-o", "json", "--result", "--results", "message", "--on-finish", "keep"];
        let ends = run("ends", &hands, ENDS)?;
        // It is evicted as soon as the API server is back, and kpo may hear of that only later: nobody can know then, but of a protected pod.
        let waits = run("waits", &["--protect", "--set", WAITS_FOR_SETTINGS], "echo hello")?;
        let evicted = if of_node { Some(run("evicted", &["-o", "json"], ENDURES)?) } else { None };
        let running = ["counts-1", "ends-1", "evicted-1"];
        for pod in &running[..if of_node { 3 } else { 2 }] {
            namespace.pod(pod, "runs", is_running).await?;
        }
        namespace.pod("waits-1", "waits for its settings", is_waiting).await?;
        Ok(Self { namespace, ledger, of_node, torn, selector, counts, ends, waits, evicted, late: None })
    }

    /// What happens in the middle of the fault.
    async fn meanwhile(&mut self) -> Result<(), Error> {
        self.ledger.allow("end")?;
        let late = self.ledger.run("late", &["--set", &self.selector], "echo hello");
        self.late = Some(self.namespace.start("run", &late)?);
        if self.evicted.is_some() {
            self.namespace.evict("evicted-1").await?;
        }
        Ok(())
    }

    /// Each of them comes to its end, as if nothing had been.
    async fn end(mut self) -> Result<(), Error> {
        self.namespace.evict("waits-1").await?;
        self.namespace.pod("waits-2", "takes its place", |_| true).await?;
        self.namespace.give_settings().await?;
        self.began_late().await?;
        self.waits.ended().await?.exits(0)?.prints("hello\n")?;
        self.ledger.shows("waits", &[2])?;
        if let Some(evicted) = self.evicted {
            disruption::disrupted(&evicted.ended().await?.exits(75)?, "eviction", "started")?;
            self.ledger.shows("evicted", &[1])?;
        }
        let ended = self.ends.ended().await?.exits(0)?;
        same("result", &ended.outcome()?["result"], &json!(1))?;
        self.ledger.allow("stop")?;
        let counted = self.counts.ended().await?.exits(7)?;
        self.ledger.shows("ends", &[1])?;
        self.ledger.shows("counts", &[1])?;
        let shown: String =
            ended.stderr.lines().filter(|line| *line == "ended").map(|line| format!("{line}\n")).collect();
        self.namespace.holds("ends-1", &shown).await?;
        self.namespace.holds("counts-1", &counted.stdout).await?;
        counts(&counted.stdout, self.torn).map_err(|error| format!("{error}: {counted}"))?;
        self.namespace.remove_leftovers().await
    }

    /// Who is begun while nobody answers gives up after some seconds, with nothing begun; else it is a task like another. That it is
    /// over shows that what had failed works again.
    async fn began_late(&mut self) -> Result<(), Error> {
        let late = self.late.take().ok_or("nothing was begun late")?.ended().await?;
        if late.code == Some(125) && !self.of_node {
            late.says("no connection")?.prints("")?;
            return self.ledger.shows("late", &[]);
        }
        late.exits(0)?.prints("hello\n")?;
        self.ledger.shows("late", &[1])
    }
}

impl Namespace<'_> {
    /// What was shown of a log is what the node holds of it.
    async fn holds(&self, pod: &str, shown: &str) -> Result<(), Error> {
        let held = self.log(pod, "base").await?;
        if held == shown { Ok(()) } else { Err(format!("{pod}: the node holds\n{held}\nshown was\n{shown}").into()) }
    }
}

/// Each number once, in order, to the last. `torn`: the runtime may have lost some.
pub(super) fn counts(text: &str, torn: bool) -> Result<(), Error> {
    let last =
        text.lines().last().and_then(|line| line.strip_suffix(" is the last")).ok_or("the last line is missing")?;
    let numbers = text.lines().map_while(|line| line.parse().ok()).collect::<Vec<u32>>();
    let is_whole = numbers.iter().copied().eq(1..=last.parse()?);
    let is_ordered = torn && numbers.is_sorted_by(|a, b| a < b) && numbers.len() + 1 == text.lines().count();
    if is_whole || is_ordered { Ok(()) } else { Err("the count is wrong".into()) }
}

/// A component of the control plane, or of the node that faults befall.
async fn suffers(namespace: &Namespace<'_>, component: &str, fault: Fault) -> Result<(), Error> {
    let components = Components::here()?;
    namespace.is_well().await?;
    let (node, kubelet) = namespace.victim().await?;
    let component =
        component.replace("kubelet", &kubelet).replace("containerd", &kubelet.replace("kubelet", "containerd"));
    let mut underway = Underway::begin(namespace, &node, &component).await?;
    let (Fault::Killed(span) | Fault::Paused(span)) = fault;
    let began = Instant::now();
    let broken = Broken::begin(&components, &component, fault).await?;
    underway.meanwhile().await?;
    tokio::time::sleep(span.saturating_sub(began.elapsed())).await;
    broken.end().await?;
    namespace.is_well().await?;
    underway.end().await
}

/// The same for each of these seconds: the first of them are the gate's.
async fn for_each(
    namespace: &Namespace<'_>,
    component: &str,
    fault: fn(Duration) -> Fault,
    gate: &[u64],
    long: &[u64],
) -> Result<(), Error> {
    for seconds in if is_long() { long } else { gate } {
        let fault = fault(Duration::from_secs(*seconds));
        suffers(namespace, component, fault).await.map_err(|error| in_words(component, fault, error))?;
        namespace.take_settings().await?;
    }
    Ok(())
}

fn in_words(component: &str, fault: Fault, error: Error) -> Error {
    if error.is::<crate::components::NotHere>() { error } else { format!("{component} {fault:?}: {error}").into() }
}

pub(super) async fn api_server_killed(namespace: &Namespace<'_>) -> Result<(), Error> {
    for_each(namespace, "kube-apiserver", Fault::Killed, &[1], &[1, 30, 300]).await
}

/// Connections stay, and nobody answers.
pub(super) async fn api_server_paused(namespace: &Namespace<'_>) -> Result<(), Error> {
    for_each(namespace, "kube-apiserver", Fault::Paused, &[15], &[15, 60]).await
}

/// The API server answers, with errors.
pub(super) async fn etcd_killed(namespace: &Namespace<'_>) -> Result<(), Error> {
    for_each(namespace, "etcd", Fault::Killed, &[5], &[1, 5, 60]).await
}

pub(super) async fn kubelet_killed(namespace: &Namespace<'_>) -> Result<(), Error> {
    for_each(namespace, "kubelet", Fault::Killed, &[1], &[1, 30]).await
}

/// The longest makes its node unreachable, but not for so long that its pods would be taken away (300 s).
pub(super) async fn kubelet_paused(namespace: &Namespace<'_>) -> Result<(), Error> {
    for_each(namespace, "kubelet", Fault::Paused, &[12], &[12, 120]).await
}

pub(super) async fn containerd_killed(namespace: &Namespace<'_>) -> Result<(), Error> {
    for_each(namespace, "containerd", Fault::Killed, &[1], &[1, 15]).await
}

/// The scheduler and the controllers are away: what waits for them waits.
pub(super) async fn controllers_killed(namespace: &Namespace<'_>) -> Result<(), Error> {
    for_each(namespace, "kube-controller-manager", Fault::Killed, &[1], &[10]).await?;
    for_each(namespace, "kube-scheduler", Fault::Killed, &[1], &[10]).await
}

/// The watch is cut, the pod is taken away meanwhile, and the API server that comes back has no history of that (410): one look decides, and what it
/// does not show any more was protected.
pub(super) async fn watch_is_compacted(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    namespace.is_well().await?;
    let ledger = Ledger::open(namespace).await?;
    let (proxy, blind) = namespace.switched("watch pods", proxy::Fault::Lose).await?;
    let run = ledger.run("task", &["--protect"], ENDURES);
    let task = namespace.start_as(proxy.kubeconfig(), "run", &run)?;
    namespace.pod("task-1", "runs", is_running).await?;
    blind.set(true);
    proxy.cut();
    namespace.evict("task-1").await?;
    namespace.pod("task-1", "has ended", |pod| pod["status"]["phase"] == "Failed").await?;
    components.suffer("kube-apiserver", Fault::Killed(Duration::from_secs(1))).await?;
    namespace.is_well().await?;
    blind.set(false);
    task.ended().await?.exits(75)?.says("evicted through the API")?;
    // The watch from the version before was answered with 410, in its first event.
    same("lists", &json!(proxy.count("list pods")), &json!(2))?;
    ledger.shows("task", &[1])?;
    namespace.is_empty().await
}
