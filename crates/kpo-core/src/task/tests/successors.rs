//! A pod that outlives its attempt must not bring about the next one a second time.

use super::*;

/// Attempt 1 was preempted before it ran; a finalizer of somebody's holds its pod, and the replacement waits for its turn.
fn held_by_a_finalizer(spec: Spec) -> Bench {
    let mut bench = Bench::new(spec);
    let shown = Shown::new("t-1", 1);
    bench.create(&shown);
    bench.see(&shown.on("node-1").preempted().never_ran().terminating());
    bench.tell(vec![]);
    bench
}

/// Its replacement has run and succeeded; the outcome is due.
fn succeeds_beside_it() -> Bench {
    let mut bench = held_by_a_finalizer(Spec::minimal("t", "default", "n"));
    let second = Shown::new("t-2", 2);
    bench.create(&second.clone().gated());
    bench.pass(Duration::from_secs(3));
    bench.told("uid-1");
    let (id, Command::Ungate { .. }) = bench.command() else { panic!("the gate is lifted") };
    bench.reply(id, Reply::Pod(Box::new(second.pod())));
    bench.silence();
    bench.see(&second.clone().on("node-2").running());
    assert!(matches!(bench.command().1, Command::FollowLog { .. }));
    bench.see(&second.on("node-2").exited(0));
    bench
}

/// What the pod of attempt 1 says when its successor is about to run.
fn told() -> String {
    let mut bench = held_by_a_finalizer(Spec::minimal("t", "default", "n"));
    bench.create(&Shown::new("t-2", 2).gated());
    bench.pass(Duration::from_secs(3));
    let state = bench.told("uid-1");
    assert_eq!(bench.command().1, Command::Ungate { name: "t-2".to_owned(), uid: "uid-2".to_owned() });
    state
}

fn found_told(state: &str, take_over: bool) -> Bench {
    let pod = Shown::new("t-1", 1).on("node-1").preempted().never_ran().terminating();
    let pod = pod.with("/metadata/annotations/kpo.rs~1state", json!(state)).pod();
    let task = Task::attach(Time::from_secs(1_010), &attaching(take_over), vec![pod]).unwrap();
    Bench::of(task, Time::from_secs(1_010))
}

/// The state that a pod carries, changed.
fn changed(state: &str, change: impl Fn(&mut Value)) -> String {
    let mut state: Value = serde_json::from_str(state).unwrap();
    change(&mut state);
    state.to_string()
}

#[test]
fn the_pod_of_an_attempt_that_has_a_successor_says_so_before_the_successor_may_run() {
    let state: Value = serde_json::from_str(&told()).unwrap();
    assert_eq!(state["attempts"][0]["number"], 1);
    assert_eq!(state["attempts"][0]["verdict"]["reason"], "preempted");
}

#[test]
fn one_that_may_not_be_written_to_holds_nothing_back() {
    let mut bench = held_by_a_finalizer(Spec::minimal("t", "default", "n"));
    bench.create(&Shown::new("t-2", 2).gated());
    bench.pass(Duration::from_secs(3));
    let (id, Command::Annotate { .. }) = bench.command() else { panic!("the predecessor is told") };
    bench.reply(id, Reply::Refused(forbidden("patch")));
    assert!(matches!(bench.command().1, Command::Ungate { .. }));
    assert!(bench.events.iter().any(|event| matches!(event, Event::Hindered { what: Hindrance::Annotate, .. })));
}

#[test]
fn who_finds_only_the_pod_before_does_not_make_the_attempt_again_that_it_speaks_of() {
    for take_over in [true, false] {
        let mut bench = found_told(&told(), take_over);
        let outcome = bench.finish();
        assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("disrupted"), Some(Reason::Vanished)));
        assert_eq!(outcome.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
        let class = &outcome.attempts[1].verdict.as_ref().unwrap().verdict.class;
        assert_eq!(class, &Class::Disrupted { cause: Cause::Vanished, started: Started::Unknown });
        if take_over {
            bench.told("uid-1");
        }
        bench.finished();
    }
}

