//! A signal at any moment: it is heard, and what is left behind is said.

mod common;

use common::cluster::{Cluster, until};
use common::{Rest, kpo, signal, spawn, spawn_ignoring, streams};
use kpo_lab::{Fault, Match};
use std::process::Child;

const FOREVER: &str = "node node-1\ncontainer base runs forever on-term exits 0\n";

/// `kpo run` of a task t.
fn run(kubeconfig: &str, flags: &[&str]) -> (Child, Rest) {
    let arguments = ["run", "--kubeconfig", kubeconfig, "--image=x", "--name=t"];
    let mut child = spawn(&[&arguments, flags].concat());
    let rest = streams(&mut child);
    (child, rest)
}

/// Sends it, and returns what was said and the exit code.
fn end_by(name: &str, (child, rest): (Child, Rest)) -> (String, Option<i32>) {
    signal(&child, name);
    let (_, err, code) = rest.end(child);
    (err, code)
}

/// A kubeconfig whose credential plugin makes a file, and never answers.
fn with_hanging_plugin(cluster: &Cluster, started: &str) -> String {
    let kubeconfig = cluster.lab().kubeconfig().unwrap();
    let program = format!("command: sh, args: [-c, \"touch {started}; exec sleep 60\"]");
    let exec = format!("exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, {program}}}");
    let (head, _) = kubeconfig.split_once("    token:").unwrap();
    cluster.file("hangs.yaml", &format!("{head}    {exec}\n"))
}

#[test]
fn while_nothing_is_under_way_a_signal_ends_at_once() {
    let cluster = Cluster::of(FOREVER);
    let silent = cluster.fault(Match::of("list", "pods"), Fault::HalfOpen);
    let admin = cluster.admin();
    for (name, wanted) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        for (command, said) in [
            (vec!["run", "--image=x", "--name=t"], "left: nothing was created\n"),
            (vec!["run", "--image=x", "--name=t", "--detach"], "left: nothing was created\n"),
            (vec!["attach", "t"], "left: the task was not looked at yet, and is left as it is\n"),
            (vec!["wait", "t"], "left: the task was not looked at yet, and is left as it is\n"),
            (vec!["cancel", "t"], "left: the task is not cancelled\n"),
        ] {
            let before = silent.hits();
            let mut child = spawn(&[command.as_slice(), &["--kubeconfig", &admin]].concat());
            let rest = streams(&mut child);
            until(|| silent.hits() != before);
            assert_eq!(end_by(name, (child, rest)), (said.to_owned(), Some(wanted)), "{command:?}");
        }
    }
    until(|| cluster.pods() == 0);
}

#[test]
fn a_plugin_that_hangs_does_not_hold_a_signal_up() {
    let cluster = Cluster::of(FOREVER);
    for (name, wanted) in [("INT", 130), ("TERM", 143)] {
        let started = cluster.folder().join(name);
        let running = run(&with_hanging_plugin(&cluster, started.to_str().unwrap()), &[]);
        until(|| started.exists());
        let (err, code) = end_by(name, running);
        assert_eq!((err.as_str(), code), ("left: nothing was created\n", Some(wanted)));
    }
}

#[test]
fn under_a_full_quota_a_signal_leaves_nothing_behind() {
    let cluster = Cluster::of("node node-1\nquota default pods=0\n");
    for flags in [&[][..], &["--detach"]] {
        let waiting = || {
            let (child, mut rest) = run(&cluster.admin(), flags);
            rest.wait_for_error("exceeded quota");
            (child, rest)
        };
        let (err, code) = end_by("INT", waiting());
        assert!(
            code == Some(130) && err.contains("cancelled (attempt 1), no pod of task t was made"),
            "{flags:?}: {code:?} {err}"
        );
        let (err, code) = end_by("TERM", waiting());
        let said = "left: no pod was created, and nothing is left behind\n";
        assert!(code == Some(143) && err.ends_with(said), "{flags:?}: {code:?} {err}");
    }
    until(|| cluster.pods() == 0);
}

