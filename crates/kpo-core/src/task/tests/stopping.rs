//! Deletions, refusals, clocks, and what is kept.

use super::*;

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
    assert_eq!(command, Command::Read { name: "t-1".to_owned(), uid: "uid-1".to_owned() });
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
    assert_eq!(bench.stopped(Reason::CancelledByUser).0, "uid-1");
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
    assert_eq!(bench.command().1, Command::Withdraw { create: id });
    bench.reply(id, Reply::Pod(Box::new(Shown::new("t-1", 1).pod())));
    assert_eq!(bench.stopped(Reason::CancelledByUser).0, "uid-1");
}

#[test]
fn a_create_that_is_not_answered_is_withdrawn_and_not_sent_again() {
    type End = (fn(&mut Bench), &'static str, Reason);
    let ends: [End; 3] = [
        (|bench| bench.stop(Stop::User), "cancelled", Reason::CancelledByUser),
        (|bench| bench.pass(Duration::from_secs(100)), "cancelled", Reason::Timeout),
        (|bench| bench.pass(Duration::from_secs(50)), "launchFailed", Reason::Unavailable),
    ];
    for (end, verdict, reason) in ends {
        let mut spec = Spec::minimal("t", "default", "n");
        spec.clocks.total = Some(Duration::from_secs(100));
        spec.clocks.queue = Some(Duration::from_secs(if reason == Reason::Unavailable { 50 } else { 1_000 }));
        let mut bench = Bench::new(spec);
        let (id, _) = bench.command();
        bench.silence();
        end(&mut bench);
        assert_eq!(bench.command().1, Command::Withdraw { create: id });
        bench.silence();
        bench.reply(id, Reply::Withdrawn);
        let outcome = bench.finish();
        assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some(verdict), Some(reason)));
        bench.finished();
    }
}

/// Nobody answers: what can be known is said when the task's time is up, and one who waits for it is not held for ever.
#[test]
fn the_deadline_ends_a_task_whose_api_server_is_away() {
    let total = Duration::from_secs(100);
    let mut spec = Spec::minimal("t", "default", "n");
    spec.clocks.total = Some(total);
    let mut bench = Bench::new(spec.clone());
    bench.command();
    bench.silence();
    bench.pass(total);
    assert!(matches!(bench.command().1, Command::Withdraw { .. }));
    assert_eq!(bench.wait().until, Some(bench.now + Duration::from_secs(60)));
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.finish().reason, Some(Reason::Timeout), "no answer to the create");
    bench.now = bench.wait().until.expect("nor is one waited for for ever");
    bench.task.handle(bench.now, Input::Tick).unwrap();
    bench.finished();

    let mut bench = Bench::new(spec);
    bench.run(Shown::new("t-1", 1));
    bench.silence();
    bench.pass(total);
    bench.signed(Reason::Timeout);
    assert!(matches!(bench.command().1, Command::Delete { .. }), "which is never answered");
    assert_eq!(bench.wait().until, Some(bench.now + Duration::from_secs(30 + 60)));
    bench.pass(Duration::from_secs(30 + 60));
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("cancelled"), Some(Reason::Timeout)));
    assert!(bench.ended()[0].0.detail.as_deref().is_some_and(|detail| detail.contains("may still run")));
}

#[test]
fn a_pod_whose_silent_node_never_ends_it_is_left_when_it_should_long_have_ended() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.clocks.total = Some(Duration::from_secs(100));
    let by_user: fn(&mut Bench) = |bench| bench.stop(Stop::User);
    let by_clock: fn(&mut Bench) = |bench| bench.pass(Duration::from_secs(100));
    for (stop, reason) in [(by_user, Reason::CancelledByUser), (by_clock, Reason::Timeout)] {
        let mut bench = Bench::new(spec.clone());
        let shown = bench.run(Shown::new("t-1", 1));
        stop(&mut bench);
        assert_eq!(bench.stopped(reason).0, "uid-1");
        bench.see(&shown.terminating());
        bench.silence();
        bench.pass(Duration::from_secs(30 + 60));
        assert_eq!(bench.finish().reason, Some(reason));
        bench.finished();
    }
}

#[test]
fn the_total_clock_strikes_also_while_others_take_the_pod_away() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.clocks.total = Some(Duration::from_secs(100));
    let mut bench = Bench::new(spec);
    let shown = bench.run(Shown::new("t-1", 1));
    bench.see(&shown.terminating());
    assert_eq!(bench.wait().until, Some(bench.now + Duration::from_secs(30 + 60)));
    bench.pass(Duration::from_secs(90));
    assert_eq!(bench.wait().until, Some(bench.now + Duration::from_secs(10)));
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.finish().reason, Some(Reason::Timeout));
}

#[test]
fn a_stronger_wish_to_stop_replaces_a_weaker_one_and_not_the_other_way() {
    let mut bench = Bench::default();
    bench.command();
    for (wish, stands) in [(Stop::Deadline, Stop::Deadline), (Stop::User, Stop::User), (Stop::Deadline, Stop::User)] {
        bench.stop(wish);
        bench.hush();
        assert_eq!(bench.task.state().stop, Some(stands));
    }
    let asked = bench.events.iter().filter(|event| matches!(event, Event::Stopping { .. }));
    assert_eq!(asked.count(), 2, "the weaker one is not said");
}

/// A create that nobody found when its answer was lost, and whose pod comes to light after the end.
#[test]
fn a_pod_that_is_seen_after_the_end_is_cleaned_up_and_changes_nothing() {
    let mut bench = Bench::default();
    let (id, _) = bench.command();
    bench.reply(id, Reply::NotFound);
    let (deliver, Command::Deliver(outcome)) = bench.command() else { panic!("an outcome is expected") };
    assert_eq!(outcome.reason, Some(Reason::Vanished));
    bench.see(&Shown::new("t-1", 1));
    bench.silence();
    bench.reply(deliver, Reply::Done);
    assert_eq!(bench.deleted().0, "uid-1");
    bench.finished();
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
    assert_eq!(bench.stopped(Reason::Altered).0, "uid-1");
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
    assert_eq!(bench.stopped(Reason::Image).0, "uid-1");
    bench.gone(&shown.terminating().never_ran());
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("launchFailed"), Some(Reason::Image)));
    assert_eq!(
        bench.ended()[0].0.detail.as_deref(),
        Some("no such image"),
        "though the last status says nothing of it"
    );
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
    assert_eq!(bench.stopped(Reason::Timeout).0, "uid-1");
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

/// The kubelet tells a container's end before its pod's.
#[test]
fn only_what_runs_on_beside_a_program_is_ended_in_a_pod_that_is_kept() {
    let side = json!({"name": "side", "containerID": "containerd://2", "state": {"running": {"startedAt": "2026-11-23T22:10:09Z"}}});
    for (beside, ends_it) in [(None, None), (Some(side), Some(1))] {
        let mut spec = Spec::minimal("t", "default", "n");
        spec.on_finish = OnFinish::All;
        let mut bench = Bench::new(spec);
        let mut ended = bench.run(Shown::new("t-1", 1)).exited(0).with("/status/phase", json!("Running"));
        ended.0["status"]["containerStatuses"].as_array_mut().unwrap().extend(beside);
        bench.see(&ended);
        let mut marked = None;
        for _ in 0..9 {
            for (id, command) in bench.commands() {
                match command {
                    Command::FollowLog { .. } => {}
                    Command::Annotate { active_deadline_seconds, .. } => marked = Some(active_deadline_seconds),
                    _ => bench.reply(id, Reply::Done),
                }
            }
        }
        assert_eq!(marked, Some(ends_it));
    }
}
