//! What is written where, and what becomes of it.

mod common;

use common::cluster::{Cluster, until};
use common::{kpo, kpo_with, signal, spawn, streams};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_said_once_and_the_task_is_finished() {
    let cluster = Cluster::of("node node-1\ncontainer base runs 100ms exit 0 says \"one\" says \"two\" at 50ms\n");
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let admin = cluster.admin();
    let ran = kpo_with(&[], &["run", "--kubeconfig", &admin, "--image=x", "--name=t"], Some(full()));
    let said =
        "standard output cannot be written (No space left on device (os error 28)): what follows of it is lost\n";
    assert_eq!(ran.err.matches(said).count(), 1, "{}", ran.err);
    assert!(ran.code == Some(125) && ran.err.contains("succeeded, exit 0, on node-1"), "{:?} {}", ran.code, ran.err);
    until(|| cluster.pods() == 0);
    for command in [
        vec!["ls", "-o", "json", "--kubeconfig", &admin],
        vec!["version"],
        vec!["completion", "bash"],
        vec!["help", "rerun"],
    ] {
        let ran = kpo_with(&[], &command, Some(full()));
        let said = "error: standard output cannot be written: No space left on device (os error 28)\n";
        assert_eq!((ran.code, ran.err.as_str()), (Some(125), said), "{command:?}");
    }
}

/// `kpo logs -f | head`: who reads no more has had enough.
#[test]
fn following_a_log_ends_with_its_reader() {
    let cluster = Cluster::of("node node-1\n");
    let admin = cluster.admin();
    let script = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; done";
    let run = [
        "run",
        "--kubeconfig",
        &admin,
        "--image=x",
        "--name=t",
        "--detach",
        "-q",
        "--command",
        "--",
        "sh",
        "-c",
        script,
    ];
    assert_eq!(kpo(&run).code, Some(0));
    cluster.wait_until_running("t-1");
    let mut child = spawn(&["logs", "t", "-f", "--kubeconfig", &admin]);
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((first.as_str(), child.wait().unwrap().code(), err.as_str()), ("line 0\n", Some(0), ""));
}

#[test]
fn a_kept_pod_is_told_of_and_so_is_how_it_goes() {
    let cluster = Cluster::of("node node-1\ncontainer base runs 10ms exit 3\n");
    let admin = cluster.admin();
    let run = |name: &str, keep: &str| {
        kpo(&["run", "--kubeconfig", &admin, "--image=x", "--name", name, "--on-finish", keep])
    };
    let kept = run("t", "keep-failed");
    assert!(
        kept.code == Some(3)
            && kept.err.ends_with("  pod t-1 is kept; it goes by: kubectl delete pod t-1 -n default\n"),
        "{}",
        kept.err
    );
    let for_a_while = run("u", "keep-failed=2h");
    assert!(for_a_while.err.contains("  pod u-1 is kept until 2"), "{}", for_a_while.err);
    let again = run("t", "delete");
    let said = format!(
        "refused: task t has ended, and its pod t-1 in namespace default is kept\n  To see its log and its end: kpo attach t -n default --kubeconfig {admin}\n  To remove it: kubectl delete pod t-1 -n default\n  To run another: give it another --name\n"
    );
    assert_eq!((again.code, again.err), (Some(126), said));
}

#[test]
fn what_a_job_says_of_itself_and_a_task_does_otherwise_is_said() {
    let cluster = Cluster::of("node node-1\ncontainer base runs 10ms exit 0\n");
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec:\n  suspend: true\n  template: {spec: {containers: [{name: base, image: x}]}}\n";
    let ran = kpo(&["run", "--kubeconfig", &cluster.admin(), &cluster.file("job.yaml", job)]);
    let said = "note: it is suspended (spec.suspend: true); its template is run all the same\n";
    assert!(ran.code == Some(0) && ran.err.starts_with(said), "{}", ran.err);
    let said = "note: the Job's retries (spec.backoffLimit) are not taken over; a program that fails is run again with --retries=N\n";
    for (limit, flags, told) in
        [(4, &["--name=a"][..], true), (4, &["--name=b", "--retries=1"], false), (0, &["--name=c"], false)]
    {
        let job = cluster.file("job.yaml", &job.replace("suspend: true", &format!("backoffLimit: {limit}")));
        let ran = kpo(&[&["run", "--kubeconfig", &cluster.admin(), &job], flags].concat());
        assert!(ran.code == Some(0) && ran.err.starts_with(said) == told, "{limit} {flags:?} {}", ran.err);
    }
}

