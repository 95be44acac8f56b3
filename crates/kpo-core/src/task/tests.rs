//! The task driven by hand: each test says what is seen, and asserts every command and the silence after it.

mod completing;
mod races;

use super::*;
use crate::contract::{Create, Next, NoRerun};
use crate::outcome::Outcome;
use crate::spec::{Clocks, Naming, OnFinish, RerunPolicy};
use crate::verdict::{Class, Proof, Started, Verdict};
use crate::{Because, Cause, Reason};
use serde_json::{Value, json};
use std::time::Duration;

/// A task and the moment, with what it said.
struct Bench {
    task: Task,
    now: Time,
    events: Vec<Event>,
    versions: u64,
}

/// A pod as the API server shows it, built up step by step.
#[derive(Clone)]
struct Shown(Value);

impl Shown {
    fn new(name: &str, attempt: u32) -> Self {
        Self(json!({
            "metadata": {
                "name": name, "namespace": "default", "uid": format!("uid-{attempt}"), "resourceVersion": "1",
                "creationTimestamp": "2026-11-23T22:10:07Z",
                "labels": {"kpo.rs/task": "t", "kpo.rs/attempt": attempt.to_string()},
                "annotations": {"kpo.rs/nonce": "n", "kpo.rs/observer": "me/1"},
            },
            "spec": {"containers": [{"name": "base"}], "restartPolicy": "Never"},
            "status": {"phase": "Pending"},
        }))
    }

    fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap()[key.replace("~1", "/").as_str()] = value;
        self
    }

    fn gated(self) -> Self {
        self.with("/spec/schedulingGates", json!([{"name": marks::GATE}]))
    }

    fn on(self, node: &str) -> Self {
        self.with("/spec/schedulingGates", json!([])).with("/spec/nodeName", json!(node))
    }

    fn running(self) -> Self {
        let state = json!({"running": {"startedAt": "2026-11-23T22:10:09Z"}});
        self.with("/status/phase", json!("Running")).with(
            "/status/containerStatuses",
            json!([{"name": "base", "containerID": "containerd://1", "state": state}]),
        )
    }

    fn exited(self, code: i32) -> Self {
        let state = json!({"terminated": {"exitCode": code, "containerID": "containerd://1",
            "startedAt": "2026-11-23T22:10:09Z", "finishedAt": "2026-11-23T22:10:10Z"}});
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        self.written_by("kubelet").with("/status/phase", json!(phase)).with(
            "/status/containerStatuses",
            json!([{"name": "base", "containerID": "containerd://1", "state": state}]),
        )
    }

    fn written_by(self, manager: &str) -> Self {
        self.with(
            "/metadata/managedFields",
            json!([{"manager": manager, "subresource": "status", "fieldsV1": {"f:status": {"f:phase": {}}}}]),
        )
    }

    fn preempted(self) -> Self {
        let message = "default-scheduler: preempting to accommodate a higher priority pod";
        self.with(
            "/status/conditions",
            json!([{"type": "DisruptionTarget", "status": "True",
            "reason": "PreemptionByScheduler", "message": message}]),
        )
        .terminating()
    }

    fn terminating(self) -> Self {
        self.with("/metadata/deletionTimestamp", json!("2026-11-23T22:10:38Z"))
            .with("/metadata/deletionGracePeriodSeconds", json!(30))
    }

    fn never_ran(self) -> Self {
        let state = json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null}});
        self.written_by("kubelet")
            .with("/status/phase", json!("Failed"))
            .with("/status/containerStatuses", json!([{"name": "base", "state": state}]))
    }

    fn pod(&self) -> Pod {
        serde_json::from_value(self.0.clone()).unwrap()
    }
}

impl Bench {
    fn new(spec: Spec) -> Self {
        let now = Time::from_secs(1_000);
        let task = Task::new(now, spec, Observer::first("me"));
        Self { task, now, events: Vec::new(), versions: 1 }
    }

    fn default() -> Self {
        Self::new(Spec::minimal("t", "default", "n"))
    }

    /// Everything it commands now; events are kept, the wait is the end.
    fn commands(&mut self) -> Vec<(CommandId, Command)> {
        let mut commands = Vec::new();
        for _ in 0..1_000 {
            match self.task.poll() {
                Output::Command(id, command) => commands.push((id, command)),
                Output::Event(event) => self.events.push(event),
                Output::Wait(_) => return commands,
            }
        }
        panic!("it never comes to rest");
    }

