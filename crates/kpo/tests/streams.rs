//! Watches, logs and results against a whole cluster in-process: scripted containers under virtual time, and, for the result's scripts,
//! local processes.

use std::time::Duration;

use kpo::{
    KubernetesHook,
    logs::{LogEvent, LogOptions, LogStream, LogTarget},
    request::{Backoff, Call, Jitter, RequestOptions},
    result::{self, Plan, SidecarOptions},
    watch::{Observation, PodVersion, Sighting, Subscription, Watch, WatchOptions},
};
use kpo_core::Pod;
use kpo_lab::{
    Fault, Lab, LabOptions, Match, NodeSpec, ProcessRuntime, Runtime, ScriptedRuntime, World,
    log::Stream,
    process::{Isolation, ProcessOptions},
    scripted::{Behaviour, Matching, Run, Volume},
};
use serde_json::{Value, json};
use tokio::time::timeout;

fn lab(runtime: Box<dyn Runtime + Send>) -> (Lab, KubernetesHook) {
    let lab = Lab::in_process(World::new(Lab::EPOCH, 1, runtime), LabOptions::default());
    lab.with(|_, world| world.add_node(NodeSpec::named("node-1")));
    let backoff = Backoff { jitter: Jitter::none(), ..Backoff::default() };
    let mut options = RequestOptions { backoff, ..RequestOptions::default() };
    options.limit.per_second = 0;
    let hook = KubernetesHook::from_client(kube::Client::new(lab.service(), "default"), options);
    (lab, hook)
}

fn scripted(behaviour: Behaviour) -> (Lab, KubernetesHook) {
    lab(Box::new(ScriptedRuntime::new().with(Matching::all(), behaviour)))
}

fn pod(name: &str, task: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"kpo.rs/task": task}, "annotations": {"kpo.rs/nonce": "n"}},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [{"name": "base", "image": "busybox"}]},
    })
}

async fn create(hook: &KubernetesHook, pod: &Value) -> PodVersion {
    let created = hook.pods("default").create(pod, Call::forever()).await.expect("admitted").pod;
    let text = |key: &str| created["metadata"][key].as_str().expect("text").to_owned();
    PodVersion { name: text("name"), uid: text("uid"), resource_version: text("resourceVersion") }
}

fn options() -> WatchOptions {
    let mut options = WatchOptions::default();
    options.backoff.jitter = Jitter::none();
    options
}

/// The requests that the server saw, as `verb resource`.
fn requests(lab: &Lab) -> Vec<String> {
    lab.journal().iter().map(|seen| format!("{} {}", seen.verb, seen.resource)).collect()
}

