//! Rarer ways in which a pod is taken away: by the cloud, by its storage, by its runtime, by the collector of garbage.

use super::*;

fn limited(containers: &[&str]) -> Value {
    let container =
        |name: &&str| json!({"name": name, "image": "busybox", "resources": {"limits": {"ephemeral-storage": "5Mi"}}});
    json!({"containers": containers.iter().map(container).collect::<Vec<_>>()})
}

fn eviction(world: &World) -> (Value, Value, bool) {
    let task = pod(world, "task");
    let disrupted = pod::condition(&task, "DisruptionTarget").is_some();
    (task["status"]["reason"].clone(), task["status"]["message"].clone(), disrupted)
}

#[test]
fn a_pod_that_fills_its_containers_beyond_their_limits_is_evicted_without_the_condition() {
    let mut world = played("node node-1\ncontainer base runs 1h fills /tmp/x 6000000 at 2s\n");
    create(&mut world, "task", limited(&["base"]));
    run_for(&mut world, 12);
    let message = "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ";
    assert_eq!(eviction(&world), (json!("Evicted"), json!(message), false));
}

#[test]
fn a_container_beyond_its_limit_is_named_where_the_pod_as_a_whole_is_below() {
    let mut world = played("node node-1\ncontainer base runs 1h fills /tmp/x 6000000 at 2s\n");
    create(&mut world, "task", limited(&["base", "idle"]));
    run_for(&mut world, 12);
    let message = "Container base exceeded its local ephemeral storage limit \"5Mi\". ";
    assert_eq!(eviction(&world), (json!("Evicted"), json!(message), false));
}

#[test]
fn a_log_counts_as_storage() {
    let mut world = played("node node-1\ncontainer base runs 1h logs 600 lines of 10000 bytes\n");
    create(&mut world, "task", limited(&["base"]));
    run_for(&mut world, 12);
    assert_eq!(eviction(&world).0, "Evicted");
}

#[test]
fn the_cloud_says_why_it_deletes_a_node() {
    let mut world = played("node node-1\nat 1s: node node-1 deleted by cloud\n");
    run_for(&mut world, 2);
    assert!(world.store().get(Resource::Nodes, "", "node-1").is_none());
    let said = world.store().list(Resource::Events, None).find(|event| event["reason"] == "DeletingNode");
    let said = said.expect("an event");
    assert_eq!(said["message"], "Deleting node node-1 because it does not exist in the cloud provider");
    assert_eq!(said["involvedObject"]["kind"], "Node");
}

fn container(world: &World) -> Value {
    pod(world, "task")["status"]["containerStatuses"][0].clone()
}

#[test]
fn a_runtime_that_forgot_a_start_starts_the_container_again_under_the_same_uid() {
    let mut world = played("node node-1\ncontainer base runs 1h\nat 5s: forget start of pod task\n");
    create(&mut world, "task", plain());
    run_for(&mut world, 4);
    let (uid, first) = (pod::uid(&pod(&world, "task")).to_owned(), container(&world));
    run_for(&mut world, 4);
    let second = container(&world);
    assert_eq!((pod::phase(&pod(&world, "task")), pod::uid(&pod(&world, "task"))), ("Running", uid.as_str()));
    assert_eq!((first["restartCount"].as_i64(), second["restartCount"].as_i64()), (Some(0), Some(1)));
    assert_ne!(first["containerID"], second["containerID"]);
    assert_eq!(second["lastState"], json!({}), "nothing is known of an end");
}

#[test]
fn a_pod_whose_sandbox_is_lost_with_a_container_that_was_only_created_hangs_pending() {
    let mut world = played("node node-1\ncontainer base runs 1h\nat 5s: node node-1 rebooted containers created\n");
    create(&mut world, "task", plain());
    run_for(&mut world, 100);
    assert_eq!(pod::phase(&pod(&world, "task")), "Pending");
    assert_eq!(container(&world)["state"], json!({"waiting": {}}));
}

#[test]
fn an_unscheduled_pod_that_a_finalizer_holds_is_failed_without_a_word() {
    let mut world =
        played("node node-1 cpu=1\npod task cpu=2\nat 1s: set-finalizer pod task a/b\nat 2s: delete pod task\n");
    run_for(&mut world, 30);
    let task = pod(&world, "task");
    assert_eq!((pod::phase(&task), pod::condition(&task, "DisruptionTarget")), ("Failed", None));
    assert_eq!(task["status"].get("reason"), None);
}

#[test]
fn of_ended_pods_the_oldest_are_collected_beyond_what_is_kept() {
    let mut world = played("pod-gc keeps 2\nnode node-1\n");
    for index in 0..4 {
        create(&mut world, &format!("task-{index}"), plain());
        run_for(&mut world, 2);
    }
    run_for(&mut world, 20);
    let left: Vec<String> = world.store().list(Resource::Pods, None).map(|pod| pod::name(pod).to_owned()).collect();
    assert_eq!(left, ["task-2", "task-3"]);
    assert_eq!(story(&world, "task-0").last().map(String::as_str), Some("Deleted Succeeded Completed terminating"));
}

#[test]
fn sight_is_lost_of_a_pod_and_its_kubelet_knows_better() {
    let mut world = played(
        "node node-1\ncontainer base runs 10s\n\
         at 5s: lose-sight-of pod task NodeLost \"Node node-1 is unresponsive\" by kube-controller-manager\n",
    );
    create(&mut world, "task", plain());
    run_for(&mut world, 6);
    assert_eq!(pod::phase(&pod(&world, "task")), "Unknown");
    run_for(&mut world, 6);
    assert_eq!(pod::phase(&pod(&world, "task")), "Succeeded");
}

#[test]
fn a_victim_that_waits_at_permit_is_told_by_an_event_alone_and_looks_again() {
    let mut world = played(
        "node node-1 cpu=1\nnode node-2 cpu=1\npermit task waits 10s\ncontainer base runs 1h\nat 2s: preempt pod task\n",
    );
    create(
        &mut world,
        "task",
        json!({"containers": [{"name": "base", "image": "x", "resources": {"requests": {"cpu": "1"}}}]}),
    );
    run_for(&mut world, 1);
    assert_eq!(
        (pod::node_name(&pod(&world, "task")), reasons(&world, "task").len()),
        ("", 0),
        "its room is only reserved"
    );
    run_for(&mut world, 2);
    let task = pod(&world, "task");
    assert_eq!((pod::is_terminating(&task), pod::condition(&task, "DisruptionTarget")), (false, None));
    assert_eq!(reasons(&world, "task"), ["Preempted", "FailedScheduling"]);
    assert_eq!(
        pod::condition(&task, "PodScheduled").expect("said")["message"],
        "0/1 nodes are available: 1 preempted."
    );
    run_for(&mut world, 20);
    assert_eq!((pod::node_name(&pod(&world, "task")), pod::phase(&pod(&world, "task"))), ("node-2", "Running"));
}
