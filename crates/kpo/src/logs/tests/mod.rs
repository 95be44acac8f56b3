//! Logs against a node that keeps a log file, filters it as the kubelet does, and breaks off where it is told to.

mod cursors;
mod tails;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::*;
use crate::{KubernetesHook, request::Jitter, testing::exact_options};

/// 2026-11-23T22:10:07Z, in nanoseconds.
const BASE: i64 = 1_795_471_807_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// A line of the log file: nanoseconds after [`BASE`], and its bytes.
type Entry = (i64, Vec<u8>);

/// What happens to the answer to one log request.
#[derive(Clone, Debug)]
enum Plan {
    /// All bytes, then a clean end.
    Whole,
    /// So many bytes, then a break of the connection.
    Cut(usize),
    /// So many bytes, then the connection is silent.
    Hang(usize),
    /// All bytes; the clean end comes so many milliseconds later.
    EndAfter(u64),
    /// Line by line, each after so many milliseconds, then a clean end.
    Slowly(&'static [u64]),
    /// A refusal: code, reason, message.
    Refuse(u16, &'static str, &'static str),
    /// A 404 about something of this kind: what it is that there is none of.
    None(&'static str),
    /// The kubelet's words instead of a log.
    Words(&'static str),
}

#[derive(Default)]
struct NodeState {
    file: Vec<Entry>,
    plans: VecDeque<Plan>,
    asked: Vec<String>,
    /// Bytes of a chunk.
    chunk: usize,
    uid: &'static str,
    /// Whether the last line's end is missing.
    open_end: bool,
    /// Entries that the file loses before the nth log request: (request, lines).
    rotate: Option<(usize, usize)>,
    /// How many looks at the pod are not answered.
    unseen: u32,
}

/// API server and kubelet in one.
#[derive(Clone)]
struct Node {
    state: Arc<Mutex<NodeState>>,
    begun: Instant,
}

impl Node {
    fn new(file: Vec<Entry>, plans: impl IntoIterator<Item = Plan>) -> Self {
        let plans = plans.into_iter().collect();
        let state = NodeState { file, plans, chunk: 100, uid: "uid-a", ..NodeState::default() };
        Self { state: Arc::new(Mutex::new(state)), begun: Instant::now() }
    }

    fn state(&self) -> MutexGuard<'_, NodeState> {
        self.state.lock().expect("no test panics with the lock held")
    }

    fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn start(&self, options: LogOptions) -> LogStream {
        let node = self.clone();
        let service = tower::service_fn(move |request| std::future::ready(node.answer(&request)));
        let hook = KubernetesHook::from_client(kube::Client::new(service, "ns"), exact_options());
        let target =
            LogTarget { namespace: "ns".into(), pod: "a-1".into(), uid: "uid-a".into(), container: "base".into() };
        LogStream::start(hook.requests().clone(), target, options)
    }

    fn answer(&self, request: &Request<Body>) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, Infallible> {
        let mut state = self.state();
        let uri = request.uri();
        let line = format!("{} {}?{}", self.begun.elapsed().as_millis(), uri.path(), uri.query().unwrap_or_default());
        state.asked.push(line.trim_end_matches('?').replace("/api/v1/namespaces/ns/pods/", ""));
        if !uri.path().ends_with("/log") && state.unseen > 0 {
            state.unseen -= 1;
            return Ok(whole(503, json!({"kind": "Status", "code": 503, "message": "starting"}).to_string()));
        }
        if !uri.path().ends_with("/log") {
            return Ok(whole(200, json!({"metadata": {"uid": state.uid}}).to_string()));
        }
        let logs = state.asked.iter().filter(|line| line.contains("/log")).count();
        if let Some((_, lines)) = state.rotate.take_if(|(at, _)| *at == logs) {
            state.file.drain(..lines);
        }
        let since = uri.query().and_then(|q| q.split("sinceTime=").nth(1)).map(|since| {
            let text = since.split('&').next().expect("a value").replace("%3A", ":");
            Time::parse(&text).expect("an RFC 3339 second").0 - BASE
        });
        let tail = uri.query().and_then(|q| q.split("tailLines=").nth(1)).map(|n| n.parse().expect("a number"));
        let text = state.read(since.unwrap_or(i64::MIN), tail.unwrap_or(usize::MAX));
        let chunk = state.chunk;
        let plan = state.plans.pop_front().unwrap_or(Plan::Whole);
        Ok(match plan {
            Plan::Refuse(code, reason, message) => {
                let status = json!({"kind": "Status", "code": code, "reason": reason, "message": message});
                whole(code, status.to_string())
            }
            Plan::None(kind) => {
                let details = json!({"kind": kind, "name": "a-1"});
                let status = json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": format!("no {kind}"), "details": details});
                whole(404, status.to_string())
            }
            Plan::Words(words) => whole(200, words.into()),
            Plan::Whole => body(&text, chunk, After::End(0)),
            Plan::EndAfter(millis) => body(&text, chunk, After::End(millis)),
            Plan::Slowly(pauses) => slowly(&text, pauses),
            Plan::Cut(at) => body(&text[..at.min(text.len())], chunk, After::Cut),
            Plan::Hang(at) => body(&text[..at.min(text.len())], chunk, After::Hang),
        })
    }
}

impl NodeState {
    /// The file's last lines, those of them from a second on, as the kubelet prints it.
    fn read(&self, since: i64, tail: usize) -> Vec<u8> {
        let mut text = Vec::new();
        let last = &self.file[self.file.len().saturating_sub(tail)..];
        for (time, line) in last.iter().filter(|(time, _)| *time >= since) {
            let at = jiff::Timestamp::from_nanosecond(i128::from(BASE + time)).expect("in range");
            text.extend(format!("{at:.9} ").into_bytes());
            text.extend(line);
            text.push(b'\n');
        }
        text.pop_if(|_| self.open_end);
        text
    }
}

enum After {
    End(u64),
    Cut,
    Hang,
}

fn whole(code: u16, text: String) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let body = http_body_util::Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
    Response::builder().status(code).body(body.boxed_unsync()).expect("a valid answer")
}

fn body(text: &[u8], chunk: usize, after: After) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let chunks: Vec<_> = text.chunks(chunk).map(|c| Ok(Frame::data(Bytes::copy_from_slice(c)))).collect();
    let end = stream::once(async move {
        match after {
            After::End(millis) => {
                sleep(Duration::from_millis(millis)).await;
                None
            }
            After::Cut => Some(Err(io::ErrorKind::ConnectionReset.into())),
            After::Hang => std::future::pending().await,
        }
    });
    let frames = stream::iter(chunks).chain(end.filter_map(std::future::ready));
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames.boxed())))
}

