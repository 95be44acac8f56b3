//! Bad input, in the words that a person sees; nothing is created.

mod common;

use common::{kpo, kpo_in, recordings};

/// Each case: arguments, standard input, and the transcript in the snapshot.
#[test]
fn bad_input_is_one_clear_line_and_exit_code_2() {
    let always = "apiVersion: v1\nkind: Pod\nmetadata: {name: t}\nspec:\n  restartPolicy: Always\n  containers: [{name: a, image: b}]\n";
    let cases: &[(&[&str], &str)] = &[
        (&["run", "-f", "-"], ""),
        (&["run", "-f", "-"], "kind: Pod\n---\nkind: Pod\n"),
        (&["run", "-f", "-"], "kind: Pod\nspec: {containers: [}\n"),
        (&["run", "-f", "-"], "apiVersion: apps/v1\nkind: Deployment\n"),
        (&["run", "-f", "-"], always),
        (&["run", "-f", "/nonexistent/task.yaml"], ""),
        (&["run"], ""),
        (&["run", "--image=x", "--name=Fresh_Squeeze"], ""),
        (&["run", "--image=x", "--result"], ""),
        (&["run", "--image=x", "--set=spec.containers.0.envFrom=1"], ""),
        (&["run", "--image=x", "-it", "--", "sh"], ""),
        (&["run", "--image=x", "--results-resources=cpu"], ""),
        (&["run", "--image=x", "--timeout=10"], ""),
        (&["run", "--image=x", "--on-finish=stay"], ""),
        (&["run", "--image=x", "--rerun=sometimes"], ""),
        (&["run", "--lab=/nonexistent/script", "--image=x"], ""),
        (&["run", "--lab", "--image=x"], ""),
        (&["run", "--image=x", "--kubeconfig=/nonexistent/config"], ""),
        (&["run", "--image=x"], ""),
        (&["help", "nothing"], ""),
        (&["why"], ""),
    ];
    let said: String = cases
        .iter()
        .map(|(arguments, input)| {
            let ran = kpo_in(&recordings(), arguments, input);
            assert_eq!(ran.out, "", "{arguments:?}");
            format!("$ kpo {}\n{}\n", arguments.join(" "), ran.transcript())
        })
        .collect();
    insta::assert_snapshot!(said);
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    let ran = kpo(&["run", "--lab", "--image=x", "--name=t", "-n", "nowhere", "-q", "--", "true"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(126), ""));
    assert!(ran.err.contains("namespaces \"nowhere\" not found"), "{}", ran.err);
}

#[test]
fn help_is_a_page() {
    insta::assert_snapshot!("help", kpo(&["--help"]).out);
    insta::assert_snapshot!("help_run", kpo(&["run", "-h"]).out);
    assert_eq!(kpo(&["help", "run"]).out, kpo(&["run", "--help"]).out);
    assert!(kpo(&["help", "rerun"]).out.contains("if-not-started"));
    assert!(kpo(&["completion", "bash"]).out.contains("complete -F"));
}

/// kubectl finds a plugin by its file's name, and the usage shows the words that were typed.
#[test]
fn as_kubectl_kpo_the_usage_says_so() {
    let link = std::env::temp_dir().join(format!("kpo-cli-plugin-{}", std::process::id()));
    std::fs::create_dir_all(&link).unwrap();
    let plugin = link.join("kubectl-kpo");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kpo"), &plugin).unwrap();
    let output = std::process::Command::new(&plugin).args(["run", "-h"]).output().unwrap();
    std::fs::remove_dir_all(&link).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Usage: kubectl kpo run [OPTIONS]"), "{text}");
}
