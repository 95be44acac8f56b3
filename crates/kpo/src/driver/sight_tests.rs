//! What a watch of all tasks may miss at its beginning: against a server that answers by what it is asked, on virtual time.

use super::*;
use crate::manifest::{Request, manifest};
use crate::testing::{Ending, Reply, ScriptedServer, Seen};
use crate::watch::WatchOptions;
use kpo_core::{Carried, Cause, Class, Create, STATE_VERSION, Started};
use serde_json::{Value, json};
use std::time::Duration;

const CREATED: &str = "2026-11-23T22:10:07Z";

fn request() -> TaskRequest {
    let wanted = Request { image: Some("busybox".into()), args: vec!["true".into()], ..Request::default() };
    TaskRequest::new("t", "default", &manifest(wanted).expect("it is sound")).expect("it is small")
}

/// The first attempt's pod as it is found, bound to a node.
fn bound() -> Value {
    let TaskRequest { spec, template, .. } = request();
    let state = Carried { version: STATE_VERSION, spec: spec.clone(), began: Time(0), attempts: vec![], verdict: None };
    let create = Create {
        name: "t-1".to_owned(),
        attempt: 1,
        gated: false,
        protect: false,
        active_deadline_seconds: None,
        avoid_nodes: vec![],
        sent_before: None,
        previous_verdict: String::new(),
        observer: "before/1".to_owned(),
        state,
    };
    let mut pod = template.body(&spec, &create);
    for (key, value) in [("uid", "u1"), ("resourceVersion", "10"), ("creationTimestamp", CREATED)] {
        pod["metadata"][key] = json!(value);
    }
    pod["spec"]["nodeName"] = json!("node-1");
    pod["status"] = json!({"phase": "Pending"});
    pod
}

