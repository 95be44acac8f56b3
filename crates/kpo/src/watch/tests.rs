//! What the watch asks, when, and what it tells: on tokio's paused clock, against a scripted server.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::*;
use crate::{
    request::Jitter,
    testing::{Ending, Reply, ScriptedServer},
};

const WATCH: &str = "GET /api/v1/namespaces/ns/pods?watch=true&fieldSelector=metadata.name%3Da-1";
const TAIL: &str = "&allowWatchBookmarks=true&timeoutSeconds=290";
const LIST: &str = "GET /api/v1/namespaces/ns/pods?fieldSelector=metadata.name%3Da-1&limit=100";
const TASKS: &str = "GET /api/v1/namespaces/ns/pods?watch=true&labelSelector=kpo.rs%2Ftask";
const LIST_TASKS: &str = "GET /api/v1/namespaces/ns/pods?labelSelector=kpo.rs%2Ftask&limit=100";

fn pod(task: &str, version: u32) -> Value {
    json!({"metadata": {
        "name": format!("{task}-1"), "namespace": "ns", "uid": format!("uid-{task}"),
        "resourceVersion": version.to_string(), "labels": {"kpo.rs/task": task, "app": "x"},
    }})
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn bookmark(version: u32) -> String {
    event("BOOKMARK", &json!({"kind": "Pod", "metadata": {"resourceVersion": version.to_string()}}))
}

fn error(code: u16, reason: &str, message: &str, details: Value) -> String {
    event(
        "ERROR",
        &json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, "details": details}),
    )
}

fn expired() -> String {
    error(410, "Expired", "too old resource version: 5 (9)", json!({}))
}

/// A body whose chunks come so many seconds after one another.
fn body(steps: &[(u64, String)], end: Ending) -> Reply {
    let steps = steps.iter().map(|(seconds, text)| (seconds * 1000, Bytes::from(text.clone()))).collect();
    Reply::Timed { steps, end }
}

fn hang() -> Reply {
    body(&[], Ending::Hang)
}

fn list(version: u32, pods: &[Value]) -> Reply {
    Reply::ok(json!({"kind": "PodList", "metadata": {"resourceVersion": version.to_string()}, "items": pods}))
}

fn options() -> WatchOptions {
    let mut options = WatchOptions::default();
    options.backoff.jitter = Jitter::none();
    options
}

fn created() -> PodVersion {
    PodVersion { name: "a-1".into(), uid: "uid-a".into(), resource_version: "5".into() }
}

/// An observation in a line, with the second in which it came.
fn say(observation: &Observation, begun: Instant) -> String {
    let at = begun.elapsed().as_millis();
    let since = |since: Instant| since.duration_since(begun).as_millis();
    let what = match observation {
        Observation::Seen { sighting, pod } => {
            format!("{sighting:?} {} {}", pod.metadata.name, pod.metadata.resource_version)
        }
        Observation::Gap { since: from } => format!("gap since {}", since(*from)),
        Observation::Covered { gapless } => format!("covered {}", if *gapless { "gapless" } else { "after a gap" }),
        Observation::Absent { name, uid } => format!("absent {name} {uid}"),
        Observation::Trouble(trouble) => {
            format!("trouble since {}, again in {:?}: {}", since(trouble.since), trouble.retry_in, trouble.why)
        }
        Observation::Forbidden(forbidden) => format!("forbidden, every {:?}: {}", forbidden.every, forbidden.message),
    };
    format!("{at} {what}")
}

/// All that a subscription tells until `seconds` after the server was made.
async fn told(subscription: &mut Subscription, begun: Instant, seconds: u64) -> Vec<String> {
    let until = begun + Duration::from_secs(seconds);
    let mut lines = Vec::new();
    while let Ok(Some(observation)) = tokio::time::timeout_at(until, subscription.next()).await {
        lines.push(say(&observation, begun));
        assert!(lines.len() < 200, "a flood: {lines:#?}");
    }
    tokio::time::sleep_until(until).await;
    lines
}