fn slowly(text: &[u8], pauses: &'static [u64]) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect();
    let frames = stream::iter(lines.into_iter().zip(pauses)).then(|(line, pause)| async move {
        sleep(Duration::from_millis(*pause)).await;
        Ok(Frame::data(line))
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames.boxed())))
}

fn options() -> LogOptions {
    let mut options = LogOptions::default();
    options.backoff.jitter = Jitter::none();
    options
}

fn entries(lines: &[(i64, &str)]) -> Vec<Entry> {
    lines.iter().map(|(time, line)| (*time, line.as_bytes().to_vec())).collect()
}

/// An event in a line.
fn say(event: &LogEvent) -> Vec<String> {
    let at = |time: Option<Time>| time.map_or("?".into(), |t| (t.0 - BASE).to_string());
    match event {
        LogEvent::Lines(batch) => batch.iter().map(|line| String::from_utf8_lossy(line.bytes).into_owned()).collect(),
        LogEvent::Gap(gap) => vec![format!("gap {}..{} {:?}", at(gap.after), at(gap.before), gap.cause)],
        LogEvent::Trouble(trouble) => vec![format!("trouble, again in {:?}: {}", trouble.retry_in, trouble.failure)],
        LogEvent::End => vec!["end".into()],
    }
}

/// All that comes until the end.
async fn rest(stream: &mut LogStream) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(event) = stream.next().await {
        said.extend(say(&event));
        assert!(said.len() < 100_000, "it does not end");
    }
    said
}

