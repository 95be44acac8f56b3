//! What keeps the next attempt from running while the one before may be alive.

use super::*;
use crate::spec::OnUnsignedDelete;

/// A task that may run twice, whose running pod was force-deleted: its machine may still run it.
fn force_deleted() -> (Bench, CommandId, Shown) {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.rerun.policy = RerunPolicy::Idempotent;
    spec.on_unsigned_delete = OnUnsignedDelete::Recreate;
    let mut bench = Bench::new(spec);
    let first = bench.run(Shown::new("t-1", 1));
    bench.gone(&first.clone().terminating());
    bench.tell(vec![]);
    let commands = bench.commands();
    assert!(matches!(&commands[0].1, Command::CloseLogs { .. }), "{commands:?}");
    let (create, Command::Create(second)) = &commands[1] else { panic!("a create is expected: {commands:?}") };
    assert_eq!((second.name.as_str(), second.gated, commands.len()), ("t-2", true, 2));
    bench.reply(commands[0].0, Reply::Done);
    bench.silence();
    (bench, *create, first)
}

/// Its program failed, retries are left, and another container of it runs on.
fn failed_beside_one_that_runs(spec: impl FnOnce(&mut Spec)) -> (Bench, Shown) {
    let mut task = Spec::minimal("t", "default", "n");
    task.rerun.retries = 1;
    spec(&mut task);
    let mut bench = Bench::new(task);
    let first = bench.run(Shown::new("t-1", 1));
    let running = json!({"running": {"startedAt": "2026-11-23T22:10:09Z"}});
    let ended = json!({"terminated": {"exitCode": 3, "containerID": "containerd://1",
        "startedAt": "2026-11-23T22:10:09Z", "finishedAt": "2026-11-23T22:10:10Z"}});
    let first = first.with(
        "/status/containerStatuses",
        json!([{"name": "base", "containerID": "containerd://1", "state": ended},
            {"name": "worker", "containerID": "containerd://2", "state": running}]),
    );
    bench.see(&first);
    let worker = bench.commands();
    assert!(matches!(&worker[0].1, Command::FollowLog { container, .. } if container == "worker"), "{worker:?}");
    bench.pass(Duration::from_secs(5));
    let commands = bench.commands();
    let (close, _) = commands.iter().find(|(_, c)| matches!(c, Command::CloseLogs { .. })).expect("logs are closed");
    let (create, _) = commands.iter().find(|(_, c)| matches!(c, Command::Create(_))).expect("it runs again");
    bench.reply(*close, Reply::Done);
    bench.silence();
    bench.reply(*create, Reply::Pod(Box::new(Shown::new("t-2", 2).gated().pod())));
    assert_eq!(bench.deleted().0, "uid-1");
    (bench, first)
}

#[test]
fn a_replacement_is_held_as_long_as_the_attempt_before_may_run() {
    let (mut bench, first) = failed_beside_one_that_runs(|_| {});
    bench.see(&first.clone().terminating());
    for hours in 0..10 {
        bench.pass(Duration::from_secs(3_600));
        let (read, command) = bench.command();
        assert_eq!(command, Command::Read { name: "t-1".to_owned(), uid: "uid-1".to_owned() }, "after {hours} hours");
        let same = first.clone().terminating().with("/metadata/resourceVersion", json!(bench.versions.to_string()));
        bench.reply(read, Reply::Pod(Box::new(same.pod())));
    }
    assert_eq!(bench.wait().because, Because::Unreachable { node: "node-1".to_owned(), may_pull: false });
    let all_ended = |shown: Shown| {
        let end = |name: &str, code: i32| {
            json!({"name": name, "containerID": "containerd://1", "state": {"terminated": {"exitCode": code,
                "containerID": "containerd://1", "startedAt": "2026-11-23T22:10:09Z",
                "finishedAt": "2026-11-23T22:10:10Z"}}})
        };
        let statuses = json!([end("base", 3), end("worker", 143)]);
        shown.exited(3).with("/status/containerStatuses", statuses)
    };
    bench.see(&all_ended(first.terminating()));
    bench.told("uid-1");
    let (_, command) = bench.command();
    assert_eq!(command, Command::Ungate { name: "t-2".to_owned(), uid: "uid-2".to_owned() });
}

