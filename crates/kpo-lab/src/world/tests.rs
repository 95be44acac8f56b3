use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::nodes::NodeSpec;
use crate::scripted::ScriptedRuntime;
use crate::store::{DeleteOptions, Writer};

mod stopping;
mod taken;
mod written;

fn world() -> World {
    let mut world = World::new(Time::from_secs(1_000), 7, Box::new(ScriptedRuntime::new()));
    world.add_node(NodeSpec::named("node-1"));
    world
}

fn create(world: &mut World, name: &str, spec: Value) {
    let mut pod = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    pod["spec"]["restartPolicy"] = "Never".into();
    let now = world.now();
    api::create(now, world.store_mut(now), Resource::Pods, pod, &Writer::new("test")).expect("created");
}

fn plain() -> Value {
    json!({"containers": [{"name": "base", "image": "busybox", "command": ["true"]}]})
}

fn pod(world: &World, name: &str) -> Arc<Value> {
    world.store().get(Resource::Pods, "default", name).expect("there")
}

fn run_for(world: &mut World, seconds: u64) {
    let until = world.now() + Duration::from_secs(seconds);
    world.advance(until);
    assert_eq!(world.livelock(), None);
}

#[test]
fn a_pod_is_scheduled_and_runs_to_its_end() {
    let mut world = world();
    create(&mut world, "task", plain());
    run_for(&mut world, 5);
    let task = pod(&world, "task");
    assert_eq!(task["status"]["phase"], "Succeeded");
    assert_eq!(task["spec"]["nodeName"], "node-1");
    assert_eq!(world.next_wakeup(), None, "nothing is left to happen");
}

#[test]
fn thousands_of_pods_settle_and_then_all_is_quiet() {
    let mut world = world();
    for node in 2..=30 {
        world.add_node(NodeSpec::named(format!("node-{node}")));
    }
    for index in 0..3_000 {
        create(&mut world, &format!("task-{index}"), plain());
    }
    run_for(&mut world, 10);
    let succeeded =
        world.store().list(Resource::Pods, None).filter(|pod| pod["status"]["phase"] == "Succeeded").count();
    assert_eq!(succeeded, 3_000);
    assert_eq!(world.next_wakeup(), None);
}

fn played(script: &str) -> World {
    let script = crate::script::parse(script).expect("reads");
    let mut world = World::new(Time::from_secs(1_000), 7, Box::new(script.runtime()));
    world.play(&script);
    world
}

/// The pod's changes, told in short.
fn story(world: &World, name: &str) -> Vec<String> {
    let changes = world.store().changes_since(0).expect("nothing is forgotten");
    let of = changes.filter(|change| change.resource == Resource::Pods && pod::name(&change.object) == name);
    of.map(|change| {
        let pod = &change.object;
        let state = &pod["status"]["containerStatuses"][0]["state"];
        let container = state["waiting"]["reason"].as_str().or(state["terminated"]["reason"].as_str());
        let container = container.unwrap_or(if state.get("running").is_some() { "running" } else { "-" });
        let mut text = format!("{:?} {} {container}", change.kind, pod::phase(pod));
        for (sign, is) in
            [("disrupted", pod::is_true(pod, "DisruptionTarget")), ("terminating", pod::is_terminating(pod))]
        {
            if is {
                text = format!("{text} {sign}");
            }
        }
        text
    })
    .collect()
}

#[test]
fn the_seeds_situation_happens() {
    let script = crate::script::built_in("preemption").expect("there");
    let mut world = World::new(Time::from_secs(1_000), 7, Box::new(script.runtime()));
    world.play(&script);
    create(&mut world, "task-1", plain());
    run_for(&mut world, 5);
    assert_eq!(
        story(&world, "task-1"),
        [
            "Added Pending -",
            "Modified Pending -",
            "Modified Pending -",
            "Modified Pending ContainerCreating",
            "Modified Pending ContainerCreating disrupted",
            "Modified Pending ContainerCreating disrupted terminating",
            "Modified Pending ContainerCreating disrupted terminating",
            "Modified Failed ContainerStatusUnknown disrupted terminating",
            "Modified Failed ContainerStatusUnknown disrupted terminating",
            "Deleted Failed ContainerStatusUnknown disrupted terminating",
        ]
    );
    create(&mut world, "task-2", plain());
    run_for(&mut world, 5);
    let task = pod(&world, "task-2");
    assert_eq!((pod::phase(&task), pod::node_name(&task)), ("Succeeded", "node-2"));
}