/// All that comes within so many milliseconds.
async fn within(stream: &mut LogStream, millis: u64) -> Vec<String> {
    let mut said = Vec::new();
    let until = Instant::now() + Duration::from_millis(millis);
    while let Ok(Some(event)) = tokio::time::timeout_at(until, stream.next()).await {
        said.extend(say(&event));
    }
    said
}

const FOLLOW: &str = "a-1/log?container=base&timestamps=true&follow=true";
const READ: &str = "a-1/log?container=base&timestamps=true";

#[tokio::test(start_paused = true)]
async fn an_unbroken_follow_that_ends_with_its_container_is_one_request() {
    let node = Node::new(entries(&[(1, "a"), (2, "b\r")]), [Plan::EndAfter(5000)]);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 5200).await, ["a", "b\r"]);
    log.ended();
    assert_eq!(rest(&mut log).await, ["end"]);
    assert_eq!(node.asked(), [format!("0 {FOLLOW}")]);
}

#[tokio::test(start_paused = true)]
async fn a_follow_that_ends_after_its_container_is_the_logs_end_without_a_wait() {
    let node = Node::new(entries(&[(1, "a"), (2, "b")]), [Plan::EndAfter(20)]);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 10).await, ["a", "b"]);
    log.ended();
    assert_eq!(rest(&mut log).await, ["end"]);
    assert_eq!(node.begun.elapsed(), Duration::from_millis(20));
    assert_eq!(node.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_log_that_still_flows_after_the_end_is_not_left_for_a_short_pause() {
    let node = Node::new(entries(&[(1, "a"), (2, "b"), (3, "c")]), [Plan::Slowly(&[0, 20, 100])]);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 10).await, ["a"]);
    log.ended();
    assert_eq!(rest(&mut log).await, ["b", "c", "end"]);
    assert_eq!(node.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_follow_that_ended_too_early_to_be_trusted_is_read_again() {
    let node = Node::new(entries(&[(1, "a"), (2, "b")]), [Plan::EndAfter(5000)]);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 5900).await, ["a", "b"]);
    node.state().file.push((3, b"c".to_vec()));
    log.ended();
    assert_eq!(rest(&mut log).await, ["c", "end"]);
    // The second in which the last line came, less the disorder that is allowed for.
    assert_eq!(node.asked()[1..], [format!("5900 {READ}&sinceTime=2026-11-23T22%3A10%3A06Z")]);
}

