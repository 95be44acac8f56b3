//! Ends of its own doing, ends of ours, and what is no end.

use crate::pods::*;
use crate::steps::Step::{self, Deleted, Gap, Later, Missing, OurDelete, Seen};
use crate::steps::*;
use kpo_core::pod::{ContainerStatus, Phase};
use kpo_core::spec::ExitZeroAfterTerm;
use kpo_core::{Situation, classify};

/// A pod that is no task's: all its containers count, and the one that failed speaks for it.
#[test]
fn foreign_pods() {
    let two = |a, b| runs().main("base", a).main("worker", b);
    for (what, pod, wanted) in [
        ("one runs on", two(ended(0, "Completed"), running()), None),
        ("one failed, the other runs on", two(running(), ended(9, "Error")), None),
        ("one failed", two(ended(0, "Completed"), ended(9, "Error")).failed(), Some(("failed", Some(9)))),
        ("both are done", two(ended(0, "Completed"), ended(0, "Completed")), Some(("succeeded", Some(0)))),
    ] {
        let mut ledger = kpo_core::Ledger::default();
        [runs(), pod].iter().for_each(|pod| {
            ledger.observe(kpo_core::Time::from_secs(9), kpo_core::Sight::Present, &pod.0);
        });
        let verdict = classify::judge(
            &ledger,
            &kpo_core::Template::foreign(&ledger.last.clone().unwrap()),
            ExitZeroAfterTerm::Success,
        );
        let said = verdict.as_ref().map(|verdict| (verdict.class.name(), verdict.exit_code));
        assert_eq!(said, wanted, "{what}");
    }
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
    let (ledger, _) = replay(&ran([Deleted(held().main("base", ended(137, "Error")).failed())]));
    assert_eq!(ledger.gone, Some(kpo_core::Absence::Observed), "its last version still carries the finalizer");
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
    let late = runs().main("base", ended(0, "Completed")).failed().because("DeadlineExceeded", "active for too long");
    let (ledger, _) = replay(&ran([Seen(late)]));
    let reason = |mode| classify::judge(&ledger, &template(), mode).unwrap().reason;
    assert_eq!(reason(ExitZeroAfterTerm::Success), kpo_core::Reason::SucceededWhileTerminating);
    assert_eq!(
        reason(ExitZeroAfterTerm::Disrupted),
        kpo_core::Reason::DeadlineExceeded,
        "it was stopped by its deadline"
    );
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
