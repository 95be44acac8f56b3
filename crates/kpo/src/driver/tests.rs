//! The driver against a scripted API server: the exact requests of a whole task, and the silence after.

use super::*;
use crate::manifest::{Request, manifest};
use crate::testing::{Ending, Reply, ScriptedServer};
use serde_json::{Value, json};

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
    let next = tokio::time::timeout(std::time::Duration::from_secs(60), running.next()).await;
    assert!(next.is_err(), "it waits for ever: {next:?}");
    assert_eq!(server.seen().len(), 3);
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
    let in_two_minutes = now + std::time::Duration::from_secs(120);
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
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    sweeper::start(&hook.pods("default"), &watch, clock);
    sweeper::start(&hook.pods("default"), &watch, clock);
    let asked = || -> Vec<String> {
        server.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path.rsplit('/').next().unwrap())).collect()
    };
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(asked(), ["GET pods", "GET pods", "DELETE expired"]);
    assert_eq!(server.seen()[2].body["preconditions"], json!({"uid": "expired", "resourceVersion": "7"}));
    tokio::time::sleep(std::time::Duration::from_secs(180)).await;
    assert_eq!(asked()[3..], ["DELETE later"], "at its time, and once");
    drop(watch);
    tokio::time::sleep(std::time::Duration::from_secs(4_000)).await;
    assert_eq!(asked().len(), 4, "with the watch the sweeping ends");
}
