//! Whatever befalls the connection, what is told is what happened: each event once and in order, or a named gap and the state behind it.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{KubernetesHook, request::Jitter, testing::exact_options};

/// What befalls one watch.
#[derive(Clone, Debug)]
enum Plan {
    /// So many bytes, then a cut.
    Cut(usize),
    /// So many bytes, then a clean end.
    End(usize),
    /// What was before the newest event is forgotten: who asks for it is told so.
    Compact { as_status: bool },
    /// A refusal.
    Refuse(u16),
}

/// A store of pods with its history.
struct Server {
    events: Vec<(&'static str, Value)>,
    compacted: usize,
    plans: VecDeque<Plan>,
}

fn pod(name: u8, version: usize, uid: usize) -> Value {
    json!({"metadata": {
        "name": format!("p{name}"), "namespace": "ns", "uid": format!("u{uid}"), "resourceVersion": version.to_string(),
        "labels": {"kpo.rs/task": "t"},
    }})
}

/// A history of three pods that come, change and go; versions count from 1.
fn history(steps: &[(u8, bool)]) -> Vec<(&'static str, Value)> {
    let mut alive: BTreeMap<u8, usize> = BTreeMap::new();
    let event = |(index, (name, ends)): (usize, &(u8, bool))| {
        let version = index + 1;
        let kind = match (alive.get(name), ends) {
            (None, _) => "ADDED",
            (Some(_), true) => "DELETED",
            (Some(_), false) => "MODIFIED",
        };
        let uid = *alive.entry(*name).or_insert(version);
        if kind == "DELETED" {
            alive.remove(name);
        }
        (kind, pod(*name, version, uid))
    };
    steps.iter().enumerate().map(event).collect()
}

impl Server {
    fn answer(&mut self, request: &Request<Body>) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
        let query = request.uri().query().unwrap_or_default();
        if !query.contains("watch=true") {
            let list = json!({"metadata": {"resourceVersion": self.events.len().to_string()}, "items": self.present()});
            return whole(200, list.to_string());
        }
        let from = query.split("resourceVersion=").nth(1).and_then(|v| v.split('&').next());
        let from: usize = from.expect("a version").parse().expect("a number");
        let plan = self.plans.pop_front();
        let mut as_status = false;
        match plan {
            Some(Plan::Refuse(code)) => return whole(code, status(code)),
            Some(Plan::Compact { as_status: told_so }) => {
                (self.compacted, as_status) = (self.events.len(), told_so);
            }
            _ => {}
        }
        if from < self.compacted {
            let gone = status(410);
            let event = format!("{{\"type\":\"ERROR\",\"object\":{gone}}}\n");
            return if as_status { whole(410, gone) } else { whole(200, event) };
        }
        let line = |(kind, pod): &(&str, Value)| format!("{}\n", json!({"type": kind, "object": pod}));
        let text: String = self.events[from..].iter().map(line).collect();
        let cut = |at: usize| Bytes::copy_from_slice(&text.as_bytes()[..at.min(text.len())]);
        match plan {
            Some(Plan::Cut(at)) => streamed(cut(at), Some(Err(io::ErrorKind::ConnectionReset.into()))),
            Some(Plan::End(at)) => streamed(cut(at), None),
            _ => hanging(text.into()),
        }
    }

    fn present(&self) -> Vec<Value> {
        let mut present = BTreeMap::new();
        for (kind, pod) in &self.events {
            let name = pod["metadata"]["name"].to_string();
            match *kind {
                "DELETED" => drop(present.remove(&name)),
                _ => drop(present.insert(name, pod.clone())),
            }
        }
        present.into_values().collect()
    }
}

fn status(code: u16) -> String {
    let reason = if code == 410 { "Expired" } else { "InternalError" };
    json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "told to"}).to_string()
}

fn whole(code: u16, text: String) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let body = http_body_util::Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
    Response::builder().status(code).body(body.boxed_unsync()).expect("a valid answer")
}

fn streamed(text: Bytes, end: Option<io::Result<Frame<Bytes>>>) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let frames = stream::iter([Ok(Frame::data(text))].into_iter().chain(end));
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames.boxed())))
}

fn hanging(text: Bytes) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let frames = stream::iter([Ok(Frame::data(text))]).chain(stream::pending());
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames.boxed())))
}