/// Watches `a-1` against a script for so long: what was told, what was asked.
async fn watch_one(script: Vec<Reply>, seconds: u64) -> (Vec<String>, Vec<String>) {
    let begun = Instant::now();
    let server = ScriptedServer::new(script);
    let mut subscription = Watch::pod(server.hook().requests().clone(), "ns", &created(), options());
    let told = told(&mut subscription, begun, seconds).await;
    (told, server.transcript())
}

#[tokio::test(start_paused = true)]
async fn one_pod_from_its_create_on_without_a_list() {
    let live = format!("{}{}", event("MODIFIED", &pod("a", 6)), event("MODIFIED", &pod("a", 7)));
    let script = vec![body(&[(1, live), (2, event("DELETED", &pod("a", 8)))], Ending::Hang)];
    let (told, asked) = watch_one(script, 200).await;
    assert_eq!(told, ["0 covered gapless", "1000 Modified a-1 6", "1000 Modified a-1 7", "3000 Deleted a-1 8"]);
    assert_eq!(asked, [format!("0 {WATCH}&resourceVersion=5{TAIL}")]);
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_end_is_followed_at_once_from_the_last_bookmark_and_nothing_is_said() {
    let script = vec![
        body(&[(1, event("MODIFIED", &pod("a", 6))), (60, bookmark(90)), (229, "".into())], Ending::Clean),
        hang(),
    ];
    let (told, asked) = watch_one(script, 400).await;
    assert_eq!(told, ["0 covered gapless", "1000 Modified a-1 6"]);
    assert_eq!(
        asked,
        [format!("0 {WATCH}&resourceVersion=5{TAIL}"), format!("290000 {WATCH}&resourceVersion=90{TAIL}")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_each_watch_at_once_is_not_flooded_and_at_last_asked_for_lists() {
    let empty = || body(&[], Ending::Clean);
    let round = |version| [list(20 + version, &[pod("a", version)]), empty()];
    let script = vec![empty(), empty(), empty()];
    let (told, asked) = watch_one(script.into_iter().chain((6..11).flat_map(round)).collect(), 100).await;
    let kind = |line: &str| if line.contains("watch=true") { "watch" } else { "list" };
    let asked: Vec<_> = asked.iter().map(|line| (line.split(' ').next().expect("a time"), kind(line))).collect();
    let rounds = ["7000", "15000", "31000", "61000", "91000"].into_iter().flat_map(|at| [(at, "list"), (at, "watch")]);
    assert_eq!(
        asked,
        [("0", "watch"), ("1000", "watch"), ("3000", "watch")].into_iter().chain(rounds).collect::<Vec<_>>()
    );
    let trouble: Vec<_> = told.iter().filter(|line| line.contains("trouble")).collect();
    assert_eq!(trouble[0], "3000 trouble since 3000, again in 4s: the API server ends each watch as soon as it began");
    assert_eq!(trouble.len(), 6);
    let seen: Vec<_> = told.iter().filter(|line| !line.contains("trouble")).map(String::as_str).collect();
    let listed =
        ["7000 Listed a-1 6", "15000 Listed a-1 7", "31000 Listed a-1 8", "61000 Listed a-1 9", "91000 Listed a-1 10"];
    assert_eq!(seen, [&["0 covered gapless", "0 gap since 0"][..], &listed].concat(), "it never stands");
}

/// What comes in short watches is no less whole: the position is kept.
#[tokio::test(start_paused = true)]
async fn watches_that_end_soon_but_bring_something_are_gone_on_with() {
    let short = |version| body(&[(0, event("MODIFIED", &pod("a", version)))], Ending::Clean);
    let (told, asked) = watch_one((6..11).map(short).chain([hang()]).collect(), 60).await;
    assert!(asked.iter().all(|line| line.contains("watch=true")), "{asked:?}");
    assert!(!told.iter().any(|line| line.contains("after a gap")), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_half_open_connection_is_given_up_after_the_servers_own_limit() {
    let script = vec![body(&[(10, event("MODIFIED", &pod("a", 6)))], Ending::Hang), hang()];
    let (told, asked) = watch_one(script, 500).await;
    assert_eq!(
        told,
        [
            "0 covered gapless",
            "10000 Modified a-1 6",
            "295000 gap since 10000",
            "295000 trouble since 295000, again in 0ns: the connection to the API server seems to be open but is silent",
            "296000 covered gapless",
        ]
    );
    assert_eq!(asked[1], format!("295000 {WATCH}&resourceVersion=6{TAIL}"));
    assert_eq!(asked.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_cut_is_asked_for_again() {
    let whole = event("MODIFIED", &pod("a", 7));
    let first = format!("{}{}", event("MODIFIED", &pod("a", 6)), &whole[..whole.len() / 2]);
    let script = vec![body(&[(40, first)], Ending::Cut), body(&[(0, whole)], Ending::Hang)];
    let (told, asked) = watch_one(script, 100).await;
    assert_eq!(told, ["0 covered gapless", "40000 Modified a-1 6", "40000 Modified a-1 7"]);
    assert_eq!(asked[1..], [format!("40000 {WATCH}&resourceVersion=6{TAIL}")]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_position_is_told_as_a_gap_and_the_relist_says_what_is_there() {
    for refusal in [Reply::status(410, "Expired", "too old resource version"), body(&[(0, expired())], Ending::Clean)] {
        let as_event = matches!(refusal, Reply::Timed { .. });
        let first = body(&[(100, event("MODIFIED", &pod("a", 6)))], Ending::Cut);
        let script = vec![first, refusal, list(20, &[pod("a", 15)]), hang()];
        let (mut told, asked) = watch_one(script, 350).await;
        let gap = told.iter().position(|line| line.contains("gap since")).expect("a gap");
        assert_eq!(
            told.split_off(gap),
            ["100000 gap since 100000", "100000 Listed a-1 15", "100000 covered after a gap"],
            "{as_event}"
        );
        let list = format!("100000 {LIST}");
        assert_eq!(asked[2..], [list, format!("100000 {WATCH}&resourceVersion=20{TAIL}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_relist_names_what_it_does_not_show_and_does_not_repeat_what_is_known() {
    let begun = Instant::now();
    let next = json!({"metadata": {"resourceVersion": "30", "continue": "p2"}, "items": [pod("a", 6)]});
    let server = ScriptedServer::new([
        list(5, &[]),
        body(&[(1, event("ADDED", &pod("a", 6))), (0, event("ADDED", &pod("b", 7))), (1, expired())], Ending::Clean),
        Reply::ok(next),
        list(30, &[]),
        hang(),
    ]);
    let watch = Watch::start(server.hook().requests().clone(), "ns", options());
    let (mut a, mut b) = (watch.subscribe("a").expect("free"), watch.subscribe("b").expect("free"));
    assert!(watch.subscribe("a").is_none());
    assert_eq!(
        told(&mut a, begun, 100).await,
        ["0 covered gapless", "1000 Added a-1 6", "2000 gap since 2000", "2000 covered after a gap"]
    );
    let told = told(&mut b, begun, 100).await;
    assert_eq!(
        told[1..],
        ["100000 Added b-1 7", "100000 gap since 2000", "100000 absent b-1 uid-b", "100000 covered after a gap"]
    );
    let expected = [
        format!("0 {LIST_TASKS}"),
        format!("0 {TASKS}&resourceVersion=5{TAIL}"),
        format!("2000 {LIST_TASKS}"),
        format!("2000 {LIST_TASKS}&continue=p2"),
        format!("2000 {TASKS}&resourceVersion=30{TAIL}"),
    ];
    assert_eq!(server.transcript(), expected);
}

/// It may have been there before the list was made, and have gone.
#[tokio::test(start_paused = true)]
async fn a_pod_created_while_a_list_was_under_way_is_to_be_asked_for_where_the_list_does_not_show_it() {
    let begun = Instant::now();
    let slow = body(&[(5, json!({"metadata": {"resourceVersion": "9"}, "items": []}).to_string())], Ending::Clean);
    let server = ScriptedServer::new([slow, hang()]);
    let watch = Watch::start(server.hook().requests().clone(), "ns", options());
    let mut a = watch.subscribe("a").expect("free");
    tokio::time::sleep(Duration::from_secs(2)).await;
    a.expect(&created());
    assert_eq!(told(&mut a, begun, 60).await, ["5000 absent a-1 uid-a", "5000 covered gapless"]);
}

/// A create whose answer came late: a list has been made meanwhile, and did not show the pod.
#[tokio::test(start_paused = true)]
async fn a_pod_that_was_asked_for_before_a_list_was_complete_is_to_be_asked_for_again() {
    let begun = Instant::now();
    let server = ScriptedServer::new([list(5, &[]), body(&[(1, expired())], Ending::Hang), list(20, &[]), hang()]);
    let watch = Watch::start(server.hook().requests().clone(), "ns", options());
    let mut a = watch.subscribe("a").expect("free");
    a.said().await;
    let relists = a.relists();
    tokio::time::sleep(Duration::from_secs(2)).await;
    a.expect_since(relists, &created());
    a.expect(&PodVersion { name: "a-2".into(), ..created() });
    let told = told(&mut a, begun, 60).await;
    assert_eq!(
        told,
        ["2000 covered gapless", "2000 gap since 1000", "2000 covered after a gap", "2000 absent a-1 uid-a"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_behind_a_gap_may_have_missed_something_the_first_one_too() {
    let begun = Instant::now();
    let server = ScriptedServer::new([Reply::status(500, "InternalError", "etcd"), list(9, &[pod("a", 8)]), hang()]);
    let watch = Watch::start(server.hook().requests().clone(), "ns", options());
    let mut a = watch.subscribe("a").expect("free");
    a.said().await;
    a.expect(&created());
    let told = told(&mut a, begun, 60).await;
    assert_eq!(told[0], "0 gap since 0");
    assert_eq!(told[2..], ["1000 Listed a-1 8", "1000 covered after a gap"]);
}

#[tokio::test(start_paused = true)]
async fn a_continue_token_that_expired_begins_the_list_again() {
    let page = Reply::ok(json!({"metadata": {"resourceVersion": "30", "continue": "p2"}, "items": [pod("a", 6)]}));
    let gone = || Reply::status(410, "Expired", "The provided continue parameter is too old");
    let script = vec![gone(), page, gone(), list(40, &[pod("a", 6)]), hang()];
    let (told, asked) = watch_one(script, 60).await;
    let expected = [
        format!("0 {WATCH}&resourceVersion=5{TAIL}"),
        format!("0 {LIST}"),
        format!("0 {LIST}&continue=p2"),
        format!("1000 {LIST}"),
        format!("1000 {WATCH}&resourceVersion=40{TAIL}"),
    ];
    assert_eq!(asked, expected);
    assert_eq!(told.last().map(String::as_str), Some("1000 covered after a gap"));
}

#[tokio::test(start_paused = true)]
async fn a_resource_version_from_the_future_is_waited_for_and_at_last_given_up() {
    let future = || error(504, "Timeout", "Too large resource version: 5, current: 3", json!({"retryAfterSeconds": 1}));
    let wait = || body(&[(0, future())], Ending::Clean);
    let (_, asked) = watch_one(vec![wait(), wait(), hang()], 60).await;
    assert_eq!(asked.len(), 3);
    assert!(asked[2].starts_with("2000 ") && asked[2].contains("resourceVersion=5&"), "{asked:?}");

    let script = (0..61).map(|_| wait()).chain([list(2, &[]), hang()]).collect();
    let (told, asked) = watch_one(script, 100).await;
    assert_eq!(asked[61], format!("61000 {LIST}"));
    assert_eq!(told[told.len() - 2..], ["61000 absent a-1 uid-a", "61000 covered after a gap"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_ridden_out_from_the_same_position_and_said_with_its_beginning() {
    let script = vec![
        body(&[(100, event("MODIFIED", &pod("a", 6)))], Ending::Cut),
        Reply::Cut,
        Reply::status(500, "InternalError", "RequestWatchProgress failed"),
        Reply::status_with(429, "TooManyRequests", "slow down", json!({"retryAfterSeconds": 9})),
        hang(),
    ];
    let (told, asked) = watch_one(script, 300).await;
    let expected = [
        "100000 gap since 100000",
        "100000 trouble since 100000, again in 1s: the connection to the API server broke",
        "101000 trouble since 100000, again in 2s: the API server failed with 500: RequestWatchProgress failed",
        "103000 trouble since 100000, again in 9s: the API server asks to slow down: slow down",
        "113000 covered gapless",
    ];
    assert_eq!(told[2..], expected);
    assert!(asked[1..].iter().all(|line| line.contains("resourceVersion=6&")), "{asked:?}");
    assert_eq!(asked.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_tried_again_at_once_then_at_a_pace() {
    let refused = || Reply::status(401, "Unauthorized", "Unauthorized");
    let (_, asked) = watch_one(vec![refused(), refused(), refused(), hang()], 60).await;
    let at: Vec<_> = asked.iter().map(|line| line.split(' ').next().expect("a time")).collect();
    assert_eq!(at, ["0", "0", "2000", "6000"]);
}

#[tokio::test(start_paused = true)]
async fn garbage_is_asked_for_again_and_at_last_listed() {
    let garbage = || body(&[(0, "<html>\n".into())], Ending::Hang);
    let (told, asked) = watch_one(vec![garbage(), garbage(), garbage(), list(9, &[pod("a", 8)]), hang()], 60).await;
    let at: Vec<_> = asked.iter().map(|line| line.split(' ').next().expect("a time")).collect();
    assert_eq!(at, ["0", "1000", "3000", "7000", "7000"]);
    // A list was had; whether this watch stands shows in a second.
    assert_eq!(told[told.len() - 2..], ["7000 Listed a-1 8", "8000 covered after a gap"]);
}

/// A page of somebody in between, which ends without a line feed.
#[tokio::test(start_paused = true)]
async fn a_page_instead_of_a_watch_is_named() {
    let page = || body(&[(0, "<html>maintenance</html>".into())], Ending::Clean);
    let (told, asked) = watch_one(vec![page(), page(), page(), list(9, &[pod("a", 8)]), hang()], 60).await;
    let at: Vec<_> = asked.iter().map(|line| line.split(' ').next().expect("a time")).collect();
    assert_eq!(at, ["0", "1000", "3000", "7000", "7000"]);
    let said = "0 trouble since 0, again in 1s: the API server sent something that is no watch event";
    assert!(told.iter().any(|line| line == said), "{told:?}");

    // The beginning of an object is a watch that was cut.
    let half = || body(&[(0, "{\"type\":\"MODI".into())], Ending::Clean);
    let (told, _) = watch_one(vec![half(), hang()], 60).await;
    assert!(!told.iter().any(|line| line.contains("trouble")), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn where_watching_is_forbidden_pods_are_listed_again_and_again() {
    let no = || Reply::status(403, "Forbidden", "pods is forbidden: cannot watch");
    let script = vec![no(), list(6, &[pod("a", 6)]), list(7, &[pod("a", 6)]), list(8, &[])];
    let (told, asked) = watch_one(script, 12).await;
    assert_eq!(
        told,
        ["0 forbidden, every 5s: pods is forbidden: cannot watch", "0 Listed a-1 6", "10000 absent a-1 uid-a",]
    );
    assert_eq!(asked[1..], [format!("0 {LIST}"), format!("5000 {LIST}"), format!("10000 {LIST}")]);
}

#[tokio::test(start_paused = true)]
async fn where_listing_is_forbidden_too_the_known_pods_are_read_one_by_one() {
    let no = |verb: &str| Reply::status(403, "Forbidden", &format!("pods is forbidden: cannot {verb}"));
    let script = vec![no("watch"), no("list"), Reply::ok(pod("a", 6)), no("list"), Reply::not_found("a-1")];
    let (told, asked) = watch_one(script, 9).await;
    assert_eq!(told[1..], ["0 Listed a-1 6", "5000 absent a-1 uid-a"]);
    assert_eq!(asked[2], "0 GET /api/v1/namespaces/ns/pods/a-1");
    assert_eq!(asked.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_allowed_later_is_taken_up() {
    let no = || Reply::status(403, "Forbidden", "not yet");
    let mut script = vec![no()];
    script.extend((0..61).map(|_| list(6, &[pod("a", 6)])));
    script.push(hang());
    let (told, asked) = watch_one(script, 320).await;
    assert_eq!(told.last().map(String::as_str), Some("300000 covered after a gap"));
    assert_eq!(asked.last(), Some(&format!("300000 {WATCH}&resourceVersion=6{TAIL}")));
}

#[tokio::test(start_paused = true)]
async fn after_a_gap_without_the_right_to_list_the_pod_is_watched_from_now_on_and_read_when_that_watch_is_open() {
    let script = |read: Reply, added: &[(u64, String)]| {
        let (expired, no_list) = (Reply::status(410, "Expired", "too old"), Reply::status(403, "Forbidden", "no list"));
        vec![expired, no_list, body(added, Ending::Hang), read]
    };
    let (told, asked) = watch_one(script(Reply::ok(pod("a", 9)), &[(0, event("ADDED", &pod("a", 9)))]), 60).await;
    assert_eq!(told, ["0 gap since 0", "0 Listed a-1 9", "0 covered after a gap", "0 Added a-1 9"]);
    assert_eq!(asked[2..], [format!("0 {WATCH}{TAIL}"), "0 GET /api/v1/namespaces/ns/pods/a-1".to_owned()]);

    let (told, _) = watch_one(script(Reply::not_found("a-1"), &[]), 60).await;
    assert_eq!(told, ["0 gap since 0", "0 absent a-1 uid-a", "0 covered after a gap"]);
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_read_gets_the_last_sight_and_a_named_gap() {
    let begun = Instant::now();
    let many: String = (6..206).map(|version| event("MODIFIED", &pod("a", version))).collect();
    let server = ScriptedServer::new([list(5, &[]), body(&[(1, many)], Ending::Hang)]);
    let watch = Watch::start(server.hook().requests().clone(), "ns", options());
    let mut a = watch.subscribe("a").expect("free");
    tokio::time::sleep(Duration::from_secs(50)).await;
    let told = told(&mut a, begun, 60).await;
    assert!(told.len() <= 64, "{}", told.len());
    assert_eq!(told[0], "50000 gap since 0");
    assert_eq!(told.last().map(String::as_str), Some("50000 Modified a-1 205"));
    assert_eq!(told.iter().filter(|line| line.ends_with("covered after a gap")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn pods_of_nobody_go_to_the_sweeper_and_a_dropped_watch_falls_silent() {
    let begun = Instant::now();
    let server = ScriptedServer::new([list(5, &[]), body(&[(1, event("ADDED", &pod("z", 6)))], Ending::Cut)]);
    let watch = Watch::start(server.hook().requests().clone(), "ns", options());
    let mut sweeper = watch.unclaimed().expect("free");
    let mut a = watch.subscribe("a").expect("free");
    drop(watch);
    let first = timeout(Duration::from_secs(10), sweeper.next()).await.expect("in time").expect("open");
    assert_eq!(say(&first, begun), "1000 Added z-1 6");
    assert!(matches!(a.next().await, Some(Observation::Covered { gapless: true })));
    drop((sweeper, a));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(server.transcript().len(), 2);
}
