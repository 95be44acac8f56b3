//! Scripted containers, played to their ends by jumping to the next thing that is due.

use std::time::Duration;

use super::*;
use crate::log::LogOptions;
use crate::log::Stream::{Stderr, Stdout};
use crate::runtime::{Mount, PodRef, VolumeFile, VolumeSource};

const T: Time = Time(1_795_471_807_000_000_000);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn spec(name: &str) -> ContainerSpec {
    ContainerSpec {
        pod: PodRef { namespace: "default".into(), name: "task".into(), uid: "u1".into(), node: "node-1".into() },
        name: name.into(),
        image: "busybox:1.36".into(),
        ..ContainerSpec::default()
    }
}

fn mounting(name: &str, path: &str) -> ContainerSpec {
    let mount = Mount { volume: "xcom".into(), path: path.into(), ..Mount::default() };
    ContainerSpec { mounts: vec![mount], ..spec(name) }
}

/// Jumps from one due instant to the next until nothing is due, at most a hundred times.
fn play(runtime: &mut ScriptedRuntime, mut now: Time) -> Vec<(ContainerId, Exit)> {
    let mut exits = Vec::new();
    for _ in 0..100 {
        exits.extend(runtime.poll(now).into_iter().map(|RuntimeEvent::Exited { id, exit }| (id, exit)));
        match runtime.next_wakeup() {
            Some(next) => now = now.max(next),
            None => return exits,
        }
    }
    panic!("never quiet: {runtime:?}");
}

fn only_exit(runtime: &mut ScriptedRuntime, now: Time) -> Exit {
    let mut exits = play(runtime, now);
    assert_eq!(exits.len(), 1, "{exits:?}");
    exits.remove(0).1
}

fn text(runtime: &ScriptedRuntime, id: &ContainerId) -> String {
    String::from_utf8(runtime.log(id).unwrap().last(u64::MAX - 1)).unwrap()
}

#[test]
fn a_container_says_its_lines_at_their_times_and_exits() {
    let behaviour = Behaviour::runs(secs(10), Ending::exit(3).saying("why")).says(secs(2), "two").says(secs(1), "one");
    let mut runtime = ScriptedRuntime::new().with(Matching::all(), behaviour);
    let id = runtime.start(T, spec("base")).unwrap();
    assert_eq!(runtime.state(&id), Some(ContainerState::Running { since: T }));
    assert_eq!(runtime.next_wakeup(), Some(T + secs(1)));
    let exit = only_exit(&mut runtime, T);
    let expected = Exit { exit_code: 3, signal: None, at: T + secs(10), message: "why".into(), oom_killed: false };
    assert_eq!(exit, expected);
    assert_eq!(runtime.state(&id), Some(ContainerState::Exited(expected)));
    let options = LogOptions { timestamps: true, tail: Some(1), ..LogOptions::default() };
    let line = runtime.log(&id).unwrap().reader(options).read();
    assert_eq!(line, crate::log::LogRead::Data("2026-11-23T22:10:09.000000000Z two\n".into()));
    assert_eq!(text(&runtime, &id), "one\ntwo\n");
}

#[test]
fn a_late_poll_keeps_the_times_of_what_happened() {
    let mut runtime = ScriptedRuntime::new();
    runtime.start(T, spec("base")).unwrap();
    let events = runtime.poll(T + secs(100));
    assert!(matches!(&events[..], [RuntimeEvent::Exited { exit, .. }] if exit.at == T + secs(1)));
}

#[test]
fn of_the_rules_that_match_the_last_one_counts() {
    let mut runtime = ScriptedRuntime::new()
        .with(Matching::all(), Behaviour::runs(secs(1), Ending::exit(1)))
        .with(Matching::pod("ta*"), Behaviour::runs(secs(1), Ending::exit(2)))
        .with(
            Matching { restart_count: Some(1), ..Matching::image("busybox:*") },
            Behaviour::runs(secs(1), Ending::exit(3)),
        )
        .with(Matching::container("other"), Behaviour::runs(secs(1), Ending::exit(4)));
    runtime.start(T, spec("base")).unwrap();
    runtime.start(T, ContainerSpec { restart_count: 1, ..spec("base") }).unwrap();
    let codes: Vec<i32> = play(&mut runtime, T).into_iter().map(|(_, exit)| exit.exit_code).collect();
    assert_eq!(codes, [2, 3]);
    assert_eq!(runtime.starts(), 2);
}