    /// The one command it gives now.
    fn command(&mut self) -> (CommandId, Command) {
        let mut commands = self.commands();
        assert_eq!(commands.len(), 1, "one command is expected: {commands:#?}");
        commands.remove(0)
    }

    fn silence(&mut self) {
        let commands = self.commands();
        assert!(commands.is_empty(), "silence is expected: {commands:#?}");
    }

    fn wait(&mut self) -> Wait {
        self.silence();
        let Output::Wait(wait) = self.task.poll() else { unreachable!("the queue is drained") };
        assert!(wait.until.is_none_or(|until| until > self.now), "a wait that is over is a livelock: {wait:?}");
        wait
    }

    fn pass(&mut self, span: Duration) {
        self.silence();
        self.now = self.now + span;
        self.task.handle(self.now, Input::Tick).unwrap();
    }

    fn see(&mut self, shown: &Shown) {
        self.sight(Sight::Present, shown);
    }

    fn sight(&mut self, sight: Sight, shown: &Shown) {
        self.silence();
        self.versions += 1;
        let mut pod = shown.pod();
        pod.metadata.resource_version = self.versions.to_string();
        self.task.handle(self.now, Input::Seen { sight, pod: Box::new(pod) }).unwrap();
    }

    /// The watch's DELETED with the last version that was stored: the registry removes an object only with a grace of 0.
    fn gone(&mut self, shown: &Shown) {
        self.sight(Sight::Deleted, &shown.clone().terminating().with("/metadata/deletionGracePeriodSeconds", json!(0)));
    }

    fn reply(&mut self, to: CommandId, reply: Reply) {
        self.task.handle(self.now, Input::Reply { to, reply }).unwrap();
    }

    fn stop(&mut self, stop: Stop) {
        // A create may be on its way: what it commands now is the test's own business.
        let Output::Wait(_) = self.task.poll() else { panic!("not drained") };
        self.task.handle(self.now, Input::Stop(stop)).unwrap();
    }

    /// Answers the create that is due with this pod.
    fn create(&mut self, shown: &Shown) -> Create {
        let (id, Command::Create(create)) = self.command() else { panic!("a create is expected") };
        self.reply(id, Reply::Pod(Box::new(shown.pod())));
        *create
    }

    /// Up to a container that runs on node-1, its log followed.
    fn run(&mut self, shown: Shown) -> Shown {
        self.create(&shown);
        self.silence();
        let shown = shown.on("node-1").running();
        self.see(&shown);
        let (_, command) = self.command();
        assert!(matches!(command, Command::FollowLog { container, .. } if container == "base"));
        shown
    }

    /// Answers the events that are asked for now.
    fn tell(&mut self, events: Vec<crate::ClusterEvent>) {
        let (id, command) = self.command();
        assert!(matches!(command, Command::ListEvents { .. }), "{command:?}");
        self.reply(id, Reply::Events(events));
    }

    /// Takes the logs' end (if logs were followed) and the outcome.
    fn finish(&mut self) -> Outcome {
        let mut commands = self.commands();
        if let Some((id, Command::CloseLogs { .. })) = commands.first() {
            let id = *id;
            assert_eq!(commands.len(), 1);
            self.reply(id, Reply::Done);
            commands = self.commands();
        }
        assert_eq!(commands.len(), 1, "only the outcome is expected: {commands:#?}");
        let (id, Command::Deliver(outcome)) = commands.remove(0) else { panic!("an outcome is expected") };
        self.reply(id, Reply::Done);
        *outcome
    }

    /// The deletion that is due now, answered.
    fn deleted(&mut self) -> (String, String) {
        let (id, command) = self.command();
        let Command::Delete { uid, resource_version, .. } = command else {
            panic!("a delete is expected: {command:?}")
        };
        self.reply(id, Reply::Done);
        (uid, resource_version)
    }

    fn finished(&mut self) {
        self.silence();
        assert_eq!(self.task.poll(), Output::Wait(Wait { until: None, because: Because::Finished }));
    }

    fn ended(&self) -> Vec<(&Verdict, &Next)> {
        let ends = self.events.iter().filter_map(|event| match event {
            Event::Ended { verdict, next, .. } => Some((verdict.as_ref(), next)),
            _ => None,
        });
        ends.collect()
    }
}

// --- the undisturbed task ------------------------------------------------------------------------------------------------------------