#[tokio::test(start_paused = true)]
async fn with_reread_always_it_is_read_once_more_in_any_case() {
    let node = Node::new(entries(&[(1, "a")]), [Plan::EndAfter(5000)]);
    let mut log = node.start(LogOptions { reread: Reread::Always, ..options() });
    within(&mut log, 5000).await;
    log.ended();
    assert_eq!(rest(&mut log).await, ["end"]);
    assert_eq!(node.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_follow_that_does_not_notice_the_end_is_left_and_the_rest_is_read() {
    let node = Node::new(entries(&[(1, "a"), (2, "b")]), [Plan::Hang(33)]);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 1000).await, ["a"]);
    log.ended();
    assert_eq!(rest(&mut log).await, ["b", "end"]);
    assert_eq!(node.asked()[1..], [format!("1025 {READ}&sinceTime=2026-11-23T22%3A10%3A06Z")]);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_over_already_is_read_without_following() {
    let node = Node::new(entries(&[(1, "a")]), []);
    let mut log = node.start(options());
    log.ended();
    assert_eq!(rest(&mut log).await, ["a", "end"]);
    assert_eq!(node.asked(), [format!("0 {READ}")]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_joined_by_time_and_content_and_only_with_the_same_pod() {
    let same = [(5 * SECOND, "x"), (5 * SECOND, "x"), (5 * SECOND, "y"), (5 * SECOND, "x"), (6 * SECOND, "z")];
    // Cut in the middle of the third line.
    let node = Node::new(entries(&same), [Plan::Cut(33 * 2 + 10), Plan::EndAfter(9000)]);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 9100).await, ["x", "x", "y", "x", "z"]);
    let since = "&sinceTime=2026-11-23T22%3A10%3A11Z";
    assert_eq!(node.asked()[1..], [format!("0 {FOLLOW}{since}"), "0 a-1".to_owned()]);
    node.state().uid = "uid-b";
    log.ended();
    assert_eq!(rest(&mut log).await, ["gap 6000000000..? PodGone(None)", "end"]);
}

/// Seen with an observer that came second: while it waited to ask once more whose log it had in its hands, the first one took the pod away.
#[tokio::test(start_paused = true)]
async fn a_log_that_goes_on_from_where_it_was_is_the_same_pods_whoever_cannot_say_so() {
    let node = Node::new(entries(&[(1, "a"), (SECOND, "b")]), [Plan::Cut(33), Plan::EndAfter(9000)]);
    node.state().unseen = 1;
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 100).await, ["a", "b"]);
    assert_eq!(node.asked().len(), 3, "{:?}", node.asked());
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_go_on_is_shown_when_it_is_known_whose_it_is() {
    for (ended, uid) in [(false, "uid-a"), (true, "uid-a"), (false, "uid-b"), (true, "uid-b")] {
        let node = Node::new(entries(&[(1, "a"), (2, "b"), (9 * SECOND, "d")]), [Plan::Cut(33)]);
        (node.state().rotate, node.state().unseen, node.state().uid) = (Some((2, 2)), 2, uid);
        let mut log = node.start(options());
        if ended {
            log.ended();
        }
        let said = within(&mut log, 5000).await.into_iter().filter(|line| !line.starts_with("trouble"));
        let after = if uid == "uid-a" { vec!["gap 1..9000000000 Rotated", "d"] } else { vec!["gap 1..? PodGone"] };
        let said: Vec<String> = said.filter(|line| line != "end").collect();
        assert_eq!(said.len(), 1 + after.len(), "{uid}, ended: {ended}: {said:?}");
        assert!(said[1..].iter().zip(after).all(|(is, begins)| is.starts_with(begins)), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_while_the_follow_was_broken_is_a_gap_with_both_sides() {
    let node = Node::new(entries(&[(1, "a"), (2, "b"), (3, "c"), (9 * SECOND, "d")]), [Plan::Cut(33)]);
    node.state().rotate = Some((2, 3));
    let mut log = node.start(options());
    let said = within(&mut log, 100).await;
    assert_eq!(said, ["a", "gap 1..9000000000 Rotated", "d"]);
    let gap = LogGap { after: Some(Time(BASE + 1)), before: Some(Time(BASE + SECOND)), cause: GapCause::Rotated };
    assert_eq!(gap.length(), Some(Duration::from_nanos(999_999_999)));
}

/// As seen on a real node: the follow was behind when the log was rotated, and was closed at the end of the old file, in the middle of a line.
#[tokio::test(start_paused = true)]
async fn a_follow_that_was_closed_at_the_end_of_a_rotated_file_is_not_the_whole_log() {
    let long = "x".repeat(1000);
    let mut file: Vec<_> = (1..=100).map(|n| (n, long.as_bytes().to_vec())).collect();
    file.push((101, b"this is line number ".to_vec()));
    let node = Node::new(file, [Plan::EndAfter(20)]);
    (node.state().open_end, node.state().chunk) = (true, 4096);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 10).await.len(), 100);
    log.ended();
    (node.state().file, node.state().open_end) = (entries(&[(102, "102"), (103, "this is line number 103")]), false);
    let cause = "gap 101..102 Rotated";
    assert_eq!(rest(&mut log).await, ["this is line number ", cause, "102", "this is line number 103", "end"]);
    assert_eq!(node.asked()[1..], [format!("20 {READ}&sinceTime=2026-11-23T22%3A10%3A06Z"), "20 a-1".to_owned()]);
}

/// The kubelet rotated a log that had been shown whole; what follows is nothing.
#[tokio::test(start_paused = true)]
async fn a_new_file_that_is_empty_is_no_gap() {
    let node = Node::new((1..=100).map(|n| (n, vec![b'x'; 1000])).collect(), [Plan::EndAfter(20)]);
    node.state().chunk = 4096;
    node.state().rotate = Some((2, 100));
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 10).await.len(), 100);
    log.ended();
    assert_eq!(rest(&mut log).await, ["end"]);
}