/// The create may have had its effect: a cancel waits for its answer, and a process that leaves says what may be there.
#[test]
fn while_the_create_is_not_answered() {
    let cluster = Cluster::of(FOREVER);
    let kubeconfig = cluster.admin();
    let silent = cluster.fault(Match::of("create", "pods"), Fault::HalfOpen);
    let under_way = || {
        let before = silent.hits();
        let running = run(&kubeconfig, &["-q"]);
        until(|| silent.hits() != before);
        running
    };
    let again = format!(" -n default --kubeconfig {kubeconfig}");
    let (err, code) = end_by("TERM", under_way());
    let left = "left: the API server has yet to answer the create: pod t-1 may come to be\n";
    assert_eq!((err, code), (format!("{left}  If it does: kpo attach t --take-over{again}\n"), Some(143)));
    let before = silent.hits();
    let (child, mut rest) = run(&kubeconfig, &[]);
    until(|| silent.hits() != before);
    signal(&child, "INT");
    rest.wait_for_error("the API server has yet to answer the create, which is not sent again");
    let (err, code) = end_by("INT", (child, rest));
    let left = format!(
        "left at once: pod t-1, if it was created, in namespace default may be left behind: kpo cancel t{again}\n"
    );
    assert!(code == Some(130) && err.ends_with(&left), "{code:?} {err}");
}

#[test]
fn while_it_waits_for_a_node_the_pod_stays_and_its_deadline_is_told() {
    let cluster = Cluster::of("node node-1 taint busy=yes:NoSchedule\n");
    let pending = |flags: &[&str]| {
        let (child, mut rest) = run(&cluster.admin(), flags);
        rest.wait_for_error("waiting for a node");
        (child, rest)
    };
    let (err, code) = end_by("TERM", pending(&["--timeout", "5m"]));
    let said = "detached: pod t-1 in namespace default stays, and waits for a node; it ends by itself, at the latest 5 m after it has come to a node\n  Nobody watches over it now: kpo attach t --take-over -n default";
    assert!(code == Some(143) && err.contains(said), "{code:?} {err}");
    assert_eq!(kpo(&["cancel", "t", "-q", "--kubeconfig", &cluster.admin()]).code, Some(0));
    let (err, code) = end_by("INT", pending(&[]));
    assert!(code == Some(130) && err.contains("cancelled (attempt 1); its pod has ended"), "{code:?} {err}");
    until(|| cluster.pods() == 0);
}

#[test]
fn in_the_backoff_the_next_attempt_is_held_and_that_is_said() {
    let cluster = Cluster::of("node node-1\nnetwork fails for 60s\nwhen pod t-1 scheduled: preempt pod t-1\n");
    let kubeconfig = cluster.admin();
    let (child, mut rest) = run(&kubeconfig, &[]);
    rest.wait_for_error("attempt 2   waits");
    let (err, code) = end_by("TERM", (child, rest));
    let said = format!(
        "detached: pod t-2 in namespace default is held by the gate kpo.rs/backoff\n  It starts only after: kpo attach t --take-over -n default --kubeconfig {kubeconfig}\n"
    );
    assert!(code == Some(143) && err.ends_with(&said), "{code:?} {err}");
    assert!(cluster.pod("t-2").is_some_and(|pod| pod["spec"]["schedulingGates"][0]["name"] == "kpo.rs/backoff"));
    let mut child = spawn(&["attach", "t", "--take-over", "--kubeconfig", &kubeconfig]);
    let mut rest = streams(&mut child);
    rest.wait_for_error("found t-2");
    let (err, code) = end_by("INT", (child, rest));
    assert!(code == Some(130) && err.contains("cancelled (attempt 2"), "{code:?} {err}");
    until(|| cluster.pod("t-1").is_none() && cluster.pod("t-2").is_none());
}

#[test]
fn while_it_runs_a_follower_cancels_nothing() {
    let cluster = Cluster::of(FOREVER);
    let kubeconfig = cluster.admin();
    let grace = "spec.activeDeadlineSeconds=3600";
    assert_eq!(
        kpo(&["run", "--kubeconfig", &kubeconfig, "--image=x", "--name=t", "--set", grace, "--detach", "-q"]).code,
        Some(0)
    );
    cluster.wait_until_running("t-1");
    for (command, name, wanted) in [("attach", "INT", 130), ("wait", "TERM", 143)] {
        let mut child = spawn(&[command, "t", "--kubeconfig", &kubeconfig]);
        let mut rest = streams(&mut child);
        rest.wait_for_error("found t-1");
        let (err, code) = end_by(name, (child, rest));
        let said = format!(
            "left: pod t-1 in namespace default runs on\n  It was only followed here. To cancel it: kpo cancel t -n default --kubeconfig {kubeconfig}\n"
        );
        assert!(code == Some(wanted) && err.ends_with(&said) && !err.contains("cancelling"), "{code:?} {err}");
    }
    let mut child = spawn(&["attach", "t", "--take-over", "--kubeconfig", &kubeconfig]);
    let mut rest = streams(&mut child);
    rest.wait_for_error("running");
    let (err, code) = end_by("TERM", (child, rest));
    assert!(
        code == Some(143)
            && err.contains("detached: pod t-1 in namespace default runs on; it ends by itself, at the latest in "),
        "{err}"
    );
    assert_eq!(cluster.pods(), 1);
}