#[test]
fn a_container_that_cannot_start_leaves_nothing() {
    let mut runtime = ScriptedRuntime::new()
        .with(Matching::container("a"), Behaviour { start: Start::Fails("no".into()), ..Behaviour::default() })
        .with(
            Matching::container("b"),
            Behaviour { start: Start::NotExecutable("nope".into()), ..Behaviour::default() },
        );
    assert_eq!(runtime.start(T, spec("a")), Err(StartError::Create { message: "no".into() }));
    assert!(matches!(runtime.start(T, spec("b")), Err(StartError::NotExecutable { message, .. }) if message == "nope"));
    assert_eq!(play(&mut runtime, T), []);
}

#[test]
fn term_ends_a_container_as_its_behaviour_says() {
    let after_term = |on_term| {
        let behaviour = Behaviour::runs(secs(100), Ending::exit(9)).on_term(on_term);
        let mut runtime = ScriptedRuntime::new().with(Matching::all(), behaviour);
        let id = runtime.start(T, spec("base")).unwrap();
        runtime.signal(T + secs(5), &id, Signal::Term);
        let exit = only_exit(&mut runtime, T + secs(5));
        (exit.exit_code, exit.signal, exit.at)
    };
    assert_eq!(after_term(OnTerm::Dies), (143, Some(15), T + secs(5)));
    assert_eq!(after_term(OnTerm::Ignores), (9, None, T + secs(100)));
    let ends = |after| OnTerm::Ends { after, ending: Ending::exit(0) };
    assert_eq!(after_term(ends(secs(7))), (0, None, T + secs(12)));
    assert_eq!(after_term(ends(secs(700))), (9, None, T + secs(100)));
}

#[test]
fn a_kill_ends_a_hanging_container_and_what_was_planned_for_it() {
    let hanging = Behaviour::hangs().says(secs(60), "never said");
    let mut runtime = ScriptedRuntime::new().with(Matching::all(), hanging);
    let id = runtime.start(T, spec("base")).unwrap();
    runtime.signal(T, &id, Signal::Term);
    assert_eq!(runtime.poll(T + secs(30)), []);
    runtime.signal(T + secs(30), &id, Signal::Kill);
    let exit = only_exit(&mut runtime, T + secs(30));
    assert_eq!((exit.exit_code, exit.signal, exit.at), (137, Some(9), T + secs(30)));
    assert_eq!(text(&runtime, &id), "");
    runtime.signal(T + secs(31), &id, Signal::Kill);
    assert_eq!(play(&mut runtime, T + secs(31)), []);
}

#[test]
fn out_of_memory_is_said() {
    let mut runtime = ScriptedRuntime::new().with(Matching::all(), Behaviour::runs(secs(1), Ending::out_of_memory()));
    runtime.start(T, spec("base")).unwrap();
    let exit = only_exit(&mut runtime, T);
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (137, Some(9), true));
}

#[test]
fn what_a_container_writes_to_its_message_path_is_its_message() {
    let behaviour = Behaviour::default().writes(secs(0), "/airflow/xcom/return.json", "42");
    let mut runtime = ScriptedRuntime::new().with(Matching::all(), behaviour);
    let path = "/airflow/xcom/return.json".to_owned();
    runtime.start(T, ContainerSpec { termination_message_path: path, ..spec("base") }).unwrap();
    assert_eq!(only_exit(&mut runtime, T).message, "42");
}

#[test]
fn of_a_long_message_the_last_4096_bytes_are_read() {
    let ending = Ending::exit(0).saying(format!("{}end", "x".repeat(5000)));
    let mut runtime = ScriptedRuntime::new().with(Matching::all(), Behaviour::runs(secs(1), ending));
    runtime.start(T, spec("base")).unwrap();
    assert_eq!(only_exit(&mut runtime, T).message, format!("{}end", "x".repeat(4093)));
}

