//! What comes late, twice, or from another observer.

use super::*;

#[test]
fn a_creates_answer_that_comes_after_its_pods_end_changes_nothing() {
    let mut bench = Bench::default();
    let (late, Command::Create(_)) = bench.command() else { panic!("a create is expected") };
    let first = Shown::new("t-1", 1);
    bench.see(&first);
    bench.gone(&first.preempted());
    bench.tell(Vec::new());
    let (second, Command::Create(create)) = bench.command() else { panic!("a create is expected") };
    assert_eq!(create.attempt, 2);
    bench.reply(late, Reply::NotFound);
    assert_eq!(bench.wait().because, Because::Creation, "the answer awaited is the second's");
    bench.reply(second, Reply::Pod(Box::new(Shown::new("t-2", 2).gated().pod())));
    assert_eq!(bench.wait().because, Because::Backoff);
    assert_eq!(bench.ended().len(), 1, "{:?}", bench.ended());
}

#[test]
fn a_pod_that_another_observer_made_under_our_name_is_only_followed() {
    let mut bench = Bench::default();
    bench.create(&Shown::new("t-1", 1).with("/metadata/annotations/kpo.rs~1observer", json!("you/2")));
    bench.silence();
    bench.stop(Stop::User);
    assert_eq!(bench.wait().because, Because::Detached);
}

#[test]
fn of_two_who_take_over_at_once_one_follows() {
    let pod = |shown: Shown| shown.on("node-1");
    let mut bench = attached(true, |shown| vec![pod(shown)]);
    let (id, Command::Annotate { .. }) = bench.command() else { panic!() };
    bench.reply(id, Reply::Conflict);
    let (read, Command::Read { .. }) = bench.command() else { panic!() };
    let theirs = pod(Shown::new("t-1", 1)).with("/metadata/annotations/kpo.rs~1observer", json!("third/2"));
    bench.reply(read, Reply::Pod(Box::new(theirs.pod())));
    let (_, Command::Annotate { annotations, .. }) = bench.command() else { panic!() };
    assert_eq!(annotations, [(marks::OBSERVER.to_owned(), "you/3".to_owned())], "later than the one that won");
    // And who holds the mark yields to another of his own epoch.
    let mut holder = Bench::default();
    let shown = holder.run(Shown::new("t-1", 1));
    holder.see(&shown.with("/metadata/annotations/kpo.rs~1observer", json!("you/1")));
    holder.silence();
    assert!(holder.events.contains(&Event::TakenOver { by: "you/1".to_owned() }), "{:?}", holder.events);
}

#[test]
fn one_who_is_taken_over_while_it_stops_a_pod_deletes_it_no_more() {
    let mut bench = Bench::default();
    bench.create(&Shown::new("t-1", 1));
    let shown = Shown::new("t-1", 1).on("node-1");
    bench.see(&shown);
    bench.silence();
    bench.pass(Duration::from_secs(601));
    bench.signed(Reason::StartTimeout);
    let (id, Command::Delete { .. }) = bench.command() else { panic!("a delete is expected") };
    bench.reply(id, Reply::Conflict);
    let (read, Command::Read { .. }) = bench.command() else { panic!() };
    let taken = shown.with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
    bench.reply(read, Reply::Pod(Box::new(taken.with("/metadata/resourceVersion", json!("9")).pod())));
    bench.silence();
}

#[test]
fn a_follower_does_not_wait_for_others_to_clean_up() {
    let older = Shown::new("t-0", 0).with("/metadata/uid", json!("uid-0"));
    let mut follower = attached(false, |shown| vec![older.clone(), shown.on("node-1").exited(0)]);
    let (close, _) = follower.commands().pop().expect("its log is closed");
    follower.reply(close, Reply::Done);
    follower.finish();
    follower.finished();
}

#[test]
fn a_follower_that_has_its_outcome_stays_with_it() {
    let mut follower = attached(false, |shown| vec![shown.on("node-1").exited(0)]);
    let commands = follower.commands();
    assert!(matches!(commands.first(), Some((_, Command::FollowLog { .. }))), "{commands:?}");
    follower.see(&Shown::new("t-2", 2));
    assert_eq!(follower.wait().because, Because::Completion);
}