#[test]
fn an_undisturbed_task_takes_a_create_a_log_and_a_delete() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    let create = bench.create(&shown);
    assert_eq!((create.name.as_str(), create.attempt, create.gated), ("t-1", 1, false));
    bench.silence();
    let shown = shown.on("node-1").running();
    bench.see(&shown);
    assert!(matches!(bench.command().1, Command::FollowLog { .. }));
    bench.see(&shown.clone().exited(0));
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.exit_code), (Some("succeeded"), Some(0)));
    let (uid, version) = bench.deleted();
    assert_eq!((uid.as_str(), version), ("uid-1", bench.versions.to_string()));
    bench.finished();
}

#[test]
fn a_container_that_ended_between_two_sights_is_still_read() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    bench.create(&shown);
    bench.see(&shown.on("node-1").exited(0));
    let commands = bench.commands();
    assert!(matches!(&commands[0].1, Command::FollowLog { container, .. } if container == "base"));
    assert!(matches!(&commands[1].1, Command::CloseLogs { cause: None, .. }));
    assert_eq!(commands.len(), 2);
}

#[test]
fn a_program_that_the_runtime_could_not_start_has_no_log() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    bench.create(&shown);
    let state = json!({"terminated": {"exitCode": 128, "reason": "StartError", "containerID": "containerd://1",
        "startedAt": "1970-01-01T00:00:00Z", "finishedAt": "2026-11-23T22:10:10Z"}});
    let statuses = json!([{"name": "base", "containerID": "containerd://1", "state": state}]);
    let shown = shown.on("node-1").written_by("kubelet").with("/status/containerStatuses", statuses);
    bench.see(&shown.with("/status/phase", json!("Failed")));
    assert_eq!(bench.finish().verdict.as_deref(), Some("launchFailed"));
    bench.deleted();
    bench.finished();
}

#[test]
fn a_failure_of_the_program_is_its_own_and_not_run_again() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.see(&shown.exited(3));
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.exit_code), (Some("failed"), Some(3)));
    assert_eq!(bench.ended()[0].1, &Next::End { why: None });
    bench.deleted();
    bench.finished();
}

#[test]
fn nothing_is_deleted_before_the_outcome_is_taken() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.see(&shown.exited(0));
    let (id, _) = bench.command();
    bench.reply(id, Reply::Done);
    let (_, command) = bench.command();
    assert!(matches!(command, Command::Deliver(_)));
    bench.pass(Duration::from_secs(3_600));
    bench.silence();
}

// --- the seed's case -----------------------------------------------------------------------------------------------------------------

#[test]
fn preempted_before_it_ran_it_is_replaced_behind_a_gate_and_then_released() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    bench.create(&shown);
    let shown = shown.on("node-1").preempted().never_ran();
    bench.see(&shown);
    bench.tell(vec![]);
    let (id, Command::Create(create)) = bench.command() else { panic!("the replacement is created at once") };
    assert_eq!((create.name.as_str(), create.attempt, create.gated), ("t-2", 2, true));
    assert_eq!(create.previous_verdict, "disrupted/preemption/never");
    assert_eq!(create.state.attempts.len(), 1);
    let (verdict, next) = bench.ended()[0];
    assert_eq!(verdict.class, Class::Disrupted { cause: Cause::Preemption, started: Started::Never });
    assert_eq!(verdict.proof, Some(Proof::KubeletAttested));
    let Next::Rerun { backoff, left } = next else { panic!("it runs again") };
    assert!((2.0..=2.4).contains(&backoff.as_secs_f64()), "{backoff:?}");
    assert_eq!(*left, 7);
    let second = Shown::new("t-2", 2).gated();
    bench.reply(id, Reply::Pod(Box::new(second.pod())));
    // The preempted pod is on its way out by itself: nothing is deleted.
    bench.gone(&shown);
    let wait = bench.wait();
    assert_eq!(wait.because, Because::Backoff);
    bench.pass(Duration::from_millis(1_999));
    bench.silence();
    bench.now = wait.until.unwrap();
    bench.task.handle(bench.now, Input::Tick).unwrap();
    let (id, command) = bench.command();
    assert_eq!(command, Command::Ungate { name: "t-2".to_owned(), uid: "uid-2".to_owned() });
    let second = second.with("/spec/schedulingGates", json!([]));
    bench.reply(id, Reply::Pod(Box::new(second.pod())));
    bench.silence();
    let second = second.on("node-2").running();
    bench.see(&second);
    assert!(matches!(bench.command().1, Command::FollowLog { .. }));
    bench.see(&second.exited(0));
    let outcome = bench.finish();
    assert_eq!(outcome.attempts.len(), 2);
    assert_eq!(bench.deleted().0, "uid-2");
    bench.finished();
}

