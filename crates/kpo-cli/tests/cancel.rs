//! `kpo cancel`, and Ctrl-C: what is said and returned is what became of the pod.

mod common;

use common::cluster::{Cluster, until};
use common::{kpo, signal, spawn, streams};
use kpo_lab::{Fault, Match};

/// Containers do not end before they are killed; the grace of their pods is a second.
const STUBBORN: &str = "node node-1\ncontainer base runs forever on-term ignored\n";
const WELL: &str = "node node-1\ncontainer base runs forever on-term exits 0\n";

fn detached(cluster: &Cluster, kubeconfig: &str) {
    let grace = "spec.terminationGracePeriodSeconds=1";
    let ran = kpo(&["run", "--kubeconfig", kubeconfig, "--image=x", "--name=t", "--set", grace, "--detach", "-q"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "t\n", ""));
    cluster.wait_until_running("t-1");
}

fn cancel(kubeconfig: &str) -> common::Ran {
    kpo(&["cancel", "t", "--kubeconfig", kubeconfig])
}

#[test]
fn a_cancel_tells_of_the_grace_and_of_the_end() {
    for script in [WELL, STUBBORN] {
        let cluster = Cluster::of(script);
        detached(&cluster, &cluster.admin());
        let ran = cancel(&cluster.admin());
        let said =
            ["cancelling", "deleting pod t-1, with a grace of 1 s", "cancelled on node-1", "; its pod has ended"];
        assert!(ran.code == Some(0) && said.iter().all(|said| ran.err.contains(said)), "{}", ran.err);
        assert_eq!(ran.out, "", "{}", ran.err);
        until(|| cluster.pods() == 0);
    }
}

#[test]
fn without_the_right_to_take_over_it_is_not_cancelled() {
    let cluster = Cluster::of(STUBBORN);
    detached(&cluster, &cluster.admin());
    let ran = cancel(&cluster.without(&[("patch", "pods")]));
    let said = "refused: not cancelled: pod t-1 still runs; service account default/kpo may not patch pods in namespace default\n  Add to its Role: - {apiGroups: [\"\"], resources: [pods], verbs: [patch]}\n";
    assert!(ran.code == Some(77) && ran.err.ends_with(said), "{:?} {}", ran.code, ran.err);
    assert!(cluster.pod("t-1").is_some_and(|pod| pod["metadata"]["deletionTimestamp"].is_null()));
}

#[test]
fn without_the_right_to_delete_it_is_not_cancelled() {
    let cluster = Cluster::of(STUBBORN);
    detached(&cluster, &cluster.admin());
    let before = cluster.pod("t-1");
    let ran = cancel(&cluster.without(&[("delete", "pods")]));
    let said = "refused: not cancelled: pod t-1 is left as it is; service account default/kpo may not delete pods in namespace default\n  Add to its Role: - {apiGroups: [\"\"], resources: [pods], verbs: [delete]}\n";
    assert_eq!((ran.code, ran.err.as_str()), (Some(77), said));
    assert_eq!(cluster.pod("t-1"), before, "nothing is written: its observer, if it has one, watches on");
}

/// It seemed to be allowed, and was refused all the same: its observer has left by then.
#[test]
fn who_has_taken_over_and_cannot_delete_says_that_nobody_watches() {
    let cluster = Cluster::of(STUBBORN);
    detached(&cluster, &cluster.admin());
    let denied = "pods \"t-1\" is forbidden: User \"u\" cannot delete resource \"pods\" in API group \"\" in the namespace \"default\"";
    let body = format!(
        "{{\"kind\":\"Status\",\"status\":\"Failure\",\"reason\":\"Forbidden\",\"code\":403,\"message\":{denied:?}}}"
    );
    let _refused =
        cluster.fault(Match::of("delete", "pods").nth(2), Fault::Status(kpo_lab::Reply::status(403).body(body)));
    let ran = cancel(&cluster.admin());
    let said = "  To watch over it again: kpo attach t --take-over -n default --kubeconfig ";
    assert!(
        ran.code == Some(77)
            && ran.err.contains(
                "not cancelled: pod t-1 still runs on node-1, and nobody watches over it now; user u may not"
            ),
        "{}",
        ran.err
    );
    assert!(ran.err.contains(said), "{}", ran.err);
}

/// Quiet or not: what is left behind is said.
#[test]
fn ctrl_c_without_the_right_to_delete_says_that_the_pod_runs_on() {
    let cluster = Cluster::of(STUBBORN);
    let kubeconfig = cluster.without(&[("delete", "pods")]);
    for (name, flag) in [("a", "-v"), ("b", "-q")] {
        let mut child = spawn(&["run", "--kubeconfig", &kubeconfig, "--image=x", "--name", name, flag]);
        let rest = streams(&mut child);
        cluster.wait_until_running(&format!("{name}-1"));
        signal(&child, "INT");
        let (out, err, code) = rest.end(child);
        let said = format!(
            "not cancelled: pod {name}-1 still runs on node-1, and nobody watches over it now; service account default/kpo may not delete pods in namespace default."
        );
        assert!(code == Some(77) && out.is_empty() && err.contains(&said), "{err}");
        assert!(!err.contains("its pod is deleted") && !err.contains("the pod is deleted"), "{err}");
        let again = format!("  To watch over it again: kpo attach {name} --take-over -n default");
        assert_eq!(err.contains(&again), flag == "-v", "{err}");
    }
}

/// Of two that cancel at once one is taken over: it says so, and does not say that it has cancelled.
#[test]
fn who_is_taken_over_has_not_cancelled() {
    let cluster = Cluster::of(STUBBORN);
    detached(&cluster, &cluster.admin());
    // The first one's delete, after it has asked whether it may, does not come through, and so it is still there when the second takes over.
    let slow = cluster.fault(Match::of("delete", "pods").nth(2), Fault::HalfOpen);
    let kubeconfig = cluster.admin();
    let mut first = spawn(&["cancel", "t", "--kubeconfig", &kubeconfig]);
    let mut rest = streams(&mut first);
    rest.wait_for_error("deleting pod t-1");
    let second = cancel(&kubeconfig);
    let (_, err, code) = rest.end(first);
    drop(slow);
    assert!(second.code == Some(0) && second.err.contains("; its pod has ended"), "{}", second.err);
    assert!(code == Some(76) && err.contains("not cancelled from here: another observer ("), "{code:?} {err}");
    assert!(!err.contains("cancelled on"), "{err}");
}

/// The node is silent: nobody has said that the program has ended. Who does not wait for that is told so.
#[test]
fn what_has_not_ended_is_not_said_to_have() {
    let cluster = Cluster::of(&format!("{STUBBORN}when pod t-1 running: node node-1 silent\n"));
    detached(&cluster, &cluster.admin());
    let mut child = spawn(&["cancel", "t", "--kubeconfig", &cluster.admin()]);
    let mut rest = streams(&mut child);
    rest.wait_for_error("deleting pod t-1, with a grace of 1 s");
    signal(&child, "INT");
    let (_, err, code) = rest.end(child);
    let said = "left at once: pod t-1 in namespace default is being deleted, and has not ended\n";
    assert!(code == Some(130) && err.ends_with(said), "{code:?} {err}");
}