/// Another's pod has the name that the first attempt would have.
#[test]
fn a_name_that_is_taken_is_named_and_not_by_a_uid() {
    let cluster = Cluster::of("node node-1\npod default/t-1 image=x command=sleep,60\n");
    let ran = kpo(&["run", "--kubeconfig", &cluster.admin(), "--image=x", "--name=t"]);
    assert!(ran.err.contains("launch failed: pod t-1 exists, and is not of this task"), "{}", ran.err);
    let uid = cluster.pod("t-1").and_then(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned)).unwrap();
    assert!(ran.code == Some(126) && !ran.err.contains(&uid), "{}", ran.err);
}

/// What was not written nobody has: the pod, which can tell it again, stays.
#[cfg(target_os = "linux")]
#[test]
fn an_outcome_that_cannot_be_written_is_not_taken() {
    let cluster = Cluster::of("node node-1\ncontainer base runs 10ms exit 3\n");
    let admin = cluster.admin();
    for form in ["json", "yaml", "events"] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = kpo_with(&[], &["run", "--kubeconfig", &admin, "--image=x", "--name", form, "-o", form], Some(full));
        let attach = format!("kpo attach {form} --take-over -n default --kubeconfig {admin}\n");
        let said = format!("the outcome was not taken, and nothing is cleaned up: {attach}");
        assert!(ran.code == Some(125) && ran.err.ends_with(&said), "{:?} {}", ran.code, ran.err);
        let again = kpo(&["attach", form, "--take-over", "--kubeconfig", &admin, "-o", "json"]);
        let outcome: serde_json::Value = serde_json::from_str(&again.out).unwrap();
        assert_eq!((again.code, outcome["verdict"].as_str()), (Some(3), Some("failed")), "{}", again.err);
    }
    until(|| cluster.pods() == 0);
}

/// A script that reads standard output finds there what went wrong, in each form.
#[test]
fn where_no_outcome_came_to_be_there_is_an_error_to_read() {
    let cluster = Cluster::of("node node-1\n");
    let broken = cluster.file("task.yaml", "kind: Deployment\n");
    for (arguments, code) in [
        (vec!["run", "--image=x", "--kubeconfig=/nonexistent/config"], 125),
        (vec!["run", &broken], 2),
        (vec!["attach", "nosuch", "--kubeconfig", &cluster.admin()], 66),
    ] {
        let read = |form: &str| {
            let ran = kpo(&[&arguments[..], &["-o", form]].concat());
            assert_eq!((ran.code, ran.out.lines().count() == 1), (Some(code), form == "events"), "{}", ran.out);
            serde_json::from_str::<serde_json::Value>(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
        };
        let (object, event) = (read("json"), read("events"));
        assert_eq!((object["kind"].as_str(), object["exitCode"].as_i64()), (Some("Error"), Some(code.into())));
        assert_eq!((event["event"].as_str(), &event["error"]), (Some("error"), &object));
        assert!(event["version"].is_u64() && event["at"].is_string(), "{event}");
    }
}

/// Who only followed, and leaves, has the same last object in each form.
#[test]
fn of_a_task_that_goes_on_events_end_as_the_object_does() {
    let cluster = Cluster::of("node node-1\ncontainer base runs forever on-term exits 0\n");
    let admin = cluster.admin();
    assert_eq!(kpo(&["run", "--kubeconfig", &admin, "--image=x", "--name=t", "--detach", "-q"]).code, Some(0));
    let left = |form: &str| {
        let mut child = spawn(&["attach", "t", "--kubeconfig", &admin, "-o", form]);
        let mut rest = streams(&mut child);
        rest.wait_for_error("running");
        signal(&child, "INT");
        let (out, err, code) = rest.end(child);
        assert_eq!(code, Some(130), "{err}");
        out
    };
    let object: serde_json::Value = serde_json::from_str(&left("json")).unwrap();
    let last: serde_json::Value = serde_json::from_str(left("events").lines().last().unwrap()).unwrap();
    assert_eq!((last["event"].as_str(), &last["outcome"]), (Some("outcome"), &object));
    assert!(object["verdict"].is_null() && object["message"] == "t lives on.", "{object}");
}

#[test]
fn a_list_without_tasks_is_empty_and_that_is_said() {
    let cluster = Cluster::of("node node-1\n");
    let admin = cluster.admin();
    for (flags, out, err) in [
        (&[][..], "", "no tasks in namespace default\n"),
        (&["-n", "other"], "", "no tasks in namespace other\n"),
        (&["-A"], "", "no tasks in any namespace\n"),
        (&["-o", "json"], "[]\n", ""),
    ] {
        let ran = kpo(&[&["ls", "--kubeconfig", &admin], flags].concat());
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), out, err), "{flags:?}");
    }
}