#[test]
fn under_the_policy_never_nothing_runs_again() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.rerun.policy = RerunPolicy::Never;
    let mut bench = preempted_before_start(spec);
    let outcome = bench.finish();
    assert_eq!(outcome.verdict.as_deref(), Some("disrupted"));
    assert_eq!(bench.ended()[0].1, &Next::End { why: Some(NoRerun::Policy) });
    bench.finished();
}

/// Attempt 1 was preempted before it ran, its events told.
fn preempted_before_start(spec: Spec) -> Bench {
    let name = if spec.naming == Naming::Fixed { "t" } else { "t-1" };
    let mut bench = Bench::new(spec);
    let shown = Shown::new(name, 1);
    bench.create(&shown);
    let shown = shown.on("node-1").preempted().never_ran();
    bench.gone(&shown);
    bench.tell(vec![]);
    bench
}

#[test]
fn preempted_while_it_ran_it_is_run_again_only_if_it_may_run_twice() {
    for (policy, again) in
        [(RerunPolicy::IfNotStarted, false), (RerunPolicy::UntilCommit, true), (RerunPolicy::Idempotent, true)]
    {
        let mut spec = Spec::minimal("t", "default", "n");
        spec.rerun.policy = policy;
        let mut bench = Bench::new(spec);
        let shown = bench.run(Shown::new("t-1", 1));
        bench.see(&shown.clone().preempted());
        bench.gone(&shown.preempted().exited(137));
        bench.tell(vec![]);
        let commands = bench.commands();
        assert!(matches!(&commands[0].1, Command::CloseLogs { cause: Some(Reason::Preempted), .. }));
        assert_eq!(commands.len(), if again { 2 } else { 1 }, "{policy:?}: {commands:#?}");
        assert!(!again || matches!(&commands[1].1, Command::Create(create) if create.gated));
    }
}

#[test]
fn the_budget_ends_it_and_is_said() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.rerun.never_started = 1;
    let mut bench = Bench::new(spec);
    for attempt in 1..=2 {
        let shown = Shown::new(&format!("t-{attempt}"), attempt);
        bench.create(&shown);
        bench.gone(&shown.on("node-1").preempted().never_ran());
        bench.tell(vec![]);
    }
    let outcome = bench.finish();
    assert_eq!(outcome.attempts.len(), 2);
    assert_eq!(bench.ended()[1].1, &Next::End { why: Some(NoRerun::Budget) });
    bench.finished();
}

#[test]
fn a_node_that_disrupted_twice_is_avoided() {
    let mut bench = Bench::default();
    for attempt in 1..=3 {
        let shown = Shown::new(&format!("t-{attempt}"), attempt);
        let create = bench.create(&shown);
        let expected: &[&str] = if attempt == 3 { &["node-1"] } else { &[] };
        assert_eq!(create.avoid_nodes, expected);
        bench.gone(&shown.on("node-1").preempted().never_ran());
        bench.tell(vec![]);
    }
}

#[test]
fn a_fixed_name_waits_for_its_predecessor_and_the_backoff() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.naming = Naming::Fixed;
    let mut bench = preempted_before_start(spec);
    let wait = bench.wait();
    assert_eq!(wait.because, Because::Backoff);
    bench.pass(Duration::from_secs(3));
    let (_, Command::Create(create)) = bench.command() else { panic!("a create is expected") };
    assert_eq!((create.name.as_str(), create.attempt, create.gated), ("t", 2, false));
}

#[test]
fn a_fixed_name_is_not_asked_for_while_its_predecessor_is_there() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.naming = Naming::Fixed;
    let mut bench = Bench::new(spec);
    let shown = Shown::new("t", 1);
    bench.create(&shown);
    let shown = shown.on("node-1").preempted().never_ran();
    bench.see(&shown);
    bench.tell(vec![]);
    bench.pass(Duration::from_secs(10));
    let wait = bench.wait();
    assert_eq!(wait, Wait { until: None, because: Because::Predecessor });
    bench.gone(&shown);
    let (_, command) = bench.command();
    assert!(matches!(command, Command::Create(create) if create.attempt == 2));
}

