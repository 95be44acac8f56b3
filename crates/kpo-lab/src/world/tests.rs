use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::scripted::ScriptedRuntime;

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
fn many_pods_settle_and_then_all_is_quiet() {
    let mut world = world();
    for node in 2..=4 {
        world.add_node(NodeSpec::named(format!("node-{node}")));
    }
    for index in 0..300 {
        create(&mut world, &format!("task-{index}"), plain());
    }
    run_for(&mut world, 10);
    let succeeded =
        world.store().list(Resource::Pods, None).filter(|pod| pod["status"]["phase"] == "Succeeded").count();
    assert_eq!(succeeded, 300);
    assert_eq!(world.next_wakeup(), None);
}

#[allow(dead_code)]
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