#[test]
fn a_sidecar_hands_over_what_the_program_wrote_into_a_shared_volume() {
    let mut runtime = ScriptedRuntime::new()
        .with(
            Matching::container("base"),
            Behaviour::default().writes(secs(1), "/airflow/xcom/return.json", "{\"a\":1}"),
        )
        .with(Matching::container("result"), Behaviour::hands_over("/out/return.json"));
    let sidecar = runtime.start(T, mounting("result", "/out")).unwrap();
    runtime.start(T, mounting("base", "/airflow/xcom/")).unwrap();
    assert_eq!(play(&mut runtime, T).len(), 1);
    runtime.signal(T + secs(2), &sidecar, Signal::Term);
    let exit = only_exit(&mut runtime, T + secs(2));
    assert_eq!((exit.exit_code, exit.message.as_str()), (0, "{\"a\":1}"));
}

#[test]
fn a_container_can_wait_for_another_and_make_its_message_of_what_it_sees() {
    let made = Message::Made(Arc::new(|view: &View<'_>| {
        let content = view.file("/airflow/xcom/return.json").unwrap_or_default();
        format!("{} {}", content.len(), String::from_utf8_lossy(&content)).into()
    }));
    let waiting = Behaviour {
        run: Run::UntilEnded { container: "base".into(), after: secs(2) },
        ending: Ending { message: made, ..Ending::exit(0) },
        ..Behaviour::default()
    };
    let mut runtime = ScriptedRuntime::new()
        .with(
            Matching::all(),
            Behaviour::runs(secs(10), Ending::exit(0)).writes(secs(1), "/airflow/xcom/return.json", "xyz"),
        )
        .with(Matching::container("result"), waiting);
    runtime.start(T, mounting("result", "/airflow/xcom")).unwrap();
    runtime.start(T, mounting("base", "/airflow/xcom")).unwrap();
    // One that is started when the other has ended waits no longer than that.
    let exits = play(&mut runtime, T);
    runtime.start(T + secs(50), mounting("result", "/airflow/xcom")).unwrap();
    let late = only_exit(&mut runtime, T + secs(50));
    let seen: Vec<_> = exits.iter().map(|(_, exit)| (exit.at, exit.message.as_str())).collect();
    assert_eq!(seen, [(T + secs(10), ""), (T + secs(12), "3 xyz")]);
    assert_eq!((late.at, late.message.as_str()), (T + secs(52), "3 xyz"));
}

#[test]
fn a_failed_container_without_message_shows_its_logs_end_if_the_policy_says_so() {
    let policy = crate::runtime::MessagePolicy::FallbackToLogsOnError;
    let message = |code| {
        let behaviour =
            Behaviour::runs(secs(1), Ending::exit(code)).says(secs(1), "x".repeat(3000)).says(secs(1), "last");
        let mut runtime = ScriptedRuntime::new().with(Matching::all(), behaviour);
        runtime.start(T, ContainerSpec { termination_message_policy: policy, ..spec("base") }).unwrap();
        only_exit(&mut runtime, T).message
    };
    assert_eq!(message(0), "");
    assert_eq!(message(1).len(), 2048);
    assert!(message(1).ends_with("x\nlast\n"));
}

#[test]
fn a_gigabyte_of_log_is_a_description() {
    let volume = Volume { after: secs(1), every: Duration::ZERO, lines: 1 << 24, width: 64, stream: Stderr };
    let mut runtime = ScriptedRuntime::new()
        .with_rotation(Rotation::NEVER)
        .with(Matching::all(), Behaviour::default().says_much(volume));
    let id = runtime.start(T, spec("base")).unwrap();
    only_exit(&mut runtime, T);
    let log = runtime.log(&id).unwrap();
    assert!(log.len() > 1 << 30);
    assert_eq!(log.last(1), format!("line {:012} {}\n", (1 << 24) - 1, "x".repeat(46)).into_bytes());
}

#[test]
fn a_volume_goes_on_over_time_and_stops_with_its_container() {
    let volume = Volume { after: secs(1), every: secs(1), lines: 1000, width: 20, stream: Stdout };
    let mut runtime =
        ScriptedRuntime::new().with(Matching::all(), Behaviour::runs(secs(10), Ending::default()).says_much(volume));
    let id = runtime.start(T, spec("base")).unwrap();
    runtime.poll(T + secs(3));
    assert_eq!(text(&runtime, &id).lines().count(), 3);
    only_exit(&mut runtime, T + secs(3));
    assert_eq!(text(&runtime, &id).lines().count(), 10);
}

