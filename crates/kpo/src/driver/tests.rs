//! The driver against a scripted API server: the exact requests of a whole task, and the silence after.

use super::*;
use crate::hook::{ConnectOptions, READ_BUFFER, Source, TokenCallback};
use crate::manager::ReadRetry;
use crate::manifest::{Request, manifest};
use crate::request::{Call, RequestOptions};
use crate::testing::{Ending, LocalServer, Reply, ScriptedServer, exact_options};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CREATED: &str = "2026-11-23T22:10:07Z";

fn pod(version: &str, status: &Value) -> Value {
    json!({
        "metadata": {"name": "hello-1", "namespace": "default", "uid": "u1", "resourceVersion": version,
            "creationTimestamp": CREATED, "labels": {"kpo.rs/task": "hello", "kpo.rs/attempt": "1"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "base"}]},
        "status": status,
    })
}

/// The create's answer: what was sent, with what the server sets.
fn created() -> Reply {
    Reply::Created(json!({
        "metadata": {"uid": "u1", "resourceVersion": "1", "creationTimestamp": CREATED},
        "status": {"phase": "Pending"},
    }))
}

fn event(kind: &str, pod: &Value) -> bytes::Bytes {
    format!("{}\n", json!({"type": kind, "object": pod})).into()
}

fn succeeded() -> Value {
    let ended = json!({"exitCode": 0, "containerID": "c://1", "startedAt": CREATED, "finishedAt": CREATED});
    json!({"phase": "Succeeded", "containerStatuses": [{"name": "base", "containerID": "c://1", "state": {"terminated": ended}}]})
}

fn running() -> Value {
    let state = json!({"running": {"startedAt": CREATED}});
    json!({"phase": "Running", "containerStatuses": [{"name": "base", "containerID": "c://1", "started": true, "state": state}]})
}

fn request() -> TaskRequest {
    let wanted =
        Request { image: Some("busybox".into()), args: vec!["echo".into(), "hello".into()], ..Request::default() };
    let manifest = manifest(wanted).expect("it is sound");
    TaskRequest::new("hello", "default", &manifest).expect("it is small")
}

#[tokio::test(start_paused = true)]
async fn an_undisturbed_task_takes_four_requests_and_prints_its_log_before_its_outcome() {
    let watch = Reply::Timed { steps: vec![(100, event("MODIFIED", &pod("2", &succeeded())))], end: Ending::Hang };
    let server = ScriptedServer::new([
        created(),
        watch,
        Reply::Answer(200, vec![], "2026-11-23T22:10:07.5Z hello\n".into()),
        Reply::ok(json!({"kind": "Status", "status": "Success"})),
    ]);
    let mut running = run(&server.hook(), request());
    let mut said = Vec::new();
    while let Some(event) = running.next().await {
        match event.what {
            What::Log(piece) => said.push(format!("{:?}", piece.event)),
            What::Outcome(delivery) => {
                assert_eq!(said.len(), 1, "the log comes first: {said:?}");
                assert_eq!(server.seen().len(), 3, "nothing is deleted before the outcome was taken");
                assert_eq!(delivery.taken().exit_code, Some(0));
            }
            _ => {}
        }
    }
    let asked: Vec<String> = server.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    let pods = "/api/v1/namespaces/default/pods";
    let expected = [
        format!("POST {pods}"),
        format!("GET {pods}"),
        format!("GET {pods}/hello-1/log"),
        format!("DELETE {pods}/hello-1"),
    ];
    assert_eq!(asked, expected);
    assert_eq!(server.seen()[3].body["preconditions"], json!({"uid": "u1", "resourceVersion": "2"}));
}

/// The watch showed it, and this is told to who reads it later.
#[tokio::test(start_paused = true)]
async fn what_was_watched_is_what_was_last_seen() {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempting"});
    let mut taken = pod("2", &json!({"phase": "Pending", "conditions": [condition]}));
    taken["metadata"]["deletionTimestamp"] = json!(CREATED);
    let watch = Reply::Timed { steps: vec![(100, event("MODIFIED", &taken))], end: Ending::Hang };
    let no_events = Reply::ok(json!({"items": []}));
    let server = ScriptedServer::new([created(), watch, Reply::not_found("hello-1"), no_events]);
    let hook = server.hook().with_read_retry(ReadRetry { delays: vec![] });
    let mut running = run(&hook, request());
    while !matches!(running.next().await.expect("it goes on").what, What::Task(kpo_core::Event::Disrupting { .. })) {}
    drop(running);
    let error = hook.get_pod("default", "hello-1", Call::forever()).await.unwrap_err().to_string();
    assert!(error.contains("last seen: phase Pending, node \"node-1\", terminating, DisruptionTarget=True"), "{error}");
}