#[test]
fn the_late_answer_of_a_predecessors_gate_does_not_lift_the_next() {
    let mut bench = preempted_before_start(Spec::minimal("t", "default", "n"));
    let gated = Shown::new("t-2", 2).gated();
    bench.create(&gated);
    bench.commands();
    bench.pass(Duration::from_secs(3));
    let commands = bench.commands();
    let lift = commands.iter().find(|(_, c)| matches!(c, Command::Ungate { .. })).expect("the gate is lifted").0;
    let lifted = gated.on("node-2").never_ran().preempted().never_ran();
    bench.see(&lifted);
    let (events, Command::ListEvents { .. }) = bench.command() else { panic!() };
    bench.reply(events, Reply::Events(Vec::new()));
    bench.create(&Shown::new("t-3", 3).gated());
    bench.commands();
    bench.reply(lift, Reply::Pod(Box::new(lifted.with("/metadata/resourceVersion", json!("1")).pod())));
    assert_eq!(bench.commands().iter().filter(|(_, c)| matches!(c, Command::Ungate { .. })).count(), 0);
    assert_eq!(bench.wait().because, Because::Backoff);
}

#[test]
fn a_read_that_is_refused_is_not_asked_again_at_once() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.sight(Sight::Deleted, &shown);
    let refusal = Refusal { code: 403, reason: "Forbidden".into(), message: "no".into(), retry_after: None };
    let (id, Command::Read { .. }) = bench.command() else { panic!() };
    bench.reply(id, Reply::Refused(refusal));
    assert_eq!(bench.wait().until, Some(bench.now + Duration::from_secs(5)));
    bench.pass(Duration::from_secs(5));
    assert!(matches!(bench.command().1, Command::Read { .. }));
}

#[test]
fn a_finalizer_that_others_were_too_quick_for_is_released_again() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.protect = true;
    let mut bench = Bench::new(spec);
    let shown = bench.run(Shown::new("t-1", 1));
    bench.see(&shown.exited(0));
    bench.finish();
    bench.deleted();
    let (id, Command::Release { .. }) = bench.command() else { panic!() };
    bench.reply(id, Reply::Conflict);
    let (id, Command::Release { .. }) = bench.command() else { panic!("it is released again") };
    bench.reply(id, Reply::Done);
    bench.finished();
}

#[test]
fn a_task_that_was_finished_and_kept_is_not_run_again_by_who_takes_over() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.on_finish = OnFinish::All;
    let mut bench = Bench::new(spec);
    bench.create(&Shown::new("t-1", 1));
    let failed = Shown::new("t-1", 1).on("node-1").preempted().never_ran();
    bench.see(&failed);
    let (events, Command::ListEvents { .. }) = bench.command() else { panic!() };
    bench.stop(Stop::User);
    bench.silence();
    bench.reply(events, Reply::Events(Vec::new()));
    bench.finish();
    let (_, Command::Annotate { annotations, .. }) = bench.command() else { panic!() };
    let kept = annotations.into_iter().fold(failed, |pod, (key, value)| {
        pod.with(&format!("/metadata/annotations/{}", key.replace('/', "~1")), json!(value))
    });
    let mut later = attached(true, |_| vec![kept.clone()]);
    for (id, command) in later.commands() {
        let reply = match command {
            Command::Annotate { .. } => {
                Reply::Pod(Box::new(kept.clone().with("/metadata/annotations/kpo.rs~1observer", json!("you/2")).pod()))
            }
            Command::ListEvents { .. } => Reply::Events(Vec::new()),
            other => panic!("{other:?}"),
        };
        later.commands();
        later.reply(id, reply);
    }
    let commands = later.commands();
    assert!(!commands.iter().any(|(_, c)| matches!(c, Command::Create(_))), "{commands:?}");
    later.pass(Duration::from_secs(300));
    let commands = later.commands();
    assert!(!commands.iter().any(|(_, c)| matches!(c, Command::Create(_))), "{commands:?}");
}

#[test]
fn the_log_of_a_pod_that_may_not_be_deleted_is_not_waited_for() {
    let mut bench = Bench::default();
    bench.run(Shown::new("t-1", 1));
    bench.stop(Stop::User);
    bench.signed(Reason::CancelledByUser);
    let (id, Command::Delete { .. }) = bench.command() else { panic!() };
    let refusal = Refusal { code: 403, reason: "Forbidden".into(), message: "no".into(), retry_after: None };
    bench.reply(id, Reply::Refused(refusal));
    let (_, command) = bench.command();
    assert!(matches!(command, Command::Deliver(_)), "{command:?}");
}

