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
    assert_eq!(bench.stopped(Reason::CancelledByUser).0, "uid-1");
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
    bench.signed(Reason::CancelledByUser);
    let (id, Command::Delete { .. }) = bench.command() else { panic!("a delete is expected") };
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

/// Labels can be copied, and names be used again: a pod that carries no state of its own is nobody's attempt.
#[test]
fn a_pod_that_only_has_the_label_is_left_alone() {
    let impostor = |nonce: &str| {
        Shown::new("other", 7)
            .with("/metadata/uid", json!("uid-7"))
            .with("/metadata/annotations/kpo.rs~1nonce", json!(nonce))
    };
    for nonce in ["", "n", "x"] {
        let mut bench = attached(true, |shown| vec![impostor(nonce), shown.on("node-1").running()]);
        assert_eq!(bench.task.state().current.uid(), "uid-1");
        let commands = bench.commands();
        let about = |command: &Command| format!("{command:?}").contains("uid-7");
        assert!(!commands.iter().any(|(_, command)| about(command)), "{commands:?}");
        let other = impostor(nonce).on("node-1").exited(3);
        bench.see(&other);
        bench.silence();
    }
}

#[test]
fn pods_of_two_tasks_of_one_id_are_told_apart_by_their_nonce() {
    let theirs = |shown: &Shown| {
        let state = shown.pod().annotation(marks::STATE).unwrap().replace("\"nonce\":\"n\"", "\"nonce\":\"m\"");
        shown
            .clone()
            .with("/metadata/uid", json!("uid-9"))
            .with("/metadata/annotations/kpo.rs~1nonce", json!("m"))
            .with("/metadata/annotations/kpo.rs~1state", json!(state))
    };
    let both = || found(|shown| vec![theirs(&shown), shown]);
    let error = Task::attach(Time(0), &attaching(false), both()).unwrap_err();
    assert!(matches!(error, AttachError::Ambiguous { .. }), "{error}");
    let mine = Attach { nonce: Some("n".to_owned()), ..attaching(false) };
    assert_eq!(Task::attach(Time(0), &mine, both()).unwrap().state().current.uid(), "uid-1");
}

#[test]
fn a_state_of_a_newer_version_is_refused_by_its_version() {
    let newer = found(|shown| {
        let state = shown.pod().annotation(marks::STATE).unwrap().replace("\"version\":1", "\"version\":2");
        vec![shown.with("/metadata/annotations/kpo.rs~1state", json!(state))]
    });
    let error = Task::attach(Time(0), &attaching(false), newer).unwrap_err().to_string();
    assert!(error.ends_with("(version 2, and this kpo reads up to 1)"), "{error}");
}

/// Nothing is ever rebuilt from a live pod.
#[test]
fn without_the_manifest_nothing_is_run_again_and_that_is_said() {
    let how = Attach { has_manifest: false, ..attaching(true) };
    let idempotent = found(|shown| {
        let state = shown.pod().annotation(marks::STATE).unwrap().replace("if-not-started", "idempotent");
        vec![shown.on("node-1").with("/metadata/annotations/kpo.rs~1state", json!(state))]
    });
    let mut bench = Bench::of(Task::attach(Time::from_secs(1_000), &how, idempotent).unwrap(), Time::from_secs(1_000));
    let (mark, _) = bench.command();
    assert!(bench.events.iter().any(|event| matches!(event, Event::Adopted { recreates: false, .. })));
    let taken = Shown::new("t-1", 1).on("node-1").with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
    bench.reply(mark, Reply::Pod(Box::new(taken.pod())));
    bench.gone(&taken.preempted().never_ran());
    bench.tell(vec![]);
    bench.finish();
    assert_eq!(bench.ended()[0].1, &Next::End { why: Some(NoRerun::NoManifest) });
}

