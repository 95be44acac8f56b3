//! `kpo why`, over the recordings of a real cluster.

mod common;

use common::{kpo, kpo_in, recordings};
use serde_json::Value;

#[test]
fn each_recording_is_explained() {
    let files = std::fs::read_dir(recordings()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter(|name| name.ends_with(".jsonl")).collect();
    names.sort();
    assert!(names.len() >= 26, "{names:?}");
    for name in names {
        let ran = kpo_in(&recordings(), &["why", "-f", &name], "");
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{name}");
        // Who has only the program finds no docs/.
        assert!(!ran.out.contains("docs/"), "{name}: {}", ran.out);
        insta::assert_snapshot!(name.trim_end_matches(".jsonl").to_owned(), ran.out);
    }
}

fn outcome(recording: &str) -> Value {
    let ran = kpo_in(&recordings(), &["why", "-o", "json", "-f", &format!("{recording}.jsonl")], "");
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn json_is_an_outcome_of_one_attempt() {
    let ended = outcome("preempted_before_start");
    assert_eq!((ended["apiVersion"].as_str(), ended["kind"].as_str()), (Some("kpo.rs/v1"), Some("Outcome")));
    assert_eq!((ended["verdict"].as_str(), ended["exitCode"].as_i64()), (Some("disrupted"), Some(75)));
    assert_eq!(ended["reason"], "preempted");
    let attempt = &ended["attempts"][0];
    assert_eq!((attempt["pod"]["name"].as_str(), attempt["pod"]["node"].as_str()), (Some("task"), Some("node-1")));
    let verdict = &attempt["verdict"];
    assert_eq!((verdict["class"].as_str(), verdict["cause"].as_str()), (Some("disrupted"), Some("preemption")));
    assert_eq!((verdict["started"].as_str(), verdict["proof"].as_str()), (Some("never"), Some("kubelet-attested")));
    assert!(verdict["evidence"].as_array().is_some_and(|evidence| !evidence.is_empty()));
    let lives = outcome("image_pull_error");
    assert_eq!((&lives["verdict"], &lives["exitCode"]), (&Value::Null, &Value::Null));
}

#[test]
fn another_pod_can_be_asked_for() {
    let folder = recordings();
    let ran = kpo_in(&folder, &["why", "preemptor", "-f", "preempted_before_start.jsonl"], "");
    assert!(ran.out.starts_with("lives: it runs on node-1   (pod preemptor)\n"), "{}", ran.out);
    let ran = kpo_in(&folder, &["why", "nobody", "-f", "preempted_before_start.jsonl"], "");
    insta::assert_snapshot!(ran.transcript(), @r"
    │ not found: preempted_before_start.jsonl shows no pod nobody
    │   It shows: preemptor, task
    exit 66
    ");
    let event = r#"{"kind": "Event", "reason": "Preempted"}"#;
    let ran = kpo_in(&folder, &["why", "-f", "-"], event);
    assert_eq!(ran.err, "not found: standard input shows no pod\n  It shows: events only\n");
}

#[test]
fn a_container_that_the_pod_has_not_is_refused() {
    let ran = kpo_in(&recordings(), &["why", "-f", "succeeded.jsonl", "-c", "nope"], "");
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert_eq!(ran.err, "error: pod task has no container \"nope\". It has: base.\n");
}

/// A pod that was looked at once: what happened is dated by the pod's own word, and what has no date says when it was seen.
#[test]
fn a_pod_that_waits_to_be_started_again_does_not_run() {
    let pod = r#"
kind: Pod
metadata: {name: web, namespace: default, uid: u, creationTimestamp: "2026-11-23T20:00:00Z"}
spec: {nodeName: node-1, containers: [{name: web}, {name: side}]}
status:
  phase: Running
  startTime: "2026-11-23T20:00:01Z"
  conditions:
  - {type: PodScheduled, status: "True", lastTransitionTime: "2026-11-23T20:00:01Z"}
  - {type: Ready, status: "False", reason: ContainersNotReady, message: "containers with unready status: [web]", lastTransitionTime: "2026-11-23T20:05:00Z"}
  containerStatuses:
  - name: side
    containerID: c://2
    state: {running: {startedAt: "2026-11-23T20:00:02Z"}}
  - name: web
    containerID: c://1
    restartCount: 4
    state: {waiting: {reason: CrashLoopBackOff, message: back-off 5m0s restarting failed container}}
    lastState: {terminated: {exitCode: 3, startedAt: "2026-11-23T20:04:59Z", finishedAt: "2026-11-23T20:05:00Z"}}
"#;
    insta::assert_snapshot!(kpo_in(&recordings(), &["why", "-f", "-"], pod).out);
    let json = kpo_in(&recordings(), &["why", "-o", "json", "-f", "-"], pod).out;
    let outcome: Value = serde_json::from_str(&json).unwrap();
    let said = "pod web lives: it does not run now, on node-1: web waits: CrashLoopBackOff: back-off 5m0s restarting failed container; it ended last with exit 3.";
    assert_eq!((&outcome["verdict"], outcome["message"].as_str()), (&Value::Null, Some(said)));
    let waiting = "{waiting: {reason: CrashLoopBackOff, message: back-off 5m0s restarting failed container}}";
    let between = pod.replace(waiting, "{terminated: {exitCode: 3, finishedAt: \"2026-11-23T20:05:00Z\"}}");
    let said =
        kpo_in(&recordings(), &["why", "-f", "-"], &between.replace("nodeName:", "restartPolicy: Always, nodeName:"))
            .out;
    assert!(
        said.starts_with(
            "lives: it does not run now, on node-1: web has ended with exit 3, and is to be started again"
        ),
        "{said}"
    );
    let other = kpo_in(&recordings(), &["why", "-c", "side", "-f", "-"], pod).out;
    assert!(other.starts_with("lives: it runs on node-1, but web waits: CrashLoopBackOff"), "{other}");
}

/// kpo's own sidecar ran, and the task's container did not.
#[test]
fn a_container_that_does_not_count_is_named_in_the_proof() {
    let state = serde_json::json!({"version": 1, "spec": serde_json::to_value(kpo_core::Spec::minimal("t", "default", "n")).unwrap(),
        "began": "2026-11-23T20:00:00Z", "attempts": []});
    let status = serde_json::json!({"phase": "Failed",
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}],
        "initContainerStatuses": [{"name": "kpo-result", "containerID": "c://1", "state": {"terminated":
            {"exitCode": 0, "containerID": "c://1", "startedAt": "2026-11-23T20:00:02Z", "finishedAt": "2026-11-23T20:00:03Z"}}}],
        "containerStatuses": [{"name": "base", "state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}}]});
    let pod = serde_json::json!({"kind": "Pod", "metadata": {"name": "t-1", "namespace": "default", "uid": "u",
            "creationTimestamp": "2026-11-23T20:00:00Z", "deletionTimestamp": "2026-11-23T20:00:32Z", "deletionGracePeriodSeconds": 30,
            "labels": {"kpo.rs/task": "t", "kpo.rs/attempt": "1"}, "annotations": {"kpo.rs/state": state.to_string()},
            "managedFields": [{"manager": "kubelet", "subresource": "status", "fieldsV1": {"f:status": {"f:phase": {}}}}]},
        "spec": {"nodeName": "node-1", "initContainers": [{"name": "kpo-result", "restartPolicy": "Always"}], "containers": [{"name": "base"}]},
        "status": status});
    let ran = kpo_in(&recordings(), &["why", "-f", "-"], &pod.to_string());
    let said = "no container of yours ever had an ID (kpo-result ran, which your manifest does not name)";
    let words = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        ran.out.starts_with("disrupted by preemption; never started   (attempt 1 of task t)") && words.contains(said),
        "{}",
        ran.out
    );
}

/// What `kubectl get pods -w -o json --output-watch-events` prints of the same: objects over several lines, without times.
#[test]
fn kubectls_watch_events_are_read_from_standard_input() {
    let recording = std::fs::read_to_string(recordings().join("preempted_before_start.jsonl")).unwrap();
    let lines = recording.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let pods = lines.filter(|line| line["kind"] == "Pod");
    let event = |line: Value| serde_json::json!({"type": line["type"], "object": line["object"]});
    let watched: String = pods.map(|line| serde_json::to_string_pretty(&event(line)).unwrap() + "\n").collect();
    let ran = kpo_in(&recordings(), &["why", "-f", "-"], &watched);
    assert_eq!(ran.out.lines().next(), Some("disrupted by preemption; never started   (pod task)"));
    assert!(ran.out.contains("kubelet-attested"), "{}", ran.out);
}

#[test]
fn what_is_no_recording_is_refused_in_one_line() {
    for (text, said) in [
        ("", "error: standard input: it is empty\n"),
        (
            "{\"kind\": \"Node\"}",
            "error: standard input: Node is neither a pod, an event, a list of them, nor a watch event\n",
        ),
        ("{\"kind\": \"Pod\",\n\"spec", "error: standard input: it is cut off at line 2: nothing in it is whole\n"),
        (
            "kind: Pod\nmetadata: {name: t}\nspec: {containers: [{name: a, image: b}]}\n",
            "error: standard input: pod t was never in a cluster: it has no uid and no status\n  What became of one is in what the cluster shows: kubectl get pod NAME -o yaml\n",
        ),
        ("{\"kind\" 1}", "error: standard input: not JSON at line 1, column 9: expected `:`\n"),
    ] {
        let ran = kpo_in(&recordings(), &["why", "-f", "-"], text);
        assert_eq!((ran.code, ran.err.as_str(), ran.out.as_str()), (Some(2), said, ""));
    }
    let ran = kpo(&["why", "-f", "x", "-n", "batch"]);
    assert!(ran.code == Some(2) && ran.err.contains("cannot be used with"), "{}", ran.err);
    let ran = kpo(&["why", "-f", "/nonexistent/x"]);
    assert_eq!(ran.err, "error: cannot read /nonexistent/x: No such file or directory (os error 2)\n");
}

/// A pod's message can hold anything; a terminal gets to see it as text.
#[test]
fn escape_sequences_are_made_harmless() {
    let pod = serde_json::json!({"kind": "Pod", "metadata": {"name": "a\u{1b}[2J", "uid": "u"},
        "spec": {"nodeName": "n", "containers": [{"name": "base"}]},
        "status": {"phase": "Failed", "reason": "Evicted", "message": "low\u{1b}]0;owned\u{7}\nprevent  nothing"}});
    let ran = kpo_in(&recordings(), &["why", "-f", "-"], &pod.to_string());
    assert!(!ran.out.contains(['\u{1b}', '\u{7}']), "{}", ran.out);
    assert_eq!(ran.out.matches("\nprevent").count(), 0, "{}", ran.out);
}

/// C1 controls, characters that turn the direction of writing, separators: none reaches a terminal, and what reads JSON or YAML gets each of them.
#[test]
fn what_would_steer_a_terminal_is_escaped_in_every_form() {
    let evil = "a\u{9b}2Jb\u{202e}c\u{2066}d\u{2028}e\u{61c}f\u{7f}g\u{2029}h";
    let pod = serde_json::json!({"kind": "Pod", "metadata": {"name": "p", "uid": "1"}, "spec": {"containers": [{"name": "base"}]},
        "status": {"phase": "Failed", "reason": "Evicted", "message": evil}});
    let said = |form: &[&str]| {
        let ran = kpo_in(&recordings(), &[&["why", "-f", "-"], form].concat(), &pod.to_string());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let steers = |c: char| evil.contains(c) && !c.is_ascii_alphanumeric();
        assert!(!ran.out.contains(steers), "{form:?}: {:?}", ran.out);
        ran.out
    };
    said(&[]);
    let json: Value = serde_json::from_str(&said(&["-o", "json"])).unwrap();
    let yaml: Value = serde_saphyr::from_str(&said(&["-o", "yaml"])).unwrap();
    assert!(json.to_string().contains(evil) || json.to_string().contains("b\u{202e}c"), "{json}");
    assert_eq!(json, yaml);
}

/// What came before the cut is told; that there was one, too.
#[test]
fn a_stream_that_was_cut_off_is_said_to_be() {
    let recording = std::fs::read_to_string(recordings().join("succeeded.jsonl")).unwrap();
    let (head, last) = recording.trim_end().rsplit_once('\n').unwrap();
    let whole = kpo_in(&recordings(), &["why", "-f", "-"], head);
    let ran = kpo_in(&recordings(), &["why", "-f", "-"], &format!("{head}\n{}", &last[..last.len() / 2]));
    let lines = head.lines().count() + 1;
    let said = format!("note: standard input is cut off at line {lines}: what came after is not known\n");
    assert_eq!((ran.code, ran.out, ran.err), (Some(0), whole.out, said));
    assert_eq!(whole.err, "");
}
