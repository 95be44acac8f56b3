//! What others write while a kubelet or a controller is at work on a pod.

use super::*;

#[test]
fn an_untolerated_taint_evicts_at_once_whatever_was_planned_before() {
    let mut world = played(
        "node node-1\nnode keeper taint keep=:NoSchedule\ncontainer base runs forever\nat 5s: node node-1 silent\n\
         at 100s: node node-1 tainted gone=:NoExecute\n",
    );
    create(&mut world, "task", plain());
    run_for(&mut world, 99);
    assert!(!pod::is_terminating(&pod(&world, "task")), "planned: the silence is tolerated for 300 s");
    run_for(&mut world, 2);
    assert!(pod::is_terminating(&pod(&world, "task")));
    assert_eq!(
        pod::condition(&pod(&world, "task"), "DisruptionTarget").expect("there")["reason"],
        "DeletionByTaintManager"
    );
}

#[test]
fn a_tolerated_taint_does_not_move_what_was_planned() {
    let mut world = played(
        "node node-1\nnode keeper taint keep=:NoSchedule\ncontainer base runs forever\nat 5s: node node-1 silent\n\
         at 200s: node node-1 tainted slow=:NoExecute\n",
    );
    let mut spec = plain();
    spec["tolerations"] =
        json!([{"key": "slow", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}]);
    create(&mut world, "task", spec);
    run_for(&mut world, 340);
    assert!(!pod::is_terminating(&pod(&world, "task")));
    run_for(&mut world, 20);
    assert!(pod::is_terminating(&pod(&world, "task")));
}

fn write_phase(world: &mut World, name: &str, phase: &str) {
    let now = world.now();
    let change = |pod: &mut Value| {
        pod["status"]["phase"] = phase.into();
        pod["status"]["reason"] = "ProviderFailed".into();
    };
    let writer = Writer::status("somebody");
    world.store_mut(now).update_status(now, Resource::Pods, "default", name, change, &writer).expect("there");
}

#[test]
fn a_terminal_phase_that_somebody_else_wrote_stays_and_stops_the_pod() {
    for (script, written, expected) in [
        ("container base runs forever on-term exits 0\n", "Failed", "Failed"),
        ("container base runs forever on-term exits 3\n", "Succeeded", "Succeeded"),
        ("container base runs 4s exit 1\n", "Succeeded", "Succeeded"),
        ("container base runs 4s\n", "Failed", "Failed"),
    ] {
        let mut world = played(&format!("node node-1\n{script}"));
        create(&mut world, "task", plain());
        run_for(&mut world, 2);
        write_phase(&mut world, "task", written);
        run_for(&mut world, 30);
        let task = pod(&world, "task");
        assert_eq!(pod::phase(&task), expected, "{script}");
        assert_eq!(task["status"]["reason"], "ProviderFailed", "{script}");
        assert!(state(&world, "task").get("terminated").is_some(), "{script}: {}", task["status"]);
        assert_eq!(world.next_wakeup(), None, "{script}");
    }
}

#[test]
fn a_container_that_must_not_be_root_is_not_started_as_root() {
    let of = |pod: Value, container: Value| {
        let mut spec = plain();
        spec["securityContext"] = pod;
        spec["containers"][0]["securityContext"] = container;
        spec
    };
    let image = "container has runAsNonRoot and image will run as root";
    let asked = "container's runAsUser breaks non-root policy";
    for (spec, words) in [
        (of(json!({"runAsNonRoot": true}), json!({})), Some(image)),
        (of(json!({}), json!({"runAsNonRoot": true})), Some(image)),
        (of(json!({"runAsNonRoot": true, "runAsUser": 0}), json!({})), Some(asked)),
        (of(json!({"runAsUser": 1000}), json!({"runAsNonRoot": true, "runAsUser": 0})), Some(asked)),
        (of(json!({"runAsNonRoot": true}), json!({"runAsNonRoot": false})), None),
        (of(json!({"runAsNonRoot": true}), json!({"runAsUser": 1000})), None),
        (of(json!({"runAsUser": 1000}), json!({"runAsNonRoot": true})), None),
        (of(json!({"runAsUser": 0}), json!({})), None),
    ] {
        let mut world = world();
        create(&mut world, "task", spec.clone());
        run_for(&mut world, 3);
        let Some(words) = words else {
            assert_eq!(pod::phase(&pod(&world, "task")), "Succeeded", "{spec}");
            continue;
        };
        let uid = pod::uid(&pod(&world, "task")).to_owned();
        let message = format!("{words} (pod: \"task_default({uid})\", container: base)");
        assert_eq!(
            state(&world, "task")["waiting"],
            json!({"reason": "CreateContainerConfigError", "message": message})
        );
        assert!(reasons(&world, "task").contains(&"Failed".to_owned()));
    }
}
