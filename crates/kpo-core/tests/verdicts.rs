//! Every way in which an attempt ends, as a table: what was seen, and what it means.

use kpo_core::pod::{
    Condition, Container, ContainerState, ContainerStatus, EventObject, ManagedField, OwnedFields, OwnedStatus, Phase,
    Running, Terminated, Waiting,
};
use kpo_core::spec::ExitZeroAfterTerm;
use kpo_core::{Absence, Class, ClusterEvent, Ledger, Pod, Sight, Situation, Template, Time, Verdict, classify};
use std::time::Duration;

// --- what is seen ---------------------------------------------------------------------------------------------------------------------

/// A pod of one container `base`, as accepted: unbound.
fn fresh() -> P {
    let mut pod = Pod::default();
    pod.metadata.name = "task".into();
    pod.metadata.uid = "u1".into();
    pod.metadata.creation_timestamp = Some("2026-11-23T22:00:00Z".into());
    pod.spec.restart_policy = "Never".into();
    pod.spec.containers = vec![Container { name: "base".into(), ..Container::default() }];
    P(pod)
}

/// Bound, acknowledged by the kubelet, `base` about to be created.
fn creating() -> P {
    fresh().on("node-1").main("base", waiting("ContainerCreating"))
}

fn runs() -> P {
    creating().main("base", running()).phase(Phase::Running, "kubelet")
}

#[derive(Clone)]
struct P(Pod);

impl P {
    fn on(mut self, node: &str) -> Self {
        self.0.spec.node_name = Some(node.into());
        self
    }

    fn main(mut self, name: &str, status: ContainerStatus) -> Self {
        self.0.status.start_time = Some("2026-11-23T22:00:01Z".into());
        put(&mut self.0.status.container_statuses, name, status);
        self
    }

    fn init(mut self, name: &str, status: ContainerStatus) -> Self {
        if self.0.spec.init_containers.iter().all(|c| c.name != name) {
            self.0.spec.init_containers.push(Container { name: name.into(), ..Container::default() });
        }
        put(&mut self.0.status.init_container_statuses, name, status);
        self
    }

    fn sidecar(mut self, name: &str, status: ContainerStatus) -> Self {
        self = self.init(name, status);
        let sidecar = self.0.spec.init_containers.iter_mut().find(|c| c.name == name).unwrap();
        sidecar.restart_policy = Some("Always".into());
        self
    }

    fn phase(mut self, phase: Phase, writer: &str) -> Self {
        self.0.status.phase = phase;
        let fields = OwnedFields { status: Some(OwnedStatus { phase: Some(Default::default()) }) };
        self.0.metadata.managed_fields =
            vec![ManagedField { manager: writer.into(), subresource: "status".into(), fields }];
        self
    }

    fn failed(self) -> Self {
        self.phase(Phase::Failed, "kubelet")
    }

    fn because(mut self, reason: &str, message: &str) -> Self {
        self.0.status.reason = Some(reason.into());
        self.0.status.message = Some(message.into());
        self
    }

    fn condition(mut self, kind: &str, status: &str, reason: &str, message: &str) -> Self {
        self.0.status.conditions.retain(|c| c.kind != kind);
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        self.0.status.conditions.push(Condition {
            kind: kind.into(),
            status: status.into(),
            reason: some(reason),
            message: some(message),
        });
        self
    }

    fn target(self, reason: &str) -> Self {
        self.condition("DisruptionTarget", "True", reason, "said so")
    }

    fn deleting(mut self, grace: i64) -> Self {
        self.0.metadata.deletion_timestamp = Some("2026-11-23T22:10:00Z".into());
        self.0.metadata.deletion_grace_period_seconds = Some(grace);
        self
    }

    /// A kubelet's rejection: a fresh status.
    fn rejected(mut self, reason: &str, message: &str) -> Self {
        self.0.status = Default::default();
        self.failed().because(reason, message)
    }

    fn with(mut self, change: impl FnOnce(&mut Pod)) -> Self {
        change(&mut self.0);
        self
    }
}

fn put(statuses: &mut Vec<ContainerStatus>, name: &str, mut status: ContainerStatus) {
    status.name = name.into();
    statuses.retain(|old| old.name != name);
    statuses.push(status);
}

fn waiting(reason: &str) -> ContainerStatus {
    waiting_for(reason, None)
}

fn waiting_for(reason: &str, message: Option<&str>) -> ContainerStatus {
    let waiting = Waiting { reason: Some(reason.into()), message: message.map(str::to_owned) };
    status(ContainerState { waiting: Some(waiting), ..ContainerState::default() }, None)
}

fn running() -> ContainerStatus {
    let running = Running { started_at: Some("2026-11-23T22:00:02Z".into()) };
    status(ContainerState { running: Some(running), ..ContainerState::default() }, Some("containerd://1"))
}

fn ended(exit_code: i32, reason: &str) -> ContainerStatus {
    let terminated = Terminated {
        exit_code,
        reason: Some(reason.into()),
        started_at: Some("2026-11-23T22:00:02Z".into()),
        finished_at: Some("2026-11-23T22:12:00Z".into()),
        container_id: Some("containerd://1".into()),
        ..Terminated::default()
    };
    status(ContainerState { terminated: Some(terminated), ..ContainerState::default() }, Some("containerd://1"))
}

/// `The container could not be located when the pod was terminated`.
fn unlocated() -> ContainerStatus {
    let terminated =
        Terminated { exit_code: 137, reason: Some("ContainerStatusUnknown".into()), ..Terminated::default() };
    status(ContainerState { terminated: Some(terminated), ..ContainerState::default() }, None)
}

