//! Going on from a snapshot, in a process that has nothing of the one before.

use super::*;

/// The same task in another process.
fn restored(bench: &mut Bench) -> Bench {
    bench.wait();
    let json = serde_json::to_string(bench.task.state()).unwrap();
    let task = Task::restore(bench.now, serde_json::from_str(&json).unwrap()).unwrap();
    Bench { versions: bench.versions, ..Bench::of(task, bench.now) }
}

fn kinds(commands: &[(CommandId, Command)]) -> Vec<String> {
    commands
        .iter()
        .map(|(_, command)| match command {
            Command::FollowLog { name, .. } => format!("follow {name}"),
            Command::CloseLogs { name, .. } => format!("close {name}"),
            Command::Create(create) => format!("create {}", create.name),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_log_that_was_being_read_to_its_end_is_followed_again_before_it_is_closed() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.see(&shown.exited(0));
    assert_eq!(kinds(&bench.commands()), ["close t-1"]);
    assert_eq!(kinds(&restored(&mut bench).commands()), ["follow t-1", "close t-1"]);
}

#[test]
fn so_is_the_log_of_the_attempt_before() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.rerun.policy = RerunPolicy::Idempotent;
    let mut bench = Bench::new(spec);
    let shown = bench.run(Shown::new("t-1", 1));
    bench.see(&shown.clone().preempted());
    bench.gone(&shown.preempted().exited(137));
    bench.tell(vec![]);
    assert_eq!(kinds(&bench.commands()), ["close t-1", "create t-2"]);
    let mut again = restored(&mut bench);
    assert_eq!(kinds(&again.commands()), ["follow t-1", "close t-1", "create t-2"]);
}

#[test]
fn a_create_whose_pod_was_seen_is_not_given_again() {
    let mut bench = Bench::default();
    bench.command();
    bench.see(&Shown::new("t-1", 1));
    let mut again = restored(&mut bench);
    again.silence();
    assert!(matches!(again.wait().because, Because::Node { .. }));
}

#[test]
fn one_who_has_left_goes_on_where_the_task_stood() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.stop(Stop::Shutdown);
    bench.silence();
    let state = bench.task.state().clone();
    let mut again = Bench::of(Task::restore(bench.now, state).unwrap(), bench.now);
    assert_eq!(kinds(&again.commands()), ["follow t-1"]);
    again.versions = bench.versions;
    again.see(&shown.exited(0));
    assert_eq!(again.finish().verdict.as_deref(), Some("succeeded"));
}

#[test]
fn a_newer_state_is_refused_by_its_version() {
    let mut state = Bench::default().task.state().clone();
    state.version += 1;
    assert_eq!(Task::restore(Time(0), state), Err(RestoreError::TooNew { found: crate::STATE_VERSION + 1 }));
}

/// What travels on a pod is read by other versions: a field that is renamed or lost here would lose tasks there.
#[test]
fn what_travels_on_a_pod_is_written_like_this() {
    let mut bench = preempted_before_start(Spec::minimal("t", "default", "n"));
    let (_, Command::Create(create)) = bench.command() else { panic!("a create is expected") };
    insta::assert_snapshot!(serde_json::to_string_pretty(&create.state).unwrap());
}
