//! `kpo run --lab`: whole tasks, through the built binary.

mod common;

use common::{Ran, kpo, kpo_in, spawn, wait_for_line};
use serde_json::Value;
use std::path::Path;

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// Runs a shell script as a task on a quiet lab.
fn task(flags: &[&str], script: &str) -> Ran {
    let mut arguments = vec!["run", "--lab", "--image=busybox", "--name=t"];
    arguments.extend(flags);
    arguments.extend(["--command", "--", "sh", "-c", script]);
    kpo(&arguments)
}

#[test]
fn the_seeds_situation_ends_in_hello_exactly_once() {
    let ran = kpo_in(&examples(), &["run", "--lab=preemption", "orange-juice.yaml"], "");
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "hello\n"), "{}", ran.err);
    for said in [
        "preempted by pod kube-system/node-agent",
        "it never ran: the kubelet on node-1 closed the pod",
        "attempt 2 (1 preempted before it ran)",
    ] {
        assert!(ran.err.contains(said), "{said:?} is missing in {}", ran.err);
    }
}

#[test]
fn the_programs_exit_code_is_kpos() {
    let ran = task(&[], "echo out; echo err >&2; exit 3");
    assert_eq!((ran.code, ran.out.as_str()), (Some(3), "out\nerr\n"));
    let last = ran.err.lines().last().unwrap_or_default();
    assert!(
        last.contains("failed: the program exited 3 on node-1") && last.ends_with("(attempt 1). Last line: \"err\"."),
        "{last}"
    );
}

#[test]
fn quiet_says_nothing_but_the_end_of_a_failure() {
    let ran = task(&["-q"], "echo out");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "out\n", ""));
    let failed = task(&["-q"], "exit 9").err;
    assert!(failed.lines().count() == 1 && failed.contains("  t: failed: the program exited 9"), "{failed}");
}

#[test]
fn json_is_the_outcome_and_the_log_goes_to_standard_error() {
    let ran = task(
        &["-o", "json", "--result", "--results=message"],
        "echo out; echo '[1]' > /airflow/xcom/return.json; exit 0",
    );
    let outcome: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (outcome["kind"].as_str(), outcome["verdict"].as_str(), outcome["exitCode"].as_i64()),
        (Some("Outcome"), Some("succeeded"), Some(0))
    );
    assert_eq!(outcome["result"], serde_json::json!([1]));
    assert!(ran.err.lines().any(|line| line == "out"), "{}", ran.err);
    let failed = task(&["-o", "json", "-q"], "exit 4");
    let outcome: Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!(
        (failed.code, outcome["exitCode"].as_i64(), outcome["reason"].as_str()),
        (Some(4), Some(4), Some("programFailed"))
    );
    assert!(outcome["message"].as_str().unwrap_or_default().starts_with("failed: the program exited 4 on node-1"));
}

#[test]
fn a_results_numbers_keep_their_digits_in_either_form() {
    let digits = "123456789012345678901234567890";
    for form in ["json", "events"] {
        let script = format!("echo '{{\"n\":\n{digits}}}' > /airflow/xcom/return.json");
        let ran = task(&["-o", form, "-q", "--result", "--results=message"], &script);
        let line = ran.out.lines().find(|line| line.contains(digits)).unwrap_or_default();
        assert!(line.contains(&format!("{{\"n\":{digits}}}")), "{}", ran.out);
    }
}

#[test]
fn events_are_json_lines_with_the_log_among_them() {
    let ran = task(&["-o", "events", "-q"], "echo one; echo two");
    let events: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let all: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    // The log comes at its own pace; only the outcome waits for it.
    let steps: Vec<&str> = all.iter().copied().filter(|name| !["waiting", "sight", "log"].contains(name)).collect();
    assert_eq!(steps, ["created", "assigned", "running", "ended", "outcome", "finished"], "{}", ran.out);
    let place = |wanted: &str| all.iter().rposition(|name| *name == wanted);
    assert!(place("log") < place("outcome"), "{}", ran.out);
    assert!(events.iter().all(|event| event["version"] == 1 && event["task"] == "t" && event["at"].is_string()));
    let lines: Vec<&str> = events.iter().filter_map(|event| event["line"].as_str()).collect();
    assert_eq!(lines, ["one", "two"]);
}

