//! Faults of the way to the API server, in-process, under a paused clock.

mod common;

use std::time::Duration;

use common::{PODS, api_server, at, pod};
use http_body_util::BodyExt as _;
use kpo_lab::{ApiError, Fault, Match, Reply, Resource};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

#[tokio::test(start_paused = true)]
async fn a_lost_reply_leaves_its_effect() {
    let (lab, client) = api_server();
    let fault = lab.faults().inject(Match::of("create", "pods").name("task").nth(1), Fault::DropReplyAfterEffect);
    let error = client.send("POST", PODS, "application/json", &pod("task")).await.expect_err("broken");
    assert_eq!((error.kind(), fault.hits()), (std::io::ErrorKind::ConnectionReset, 1));
    let (code, status) = client.call("POST", PODS, pod("task")).await;
    assert_eq!((code, &status["reason"]), (409, &json!("AlreadyExists")));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_and_an_error_before_have_none() {
    let (lab, client) = api_server();
    let dropped = lab.faults().inject(Match::of("create", "pods").nth(1), Fault::Drop);
    client.send("POST", PODS, "application/json", &pod("task")).await.expect_err("broken");
    drop(dropped);
    let refused = lab.faults().inject(Match::of("create", "pods"), Fault::Status(Reply::status(503).retry_after(7)));
    let response = client.send("POST", PODS, "application/json", &pod("task")).await.expect("an answer");
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"7".parse().expect("a value")));
    drop(refused);
    assert_eq!(client.get(&at("task")).await.0, 404);
    let done = lab.faults().inject(Match::of("create", "pods"), Fault::StatusAfterEffect(Reply::status(504)));
    assert_eq!(client.call("POST", PODS, pod("task")).await.0, 504);
    drop(done);
    assert_eq!(client.get(&at("task")).await.0, 200);
    let page = Fault::Status(Reply::status(502).body("<html>bad gateway</html>"));
    let _page = lab.faults().inject(Match::any(), page);
    assert_eq!(client.get(&at("task")).await, (502, Value::from("<html>bad gateway</html>")));
}

#[tokio::test(start_paused = true)]
async fn a_delay_delays_and_a_silent_server_stays_silent() {
    let (lab, client) = api_server();
    let slow = lab.faults().inject(Match::any(), Fault::Delay(Duration::from_secs(3)));
    let begin = Instant::now();
    client.create(PODS, pod("task")).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
    drop(slow);
    let _silent = lab.faults().inject(Match::of("get", "pods"), Fault::HalfOpen);
    assert!(timeout(Duration::from_secs(600), client.get(&at("task"))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_open_watch_turns_half_open_for_good() {
    let (lab, client) = api_server();
    let mut events = client.watch(&format!("{PODS}?watch=1")).await;
    client.create(PODS, pod("a")).await;
    assert_eq!(events.brief().await, "ADDED a");
    let fault = lab.faults().inject(Match::of("watch", "pods"), Fault::HalfOpen);
    tokio::task::yield_now().await;
    assert!(events.is_silent(1).await);
    client.create(PODS, pod("b")).await;
    drop(fault);
    assert!(events.is_silent(3600).await, "the connection stays dead when the fault is lifted");
    assert_eq!(client.watch(&format!("{PODS}?watch=1")).await.brief().await, "ADDED a");
}

#[tokio::test(start_paused = true)]
async fn open_and_new_watches_break_and_close() {
    let (lab, client) = api_server();
    let mut events = client.watch(&format!("{PODS}?watch=1")).await;
    let refused = lab.faults().inject(Match::of("watch", "pods"), Fault::Status(Reply::status(503)));
    assert!(events.is_silent(1).await, "what is open is not refused");
    assert_eq!(refused.hits(), 0);
    drop(refused);
    let cut = lab.faults().inject(Match::of("watch", "pods"), Fault::Drop);
    assert!(events.next().await.is_err(), "broken in the middle");
    assert_eq!((cut.hits(), cut.seen()), (1, 0));
    drop(cut);
    let empty = lab.faults().inject(Match::of("watch", "pods"), Fault::CloseEmpty);
    assert_eq!(client.watch(&format!("{PODS}?watch=1")).await.next().await.expect("a clean end"), None);
    drop(empty);
    client.create(PODS, pod("a")).await;
    let _cut = lab.faults().inject(Match::of("watch", "pods"), Fault::CutAfter(10));
    let mut body =
        client.send("GET", &format!("{PODS}?watch=1"), "", &Value::Null).await.expect("an answer").into_body();
    let first = body.frame().await.expect("a frame").expect("data").into_data().expect("data");
    assert_eq!(&first[..], b"{\"type\":\"A");
    assert!(body.frame().await.expect("an error").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_unary_body_is_cut() {
    let (lab, client) = api_server();
    client.create(PODS, pod("a")).await;
    let _cut = lab.faults().inject(Match::of("get", "pods"), Fault::CutAfter(5));
    let mut body = client.send("GET", &at("a"), "", &Value::Null).await.expect("an answer").into_body();
    assert_eq!(body.frame().await.expect("a frame").expect("data").into_data().expect("data").len(), 5);
    assert!(body.frame().await.expect("an error").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_servers_own() {
    let (lab, client) = api_server();
    let conflict = ApiError::outdated(Resource::ResourceQuotas, "team-a");
    let _once = lab.faults().inject(Match::of("create", "pods").times(1), Fault::Status(Reply::refusal(&conflict)));
    let (code, status) = client.call("POST", PODS, pod("a")).await;
    assert_eq!(
        (code, &status["details"]["kind"], &status["reason"]),
        (409, &json!("resourcequotas"), &json!("Conflict"))
    );
    assert_eq!(client.call("POST", PODS, pod("a")).await.0, 201);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_too_slow_is_told_so_and_slows_nobody() {
    let (lab, client) = api_server();
    let mut slow = client.watch(&format!("{PODS}?watch=1")).await;
    let mut quick = client.watch(&format!("{PODS}?watch=1")).await;
    client.create(PODS, pod("a")).await;
    assert_eq!((slow.brief().await, quick.brief().await), ("ADDED a".to_owned(), "ADDED a".to_owned()));
    client.create(PODS, pod("b")).await;
    assert_eq!(quick.brief().await, "ADDED b");
    lab.compact();
    let (kind, status) = slow.next().await.expect("unbroken").expect("more");
    assert_eq!((kind.as_str(), &status["code"]), ("ERROR", &json!(410)));
    assert_eq!(slow.next().await.expect("a clean end"), None);
    client.create(PODS, pod("c")).await;
    assert_eq!(quick.brief().await, "ADDED c");
}
