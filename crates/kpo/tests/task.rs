//! Whole tasks on the lab, in-process, under paused time: the engine, the core and a cluster, without a socket.

use std::time::Duration;

use kpo::driver::{self, Running, TaskRequest, What};
use kpo::logs::LogEvent;
use kpo::manifest::{Request, manifest};
use kpo::request::RequestOptions;
use kpo::watch::{Watch, WatchOptions};
use kpo::{KubernetesHook, Naming, Outcome, Stop};
use kpo_lab::scripted::{Behaviour, Ending, Matching};
use kpo_lab::{Lab, LabOptions, NodeSpec, Resource, ScriptedRuntime, Time, World};
use serde_json::{Value, json};

fn world(behaviour: Behaviour) -> World {
    let runtime = ScriptedRuntime::new().with(Matching::container("base"), behaviour);
    let mut world = World::new(Time::from_secs(1_795_478_400), 7, Box::new(runtime));
    world.add_node(NodeSpec::named("node-1"));
    world
}

fn says_hello() -> Behaviour {
    Behaviour::runs(Duration::from_secs(2), Ending::exit(0)).says(Duration::from_secs(1), "hello")
}

fn hook(lab: &Lab<World>) -> KubernetesHook {
    KubernetesHook::from_client(kube::Client::new(lab.service(), "default"), RequestOptions::default())
}

fn request() -> TaskRequest {
    let wanted =
        Request { image: Some("busybox".into()), args: vec!["echo".into(), "hello".into()], ..Request::default() };
    TaskRequest::new("hello", "default", &manifest(wanted).expect("it is sound")).expect("it is small")
}

/// All that a task says, in order, and what it came to.
async fn finish(mut running: Running) -> (String, Outcome, Vec<kpo::TaskEvent>) {
    let (mut log, mut outcome, mut events) = (String::new(), None, Vec::new());
    while let Some(event) = running.next().await {
        match event.what {
            What::Log(piece) => {
                if let LogEvent::Lines(batch) = piece.event {
                    batch
                        .iter()
                        .for_each(|line| log += &format!("{}\n", String::from_utf8_lossy(line.bytes).trim_end()));
                }
            }
            What::Outcome(delivery) => outcome = Some(delivery.taken()),
            What::Task(event) => events.push(event),
            _ => {}
        }
    }
    (log, outcome.expect("an outcome before the end"), events)
}

/// The pods that are left once their kubelets had the time to let go of those that were deleted.
async fn pods(lab: &Lab<World>) -> Vec<String> {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    lab.with(|_, world| world.store().list(Resource::Pods, Some("default")).map(|pod| name(pod)).collect())
}

fn asked(lab: &Lab<World>) -> Vec<(String, u64)> {
    lab.requests().into_iter().map(|(kind, count)| (format!("{} {}", kind.verb, kind.resource), count)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_undisturbed_task_prints_its_log_and_leaves_nothing_behind() {
    let lab = Lab::in_process(world(says_hello()), LabOptions::default());
    let (log, outcome, _) = finish(driver::run(&hook(&lab), request())).await;
    assert_eq!(log, "hello\n");
    assert_eq!((outcome.verdict.as_deref(), outcome.exit_code), (Some("succeeded"), Some(0)), "{outcome:#?}");
    assert_eq!(pods(&lab).await, Vec::<String>::new());
    let total: u64 = asked(&lab).iter().map(|(_, count)| count).sum();
    assert!(total <= 5, "{:?}", asked(&lab));
}

/// They share one list and one watch: what is left is a create, a log and a delete each.
#[tokio::test(start_paused = true)]
async fn a_hundred_tasks_of_one_process_ask_for_little() {
    let lab = Lab::in_process(world(says_hello()), LabOptions::default());
    let hook = hook(&lab);
    let watch = Watch::start(hook.requests().clone(), "default", WatchOptions::default());
    let tasks = (0..100).map(|number| {
        let mut request = request();
        request.spec.task = format!("hello-{number}");
        finish(driver::run_beside(&hook, &watch, request).expect("each has a name of its own"))
    });
    for (log, outcome, _) in futures::future::join_all(tasks).await {
        assert_eq!((log.as_str(), outcome.verdict.as_deref()), ("hello\n", Some("succeeded")), "{outcome:#?}");
    }
    assert_eq!(pods(&lab).await, Vec::<String>::new());
    let total: u64 = asked(&lab).iter().map(|(_, count)| count).sum();
    assert!(total <= 320, "{:?}", asked(&lab));
}

#[tokio::test(start_paused = true)]
async fn a_users_cancel_stops_the_program_and_says_so() {
    let lab = Lab::in_process(world(Behaviour::forever()), LabOptions::default());
    let running = driver::run(&hook(&lab), request());
    let stopper = running.stopper();
    let ended = tokio::spawn(finish(running));
    tokio::time::sleep(Duration::from_secs(30)).await;
    stopper.stop(Stop::User);
    let (_, outcome, _) = ended.await.expect("no panic");
    assert_eq!((outcome.verdict.as_deref(), outcome.exit_code), (Some("cancelled"), Some(130)), "{outcome:#?}");
    assert_eq!(pods(&lab).await, Vec::<String>::new());
}

/// Runs a task on a node whose network is not up, and evicts its pod meanwhile.
async fn evicted_without_network(lab: &Lab<World>, request: TaskRequest, pod: &str) {
    lab.with(|_, world| world.network_mut().fail(None, Duration::from_secs(30)));
    let ended = tokio::spawn(finish(driver::run(&hook(lab), request)));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let client = kube::Client::new(lab.service(), "default");
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "default"}});
    let path = format!("/api/v1/namespaces/default/pods/{pod}/eviction");
    let evict = http::Request::post(path).body(eviction.to_string().into_bytes());
    client.request::<Value>(evict.expect("a request")).await.expect("it is evicted");
    let (log, outcome, _) = ended.await.expect("no panic");
    assert_eq!(log, "hello\n");
    assert_eq!((outcome.verdict.as_deref(), outcome.attempts.len()), (Some("succeeded"), 2), "{outcome:#?}");
    assert_eq!(pods(lab).await, Vec::<String>::new());
}

/// What was asked from the log on.
fn asked_from_the_log_on(lab: &Lab<World>) -> Vec<String> {
    let all = lab.journal().into_iter().map(|seen| format!("{} {}", seen.verb, seen.resource));
    all.skip_while(|asked| asked != "get pods/log").collect()
}

#[tokio::test(start_paused = true)]
async fn evicted_before_it_ran_it_is_made_again_and_runs_once() {
    let lab = Lab::in_process(world(says_hello()), LabOptions::default());
    evicted_without_network(&lab, request(), "hello-1").await;
    assert_eq!(asked_from_the_log_on(&lab), ["get pods/log", "delete pods"]);
}

#[tokio::test(start_paused = true)]
async fn of_a_name_that_another_pod_had_it_is_looked_whose_log_it_is() {
    let lab = Lab::in_process(world(says_hello()), LabOptions::default());
    let mut request = request();
    request.spec.naming = Naming::Fixed;
    evicted_without_network(&lab, request, "hello").await;
    assert_eq!(asked_from_the_log_on(&lab), ["get pods/log", "get pods", "delete pods"]);
}