/// As seen on a real node: the follow was behind by two files, was closed at the end of its own, and the newest had nothing in it.
#[tokio::test(start_paused = true)]
async fn a_new_file_that_is_empty_is_a_gap_where_the_follow_was_late() {
    let pauses: Vec<u64> = (0..100).map(|n| if n == 50 { 12_000 } else { 0 }).collect();
    let node = Node::new((1..=100).map(|n| (n, vec![b'x'; 1000])).collect(), [Plan::Slowly(pauses.leak())]);
    node.state().rotate = Some((2, 100));
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 12_100).await.len(), 100);
    log.ended();
    assert_eq!(rest(&mut log).await, ["gap 100..? Overtaken", "end"]);
}

/// Cut within the first line of a new file, which then comes whole.
#[tokio::test(start_paused = true)]
async fn what_begins_a_new_file_is_shown_once() {
    let node = Node::new(entries(&[(1, "a"), (9 * SECOND, "begins the new file")]), [Plan::Cut(33 + 40)]);
    node.state().rotate = Some((2, 1));
    let mut log = node.start(options());
    let said = within(&mut log, 100).await;
    assert_eq!(said, ["a", "gap 1..9000000000 Rotated", "begins the new file"]);
}

/// A node that goes while the end of a line is awaited takes nothing that was read.
#[tokio::test(start_paused = true)]
async fn what_was_read_of_a_line_is_shown_when_the_log_is_given_up() {
    let down = || Plan::Refuse(500, "InternalError", "no route to host");
    let node = Node::new(entries(&[(1, "Error: x")]), std::iter::once(Plan::Whole).chain((0..99).map(|_| down())));
    node.state().open_end = true;
    let mut log = node.start(options());
    log.ended();
    let said = rest(&mut log).await;
    let told: Vec<_> = said.iter().filter(|line| !line.starts_with("trouble")).collect();
    assert_eq!((told[0].as_str(), told.len()), ("Error: x", 3), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn after_the_end_the_log_of_another_pod_of_that_name_is_not_shown() {
    let node = Node::new(entries(&[(1, "a")]), [Plan::Hang(33)]);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 1000).await, ["a"]);
    node.state().file = entries(&[(5 * SECOND, "not ours")]);
    node.state().uid = "uid-b";
    log.ended();
    assert_eq!(rest(&mut log).await, ["gap 1..? PodGone(None)", "end"]);
}