#[test]
fn where_the_program_may_run_twice_the_attempt_after_that_is_made() {
    let state = changed(&told(), |state| state["spec"]["rerun"]["policy"] = "idempotent".into());
    let mut bench = found_told(&state, true);
    let (_, Command::Create(create)) = bench.command() else { panic!("a create is expected") };
    assert_eq!((create.name.as_str(), create.attempt, create.sent_before), ("t-3", 3, None));
}

#[test]
fn where_no_gate_held_it_the_attempt_may_never_have_been_sent() {
    let state = changed(&told(), |state| state["spec"]["gates"] = false.into());
    let mut bench = found_told(&state, true);
    let (_, Command::Create(create)) = bench.command() else { panic!("a create is expected") };
    assert_eq!((create.name.as_str(), create.attempt), ("t-2", 2));
    assert!(create.sent_before.is_some(), "it is looked for first");
    let long_ago = changed(&state, |state| state["attempts"][0]["times"]["ended"] = "1969-12-31T00:00:00Z".into());
    assert_eq!(found_told(&long_ago, true).finish().reason, Some(Reason::Vanished), "no event tells of it any more");
}

/// The cluster has none, or refuses them on a pod that names its node.
#[test]
fn without_gates_the_pod_before_is_told_before_the_next_one_is_made() {
    let mut none = Spec::minimal("t", "default", "n");
    none.gates = false;
    let mut bound = Spec::minimal("t", "default", "n");
    bound.template.names_its_node = true;
    for spec in [none, bound] {
        let mut bench = held_by_a_finalizer(spec);
        bench.pass(Duration::from_secs(3));
        bench.told("uid-1");
        let (_, Command::Create(create)) = bench.command() else { panic!("a create is expected") };
        assert_eq!((create.name.as_str(), create.gated), ("t-2", false));
    }
}

#[test]
fn what_is_being_deleted_and_held_by_a_finalizer_of_others_is_not_waited_for() {
    let mut bench = succeeds_beside_it();
    assert_eq!(bench.finish().verdict.as_deref(), Some("succeeded"));
    bench.told("uid-1");
    assert_eq!(bench.deleted().0, "uid-2");
    bench.gone(&Shown::new("t-2", 2).on("node-2").exited(0));
    bench.finished();
}

#[test]
fn a_create_that_is_answered_after_the_outcome_is_cleaned_up() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.clocks.total = Some(Duration::from_secs(5));
    let mut bench = Bench::new(spec);
    let (create, Command::Create(_)) = bench.command() else { panic!("a create is expected") };
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.command().1, Command::Withdraw { create });
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.finish().reason, Some(Reason::Timeout));
    bench.silence();
    bench.reply(create, Reply::Pod(Box::new(Shown::new("t-1", 1).pod())));
    assert_eq!(bench.deleted().0, "uid-1");
    bench.gone(&Shown::new("t-1", 1));
    bench.finished();
}

#[test]
fn who_is_taken_over_before_its_attempt_has_a_pod_withdraws_it_and_waits_for_the_others() {
    let mut bench = held_by_a_finalizer(Spec::minimal("t", "default", "n"));
    let (create, Command::Create(_)) = bench.command() else { panic!("a create is expected") };
    let shown = Shown::new("t-1", 1).on("node-1").preempted().never_ran().terminating();
    bench.see(&shown.with("/metadata/annotations/kpo.rs~1observer", json!("you/2")));
    assert_eq!(bench.command().1, Command::Withdraw { create });
    assert!(bench.events.contains(&Event::TakenOver { by: "you/2".to_owned() }));
    let theirs = Shown::new("t-2", 2).with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
    let theirs = theirs.with("/metadata/annotations/kpo.rs~1state", json!(told()));
    bench.reply(create, Reply::Pod(Box::new(theirs.pod())));
    bench.silence();
    bench.see(&theirs.clone().on("node-2").running());
    assert!(matches!(bench.command().1, Command::FollowLog { .. }));
    bench.see(&theirs.on("node-2").exited(0));
    assert_eq!(bench.finish().verdict.as_deref(), Some("succeeded"));
    bench.finished();
}