/// Whoever else observes the task is told by whom its pod was deleted: it is nobody's whim.
#[test]
fn a_follower_takes_a_signed_deletion_for_what_it_is() {
    for (reason, verdict) in [
        (Reason::CancelledByUser, "cancelled"),
        (Reason::Timeout, "cancelled"),
        (Reason::StartTimeout, "launchFailed"),
        (Reason::StartedAfterAll, "disrupted"),
    ] {
        let shown = Shown::new("t-1", 1).on("node-1").running();
        let signed = shown.clone().with("/metadata/annotations/kpo.rs~1stopping", json!(reason.code()));
        let mut follower = attached(false, |shown| vec![shown.on("node-1").running()]);
        follower.hush();
        follower.see(&signed);
        follower.silence();
        follower.gone(&signed.terminating().exited(137));
        let outcome = follower.finish();
        assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some(verdict), Some(reason)));
    }
}

/// The observer died between its signature and the deletion.
#[test]
fn who_takes_over_goes_on_with_a_users_cancel_and_not_with_a_launch_that_failed() {
    for (reason, goes_on) in [(Reason::CancelledByUser, true), (Reason::Timeout, true), (Reason::StartTimeout, false)] {
        let signed = |shown: Shown| shown.with("/metadata/annotations/kpo.rs~1stopping", json!(reason.code()));
        let mut bench = attached(true, |shown| vec![signed(shown.on("node-1"))]);
        let (mark, _) = bench.command();
        let taken = signed(Shown::new("t-1", 1).on("node-1"));
        let taken = taken.with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
        bench.reply(mark, Reply::Pod(Box::new(taken.pod())));
        if goes_on {
            bench.stopped(reason);
        } else {
            bench.silence();
        }
    }
}

/// A right that is missing does not keep a pod from being stopped.
#[test]
fn what_may_not_be_signed_is_deleted_all_the_same() {
    let mut bench = Bench::default();
    bench.run(Shown::new("t-1", 1));
    bench.stop(Stop::User);
    let (sign, Command::Annotate { .. }) = bench.command() else { panic!("a signature is expected") };
    bench.reply(sign, Reply::Refused(forbidden("patch")));
    assert_eq!(bench.deleted().0, "uid-1");
    assert!(!bench.events.iter().any(|event| matches!(event, Event::Hindered { .. })));
}

/// The pod of an ended attempt belongs to whoever watches over the task now.
#[test]
fn a_pod_that_another_observer_has_marked_since_is_not_deleted() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.see(&shown.clone().exited(0));
    let (close, _) = bench.command();
    bench.reply(close, Reply::Done);
    let (deliver, _) = bench.command();
    bench.see(&shown.exited(0).with("/metadata/annotations/kpo.rs~1observer", json!("you/2")));
    bench.silence();
    bench.reply(deliver, Reply::Done);
    bench.finished();
}

/// An API server that answers each write with a conflict is not asked as fast as it answers.
#[test]
fn conflicts_in_a_row_are_given_a_rest() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.protect = true;
    let mut bench = Bench::new(spec);
    let shown = bench.run(Shown::new("t-1", 1).with("/metadata/finalizers", json!([marks::FINALIZER])));
    bench.see(&shown.exited(0));
    bench.finish();
    bench.deleted();
    let mut asked = Vec::new();
    for _ in 0..4 {
        let (release, command) = loop {
            match bench.commands().pop() {
                Some(given) => break given,
                None => {
                    bench.now = bench.wait().until.expect("it is tried again");
                    bench.task.handle(bench.now, Input::Tick).unwrap();
                }
            }
        };
        assert!(matches!(command, Command::Release { .. }), "{command:?}");
        asked.push(bench.now.since(Time::from_secs(1_000)).as_secs());
        bench.reply(release, Reply::Conflict);
    }
    assert_eq!(asked, [0, 0, 5, 10], "at once for the first time");
}

#[test]
fn one_who_finds_a_pod_that_has_ended_tells_its_own_times() {
    let mut follower = attached(false, |shown| {
        let end = json!({"exitCode": 0, "startedAt": "2026-11-23T22:10:09Z", "finishedAt": "2026-11-23T22:10:11Z"});
        vec![shown.on("node-1").exited(0).with("/status/containerStatuses/0/state/terminated", end)]
    });
    follower.hush();
    let times = follower.task.state().current.times;
    let span = times.ended.unwrap().since(times.started.unwrap());
    assert_eq!(span, Duration::from_secs(2));
}

