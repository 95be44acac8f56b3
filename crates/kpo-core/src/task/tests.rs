//! The task driven by hand: each test says what is seen, and asserts every command and the silence after it.

mod clocks;
mod completing;
mod holds;
pub(super) mod monkey;
mod observers;
mod races;
mod reruns;
mod restores;
mod stopping;
mod successors;
mod unwatched;

use super::*;
use crate::contract::{Carried, Create, Found, Next, NoRerun};
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
    /// Commands that were given while nobody asked for them ([`Bench::hush`]).
    given: Vec<(CommandId, Command)>,
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
        Self::of(Task::new(now, spec, Observer::first("me")), now)
    }

    fn of(task: Task, now: Time) -> Self {
        Self { task, now, events: Vec::new(), versions: 1, given: Vec::new() }
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

    /// Takes what it commands now, for later.
    fn hush(&mut self) {
        let commands = self.commands();
        self.given.extend(commands);
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

    /// That it is about to delete the current pod, and why, answered.
    fn signed(&mut self, reason: Reason) {
        let (id, command) = self.command();
        let Command::Annotate { annotations, resource_version: Some(_), .. } = command else {
            panic!("a signature is expected: {command:?}")
        };
        assert_eq!(annotations, [(marks::STOPPING.to_owned(), reason.code().to_owned())]);
        self.reply(id, Reply::Done);
    }

    /// The signed deletion that is due now, answered.
    fn stopped(&mut self, reason: Reason) -> (String, String) {
        self.signed(reason);
        self.deleted()
    }

    /// That a pod which is still there says that there is an attempt after its own, answered.
    fn told(&mut self, pod: &str) -> String {
        let (id, command) = self.command();
        let Command::Annotate { uid, annotations, resource_version: None, .. } = command else {
            panic!("the predecessor is told: {command:?}")
        };
        let [(key, state)] = &annotations[..] else { panic!("{annotations:?}") };
        assert_eq!((uid.as_str(), key.as_str()), (pod, marks::STATE));
        self.reply(id, Reply::Done);
        state.clone()
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

/// One who attaches to the first attempt, which stands as it is shown.
fn attached(take_over: bool, shown: impl Fn(Shown) -> Vec<Shown>) -> Bench {
    let how = attaching(take_over);
    let task = Task::attach(Time::from_secs(1_000), &how, found(shown)).unwrap();
    Bench::of(task, Time::from_secs(1_000))
}

fn attaching(take_over: bool) -> Attach {
    let (task, observer) = ("t".to_owned(), "you".to_owned());
    Attach { task, observer, take_over, has_manifest: true, nonce: None, over: false }
}

/// The pods that one who attaches finds, made from the first attempt's.
fn found(shown: impl Fn(Shown) -> Vec<Shown>) -> Vec<Pod> {
    let mut creator = Bench::default();
    let (_, Command::Create(create)) = creator.command() else { panic!() };
    let pods = shown(Shown::new("t-1", 1).with("/metadata/annotations/kpo.rs~1state", json!(create.state.to_json())));
    pods.iter().map(Shown::pod).collect()
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

/// As the API server words a missing right.
fn forbidden(verb: &str) -> Refusal {
    let message = format!("pods is forbidden: User \"x\" cannot {verb} resource \"pods\" in API group \"\"");
    Refusal { code: 403, reason: "Forbidden".to_owned(), message, retry_after: None }
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

// --- the contract --------------------------------------------------------------------------------------------------------------------

#[test]
fn handling_before_draining_is_a_misuse_and_changes_nothing() {
    let mut task = Task::new(Time(0), Spec::minimal("t", "default", "n"), Observer::first("me"));
    let before = task.clone();
    assert_eq!(task.handle(Time(1), Input::Tick), Err(Misuse::NotDrained));
    assert_eq!(task, before);
}

#[test]
fn a_reply_to_no_command_is_a_misuse_and_changes_nothing() {
    let mut bench = Bench::default();
    let (id, _) = bench.command();
    bench.reply(id, Reply::NotFound);
    bench.hush();
    let before = bench.task.clone();
    let again = Input::Reply { to: id, reply: Reply::NotFound };
    assert_eq!(bench.task.handle(bench.now, again), Err(Misuse::UnknownCommand(id)));
    assert_eq!(bench.task, before);
}

#[test]
fn a_snapshot_goes_on_where_it_was() {
    let mut bench = Bench::default();
    bench.run(Shown::new("t-1", 1));
    let json = serde_json::to_string(bench.task.state()).unwrap();
    let state: State = serde_json::from_str(&json).unwrap();
    assert_eq!(&state, bench.task.state());
    let task = Task::restore(bench.now, state).unwrap();
    let mut again = Bench::of(task, bench.now);
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
    let mut again = Bench::of(task, bench.now);
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
