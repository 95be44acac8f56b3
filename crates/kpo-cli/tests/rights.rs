//! Rights that are missing: each names who may not do what, and the rule to add.

mod common;

use common::cluster::{Cluster, until};
use common::{Ran, kpo, signal, spawn, streams};

const QUICK: &str = "node node-1\ncontainer base runs 100ms exit 0 says \"hello\"\n";

fn run(kubeconfig: &str, name: &str, flags: &[&str]) -> Ran {
    let arguments = ["run", "--kubeconfig", kubeconfig, "--image=x", "--name", name];
    kpo(&[&arguments, flags].concat())
}

/// The sentence, and the rule behind it.
fn names(text: &str, verb: &str, resource: &str) -> bool {
    let sentence = format!("service account default/kpo may not {verb} {resource} in namespace default");
    let rule = format!("Add to its Role: - {{apiGroups: [\"\"], resources: [{resource}], verbs: [{verb}]}}\n");
    text.contains(&sentence) && text.contains(&rule)
}

#[test]
fn without_the_right_to_create_all_rules_are_named_and_nothing_is_created() {
    let cluster = Cluster::of(QUICK);
    let kubeconfig = cluster.without(&[("create", "pods")]);
    let ran = run(&kubeconfig, "t", &[]);
    let said = "refused: service account default/kpo may not create pods in namespace default";
    assert!(ran.code == Some(77) && ran.out.is_empty() && ran.err.contains(said), "{:?} {}", ran.code, ran.err);
    for rule in [
        "- {apiGroups: [\"\"], resources: [pods], verbs: [create, get, list, watch, patch, delete]}\n",
        "- {apiGroups: [\"\"], resources: [pods/log], verbs: [get]}\n",
        "- {apiGroups: [\"\"], resources: [events], verbs: [list]}\n",
    ] {
        assert!(ran.err.contains(rule), "{}", ran.err);
    }
    // A run that only asks exits with the same code.
    let asked = run(&kubeconfig, "t", &["--dry-run=server"]);
    assert!(asked.code == Some(77) && asked.err.starts_with(said), "{:?} {}", asked.code, asked.err);
    // In an Outcome all of it is one line.
    let json = run(&kubeconfig, "t", &["-o", "json", "-q"]);
    let outcome: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let message = outcome["message"].as_str().unwrap_or_default();
    assert!(message.contains("verbs: [list]") && !message.contains('\n'), "{message}");
    assert_eq!((outcome["kind"].as_str(), outcome["exitCode"].as_i64()), (Some("Outcome"), Some(77)));
    until(|| cluster.pods() == 0);
}

/// What protects a pod is a finalizer: who could not take it off again would leave each pod behind.
#[test]
fn without_the_right_to_patch_nothing_is_protected_and_nothing_is_created() {
    let cluster = Cluster::of(QUICK);
    let kubeconfig = cluster.without(&[("patch", "pods")]);
    let ran = run(&kubeconfig, "t", &["--protect"]);
    assert!(ran.code == Some(77) && names(&ran.err, "patch", "pods"), "{:?} {}", ran.code, ran.err);
    assert_eq!((ran.out.as_str(), cluster.pods()), ("", 0));
    let plain = run(&kubeconfig, "t", &[]);
    assert_eq!(plain.code, Some(0), "{}", plain.err);
    until(|| cluster.pods() == 0);
}

/// The task itself suffers nothing by it, or less than its end.
#[test]
fn what_a_run_can_do_without_is_said_where_it_is_missed() {
    let cluster = Cluster::of(QUICK);
    for (number, (verb, resource)) in
        [("watch", "pods"), ("get", "pods/log"), ("delete", "pods")].into_iter().enumerate()
    {
        let ran = run(&cluster.without(&[(verb, resource)]), &format!("t{number}"), &[]);
        assert!(ran.code == Some(0) && names(&ran.err, verb, resource), "{verb} {resource}: {}", ran.err);
    }
    // What is left behind is said also where nothing else is.
    let quiet = run(&cluster.without(&[("delete", "pods")]), "quiet", &["-q"]);
    assert!(quiet.code == Some(0) && names(&quiet.err, "delete", "pods"), "{}", quiet.err);
}

#[test]
fn events_only_explain_and_an_exec_fetches_a_result() {
    let script =
        "node node-1\nimage x pulls in 300ms\ncontainer base runs 10ms exit 0\nwhen pod t-1 scheduled: evict it\n";
    let cluster = Cluster::of(script);
    let ran = run(&cluster.without(&[("list", "events")]), "t", &[]);
    assert!(ran.code == Some(0) && names(&ran.err, "list", "events"), "{:?} {}", ran.code, ran.err);
    let cluster = Cluster::of(
        "node node-1\ncontainer base runs 10ms exit 0\ncontainer kpo-result runs forever on-term exits 0\n",
    );
    let flags = ["--result", "--results=exec", "--results-image=x", "--set", "spec.terminationGracePeriodSeconds=1"];
    let ran = run(&cluster.without(&[("get", "pods/exec"), ("create", "pods/exec")]), "t", &flags);
    let said = "failed: the program succeeded, but its result is missing or broken";
    assert!(
        ran.code == Some(65)
            && ran.err.contains(said)
            && ran.err.contains("service account default/kpo may not get pods/exec"),
        "{:?} {}",
        ran.code,
        ran.err
    );
    assert!(
        ran.err.contains("  Add to its Role: - {apiGroups: [\"\"], resources: [pods/exec], verbs: [get]}\n"),
        "{}",
        ran.err
    );
}