/// Who signs may have been taken over without having seen it yet: who took over would take the signature for the user's wish.
#[test]
fn no_signature_is_put_on_a_pod_that_was_taken_over() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.stop(Stop::User);
    let (sign, Command::Annotate { resource_version, .. }) = bench.command() else { panic!("a signature is expected") };
    assert!(resource_version.is_some());
    bench.reply(sign, Reply::Conflict);
    let (read, Command::Read { .. }) = bench.command() else { panic!("it is looked at") };
    let taken = shown.with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
    bench.reply(read, Reply::Pod(Box::new(taken.with("/metadata/resourceVersion", json!("9")).pod())));
    bench.silence();
    assert!(bench.events.contains(&Event::TakenOver { by: "you/2".to_owned() }));
}

#[test]
fn a_pod_that_has_changed_is_signed_as_it_is_then() {
    let mut bench = Bench::default();
    let shown = bench.run(Shown::new("t-1", 1));
    bench.stop(Stop::User);
    let (sign, _) = bench.command();
    bench.reply(sign, Reply::Conflict);
    let (read, _) = bench.command();
    bench.reply(read, Reply::Pod(Box::new(shown.on("node-1").with("/metadata/resourceVersion", json!("9")).pod())));
    bench.stopped(Reason::CancelledByUser);
}

/// Who may not look at it would find it changed for ever.
#[test]
fn a_pod_that_has_changed_and_cannot_be_looked_at_is_signed_as_it_is() {
    let mut bench = Bench::default();
    bench.run(Shown::new("t-1", 1));
    bench.stop(Stop::User);
    let (sign, _) = bench.command();
    bench.reply(sign, Reply::Conflict);
    let (read, Command::Read { .. }) = bench.command() else { panic!("it is looked at") };
    bench.reply(read, Reply::Refused(forbidden("get")));
    bench.silence();
    bench.pass(Duration::from_secs(5));
    let (_, Command::Annotate { resource_version, .. }) = bench.command() else { panic!("a signature is expected") };
    assert_eq!(resource_version, None);
}

#[test]
fn who_attaches_is_told_what_it_was_found_as() {
    let found_as = |shown: &dyn Fn(Shown) -> Shown| {
        let mut bench = attached(true, |pod| vec![shown(pod.on("node-1").running())]);
        bench.commands();
        let found = bench.events.iter().find_map(|event| match event {
            Event::Adopted { found, .. } => Some(*found),
            _ => None,
        });
        found.unwrap()
    };
    let signed = |pod: Shown, reason: Reason| pod.with("/metadata/annotations/kpo.rs~1stopping", json!(reason.code()));
    assert_eq!(found_as(&|pod| pod), Found::Living);
    assert_eq!(found_as(&|pod| signed(pod, Reason::StartTimeout)), Found::Living);
    assert_eq!(found_as(&|pod| signed(pod, Reason::CancelledByUser)), Found::Ending);
    assert_eq!(found_as(&Shown::terminating), Found::Ending);
    assert_eq!(found_as(&|pod| pod.exited(0)), Found::Ending);
    assert_eq!(found_as(&|pod| pod.exited(3)), Found::Ending);
    let over = |pod: Shown| {
        let mut carried = Carried::from_json(pod.pod().annotation(marks::STATE).unwrap()).unwrap();
        carried.verdict = Some(never_started());
        pod.with("/metadata/annotations/kpo.rs~1state", json!(carried.to_json()))
    };
    assert_eq!(found_as(&over), Found::Over);
}

/// Who knows what a task came to, and cleans it up, runs nothing again: what is found may be judged otherwise than by who saw it happen.
#[test]
fn a_task_that_is_known_to_be_over_is_not_run_again() {
    let how = Attach { over: true, ..attaching(true) };
    let pods = found(|shown| vec![shown.on("node-1")]);
    let mut bench = Bench::of(Task::attach(Time::from_secs(1_000), &how, pods).unwrap(), Time::from_secs(1_000));
    let (mark, _) = bench.command();
    let taken = Shown::new("t-1", 1).on("node-1").with("/metadata/annotations/kpo.rs~1observer", json!("you/2"));
    bench.reply(mark, Reply::Pod(Box::new(taken.pod())));
    bench.gone(&taken.preempted().never_ran());
    bench.tell(vec![]);
    bench.finish();
    assert_eq!(bench.ended()[0].1, &Next::End { why: Some(NoRerun::Over) });
}
