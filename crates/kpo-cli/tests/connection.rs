//! No way to the cluster: one clear line, exit code 125, nothing created.

mod common;

use common::cluster::{Cluster, until};
use common::{Ran, kpo, kpo_with, signal, spawn, streams};
use kpo_lab::{Fault, Match};
use std::ffi::OsStr;

fn run(kubeconfig: &str, flags: &[&str]) -> Ran {
    kpo(&[&["run", "--image=x", "--name=t", "--kubeconfig", kubeconfig][..], flags].concat())
}

/// A kubeconfig of that user for a cluster there.
fn config(server: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: prod\nclusters:\n- name: c\n  cluster: {{server: \"{server}\"}}\n\
         contexts:\n- name: prod\n  context: {{cluster: c, user: u}}\nusers:\n- name: u\n  user: {user}\n"
    )
}

#[test]
fn each_way_to_no_connection_is_one_clear_line() {
    let cluster = Cluster::of("node node-1\n");
    let own = cluster.lab().kubeconfig().unwrap();
    let other = Cluster::of("node node-1\n").lab().kubeconfig().unwrap();
    let authority =
        |text: &str| text.lines().find(|line| line.contains("certificate-authority-data")).unwrap().to_owned();
    let untrusted = own.replace(&authority(&own), &authority(&other));
    cluster.lab().grant("old", kpo_lab::api::User::admin());
    cluster.lab().expire("old");
    let missing = "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: no-such-plugin, installHint: \"Install it with brew\"}}";
    let cases = [
        ("unreachable", config("https://127.0.0.1:1", "{token: t}"), vec![]),
        ("untrusted", untrusted, vec![]),
        ("expired", cluster.lab().kubeconfig_for("old").unwrap(), vec![]),
        ("unknown context", own.clone(), vec!["--context", "prdo"]),
        ("no contexts", "apiVersion: v1\nkind: Config\n".to_owned(), vec![]),
        ("no plugin", config("https://127.0.0.1:1", missing), vec![]),
    ];
    let address = cluster.lab().url().unwrap().replace("https://", "");
    let said = cases.map(|(name, text, flags)| {
        let ran = run(&cluster.file("config.yaml", &text), &flags);
        assert_eq!(ran.out, "", "{name}");
        let attempts = ran.err.split(" after ").nth(1).and_then(|rest| rest.split(" attempts").next()).unwrap_or("#");
        format!(
            "{name}\n{}",
            ran.transcript()
                .replace(&address, "LAB")
                .replace(&format!(" after {attempts} attempts"), " after # attempts")
        )
    });
    insta::assert_snapshot!(said.join("\n"));
    until(|| cluster.pods() == 0);
}

/// Where no Outcome came to be there is an object all the same.
#[test]
fn json_is_an_object_also_where_there_is_no_outcome() {
    let cluster = Cluster::of("node node-1\ncontainer base runs forever on-term exits 0\n");
    let admin = cluster.admin();
    let read = |ran: &Ran| {
        serde_json::from_str::<serde_json::Value>(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
    };
    let broken = cluster.file("broken.yaml", &config("https://127.0.0.1:1", "{token: t}"));
    let error = read(&run(&broken, &["-o", "json", "--context", "none"]));
    assert_eq!((error["kind"].as_str(), error["exitCode"].as_i64()), (Some("Error"), Some(2)));
    assert_eq!(error["message"], "error: no context \"none\" in the kubeconfig; it has \"prod\"");
    let detached = read(&run(&admin, &["-o", "json", "--detach"]));
    let wanted = serde_json::json!({"apiVersion": "kpo.rs/v1", "kind": "Task", "task": "t", "namespace": "default", "pod": "t-1"});
    assert_eq!(detached, wanted);
    let again = run(&admin, &["-o", "json"]);
    let in_use = read(&again);
    assert_eq!(
        (again.code, in_use["kind"].as_str(), in_use["exitCode"].as_i64()),
        (Some(126), Some("Error"), Some(126))
    );
    assert!(
        in_use["message"]
            .as_str()
            .is_some_and(|message| message.contains("t is there already") && !message.contains('\n'))
    );
    let yaml = run(&admin, &["-o", "yaml"]);
    assert!(yaml.out.contains("\nkind: Error\n"), "{}", yaml.out);
    let list = kpo(&["ls", "-o", "yaml", "--kubeconfig", &admin]);
    assert!(list.out.contains("task: t\n") && list.code == Some(0), "{}", list.out);
    // It lives on, and is left.
    let mut child = spawn(&["wait", "t", "-o", "json", "--kubeconfig", &admin]);
    let mut rest = streams(&mut child);
    rest.wait_for_error("found t-1");
    signal(&child, "TERM");
    let (out, _, code) = rest.end(child);
    let lives: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, lives["kind"].as_str(), &lives["verdict"]),
        (Some(143), Some("Outcome"), &serde_json::Value::Null)
    );
}

#[test]
fn a_wait_that_never_heard_of_the_task_does_not_say_that_it_goes_on() {
    let cluster = Cluster::of("node node-1\n");
    let _silent = cluster.fault(Match::of("list", "pods"), Fault::HalfOpen);
    let ran = kpo(&["wait", "t", "--timeout", "200ms", "--kubeconfig", &cluster.admin()]);
    let said = "timed out: no answer from the cluster within 0.2 s: whether task t has ended is not known\n";
    assert_eq!((ran.code, ran.err.as_str()), (Some(124), said));
}

/// A namespace that is not there: a run that only asks exits as a run does.
#[test]
fn a_dry_run_is_refused_as_a_run_is() {
    let cluster = Cluster::of("node node-1\n");
    let admin = cluster.admin();
    for flags in [&["-n", "nowhere"][..], &["-n", "nowhere", "--dry-run=server"]] {
        let ran = run(&admin, flags);
        let said = "launch failed: namespaces \"nowhere\" not found";
        assert!(
            ran.code == Some(126) && ran.err.contains("nowhere\" not found"),
            "{flags:?} {:?} {}",
            ran.code,
            ran.err
        );
        assert!(!flags.contains(&"--dry-run=server") || ran.err.starts_with(said), "{}", ran.err);
    }
}

/// Another folder's shell would not find a relative path, nor this one's a path with a blank.
#[test]
fn commands_that_are_shown_can_be_typed_as_they_are() {
    let cluster = Cluster::of("node node-1\ncontainer base runs forever on-term exits 0\n");
    let folder = cluster.folder().join("my dir");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("config");
    std::fs::write(&path, cluster.lab().kubeconfig().unwrap()).unwrap();
    let ran = run(path.to_str().unwrap(), &["--detach"]);
    let said = format!("kpo attach t --take-over -n default --kubeconfig '{}'", path.display());
    assert!(ran.code == Some(0) && ran.err.contains(&said), "{}", ran.err);
    let relative = pathdiff(&path);
    let ran = kpo_with(&[("KUBECONFIG", OsStr::new(&relative))], &["wait", "t", "--timeout", "100ms"], None);
    assert_eq!(ran.code, Some(124), "{}", ran.err);
    let ran = kpo_with(&[("KUBECONFIG", OsStr::new(&relative))], &["attach", "nobody"], None);
    assert!(ran.err.contains(&format!("kpo ls -n default --kubeconfig '/{relative}'")), "{}", ran.err);
}

/// The path as it is from `/`, where the tests' commands run.
fn pathdiff(path: &std::path::Path) -> String {
    path.strip_prefix("/").unwrap().display().to_string()
}
