//! By whom it was taken away.

use crate::pods::*;
use crate::steps::Step::{self, Gap, Later, Missing, Seen};
use crate::steps::*;
use kpo_core::pod::{EventObject, Phase};

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
            "deleted by hand, and evicted while it ended",
            ran([
                Seen(runs().deleting(5)),
                Later(1),
                Seen(runs().deleting(5).target("EvictionByEvictionAPI")),
                gone(killed().deleting(5).target("EvictionByEvictionAPI").failed()),
            ]),
            "deleted-outside/started: deletedOutside exit 137",
        ),
        (
            "deleted by hand, and tainted while it ended: the event is no older than the condition",
            ran([
                Seen(runs().deleting(5)),
                Later(1),
                Seen(runs().deleting(5).target("DeletionByTaintManager")),
                gone(killed().deleting(5).target("DeletionByTaintManager").failed()),
                told("TaintManagerEviction", "Marking for deletion Pod n/task-1", "taint-eviction-controller"),
            ]),
            "deleted-outside/started: deletedOutside exit 137",
        ),
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