/// Who starts it decides what it hears: `nohup kpo run …` lives on when the terminal goes.
#[test]
fn a_signal_that_was_ignored_at_the_start_is_ignored() {
    let cluster = Cluster::of(FOREVER);
    let kubeconfig = cluster.admin();
    for (name, ignored, heard, said, wanted) in [
        ("t", "HUP", "INT", "; its pod has ended\n", 130),
        ("u", "INT", "TERM", "detached: pod u-1 in namespace default runs on", 143),
    ] {
        let run = ["run", "--kubeconfig", &kubeconfig, "--image=x", "--name", name];
        let mut child = spawn_ignoring(ignored, &run);
        let mut rest = streams(&mut child);
        rest.wait_for_error("running");
        signal(&child, ignored);
        let (err, code) = end_by(heard, (child, rest));
        assert!(code == Some(wanted) && err.contains(said), "{ignored} {code:?} {err}");
    }
}

/// What SIGTERM means can be set by the environment; what is empty is not set.
#[test]
fn the_environment_says_what_a_signal_means() {
    let variable = |value: &str| {
        let value = std::ffi::OsString::from(value);
        common::kpo_with(&[("KPO_ON_SIGTERM", &value)], &["run", "--image=x", "--kubeconfig=/nonexistent/config"], None)
    };
    let wrong = variable("foo");
    assert_eq!(
        (wrong.code, wrong.err.as_str()),
        (Some(2), "error: KPO_ON_SIGTERM is \"foo\": it is detach or cancel\n")
    );
    for right in ["", "cancel"] {
        assert!(variable(right).err.contains("cannot read the kubeconfig"), "{right:?}");
    }
}

/// `kpo run … | less`: standard output is stuck, and with it all that is to be printed after it.
#[test]
fn a_reader_that_does_not_read_holds_no_signal_up() {
    let cluster = Cluster::of("node node-1\n");
    let kubeconfig = cluster.admin();
    let stuck = |name: &str| {
        let script = "trap '' TERM; echo begun; head -c 2000000 /dev/zero | tr '\\0' x | fold -w 1000; while :; do sleep 1; done";
        let what = ["--set", "spec.terminationGracePeriodSeconds=600", "--command", "--", "sh", "-c", script];
        let run = ["run", "--kubeconfig", &kubeconfig, "--image=x", "--name", name];
        let mut child = spawn(&[&run[..], &what].concat());
        let mut rest = streams(&mut child);
        rest.wait_for_line("begun");
        until(|| kpo(&["logs", name, "--kubeconfig", &kubeconfig]).out.len() > 2_000_000);
        (child, rest)
    };
    let (child, rest) = stuck("t");
    signal(&child, "INT");
    cluster.wait_until("t-1", |pod| pod["metadata"]["deletionTimestamp"].is_string());
    signal(&child, "INT");
    let (err, code) = rest.end_unread(child);
    let again = format!("kpo cancel t -n default --kubeconfig {kubeconfig}\n");
    let said = format!("left at once: pod t-1 in namespace default may be left behind: {again}");
    assert!(code == Some(130) && err.ends_with(&said), "{code:?} {err}");
    let (child, rest) = stuck("u");
    signal(&child, "TERM");
    let (err, code) = rest.end_unread(child);
    let said = "detached: pod u-1 in namespace default runs on";
    assert!(code == Some(143) && err.contains(said), "{code:?} {err}");
    assert!(cluster.pod("u-1").is_some_and(|pod| pod["metadata"]["deletionTimestamp"].is_null()));
}