/// Chunks as large as the transport makes them, of lines short and very long.
fn log_chunks() -> [bytes::Bytes; 4] {
    let line = |width: usize| format!("2026-11-23T22:10:07.5Z {}\n", "x".repeat(width));
    [line(100).repeat(160), line(100).repeat(1000), line(1 << 20), "x".repeat(READ_BUFFER)].map(|text| {
        // The last is a line without an end.
        let text = if text.ends_with('\n') { text } else { format!("2026-11-23T22:10:07.5Z {text}") };
        bytes::Bytes::from(text)
    })
}

#[tokio::test(start_paused = true)]
async fn a_log_that_nobody_reads_takes_less_than_a_mebibyte() {
    for chunk in log_chunks() {
        let pieces: Vec<_> = chunk.chunks(READ_BUFFER).map(bytes::Bytes::copy_from_slice).collect();
        let taken = Arc::new(AtomicUsize::new(0));
        let watch = Reply::Timed { steps: vec![(100, event("MODIFIED", &pod("2", &running())))], end: Ending::Hang };
        let log = Reply::Endless(pieces, Arc::clone(&taken));
        let server = ScriptedServer::new([created(), watch, log]);
        let running = run(&server.hook(), request());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let taken = taken.load(Ordering::SeqCst) + READ_BUFFER;
        assert!(taken <= 1 << 20, "{} KiB of chunks of {} KiB", taken >> 10, chunk.len() >> 10);
        assert!(taken > 4 * READ_BUFFER, "it is read ahead");
        drop(running);
    }
}

/// A webhook that takes the finalizer off.
#[tokio::test(start_paused = true)]
async fn what_admission_took_away_is_told_once_and_the_task_goes_on() {
    let stripped = Reply::Created(json!({
        "metadata": {"uid": "u1", "resourceVersion": "1", "creationTimestamp": CREATED, "finalizers": []},
        "status": {"phase": "Pending"},
    }));
    let watch = Reply::Timed { steps: vec![(100, event("MODIFIED", &pod("2", &succeeded())))], end: Ending::Clean };
    let log = Reply::Answer(200, vec![], "2026-11-23T22:10:07.5Z hello\n".into());
    let server = ScriptedServer::new([stripped, watch, log, Reply::ok(json!({"kind": "Status"}))]);
    let mut request = request();
    request.spec.protect = true;
    let mut running = run(&server.hook(), request);
    let mut told = Vec::new();
    while let Some(event) = running.next().await {
        match event.what {
            What::Admitted(costs) => told.extend(costs),
            What::Outcome(delivery) => {
                assert_eq!(delivery.outcome().exit_code, Some(0));
                break;
            }
            _ => {}
        }
    }
    assert_eq!(told, ["the finalizer kpo.rs/protect was removed: the pod's last state is not protected"]);
}