#[test]
fn volumes_have_files_and_a_size() {
    let write = Write { after: secs(0), path: "/x/big".into(), content: Content::Size(1 << 30) };
    let behaviour = Behaviour { writes: vec![write], ..Behaviour::forever() };
    let mut runtime = ScriptedRuntime::new().with(Matching::all(), behaviour);
    let file = VolumeFile { path: "token".into(), mode: 0o600, content: "four".into() };
    let volume =
        crate::runtime::Volume { name: "xcom".into(), source: VolumeSource::Files(vec![file]), optional: false };
    let setup = PodSetup { pod: spec("").pod, volumes: vec![volume] };
    runtime.prepare_pod(T, &setup).unwrap();
    runtime.start(T, mounting("base", "/x")).unwrap();
    assert_eq!(runtime.poll(T), []);
    assert_eq!(runtime.volume_usage("u1", "xcom"), Some((1 << 30) + 4));
    assert_eq!(runtime.volume_usage("u1", "other"), None);
    runtime.remove_pod("u1");
    assert_eq!(runtime.volume_usage("u1", "xcom"), None);
    assert_eq!(play(&mut runtime, T), []);
}

#[tokio::test]
async fn exec_knows_the_files_and_what_is_scripted() {
    let answer: Arc<AnswerExec> = Arc::new(|request, _| {
        let known = request.command == ["false"];
        known.then(|| ExecReply { exit_code: 1, ..ExecReply::default() })
    });
    let behaviour = Behaviour { exec: Some(answer), ..Behaviour::forever().writes(secs(0), "/r", "42") };
    let mut runtime = ScriptedRuntime::new().with(Matching::all(), behaviour);
    let id = runtime.start(T, spec("base")).unwrap();
    runtime.poll(T);
    let request = |words: &[&str]| ExecRequest {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        stdin: false,
        stdout: true,
        stderr: true,
    };
    let mut session = runtime.exec(T, &id, request(&["cat", "/r", "/s"])).unwrap();
    let error = "cat: can't open '/s': No such file or directory\n";
    assert_eq!(session.output.recv().await, Some(SessionOutput::Stdout("42".into())));
    assert_eq!(session.output.recv().await, Some(SessionOutput::Stderr(error.into())));
    assert_eq!(session.output.recv().await, Some(SessionOutput::Exited(1)));
    assert_eq!(session.output.recv().await, None);
    let mut session = runtime.exec(T, &id, request(&["false"])).unwrap();
    assert_eq!(session.output.recv().await, Some(SessionOutput::Exited(1)));
    assert!(matches!(runtime.exec(T, &id, request(&["ls"])), Err(SessionError::Unsupported { .. })));
    runtime.signal(T, &id, Signal::Kill);
    runtime.poll(T);
    assert_eq!(runtime.exec(T, &id, request(&["false"])).err(), Some(SessionError::NotRunning));
}

#[tokio::test]
async fn attach_shows_what_is_said_from_then_on_and_the_exit_code() {
    let behaviour = Behaviour::runs(secs(3), Ending::exit(7)).says(secs(1), "before").says(secs(2), "after");
    let mut runtime = ScriptedRuntime::new().with(Matching::all(), behaviour);
    let id = runtime.start(T, spec("base")).unwrap();
    runtime.poll(T + secs(1));
    let mut session = runtime.attach(T, &id, true).unwrap();
    assert!(session.stdin.is_none());
    play(&mut runtime, T + secs(1));
    assert_eq!(session.output.recv().await, Some(SessionOutput::Stdout("after\n".into())));
    assert_eq!(session.output.recv().await, Some(SessionOutput::Exited(7)));
    assert_eq!(session.output.recv().await, None);
}

#[test]
fn ten_thousand_containers_end_in_the_order_of_their_times() {
    let mut runtime = ScriptedRuntime::new();
    for number in 0..10_000_i64 {
        let mut spec = spec("base");
        spec.pod.uid = number.to_string();
        runtime.start(Time(T.0 + number), spec).unwrap();
    }
    let events = runtime.poll(T + secs(2));
    assert_eq!(events.len(), 10_000);
    assert!(events.is_sorted_by_key(|RuntimeEvent::Exited { exit, .. }| exit.at));
    (0..10_000).for_each(|number| runtime.remove_pod(&number.to_string()));
    assert!(runtime.containers.is_empty() && runtime.due.is_empty() && runtime.pods.is_empty());
}
