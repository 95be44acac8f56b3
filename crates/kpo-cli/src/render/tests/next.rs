//! Next steps: from the verdict, the policies, and why no other attempt followed.

use super::*;
use kpo_core::{OnFinish, OnUnsignedDelete, RerunPolicy};
use serde_json::json;

fn one(verdict: Verdict) -> Outcome {
    outcome(vec![attempt(1, verdict, None)])
}

/// What is said below the line.
fn steps(verdict: Verdict, why: Option<NoRerun>, ask: impl FnOnce(&mut Spec)) -> String {
    let mut spec = spec();
    ask(&mut spec);
    let known = Known { container: "base", why, spec: Some(&spec), again: " -n b", ..Known::default() };
    ending(&one(verdict), known).next.join("\n")
}

/// A flag that is set already, or that changes nothing, is never advised.
#[test]
fn why_it_is_not_run_again_follows_from_the_policy() {
    let taken = |started| disrupted(Cause::Eviction, started, "");
    let (never, ran) = (|| taken(Started::Never), || taken(Started::Started));
    let policy = |policy| move |spec: &mut Spec| spec.rerun.policy = policy;
    let rows = [
        ("never ran, never", steps(never(), Some(NoRerun::Policy), policy(RerunPolicy::Never))),
        ("ran, never", steps(ran(), Some(NoRerun::Policy), policy(RerunPolicy::Never))),
        ("ran, if-not-started", steps(ran(), Some(NoRerun::Policy), |_| {})),
        ("ran, until-commit", steps(ran(), Some(NoRerun::Policy), policy(RerunPolicy::UntilCommit))),
        ("committed", steps(ran(), Some(NoRerun::Committed), policy(RerunPolicy::UntilCommit))),
        ("never ran, budget", steps(never(), Some(NoRerun::Budget), |spec| spec.rerun.never_started = 1)),
        ("ran, budget", steps(ran(), Some(NoRerun::Budget), policy(RerunPolicy::Idempotent))),
        ("followed", steps(never(), Some(NoRerun::Follower), |_| {})),
        ("deadline", steps(never(), Some(NoRerun::Deadline), |_| {})),
        ("not known whether", steps(ran(), None, |_| {})),
    ];
    let said = rows.map(|(row, text)| format!("{row}:\n  {}\n", text.lines().next().unwrap_or_default()));
    insta::assert_snapshot!(said.concat());
}

#[test]
fn what_is_set_is_not_advised() {
    let deleted = || disrupted(Cause::DeletedOutside, Started::Started, "");
    let recreate = |spec: &mut Spec| spec.on_unsigned_delete = OnUnsignedDelete::Recreate;
    assert!(steps(deleted(), Some(NoRerun::UnsignedDelete), |_| {}).contains("--on-unsigned-delete=recreate"));
    assert!(!steps(deleted(), Some(NoRerun::Policy), recreate).contains("--on-unsigned-delete"));
    let silent = || disrupted(Cause::Unreachable, Started::Started, "");
    assert!(steps(silent(), Some(NoRerun::Policy), |_| {}).contains("--replace-unreachable-after=10m would"));
    let replaced = |spec: &mut Spec| spec.replace_unreachable_after = Some(Duration::from_secs(1));
    assert!(!steps(silent(), Some(NoRerun::Policy), replaced).contains("--replace-unreachable-after"));
    // It is refused beside --rerun=never.
    let never = |spec: &mut Spec| spec.rerun.policy = RerunPolicy::Never;
    assert!(!steps(silent(), Some(NoRerun::Policy), never).contains("--replace-unreachable-after"));
    let vanished = || disrupted(Cause::Vanished, Started::Unknown, "");
    assert!(steps(vanished(), Some(NoRerun::Policy), |_| {}).contains("--protect"));
    assert!(!steps(vanished(), Some(NoRerun::Policy), |spec| spec.protect = true).contains("--protect"));
}

/// Advice that would change nothing, or that nobody can follow, is none.
#[test]
fn what_is_advised_helps() {
    let (never, ran) = (Started::Never, Started::Started);
    let deleted = |started| disrupted(Cause::DeletedOutside, started, "");
    let preempted =
        |started| disrupted(Cause::Preemption, started, "preempted by pod kube-system/agent-x on node node-1");
    let quota = |used: &str| {
        let full = format!("exceeded quota: q, requested: pods=2, used: pods=0, limited: pods={used}");
        verdict(Class::LaunchFailed, Reason::QuotaExceeded, None, &full)
    };
    let policy = |policy| move |spec: &mut Spec| spec.rerun.policy = policy;
    let rows = [
        ("deleted, never ran", steps(deleted(never), Some(NoRerun::UnsignedDelete), |_| {})),
        ("deleted, ran", steps(deleted(ran), Some(NoRerun::UnsignedDelete), |_| {})),
        (
            "deleted, ran, idempotent",
            steps(deleted(ran), Some(NoRerun::UnsignedDelete), policy(RerunPolicy::Idempotent)),
        ),
        ("evicted", steps(disrupted(Cause::Eviction, ran, ""), None, |_| {})),
        ("evicted, idempotent", steps(disrupted(Cause::Eviction, ran, ""), None, policy(RerunPolicy::Idempotent))),
        ("tainted", steps(disrupted(Cause::Taint, ran, ""), None, policy(RerunPolicy::Idempotent))),
        ("quota is full", steps(quota("2"), None, |_| {})),
        ("quota is too small", steps(quota("1"), None, |_| {})),
        ("preempted early", steps(preempted(never), None, |_| {})),
        ("preempted early, budget", steps(preempted(never), Some(NoRerun::Budget), |_| {})),
        ("its time is up", steps(verdict(Class::Cancelled, Reason::Timeout, None, ""), None, |_| {})),
    ];
    insta::assert_snapshot!(rows.map(|(row, text)| format!("{row}:\n  {}\n", text.replace('\n', "\n  "))).concat());
}