#[tokio::test(start_paused = true)]
async fn a_first_follow_that_comes_late_may_be_of_another_pod() {
    let down = || Plan::Refuse(503, "ServiceUnavailable", "starting");
    let reused = LogOptions { name_is_reused: true, ..options() };
    for (plans, options) in [(vec![Plan::EndAfter(9000)], reused), (vec![down(), Plan::EndAfter(9000)], options())] {
        for uid in ["uid-a", "uid-b"] {
            let node = Node::new(entries(&[(1, "a")]), plans.clone());
            node.state().uid = uid;
            let said = within(&mut node.start(options.clone()), 5000).await;
            assert_eq!(said.iter().any(|line| line == "a"), uid == "uid-a", "{said:?}");
            assert_eq!(said.iter().any(|line| line.starts_with("gap ?..? PodGone")), uid == "uid-b", "{said:?}");
            assert!(node.asked().last().is_some_and(|line| line.ends_with(" a-1")), "{:?}", node.asked());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lines_out_of_order_by_microseconds_are_neither_lost_nor_doubled() {
    let file = entries(&[(8 * SECOND, "a"), (9 * SECOND + 5, "out"), (9 * SECOND - 4, "err"), (9 * SECOND + 6, "b")]);
    for cut in 0..34 * 4 {
        let node = Node::new(file.clone(), [Plan::Cut(cut)]);
        let mut log = node.start(options());
        let said = within(&mut log, 60_000).await;
        let lines: Vec<_> = said.iter().filter(|l| !l.starts_with("trouble")).collect();
        assert_eq!(lines, ["a", "out", "err", "b"], "cut at {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_of_a_mebibyte_survives_cuts_within_it() {
    let long: Vec<u8> = (0..1u32 << 20).map(|n| b'a' + (n % 23) as u8).collect();
    let file = vec![(1, b"before".to_vec()), (2, long.clone()), (2, b"after".to_vec())];
    let cuts = [100, 300_000, 300_001, 700_000, (1 << 20) + 60, 900_000].map(Plan::Cut);
    let node = Node::new(file, cuts);
    node.state().chunk = 16 << 10;
    let mut log = node.start(options());
    log.ended();
    let mut got = Vec::new();
    while let Some(event) = log.next().await {
        if lines_of(event, &mut got) {
            break;
        }
    }
    assert!(got == [b"before".to_vec(), long, b"after".to_vec()]);
}

#[tokio::test(start_paused = true)]
async fn not_started_yet_is_asked_again_and_a_container_that_never_starts_has_no_log() {
    let waiting =
        || Plan::Refuse(400, "BadRequest", r#"container "base" in pod "a-1" is waiting to start: PodInitializing"#);
    let node = Node::new(entries(&[(1, "a")]), [waiting(), waiting(), waiting(), Plan::EndAfter(100_000)]);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 5000).await, ["a"]);
    let at: Vec<_> = node.asked().iter().map(|l| l.split(' ').next().expect("a time").to_owned()).collect();
    assert_eq!(at, ["0", "250", "750", "1750"]);

    let node = Node::new(vec![], (0..9).map(|_| waiting()));
    let mut log = node.start(options());
    sleep(Duration::from_millis(300)).await;
    log.ended();
    assert_eq!(rest(&mut log).await, ["end"]);
    assert_eq!(node.asked().len(), 3);
}

/// As seen on a real node under load: after 3,586,964 lines at full speed the next one was 16 s younger, and came 5 s late; some 3.4 million lines
/// were in files that the kubelet had rotated away and never read.
#[tokio::test(start_paused = true)]
async fn a_follow_that_is_late_after_a_pause_may_have_been_overtaken() {
    let soon = crate::hook::system_clock().0 - BASE + 3600 * SECOND;
    let rows = [(16, 5, 11_000, true), (16, 0, 11_000, false), (1, 5, 11_000, false), (16, 5, 1_000, false)];
    for (pause, late, size, overtaken) in rows {
        let mut file: Vec<_> = (0..100).map(|n| (soon + n, vec![b'x'; size])).collect();
        file.push((soon + pause * SECOND, b"next".to_vec()));
        let mut pauses = vec![0; 100];
        pauses.push((pause + late).unsigned_abs() * 1000);
        let node = Node::new(file, [Plan::Slowly(pauses.leak())]);
        let said = within(&mut node.start(options()), 30_000).await;
        let gaps = said.iter().filter(|line| line.starts_with("gap")).count();
        assert_eq!(gaps, usize::from(overtaken), "{pause} {late} {size}");
        assert!(said[100].ends_with("Overtaken") == overtaken && said.last().is_some_and(|line| line == "next"));
    }
}

/// As seen on a real cluster: a kubelet that has just been started does not know its pods yet, and of a node that was deleted the API server says
/// that there is none; the pod is there.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_not_found_is_asked_for_again_while_its_pod_is_there() {
    for kind in ["pods/log", "nodes"] {
        let node = Node::new(entries(&[(1, "a"), (2, "b")]), [Plan::Cut(33), Plan::None(kind), Plan::EndAfter(9000)]);
        let mut log = node.start(options());
        let said = within(&mut log, 5000).await;
        assert_eq!(said, ["a".to_owned(), format!("trouble, again in 2s: no {kind}"), "b".to_owned()]);
        node.state().plans = [Plan::None(kind), Plan::None("pods")].into();
        log.ended();
        let gone = format!("gap 2..? {:?}", GapCause::PodGone(Some(format!("no {kind}"))));
        assert_eq!(rest(&mut log).await[1..], [gone, "end".to_owned()]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_is_a_gap_with_what_hindered() {
    let unreachable = "Get \"https://10.0.0.7:10250/containerLogs\": dial tcp: no route to host";
    let hindered = (0..3).map(|_| Plan::Refuse(500, "InternalError", unreachable));
    let gone = Plan::Refuse(404, "NotFound", "pods \"a-1\" not found");
    let plans = [Plan::Cut(33)].into_iter().chain(hindered).chain([gone]);
    let node = Node::new(entries(&[(1, "a"), (2, "b")]), plans);
    let mut log = node.start(options());
    let said = rest(&mut log).await;
    assert_eq!(said[0], "a");
    assert_eq!(said[1], format!("trouble, again in 2s: the API server failed with 500: {unreachable}"));
    let cause = GapCause::PodGone(Some(format!("the API server failed with 500: {unreachable}")));
    assert_eq!(said[4..], [format!("gap 1..? {cause:?}"), "end".to_owned()]);
    assert_eq!(node.asked().len(), 5, "nothing is asked for once the pod is gone");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_of_a_line_is_shown_when_the_pod_goes() {
    let gone = Plan::Refuse(404, "NotFound", "pods \"a-1\" not found");
    let node = Node::new(entries(&[(1, "abcdef")]), [Plan::Cut(34), gone]);
    let mut log = node.start(options());
    assert_eq!(rest(&mut log).await, ["abc", "gap 1..? PodGone(None)", "end"]);
}

/// Later bodies broke off before they came to what the first one ended in.
#[tokio::test(start_paused = true)]
async fn of_an_old_line_that_came_again_in_part_nothing_is_shown_when_the_pod_goes() {
    let file = entries(&[(1, "aaaa"), (2, "bbbb"), (3, "cccc")]);
    let gone = Plan::Refuse(404, "NotFound", "pods \"a-1\" not found");
    let node = Node::new(file, [Plan::Cut(2 * 36 + 33), Plan::Cut(33), Plan::Cut(33), gone]);
    let said = rest(&mut node.start(options())).await.into_iter().filter(|line| !line.starts_with("trouble"));
    assert_eq!(said.collect::<Vec<_>>()[..3], ["aaaa", "bbbb", "cc"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_nobody_may_read_is_a_gap_after_a_moment() {
    let message = "pods \"a-1\" is forbidden: cannot get resource \"pods/log\"";
    let node = Node::new(vec![], (0..50).map(|_| Plan::Refuse(403, "Forbidden", message)));
    let mut log = node.start(options());
    log.ended();
    let said = rest(&mut log).await;
    let gap = format!("gap ?..? {:?}", GapCause::Forbidden(message.into()));
    assert_eq!(said.iter().filter(|l| !l.starts_with("trouble")).collect::<Vec<_>>(), [&gap, "end"]);
    assert!(node.asked().last().expect("some").starts_with("5000 "), "{:?}", node.asked());
}

#[tokio::test(start_paused = true)]
async fn the_kubelets_word_that_the_container_is_gone_is_a_gap() {
    let words = "unable to retrieve container logs for containerd://abc";
    let node = Node::new(vec![], [Plan::Words(words), Plan::Words(words)]);
    let mut log = node.start(options());
    log.ended();
    assert_eq!(
        rest(&mut log).await,
        [format!("gap ?..? {:?}", GapCause::ContainerGone(words.into())), "end".to_owned()]
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_line_needs_no_line_feed() {
    let node = Node::new(entries(&[(1, "a"), (2, "no line feed")]), [Plan::EndAfter(100)]);
    node.state().open_end = true;
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 200).await, ["a"]);
    log.ended();
    let Some(LogEvent::Lines(batch)) = log.next().await else { panic!("no line") };
    assert!(batch.iter().all(|line| line.partial && line.bytes == b"no line feed"));
    assert_eq!(rest(&mut log).await, ["end"]);
}

/// As seen on a node under load: the log was read, and ended, before the runtime had written it to its end.
#[tokio::test(start_paused = true)]
async fn a_rest_that_ends_within_a_line_is_read_again() {
    let node = Node::new(entries(&[(1, "a"), (2, "this is li")]), [Plan::Hang(33)]);
    node.state().open_end = true;
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 1000).await, ["a"]);
    log.ended();
    assert_eq!(within(&mut log, 50).await, [""; 0]);
    (node.state().file, node.state().open_end) = (entries(&[(1, "a"), (2, "this is line b"), (3, "c")]), false);
    assert_eq!(rest(&mut log).await, ["this is line b", "c", "end"]);
    let at: Vec<_> = node
        .asked()
        .iter()
        .filter(|line| line.contains("/log"))
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(at, ["0", "1025", "1125"]);
    // One that has no end takes a second.
    let node = Node::new(entries(&[(1, "a"), (2, "no line feed")]), []);
    node.state().open_end = true;
    let mut log = node.start(options());
    log.ended();
    assert_eq!(rest(&mut log).await, ["a", "no line feed", "end"]);
    assert_eq!((node.begun.elapsed(), node.asked().len()), (Duration::from_secs(1), 3));
}

#[tokio::test(start_paused = true)]
async fn a_silent_follow_is_opened_anew() {
    let node = Node::new(entries(&[(1, "a")]), [Plan::Hang(33), Plan::Hang(33)]);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 900_000).await, ["a"]);
    let asked = node.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked[1].starts_with("600000 "), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_read_stops_the_reading() {
    let file: Vec<_> = (0..10_000).map(|n| (n, vec![b'x'; 100])).collect();
    let node = Node::new(file, [Plan::EndAfter(0)]);
    node.state().chunk = 1000;
    let mut log = node.start(options());
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(log.events.len(), WAITING);
    assert_eq!(within(&mut log, 1000).await.len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn since_begins_at_its_nanosecond() {
    let node = Node::new(entries(&[(1, "a"), (7, "b"), (8, "c")]), [Plan::Hang(1000)]);
    let mut log = node.start(LogOptions { since: Some(Time(BASE + 7)), ..options() });
    assert_eq!(within(&mut log, 1000).await, ["b", "c"]);
    assert_eq!(node.asked(), [format!("0 {FOLLOW}&sinceTime=2026-11-23T22%3A10%3A07Z")]);
}

/// A log file: times that stand still, creep, or jump; contents that repeat; some lines long or binary.
fn log_file() -> impl Strategy<Value = Vec<Entry>> {
    let step = prop_oneof![Just(0i64), 1..5i64, -3..3i64, 900_000_000..1_100_000_000i64];
    let text = prop_oneof![
        Just(b"same".to_vec()),
        prop::collection::vec(any::<u8>().prop_filter("no line feed", |b| *b != b'\n'), 0..40),
        Just(vec![b'L'; 3000]),
    ];
    prop::collection::vec((step, text), 0..60).prop_map(|lines| {
        let mut now = 0;
        let stamp = |(step, text): (i64, Vec<u8>)| {
            now += step;
            (now, text)
        };
        lines.into_iter().map(stamp).collect()
    })
}

fn lines_of(event: LogEvent, into: &mut Vec<Vec<u8>>) -> bool {
    match event {
        LogEvent::Lines(batch) => {
            for line in batch.iter() {
                match into.last_mut().filter(|_| line.continues) {
                    Some(last) => last.extend(line.bytes),
                    None => into.push(line.bytes.to_vec()),
                }
            }
            false
        }
        LogEvent::Gap(gap) => panic!("nothing was lost, but: {gap:?}"),
        LogEvent::Trouble(_) => false,
        LogEvent::End => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever the connection breaks, each line comes once, in the file's order.
    #[test]
    fn each_line_once_in_order_through_any_cuts(
        file in log_file(),
        cuts in prop::collection::vec(0..6000usize, 0..12),
        chunk in 5..5000usize,
        ended_after in 0..20_000u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let (got, expected) = runtime.block_on(async {
            let expected: Vec<_> = file.iter().map(|(_, text)| text.clone()).collect();
            let node = Node::new(file, cuts.into_iter().map(Plan::Cut));
            node.state().chunk = chunk;
            let mut log = node.start(LogOptions { patience: Duration::from_secs(3600), ..options() });
            let mut got = Vec::new();
            let until = Instant::now() + Duration::from_millis(ended_after);
            let mut over = false;
            while let Ok(Some(event)) = tokio::time::timeout_at(until, log.next()).await {
                over |= lines_of(event, &mut got);
            }
            log.ended();
            while let Ok(Some(event)) = timeout(Duration::from_secs(3600), log.next()).await {
                over |= lines_of(event, &mut got);
            }
            assert!(over, "it did not end");
            (got, expected)
        });
        prop_assert_eq!(got, expected);
    }
}
