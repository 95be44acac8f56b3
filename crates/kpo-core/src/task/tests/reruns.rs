//! What is run again after a disruption, and when.

use super::*;

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
        let shown = if attempt == 1 { shown } else { shown.gated() };
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

/// The gate is kpo's own: no queue holds the pod while its removal is on the way.
#[test]
fn until_the_ungate_is_answered_the_backoff_is_waited_for_and_no_queue() {
    let mut bench = preempted_before_start(Spec::minimal("t", "default", "n"));
    bench.create(&Shown::new("t-2", 2).gated());
    let until = bench.wait().until.unwrap();
    bench.events.clear();
    bench.pass(until.since(bench.now));
    assert!(matches!(bench.command().1, Command::Ungate { .. }));
    assert_eq!(bench.wait().because, Because::Backoff);
    assert_eq!(bench.events, [], "nothing new is waited for");
}

/// A forbidden patch stays forbidden: the pod behind the gate would wait for ever.
#[test]
fn a_gate_that_may_not_be_lifted_is_said_once_and_done_without() {
    let mut bench = preempted_before_start(Spec::minimal("t", "default", "n"));
    let held = Shown::new("t-2", 2).gated();
    bench.create(&held);
    let until = bench.wait().until.unwrap();
    bench.pass(until.since(bench.now));
    let (id, Command::Ungate { .. }) = bench.command() else { panic!("the backoff is over") };
    bench.reply(id, Reply::Refused(forbidden("patch")));
    let (id, Command::Delete { name, uid, resource_version, .. }) = bench.command() else { panic!("it is never run") };
    assert_eq!((name.as_str(), uid.as_str(), resource_version.as_str()), ("t-2", "uid-2", "1"));
    bench.reply(id, Reply::Done);
    assert_eq!(bench.wait().because, Because::Predecessor);
    bench.gone(&held);
    let (id, Command::Create(create)) = bench.command() else { panic!("it is made again") };
    assert_eq!((create.name.as_str(), create.attempt, create.gated), ("t-2", 2, false));
    let again = Shown::new("t-2", 2).with("/metadata/uid", json!("uid-3"));
    bench.reply(id, Reply::Pod(Box::new(again.pod())));
    bench.silence();
    let said = bench.events.iter().filter(|event| matches!(event, Event::Hindered { what: Hindrance::Ungate, .. }));
    assert_eq!(said.count(), 1);
    let again = again.on("node-2").running();
    bench.see(&again);
    bench.command();
    bench.see(&again.exited(0));
    assert_eq!(bench.finish().attempts.len(), 2, "the pod that was held is no attempt");
}

/// An admission plugin may refuse for a while: asked again and again, and said once.
#[test]
fn a_refusal_that_repeats_is_said_once() {
    let mut bench = preempted_before_start(Spec::minimal("t", "default", "n"));
    bench.create(&Shown::new("t-2", 2).gated());
    for _ in 0..3 {
        let until = bench.wait().until.unwrap();
        bench.pass(until.since(bench.now));
        let (id, Command::Ungate { .. }) = bench.command() else { panic!("it is tried again") };
        let message = "admission webhook \"x\" denied the request: not now".to_owned();
        bench.reply(id, Reply::Refused(Refusal { code: 400, reason: String::new(), message, retry_after: None }));
    }
    let said = bench.events.iter().filter(|event| matches!(event, Event::Hindered { .. }));
    assert_eq!(said.count(), 1);
}

/// The kubelet keeps the end of a message that is too long: where the marker is not in what is left, it may have been before that.
#[test]
fn under_until_commit_a_message_tells_as_long_as_its_marker_cannot_have_been_cut_off() {
    let long = "x".repeat(4_096);
    for (message, next) in [
        ("", None),
        ("done so far: 7", None),
        ("committed", Some(NoRerun::Committed)),
        ("\ncommitted\n", Some(NoRerun::Committed)),
        ("rows: 3\n  committed", Some(NoRerun::Committed)),
        ("not committed", None),
        (&format!("{long} committed"), Some(NoRerun::Policy)),
        (&long, Some(NoRerun::Policy)),
    ] {
        let mut spec = Spec::minimal("t", "default", "n");
        spec.rerun.policy = RerunPolicy::UntilCommit;
        let mut bench = Bench::new(spec);
        let shown = bench.run(Shown::new("t-1", 1)).preempted().terminating().exited(143);
        bench.see(&shown.with("/status/containerStatuses/0/state/terminated/message", json!(message)));
        bench.tell(vec![]);
        bench.hush();
        let follows = match bench.ended()[..] {
            [(_, Next::Rerun { .. })] => None,
            [(_, Next::End { why })] => *why,
            _ => panic!("{:?}", bench.ended()),
        };
        assert_eq!(follows, next, "{:.20}", message);
    }
}
