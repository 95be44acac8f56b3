//! The clocks: what they count, and what they end.

use super::*;
use crate::ClusterEvent;

fn with(clocks: Clocks) -> Bench {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.clocks = clocks;
    Bench::new(spec)
}

fn event(reason: &str, at: Time) -> ClusterEvent {
    let message = format!("{reason}, says the autoscaler");
    serde_json::from_value(json!({"type": "Normal", "reason": reason, "message": message,
        "reportingComponent": "cluster-autoscaler", "lastTimestamp": at.to_string(),
        "involvedObject": {"kind": "Pod", "name": "t-1", "uid": "uid-1"}}))
    .unwrap()
}

fn scheduling(limit: u64) -> Bench {
    let mut bench = with(Clocks { schedule: Some(Duration::from_secs(limit)), ..Clocks::default() });
    bench.create(&Shown::new("t-1", 1));
    bench.silence();
    bench
}

/// A clock that is shorter than the first look at the events is not ended without one.
#[test]
fn the_scheduling_clock_ends_only_after_events_were_asked_whether_a_node_is_made() {
    let mut bench = scheduling(5);
    let began = bench.now;
    bench.pass(Duration::from_secs(5));
    bench.tell(vec![event("TriggeredScaleUp", began + Duration::from_secs(1))]);
    let Because::Node { scaling_up, deadline, .. } = bench.wait().because else { panic!("it waits for a node") };
    // One second was charged before the scale-up, four are credit.
    assert!(scaling_up);
    assert_eq!(deadline, Some(began + Duration::from_secs(1 + 15 * 60 + 4)));
}

#[test]
fn the_credit_of_a_scale_up_ends_after_fifteen_minutes() {
    let mut bench = scheduling(60);
    let began = bench.now;
    let mut deleted = None;
    while deleted.is_none() {
        let until = bench.wait().until.expect("a clock runs");
        bench.now = until;
        bench.task.handle(bench.now, Input::Tick).unwrap();
        while let Some((id, command)) = bench.commands().pop() {
            match command {
                Command::ListEvents { .. } => bench.reply(id, Reply::Events(vec![event("TriggeredScaleUp", began)])),
                Command::Annotate { .. } => bench.reply(id, Reply::Done),
                Command::Delete { .. } => deleted = Some(bench.now),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(deleted, Some(began + Duration::from_secs(60 + 15 * 60)));
}

#[test]
fn without_a_node_in_sight_the_scheduling_clock_ends_and_says_what_the_autoscaler_said() {
    let mut bench = scheduling(5);
    let began = bench.now;
    bench.pass(Duration::from_secs(5));
    bench.tell(vec![event("NotTriggerScaleUp", began + Duration::from_secs(1))]);
    assert_eq!(bench.stopped(Reason::ScheduleTimeout).0, "uid-1");
    bench.gone(&Shown::new("t-1", 1).terminating());
    assert_eq!(bench.finish().reason, Some(Reason::ScheduleTimeout));
    let (verdict, _) = bench.ended()[0];
    let ledger =
        &bench.task.state().leaving.first().map(|l| &l.attempt.ledger).or(Some(&bench.task.state().current.ledger));
    let cited = verdict.evidence.iter().filter_map(|index| ledger.unwrap().fact(*index));
    assert_eq!(cited.filter(|fact| matches!(fact, crate::Fact::Told { .. })).count(), 1, "{verdict:?}");
}

#[test]
fn that_no_node_will_be_made_is_said_while_it_waits_and_ends_the_credit() {
    let mut bench = scheduling(100);
    let began = bench.now;
    bench.pass(Duration::from_secs(10));
    bench.tell(vec![event("TriggeredScaleUp", began)]);
    assert!(matches!(bench.wait().because, Because::Node { scaling_up: true, refused: None, .. }));
    bench.pass(Duration::from_secs(60));
    bench.tell(vec![event("NotTriggerScaleUp", began + Duration::from_secs(30))]);
    let Because::Node { scaling_up, refused, deadline, .. } = bench.wait().because else { panic!() };
    assert_eq!((scaling_up, refused.as_deref()), (false, Some("NotTriggerScaleUp, says the autoscaler")));
    assert_eq!(deadline, Some(began + Duration::from_secs(30 + 100)), "thirty seconds were credit");
}

#[test]
fn events_that_never_come_do_not_hold_the_scheduling_clock() {
    let mut bench = scheduling(5);
    bench.pass(Duration::from_secs(5));
    assert!(matches!(bench.command().1, Command::ListEvents { .. }));
    bench.now = bench.wait().until.expect("the events are not awaited for ever");
    bench.task.handle(bench.now, Input::Tick).unwrap();
    assert_eq!(bench.stopped(Reason::ScheduleTimeout).0, "uid-1");
}

/// The program's own preparation is the user's work: only what does not get on is stopped.
#[test]
fn an_init_container_that_works_is_progress() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    bench.create(&shown);
    let init = json!([{"name": "fetch"}]);
    let state = json!({"running": {"startedAt": "2026-11-23T22:10:09Z"}});
    let fetching = shown.on("node-1").with("/spec/initContainers", init).with(
        "/status/initContainerStatuses",
        json!([{"name": "fetch", "containerID": "containerd://1", "state": state}]),
    );
    bench.see(&fetching);
    assert!(matches!(bench.command().1, Command::FollowLog { .. }));
    for _ in 0..12 {
        bench.pass(Duration::from_secs(600));
        let commands = bench.commands();
        assert!(commands.iter().all(|(_, c)| matches!(c, Command::ListEvents { .. })), "{commands:?}");
        commands.into_iter().for_each(|(id, _)| bench.reply(id, Reply::Events(Vec::new())));
    }
}

#[test]
fn the_running_clock_stops_a_program_and_counts_each_attempt_anew() {
    let mut bench = with(Clocks { run: Some(Duration::from_secs(30)), ..Clocks::default() });
    bench.create(&Shown::new("t-1", 1));
    bench.silence();
    bench.pass(Duration::from_secs(7));
    let shown = Shown::new("t-1", 1).on("node-1").running();
    bench.see(&shown);
    bench.command();
    let wait = bench.wait();
    assert_eq!(wait.until, Some(bench.now + Duration::from_secs(30)));
    assert!(matches!(wait.because, Because::Program { deadline, .. } if deadline == wait.until));
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.stopped(Reason::RunTimeout).0, "uid-1");
    bench.gone(&shown.terminating().exited(143));
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.reason), (Some("cancelled"), Some(Reason::RunTimeout)));
}

