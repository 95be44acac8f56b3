//! Whole tasks on a lab with sockets: results by exec, who may fetch them and what an outage costs; and proxies on the way.

mod proxies;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kpo::driver::{self, AttachRequest, Piece, Running, TaskRequest, What};
use kpo::hook::{ConnectOptions, Source};
use kpo::logs::LogEvent;
use kpo::manager::{DeleteOptions, Precondition};
use kpo::manifest::{Request, manifest};
use kpo::request::{Backoff, Call, Jitter, RequestOptions};
use kpo::result::{self, CONTAINER, Plan, SidecarOptions};
use kpo::{KubernetesHook, OnFinish, Outcome, Stop, TaskEvent};
use kpo_core::ResultBy;
use kpo_lab::scripted::{Behaviour, Ending, ExecReply, Matching, OnTerm};
use kpo_lab::{Fault, FaultGuard, Lab, LabOptions, Match, NodeSpec, Reply, Resource, ScriptedRuntime, Time, World};
use sha2::{Digest, Sha256};

const RESULT: &str = r#"{"answer": 42}"#;
const PATH: &str = "/r/out.json";

/// The commands that were run in the result's container.
type Ran = Arc<Mutex<Vec<Vec<String>>>>;

/// The report of the script that is run there.
fn report() -> String {
    let sum: String = Sha256::digest(RESULT).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("kpo-result/1 inline {} {sum}\n{RESULT}", RESULT.len())
}

/// A cluster whose program succeeds, and whose result's container answers what it is asked.
async fn lab() -> (Lab<World>, KubernetesHook, Ran) {
    let ran = Ran::default();
    let book = Arc::clone(&ran);
    let waiter = Behaviour {
        exec: Some(Arc::new(move |request, _| {
            book.lock().unwrap().push(request.command.clone());
            Some(ExecReply { stdout: report().into(), ..ExecReply::default() })
        })),
        ..Behaviour::forever()
            .on_term(OnTerm::Ends { after: Duration::from_millis(10), ending: Ending::exit(0).saying(report()) })
    };
    let program = Behaviour::runs(Duration::from_millis(50), Ending::exit(0)).says(Duration::ZERO, "hello");
    let runtime =
        ScriptedRuntime::new().with(Matching::container("base"), program).with(Matching::container(CONTAINER), waiter);
    let mut world = World::new(Time::wall_clock(), 7, Box::new(runtime));
    world.add_node(NodeSpec::named("node-1"));
    let lab = Lab::serve(world, LabOptions::default()).await.expect("it listens");
    let hook = connect(lab.kubeconfig().expect("it has an address")).await;
    (lab, hook, ran)
}

async fn connect(kubeconfig: String) -> KubernetesHook {
    let backoff = Backoff { first: Duration::from_millis(10), jitter: Jitter::none(), ..Backoff::default() };
    let requests = RequestOptions { backoff, ..RequestOptions::default() };
    let options = ConnectOptions { source: Source::Text(kubeconfig), requests, ..ConnectOptions::default() };
    KubernetesHook::connect(options).await.expect("it is sound")
}

fn request() -> TaskRequest {
    let wanted = Request { image: Some("busybox".into()), ..Request::default() };
    let mut manifest = manifest(wanted).expect("it is sound");
    let options = SidecarOptions { path: PATH.into(), ..SidecarOptions::new("busybox") };
    let plan = result::add_waiter(&mut manifest.pod, "base", &options).expect("it fits");
    let mut request = TaskRequest::new("t", "default", &manifest).expect("it is small");
    request.spec.result = Some(ResultBy::Exec);
    request.plan = Some(plan);
    request
}

async fn attach(hook: &KubernetesHook, take_over: bool) -> Running {
    let request = AttachRequest { take_over, ..AttachRequest::follow("t", "default") };
    driver::attach(hook, request).await.expect("it is there")
}

/// What a task came to.
async fn finish(running: Running) -> Outcome {
    finish_telling(running).await.0
}

/// The same, and what its program said.
async fn finish_telling(mut running: Running) -> (Outcome, String) {
    let (mut outcome, mut log) = (None, String::new());
    while let Some(event) = running.next().await {
        match event.what {
            What::Outcome(delivery) => outcome = Some(delivery.taken()),
            What::Log(Piece { event: LogEvent::Lines(batch), container, .. }) if &*container == "base" => {
                batch.iter().for_each(|line| log += &format!("{}\n", String::from_utf8_lossy(line.bytes)));
            }
            _ => {}
        }
    }
    (outcome.expect("an outcome before the end"), log)
}

/// Until its pod was created; then its observer is gone.
async fn launch(hook: &KubernetesHook) {
    let mut running = driver::run(hook, request());
    while let Some(event) = running.next().await {
        if matches!(event.what, What::Task(TaskEvent::Created { .. })) {
            return;
        }
    }
}