/// The reasons of the events about an object, in their order.
fn reasons(world: &World, name: &str) -> Vec<String> {
    let of = |event: &&Arc<Value>| event["involvedObject"]["name"] == name;
    let mut events: Vec<&Arc<Value>> = world.store().list(Resource::Events, None).filter(of).collect();
    events.sort_by_key(|event| event["metadata"]["name"].as_str().map(|name| (name.len(), name.to_owned())));
    events.into_iter().filter_map(|event| event["reason"].as_str().map(str::to_owned)).collect()
}

fn message(world: &World, reason: &str) -> String {
    let event = world.store().list(Resource::Events, None).find(|event| event["reason"] == reason);
    event.and_then(|event| event["message"].as_str().map(str::to_owned)).unwrap_or_default()
}

fn state(world: &World, name: &str) -> Value {
    pod(world, name)["status"]["containerStatuses"][0]["state"].clone()
}

fn is_there(world: &World, name: &str) -> bool {
    world.store().get(Resource::Pods, "default", name).is_some()
}

#[test]
fn a_daemonset_has_one_pod_on_each_node_that_it_selects_and_makes_it_anew() {
    let mut world = played(
        "node node-1 label agent=yes\nnode node-2\nnode node-3 label agent=yes taint gpu=:NoSchedule\n\
         daemonset kube-system/agent cpu=100m selector agent=yes\nat 2s: delete pod kube-system/agent-*\n\
         at 10s: node node-2 labelled agent=yes\n",
    );
    let nodes = |world: &World| {
        let pods = world.store().list(Resource::Pods, Some("kube-system"));
        let mut nodes: Vec<String> = pods.map(|pod| format!("{} {}", pod::node_name(pod), pod::phase(pod))).collect();
        nodes.sort();
        nodes
    };
    run_for(&mut world, 1);
    assert_eq!(nodes(&world), ["node-1 Running"]);
    let first: Vec<String> = world.store().list(Resource::Pods, None).map(|pod| pod::name(pod).to_owned()).collect();
    run_for(&mut world, 8);
    assert_eq!(nodes(&world), ["node-1 Running"]);
    assert!(world.store().list(Resource::Pods, None).all(|pod| !first.contains(&pod::name(pod).to_owned())));
    run_for(&mut world, 5);
    assert_eq!(nodes(&world), ["node-1 Running", "node-2 Running"]);
    let set = world.store().get(Resource::DaemonSets, "kube-system", "agent").expect("there");
    assert_eq!((&set["status"]["numberReady"], &set["status"]["desiredNumberScheduled"]), (&json!(2), &json!(2)));
}

#[test]
fn a_pod_that_fits_nowhere_says_why_in_upstreams_words() {
    let mut world =
        played("node a cpu=1\nnode b taint x=:NoSchedule\nnode c label zone=z cpu=1\npriority-class high 1000\n");
    let spec = |more: Value| {
        let mut spec = plain();
        for (key, value) in more.as_object().expect("a map") {
            spec[key] = value.clone();
        }
        spec["containers"][0]["resources"]["requests"]["cpu"] = "2".into();
        spec
    };
    create(&mut world, "large", spec(json!({"nodeSelector": {"zone": "z"}})));
    run_for(&mut world, 1);
    let expected = "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector, \
                    1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/3 nodes are available: \
                    3 Preemption is not helpful for scheduling.";
    assert_eq!(message(&world, "FailedScheduling"), expected);
    assert_eq!(pod::condition(&pod(&world, "large"), "PodScheduled").expect("there")["message"], expected);
    assert_eq!(world.next_wakeup(), None, "nothing is tried again without a change");
}