#[test]
fn a_silent_nodes_attempt_is_outlived_only_where_the_user_took_the_risk() {
    let (mut bench, first) = failed_beside_one_that_runs(|spec| {
        spec.replace_unreachable_after = Some(Duration::from_secs(600));
    });
    bench.see(&first.terminating());
    let overdue = bench.now + Duration::from_secs(30 + 60);
    loop {
        bench.now = bench.wait().until.expect("time changes it");
        bench.task.handle(bench.now, Input::Tick).unwrap();
        match bench.commands().pop() {
            Some((_, Command::Ungate { .. })) => break,
            Some((id, Command::Annotate { .. })) => {
                bench.reply(id, Reply::Done);
                assert!(matches!(bench.command().1, Command::Ungate { .. }));
                break;
            }
            Some((_, Command::Read { .. })) | None => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.now, overdue + Duration::from_secs(600));
}

#[test]
fn an_attempt_that_is_gone_without_a_word_is_given_its_grace_and_thirty_seconds() {
    let (mut bench, create, _) = force_deleted();
    bench.reply(create, Reply::Pod(Box::new(Shown::new("t-2", 2).gated().pod())));
    bench.silence();
    bench.pass(Duration::from_secs(59));
    assert_eq!(bench.wait().because, Because::Predecessor);
    bench.pass(Duration::from_secs(1));
    assert!(matches!(bench.command().1, Command::Ungate { .. }));
}

#[test]
fn a_replacement_without_its_gate_is_stopped_whoever_shows_it() {
    let by_answer = |bench: &mut Bench, create: CommandId| {
        bench.reply(create, Reply::Pod(Box::new(Shown::new("t-2", 2).pod())));
    };
    let by_watch = |bench: &mut Bench, create: CommandId| {
        bench.see(&Shown::new("t-2", 2));
        bench.hush();
        bench.reply(create, Reply::Pod(Box::new(Shown::new("t-2", 2).pod())));
    };
    let later = |bench: &mut Bench, create: CommandId| {
        bench.reply(create, Reply::Pod(Box::new(Shown::new("t-2", 2).gated().pod())));
        bench.see(&Shown::new("t-2", 2).with("/spec/schedulingGates", json!([])));
    };
    for show in [&by_answer as &dyn Fn(&mut Bench, CommandId), &by_watch, &later] {
        let (mut bench, create, _) = force_deleted();
        show(&mut bench, create);
        bench.hush();
        let deletes: Vec<String> = bench.given.iter().filter_map(deleted_uid).collect();
        assert_eq!(deletes, ["uid-2"], "it may not run beside the attempt before");
        assert!(!bench.task.spec().gates, "and the next is waited for in memory");
    }
}

fn deleted_uid((_, command): &(CommandId, Command)) -> Option<String> {
    match command {
        Command::Delete { uid, .. } => Some(uid.clone()),
        _ => None,
    }
}

#[test]
fn what_no_gate_holds_is_made_again_when_both_are_out_of_the_way() {
    let (mut bench, create, _) = force_deleted();
    let escaped = Shown::new("t-2", 2);
    bench.reply(create, Reply::Pod(Box::new(escaped.pod())));
    assert_eq!(bench.deleted().0, "uid-2");
    bench.gone(&escaped.terminating());
    bench.silence();
    bench.pass(Duration::from_secs(59));
    assert_eq!(bench.wait().because, Because::Predecessor);
    bench.pass(Duration::from_secs(1));
    let (_, Command::Create(again)) = bench.command() else { panic!("a create is expected") };
    assert_eq!((again.name.as_str(), again.attempt, again.gated), ("t-2", 2, false));
}

/// A cluster without gates, where nothing is to be held but for the backoff: it runs at once, and that is said.
#[test]
fn a_dropped_gate_is_said_and_the_next_backoff_is_waited_for_in_memory() {
    let mut bench = preempted_before_start(Spec::minimal("t", "default", "n"));
    let second = Shown::new("t-2", 2);
    bench.create(&second);
    bench.silence();
    let said = |event: &&Event| matches!(event, Event::Hindered { what: Hindrance::Gate, .. });
    assert_eq!(bench.events.iter().filter(said).count(), 1);
    let backoffs: Vec<bool> = bench
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Created { backoff, .. } => Some(backoff.is_some()),
            _ => None,
        })
        .collect();
    assert_eq!(backoffs, [false, false], "none is announced that nothing keeps");
    bench.gone(&second.on("node-1").preempted().never_ran());
    bench.tell(vec![]);
    assert_eq!(bench.wait().because, Because::Backoff);
    bench.pass(Duration::from_secs(5));
    let (_, Command::Create(third)) = bench.command() else { panic!("a create is expected") };
    assert_eq!((third.attempt, third.gated), (3, false));
}

#[test]
fn a_name_that_is_taken_for_a_while_costs_neither_gate_nor_backoff() {
    let (mut bench, create, _) = force_deleted();
    bench.reply(create, Reply::NameTaken { uid: "foreign".to_owned(), terminating: true });
    bench.silence();
    bench.pass(Duration::from_secs(5));
    let (create, Command::Create(again)) = bench.command() else { panic!("a create is expected") };
    assert!(again.gated, "the attempt before may still run");
    bench.reply(create, Reply::Pod(Box::new(Shown::new("t-2", 2).gated().pod())));
    bench.silence();
    bench.pass(Duration::from_secs(54));
    bench.silence();
    bench.pass(Duration::from_secs(1));
    assert!(matches!(bench.command().1, Command::Ungate { .. }));
}

/// What is seen to the contrary wins, also where no gate holds the next attempt.
#[test]
fn a_late_sign_of_life_keeps_an_attempt_from_being_created() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.naming = Naming::Fixed;
    let mut bench = Bench::new(spec);
    bench.create(&Shown::new("t", 1));
    let first = Shown::new("t", 1).on("node-1").preempted().never_ran();
    bench.see(&first);
    bench.tell(vec![]);
    bench.silence();
    bench.see(&first.exited(137));
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("disrupted"), Some(Reason::StartedAfterAll)));
}