#[test]
fn a_pod_that_one_who_was_taken_over_still_made_is_marked_before_it_is_written_to() {
    let mut bench = attached(true, |shown| vec![shown]);
    let (id, Command::Annotate { .. }) = bench.command() else { panic!("it takes over") };
    let first = Shown::new("t-1", 1).with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
    bench.reply(id, Reply::Pod(Box::new(first.pod())));
    bench.gone(&first.on("node-1").preempted().never_ran());
    bench.tell(vec![]);
    let (create, Command::Create(_)) = bench.command() else { panic!("a create is expected") };
    let theirs = Shown::new("t-2", 2).gated();
    bench.reply(create, Reply::Pod(Box::new(theirs.pod())));
    let (id, Command::Annotate { uid, annotations, .. }) = bench.command() else { panic!("it is claimed") };
    assert_eq!((uid.as_str(), &annotations[..]), ("uid-2", &[(marks::OBSERVER.to_owned(), "you/2".to_owned())][..]));
    bench.pass(Duration::from_secs(3));
    bench.silence();
    let ours = theirs.with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
    bench.reply(id, Reply::Pod(Box::new(ours.pod())));
    assert!(matches!(bench.command().1, Command::Ungate { .. }));
}

#[test]
fn who_takes_over_a_pod_that_is_ending_goes_on_trying() {
    let mut bench = attached(true, |shown| vec![shown.on("node-1").preempted().never_ran()]);
    let mut commands = bench.commands();
    let annotate = commands.iter().position(|(_, c)| matches!(c, Command::Annotate { .. })).expect("it takes over");
    let (id, _) = commands.swap_remove(annotate);
    let (events, Command::ListEvents { .. }) = commands.remove(0) else { panic!("{commands:?}") };
    bench.reply(events, Reply::Events(vec![]));
    bench.silence();
    bench.reply(id, Reply::Conflict);
    let (read, Command::Read { .. }) = bench.command() else { panic!("it looks again") };
    let shown = Shown::new("t-1", 1).on("node-1").preempted().never_ran();
    bench.reply(read, Reply::Pod(Box::new(shown.clone().pod())));
    let (id, Command::Annotate { .. }) = bench.command() else { panic!("it tries again") };
    let ours = shown.with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
    bench.reply(id, Reply::Pod(Box::new(ours.pod())));
    let (_, Command::Create(create)) = bench.command() else { panic!("it goes on with the task") };
    assert_eq!(create.name, "t-2");
}

#[test]
fn who_finds_no_pod_to_take_over_on_takes_over_when_nobody_has_made_the_next_attempt() {
    let mut bench = attached(true, |shown| vec![shown.on("node-1")]);
    let (id, Command::Annotate { .. }) = bench.command() else { panic!("it takes over") };
    let gone = Shown::new("t-1", 1).on("node-1").preempted().never_ran();
    bench.gone(&gone);
    bench.tell(vec![]);
    bench.silence();
    bench.reply(id, Reply::NotFound);
    bench.hush();
    while let Some((read, Command::Read { .. })) = bench.given.pop() {
        bench.reply(read, Reply::NotFound);
        bench.hush();
    }
    bench.pass(Duration::from_secs(70));
    let (_, Command::Create(create)) = bench.command() else { panic!("it goes on with the task") };
    assert_eq!((create.name.as_str(), create.observer.as_str()), ("t-2", "you/2"));
}

#[test]
fn a_pod_that_was_given_up_for_its_gate_is_not_the_attempt_that_is_made_again() {
    let mut bench = preempted_before_start(Spec::minimal("t", "default", "n"));
    let second = Shown::new("t-2", 2).gated();
    bench.create(&second);
    bench.pass(Duration::from_secs(3));
    let (id, Command::Ungate { .. }) = bench.command() else { panic!("the gate is lifted") };
    bench.reply(id, Reply::Refused(forbidden("patch")));
    assert_eq!(bench.deleted().0, "uid-2");
    bench.gone(&second);
    let (_, Command::Create(create)) = bench.command() else { panic!("it is made again") };
    assert_eq!((create.name.as_str(), create.attempt, create.gated), ("t-2", 2, false));
    bench.gone(&second);
    bench.silence();
    assert!(bench.ended().len() == 1, "{:?}", bench.ended());
}

