//! After the verdict: the wait for a result, and what ends it.

use super::*;
use crate::spec::ResultBy;

/// A program that has succeeded beside a container that runs on, with its result still to come.
fn succeeded_beside_another(by: ResultBy, total: Option<Duration>) -> (Bench, Shown) {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.result = Some(by);
    spec.clocks.total = total;
    let mut bench = Bench::new(spec);
    let mut shown = bench.run(Shown::new("t-1", 1));
    let own = shown.clone().exited(0).0["status"]["containerStatuses"][0].clone();
    let side = json!({"name": "side", "containerID": "containerd://2", "state": {"running": {}}});
    shown = shown.with("/status/containerStatuses", json!([own, side]));
    bench.see(&shown);
    (bench, shown)
}

/// What is asked for now, by its kind; the answers come later.
fn asked(commands: &[(CommandId, Command)]) -> Vec<&'static str> {
    let kind = |command: &Command| match command {
        Command::FollowLog { .. } => "follow",
        Command::CloseLogs { .. } => "close",
        Command::ReadResult { .. } => "result",
        Command::Annotate { annotations, active_deadline_seconds: Some(1), .. } if annotations.is_empty() => "end",
        _ => "another",
    };
    commands.iter().map(|(_, command)| kind(command)).collect()
}

fn answer(bench: &mut Bench, commands: &[(CommandId, Command)], kind: &str, reply: Reply) {
    let index = asked(commands).iter().position(|known| *known == kind).unwrap();
    bench.reply(commands[index].0, reply);
}

#[test]
fn what_runs_on_beside_the_results_sidecar_is_ended_once() {
    let (mut bench, shown) = succeeded_beside_another(ResultBy::Sidecar, None);
    let commands = bench.commands();
    assert_eq!(asked(&commands), ["follow", "close", "result", "end"]);
    bench.see(&shown);
    bench.silence();
    answer(&mut bench, &commands, "end", Reply::Pod(Box::new(shown.pod())));
    bench.silence();
    answer(&mut bench, &commands, "close", Reply::Done);
    bench.silence();
    answer(&mut bench, &commands, "result", Reply::Result(Ok("1".to_owned())));
    assert_eq!(bench.finish().result.as_deref(), Some("1"));
}

#[test]
fn nothing_is_ended_where_the_result_needs_no_sidecars_end() {
    for by in [ResultBy::Message, ResultBy::Exec] {
        let (mut bench, _) = succeeded_beside_another(by, None);
        assert_eq!(asked(&bench.commands()), ["follow", "close", "result"], "{by:?}");
    }
}

#[test]
fn a_cancel_ends_the_wait_for_a_result_and_the_success_stands() {
    let (mut bench, _) = succeeded_beside_another(ResultBy::Sidecar, None);
    let commands = bench.commands();
    answer(&mut bench, &commands, "close", Reply::Done);
    bench.silence();
    bench.stop(Stop::User);
    gives_up(bench);
}

#[test]
fn the_total_clock_ends_the_wait_for_a_result() {
    let (mut bench, _) = succeeded_beside_another(ResultBy::Sidecar, Some(Duration::from_secs(60)));
    let commands = bench.commands();
    answer(&mut bench, &commands, "close", Reply::Done);
    assert_eq!(bench.wait().until, Some(Time::from_secs(1_060)));
    bench.pass(Duration::from_secs(60));
    gives_up(bench);
}

fn gives_up(mut bench: Bench) {
    let outcome = bench.finish();
    assert_eq!((outcome.reason, &outcome.result), (Some(Reason::ResultMissing), &None));
    assert_eq!(outcome.attempts[0].verdict.as_ref().unwrap().verdict.class, Class::Succeeded);
    assert!(outcome.message.contains("stopped before the result was handed over"));
}

#[test]
fn a_clean_up_that_nobody_answers_is_given_up_after_a_while_or_at_once_when_told_so() {
    for told in [false, true] {
        let mut bench = Bench::default();
        let shown = bench.run(Shown::new("t-1", 1));
        bench.see(&shown.exited(0));
        assert_eq!(bench.finish().verdict.as_deref(), Some("succeeded"));
        let (_, Command::Delete { .. }) = bench.command() else { panic!("a delete is expected") };
        if told {
            bench.pass(Duration::from_secs(1));
            bench.silence();
            bench.stop(Stop::User);
        } else {
            let until = bench.wait().until.expect("it does not wait for ever");
            assert_eq!(until.since(bench.now), Duration::from_secs(300));
            bench.pass(Duration::from_secs(300));
        }
        bench.finished();
        let left = |event: &Event| matches!(event, Event::Hindered { what: Hindrance::Delete, .. });
        assert!(bench.events.iter().any(left), "it says what is left behind");
    }
}

#[test]
fn a_program_that_could_not_be_started_is_not_said_to_run() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    bench.create(&shown);
    bench.silence();
    let state = json!({"terminated": {"exitCode": 128, "reason": "StartError", "containerID": "containerd://1",
        "startedAt": "1970-01-01T00:00:00Z", "finishedAt": "2026-11-23T22:10:09Z"}});
    let status = json!([{"name": "base", "containerID": "containerd://1", "state": state}]);
    bench.see(&shown.on("node-1").with("/status/containerStatuses", status).with("/status/phase", json!("Failed")));
    let outcome = bench.finish();
    assert_eq!((outcome.verdict.as_deref(), outcome.attempts[0].times.started), (Some("launchFailed"), None));
    assert!(!bench.events.iter().any(|event| matches!(event, Event::Running { .. })), "{:?}", bench.events);
}