fn start_error() -> ContainerStatus {
    let mut status = ended(128, "StartError");
    let end = status.state.terminated.as_mut().unwrap();
    end.started_at = Some("1970-01-01T00:00:00Z".into());
    end.message = Some("exec: \"/no\": no such file".into());
    status
}

fn status(state: ContainerState, id: Option<&str>) -> ContainerStatus {
    ContainerStatus { state, container_id: id.map(str::to_owned), ..ContainerStatus::default() }
}

// --- what happens -----------------------------------------------------------------------------------------------------------------------

#[derive(Clone)]
enum Step {
    Seen(P),
    Deleted(P),
    Told(ClusterEvent),
    Gap,
    Relisted,
    Resumed,
    Missing,
    OurDelete,
    Later(u64),
}

use Step::{Deleted, Gap, Later, Missing, OurDelete, Relisted, Resumed, Seen};

/// A DELETED that carries its deletion, as the registry writes it.
fn gone(pod: P) -> Step {
    Deleted(pod.deleting(0))
}

fn told(reason: &str, message: &str, reporter: &str) -> Step {
    let involved_object = EventObject { kind: "Pod".into(), uid: "u1".into(), ..EventObject::default() };
    Step::Told(ClusterEvent {
        kind: "Normal".into(),
        reason: reason.into(),
        message: message.into(),
        reporter: reporter.into(),
        involved_object,
        ..ClusterEvent::default()
    })
}

fn started_event(container: &str) -> Step {
    let Step::Told(mut event) = told("Started", "Started container", "kubelet") else { unreachable!() };
    event.involved_object.field_path = format!("spec.containers{{{container}}}");
    Step::Told(event)
}

fn template() -> Template {
    let counted = ["base", "setup"].map(str::to_owned).to_vec();
    Template { container: "base".into(), counted, grace_seconds: 5, active_deadline_seconds: None }
}

/// Replays the steps, a second apart. Returns the ledger and the moment after the last.
fn replay(steps: &[Step]) -> (Ledger, Time) {
    let (mut ledger, mut now) = (Ledger::default(), Time::from_secs(1_800_000_000));
    for step in steps {
        now = now + Duration::from_secs(1);
        match step {
            Seen(pod) => drop(ledger.observe(now, Sight::Present, &pod.0)),
            Deleted(pod) => drop(ledger.observe(now, Sight::Deleted, &pod.0)),
            Step::Told(event) => ledger.told(now, event),
            Gap => ledger.gap(now),
            Relisted => ledger.covered(now, false),
            Resumed => ledger.covered(now, true),
            Missing => ledger.gone(now, Absence::Unobserved),
            OurDelete => ledger.our_delete(now),
            Later(seconds) => now = now + Duration::from_secs(*seconds),
        }
    }
    (ledger, now)
}

fn judged(steps: &[Step]) -> Option<Verdict> {
    let (ledger, now) = replay(steps);
    let ended = ledger.situation(now, &template()) == Situation::Ended;
    classify::judge(&ledger, &template(), ExitZeroAfterTerm::Success).filter(|_| ended)
}

/// `class/cause/started reason exit proof`, and whether something may run on.
fn said(steps: &[Step]) -> String {
    let Some(verdict) = judged(steps) else { return "alive".into() };
    let class = match &verdict.class {
        Class::Disrupted { cause, started } => format!("{}/{}", cause.name(), started.name()),
        class => class.name().to_owned(),
    };
    let code = verdict.exit_code.map(|code| format!(" exit {code}")).unwrap_or_default();
    let proof = verdict.proof.map(|proof| format!(" by {}", serde_json::to_value(proof).unwrap().as_str().unwrap()));
    let stopped = if verdict.stopped { "" } else { ", may run on" };
    format!("{class}: {}{code}{}{stopped}", verdict.reason, proof.unwrap_or_default())
}

