//! A whole cluster in-process, under a paused clock: scripted containers, their logs, exec and attach through the API.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Client, PODS, at, pod};
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use kpo_lab::api::{LogTarget, SessionTarget};
use kpo_lab::log::Stream;
use kpo_lab::runtime::{Session, Waker};
use kpo_lab::scripted::{Behaviour, ExecReply, Line, Matching, Run};
use kpo_lab::{
    ApiError, Cluster, ContainerLog, Fault, Lab, LabOptions, Match, NodeSpec, Records, Resource, ScriptedRuntime,
    Store, Time, World,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};
use tower::ServiceExt as _;

/// A lab with one node, whose containers all behave so.
fn lab(behaviour: Behaviour) -> (Lab, Client<World>) {
    let runtime = ScriptedRuntime::new().with(Matching::all(), behaviour);
    let lab = Lab::in_process(World::new(Lab::EPOCH, 1, Box::new(runtime)), LabOptions::default());
    lab.with(|_, world| world.add_node(NodeSpec::named("node-1")));
    let client = Client::new(&lab);
    (lab, client)
}

fn line(after: u64, text: &str) -> Line {
    let (after, text) = (Duration::from_secs(after), Bytes::from(text.to_owned()));
    Line { after, stream: Stream::Stdout, text, newline: true }
}

/// Runs for ten seconds and says a line in the second and in the fifth.
fn talker() -> Behaviour {
    Behaviour {
        run: Run::For(Duration::from_secs(10)),
        lines: vec![line(2, "one"), line(5, "two")],
        ..Behaviour::default()
    }
}