#[test]
fn a_protected_pod_that_may_not_be_deleted_is_released_all_the_same() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.protect = true;
    let mut bench = Bench::new(spec);
    let shown = bench.run(Shown::new("t-1", 1));
    bench.see(&shown.exited(0));
    bench.finish();
    let (id, Command::Delete { .. }) = bench.command() else { panic!() };
    let refusal = Refusal { code: 403, reason: "Forbidden".into(), message: "no".into(), retry_after: None };
    bench.reply(id, Reply::Refused(refusal));
    let (id, Command::Release { .. }) = bench.command() else { panic!("who deletes it later would wait for ever") };
    bench.reply(id, Reply::Done);
    bench.finished();
}

#[test]
fn who_takes_over_an_ended_attempt_makes_the_next_as_soon_as_it_may() {
    let mut bench = attached(true, |shown| vec![shown.on("node-1").preempted().never_ran()]);
    let commands = bench.commands();
    let id = |is: fn(&Command) -> bool| commands.iter().find(|(_, c)| is(c)).expect("it is commanded").0;
    let (mark, events) =
        (id(|c| matches!(c, Command::Annotate { .. })), id(|c| matches!(c, Command::ListEvents { .. })));
    bench.reply(events, Reply::Events(Vec::new()));
    bench.silence();
    let ours = Shown::new("t-1", 1).on("node-1").preempted().never_ran();
    let ours = ours.with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
    bench.reply(mark, Reply::Pod(Box::new(ours.pod())));
    assert!(matches!(bench.command().1, Command::Create(create) if create.attempt == 2));
}

/// Attempt 1 was judged never to have started; attempt 2 is held by its gate.
fn held(policy: RerunPolicy) -> (Bench, Shown, Shown) {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.rerun.policy = policy;
    let mut bench = Bench::new(spec);
    let first = Shown::new("t-1", 1);
    bench.create(&first);
    let first = first.on("node-1").preempted().never_ran();
    bench.see(&first);
    bench.tell(vec![]);
    let second = Shown::new("t-2", 2).gated();
    bench.create(&second);
    bench.silence();
    (bench, first, second)
}

#[test]
fn what_is_seen_to_the_contrary_wins_also_during_the_backoff() {
    let (mut bench, first, second) = held(RerunPolicy::IfNotStarted);
    bench.see(&first.exited(137));
    assert_eq!(bench.stopped(Reason::StartedAfterAll).0, "uid-2", "the attempt that is held never runs");
    bench.gone(&second.terminating());
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("disrupted"), Some(Reason::StartedAfterAll)));
    assert_eq!(bench.ended()[1].1, &Next::End { why: Some(NoRerun::Policy) });
}

#[test]
fn a_program_that_may_run_twice_is_not_held_back_by_it() {
    let (mut bench, first, _) = held(RerunPolicy::Idempotent);
    bench.see(&first.exited(137));
    let wait = bench.wait();
    assert_eq!(wait.because, Because::Backoff);
    bench.pass(Duration::from_secs(3));
    bench.told("uid-1");
    assert!(matches!(bench.command().1, Command::Ungate { .. }));
}

#[test]
fn a_replacement_without_its_gate_is_stopped_where_the_attempt_before_may_still_run() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.rerun.policy = RerunPolicy::Idempotent;
    spec.on_unsigned_delete = crate::OnUnsignedDelete::Recreate;
    let mut bench = Bench::new(spec);
    let first = bench.run(Shown::new("t-1", 1));
    bench.gone(&first.terminating());
    bench.tell(vec![]);
    let commands = bench.commands();
    let create = commands.iter().find_map(|(id, command)| matches!(command, Command::Create(_)).then_some(*id));
    if let Some(id) = create {
        bench.reply(id, Reply::Pod(Box::new(Shown::new("t-2", 2).pod())));
        assert_eq!(bench.deleted().0, "uid-2");
    } else {
        panic!("a create is expected: {commands:#?}");
    }
}
