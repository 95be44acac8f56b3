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