#[test]
fn a_create_that_is_refused_for_now_ends_with_the_reason_of_its_refusal() {
    let quota = "pods \"t-1\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1";
    let unready = "pods \"t-1\" is forbidden: status unknown for quota: q, resources: pods";
    for (message, reason) in [(quota, Reason::QuotaExceeded), (unready, Reason::Unavailable)] {
        let mut bench = with(Clocks { queue: Some(Duration::from_secs(5)), ..Clocks::default() });
        let (id, _) = bench.command();
        let refusal =
            Refusal { code: 403, reason: "Forbidden".to_owned(), message: message.to_owned(), retry_after: None };
        bench.reply(id, Reply::Refused(refusal));
        bench.silence();
        bench.pass(Duration::from_secs(5));
        assert_eq!(bench.finish().reason, Some(reason), "{message}");
    }
}

/// A template's own limit goes on for one who takes over: it began with the pod, not with him.
#[test]
fn what_an_attempt_has_used_of_its_limit_is_known_to_who_attaches() {
    let shown =
        |shown: Shown| vec![shown.on("node-1").running().with("/status/startTime", json!("2026-11-23T22:10:08Z"))];
    let bench = attached(true, shown);
    let times = bench.task.state().current.times;
    assert_eq!(times.assigned, Time::parse("2026-11-23T22:10:08Z"));
    assert_eq!(times.started, Time::parse("2026-11-23T22:10:09Z"));
}

/// A native sidecar is restarted as often as it ends, and the program waits for it: that is no progress.
#[test]
fn a_sidecar_that_is_started_again_and_again_does_not_hold_the_start_clock() {
    let mut bench = Bench::default();
    bench.create(&Shown::new("t-1", 1));
    bench.silence();
    let restarted = |times: u32, running: bool| {
        let started = json!({"running": {"startedAt": "2026-11-23T22:10:09Z"}});
        let ended = json!({"terminated": {"exitCode": 1, "startedAt": "2026-11-23T22:10:09Z"}});
        let status = json!([{"name": "mesh", "restartCount": times, "state": if running { started } else { ended }}]);
        Shown::new("t-1", 1).on("node-1").with("/status/initContainerStatuses", status)
    };
    let began = bench.now;
    for times in 0..20 {
        bench.see(&restarted(times, true));
        bench.hush();
        if bench.given.iter().any(|(_, command)| matches!(command, Command::Annotate { .. })) {
            break;
        }
        bench.pass(Duration::from_secs(150));
        bench.hush();
        bench.see(&restarted(times, false));
        bench.hush();
        bench.pass(Duration::from_secs(150));
        bench.hush();
    }
    assert!(matches!(bench.task.state().stage, Stage::Stopping { reason: Reason::StartTimeout, .. }));
    assert!(bench.now.since(began) <= Duration::from_secs(1_200), "{:?}", bench.now.since(began));
    assert!(bench.task.state().current.ledger.entries.len() < 60);
}

#[test]
fn a_wait_in_memory_is_said() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.gates = false;
    let mut bench = preempted_before_start(spec);
    bench.silence();
    let said = |event: &Event| matches!(event, Event::Waiting { attempt: 2, because: Because::Backoff });
    assert!(bench.events.iter().any(said), "{:?}", bench.events);
}