#[test]
fn a_long_line_is_events_that_go_on_from_one_another_and_cut_no_character() {
    let ran = task(&["-o", "events", "-q"], "printf x; yes ü | head -n 200000 | tr -d '\\n'; echo");
    let pieces: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let pieces: Vec<Value> = pieces.into_iter().filter(|event| event["event"] == "log").collect();
    let marks: Vec<_> = pieces.iter().map(|piece| (piece["continues"].as_bool(), piece["partial"].as_bool())).collect();
    assert_eq!(marks, [(Some(false), Some(true)), (Some(true), Some(false))]);
    let line: String = pieces.iter().filter_map(|piece| piece["line"].as_str()).collect();
    assert!(line == format!("x{}", "ü".repeat(200_000)), "{} bytes", line.len());
}

#[test]
fn other_containers_speak_on_standard_error_with_their_name() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: t}, spec: {containers: [
        {name: base, image: x, command: [sh, -c, 'echo mine']}, {name: side, image: x, command: [sh, -c, 'echo theirs']}]}}";
    let ran = kpo_in(Path::new("/"), &["run", "--lab", "-f", "-"], pod);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "mine\n"), "{}", ran.err);
    assert!(ran.err.lines().any(|line| line == "[side] theirs"), "{}", ran.err);
}

#[test]
fn a_closed_standard_output_is_no_failure_of_the_task() {
    let mut child = spawn(&[
        "run",
        "--lab",
        "--image=x",
        "--command",
        "--",
        "sh",
        "-c",
        "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 6",
    ]);
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(6), "{}", String::from_utf8_lossy(&ended.stderr));
}