#[test]
fn what_an_interrupted_watch_may_still_show_is_waited_for() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.task.handle(bench.now, Input::Gap).unwrap();
    bench.silence();
    bench.stop(Stop::User);
    bench.signed(Reason::CancelledByUser);
    let (id, Command::Delete { .. }) = bench.command() else { panic!("a delete is expected") };
    bench.reply(id, Reply::NotFound);
    let (read, Command::Read { .. }) = bench.command() else { panic!("it looks again") };
    bench.reply(read, Reply::NotFound);
    bench.silence();
    bench.task.handle(bench.now, Input::Covered { gapless: true }).unwrap();
    bench.silence();
    bench.gone(&shown.exited(0));
    assert_eq!(bench.finish().verdict.as_deref(), Some("succeeded"), "it had ended by itself");
}

#[test]
fn what_is_not_shown_within_a_minute_has_vanished() {
    let mut bench = Bench::default();
    bench.run(Shown::new("t-1", 1));
    bench.task.handle(bench.now, Input::Gap).unwrap();
    bench.silence();
    bench.task.handle(bench.now, Input::Missing { uid: "uid-1".to_owned() }).unwrap();
    let began = bench.now;
    loop {
        let (read, Command::Read { .. }) = bench.command() else { panic!("it looks again") };
        bench.reply(read, Reply::NotFound);
        if bench.now.since(began) >= Duration::from_secs(60) {
            break;
        }
        bench.now = bench.wait().until.expect("it looks again");
        bench.task.handle(bench.now, Input::Tick).unwrap();
    }
    bench.tell(vec![]);
    assert_eq!(bench.finish().reason, Some(Reason::Vanished));
}

#[test]
fn a_finalizer_that_only_the_pod_tells_of_is_taken_off_too() {
    let mut bench = attached(true, |shown| {
        let shown = shown.on("node-1").with("/metadata/finalizers", json!([marks::FINALIZER]));
        vec![shown.exited(0)]
    });
    bench.hush();
    let ours = Shown::new("t-1", 1).on("node-1").with("/metadata/finalizers", json!([marks::FINALIZER])).exited(0);
    bench.see(&ours.with("/metadata/annotations/kpo.rs~1observer", json!("you/2")));
    bench.hush();
    for _ in 0..10 {
        let Some((id, command)) = bench.given.pop() else { break };
        if let Command::Release { uid, .. } = &command {
            assert_eq!(uid, "uid-1");
            return;
        }
        if !matches!(command, Command::FollowLog { .. }) {
            bench.reply(id, Reply::Done);
        }
        bench.hush();
    }
    panic!("kpo's finalizer is left on it: {:?}", bench.task.state().stage);
}

#[test]
fn a_pod_that_outlives_the_task_says_what_it_came_to() {
    let mut bench = succeeds_beside_it();
    bench.finish();
    let state = bench.told("uid-1");
    assert_eq!(bench.deleted().0, "uid-2");
    let idempotent = changed(&state, |state| state["spec"]["rerun"]["policy"] = "idempotent".into());
    for state in [state, idempotent] {
        let mut later = found_told(&state, true);
        let outcome = later.finish();
        assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("succeeded"), Some(Reason::Succeeded)));
    }
}

#[test]
fn a_pod_that_is_seen_again_is_waited_for_anew_when_it_is_absent_once_more() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.task.handle(bench.now, Input::Gap).unwrap();
    for _ in 0..2 {
        bench.silence();
        bench.task.handle(bench.now, Input::Missing { uid: "uid-1".to_owned() }).unwrap();
        let (read, Command::Read { .. }) = bench.command() else { panic!("it is looked for") };
        bench.reply(read, Reply::NotFound);
        bench.silence();
        bench.see(&shown);
        bench.pass(Duration::from_secs(120));
    }
    assert!(bench.ended().is_empty());
}