fn living(lab: &Lab<World>) -> usize {
    let lives = |pod: &serde_json::Value| pod["metadata"]["deletionTimestamp"].is_null();
    lab.with(|_, world| world.store().list(Resource::Pods, Some("default")).filter(|pod| lives(pod)).count())
}

#[tokio::test]
async fn who_fetches_a_result_leaves_it_there_for_the_next() {
    let (lab, hook, ran) = lab().await;
    launch(&hook).await;
    for take_over in [false, false, true] {
        assert_eq!(living(&lab), 1);
        let outcome = finish(attach(&hook, take_over).await).await;
        assert_eq!(outcome.result.as_deref(), Some(RESULT), "{outcome:#?}");
    }
    assert_eq!(living(&lab), 0, "the active observer cleans up");
    assert_eq!(*ran.lock().unwrap(), vec![Plan::read_command(PATH, 4 << 20); 3], "and nothing else is run there");
}

#[tokio::test]
async fn a_result_outlives_the_container_that_hands_it_over() {
    let (lab, hook, ran) = lab().await;
    let _nobody_gets_in = lab.faults().inject(Match::of("get", "pods/exec"), Fault::Status(Reply::status(503)));
    let ended = tokio::spawn(finish(driver::run(&hook, request())));
    until(|| lab.requests().keys().any(|kind| kind.resource == "pods/exec")).await;
    let options = DeleteOptions { precondition: Precondition::uid(uid(&lab)), grace_seconds: None };
    hook.pods("default").delete("t-1", &options, Call::forever()).await.expect("it is there");
    let outcome = ended.await.expect("no panic");
    assert_eq!(outcome.result.as_deref(), Some(RESULT), "{outcome:#?}");
    assert!(ran.lock().unwrap().is_empty());
}

/// Neither the result nor the end of its container ever comes: whoever cancels is not held up by it.
#[tokio::test]
async fn a_cancel_ends_the_reading_too() {
    let (lab, hook, _) = lab().await;
    let _nobody_gets_in = lab.faults().inject(Match::of("get", "pods/exec"), Fault::Status(Reply::status(503)));
    let _nobody_stops_it = lab.faults().inject(Match::of("patch", "pods"), Fault::Status(Reply::status(403)));
    let mut request = request();
    request.spec.on_finish = OnFinish::All;
    let running = driver::run(&hook, request);
    let stopper = running.stopper();
    let ended = tokio::spawn(finish(running));
    until(|| lab.requests().keys().any(|kind| kind.resource == "pods/exec")).await;
    stopper.stop(Stop::User);
    let outcome = ended.await.expect("no panic");
    assert!(outcome.message.contains("stopped before the result was handed over"), "{}", outcome.message);
    assert_eq!(living(&lab), 1);
}

fn uid(lab: &Lab<World>) -> String {
    let uid = |pod: &serde_json::Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    lab.with(|_, world| world.store().list(Resource::Pods, Some("default")).map(|pod| uid(pod)).next()).expect("a pod")
}

async fn until(is: impl Fn() -> bool) {
    while !is() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// These befall the first execs, in this order.
fn inject(lab: &Lab<World>, faults: Vec<Fault>) -> Vec<FaultGuard> {
    let exec = |nth: usize| Match::of("get", "pods/exec").nth(nth as u64 + 1);
    faults.into_iter().enumerate().map(|(nth, fault)| lab.faults().inject(exec(nth), fault)).collect()
}

#[tokio::test]
async fn an_outage_costs_no_result() {
    let (lab, hook, ran) = lab().await;
    let html = Reply::status(502).body("<html>bad gateway</html>");
    let faults = vec![
        Fault::Drop,
        Fault::Status(html),
        Fault::Status(Reply::status(503)),
        Fault::DropReplyAfterEffect,
        Fault::Status(Reply::status(404)),
    ];
    let guards = inject(&lab, faults);
    let outcome = finish(driver::run(&hook, request())).await;
    assert_eq!(outcome.result.as_deref(), Some(RESULT), "{outcome:#?}");
    assert_eq!(guards.iter().map(FaultGuard::hits).collect::<Vec<_>>(), [1; 5]);
    assert!(!ran.lock().unwrap().is_empty());
    assert_eq!(living(&lab), 0);
}

#[tokio::test]
async fn a_right_that_is_missing_is_said_at_once() {
    let (lab, hook, ran) = lab().await;
    let _guards = inject(&lab, vec![Fault::Status(Reply::status(403))]);
    let outcome = finish(driver::run(&hook, request())).await;
    assert_eq!(outcome.exit_code, Some(65));
    assert!(outcome.message.contains("forbidden: injected by the lab"), "{}", outcome.message);
    assert!(ran.lock().unwrap().is_empty());
}