// --- deletions, refusals, clocks -----------------------------------------------------------------------------------------------------

#[test]
fn a_deletion_that_nobody_signed_ends_the_task() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    bench.create(&shown);
    bench.gone(&shown.terminating());
    bench.tell(vec![]);
    bench.finish();
    assert_eq!(bench.ended()[0].1, &Next::End { why: Some(NoRerun::UnsignedDelete) });
    bench.finished();
}

#[test]
fn a_pod_that_only_stopped_matching_is_asked_for_and_goes_on() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.sight(Sight::Deleted, &shown);
    let (id, command) = bench.command();
    assert_eq!(command, Command::Read { name: "t-1".to_owned() });
    let same = shown.with("/metadata/resourceVersion", json!(bench.versions.to_string()));
    bench.reply(id, Reply::Pod(Box::new(same.pod())));
    assert!(matches!(bench.wait().because, Because::Program { .. }));
}

#[test]
fn a_pod_that_is_gone_unobserved_is_unknown_and_not_run_again() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    bench.create(&shown);
    bench.see(&shown.on("node-1"));
    bench.silence();
    bench.task.handle(bench.now, Input::Missing { uid: "uid-1".to_owned() }).unwrap();
    let (id, _) = bench.command();
    bench.reply(id, Reply::NotFound);
    bench.tell(vec![]);
    bench.finish();
    let (verdict, next) = bench.ended()[0];
    assert!(matches!(verdict.class, Class::Disrupted { started: Started::Unknown, .. }), "{verdict:?}");
    assert!(matches!(next, Next::End { why: Some(_) }));
}

#[test]
fn a_users_cancel_deletes_with_preconditions_and_ends_when_the_pod_has_ended() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.stop(Stop::User);
    assert_eq!(bench.deleted().0, "uid-1");
    bench.see(&shown.clone().terminating());
    bench.gone(&shown.terminating().exited(143));
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("cancelled"), Some(Reason::CancelledByUser)));
    bench.finished();
}

#[test]
fn an_observers_shutdown_deletes_nothing() {
    let mut bench = Bench::default();
    bench.run(Shown::new("t-1", 1));
    bench.stop(Stop::Shutdown);
    bench.silence();
    assert_eq!(bench.task.poll(), Output::Wait(Wait { until: None, because: Because::Detached }));
}

#[test]
fn a_cancel_before_the_creates_answer_deletes_what_it_made() {
    let mut bench = Bench::default();
    let (id, _) = bench.command();
    bench.stop(Stop::User);
    bench.silence();
    bench.reply(id, Reply::Pod(Box::new(Shown::new("t-1", 1).pod())));
    assert_eq!(bench.deleted().0, "uid-1");
}

#[test]
fn a_full_quota_is_waited_for_until_its_clock_ends() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.clocks.queue = Some(Duration::from_secs(10));
    let mut bench = Bench::new(spec);
    let full = Refusal {
        code: 403,
        reason: "Forbidden".to_owned(),
        message: "pods \"t-1\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
            .to_owned(),
        retry_after: None,
    };
    let (id, _) = bench.command();
    bench.reply(id, Reply::Refused(full.clone()));
    let wait = bench.wait();
    assert!(matches!(wait.because, Because::Admission { .. }));
    bench.pass(Duration::from_secs(8));
    let (id, command) = bench.command();
    assert!(matches!(command, Command::Create(_)));
    bench.reply(id, Reply::Refused(full));
    bench.silence();
    bench.pass(Duration::from_secs(2));
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("launchFailed"), Some(Reason::QuotaExceeded)));
    let said = |event: &&Event| matches!(event, Event::Waiting { because: Because::Admission { .. }, .. });
    assert_eq!(bench.events.iter().filter(said).count(), 1, "said once, though it was refused twice");
    bench.finished();
}

#[test]
fn a_create_whose_pod_vanished_before_its_answer_is_not_repeated() {
    let mut bench = Bench::default();
    let (id, _) = bench.command();
    bench.reply(id, Reply::NotFound);
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("disrupted"), Some(Reason::Vanished)));
    bench.finished();
}

#[test]
fn a_pod_that_admission_altered_is_deleted_and_said() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    let (id, _) = bench.command();
    let differences = vec!["the container \"base\" was removed or renamed".to_owned()];
    bench.reply(id, Reply::Altered { pod: Box::new(shown.pod()), differences: differences.clone() });
    assert_eq!(bench.deleted().0, "uid-1");
    bench.gone(&shown.terminating());
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("launchFailed"), Some(Reason::Altered)));
    assert_eq!(bench.ended()[0].0.detail, Some(differences[0].clone()));
    bench.finished();
}

