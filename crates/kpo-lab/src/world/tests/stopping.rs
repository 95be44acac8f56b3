//! Pods that are being stopped while nothing is heard of their kubelet.

use super::*;

/// A pod that takes 5 s to end, deleted when it has run for 2 s.
const VICTIM: &str = "node node-1\ncontainer * runs forever on-term exits 0 after 5s\npod victim image=x grace=30\n\
                      when pod victim running for 2s: delete it\n";

#[test]
fn a_silence_during_a_stop_delays_the_end_and_no_more() {
    for (order, silence) in [
        ("the end before the silence", "then after 5s: node node-1 silent\nthen after 10s: node node-1 answers\n"),
        ("the end in the silence", "then after 2s: node node-1 silent\nthen after 10s: node node-1 answers\n"),
        ("the end after the silence", "then after 1s: node node-1 silent\nthen after 2s: node node-1 answers\n"),
        (
            "the records lost in the silence",
            "then after 2s: node node-1 silent\nthen after 1s: lose records of pod victim\nthen after 10s: node node-1 answers\n",
        ),
        (
            "two silences",
            "then after 1s: node node-1 silent\nthen after 1s: node node-1 answers\nthen after 1s: node node-1 silent\n\
             then after 60s: node node-1 answers\n",
        ),
    ] {
        let mut world = played(&format!("{VICTIM}{silence}"));
        run_for(&mut world, 100);
        assert!(!is_there(&world, "victim"), "{order}: {}", pod(&world, "victim")["status"]);
        assert_eq!(world.next_wakeup(), None, "{order}");
    }
}

#[test]
fn a_grace_that_ends_in_a_silence_kills_after_it() {
    let mut world = played(
        "node node-1\ncontainer * runs forever on-term ignored\npod victim image=x grace=5\n\
         when pod victim running for 2s: delete it\nthen after 2s: node node-1 silent\nthen after 10s: node node-1 answers\n",
    );
    run_for(&mut world, 12);
    assert!(is_there(&world, "victim"));
    run_for(&mut world, 10);
    assert!(!is_there(&world, "victim"), "{}", pod(&world, "victim")["status"]);
}

#[test]
fn a_stop_of_the_kubelets_own_goes_on_after_a_silence() {
    for (cause, reason) in [
        ("when pod victim running for 2s: evict it for memory\n", "Evicted"),
        ("when pod victim running for 4s: compact\n", "DeadlineExceeded"),
    ] {
        let mut world = played(&format!(
            "node node-1\ncontainer * runs forever on-term exits 0 after 1s\n{cause}then after 500ms: node node-1 silent\n\
             then after 10s: node node-1 answers\n"
        ));
        let mut spec = plain();
        if reason == "DeadlineExceeded" {
            spec["activeDeadlineSeconds"] = 4.into();
        }
        create(&mut world, "victim", spec);
        run_for(&mut world, 40);
        let victim = pod(&world, "victim");
        assert_eq!((pod::phase(&victim), victim["status"]["reason"].as_str()), ("Failed", Some(reason)));
    }
}

#[test]
fn sidecars_are_stopped_after_a_silence_in_which_one_ended() {
    let mut world = played(
        "node node-1\ncontainer base runs 2s\ncontainer a runs forever on-term exits 0 after 2s\ncontainer b runs forever on-term exits 0 after 2s\n\
         at 4s: node node-1 silent\nat 20s: node node-1 answers\n",
    );
    let sidecar = |name: &str| json!({"name": name, "image": "busybox", "restartPolicy": "Always"});
    let containers = json!([{"name": "base", "image": "busybox"}]);
    create(&mut world, "task", json!({"initContainers": [sidecar("a"), sidecar("b")], "containers": containers}));
    run_for(&mut world, 18);
    assert_eq!(pod::phase(&pod(&world, "task")), "Running");
    run_for(&mut world, 10);
    assert_eq!(pod::phase(&pod(&world, "task")), "Succeeded", "{}", pod(&world, "task")["status"]);
}