/// All that is told within an hour.
async fn told(server: Server) -> Vec<Observation> {
    let server = Arc::new(Mutex::new(server));
    let service = tower::service_fn(move |request| {
        let answer = server.lock().expect("no panic with the lock held").answer(&request);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let hook = KubernetesHook::from_client(kube::Client::new(service, "ns"), exact_options());
    let mut options = WatchOptions { queue: 1000, ..WatchOptions::default() };
    options.backoff.jitter = Jitter::none();
    let selection = Selection::Tasks { namespace: "ns".into() };
    let watch = Watch::spawn(hook.requests().clone(), selection, Start::From("0".into()), options);
    let mut subscription = watch.subscribe("t").expect("free");
    let until = tokio::time::Instant::now() + Duration::from_secs(280);
    let mut told = Vec::new();
    while let Ok(Some(observation)) = tokio::time::timeout_at(until, subscription.next()).await {
        told.push(observation);
        assert!(told.len() < 2000, "a flood");
    }
    told
}

/// What a subscriber has learnt of each UID: its last version, and whether it is gone.
fn learnt(told: &[Observation]) -> BTreeMap<String, (usize, bool)> {
    let mut learnt = BTreeMap::new();
    for observation in told {
        match observation {
            Observation::Seen { sighting, pod } => {
                let version = pod.metadata.resource_version.parse().expect("a number");
                learnt.insert(pod.metadata.uid.clone(), (version, *sighting == Sighting::Deleted));
            }
            Observation::Absent { uid, .. } => learnt.get_mut(uid).expect("only what was known is absent").1 = true,
            _ => {}
        }
    }
    learnt
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let plan = prop_oneof![
        4 => (0..2500usize).prop_map(Plan::Cut),
        2 => (0..2500usize).prop_map(Plan::End),
        1 => any::<bool>().prop_map(|as_status| Plan::Compact { as_status }),
        1 => prop_oneof![Just(500u16), Just(503), Just(429), Just(401)].prop_map(Plan::Refuse),
    ];
    prop::collection::vec(plan, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_event_once_in_order_or_a_named_gap_and_the_state_behind_it(
        steps in prop::collection::vec((0..3u8, prop::bool::weighted(0.3)), 1..12),
        plans in plans(),
    ) {
        let events = history(&steps);
        let compacts = plans.iter().any(|plan| matches!(plan, Plan::Compact { .. }));
        // A server that ends watch after watch may withhold something.
        let withholds = plans.windows(3).any(|plans| plans.iter().all(|plan| matches!(plan, Plan::End(_))));
        let server = Server { events: events.clone(), compacted: 0, plans: plans.into() };
        let present: Vec<_> = server.present().iter().map(|pod| pod["metadata"]["uid"].as_str().expect("text").to_owned()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let told = runtime.block_on(told(server));

        let versions: Vec<usize> = told.iter().filter_map(|observation| match observation {
            Observation::Seen { pod, .. } => Some(pod.metadata.resource_version.parse().expect("a number")),
            _ => None,
        }).collect();
        let missed = told.iter().any(|o| matches!(o, Observation::Covered { gapless: false }));
        prop_assert!(compacts || withholds || !missed, "a gap without a cause: {:?}", told);
        if !missed {
            prop_assert!(versions.iter().copied().eq(1..=events.len()), "{:?}", versions);
        }
        let mut sorted = versions.clone();
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(sorted.len(), versions.len(), "something came twice: {:?}", versions);

        let learnt = learnt(&told);
        for (kind, pod) in &events {
            let (uid, version) = (pod["metadata"]["uid"].as_str().expect("text"), pod["metadata"]["resourceVersion"].as_str().expect("text"));
            let Some((last, gone)) = learnt.get(uid) else {
                prop_assert!(missed && !present.iter().any(|p| p == uid), "{} was never seen", uid);
                continue;
            };
            prop_assert_eq!(*gone, !present.iter().any(|p| p == uid), "{} {}", kind, uid);
            prop_assert!(*gone || *last >= version.parse().expect("a number"), "an old state of {}", uid);
        }
        let stands = told.iter().rev().find_map(|o| match o {
            Observation::Covered { .. } => Some(true),
            Observation::Gap { .. } => Some(false),
            _ => None,
        });
        prop_assert_eq!(stands, Some(true));
    }
}