fn check(table: &[(&str, Vec<Step>, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(name, steps, expected)| {
            let said = said(steps);
            (said != *expected).then(|| format!("{name}\n  is        {said}\n  should be {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// From its creation to the running program, then `rest`.
fn ran(rest: impl IntoIterator<Item = Step>) -> Vec<Step> {
    [Seen(fresh()), Seen(creating()), Seen(runs())].into_iter().chain(rest).collect()
}

/// From its creation to the kubelet's first word, then `rest`.
fn starting(rest: impl IntoIterator<Item = Step>) -> Vec<Step> {
    [Seen(fresh()), Seen(creating())].into_iter().chain(rest).collect()
}

// --- the tables -------------------------------------------------------------------------------------------------------------------------

/// The rows of disruptions.md.
#[test]
fn disruptions() {
    let killed = || runs().main("base", ended(137, "Error"));
    let lost = |pod: P| pod.main("base", unlocated());
    let marked =
        |reason: &str| starting([Seen(creating().target(reason)), Seen(creating().target(reason).deleting(5))]);
    let never = |reason: &str| {
        let last = lost(creating()).target(reason).failed();
        [marked(reason), vec![Seen(last.clone().deleting(5)), gone(last)]].concat()
    };
    let killed_by = |reason: &str| {
        let last = killed().target(reason).failed();
        ran([Seen(runs().target(reason).deleting(5)), Seen(last.clone().deleting(5)), gone(last)])
    };
    check(&[
        (
            "preempted before it started",
            never("PreemptionByScheduler"),
            "preemption/never: preempted by kubelet-attested",
        ),
        (
            "as the documentation spells it",
            never("PreemptionByKubeScheduler"),
            "preemption/never: preempted by kubelet-attested",
        ),
        ("preempted while it ran", killed_by("PreemptionByScheduler"), "preemption/started: preempted exit 137"),
        ("taint", killed_by("DeletionByTaintManager"), "taint/started: taintEvicted exit 137"),
        ("taint before it started", never("DeletionByTaintManager"), "taint/never: taintEvicted by kubelet-attested"),
        ("eviction API", killed_by("EvictionByEvictionAPI"), "eviction/started: evicted exit 137"),
        ("GKE recreates the node", killed_by("DeletionByGCPControllerManager"), "node-gone/started: nodeGone exit 137"),
        ("an unknown controller", killed_by("SpotInterruption"), "other/started: disruptedByOther exit 137"),
        (
            "waiting at Permit: an event only",
            vec![Seen(fresh()), told("Preempted", "Preempted by pod u2 on node n", "default-scheduler")],
            "alive",
        ),
        (
            "PodGC: the node is gone, the status says running",
            ran([gone(runs().target("DeletionByPodGC").phase(Phase::Failed, "kube-controller-manager"))]),
            "node-gone/started: nodeGone, may run on",
        ),
        (
            "PodGC before a start was seen",
            starting([gone(creating().target("DeletionByPodGC").phase(Phase::Failed, "kube-controller-manager"))]),
            "node-gone/unknown: nodeGone, may run on",
        ),
        (
            "PodGC of an out-of-service node: no condition",
            ran([Seen(runs().deleting(5)), gone(runs().phase(Phase::Failed, "kube-controller-manager"))]),
            "node-gone/started: nodeGone, may run on",
        ),
        (
            "node pressure",
            ran([Seen(
                killed()
                    .target("TerminationByKubelet")
                    .failed()
                    .because("Evicted", "The node was low on resource: memory."),
            )]),
            "node-pressure/started: nodePressure exit 137",
        ),
        (
            "emptyDir over its limit",
            ran([Seen(
                killed().failed().because("Evicted", "Usage of EmptyDir volume \"x\" exceeds the limit \"5Mi\". "),
            )]),
            "failed: storageExceeded exit 137",
        ),
        (
            "ephemeral storage of the pod over its limit",
            ran([Seen(
                killed().failed().because(
                    "Evicted",
                    "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
                ),
            )]),
            "failed: storageExceeded exit 137",
        ),
        (
            "ephemeral storage of a container over its limit",
            ran([Seen(
                killed()
                    .failed()
                    .because("Evicted", "Container base exceeded its local ephemeral storage limit \"1Gi\". "),
            )]),
            "failed: storageExceeded exit 137",
        ),
        (
            "critical pod",
            ran([Seen(
                killed()
                    .target("TerminationByKubelet")
                    .failed()
                    .because("Preempting", "Preempted in order to admit critical pod"),
            )]),
            "critical-pod/started: preemptedByCriticalPod exit 137",
        ),
        (
            "graceful node shutdown",
            ran([Seen(
                killed().failed().because("Terminated", "Pod was terminated in response to imminent node shutdown."),
            )]),
            "node-shutdown/started: nodeShutdown exit 137",
        ),
        (
            "graceful node shutdown in 1.20, a fresh status",
            ran([Seen(runs().rejected("Shutdown", "Node is shutting, evicting pods"))]),
            "node-shutdown/started: nodeShutdown, may run on",
        ),
        (
            "node reboot: exit 255",
            ran([Seen(runs().main("base", ended(255, "Unknown")).failed())]),
            "node-reboot/started: nodeReboot exit 255",
        ),
        (
            "node reboot, the runtime's record lost: only lastState tells",
            starting([Seen(
                creating()
                    .main("base", unlocated())
                    .with(|pod| {
                        let status = &mut pod.status.container_statuses[0];
                        status.restart_count = 1;
                        status.last_state = unlocated().state;
                    })
                    .failed(),
            )]),
            "node-reboot/started: nodeReboot",
        ),
        (
            "node reboot before it started",
            starting([Seen(creating().main("base", unlocated()).failed())]),
            "node-reboot/never: nodeReboot by kubelet-attested",
        ),
        (
            "a container that the runtime lost is started again under the same UID",
            ran([Seen(runs().main("base", ended(255, "Unknown"))), Later(3600)]),
            "alive",
        ),
        (
            "Kueue takes it back",
            ran([
                Seen(runs().condition("TerminationTarget", "True", "WorkloadEvictedDueToPreemption", "Preempted")),
                gone(
                    killed()
                        .condition("TerminationTarget", "True", "WorkloadEvictedDueToPreemption", "Preempted")
                        .failed(),
                ),
            ]),
            "queue/started: queueEvicted exit 137",
        ),
        (
            "Kueue takes it back from its gate; its finalizer holds the object",
            vec![
                Seen(fresh()),
                Seen(
                    fresh()
                        .condition("TerminationTarget", "True", "StoppedByKueue", "inactive")
                        .deleting(0)
                        .with(|pod| pod.metadata.finalizers = vec!["kueue.x-k8s.io/managed".into()]),
                ),
            ],
            "queue/never: queueEvicted by never-bound",
        ),
        (
            "a virtual kubelet's provider failed",
            starting([Seen(creating().phase(Phase::Failed, "virtual-kubelet").because("ProviderFailed", "boom"))]),
            "provider/unknown: providerFailed, may run on",
        ),
        (
            "deleted by hand while it ran",
            ran([Seen(runs().deleting(5)), gone(killed().failed())]),
            "deleted-outside/started: deletedOutside exit 137",
        ),
        (
            "deleted by hand before it started",
            starting([Seen(creating().deleting(5)), gone(creating().main("base", unlocated()).failed())]),
            "deleted-outside/never: deletedOutside by kubelet-attested",
        ),
        (
            "force-deleted while bound",
            starting([gone(creating())]),
            "deleted-outside/unknown: deletedOutside, may run on",
        ),
        ("force-deleted while it ran", ran([gone(runs())]), "deleted-outside/started: deletedOutside, may run on"),
        (
            "unscheduled, deleted",
            vec![Seen(fresh()), gone(fresh())],
            "deleted-outside/never: deletedOutside by never-bound",
        ),
        ("vanished while nobody watched", starting([Gap, Missing]), "vanished/unknown: vanished, may run on"),
        ("vanished after it ran", ran([Gap, Missing]), "vanished/started: vanished, may run on"),
        (
            "vanished after it was marked",
            ran([Seen(runs().target("EvictionByEvictionAPI")), Gap, Missing]),
            "eviction/started: evicted, may run on",
        ),
    ]);
}

/// A kubelet's rejections: no condition, no container statuses.
#[test]
fn rejections() {
    let cause = |reason: &str| match reason {
        "NodeShutdown" => "node-shutdown/never: nodeShutdown by kubelet-rejected",
        _ => "rejected/never: rejected by kubelet-rejected",
    };
    let reasons = [
        (
            "OutOfcpu",
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 2000",
        ),
        ("OutOfmemory", "Node didn't have enough resource: memory, requested: 5, used: 0, capacity: 2"),
        ("OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 110, capacity: 110"),
        ("OutOfephemeral-storage", "Pod was rejected: …"),
        ("NodeAffinity", "Pod Predicate NodeAffinity failed"),
        ("TaintToleration", "Pod was rejected: Predicate TaintToleration failed"),
        (
            "UnexpectedAdmissionError",
            "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices",
        ),
        ("TopologyAffinityError", "Resources cannot be allocated with Topology locality"),
        ("Evicted", "Pod was rejected: The node had condition: [MemoryPressure]. "),
        ("NodeShutdown", "Pod was rejected as the node is shutting down."),
        ("SomethingNew", "Pod was rejected: something new"),
    ];
    for (reason, message) in reasons {
        let clean =
            vec![Seen(fresh()), Seen(fresh().on("node-1")), Seen(fresh().on("node-1").rejected(reason, message))];
        assert_eq!(said(&clean), cause(reason), "{reason}");
    }
    let no = || fresh().on("node-1").rejected("OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu");
    check(&[
        ("a restarted kubelet refuses what ran", ran([Seen(no())]), "rejected/started: rejected, may run on"),
        ("seen for the first time", vec![Seen(no())], "rejected/unknown: rejected, may run on"),
        ("after a gap", starting([Gap, Relisted, Seen(no())]), "rejected/unknown: rejected, may run on"),
        ("in a gap", starting([Gap, Seen(no())]), "rejected/unknown: rejected, may run on"),
        (
            "after a watch that was resumed",
            starting([Gap, Resumed, Seen(no())]),
            "rejected/never: rejected by kubelet-rejected",
        ),
        (
            "after a Started event",
            starting([Seen(no()), started_event("base")]),
            "rejected/started: rejected, may run on",
        ),
        (
            "by a virtual kubelet",
            starting([Seen(no().phase(Phase::Failed, "virtual-kubelet"))]),
            "rejected/unknown: rejected, may run on",
        ),
        (
            "under k3s",
            starting([Seen(no().phase(Phase::Failed, "k3s"))]),
            "rejected/never: rejected by kubelet-rejected",
        ),
        (
            "after a success",
            ran([Seen(runs().main("base", ended(0, "Completed")).phase(Phase::Succeeded, "kubelet")), Seen(no())]),
            "succeeded: succeeded exit 0, may run on",
        ),
        (
            "after a failure",
            ran([Seen(runs().main("base", ended(3, "Error"))), Seen(no())]),
            "failed: programFailed exit 3, may run on",
        ),
    ]);
}

/// What counts against *never*, and what does not.
#[test]
fn signs_of_life() {
    let end = |status: ContainerStatus| {
        let pod = creating().main("base", status).target("PreemptionByScheduler").failed();
        starting([gone(pod)])
    };
    let sign = |change: fn(&mut ContainerStatus)| {
        let mut status = unlocated();
        change(&mut status);
        end(status)
    };
    let (never, started) = ("preemption/never: preempted by kubelet-attested", "preemption/started: preempted");
    check(&[
        ("none", end(unlocated()), never),
        (
            "the epoch is no start",
            sign(|s| s.state.terminated.as_mut().unwrap().started_at = Some("1970-01-01T00:00:00Z".into())),
            never,
        ),
        (
            "nor is Go's zero time",
            sign(|s| s.state.terminated.as_mut().unwrap().started_at = Some("0001-01-01T00:00:00Z".into())),
            never,
        ),
        ("an empty ID is none", sign(|s| s.container_id = Some(String::new())), never),
        (
            "a start time",
            sign(|s| s.state.terminated.as_mut().unwrap().started_at = Some("2026-11-23T22:00:02Z".into())),
            started,
        ),
        (
            "a time that cannot be read",
            sign(|s| s.state.terminated.as_mut().unwrap().started_at = Some("yesterday".into())),
            started,
        ),
        ("an ID", sign(|s| s.container_id = Some("containerd://1".into())), started),
        (
            "an ID of its end",
            sign(|s| s.state.terminated.as_mut().unwrap().container_id = Some("cri-o://1".into())),
            started,
        ),
        ("a last state", sign(|s| s.last_state = running().state), started),
        ("a restart", sign(|s| s.restart_count = 1), started),
        (
            "an end that the runtime told",
            sign(|s| s.state.terminated.as_mut().unwrap().reason = Some("Error".into())),
            "preemption/started: preempted exit 137",
        ),
        ("StartError has an ID", end(start_error()), "preemption/started: preempted exit 128"),
        ("a Started event", [end(unlocated()), vec![started_event("base")]].concat(), started),
        (
            "a Started event of a container that does not count",
            starting([
                gone(
                    creating()
                        .main("istio-proxy", unlocated())
                        .main("base", unlocated())
                        .target("PreemptionByScheduler")
                        .failed(),
                ),
                started_event("istio-proxy"),
            ]),
            never,
        ),
        ("a Started event that does not say of which", [end(unlocated()), vec![started_event("")]].concat(), started),
        ("seen running once, in a sight that came late", [end(unlocated()), vec![Seen(runs())]].concat(), started),
        (
            "the user's init container ran",
            starting([gone(
                creating()
                    .init("setup", ended(143, "Error"))
                    .main("base", unlocated())
                    .target("PreemptionByScheduler")
                    .failed(),
            )]),
            started,
        ),
        (
            "an injected init container ran, kpo's sidecar runs: neither counts, and nothing runs on",
            starting([gone(
                creating()
                    .init("istio-init", ended(0, "Completed"))
                    .sidecar("kpo-result", ended(0, "Completed"))
                    .main("base", unlocated())
                    .target("PreemptionByScheduler")
                    .failed(),
            )]),
            never,
        ),
        (
            "a gap bars a rejection, not what a kubelet attests",
            starting([
                Gap,
                Relisted,
                gone(creating().main("base", unlocated()).target("PreemptionByScheduler").failed()),
            ]),
            never,
        ),
        (
            "an init container was the one that could not be located",
            starting([gone(
                creating()
                    .init("setup", unlocated())
                    .main("base", waiting("PodInitializing"))
                    .target("PreemptionByScheduler")
                    .failed(),
            )]),
            never,
        ),
        (
            "a terminal phase without any container's status, and a gap",
            starting([
                Gap,
                Relisted,
                Seen(fresh().on("node-1").failed().because("Shutdown", "Node is shutting, evicting pods")),
            ]),
            "node-shutdown/unknown: nodeShutdown, may run on",
        ),
    ]);
}

/// Who wrote the phase.
#[test]
fn writers() {
    let end = |writer: &str| {
        let pod = creating().main("base", unlocated()).target("PreemptionByScheduler").phase(Phase::Failed, writer);
        vec![
            Seen(fresh()),
            Seen(creating().target("PreemptionByScheduler").deleting(5)),
            Seen(pod.clone().deleting(5)),
            gone(pod),
        ]
    };
    let stale = |writer: &str| {
        let pod = creating().target("DeletionByPodGC").phase(Phase::Failed, writer);
        vec![Seen(fresh()), Seen(creating().deleting(5)), gone(pod)]
    };
    let (never, unknown) =
        ("preemption/never: preempted by kubelet-attested", "preemption/unknown: preempted, may run on");
    let merged = |step: Step| {
        let pod = creating().main("base", unlocated()).target("PreemptionByScheduler").phase(Phase::Failed, "k3s");
        vec![Seen(fresh()), Seen(creating()), Gap, step, gone(pod)]
    };
    let nobody = creating().main("base", unlocated()).target("PreemptionByScheduler").failed();
    check(&[
        ("kubelet", end("kubelet"), never),
        ("k3s: the write turned a container's status", end("k3s"), never),
        ("microk8s", end("kubelite"), never),
        ("a controller", end("kube-controller-manager"), unknown),
        ("a virtual kubelet", end("virtual-kubelet"), unknown),
        ("somebody whose name begins alike", end("kubelet-proxy"), unknown),
        ("k3s as PodGC: the statuses are the old ones", stale("k3s"), "node-gone/unknown: nodeGone, may run on"),
        ("k3s, after a gap: it may have been two writes", merged(Relisted), unknown),
        ("k3s, after a watch that was resumed: the gap lies before the sight", merged(Resumed), unknown),
        (
            "managedFields are not told",
            vec![Seen(fresh()), gone(nobody.with(|pod| pod.metadata.managed_fields.clear()))],
            unknown,
        ),
    ]);
}

/// Ends of the program's own doing, and launches that failed.
#[test]
fn own_ends() {
    let done = |code, reason: &str| runs().main("base", ended(code, reason));
    let istio = |pod: P, status| pod.main("istio-proxy", status);
    check(&[
        (
            "success",
            ran([Seen(done(0, "Completed").phase(Phase::Succeeded, "kubelet"))]),
            "succeeded: succeeded exit 0",
        ),
        (
            "success before the phase says so",
            ran([Seen(done(0, "Completed"))]),
            "succeeded: succeeded exit 0, may run on",
        ),
        (
            "success beside a sidecar that runs on",
            ran([Seen(istio(runs(), running())), Seen(istio(done(0, "Completed"), running()))]),
            "succeeded: succeeded exit 0, may run on",
        ),
        (
            "success beside a sidecar that failed",
            ran([Seen(istio(done(0, "Completed"), ended(1, "Error")).failed())]),
            "succeeded: succeeded exit 0",
        ),
        (
            "success in the grace of a preemption",
            ran([
                Seen(runs().target("PreemptionByScheduler").deleting(30)),
                gone(done(0, "Completed").target("PreemptionByScheduler").phase(Phase::Succeeded, "kubelet")),
            ]),
            "succeeded: succeededWhileTerminating exit 0",
        ),
        (
            "success, then deleted",
            ran([
                Seen(done(0, "Completed").phase(Phase::Succeeded, "kubelet")),
                gone(done(0, "Completed").phase(Phase::Succeeded, "kubelet")),
            ]),
            "succeeded: succeeded exit 0",
        ),
        (
            "success, then flipped by a restarted kubelet",
            ran([Seen(done(0, "Completed")), Seen(done(0, "Completed").main("base", unlocated()).failed())]),
            "succeeded: succeeded exit 0",
        ),
        ("failure", ran([Seen(done(3, "Error").failed())]), "failed: programFailed exit 3"),
        ("failure, the phase has not come yet", ran([Seen(done(3, "Error"))]), "alive"),
        (
            "failure, the phase does not come",
            ran([Seen(done(3, "Error")), Later(10)]),
            "failed: programFailed exit 3, may run on",
        ),
        (
            "failure beside a sidecar that runs on",
            ran([Seen(istio(done(3, "Error"), running())), Later(5)]),
            "failed: programFailed exit 3, may run on",
        ),
        (
            "killed beside a sidecar that runs on: an eviction may be behind it, its grace is waited",
            ran([Seen(istio(done(137, "Error"), running())), Later(5)]),
            "alive",
        ),
        (
            "… and is behind it",
            ran([
                Seen(istio(done(137, "Error"), running())),
                Seen(
                    istio(done(137, "Error"), ended(0, "Completed"))
                        .failed()
                        .because("Evicted", "The node was low on resource: memory."),
                ),
            ]),
            "node-pressure/started: nodePressure exit 137",
        ),
        (
            "failed long before its sidecar was evicted",
            ran([
                Seen(istio(done(3, "Error"), running())),
                Later(3600),
                Seen(
                    istio(done(3, "Error"), ended(137, "Error"))
                        .failed()
                        .because("Evicted", "The node was low on resource: memory."),
                ),
            ]),
            "failed: programFailed exit 3",
        ),
        (
            "failed, then deleted",
            ran([Seen(done(3, "Error").failed()), gone(done(3, "Error").failed())]),
            "failed: programFailed exit 3",
        ),
        (
            "failed and deleted, both seen at once",
            vec![gone(done(3, "Error").failed())],
            "failed: programFailed exit 3",
        ),
        (
            "killed and deleted, both seen at once",
            vec![gone(done(143, "Error").failed())],
            "deleted-outside/started: deletedOutside exit 143",
        ),
        (
            "failed by itself under a stale condition: nobody deleted it",
            ran([
                Seen(runs().target("PreemptionByScheduler")),
                Seen(done(3, "Error").target("PreemptionByScheduler").failed()),
            ]),
            "failed: programFailed exit 3",
        ),
        (
            "failed after the condition was taken back, then cleaned up",
            ran([
                Seen(runs().target("PreemptionByScheduler")),
                Seen(runs().condition("DisruptionTarget", "False", "", "")),
                Seen(done(3, "Error").condition("DisruptionTarget", "False", "", "").failed()),
                gone(done(3, "Error").condition("DisruptionTarget", "False", "", "").failed()),
            ]),
            "failed: programFailed exit 3",
        ),
        (
            "exit 3 after TERM",
            ran([
                Seen(runs().target("EvictionByEvictionAPI").deleting(30)),
                Seen(done(3, "Error").target("EvictionByEvictionAPI").deleting(30).failed()),
            ]),
            "eviction/started: evicted exit 3",
        ),
        (
            "it had finished before deletion was requested, by the clocks",
            ran([Seen(done(3, "Error").deleting(30).failed().with(|pod| {
                let end = pod.status.container_statuses[0].state.terminated.as_mut().unwrap();
                end.finished_at = Some("2026-11-23T22:09:29Z".into());
            }))]),
            "failed: programFailed exit 3",
        ),
        ("out of memory", ran([Seen(done(137, "OOMKilled").failed())]), "failed: outOfMemory exit 137"),
        (
            "out of memory, said before the phase",
            ran([Seen(done(137, "OOMKilled"))]),
            "failed: outOfMemory exit 137, may run on",
        ),
        (
            "deadline",
            ran([Seen(
                done(137, "Error")
                    .failed()
                    .because("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"),
            )]),
            "failed: deadlineExceeded exit 137",
        ),
        (
            "deadline before it started",
            starting([Seen(
                creating()
                    .main("base", unlocated())
                    .failed()
                    .because("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"),
            )]),
            "failed: deadlineExceeded",
        ),
        (
            "an init container fails",
            starting([Seen(
                creating().init("setup", ended(7, "Error")).main("base", waiting("PodInitializing")).failed(),
            )]),
            "failed: initFailed",
        ),
        (
            "an init container is restarted by a policy of its own: alive",
            starting([Seen(creating().init("setup", ended(7, "Error")).main("base", waiting("PodInitializing")))]),
            "alive",
        ),
        (
            "an init container cannot be started",
            starting([Seen(creating().init("setup", start_error()).main("base", waiting("PodInitializing")).failed())]),
            "launchFailed: startError",
        ),
        (
            "the runtime cannot start it",
            starting([Seen(creating().main("base", start_error()).failed())]),
            "launchFailed: startError exit 128",
        ),
        (
            "… said before the phase",
            starting([Seen(creating().main("base", start_error()))]),
            "launchFailed: startError exit 128, may run on",
        ),
        (
            "rules of 1.35 start it again",
            ran([
                Seen(
                    done(42, "Error")
                        .with(|pod| pod.spec.containers[0].restart_policy_rules = vec![Default::default()]),
                ),
                Later(3600),
            ]),
            "alive",
        ),
        (
            "it was started again, and is judged by its last end",
            ran([
                Seen(
                    done(42, "Error")
                        .with(|pod| pod.spec.containers[0].restart_policy_rules = vec![Default::default()]),
                ),
                Seen(runs()),
                Seen(done(0, "Completed").phase(Phase::Succeeded, "kubelet")),
            ]),
            "succeeded: succeeded exit 0",
        ),
    ]);
}

/// After our own delete it is cancelled, unless it had ended before.
#[test]
fn our_own_delete() {
    let killed = || runs().main("base", ended(143, "Error")).failed();
    let done = || runs().main("base", ended(0, "Completed")).phase(Phase::Succeeded, "kubelet");
    check(&[
        (
            "while it ran",
            ran([OurDelete, Seen(runs().deleting(5)), Seen(killed().deleting(5))]),
            "cancelled: cancelledByUser exit 143",
        ),
        (
            "exit 0 after it",
            ran([OurDelete, Seen(runs().deleting(5)), Seen(done().deleting(5))]),
            "cancelled: cancelledByUser exit 0",
        ),
        ("it had succeeded before", ran([Seen(done()), OurDelete, gone(done())]), "succeeded: succeeded exit 0"),
        ("it succeeds before the delete arrives", ran([OurDelete, Seen(done())]), "succeeded: succeeded exit 0"),
        (
            "it fails before the delete arrives",
            ran([OurDelete, Seen(runs().main("base", ended(3, "Error")).failed())]),
            "failed: programFailed exit 3",
        ),
        ("before it was bound", vec![Seen(fresh()), OurDelete, gone(fresh())], "cancelled: cancelledByUser"),
        ("it is not there any more", ran([OurDelete, Gap, Missing]), "cancelled: cancelledByUser, may run on"),
        ("it has not ended", ran([OurDelete, Seen(runs().deleting(5))]), "alive"),
    ]);
}

/// Whether DELETED means gone.
#[test]
fn deleted_is_not_always_gone() {
    let doubtful = |steps: &[Step]| {
        let (ledger, now) = replay(steps);
        ledger.situation(now, &template()) == Situation::Doubtful
    };
    let held = || runs().deleting(0).with(|pod| pod.metadata.finalizers = vec!["kpo.rs/protect".into()]);
    assert!(doubtful(&ran([Deleted(runs())])), "a label was taken off a live pod");
    assert!(doubtful(&[Seen(fresh()), Deleted(fresh())]), "… off one without a node: it may be bound yet");
    assert!(doubtful(&ran([Seen(runs().deleting(30)), Deleted(runs().deleting(30))])), "… off one in its grace");
    assert!(doubtful(&ran([Deleted(held())])), "… off one that a finalizer holds");
    assert!(!doubtful(&ran([Deleted(runs()), Seen(runs())])), "a read shows that it is there");
    check(&[
        (
            "a read finds none: how it ended was not seen",
            ran([Deleted(runs()), Missing]),
            "vanished/started: vanished, may run on",
        ),
        (
            "unbound, and a read finds none",
            vec![Seen(fresh()), Deleted(fresh()), Missing],
            "vanished/unknown: vanished, may run on",
        ),
        (
            "what was terminal has ended, whether it is gone or not",
            ran([Deleted(runs().main("base", ended(3, "Error")).failed())]),
            "failed: programFailed exit 3",
        ),
    ]);
}

/// Events sign a deletion where no condition does, and name the preemptor.
#[test]
fn events_sign() {
    let deleted = || starting([Seen(creating().deleting(5)), gone(creating().main("base", unlocated()).failed())]);
    let with = |reason: &str, message: &str, reporter: &str| {
        said(&[deleted(), vec![told(reason, message, reporter)]].concat())
    };
    for (reason, message, reporter, cause) in [
        (
            "TaintManagerEviction",
            "Marking for deletion Pod ns/task",
            "taint-eviction-controller",
            "taint/never: taintEvicted",
        ),
        (
            "TaintManagerEviction",
            "Cancelling deletion of Pod ns/task",
            "taint-eviction-controller",
            "deleted-outside/never: deletedOutside",
        ),
        ("ScaleDown", "deleting pod for node scale down", "cluster-autoscaler", "eviction/never: evicted"),
        ("Evicted", "Evicted pod: Underutilized", "karpenter", "eviction/never: evicted"),
        ("Disrupted", "Deleting the pod to accommodate the terminationTime", "karpenter", "eviction/never: evicted"),
        ("Preempted", "Preempted by ns/urgent on node node-1", "default-scheduler", "preemption/never: preempted"),
        ("FailedMount", "MountVolume.SetUp failed", "kubelet", "deleted-outside/never: deletedOutside"),
    ] {
        assert_eq!(with(reason, message, reporter), format!("{cause} by kubelet-attested"), "{reason}: {message}");
    }
    let Step::Told(mut namesake) = told("ScaleDown", "deleting pod for node scale down", "cluster-autoscaler") else {
        unreachable!()
    };
    namesake.involved_object.uid = "u0".into();
    let said = said(&[deleted(), vec![Step::Told(namesake)]].concat());
    assert_eq!(said, "deleted-outside/never: deletedOutside by kubelet-attested", "it was about a namesake");
}

#[test]
fn an_event_without_a_uid_from_before_the_creation_is_about_a_predecessor() {
    let steps = |at: &str| {
        let Step::Told(mut event) =
            told("TaintManagerEviction", "Marking for deletion Pod ns/task", "taint-eviction-controller")
        else {
            unreachable!()
        };
        event.involved_object.uid = String::new();
        event.last_timestamp = Some(at.into());
        starting([Seen(creating().deleting(5)), Step::Told(event), gone(creating().main("base", unlocated()).failed())])
    };
    check(&[
        ("before", steps("2026-11-23T21:59:59Z"), "deleted-outside/never: deletedOutside by kubelet-attested"),
        ("after", steps("2026-11-23T22:00:01Z"), "taint/never: taintEvicted by kubelet-attested"),
    ]);
}

#[test]
fn the_preemptor_is_named_in_both_forms() {
    let detail = |message: &str, related: Option<EventObject>| {
        let Step::Told(mut event) = told("Preempted", message, "default-scheduler") else { unreachable!() };
        event.related = related;
        let pod = creating().main("base", unlocated()).target("PreemptionByScheduler").failed();
        judged(&starting([gone(pod), Step::Told(event)])).unwrap().detail.unwrap()
    };
    let preemptor =
        EventObject { namespace: "kube-system".into(), name: "node-agent-x".into(), ..EventObject::default() };
    assert_eq!(
        detail("Preempted by pod 0a1b on node node-1", Some(preemptor)),
        "preempted by pod kube-system/node-agent-x on node node-1"
    );
    assert_eq!(detail("Preempted by ns/urgent on node node-1", None), "Preempted by ns/urgent on node node-1");
}

#[test]
fn exit_zero_after_term_can_be_a_disruption() {
    let done = || {
        runs().target("PreemptionByScheduler").main("base", ended(0, "Completed")).phase(Phase::Succeeded, "kubelet")
    };
    let (ledger, _) = replay(&ran([Seen(runs().target("PreemptionByScheduler").deleting(30)), gone(done())]));
    let verdict = classify::judge(&ledger, &template(), ExitZeroAfterTerm::Disrupted).unwrap();
    assert_eq!(verdict.reason, kpo_core::Reason::Preempted);
    let (ledger, _) = replay(&ran([Seen(runs().main("base", ended(0, "Completed"))), gone(done())]));
    let verdict = classify::judge(&ledger, &template(), ExitZeroAfterTerm::Disrupted).unwrap();
    assert_eq!(verdict.reason, kpo_core::Reason::Succeeded, "it had ended before");
}

#[test]
fn the_commit_marker_is_read_from_what_the_runtime_told() {
    let marker = |message: Option<&str>, mut status: ContainerStatus| {
        status.state.terminated.as_mut().unwrap().message = message.map(str::to_owned);
        let (ledger, _) = replay(&ran([Seen(runs().main("base", status).failed())]));
        ledger.committed(&template())
    };
    assert_eq!(marker(Some("committed\n"), ended(137, "Error")), Some(true));
    assert_eq!(marker(Some("not committed"), ended(137, "Error")), Some(false));
    assert_eq!(marker(None, ended(1, "Error")), Some(false));
    assert_eq!(marker(Some("The container could not be located"), unlocated()), None, "the kubelet made it up");
    assert_eq!(marker(None, ended(255, "Unknown")), None, "the runtime lost it");
    assert_eq!(replay(&ran([])).0.committed(&template()), None, "it runs");
}

#[test]
fn evidence_names_what_ran_and_does_not_count() {
    let pod = creating().sidecar("kpo-result", ended(0, "Completed")).main("base", unlocated());
    let (ledger, _) = replay(&starting([gone(pod.target("PreemptionByScheduler").failed())]));
    let verdict = classify::judge(&ledger, &template(), ExitZeroAfterTerm::Success).unwrap();
    let cited: Vec<String> = verdict.evidence.iter().map(|entry| word(ledger.fact(*entry).unwrap())).collect();
    assert_eq!(
        cited,
        [
            "assigned",
            "kpo-result ran",
            "DisruptionTarget",
            "deletion",
            "kpo-result ended",
            "base ended",
            "Failed by kubelet",
            "gone"
        ],
        "{:#?}",
        ledger.entries
    );
}

fn word(fact: &kpo_core::Fact) -> String {
    use kpo_core::Fact;
    match fact {
        Fact::Assigned { .. } => "assigned".into(),
        Fact::ContainerRan { container, .. } => format!("{container} ran"),
        Fact::ContainerEnded { container, .. } => format!("{container} ended"),
        Fact::Condition { kind, .. } => kind.clone(),
        Fact::DeletionRequested { .. } => "deletion".into(),
        Fact::Phase { phase, writer, .. } => format!("{phase:?} by {}", writer.as_deref().unwrap_or("nobody")),
        Fact::Gone { .. } => "gone".into(),
        other => format!("{other:?}"),
    }
}