#[tokio::test(start_paused = true)]
async fn a_users_retries_play_no_part_in_how_a_missing_pod_is_read() {
    for retries in [0, 7] {
        let hang = Reply::Timed { steps: vec![], end: Ending::Hang };
        // The task itself asks for events, since it waits.
        let missing = std::iter::repeat_with(|| Reply::not_found("hello-1")).take(8);
        let server = ScriptedServer::new([created(), hang].into_iter().chain(missing));
        let hook = server.hook();
        let mut request = request();
        request.spec.rerun.retries = retries;
        let mut running = run(&hook, request);
        while server.seen().len() < 2 {
            running.next().await;
        }
        hook.get_pod("default", "hello-1", Call::forever()).await.unwrap_err();
        let reads = server.seen().into_iter().filter(|seen| seen.path.ends_with("/pods/hello-1"));
        assert_eq!(reads.map(|seen| seen.at.as_secs()).collect::<Vec<_>>(), [0, 2, 6, 14], "{retries} retries");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_not_taken_deletes_nothing() {
    let watch = Reply::Timed { steps: vec![(100, event("MODIFIED", &pod("2", &succeeded())))], end: Ending::Hang };
    let server =
        ScriptedServer::new([created(), watch, Reply::Answer(200, vec![], "2026-11-23T22:10:07.5Z hello\n".into())]);
    let mut running = run(&server.hook(), request());
    while let Some(event) = running.next().await {
        if let What::Outcome(delivery) = event.what {
            drop(delivery);
            break;
        }
    }
    let next = tokio::time::timeout(Duration::from_secs(60), running.next()).await;
    assert!(next.is_err(), "it waits for ever: {next:?}");
    assert_eq!(server.seen().len(), 3);
}

/// What a bug looks like from outside: something that the driver's task calls panics.
#[tokio::test(start_paused = true)]
async fn a_driver_that_crashes_says_so_once_and_is_no_quiet_end() {
    let server = ScriptedServer::new([Reply::status(429, "TooManyRequests", "not now")]);
    let mut options = crate::testing::exact_options();
    options.observer = Some(std::sync::Arc::new(|_| panic!("a bug")));
    let mut running = run(&server.hook_with(options), request());
    let crashed = running.next().await.map(|event| event.what);
    assert!(matches!(&crashed, Some(What::Crashed(why)) if why.contains("a bug")), "{crashed:?}");
    assert!(running.next().await.is_none(), "and once");
    assert_eq!(server.seen().len(), 1);
}

/// A connection that never worked, as a caller of the library may have made it.
async fn connect(server: &str, token: Option<TokenCallback>) -> KubernetesHook {
    let config = json!({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
    });
    let requests = RequestOptions { first_contact: Some(Duration::from_millis(100)), ..exact_options() };
    let options =
        ConnectOptions { source: Source::Text(config.to_string()), token, requests, ..ConnectOptions::default() };
    KubernetesHook::connect(options).await.expect("it is sound")
}

#[tokio::test]
async fn a_connection_that_never_worked_ends_the_task_and_is_named() {
    let (server, _) = LocalServer::https(|_| (500, json!({}))).await;
    let sealed = TokenCallback::new(|| async { Err("the vault is sealed".to_owned()) });
    let (trusted, port) = ("http://127.0.0.1:1".to_owned(), server.port);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = format!("http://{}", silent.local_addr().expect("it is bound"));
    let other = LocalServer::http(|_| (404, json!("default backend"))).await;
    let other = (format!("http://127.0.0.1:{}", other.port), other);
    let never = "launchFailed";
    for (hook, came_to, said) in [
        (connect(&trusted, Some(sealed)).await, never, "no token: the vault is sealed"),
        (connect(&format!("https://127.0.0.1:{port}"), None).await, never, "is not trusted"),
        (connect(&trusted, None).await, never, "refused the connection"),
        (connect(&other.0, None).await, never, "something in front of the API server answered with 404"),
        // It took the create, and may yet do it.
        (connect(&nobody, None).await, "disrupted", ""),
    ] {
        let mut running = run(&hook, request());
        let mut outcome = None;
        while let Some(event) = running.next().await {
            match event.what {
                What::Outcome(delivery) => outcome = Some(delivery.taken()),
                What::Task(kpo_core::Event::Ended { verdict, .. }) => {
                    assert!(verdict.detail.as_deref().unwrap_or_default().contains(said), "{verdict:?}");
                }
                _ => {}
            }
        }
        assert_eq!(outcome.expect("an end").verdict.as_deref(), Some(came_to), "{said}");
    }
}

/// A pod of a task that nobody here follows, which has ended and expires then.
fn kept(name: &str, phase: &str, expires: Time) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "7",
            "labels": {"kpo.rs/task": name}, "annotations": {"kpo.rs/expires": expires.to_string()}},
        "status": {"phase": phase},
    })
}

#[tokio::test(start_paused = true)]
async fn expired_pods_that_a_shared_watch_shows_are_removed_by_whoever_sees_them() {
    let now = Time::from_secs(1_700_000_000);
    let in_two_minutes = now + Duration::from_secs(120);
    let items = [
        kept("expired", "Failed", Time::from_secs(0)),
        kept("later", "Succeeded", in_two_minutes),
        kept("alive", "Running", Time::from_secs(0)),
    ];
    let list = json!({"kind": "PodList", "metadata": {"resourceVersion": "9"}, "items": items});
    let hang = Reply::Timed { steps: vec![], end: Ending::Hang };
    // The second delete is refused: that is nobody's trouble, and not tried again.
    let refused = Reply::status(403, "Forbidden", "pods \"later\" is forbidden");
    let server = ScriptedServer::new([Reply::ok(list), hang, Reply::ok(json!({})), refused]);
    let hook = server.hook().with_wall_clock(std::sync::Arc::new(move || now));
    let clock = Clock::start(&hook);
    let watch = Watch::start(hook.requests().clone(), "default", crate::watch::WatchOptions::default());
    // What was shown before is remembered.
    tokio::time::sleep(Duration::from_secs(5)).await;
    sweeper::start(&hook.pods("default"), &watch, clock);
    sweeper::start(&hook.pods("default"), &watch, clock);
    let asked = || -> Vec<String> {
        server.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path.rsplit('/').next().unwrap())).collect()
    };
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(asked(), ["GET pods", "GET pods", "DELETE expired"]);
    assert_eq!(server.seen()[2].body["preconditions"], json!({"uid": "expired", "resourceVersion": "7"}));
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert_eq!(asked()[3..], ["DELETE later"], "at its time, and once");
    drop(watch);
    tokio::time::sleep(Duration::from_secs(4_000)).await;
    assert_eq!(asked().len(), 4, "with the watch the sweeping ends");
}