#[test]
fn a_gated_pod_waits_until_its_gate_is_lifted() {
    let mut world = world();
    let mut spec = plain();
    spec["schedulingGates"] = json!([{"name": "kpo.rs/backoff"}]);
    create(&mut world, "task", spec);
    run_for(&mut world, 5);
    let task = pod(&world, "task");
    assert_eq!(pod::condition(&task, "PodScheduled").expect("there")["reason"], "SchedulingGated");
    let now = world.now();
    let mut free = (*task).clone();
    drop(free["spec"].as_object_mut().and_then(|spec| spec.remove("schedulingGates")));
    api::update(now, world.store_mut(now), Resource::Pods, api::Part::Main, free, &Writer::new("test"), false)
        .expect("ungated");
    run_for(&mut world, 5);
    assert_eq!(pod::phase(&pod(&world, "task")), "Succeeded");
}

#[test]
fn a_provisioner_helps_or_says_that_it_cannot() {
    let mut world = played(
        "provisioner cluster-autoscaler after 2s at-most 1\nprovides node-* cpu=2\nat 0s: pod a cpu=1500m\nat 0s: pod huge cpu=9\nat 10s: pod b cpu=1500m\n",
    );
    run_for(&mut world, 20);
    assert_eq!(pod::node_name(&pod(&world, "a")), "node-1");
    assert_eq!(reasons(&world, "a")[..2], ["FailedScheduling", "TriggeredScaleUp"]);
    assert!(reasons(&world, "huge").contains(&"NotTriggerScaleUp".to_owned()));
    assert!(reasons(&world, "b").contains(&"NotTriggerScaleUp".to_owned()));
    assert_eq!(world.store().list(Resource::Nodes, None).count(), 1);
}

#[test]
fn a_silent_node_is_unknown_after_50_s_and_its_pods_stay_terminating_until_it_is_back() {
    let mut world = played(
        "node node-1\nnode keeper taint keep=:NoSchedule\ncontainer base runs forever\nat 5s: node node-1 silent\nthen after 400s: node node-1 answers\n",
    );
    create(&mut world, "task", plain());
    run_for(&mut world, 54);
    assert!(pod::is_true(&pod(&world, "task"), "Ready"));
    run_for(&mut world, 2);
    let node = world.store().get(Resource::Nodes, "", "node-1").expect("there");
    assert_eq!(pod::condition(&node, "Ready").expect("there")["status"], "Unknown");
    let task = pod(&world, "task");
    assert_eq!((pod::phase(&task), pod::is_true(&task, "Ready")), ("Running", false));
    run_for(&mut world, 298);
    assert!(!pod::is_terminating(&pod(&world, "task")), "tolerated for 300 s");
    run_for(&mut world, 3);
    assert!(pod::is_terminating(&pod(&world, "task")) && pod::is_true(&pod(&world, "task"), "DisruptionTarget"));
    run_for(&mut world, 40);
    assert_eq!(pod::phase(&pod(&world, "task")), "Running", "and it may well run");
    run_for(&mut world, 60);
    assert!(!is_there(&world, "task"));
    let node = world.store().get(Resource::Nodes, "", "node-1").expect("there");
    assert_eq!(node["spec"].get("taints"), None);
}

#[test]
fn a_cluster_whose_nodes_are_all_silent_evicts_nobody() {
    let mut world = played("node node-1\ncontainer base runs forever\nat 5s: node node-1 silent\n");
    create(&mut world, "task", plain());
    run_for(&mut world, 1_000);
    let task = pod(&world, "task");
    assert_eq!((pod::is_terminating(&task), pod::is_true(&task, "Ready")), (false, false));
}

#[test]
fn out_of_service_frees_a_stuck_pod() {
    let mut world = played(
        "node node-1\nnode keeper taint keep=:NoSchedule\ncontainer base runs forever\nat 5s: node node-1 off\nat 100s: delete pod task\n\
         at 120s: node node-1 tainted node.kubernetes.io/out-of-service=:NoExecute\n",
    );
    create(&mut world, "task", plain());
    run_for(&mut world, 118);
    assert!(is_there(&world, "task"));
    run_for(&mut world, 30);
    assert!(!is_there(&world, "task"));
    let last = story(&world, "task");
    assert_eq!(last.last().map(String::as_str), Some("Deleted Failed running terminating"));
}