/// Nobody can outrank a DaemonSet of the system's, nor should.
#[test]
fn against_a_daemonset_room_is_advised_and_no_priority() {
    let of = |owner: Option<&str>, priority| {
        let preemptor = Preemptor { pod: "a/p".into(), owner: owner.map(str::to_owned), priority };
        let spec = spec();
        let known = Known { spec: Some(&spec), preemptor: Some(&preemptor), ..Known::default() };
        let early = disrupted(Cause::Preemption, Started::Never, "preempted by pod a/p on node node-1");
        ending(&one(early), known).next.join("\n")
    };
    for daemon in [of(Some("DaemonSet kube-system/agent"), Some(1_000)), of(None, Some(2_000_001_000))] {
        assert_eq!(
            daemon,
            "Nothing needs to be done where it is run again by itself. To spare the wait, leave room for DaemonSets on fresh nodes (startup taints, the autoscaler's overhead): kpo help preemption"
        );
    }
    assert_eq!(
        of(Some("ReplicaSet a/web"), Some(1_000)),
        "Give it a PriorityClass that is not below that of ReplicaSet a/web (priority 1000): kpo help preemption"
    );
}

/// Of a pod that is not kpo's, nothing is said in terms of kpo's flags, nor that it is tried again.
#[test]
fn a_foreign_pod_is_not_a_task() {
    for reason in Reason::ALL {
        for class in [Class::Failed, Class::Disrupted { cause: Cause::Other, started: Started::Unknown }] {
            let known = Known { container: "base", ..Known::default() };
            let said = ending(&one(verdict(class, reason, None, "")), known).next.join(" ");
            assert!(!said.contains("tried again elsewhere") && !said.contains("--rerun"), "{reason:?}: {said}");
        }
    }
}

#[test]
fn an_init_failure_names_its_log_while_there_is_one() {
    let mut record =
        attempt(1, verdict(Class::Failed, Reason::InitFailed, None, "init container wash: Error, exit code 7"), None);
    let ended = |code: i32| json!({"terminated": {"exitCode": code, "containerID": "c"}});
    let statuses =
        json!({"initContainerStatuses": [{"name": "ok", "state": ended(0)}, {"name": "wash", "state": ended(7)}]});
    record.last_status = serde_json::from_value(statuses).unwrap();
    let (outcome, spec) = (outcome(vec![record]), spec());
    let said = |log, spec| {
        let known = Known { container: "base", spec, log, again: " -n b", ..Known::default() };
        ending(&outcome, known).next.join(" ")
    };
    assert_eq!(said(Log::Shown, Some(&spec)), "Its log stands above, each line behind [wash].");
    assert_eq!(said(Log::There, Some(&spec)), "Read its log: kpo logs t -c wash -n b");
    assert_eq!(said(Log::There, None), "Read its log: kubectl logs t-1 -c wash -n default");
    assert_eq!(said(Log::Gone, Some(&spec)), "");
}

