//! `kpo lab -- CMD`: the other commands, against a living cluster, through the built binary.

mod common;

use common::{Ran, kpo};

/// Runs a shell script with `$KPO` on a quiet lab; standard error goes to standard output, in order.
fn in_lab(script: &str) -> Ran {
    let kpo_path = env!("CARGO_BIN_EXE_kpo");
    let script = format!("exec 2>&1; KPO={kpo_path}; {script}");
    kpo(&["lab", "--", "sh", "-c", &script])
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
    let script = "
        cat > task.yaml <<'END'
{apiVersion: v1, kind: Pod, metadata: {name: slow}, spec: {containers: [{name: base, image: x, command: [sh, -c, \"trap 'exit 0' TERM; echo started; sleep 60 & wait\"]}]}}
END
        $KPO run task.yaml --detach
        kubectl wait --for=jsonpath={.status.phase}=Running pod/slow-1 >/dev/null
        $KPO ls | tail -1 | cut -c1-34
        $KPO logs slow
        $KPO why slow | head -1
        $KPO run task.yaml --image=y; echo exit $?
        $KPO wait slow --timeout 100ms -q; echo exit $?
        $KPO cancel slow >/dev/null 2>&1; echo exit $?
        $KPO ls
        $KPO attach slow; echo exit $?
        $KPO logs slow; echo exit $?
        $KPO why slow-1; echo exit $?";
    let folder = std::env::temp_dir().join(format!("kpo-cli-lab-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ran = in_lab(&format!("cd {}; {script}", folder.display()));
    std::fs::remove_dir_all(&folder).unwrap();
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
    let ran = in_lab("kubectl run foreign --image=x --restart=Never --command -- sh -c 'exit 5' >/dev/null
        kubectl wait --for=jsonpath={.status.phase}=Failed pod/foreign >/dev/null; $KPO why foreign | head -1; $KPO why foreign -o json");
    let (line, json) = ran.out.split_once('\n').unwrap();
    assert_eq!(line, "failed: the program exited 5   (pod foreign)");
    let outcome: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (outcome["verdict"].as_str(), outcome["exitCode"].as_i64(), outcome["task"].as_str()),
        (Some("failed"), Some(5), Some("foreign"))
    );
}

#[test]
fn a_full_quota_is_named_while_it_is_waited_for_and_all_namespaces_are_all() {
    let ran = in_lab(
        "
        kubectl create quota none --hard=pods=0 >/dev/null
        timeout -s INT 2 $KPO run --image=x --name=t --command -- true
        $KPO sweep -A; echo exit $?
        $KPO ls -A; echo exit $?",
    );
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    assert!(ran.out.contains("waiting: pods \"t-1\" is forbidden: exceeded quota: none"), "{}", ran.out);
    assert!(ran.out.contains("cancelled (attempt 1), no pod was made"), "{}", ran.out);
    assert!(!ran.out.contains("deleted"), "{}", ran.out);
    assert!(ran.out.contains("nothing to remove\nexit 0\n") && ran.out.ends_with("exit 0\n"), "{}", ran.out);
}