#[test]
fn a_reboot_ends_containers_with_255_and_without_records_says_used_to_run() {
    let script = |lost: &str| format!("node node-1\ncontainer base runs forever\nat 5s: node node-1 rebooted {lost}\n");
    let mut world = played(&script(""));
    create(&mut world, "task", plain());
    run_for(&mut world, 10);
    let end = &state(&world, "task")["terminated"];
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(255), &json!("Unknown")));
    let mut world = played(&script("records lost"));
    create(&mut world, "task", plain());
    run_for(&mut world, 10);
    let status = pod(&world, "task")["status"]["containerStatuses"][0].clone();
    assert_eq!(status["state"]["terminated"]["reason"], "ContainerStatusUnknown");
    assert_eq!(
        status["lastState"]["terminated"]["message"],
        "The container could not be located when the pod was deleted.  The container used to be Running"
    );
    assert_eq!((&status["restartCount"], pod::phase(&pod(&world, "task"))), (&json!(1), "Failed"));
}

#[test]
fn a_node_that_shuts_down_ends_its_pods_and_takes_no_more() {
    let mut world = played(
        "node node-1\ncontainer base runs forever\nat 5s: node node-1 shuts down in 5s\nat 20s: pod late node=node-1\n",
    );
    create(&mut world, "task", plain());
    run_for(&mut world, 30);
    let task = pod(&world, "task");
    assert_eq!((pod::phase(&task), task["status"]["reason"].as_str()), ("Failed", Some("Terminated")));
    assert_eq!(pod::condition(&task, "DisruptionTarget").expect("there")["reason"], "TerminationByKubelet");
    assert_eq!(pod(&world, "late")["status"]["reason"], "NodeShutdown");
}