async fn phases(client: &Client<World>, rv: &Value) -> Vec<String> {
    let target = format!(
        "{PODS}?watch=1&fieldSelector=metadata.name%3Dtask&resourceVersion={}",
        rv.as_str().expect("a version")
    );
    let mut events = client.watch(&target).await;
    let mut phases = vec!["Pending".to_owned()];
    while phases.last().is_none_or(|phase| phase != "Succeeded") {
        let (_, object) = events.next().await.expect("unbroken").expect("more");
        let phase = object["status"]["phase"].as_str().expect("a phase").to_owned();
        if phases.last() != Some(&phase) {
            phases.push(phase);
        }
    }
    phases
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_in_virtual_time() {
    let (lab, client) = lab(talker());
    let begin = (Instant::now(), std::time::Instant::now());
    let created = client.create(PODS, pod("task")).await;
    assert_eq!(phases(&client, &created["metadata"]["resourceVersion"]).await, ["Pending", "Running", "Succeeded"]);
    assert!(begin.0.elapsed() >= Duration::from_secs(10), "virtual");
    assert_eq!(lab.with(|_, world| world.livelock().cloned()), None);
    let text = client.get(&format!("{}/log?timestamps=true&tailLines=1", at("task"))).await.1;
    assert!(text.as_str().expect("text").ends_with("Z two\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_log_is_followed_to_its_end_and_cut_by_a_fault() {
    let (lab, client) = lab(talker());
    client.create(PODS, pod("task")).await;
    let waiting = client.get(&format!("{}/log", at("task"))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let target = format!("{}/log?follow=true", at("task"));
    let body = client.send("GET", &target, "", &Value::Null).await.expect("an answer").into_body();
    assert_eq!(&body.collect().await.expect("whole").to_bytes()[..], b"one\ntwo\n");
    assert_eq!(waiting.0, 400, "it had not started: {waiting:?}");
    let _cut = lab.faults().inject(Match::of("get", "pods/log"), Fault::CutAfter(6));
    let mut body = client.send("GET", &target, "", &Value::Null).await.expect("an answer").into_body();
    let mut seen = Vec::new();
    let broken = loop {
        match body.frame().await.expect("an error before the end") {
            Ok(frame) => seen.extend_from_slice(&frame.into_data().expect("data")),
            Err(error) => break error,
        }
    };
    assert_eq!((&seen[..], broken.kind()), (&b"one\ntw"[..], std::io::ErrorKind::ConnectionReset));
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_has_no_logs_to_give() {
    let (lab, client) = lab(Behaviour { run: Run::For(Duration::from_secs(1000)), ..talker() });
    client.create(PODS, pod("task")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    lab.with(|_, world| world.silence_node("node-1"));
    let (code, status) = client.get(&format!("{}/log", at("task"))).await;
    let text = "Get \"https://192.0.2.2:10250/containerLogs\": dial tcp 192.0.2.2:10250: i/o timeout";
    assert_eq!((code, status["message"].as_str()), (500, Some(text)));
    lab.with(|_, world| world.bring_back_kubelet("node-1"));
    assert_eq!(client.get(&format!("{}/log", at("task"))).await, (200, Value::from("one\n")));
}

/// A followed log of `task`, whose program writes a line each second, opened after three seconds.
async fn followed() -> (Lab, http::Response<kpo_lab::server::Body>) {
    let lines = (1..100).map(|second| line(second, "tick")).collect();
    let (lab, client) = lab(Behaviour { run: Run::For(Duration::from_secs(1000)), lines, ..Behaviour::default() });
    client.create(PODS, pod("task")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let target = format!("{}/log?follow=true", at("task"));
    let response = client.send("GET", &target, "", &Value::Null).await.expect("an answer");
    (lab, response)
}

/// What comes of a log within so many seconds, and whether it is over by then: None while it is open, else whether it broke.
async fn within(body: &mut kpo_lab::server::Body, seconds: u64) -> (usize, Option<bool>) {
    let (mut ticks, until) = (0, tokio::time::Instant::now() + Duration::from_secs(seconds));
    loop {
        match tokio::time::timeout_at(until, body.frame()).await {
            Err(_) => return (ticks, None),
            Ok(None) => return (ticks, Some(false)),
            Ok(Some(Err(_))) => return (ticks, Some(true)),
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().expect("data");
                ticks += data.iter().filter(|byte| **byte == b'\n').count();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_log_of_a_silent_kubelet_says_nothing_until_it_is_back() {
    let (lab, response) = followed().await;
    let mut body = response.into_body();
    within(&mut body, 3).await;
    lab.with(|_, world| world.silence_node("node-1"));
    assert_eq!(within(&mut body, 20).await, (0, None));
    lab.with(|_, world| world.bring_back_kubelet("node-1"));
    let (ticks, open) = within(&mut body, 1).await;
    assert!(ticks >= 20 && open.is_none(), "what was written meanwhile arrives: {ticks}");
}

#[tokio::test(start_paused = true)]
async fn an_open_log_hangs_with_its_machine_and_breaks_with_its_kubelet() {
    let (lab, response) = followed().await;
    let mut body = response.into_body();
    within(&mut body, 3).await;
    lab.with(|_, world| world.power_off_node("node-1"));
    assert_eq!(within(&mut body, 60).await, (0, None), "no end is told by a machine that is off");
    for reboot in [false, true] {
        let (lab, response) = followed().await;
        let mut body = response.into_body();
        within(&mut body, 3).await;
        lab.with(
            |_, world| if reboot { world.reboot_node("node-1", Records::Kept) } else { world.stop_kubelet("node-1") },
        );
        assert_eq!(within(&mut body, 10).await, (0, Some(true)), "reboot: {reboot}");
    }
}

/// Opens an exec over an in-memory connection.
async fn exec(lab: &Lab, query: &str) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
    let request = http::Request::get(format!("{}/exec?{query}", at("task")))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "v4.channel.k8s.io")
        .body(Full::new(Bytes::new()))
        .expect("a request");
    let response = lab.service().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-protocol"], "v4.channel.k8s.io");
    let upgraded = hyper::upgrade::on(response).await.expect("upgraded");
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

#[tokio::test(start_paused = true)]
async fn exec_answers_with_streams_status_and_a_normal_close() {
    let reply = ExecReply { stdout: "out".into(), stderr: "err".into(), exit_code: 3 };
    let behaviour = Behaviour { exec: Some(Arc::new(move |_, _| Some(reply.clone()))), ..talker() };
    let (lab, client) = lab(behaviour);
    client.create(PODS, pod("task")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut socket = exec(&lab, "command=x&stdout=True&stderr=True").await;
    let mut channels = std::collections::BTreeMap::<u8, Vec<u8>>::new();
    let close = loop {
        match socket.next().await.expect("more").expect("unbroken") {
            Message::Binary(bytes) => channels.entry(bytes[0]).or_default().extend_from_slice(&bytes[1..]),
            Message::Close(frame) => break frame.expect("a code"),
            other => panic!("unexpected {other:?}"),
        }
    };
    socket.flush().await.expect("the close is answered");
    assert_eq!((u16::from(close.code), &channels[&1][..], &channels[&2][..]), (1000, &b"out"[..], &b"err"[..]));
    let status: Value = serde_json::from_slice(&channels[&3]).expect("a Status");
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"], json!([{ "reason": "ExitCode", "message": "3" }]));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_lab_breaks_what_is_open() {
    let (lab, client) = lab(talker());
    let mut events = client.watch(&format!("{PODS}?watch=1")).await;
    drop(lab);
    assert!(events.next().await.is_err());
    assert!(client.send("GET", PODS, "", &Value::Null).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn quotas_are_given_back_when_pods_end() {
    let (_lab, client) = lab(talker());
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    client.create(quotas, json!({ "metadata": { "name": "q" }, "spec": { "hard": { "pods": "1" } } })).await;
    client.create(PODS, pod("task")).await;
    assert_eq!(client.call("POST", PODS, pod("next")).await.0, 403);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(client.get(&format!("{quotas}/q")).await.1["status"]["used"], json!({ "pods": "0" }));
    client.create(PODS, pod("next")).await;
}

/// A store whose components have a bug.
struct Buggy(Store);

impl Cluster for Buggy {
    fn store(&self) -> &Store {
        &self.0
    }

    fn store_mut(&mut self, _: Time) -> &mut Store {
        &mut self.0
    }

    fn advance(&mut self, _: Time) {
        assert!(self.0.list(Resource::Pods, None).next().is_none(), "a pod: the bug shows");
    }

    fn next_wakeup(&self) -> Option<Time> {
        None
    }

    fn open_log(&mut self, _: &LogTarget) -> Result<Option<Arc<ContainerLog>>, ApiError> {
        Ok(None)
    }

    fn open_session(&mut self, _: Time, _: &SessionTarget) -> Result<Session, ApiError> {
        Err(ApiError::no_such_path())
    }

    fn set_waker(&mut self, _: Waker) {}
}

#[tokio::test(start_paused = true)]
async fn a_component_that_panics_ends_the_lab_instead_of_hanging_it() {
    let lab = Lab::in_process(Buggy(Store::default()), LabOptions::default());
    let client = Client::new(&lab);
    let mut events = client.watch(&format!("{PODS}?watch=1")).await;
    client.create(PODS, pod("task")).await;
    let mut last = events.next().await;
    while let Ok(Some(_)) = last {
        last = events.next().await;
    }
    assert!(last.is_err(), "the watch breaks: {last:?}");
    assert!(client.send("GET", PODS, "", &Value::Null).await.is_err());
}
