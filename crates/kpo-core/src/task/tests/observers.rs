//! Several observers of one task.

use super::*;

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
    bench.reply(id, Reply::Refused(forbidden("delete")));
    let outcome = bench.finish();
    assert_eq!(outcome.reason, Some(Reason::CancelledByUser));
    bench.finished();
    assert!(bench.events.iter().any(|event| matches!(event, Event::Hindered { what: Hindrance::Delete, .. })));
}

/// What the active observer's next attempt carries of those before.
fn next_attempt(before: &Attempt) -> Shown {
    let mut active = Bench::default();
    let (_, Command::Create(create)) = active.command() else { panic!("a create is expected") };
    let mut carried = create.state.clone();
    carried.attempts = vec![before.record("default").condensed()];
    Shown::new("t-2", 2).with("/metadata/annotations/kpo.rs~1state", json!(carried.to_json()))
}

/// The attempt, as the active observer judged it.
fn judged(verdict: &Verdict) -> Attempt {
    let mut attempt = Attempt::new(1, &Spec::minimal("t", "default", "n"));
    attempt.verdict = Some(verdict.clone());
    attempt
}

fn never_started() -> Verdict {
    let class = Class::Disrupted { cause: Cause::Preemption, started: Started::Never };
    Verdict { stopped: true, ..advance::bare_verdict(class, Reason::Preempted, None) }
}

#[test]
fn a_follower_that_sees_the_next_attempt_first_takes_the_verdict_that_travels_on_it() {
    let verdict = never_started();
    let mut follower = attached(false, |shown| vec![shown.on("node-1")]);
    follower.silence();
    follower.see(&next_attempt(&judged(&verdict)));
    follower.silence();
    let [(said, Next::Rerun { left: 7, .. })] = follower.ended()[..] else { panic!("{:?}", follower.ended()) };
    assert_eq!(said, &verdict);
    let shown = Shown::new("t-2", 2).on("node-2").running();
    follower.see(&shown);
    assert!(matches!(follower.command().1, Command::FollowLog { name, .. } if name == "t-2"));
    follower.see(&shown.exited(0));
    let outcome = follower.finish();
    let verdicts: Vec<_> =
        outcome.attempts.iter().map(|a| (a.number, a.verdict.as_ref().map(|v| v.verdict.reason))).collect();
    assert_eq!(verdicts, [(1, Some(Reason::Preempted)), (2, Some(Reason::Succeeded))]);
    follower.finished();
}

#[test]
fn a_follower_reads_the_log_of_the_attempt_before_to_its_end() {
    let mut follower = attached(false, |shown| vec![shown.on("node-1").running()]);
    assert!(matches!(follower.command().1, Command::FollowLog { .. }));
    follower.see(&next_attempt(&judged(&never_started())));
    let (closing, command) = follower.command();
    assert!(
        matches!(&command, Command::CloseLogs { uid, cause: Some(Reason::Preempted), .. } if uid == "uid-1"),
        "{command:?}"
    );
    let shown = Shown::new("t-2", 2).on("node-2").running();
    follower.see(&shown);
    assert!(matches!(follower.command().1, Command::FollowLog { name, .. } if name == "t-2"));
    follower.see(&shown.exited(0));
    let (second, command) = follower.command();
    assert!(matches!(command, Command::CloseLogs { uid, .. } if uid == "uid-2"));
    follower.reply(second, Reply::Done);
    follower.silence();
    follower.reply(closing, Reply::Done);
    assert!(matches!(follower.command().1, Command::Deliver(_)), "its last lines come before the outcome");
}