fn signal(child: &std::process::Child, name: &str) {
    let sent = std::process::Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

const TRAPS: &str = "trap 'echo bye; exit 0' TERM; echo started; sleep 60 & wait";

#[test]
fn ctrl_c_cancels_with_grace_and_shows_the_logs_end() {
    let mut child = spawn(&["run", "--lab", "--image=x", "--name=t", "--command", "--", "sh", "-c", TRAPS]);
    let rest = wait_for_line(&mut child, "started");
    signal(&child, "INT");
    let (out, err, code) = rest.end(child);
    assert_eq!((code, out.as_str()), (Some(130), "bye\n"), "{err}");
    for said in ["cancelling (once more", "with a grace of 30 s", "cancelled on node-1"] {
        assert!(err.contains(said), "{said}: {err}");
    }
}

#[test]
fn sigterm_detaches_or_cancels_as_it_is_told() {
    for (value, wanted, said) in
        [("detach", 143, "left: the lab ends with kpo"), ("cancel", 130, "cancelled on node-1")]
    {
        let flag = format!("--on-sigterm={value}");
        let mut child = spawn(&["run", "--lab", "--image=x", "--name=t", &flag, "--command", "--", "sh", "-c", TRAPS]);
        let rest = wait_for_line(&mut child, "started");
        signal(&child, "TERM");
        let (_, err, code) = rest.end(child);
        assert_eq!(code, Some(wanted), "{err}");
        assert!(err.contains(said), "{err}");
    }
}

#[test]
fn a_second_signal_leaves_at_once_and_says_so() {
    let stubborn = "trap '' TERM; echo started; while :; do sleep 1; done";
    let mut child = spawn(&["run", "--lab", "--image=x", "--name=t", "--command", "--", "sh", "-c", stubborn]);
    let mut rest = wait_for_line(&mut child, "started");
    signal(&child, "INT");
    rest.wait_for_error("cancelling");
    signal(&child, "INT");
    let (_, err, code) = rest.end(child);
    assert_eq!(code, Some(130), "{err}");
    assert!(err.contains("left at once"), "{err}");
}

#[test]
fn env_values_and_tokens_are_never_said() {
    let ran = task(&["-vvvv", "--env=PASSWORD=hunter2canary"], "exit 1");
    assert_eq!(ran.code, Some(1));
    assert!(!ran.err.contains("hunter2canary"), "{}", ran.err);
    assert!(!ran.err.to_lowercase().contains("bearer "), "{}", ran.err);
}

#[test]
fn the_limit_of_a_result_is_said_when_its_pod_is_admitted() {
    let said = |limit: usize| format!("result: at most {limit} bytes can leave the pod");
    let ran = task(&["--result", "--results=message"], "echo 1 > /airflow/xcom/return.json");
    assert!(ran.err.lines().nth(1).is_some_and(|line| line.ends_with(&said(4096))), "{}", ran.err);
    assert_eq!(ran.err.matches("result: at most").count(), 1, "{}", ran.err);
}

#[test]
fn a_result_that_cannot_be_taken_says_what_to_write() {
    let last = |ran: &Ran| ran.err.lines().find(|line| line.contains("failed: ")).unwrap_or_default().to_owned();
    let none = task(&["--result", "--results=message"], "true");
    let words = "the program left no result: before it ends it must write one JSON value to the file \"/airflow/xcom/return.json\"";
    assert!(none.code == Some(65) && last(&none).contains(words), "{}", none.err);
    let digits = "head -c 3000000 /dev/zero | tr '\\0' 7 > /airflow/xcom/return.json";
    let number = task(&["--result", "--results-image=busybox"], digits);
    let words = "the result (3000000 bytes) has too large a number at line 1, column 3000000: a number must fit 64-bit floating point; write it as a string";
    assert!(number.code == Some(65) && last(&number).contains(words), "{}", number.err);
    let cut = task(&["--result", "--results=message"], digits);
    let words = "the result is too large: it reaches the limit, the limit is 4096 bytes";
    assert!(cut.code == Some(65) && last(&cut).contains(words), "{}", cut.err);
}

#[test]
fn the_sidecar_is_shaped_by_flags() {
    let ran = kpo(&[
        "run",
        "--image=x",
        "--result",
        "--results-image=busybox",
        "--results-resources=cpu=10m,memory=16Mi",
        "--results-security={runAsUser: 7}",
        "--dry-run=client",
        "-o",
        "json",
    ]);
    let pod: Value = serde_json::from_str(&ran.out).unwrap();
    let sidecar = &pod["spec"]["initContainers"][0];
    let wanted = serde_json::json!({"cpu": "10m", "memory": "16Mi"});
    assert_eq!((&sidecar["resources"]["limits"], &sidecar["resources"]["requests"]), (&wanted, &wanted));
    assert_eq!(sidecar["securityContext"], serde_json::json!({"runAsUser": 7}));
}

#[test]
fn verbose_tells_the_evidence_and_twice_the_requests() {
    let once = task(&["-v"], "exit 3");
    assert!(
        once.err.lines().any(|line| line.contains("evidence, attempt 1: ") && line.ends_with("base: ended Error (3)")),
        "{}",
        once.err
    );
    assert!(!once.err.contains("POST /api"), "{}", once.err);
    let twice = task(&["-vv"], "exit 3");
    assert!(twice.err.contains("POST /api/v1/namespaces/default/pods: 201 in "), "{}", twice.err);
}

#[test]
fn a_dry_run_prints_the_pod_and_creates_nothing() {
    let ran = kpo(&[
        "run",
        "--image=busybox",
        "--name=t",
        "--dry-run=client",
        "-o",
        "json",
        "--env",
        "A=1",
        "--",
        "echo",
        "hi",
    ]);
    let pod: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((pod["metadata"]["name"].as_str(), pod["spec"]["restartPolicy"].as_str()), (Some("t-1"), Some("Never")));
    assert_eq!(pod["spec"]["containers"][0]["args"], serde_json::json!(["echo", "hi"]));
    assert!(kpo(&["run", "--image=busybox", "--dry-run=client"]).out.contains("\nkind: Pod\n"));
}
