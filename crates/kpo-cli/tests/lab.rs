//! `kpo lab -- CMD`: the other commands, against a living cluster, through the built binary.

mod common;

use common::{Ran, kpo, spawn, wait_for_line};
use std::path::PathBuf;
use std::process::{Child, Command};

const KPO: &str = env!("CARGO_BIN_EXE_kpo");

/// Runs a shell script with `$KPO` on a quiet lab; standard error goes to standard output, in order.
fn in_lab(script: &str) -> Ran {
    in_lab_of("quiet", script)
}

/// The same on a lab of that script.
fn in_lab_of(lab: &str, script: &str) -> Ran {
    let script = format!("exec 2>&1; KPO={KPO}; {script}");
    kpo(&["lab", "--script", lab, "--", "sh", "-c", &script])
}

/// A file that is gone at the end of its test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kpo-cli-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap().success());
}

/// What differs between two runs: times and ages.
fn steady(text: &str) -> String {
    let word = |word: &str| {
        let number = word.trim_end_matches(['s', ',']);
        if number.parse::<f64>().is_ok() && (word.ends_with('s') || number.contains('.')) {
            "#".to_owned()
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| line.split(' ').filter(|part| !part.is_empty()).map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn a_detached_task_is_listed_explained_attached_to_and_cancelled() {
    let task = File::new(
        "task.yaml",
        "{apiVersion: v1, kind: Pod, metadata: {name: slow}, spec: {containers: [{name: base, image: x, \
         command: [sh, -c, \"trap 'exit 0' TERM; echo started; sleep 60 & wait\"]}]}}",
    );
    // Its program has ended when kpo cancel does; its kubelet takes it away a moment later.
    let ran = in_lab(&format!(
        "TASK={}
        $KPO run $TASK --detach
        until $KPO logs slow 2>&1 | grep -q ^started; do :; done
        $KPO ls | tail -1 | cut -c1-34
        $KPO logs slow
        $KPO why slow | head -1
        $KPO run $TASK --image=y; echo exit $?
        $KPO wait slow --timeout 100ms -q; echo exit $?
        $KPO cancel slow >/dev/null 2>&1; echo exit $?
        until $KPO ls 2>&1 | grep '^no tasks'; do :; done
        $KPO attach slow; echo exit $?
        $KPO logs slow; echo exit $?
        $KPO why slow-1 | head -1",
        task.path()
    ));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(steady(&ran.out));
}

#[test]
fn who_takes_a_task_over_gets_its_log_and_its_exit_code() {
    let ran = in_lab(
        "$KPO run --image=x --name=t --detach -q --command -- sh -c 'sleep 1; echo late; exit 4'; $KPO attach t --take-over -q",
    );
    assert_eq!(ran.code, Some(4), "{}", ran.out);
    assert!(ran.out.starts_with("t\nlate\n"), "{}", ran.out);
}

#[test]
fn the_commands_exit_code_is_the_labs_and_its_kubeconfig_goes_with_it() {
    let ran = in_lab("echo $KUBECONFIG; test -s $KUBECONFIG && exit 7");
    assert_eq!(ran.code, Some(7), "{}", ran.out);
    assert!(!std::path::Path::new(ran.out.trim()).exists(), "{} is left behind", ran.out);
    let ran = kpo(&["lab", "--", "/nonexistent/program"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (Some(2), "error: cannot run /nonexistent/program: No such file or directory (os error 2)\n")
    );
}

#[test]
fn a_pod_that_is_not_kpos_is_explained_too() {
    let cluster = File::new("foreign.lab", "node node-1\npod default/foreign image=x command=false\n");
    let ran = in_lab_of(
        cluster.path(),
        "until $KPO why foreign | grep -q ^failed; do :; done; $KPO why foreign | head -1; $KPO why foreign -o json",
    );
    let (line, json) = ran.out.split_once('\n').unwrap();
    assert_eq!(line, "failed: the program exited 1   (pod foreign)");
    let outcome: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (outcome["verdict"].as_str(), outcome["exitCode"].as_i64(), outcome["task"].as_str()),
        (Some("failed"), Some(1), Some("foreign"))
    );
}

#[test]
fn a_full_quota_is_named_while_it_is_waited_for() {
    let cluster = File::new("full.lab", "node node-1\nquota default pods=0\n");
    let mut child = spawn(&[
        "lab",
        "--script",
        cluster.path(),
        "--",
        KPO,
        "run",
        "--image=x",
        "--name=t",
        "--command",
        "--",
        "true",
    ]);
    let mut rest = wait_for_line(&mut child, "");
    rest.wait_for_error("waiting: pods \"t-1\" is forbidden: exceeded quota: default");
    signal(&child, "INT");
    let (out, err, code) = rest.end(child);
    assert_eq!((code, out.as_str()), (Some(130), ""), "{err}");
    assert!(err.contains("cancelled (attempt 1), no pod of task t was made") && !err.contains("deleted"), "{err}");
}

#[test]
fn all_namespaces_are_all() {
    let ran = in_lab("$KPO sweep -A; echo exit $?; $KPO ls -A; echo exit $?");
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    assert!(ran.out.contains("nothing to remove\nexit 0\n") && ran.out.ends_with("exit 0\n"), "{}", ran.out);
}

#[test]
fn signals_are_the_commands_and_its_end_is_the_labs() {
    for (name, wanted) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let traps = format!("trap 'echo {name}; exit 5' {name}; echo ready; while :; do sleep 0.1; done");
        let mut child = spawn(&["lab", "--", "sh", "-c", &traps]);
        let rest = wait_for_line(&mut child, "ready");
        signal(&child, name);
        let (out, err, code) = rest.end(child);
        assert_eq!((code, out, err.as_str()), (Some(5), format!("{name}\n"), ""));
        let mut child = spawn(&["lab", "--", "sh", "-c", "echo ready; exec sleep 60"]);
        let rest = wait_for_line(&mut child, "ready");
        signal(&child, name);
        assert_eq!(rest.end(child).2, Some(128 + wanted), "{name}");
    }
}

#[test]
fn what_a_script_says_in_vain_is_told() {
    let cluster = File::new("vain.lab", "node node-1\nat 100ms: evict pod nosuch\n");
    let mut child = spawn(&["lab", "--script", cluster.path(), "--", "sleep", "60"]);
    let mut rest = wait_for_line(&mut child, "");
    rest.wait_for_error("the lab's script, line 2: there is no pod nosuch then");
    signal(&child, "TERM");
    assert_eq!(rest.end(child).2, Some(128 + 15));
}

#[test]
fn what_a_mesh_injects_runs_beside_the_program() {
    let cluster = File::new("mesh.lab", "node node-1\nwebhook injects-mesh\n");
    let lab = format!("--lab={}", cluster.path());
    let ran = kpo(&["run", &lab, "--image=x", "--name=t", "--command", "--", "echo", "hello"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "hello\n"), "{}", ran.err);
}

#[test]
fn a_token_may_what_its_script_says() {
    let cluster = File::new("token.lab", "node node-1\ntoken runner may get,list,watch on pods\n");
    let ran = in_lab_of(
        cluster.path(),
        "$KPO ls --context runner; echo exit $?; $KPO run --context runner --image=x --name=t -- true; echo exit $?",
    );
    assert!(ran.out.starts_with("no tasks in namespace default\nexit 0\n"), "{}", ran.out);
    assert!(ran.out.contains("user runner may not create pods in namespace default"), "{}", ran.out);
    assert!(ran.out.ends_with("exit 77\n"), "{}", ran.out);
}

#[test]
fn a_scenario_is_a_script_too_and_what_it_says_beside_is_passed_over() {
    let scenario = concat!("--lab=", env!("CARGO_MANIFEST_DIR"), "/../../scenarios/exit_code.scenario");
    let ran = kpo(&["run", scenario, "--image=busybox", "--name=t", "--command", "--", "true"]);
    assert_eq!(ran.code, Some(3), "what the scenario's container does: {}", ran.err);
}

#[test]
fn the_grammar_of_scripts_is_a_page_of_help() {
    let ran = kpo(&["help", "scripts"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("when pod task-1 running: delete it"), "{}", ran.out);
}

/// With ~/.kube/config as that file, its owner would lose every cluster.
#[test]
fn a_kubeconfig_that_is_there_is_left_alone_and_the_labs_own_goes_with_it() {
    let there = File::new("config", "clusters: []\n");
    let ran = kpo(&["lab", "--kubeconfig", there.path(), "--", "true"]);
    let said = format!(
        "error: {} is there already, and a lab writes over no file\n  Name another, or remove it where a lab left it.\n",
        there.path()
    );
    assert_eq!((ran.code, ran.err), (Some(2), said));
    assert_eq!(std::fs::read_to_string(there.path()).unwrap(), "clusters: []\n");
    let own = std::env::temp_dir().join(format!("kpo-cli-{}-own", std::process::id()));
    let path = own.to_str().unwrap();
    assert_eq!(kpo(&["lab", "--kubeconfig", path, "--", "test", "-s", path]).code, Some(0));
    assert!(!own.exists());
    for name in ["TERM", "INT", "HUP"] {
        let mut child = spawn(&["lab", "--kubeconfig", path]);
        let mut rest = wait_for_line(&mut child, "");
        rest.wait_for_error("The lab runs at ");
        assert!(own.exists());
        signal(&child, name);
        let (_, err, code) = rest.end(child);
        assert_eq!((code, own.exists()), (Some(0), false), "{name}: {err}");
    }
}

/// `kpo run --lab=FILE` plays scripts as `kpo lab` does.
#[test]
fn what_a_script_says_in_vain_is_told_by_a_run_too() {
    let cluster = File::new("vain-run.lab", "node node-1\nat 100ms: evict pod nosuch\n");
    let lab = format!("--lab={}", cluster.path());
    let mut child = spawn(&["run", &lab, "--image=x", "--command", "--", "sleep", "60"]);
    let mut rest = wait_for_line(&mut child, "");
    rest.wait_for_error("the lab's script, line 2: there is no pod nosuch then");
    signal(&child, "TERM");
    assert_eq!(rest.end(child).2, Some(128 + 15));
}

/// What the parser says that it takes.
fn options_of_a_pod() -> Vec<String> {
    let script = File::new("unknown.lab", "node node-1\npod p unknown=1\n");
    let ran = kpo(&["lab", "--script", script.path(), "--", "true"]);
    let (_, known) = ran.err.split_once("those are: ").unwrap_or_else(|| panic!("{}", ran.err));
    known.lines().next().unwrap().split(", ").map(str::to_owned).collect()
}

#[test]
fn the_page_of_scripts_has_each_option_that_a_pod_takes_and_all_that_can_be_deleted() {
    let page = kpo(&["help", "scripts"]).out;
    for option in options_of_a_pod() {
        let words = |c: char| c.is_whitespace() || c == '[';
        assert!(page.split(words).any(|word| word.starts_with(&format!("{option}="))), "{option}");
    }
    for what in ["config-map settings", "secret settings", "quota team-a/team-a"] {
        assert!(page.contains(&format!("  at 1s: delete {what}")), "{what}");
    }
}