#[test]
fn a_start_without_progress_ends_after_its_clock_and_the_pod_is_deleted_first() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    bench.create(&shown);
    bench.silence();
    let waiting =
        json!([{"name": "base", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]);
    let shown = shown.on("node-1").with("/status/containerStatuses", waiting);
    bench.see(&shown);
    bench.silence();
    bench.pass(Duration::from_secs(10));
    bench.tell(vec![]);
    bench.silence();
    for _ in 0..9 {
        bench.pass(Duration::from_secs(60));
        bench.tell(vec![]);
        bench.silence();
    }
    bench.pass(Duration::from_secs(50));
    assert_eq!(bench.deleted().0, "uid-1");
    bench.gone(&shown.terminating().never_ran());
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("launchFailed"), Some(Reason::Image)));
    bench.finished();
}

#[test]
fn the_total_clock_counts_all_attempts_and_sets_the_pods_deadline() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.clocks = Clocks { total: Some(Duration::from_secs(100)), ..Clocks::default() };
    let mut bench = Bench::new(spec);
    let create = bench.create(&Shown::new("t-1", 1));
    assert_eq!(create.active_deadline_seconds, Some(101), "one more, so that the kubelet does not strike first");
    bench.silence();
    let shown = Shown::new("t-1", 1).on("node-1").running();
    bench.see(&shown);
    bench.commands();
    bench.pass(Duration::from_secs(100));
    assert_eq!(bench.deleted().0, "uid-1");
    bench.gone(&shown.terminating().exited(143));
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("cancelled"), Some(Reason::Timeout)));
}

#[test]
fn a_protected_pod_is_released_only_when_its_successor_exists() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.protect = true;
    let mut bench = Bench::new(spec);
    let shown = Shown::new("t-1", 1).with("/metadata/finalizers", json!([marks::FINALIZER]));
    assert!(bench.create(&shown).protect);
    bench.see(&shown.on("node-1").preempted().never_ran());
    bench.tell(vec![]);
    let (id, command) = bench.command();
    assert!(matches!(command, Command::Create(_)));
    bench.reply(id, Reply::Pod(Box::new(Shown::new("t-2", 2).gated().pod())));
    let (id, command) = bench.command();
    assert_eq!(command, Command::Release { name: "t-1".to_owned(), uid: "uid-1".to_owned() });
    bench.reply(id, Reply::Done);
    bench.silence();
}

#[test]
fn a_kept_pod_is_marked_and_not_deleted() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.on_finish = OnFinish::Failed { lifetime: Some(Duration::from_secs(7_200)) };
    let mut bench = Bench::new(spec);
    let shown = bench.run(Shown::new("t-1", 1));
    bench.see(&shown.exited(1));
    bench.finish();
    let (id, Command::Annotate { annotations, active_deadline_seconds, .. }) = bench.command() else { panic!() };
    let expires = annotations.iter().find(|(key, _)| key == marks::EXPIRES).map(|(_, value)| value.as_str());
    assert_eq!(expires, Some((bench.now + Duration::from_secs(7_200)).to_string().as_str()));
    assert_eq!(active_deadline_seconds, None, "it has ended");
    bench.reply(id, Reply::Done);
    bench.finished();
}

// --- observers -----------------------------------------------------------------------------------------------------------------------

/// One who attaches to the first attempt, which stands as it is shown.
fn attached(take_over: bool, shown: impl Fn(Shown) -> Vec<Shown>) -> Bench {
    let mut creator = Bench::default();
    let (_, Command::Create(create)) = creator.command() else { panic!() };
    let pods = shown(Shown::new("t-1", 1).with("/metadata/annotations/kpo.rs~1state", json!(create.state.to_json())));
    let (task, observer) = ("t".to_owned(), "you".to_owned());
    let how = attach::Attach { task, observer, take_over, has_manifest: true, nonce: None };
    let task = Task::attach(creator.now, &how, pods.iter().map(Shown::pod).collect()).unwrap();
    Bench { task, now: creator.now, events: Vec::new(), versions: 1 }
}