/// The same, turned away by its kubelet.
fn rejected() -> Value {
    let mut pod = bound();
    pod["metadata"]["resourceVersion"] = json!("30");
    pod["metadata"]["managedFields"] = json!([{"manager": "kubelet", "operation": "Update", "subresource": "status",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:phase": {}}}}]);
    let message = "Pod was rejected: Node didn't have enough resource: cpu, requested: 1, used: 1, capacity: 1";
    pod["status"] = json!({"phase": "Failed", "reason": "OutOfcpu", "message": message, "startTime": CREATED});
    pod
}

fn list(version: u32, pods: &[Value]) -> Reply {
    Reply::ok(json!({"kind": "PodList", "metadata": {"resourceVersion": version.to_string()}, "items": pods}))
}

fn hang() -> Reply {
    Reply::Timed { steps: vec![], end: Ending::Hang }
}

fn unwell() -> Reply {
    Reply::status(500, "InternalError", "etcdserver: leader changed")
}

/// A page of a hundred is the watch's, one of five hundred whoever attaches asks for.
fn kind(asked: &Seen) -> &'static str {
    let list = asked.method == "GET" && asked.path.ends_with("/pods");
    match asked.query.as_str() {
        query if query.contains("watch=true") => "watch",
        query if query.contains("limit=100") => "relist",
        _ if list => "list",
        _ if asked.path.ends_with("/events") => "events",
        _ if asked.method == "POST" => "create",
        _ => "pod",
    }
}

/// A cluster that moves on before it answers the watch's list, which takes it a second. Where told so, it first fails to answer that.
fn moved_on(to: Option<Value>, mut fails: bool) -> ScriptedServer {
    let mut watched = false;
    let moved = json!({"metadata": {"resourceVersion": "30"}, "items": to.as_slice()}).to_string();
    let slow = move || Reply::Timed { steps: vec![(1_000, moved.clone().into())], end: Ending::Clean };
    ScriptedServer::answering(move |asked| match kind(asked) {
        "relist" if std::mem::take(&mut fails) => unwell(),
        "relist" => slow(),
        "list" if !watched => list(10, &[bound()]),
        "list" => list(30, to.as_slice()),
        "watch" => {
            watched = true;
            hang()
        }
        "events" => Reply::ok(json!({"items": []})),
        _ => to.clone().map_or_else(|| Reply::not_found("t-1"), Reply::ok),
    })
}

/// What a follower learns of the first attempt.
async fn follow(server: &ScriptedServer) -> Option<Class> {
    let mut running = attach(&server.hook(), AttachRequest::follow("t", "default")).await.expect("it is there");
    let ended = async {
        while let Some(event) = running.next().await {
            if let What::Task(kpo_core::Event::Ended { verdict, .. }) = event.what {
                return Some(verdict.class);
            }
        }
        None
    };
    tokio::time::timeout(Duration::from_secs(3600), ended).await.expect("it does not hang")
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_vanishes_while_it_is_attached_to_is_missed() {
    let class = follow(&moved_on(None, true)).await;
    let vanished = Class::Disrupted { cause: Cause::Vanished, started: Started::Unknown };
    assert_eq!(class, Some(vanished));
}

#[tokio::test(start_paused = true)]
async fn what_happened_before_the_watch_stood_is_no_proof_of_anything() {
    let class = follow(&moved_on(Some(rejected()), false)).await;
    let rejected = Class::Disrupted { cause: Cause::Rejected, started: Started::Unknown };
    assert_eq!(class, Some(rejected));
}

/// Shows the task's pod to the list of that number, and to none before.
fn shown_to(number: u32) -> ScriptedServer {
    let (mut lists, shown) = (0, [bound()]);
    ScriptedServer::answering(move |asked| match kind(asked) {
        "list" => {
            lists += 1;
            list(10, if lists < number { &[] } else { &shown })
        }
        "relist" => list(10, &[]),
        _ => hang(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_task_between_two_attempts_is_found_and_one_that_has_no_pod_is_told_after_two_seconds() {
    for (number, seconds) in [(1, Some(0.0)), (2, Some(0.2)), (4, Some(2.0)), (5, None)] {
        let server = shown_to(number);
        let began = tokio::time::Instant::now();
        let attached = attach(&server.hook(), AttachRequest::follow("t", "default")).await;
        let lists = server.seen().iter().filter(|asked| kind(asked) == "list").count();
        assert_eq!((lists, began.elapsed().as_secs_f64()), (number.min(4) as usize, seconds.unwrap_or(2.0)));
        assert_eq!(attached.is_ok(), seconds.is_some());
    }
}

/// The kinds of requests until a pod was created beside others, and the second in which each came.
async fn created_beside(server: ScriptedServer) -> Vec<String> {
    let hook = server.hook();
    let watch = Watch::start(hook.requests().clone(), "default", WatchOptions::default());
    let running = run_beside(&hook, &watch, request()).expect("nobody else has that name");
    tokio::time::sleep(Duration::from_secs(30)).await;
    drop(running);
    let asked = server.seen().into_iter().map(|seen| format!("{} {}", seen.at.as_secs(), kind(&seen)));
    asked.take_while(|asked| !asked.ends_with("create")).chain(["create".to_owned()]).collect()
}

#[tokio::test(start_paused = true)]
async fn beside_others_a_pod_is_created_when_the_shared_watch_stands() {
    let empty = || json!({"metadata": {"resourceVersion": "9"}, "items": []}).to_string();
    let slow = move || Reply::Timed { steps: vec![(5_000, empty().into())], end: Ending::Clean };
    let server = ScriptedServer::answering(move |asked| match kind(asked) {
        "relist" => slow(),
        "create" => Reply::status(403, "Forbidden", "no"),
        _ => hang(),
    });
    assert_eq!(created_beside(server).await, ["0 relist", "5 watch", "create"]);
}

/// An outage of lists holds up no task.
#[tokio::test(start_paused = true)]
async fn beside_others_a_pod_is_created_at_once_where_the_shared_watch_does_not_stand() {
    for (answer, before) in [(unwell as fn() -> Reply, 0), (|| Reply::Silence, 10)] {
        let server = ScriptedServer::answering(move |asked| match kind(asked) {
            "create" => Reply::status(403, "Forbidden", "no"),
            _ => answer(),
        });
        assert_eq!(created_beside(server.clone()).await, ["0 relist", "create"]);
        let created = server.seen().into_iter().find(|seen| seen.method == "POST").expect("a create");
        assert_eq!(created.at.as_secs(), before);
    }
}