#[test]
fn what_cannot_be_looked_for_is_not_said_to_be_gone() {
    let cluster = Cluster::of(QUICK);
    let (no_list, no_get) = (cluster.without(&[("list", "pods")]), cluster.without(&[("get", "pods")]));
    let why = kpo(&["why", "v2", "--kubeconfig", &no_list]);
    let said = "refused: there is no pod v2 in namespace default, and whether a task v2 has one is not known: ";
    assert!(why.code == Some(77) && why.err.starts_with(said) && names(&why.err, "list", "pods"), "{}", why.err);
    let why = kpo(&["why", "v2", "--kubeconfig", &no_get]);
    assert!(why.code == Some(77) && names(&why.err, "get", "pods"), "{}", why.err);
    for command in
        [vec!["attach", "t"], vec!["wait", "t"], vec!["logs", "t"], vec!["cancel", "t"], vec!["ls"], vec!["sweep"]]
    {
        let ran = kpo(&[command.as_slice(), &["--kubeconfig", &no_list]].concat());
        assert!(ran.code == Some(77) && names(&ran.err, "list", "pods"), "{command:?} {:?} {}", ran.code, ran.err);
    }
    let all = kpo(&["ls", "-A", "--kubeconfig", &no_list]);
    let rule = "Add to its ClusterRole: - {apiGroups: [\"\"], resources: [pods], verbs: [list]}\n";
    assert!(
        all.code == Some(77) && all.err.contains("may not list pods in all namespaces") && all.err.contains(rule),
        "{}",
        all.err
    );
}

#[test]
fn who_may_not_take_over_only_follows_and_says_so() {
    let cluster = Cluster::of("node node-1\ncontainer base runs forever on-term exits 0\n");
    let ran = run(&cluster.admin(), "t", &["--detach", "-q"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    cluster.wait_until_running("t-1");
    let mut child = spawn(&["attach", "t", "--take-over", "--kubeconfig", &cluster.without(&[("patch", "pods")])]);
    let mut rest = streams(&mut child);
    rest.wait_for_error("Add to its Role");
    signal(&child, "INT");
    let (_, err, code) = rest.end(child);
    assert!(err.contains("it cannot be taken over, and is only followed") && names(&err, "patch", "pods"), "{err}");
    assert!(code == Some(130) && err.contains("left: pod t-1 in namespace default runs on"), "{code:?} {err}");
    assert!(!err.contains("cancelling") && cluster.pods() == 1, "{err}");
}

/// Nothing of the pod can be seen: that is said while it is waited for, and not for ever after it was told to end.
#[test]
fn who_may_not_see_anything_says_so_and_can_be_stopped() {
    let cluster = Cluster::of("node node-1\ncontainer base runs forever on-term exits 0\n");
    let kubeconfig = cluster.without(&[("get", "pods"), ("list", "pods"), ("watch", "pods")]);
    let mut child = spawn(&["run", "--kubeconfig", &kubeconfig, "--image=x", "--name=t"]);
    let mut rest = streams(&mut child);
    rest.wait_for_error("Add to its Role: - {apiGroups: [\"\"], resources: [pods], verbs: [get]}");
    signal(&child, "INT");
    rest.wait_for_error("deleting pod t-1");
    signal(&child, "INT");
    let (_, err, code) = rest.end(child);
    assert!(code == Some(130) && err.ends_with("is being deleted, and has not ended\n"), "{code:?} {err}");
}

#[test]
fn logs_that_may_not_be_read_are_no_success() {
    let cluster = Cluster::of("node node-1\ncontainer base runs 10ms exit 0 says \"hello\"\n");
    let admin = cluster.admin();
    let run = ["run", "--kubeconfig", &admin, "--image=x", "--name=t", "-q", "--on-finish=keep"];
    assert_eq!(kpo(&run).code, Some(0));
    let read = kpo(&["logs", "t", "--kubeconfig", &admin]);
    assert_eq!((read.code, read.out.as_str()), (Some(0), "hello\n"), "{}", read.err);
    let refused = kpo(&["logs", "t", "--kubeconfig", &cluster.without(&[("get", "pods/log")])]);
    assert!(refused.code == Some(77) && names(&refused.err, "get", "pods/log"), "{:?} {}", refused.code, refused.err);
}