#[test]
fn node_pressure_evicts_with_the_condition() {
    let mut world = played("node node-1\ncontainer base runs forever\nwhen pod task running: evict it for memory\n");
    create(&mut world, "task", plain());
    run_for(&mut world, 30);
    let task = pod(&world, "task");
    assert_eq!((pod::phase(&task), task["status"]["reason"].as_str()), ("Failed", Some("Evicted")));
    assert!(
        task["status"]["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("The node was low on resource: memory."))
    );
    assert!(pod::is_true(&task, "DisruptionTarget"));
}

#[test]
fn a_slow_image_keeps_a_pod_creating_and_a_wrong_name_is_refused() {
    let mut world = played("node node-1\nimage busybox pulls in 30s\n");
    create(&mut world, "slow", plain());
    let mut wrong = plain();
    wrong["containers"][0]["image"] = "Not A Name".into();
    create(&mut world, "wrong", wrong);
    run_for(&mut world, 29);
    assert_eq!(state(&world, "slow")["waiting"]["reason"], "ContainerCreating");
    assert_eq!(state(&world, "wrong")["waiting"]["reason"], "InvalidImageName");
    run_for(&mut world, 5);
    assert_eq!(pod::phase(&pod(&world, "slow")), "Succeeded");
    let story = ["Scheduled", "Pulling", "Pulled", "Created", "Started"];
    assert_eq!(reasons(&world, "slow"), story);
    assert!(message(&world, "Pulled").starts_with("Successfully pulled image \"busybox\" in 30s"));
}

#[test]
fn a_crashing_container_is_started_again_and_backed_off() {
    let mut world = played("node node-1\ncontainer base runs 1s exit 1\n");
    let mut spec = plain();
    spec["restartPolicy"] = "Always".into();
    let manifest = json!({"metadata": {"name": "task", "namespace": "default"}, "spec": spec});
    let now = world.now();
    api::create(now, world.store_mut(now), Resource::Pods, manifest, &Writer::new("test")).expect("created");
    run_for(&mut world, 25);
    assert_eq!(state(&world, "task")["waiting"]["reason"], "CrashLoopBackOff");
    let status = pod(&world, "task")["status"]["containerStatuses"][0].clone();
    assert_eq!((&status["restartCount"], &status["lastState"]["terminated"]["exitCode"]), (&json!(2), &json!(1)));
    assert_eq!(pod::phase(&pod(&world, "task")), "Running");
}

#[test]
fn termination_messages_share_12_kib_and_are_cut_without_a_word() {
    let long = "x".repeat(4096);
    let mut world = played(&format!("node node-1\ncontainer * message {long}\n"));
    let container = |name: &str| json!({"name": name, "image": "busybox"});
    create(&mut world, "alone", json!({"containers": [container("base")]}));
    create(&mut world, "four", json!({"containers": [container("a"), container("b"), container("c"), container("d")]}));
    run_for(&mut world, 5);
    let length = |world: &World, name: &str| state(world, name)["terminated"]["message"].as_str().map(str::len);
    assert_eq!((length(&world, "alone"), length(&world, "four")), (Some(4096), Some(3072)));
}

#[test]
fn native_sidecars_stop_in_reverse_order_after_the_rest() {
    let mut world = played(
        "node node-1\ncontainer base runs 1s\ncontainer a runs forever on-term exits 0 after 1s\ncontainer b runs forever on-term exits 0 after 1s\n",
    );
    let sidecar = |name: &str| json!({"name": name, "image": "busybox", "restartPolicy": "Always"});
    create(
        &mut world,
        "task",
        json!({"initContainers": [sidecar("a"), sidecar("b")], "containers": [{"name": "base", "image": "busybox"}]}),
    );
    run_for(&mut world, 10);
    let task = pod(&world, "task");
    assert_eq!(pod::phase(&task), "Succeeded");
    let ended = |index: usize| {
        task["status"]["initContainerStatuses"][index]["state"]["terminated"]["finishedAt"].as_str().map(str::to_owned)
    };
    assert!(ended(0) > ended(1), "b was started last and stops first: {:?} {:?}", ended(0), ended(1));
}

#[test]
fn a_forced_deletion_takes_the_object_at_once_and_the_container_a_moment_later() {
    let mut world =
        played("node node-1\ncontainer base runs forever on-term ignored\nwhen pod task running: delete it grace=0\n");
    create(&mut world, "task", plain());
    run_for(&mut world, 1);
    assert!(!is_there(&world, "task"));
    assert!(reasons(&world, "task").contains(&"Killing".to_owned()));
    run_for(&mut world, 5);
    assert_eq!(world.next_wakeup(), None);
    assert!(world.owners.is_empty(), "nothing is left on the machine");
}

#[test]
fn a_finalizer_holds_a_pod_that_has_ended() {
    let mut world = played(
        "node node-1\ncontainer base runs forever\nwhen pod task running: set-finalizer it kpo.rs/protect\nthen after 1s: delete it\n\
         then after 60s: drop-finalizer it kpo.rs/protect\n",
    );
    create(&mut world, "task", plain());
    run_for(&mut world, 30);
    let task = pod(&world, "task");
    assert_eq!((pod::phase(&task), pod::is_terminating(&task)), ("Failed", true));
    run_for(&mut world, 60);
    assert!(!is_there(&world, "task"));
}

#[test]
fn kueue_takes_a_pod_back_with_a_condition_of_its_own() {
    let mut world = played("node node-1\ncontainer base runs forever\nwhen pod task running: kueue-evict it\n");
    create(&mut world, "task", plain());
    run_for(&mut world, 10);
    assert!(!is_there(&world, "task"));
    let last = world.store().changes_since(0).expect("all").filter(|change| pod::name(&change.object) == "task").last();
    let last = last.expect("there").object.clone();
    assert!(pod::is_true(&last, "TerminationTarget") && !pod::is_true(&last, "DisruptionTarget"));
}

#[test]
fn preempting_by_script_shows_what_the_scheduler_would_show() {
    let mut world =
        played("node node-1 cpu=2\ncontainer base of task runs forever\nwhen pod task running: preempt it\n");
    create(&mut world, "task", plain());
    run_for(&mut world, 10);
    assert!(!is_there(&world, "task"));
    assert!(story(&world, "task").contains(&"Modified Running running disrupted terminating".to_owned()));
    let event = world.store().list(Resource::Events, None).find(|event| event["reason"] == "Preempted").expect("said");
    assert!(event["related"]["name"].as_str().is_some_and(|name| name.starts_with("preemptor-")));
}

#[test]
fn forgotten_changes_are_listed_again() {
    let mut world = world();
    create(&mut world, "task", plain());
    let now = world.now();
    world.store.compact();
    world.advance(now + Duration::from_secs(5));
    assert_eq!(pod::phase(&pod(&world, "task")), "Succeeded");
}

#[test]
fn the_world_is_the_same_each_time() {
    let run = || {
        let script = crate::script::built_in("preemption").expect("there");
        let mut world = World::new(Time::from_secs(1_000), 7, Box::new(script.runtime()));
        world.play(&script);
        create(&mut world, "task", plain());
        run_for(&mut world, 30);
        let changes = world.store().changes_since(0).expect("all");
        changes.map(|change| change.object.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// A runtime that always has something to do, and never does it.
struct Restless(ScriptedRuntime);

impl Runtime for Restless {
    fn prepare_pod(&mut self, now: Time, setup: &crate::runtime::PodSetup) -> Result<(), crate::runtime::PrepareError> {
        self.0.prepare_pod(now, setup)
    }
    fn start(
        &mut self,
        now: Time,
        spec: crate::runtime::ContainerSpec,
    ) -> Result<ContainerId, crate::runtime::StartError> {
        self.0.start(now, spec)
    }
    fn signal(&mut self, now: Time, id: &ContainerId, signal: crate::runtime::Signal) {
        self.0.signal(now, id, signal);
    }
    fn poll(&mut self, now: Time) -> Vec<RuntimeEvent> {
        self.0.poll(now)
    }
    fn next_wakeup(&self) -> Option<Time> {
        Some(Time::from_secs(1_001))
    }
    fn state(&self, id: &ContainerId) -> Option<crate::runtime::ContainerState> {
        self.0.state(id)
    }
    fn log(&self, id: &ContainerId) -> Option<Arc<crate::log::ContainerLog>> {
        self.0.log(id)
    }
    fn volume_usage(&self, pod_uid: &str, volume: &str) -> Option<u64> {
        self.0.volume_usage(pod_uid, volume)
    }
    fn storage_usage(&self, id: &ContainerId) -> Option<u64> {
        self.0.storage_usage(id)
    }
    fn remove(&mut self, id: &ContainerId) {
        self.0.remove(id);
    }
    fn remove_pod(&mut self, pod_uid: &str) {
        self.0.remove_pod(pod_uid);
    }
    fn exec(
        &mut self,
        now: Time,
        id: &ContainerId,
        request: crate::runtime::ExecRequest,
    ) -> Result<crate::runtime::Session, crate::runtime::SessionError> {
        self.0.exec(now, id, request)
    }
    fn attach(
        &mut self,
        now: Time,
        id: &ContainerId,
        stdin: bool,
    ) -> Result<crate::runtime::Session, crate::runtime::SessionError> {
        self.0.attach(now, id, stdin)
    }
    fn set_waker(&mut self, waker: crate::runtime::Waker) {
        self.0.set_waker(waker);
    }
}

#[test]
fn a_livelock_is_named_and_time_goes_on() {
    let mut world = World::new(Time::from_secs(1_000), 7, Box::new(Restless(ScriptedRuntime::new())));
    world.advance(Time::from_secs(1_010));
    assert_eq!(world.now(), Time::from_secs(1_010));
    assert_eq!(world.livelock(), Some(&Livelock { at: Time::from_secs(1_001) }));
}

#[test]
fn a_deleted_daemonset_takes_its_pods_along() {
    let mut world = played("node node-1\ndaemonset kube-system/agent cpu=100m\n");
    run_for(&mut world, 1);
    let now = world.now();
    let options = DeleteOptions::default();
    api::delete(now, world.store_mut(now), Resource::DaemonSets, "kube-system", "agent", &options).expect("deleted");
    run_for(&mut world, 5);
    assert_eq!(world.store().list(Resource::Pods, None).count(), 0);
}

#[test]
fn what_the_cluster_refuses_of_a_script_is_told() {
    let world = played("node node-1\npod Not_A_Name\n");
    assert!(world.refusals()[0].contains("Not_A_Name"), "{:?}", world.refusals());
}

#[test]
fn what_a_script_says_in_vain_is_told_with_its_line() {
    for (happening, why) in [
        ("evict pod nosuch", "there is no pod nosuch then"),
        ("delete config-map nosuch", "configmaps \"nosuch\" not found"),
        ("node nosuch silent", "there is no node nosuch"),
        ("node node-1 answers", "the kubelet of node-1 is heard of"),
        ("node node-1 untainted key", "it changes nothing"),
        ("node node-1 uncordoned", "it changes nothing"),
        ("node node-1 recovered", "it changes nothing"),
        ("node node-1 cpu=2", "node node-1 is there already"),
        ("unlabel pod task key", "it changes nothing"),
        ("unmark pod task", "pod task has no condition DisruptionTarget"),
        ("drop-finalizer pod task key", "it changes nothing"),
        ("evict pod ended for memory", "pod ended has ended"),
        ("preempt pod unbound", "pod unbound has no node"),
        ("lose records of pod unbound", "no runtime has a record of pod unbound"),
    ] {
        let mut world = played(&format!(
            "node node-1\npod task node=node-1\npod ended node=node-1 command=true image=x\npod unbound cpu=1k\nat 5s: {happening}\n"
        ));
        run_for(&mut world, 10);
        assert_eq!(world.refusals(), [format!("line 5: {why}")], "{happening}");
        assert_eq!(world.idle_happenings(), Vec::<String>::new(), "{happening}");
    }
}

#[test]
fn what_has_not_happened_is_known() {
    let mut world = played("node node-1\nwhen pod nosuch running: delete it\nthen after 1s: compact\nat 1h: compact\n");
    run_for(&mut world, 10);
    let never = |line: usize| format!("line {line}: it never happened");
    assert_eq!(world.idle_happenings(), [never(2), never(3), never(4)]);
}

/// What a monkey may do, in the script's words; `%N` stands for a node, `%P` for a pod.
const MISCHIEF: [&str; 18] = [
    "delete pod %P",
    "delete pod %P grace=0",
    "evict pod %P",
    "preempt pod %P",
    "evict pod %P for memory",
    "lose records of pod %P",
    "node %N silent",
    "node %N answers",
    "node %N deleted",
    "node %N rebooted",
    "node %N rebooted records lost",
    "node %N off",
    "node %N cpu=2",
    "node %N tainted bad=:NoExecute",
    "node %N untainted bad",
    "kubelet %N restarted",
    "compact",
    "node %N cordoned",
];

/// A cluster in which a monkey does forty things, a few seconds apart, while pods come and go.
fn mischief(seed: u64) -> World {
    let mut random = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    let mut next = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut text = "node node-1 cpu=2\nnode node-2 cpu=2\nnode keeper cpu=1\ndaemonset kube-system/agent cpu=100m\n\
                    container base runs 20s on-term ignored\nimage slow pulls in 5s\nimage bad fails no\n"
        .to_owned();
    for second in 0..40 {
        let action = MISCHIEF[usize::try_from(next(MISCHIEF.len() as u64)).expect("small")];
        let action =
            action.replace("%N", &format!("node-{}", next(2) + 1)).replace("%P", &format!("task-{}", next(second + 1)));
        let image = ["fast", "slow", "bad"][usize::try_from(next(3)).expect("small")];
        text += &format!(
            "at {}s: {action}\nat {}s: pod task-{second} cpu=500m grace=5 container=base image={image}\n",
            second * 3 + 1,
            second * 3
        );
    }
    for node in ["node-1", "node-2"] {
        text += &format!(
            "at 200s: node {node} answers\nat 201s: node {node} untainted bad\nat 202s: node {node} uncordoned\n"
        );
    }
    played(&text)
}

#[test]
fn whatever_happens_nothing_runs_that_the_api_does_not_know_and_nothing_goes_round_in_circles() {
    // KPO_MONKEYS=300 for a longer look.
    let monkeys = std::env::var("KPO_MONKEYS").ok().and_then(|count| count.parse().ok()).unwrap_or(10);
    for seed in 0..monkeys {
        let mut world = mischief(seed);
        run_for(&mut world, 900);
        let known: Vec<String> = world.store().list(Resource::Pods, None).map(|pod| pod::uid(pod).to_owned()).collect();
        let running = world
            .owners
            .iter()
            .filter(|(id, _)| matches!(world.runtime.state(id), Some(crate::runtime::ContainerState::Running { .. })));
        for (id, (node, uid)) in running {
            assert!(known.contains(uid), "seed {seed}: {id} runs on {node} without a pod");
        }
        for pod in world.store().list(Resource::Pods, Some("default")) {
            let image = &pod["spec"]["containers"][0]["image"];
            let node = world.store().get(Resource::Nodes, "", pod::node_name(pod));
            let stuck = pod::is_terminating(pod) && node.is_some_and(|node| !pod::is_true(&node, "Ready"));
            let waits =
                pod::node_name(pod).is_empty() || image == "bad" || pod::name(pod).starts_with("preemptor") || stuck;
            assert!(pod::has_ended(pod) || waits, "seed {seed}: {} is {}", pod::name(pod), pod["status"]);
        }
    }
}

#[test]
fn without_nodes_the_scheduler_says_just_that() {
    let mut world = played("pod task cpu=1\n");
    run_for(&mut world, 1);
    assert_eq!(message(&world, "FailedScheduling"), "no nodes available to schedule pods");
}

#[test]
fn in_one_binary_all_components_have_its_name() {
    let mut world = played(
        "distribution k3s\nnode node-1 cpu=2\ncontainer base runs forever on-term exits 0\npriority-class high 1000\nat 2s: pod urgent cpu=2 priority-class=high\n",
    );
    let mut spec = plain();
    spec["containers"][0]["resources"]["requests"]["cpu"] = "1".into();
    create(&mut world, "task", spec);
    run_for(&mut world, 5);
    let changes = world.store().changes_since(0).expect("all").filter(|change| pod::name(&change.object) == "task");
    let task = changes.last().expect("there").object.clone();
    assert_eq!(pod::phase(&task), "Succeeded");
    let entries = pod::list(&task["metadata"], "managedFields").iter();
    let components: Vec<&str> =
        entries.filter(|e| e["subresource"] == "status").filter_map(|e| e["manager"].as_str()).collect();
    assert_eq!(components, ["k3s"]);
}

#[test]
fn kubelets_reject_for_their_own_reasons() {
    let mut world = played(
        "node node-1\nat 0s: node node-1 rejects UnexpectedAdmissionError \"Allocate failed\"\nat 1s: pod a node=node-1\n\
         at 2s: node node-1 accepts\nat 3s: node node-1 low-on memory\nat 4s: pod b node=node-1\nat 4s: pod c cpu=1\n\
         at 5s: node node-1 recovered\n",
    );
    run_for(&mut world, 4);
    let told = |world: &World, name: &str| {
        let status = pod(world, name)["status"].clone();
        (
            status["reason"].as_str().unwrap_or_default().to_owned(),
            status["message"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(told(&world, "a"), ("UnexpectedAdmissionError".into(), "Pod was rejected: Allocate failed".into()));
    assert_eq!(
        told(&world, "b"),
        ("Evicted".into(), "Pod was rejected: The node had condition: [MemoryPressure]. ".into())
    );
    let node = world.store().get(Resource::Nodes, "", "node-1").expect("there");
    assert_eq!(pod::condition(&node, "MemoryPressure").expect("there")["reason"], "KubeletHasInsufficientMemory");
    assert_eq!(pod::node_name(&pod(&world, "c")), "", "the taint keeps it away");
    run_for(&mut world, 2);
    assert_eq!(pod::phase(&pod(&world, "c")), "Running");
}

#[test]
fn a_kubelet_counts_no_pod_whose_object_is_gone() {
    let mut world = played(
        "node node-1 cpu=2\npriority-class urgent 1000\npod victim cpu=2 grace=0\nat 2s: pod urgent cpu=2 priority-class=urgent\n",
    );
    run_for(&mut world, 3);
    assert!(!is_there(&world, "victim"));
    assert_eq!(pod(&world, "urgent")["status"]["phase"], "Running", "{}", pod(&world, "urgent")["status"]);
}

#[test]
fn a_container_that_cannot_be_made_is_tried_again_after_the_retry_and_not_before() {
    use crate::scripted::{Behaviour, Matching, Start};
    let fails = Behaviour { start: Start::Fails("no command specified".into()), ..Behaviour::default() };
    let runtime = ScriptedRuntime::new().with(Matching::all(), fails);
    let mut world = World::new(Time::from_secs(1_000), 7, Box::new(runtime));
    world.add_node(NodeSpec::named("node-1"));
    create(&mut world, "task", plain());
    run_for(&mut world, 1);
    let quiet = world.store().rv();
    run_for(&mut world, 8);
    assert_eq!(world.store().rv(), quiet, "nothing is written before the kubelet tries again");
    run_for(&mut world, 60);
    assert_eq!(
        pod(&world, "task")["status"]["containerStatuses"][0]["state"]["waiting"]["reason"],
        "CreateContainerError"
    );
}