/// Observations up to the first that shows the end of the program; the pod as it was then.
async fn until_over(subscription: &mut Subscription) -> (Vec<String>, Pod) {
    let mut told = Vec::new();
    for _ in 0..1000 {
        let observation =
            timeout(Duration::from_secs(3600), subscription.next()).await.expect("in time").expect("open");
        told.push(match &observation {
            Observation::Seen { sighting, pod } => format!("{sighting:?} {:?}", pod.status.phase),
            Observation::Gap { .. } => "gap".into(),
            Observation::Covered { gapless } => format!("covered {gapless}"),
            Observation::Absent { name, .. } => format!("absent {name}"),
            Observation::Trouble(_) => "trouble".into(),
            Observation::Forbidden(_) => "forbidden".into(),
        });
        if let Observation::Seen { pod, sighting } = observation
            && (pod.status.phase.is_terminal() || sighting == Sighting::Deleted)
        {
            return (told, std::sync::Arc::unwrap_or_clone(pod));
        }
    }
    panic!("it does not end: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn one_pod_is_seen_from_its_create_to_its_end_with_one_request() {
    let (lab, hook) = scripted(Behaviour::default());
    let created = create(&hook, &pod("a-1", "a")).await;
    let mut watch = Watch::pod(hook.requests().clone(), "default", &created, options());
    let (told, last) = until_over(&mut watch).await;
    assert_eq!(told[0], "covered true");
    assert_eq!(told.last().map(String::as_str), Some("Modified Succeeded"));
    assert_eq!(last.metadata.uid, created.uid);
    assert_eq!(requests(&lab), ["create pods", "watch pods"]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_tasks_share_a_list_and_a_watch() {
    let (lab, hook) = scripted(Behaviour::default());
    let watch = Watch::start(hook.requests().clone(), "default", options());
    let mut tasks = Vec::new();
    for n in 0..100 {
        let mut subscription = watch.subscribe(&format!("t{n}")).expect("free");
        let first = timeout(Duration::from_secs(9), subscription.next()).await.expect("in time");
        assert!(matches!(first, Some(Observation::Covered { gapless: true })));
        let created = create(&hook, &pod(&format!("t{n}-1"), &format!("t{n}"))).await;
        subscription.expect(&created);
        tasks.push((subscription, created));
    }
    for (mut subscription, created) in tasks {
        let (told, last) = until_over(&mut subscription).await;
        assert_eq!(last.metadata.uid, created.uid, "{told:?}");
        assert!(!told.iter().any(|line| line == "gap"), "{told:?}");
    }
    let reads: Vec<_> = requests(&lab).into_iter().filter(|line| line != "create pods").collect();
    assert_eq!(reads, ["list pods", "watch pods"]);
}

#[tokio::test(start_paused = true)]
async fn what_vanished_behind_a_compaction_is_absent_and_the_rest_is_listed() {
    let (lab, hook) = scripted(Behaviour { run: Run::UntilStopped, ..Behaviour::default() });
    let watch = Watch::start(hook.requests().clone(), "default", options());
    let (mut a, mut b) = (watch.subscribe("a").expect("free"), watch.subscribe("b").expect("free"));
    let (of_a, _) = (create(&hook, &pod("a-1", "a")).await, create(&hook, &pod("b-1", "b")).await);
    tokio::time::sleep(Duration::from_secs(60)).await;
    // The connection breaks; until it is back, a pod goes and the server forgets how.
    let outage = lab.faults().inject(Match::of("watch", "pods"), Fault::Drop);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let force = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": of_a.uid}});
    let request = kpo::request::ApiRequest::delete("default", "pods", "a-1", force);
    hook.requests().send(&request, Call::forever()).await.expect("deleted");
    tokio::time::sleep(Duration::from_secs(5)).await;
    lab.compact();
    drop(outage);
    let told = async |subscription: &mut Subscription| {
        let mut told = Vec::new();
        while let Ok(Some(observation)) = timeout(Duration::from_secs(200), subscription.next()).await {
            match observation {
                Observation::Absent { name, uid } => told.push(format!("absent {name} {}", uid == of_a.uid)),
                Observation::Gap { .. } => told.push("gap".into()),
                Observation::Covered { gapless } => told.push(format!("covered {gapless}")),
                _ => {}
            }
        }
        told
    };
    assert_eq!(told(&mut a).await, ["covered true", "gap", "absent a-1 true", "covered false"]);
    assert_eq!(told(&mut b).await, ["covered true", "gap", "covered false"]);
}

/// A program that says so many lines, one a millisecond.
fn talker(lines: u64) -> Behaviour {
    let volume =
        Volume { after: Duration::ZERO, every: Duration::from_millis(1), lines, width: 60, stream: Stream::Stdout };
    Behaviour { run: Run::For(Duration::from_millis(lines + 1000)), volumes: vec![volume], ..Behaviour::default() }
}

/// Follows a program's log to its end: the numbers of its lines.
async fn read_log(hook: &KubernetesHook) -> Vec<u64> {
    let created = create(hook, &pod("a-1", "a")).await;
    let mut watch = Watch::pod(hook.requests().clone(), "default", &created, options());
    let mut started = false;
    while !started {
        if let Some(Observation::Seen { pod, .. }) = watch.next().await {
            started = pod.status_of("base").is_some_and(|status| status.state.running.is_some());
        }
    }
    let target =
        LogTarget { namespace: "default".into(), pod: created.name, uid: created.uid, container: "base".into() };
    let mut log = LogStream::start(hook.requests().clone(), target, LogOptions::default());
    let mut numbers = Vec::new();
    loop {
        tokio::select! {
            Some(Observation::Seen { pod, .. }) = watch.next() => if pod.status.phase.is_terminal() {
                log.ended();
            },
            event = log.next() => match event.expect("an end") {
                LogEvent::Lines(batch) => numbers.extend(batch.iter().map(|line| {
                    let text = std::str::from_utf8(line.bytes).expect("text");
                    text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).expect("`line N …`")
                })),
                LogEvent::Gap(gap) => panic!("{gap:?}"),
                LogEvent::Trouble(_) => {}
                LogEvent::End => return numbers,
            },
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_undisturbed_log_is_one_request() {
    // Shorter than any file that a kubelet rotates (64 KiB).
    let (lab, hook) = scripted(talker(600));
    let numbers = read_log(&hook).await;
    assert!(numbers.iter().copied().eq(numbers[0]..numbers[0] + 600));
    assert_eq!(requests(&lab), ["create pods", "watch pods", "get pods/log"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_cut_again_and_again_comes_once_and_in_order() {
    let (lab, hook) = scripted(talker(20_000));
    // More than what comes a second time at most (1.1 s of lines), or nobody would ever get on.
    let cuts = lab.faults().inject(Match::of("get", "pods/log"), Fault::CutAfter(200_000));
    let numbers = read_log(&hook).await;
    assert!(numbers.iter().copied().eq(numbers[0]..numbers[0] + 20_000), "{} lines", numbers.len());
    assert!(cuts.hits() > 8, "{} cuts", cuts.hits());
}

/// A program of local processes leaves a result; what comes out of it.
async fn run_with_result(script: &str, add: impl FnOnce(&mut Value) -> Plan) -> Option<Result<String, String>> {
    let containers = ProcessRuntime::new(ProcessOptions::default()).expect("a folder");
    if let Isolation::Plain { reason } = containers.isolation() {
        assert!(!reason.is_empty(), "without mount namespaces there are no volumes, and it says why");
        return None;
    }
    let (_lab, hook) = lab(Box::new(containers));
    let mut manifest = pod("a-1", "a");
    manifest["spec"]["terminationGracePeriodSeconds"] = 20.into();
    manifest["spec"]["containers"][0]["command"] = json!(["sh", "-c", script]);
    let plan = add(&mut manifest);
    let created = create(&hook, &manifest).await;
    let mut watch = Watch::pod(hook.requests().clone(), "default", &created, options());
    let (told, last) = timeout(Duration::from_secs(120), until_over(&mut watch)).await.expect("it ends");
    assert_eq!(told.last().map(String::as_str), Some("Modified Succeeded"));
    let read = result::read(hook.requests(), &last, &plan, Call::forever()).await;
    Some(read.map_err(|error| error.to_string()))
}

fn with_sidecar(pod: &mut Value) -> Plan {
    let options = SidecarOptions { limit: 50_000, ..SidecarOptions::new("busybox") };
    result::add_sidecar(pod, "base", &options).expect("it fits")
}

#[tokio::test]
async fn a_sidecar_of_local_processes_hands_over_small_and_large_results() {
    let small = r#"echo '{"answer": 42}' > /airflow/xcom/return.json"#;
    if let Some(found) = run_with_result(small, with_sidecar).await {
        assert_eq!(found.as_deref(), Ok("{\"answer\": 42}\n"));
    }
    let large = r#"sleep 1; (printf '['; seq -s, 1 5000; printf ']') > /airflow/xcom/return.json"#;
    if let Some(found) = run_with_result(large, with_sidecar).await {
        let numbers: Vec<u64> = serde_json::from_str(&found.expect("whole")).expect("JSON");
        assert!(numbers.into_iter().eq(1..=5000));
    }
    if let Some(found) = run_with_result("sleep 1", with_sidecar).await {
        assert_eq!(found, Err("the program left no result: before it ends it must write one JSON value to the file \"/airflow/xcom/return.json\"".into()));
    }
}

#[tokio::test]
async fn the_programs_own_message_of_local_processes() {
    let add = |pod: &mut Value| result::add_message(pod, "base", "/r/out.json").expect("it fits");
    if let Some(found) = run_with_result("echo '[1]' > /r/out.json", add).await {
        assert_eq!(found.as_deref(), Ok("[1]\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_sidecar_is_admitted_where_pod_security_is_restricted() {
    let (_lab, hook) = scripted(Behaviour::default());
    let strict =
        json!({"metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let mut namespace = kpo::request::ApiRequest::create("x", "namespaces", strict);
    namespace.target.namespace = None;
    hook.requests().send(&namespace, Call::forever()).await.expect("a namespace");
    let mut manifest = pod("a-1", "a");
    manifest["spec"]["containers"][0]["securityContext"] = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    with_sidecar(&mut manifest);
    let created = hook.pods("strict").create(&manifest, Call::forever()).await.expect("admitted");
    let admitted: Pod = serde_json::from_value(created.pod).expect("a pod");
    assert_eq!(result::containers(&admitted), 2);
}
