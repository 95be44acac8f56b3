//! Whether it ran, and what proves that it did not.

use crate::pods::*;
use crate::steps::Step::{self, Gap, Relisted, Resumed, Seen};
use crate::steps::*;
use kpo_core::classify;
use kpo_core::pod::{ContainerStatus, Phase};
use kpo_core::spec::ExitZeroAfterTerm;

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
