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