#[test]
fn images_limits_clocks_and_gates_are_named() {
    let pod = json!({"spec": {"initContainers": [{"name": "wash", "image": "soap:1"}],
        "containers": [{"name": "base", "image": "busybox:1.99", "resources": {"limits": {"memory": "512Mi"}}}]}});
    let mut spec = spec();
    let hour = Some(Duration::from_secs(3_600));
    (spec.clocks.queue, spec.clocks.schedule, spec.clocks.run, spec.clocks.total) = (hour, hour, hour, hour);
    let gates = ["kueue.x-k8s.io/admission".to_owned()];
    let known = Known {
        container: "base",
        spec: Some(&spec),
        asked: Asked(Some(&pod)),
        gates: &gates,
        waiting: Some("base"),
        ..Known::default()
    };
    let waiting = |name: &str| json!({"containerStatuses": [{"name": name, "state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
    let launch = |reason, detail, status: serde_json::Value| {
        let mut record = attempt(1, verdict(Class::LaunchFailed, reason, None, detail), None);
        record.last_status = serde_json::from_value(status).unwrap();
        outcome(vec![record])
    };
    let clock = |reason| outcome(vec![attempt(1, verdict(Class::Cancelled, reason, None, ""), Some(3_601_000))]);
    let mut unbound = launch(Reason::QueueTimeout, "", json!({}));
    unbound.attempts[0].pod.node = None;
    let said = [
        launch(Reason::Image, "docker.io: not found", waiting("base")),
        launch(Reason::Image, "no such host", waiting("wash")),
        launch(Reason::Image, "unauthorized", json!({})),
        launch(Reason::StartTimeout, "MountVolume.SetUp failed for volume \"v\"", json!({})),
        launch(
            Reason::ScheduleTimeout,
            "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate.",
            json!({}),
        ),
        unbound,
        launch(Reason::NameTaken, "6f1c-the-uid-of-the-other", json!({})),
        clock(Reason::RunTimeout),
        clock(Reason::Timeout),
        one(verdict(Class::Failed, Reason::OutOfMemory, Some(137), "")),
    ]
    .map(|outcome| ending(&outcome, known).line);
    insta::assert_snapshot!(said.join("\n"));
}

/// Ended with its pod, an init container does not wait any more; the program's waits for all of them, and was not what could not be pulled.
#[test]
fn the_image_of_an_init_container_that_was_stopped_is_named() {
    let pod = json!({"spec": {"initContainers": [{"name": "wash", "image": "soap:1"}],
        "containers": [{"name": "base", "image": "busybox:1.99"}]}});
    let known = Known { container: "base", asked: Asked(Some(&pod)), waiting: Some("wash"), ..Known::default() };
    let mut record = attempt(1, verdict(Class::LaunchFailed, Reason::Image, None, "not found"), None);
    let status = json!({
        "initContainerStatuses": [{"name": "wash", "state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}}],
        "containerStatuses": [{"name": "base", "state": {"waiting": {"reason": "PodInitializing"}}}],
    });
    record.last_status = serde_json::from_value(status).unwrap();
    let line = ending(&outcome(vec![record]), known).line;
    assert!(line.contains("the image soap:1 cannot be pulled"), "{line}");
}

/// What was to be stopped and is not seen to have ended is never said to be gone.
#[test]
fn what_may_still_run_is_said() {
    let denied = "pods \"t-1\" is forbidden: User \"system:serviceaccount:default:kpo\" cannot delete resource \"pods\" in API group \"\" in the namespace \"default\"";
    let silent = "it was told to end, and nobody has said that it did: it may still run";
    let stop = |class, reason, detail: &str| Verdict { stopped: false, ..verdict(class, reason, None, detail) };
    let mut unborn = one(stop(
        Class::Cancelled,
        Reason::CancelledByUser,
        "the API server never answered: whether the pod was created is not known",
    ));
    unborn.attempts[0].pod.uid = String::new();
    unborn.attempts[0].pod.node = None;
    let cases = [
        one(stop(Class::Cancelled, Reason::CancelledByUser, denied)),
        one(stop(Class::Cancelled, Reason::CancelledByUser, silent)),
        one(stop(Class::Cancelled, Reason::CancelledByUser, "")),
        unborn,
        one(stop(Class::Cancelled, Reason::Timeout, denied)),
        one(stop(Class::Cancelled, Reason::Timeout, silent)),
        one(stop(Class::LaunchFailed, Reason::Image, denied)),
    ];
    let said = cases.map(|outcome| {
        let shown = shown(&outcome, None, None);
        assert!(!shown.contains("deleted"), "{shown}");
        shown
    });
    insta::assert_snapshot!(said.concat());
}

#[test]
fn a_pod_that_stays_says_until_when() {
    let kept_of = |verdict: Verdict, on_finish| {
        let spec = Spec { on_finish, ..spec() };
        kept(&one(verdict), &spec, at(0)).unwrap_or_default()
    };
    let failed = || verdict(Class::Failed, Reason::ProgramFailed, Some(3), "");
    let well = || verdict(Class::Succeeded, Reason::Succeeded, Some(0), "");
    let two_hours = OnFinish::Failed { lifetime: Some(Duration::from_secs(7_200)) };
    assert_eq!(kept_of(failed(), two_hours), "pod t-1 is kept until 2026-11-24 00:10 UTC");
    let by = "pod t-1 is kept; it goes by: kubectl delete pod t-1 -n default";
    assert_eq!(kept_of(well(), OnFinish::All), by);
    assert_eq!(kept_of(failed(), OnFinish::Failed { lifetime: None }), by);
    assert_eq!((kept_of(well(), two_hours), kept_of(failed(), OnFinish::None)), (String::new(), String::new()));
}

#[test]
fn a_success_within_the_grace_says_what_was_under_way() {
    let mut record = attempt(
        1,
        verdict(
            Class::Succeeded,
            Reason::SucceededWhileTerminating,
            Some(0),
            "Pod was active on the node longer than the specified deadline",
        ),
        None,
    );
    record.last_status = serde_json::from_value(json!({"phase": "Failed", "reason": "DeadlineExceeded"})).unwrap();
    let line = ending(&outcome(vec![record]), Known::default()).line;
    let said = "succeeded, exit 0, on node-1, attempt 1; its deadline had passed, and it ended within its grace (Pod was active on the node longer than the specified deadline)";
    assert_eq!(line, said);
}