#[test]
fn one_who_attaches_follows_and_writes_nothing() {
    let shown = Shown::new("t-1", 1).on("node-1");
    let mut follower = attached(false, |shown| vec![shown.on("node-1").running()]);
    assert!(matches!(follower.command().1, Command::FollowLog { .. }));
    follower.see(&shown.exited(0));
    let outcome = follower.finish();
    assert_eq!(outcome.verdict.as_deref(), Some("succeeded"));
    follower.finished();
}

#[test]
fn one_who_takes_over_writes_its_mark_first() {
    let shown = Shown::new("t-1", 1);
    let mut bench = attached(true, |shown| vec![shown]);
    let (id, Command::Annotate { annotations, resource_version, .. }) = bench.command() else { panic!() };
    assert_eq!(annotations, [(marks::OBSERVER.to_owned(), "you/2".to_owned())]);
    assert_eq!(resource_version.as_deref(), Some("1"));
    let taken = shown.with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
    bench.reply(id, Reply::Pod(Box::new(taken.pod())));
    bench.silence();
    bench.stop(Stop::User);
    assert_eq!(bench.deleted().0, "uid-1");
}

#[test]
fn one_who_was_taken_over_falls_silent() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.see(&shown.clone().with("/metadata/annotations/kpo.rs~1observer", json!("you/2")));
    bench.silence();
    assert!(bench.events.contains(&Event::TakenOver { by: "you/2".to_owned() }));
    bench.stop(Stop::User);
    bench.silence();
    assert_eq!(
        bench.task.poll(),
        Output::Wait(Wait { until: None, because: Because::Detached }),
        "it leaves, and no more"
    );
}

#[test]
fn one_who_may_not_delete_says_so_and_leaves_the_pod() {
    let mut bench = Bench::default();
    bench.run(Shown::new("t-1", 1));
    bench.stop(Stop::User);
    let (id, _) = bench.command();
    let message = "pods \"t-1\" is forbidden: User \"x\" cannot delete resource \"pods\"".to_owned();
    let refusal = Refusal { code: 403, reason: "Forbidden".to_owned(), message, retry_after: None };
    bench.reply(id, Reply::Refused(refusal));
    let outcome = bench.finish();
    assert_eq!(outcome.reason, Some(Reason::CancelledByUser));
    bench.finished();
    assert!(bench.events.iter().any(|event| matches!(event, Event::Hindered { what: Hindrance::Delete, .. })));
}

// --- the contract --------------------------------------------------------------------------------------------------------------------

#[test]
fn handling_before_draining_is_a_misuse_and_changes_nothing() {
    let mut task = Task::new(Time(0), Spec::minimal("t", "default", "n"), Observer::first("me"));
    let before = task.clone();
    assert_eq!(task.handle(Time(1), Input::Tick), Err(Misuse::NotDrained));
    assert_eq!(task, before);
}

#[test]
fn a_snapshot_goes_on_where_it_was() {
    let mut bench = Bench::default();
    bench.run(Shown::new("t-1", 1));
    let json = serde_json::to_string(bench.task.state()).unwrap();
    let state: State = serde_json::from_str(&json).unwrap();
    assert_eq!(&state, bench.task.state());
    let task = Task::restore(bench.now, state).unwrap();
    let mut again = Bench { task, now: bench.now, events: Vec::new(), versions: 1 };
    assert!(matches!(again.command().1, Command::FollowLog { .. }));
}

/// The create may have been sent, and its pod even be gone again: it is not to be sent as if it were the first.
#[test]
fn a_create_without_a_reply_is_in_doubt_after_a_restore() {
    let mut bench = Bench::default();
    let (id, Command::Create(first)) = bench.command() else { panic!("a create is expected") };
    assert_eq!(first.sent_before, None);
    bench.wait();
    let task = Task::restore(bench.now, bench.task.state().clone()).unwrap();
    let mut again = Bench { task, now: bench.now, events: Vec::new(), versions: 1 };
    let (same, Command::Create(second)) = again.command() else { panic!("it is asked again") };
    assert_eq!((same, second.sent_before), (id, Some(bench.task.state().began)));
    again.reply(same, Reply::NotFound);
    assert_eq!(again.finish().reason, Some(Reason::Vanished));
}

#[test]
fn the_table_of_moves_is_this_one() {
    let rows: Vec<String> = MOVES.iter().map(|(from, to, why)| format!("{from:?} -> {to:?}: {why}")).collect();
    insta::assert_snapshot!(rows.join("\n"));
}
