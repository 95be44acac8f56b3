//! `kpo why` and the other commands, of pods in a living cluster.

mod common;

use common::cluster::{Cluster, until};
use common::{kpo, signal, spawn, streams};

/// The lines of a page, their blanks made one.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Asked twice, it says the same: its times are the pod's own, but for when it was looked at.
#[test]
fn what_a_living_pod_shows_is_dated_by_its_own_word() {
    let cluster = Cluster::of("node node-1\npod default/foreign image=x command=false\n");
    let admin = cluster.admin();
    cluster.wait_until("foreign", |pod| pod["status"]["phase"] == "Failed");
    let why = || kpo(&["why", "foreign", "--kubeconfig", &admin]).out;
    let steady = |text: String| {
        text.lines().filter(|line| !line.contains("looked at")).map(|line| line.to_owned() + "\n").collect::<String>()
    };
    let first = why();
    let mut later = first.clone();
    // Until it was looked at in another moment.
    until(|| {
        later = why();
        later != first
    });
    assert_eq!(steady(first.clone()), steady(later));
    assert!(first.contains("looked at, ") && first.contains("created"), "{first}");
    assert!(words(&first).contains("Read its log: kubectl logs foreign -c filler -n default"), "{first}");
}

#[test]
fn a_container_or_a_name_that_is_none_is_refused_before_anybody_is_asked() {
    let cluster = Cluster::of("node node-1\ncontainer base runs forever\n");
    let admin = cluster.admin();
    assert_eq!(kpo(&["run", "--kubeconfig", &admin, "--image=x", "--name=t", "--detach", "-q"]).code, Some(0));
    cluster.wait_until_running("t-1");
    let ran = kpo(&["why", "t", "-c", "nope", "--kubeconfig", &admin]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(2), "error: pod t-1 has no container \"nope\". It has: base.\n"));
    let before = cluster.lab().journal().len();
    for command in [
        vec!["why", "t-1/status"],
        vec!["why", ".."],
        vec!["ls", "-n", "default/../kube-system"],
        vec!["attach", "t/x"],
        vec!["wait", "T"],
        vec!["logs", "t%2f"],
        vec!["cancel", ".."],
        vec!["run", "--image=x", "-n", "a/b"],
        vec!["sweep", "-n", ""],
    ] {
        let ran = kpo(&[command.as_slice(), &["--kubeconfig", &admin]].concat());
        assert!(
            ran.code == Some(2) && ran.err.starts_with("error: invalid value "),
            "{command:?}: {:?} {}",
            ran.code,
            ran.err
        );
    }
    assert_eq!(cluster.lab().journal().len(), before);
}

/// The preemptor's pod is there, and tells whose it is.
#[test]
fn who_preempted_it_is_looked_up() {
    let cluster = Cluster::of(
        "node node-1 pods=1\npriority-class high 1000\ndaemonset kube-system/node-agent priority-class=high selector ready=yes\n\
         network fails for 60s on node-1\ncontainer base runs forever on-term exits 0\n\
         when pod t-1 scheduled: node node-1 labelled ready=yes\nwhen pod t-1 disrupted: node node-2\n",
    );
    let admin = cluster.admin();
    let mut child = spawn(&["run", "--kubeconfig", &admin, "--image=x", "--name=t"]);
    let rest = streams(&mut child);
    cluster.wait_until_running("t-2");
    let why = kpo(&["why", "t-1", "--kubeconfig", &admin]);
    signal(&child, "INT");
    let (_, err, _) = rest.end(child);
    assert!(err.contains("preempted by pod kube-system/node-agent-"), "{err}");
    let page = words(&why.out);
    assert!(
        page.contains("who DaemonSet kube-system/node-agent (priority 1000), by its pod kube-system/node-agent-"),
        "{}{}",
        why.out,
        why.err
    );
    assert!(page.contains("To spare the wait, leave room for DaemonSets on fresh nodes"), "{}", why.out);
}

/// One pod that cannot be removed does not keep the others; and what waits says until when.
#[test]
fn a_sweep_goes_on_after_a_failure() {
    let cluster = Cluster::of("node node-1\ncontainer base runs 10ms exit 3\n");
    let admin = cluster.admin();
    for name in ["a", "b"] {
        let run = ["run", "--kubeconfig", &admin, "--image=x", "--name", name, "--on-finish=keep-failed=1ms"];
        assert_eq!(kpo(&run).code, Some(3));
    }
    let first = kpo_lab::Match::of("delete", "pods").name("a-1");
    let _fault = cluster.fault(first, kpo_lab::Fault::Status(kpo_lab::Reply::status(403)));
    let ran = kpo(&["sweep", "--kubeconfig", &admin]);
    let said = "default/a-1: kept pod, expired: left: forbidden: injected by the lab\ndefault/b-1: kept pod, expired: removed\n";
    assert!(ran.code == Some(77) && ran.err.starts_with(said), "{:?} {}", ran.code, ran.err);
    until(|| cluster.pods() == 1);
}

/// An observer that died left its finalizer on a pod that was deleted since.
#[test]
fn a_sweep_says_how_long_a_held_pod_waits() {
    let cluster = Cluster::of("node node-1\ncontainer base runs forever on-term exits 0\n");
    let admin = cluster.admin();
    assert_eq!(
        kpo(&["run", "--kubeconfig", &admin, "--image=x", "--name=t", "--protect", "--detach", "-q"]).code,
        Some(0)
    );
    cluster.wait_until_running("t-1");
    cluster.lab().with(|now, world| {
        let options = kpo_lab::DeleteOptions::grace(1);
        world.store_mut(now).delete(now, kpo_lab::Resource::Pods, "default", "t-1", &options).unwrap();
    });
    cluster.wait_until("t-1", |pod| pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed");
    let ran = kpo(&["sweep", "--kubeconfig", &admin]);
    assert!(
        ran.code == Some(0) && ran.err.starts_with("default/t-1: pod held by kpo's finalizer alone: left until 2"),
        "{}",
        ran.err
    );
}

/// Without its manifest nothing is rebuilt from the live pod: who takes over is told.
#[test]
fn who_takes_over_without_the_manifest_is_told_that_nothing_is_made_again() {
    let cluster = Cluster::of("node node-1\ncontainer base runs forever on-term exits 0\n");
    let admin = cluster.admin();
    assert_eq!(kpo(&["run", "--kubeconfig", &admin, "--image=x", "--name=t", "--detach", "-q"]).code, Some(0));
    cluster.wait_until_running("t-1");
    cluster.edit("t-1", |pod| {
        pod["metadata"]["annotations"].as_object_mut().unwrap().remove("kpo.rs/manifest");
    });
    for (flags, told) in [(vec!["--take-over"], true), (vec![], false)] {
        let mut child = spawn(&[&["attach", "t", "--kubeconfig", &admin][..], &flags].concat());
        let mut rest = streams(&mut child);
        rest.wait_for_error("found t-1");
        signal(&child, "TERM");
        let (_, err, _) = rest.end(child);
        let said = "; its manifest is not known here, so that it is not run again (give it with -f FILE)\n";
        assert_eq!(err.contains(said), told, "{err}");
    }
}

#[test]
fn a_pods_name_is_told_from_a_tasks() {
    let cluster = Cluster::of("node node-1\ncontainer base runs forever on-term exits 0\n");
    let admin = cluster.admin();
    assert_eq!(kpo(&["run", "--kubeconfig", &admin, "--image=x", "--name=two", "--detach", "-q"]).code, Some(0));
    for (command, again) in [
        (&["cancel"][..], "cancel"),
        (&["attach"], "attach"),
        (&["attach", "--take-over"], "attach --take-over"),
        (&["wait"], "wait"),
        (&["logs"], "logs"),
    ] {
        let ran = kpo(&[command, &["two-1", "--kubeconfig", &admin]].concat());
        let said =
            format!("not found: two-1 is a pod of task two\n  kpo {again} two -n default --kubeconfig {admin}\n");
        assert_eq!((ran.code, ran.err), (Some(66), said), "{command:?}");
        let ran = kpo(&[command, &["three", "--kubeconfig", &admin]].concat());
        assert!(ran.code == Some(66) && ran.err.contains("unless its task was run with --protect"), "{}", ran.err);
    }
}

/// The seed's own victim, whose observer died: nothing of it is left but what was told of it.
#[test]
fn of_a_pod_that_is_gone_its_events_are_told_as_what_they_are() {
    let cluster = Cluster::of("node node-1\nnetwork fails for 60s\nwhen pod t-1 scheduled: preempt pod t-1\n");
    let admin = cluster.admin();
    assert_eq!(kpo(&["run", "--kubeconfig", &admin, "--image=x", "--name=t", "--detach", "-q"]).code, Some(0));
    until(|| cluster.pod("t-1").is_none());
    for name in ["t-1", "t"] {
        let why = kpo(&["why", name, "--kubeconfig", &admin]);
        assert_eq!((why.code, why.err.as_str()), (Some(0), ""), "{}", why.out);
        let page = words(&why.out);
        assert!(
            page.starts_with("gone: what became of it is not known (pod t-1) proof none: these are events only"),
            "{page}"
        );
        assert!(page.contains("Preempted: ") && page.contains("--protect"), "{page}");
    }
    let none = kpo(&["why", "t-1", "-o", "json", "--kubeconfig", &admin]);
    assert!(none.code == Some(66) && none.out.contains("\"kind\": \"Error\""), "{}", none.out);
}

#[test]
fn a_dead_pod_without_a_log_is_not_said_to_begin() {
    let cluster = Cluster::of("node node-1\nnetwork fails for 60s\nwhen pod t-1 scheduled: preempt pod t-1\n");
    let admin = cluster.admin();
    let run = ["run", "--kubeconfig", &admin, "--image=x", "--name=t", "--protect", "--detach", "-q"];
    assert_eq!(kpo(&run).code, Some(0));
    cluster.wait_until("t-1", |pod| pod["status"]["phase"] == "Failed");
    let logs = kpo(&["logs", "t", "--kubeconfig", &admin]);
    let said = format!(
        "no container of pod t-1 has begun, and will not. What became of it: kpo why t-1 -n default --kubeconfig {admin}\n"
    );
    assert_eq!((logs.code, logs.err), (Some(0), said));
    let why = kpo(&["why", "t", "--kubeconfig", &admin]);
    assert!(words(&why.out).contains("if nobody watches over it any more: kpo attach t --take-over"), "{}", why.out);
    let mut child = spawn(&["attach", "t", "--kubeconfig", &admin]);
    let mut rest = streams(&mut child);
    rest.wait_for_error(&format!(
        "if nobody watches over it any more: kpo attach t --take-over -n default --kubeconfig {admin}"
    ));
    signal(&child, "INT");
    let (_, err, code) = rest.end(child);
    assert!(code == Some(130) && err.contains("has ended, and the attempt after it is not made yet"), "{code:?} {err}");
}
