//! Flags that contradict each other, or would be ignored: refused in one clear line, exit code 2.

mod common;

use common::{Ran, kpo};

fn run(flags: &[&str]) -> Ran {
    kpo(&[&["run", "--image=x", "--dry-run=client"][..], flags].concat())
}

#[test]
fn what_would_be_ignored_is_refused() {
    for (flags, said) in [
        (&["--results=message"][..], "--result"),
        (&["--results-image=busybox"], "--result"),
        (&["--results-resources=cpu=1"], "--result"),
        (&["--results-security={}"], "--result"),
        (&["--command"], "ARG"),
        (&["--lab", "--context=prod"], "'--lab[=<SCRIPT>]' cannot be used with '--context <CONTEXT>'"),
        (&["--lab", "--kubeconfig=x"], "'--lab[=<SCRIPT>]' cannot be used with '--kubeconfig <FILE>'"),
        (&["--timeout=0s"], "nothing is done in no time; \"none\" takes the limit away"),
        (&["--rerun=never", "--replace-unreachable-after=10m"], "--rerun=never forbids one: leave one of them out"),
        (&["-it"], "no stdin, no TTY: a task runs unattended"),
    ] {
        let ran = run(flags);
        assert!(
            ran.code == Some(2) && ran.out.is_empty() && ran.err.contains(said),
            "{flags:?}: {:?} {}",
            ran.code,
            ran.err
        );
    }
    let said = "error: a dry run has no events: -o json or -o yaml\n";
    assert_eq!((run(&["-o", "events"]).code, run(&["-o", "events"]).err.as_str()), (Some(2), said));
    assert!(run(&["--replace-unreachable-after=10m"]).code == Some(0));
}

/// As kubectl run has it, or had it.
#[test]
fn a_program_before_the_dashes_is_told_where_it_belongs() {
    let ran = kpo(&["run", "--image", "b", "echo", "hello"]);
    let said = "What is to run stands behind --, as for kubectl run:  kpo run --image busybox -- echo hello\n";
    assert!(ran.code == Some(2) && ran.err.ends_with(said), "{}", ran.err);
    let ran = kpo(&["run", "--image", "b", "echo"]);
    let said = "error: cannot read echo: No such file or directory (os error 2)\n  If echo is the program to run, put it behind --: kpo run --image b -- echo\n";
    assert_eq!((ran.code, ran.err.as_str()), (Some(2), said));
}

#[test]
fn a_dry_run_is_printed_as_it_is_asked_for() {
    let yaml = run(&["--name=t", "-o", "yaml"]).out;
    assert!(yaml.contains("\nkind: Pod\n"), "{yaml}");
    let json: serde_json::Value = serde_json::from_str(&run(&["--name=t", "-o", "json"]).out).unwrap();
    assert_eq!(json["metadata"]["name"], "t-1");
}

/// The clock and the counted containers travel with the pod.
#[test]
fn clocks_and_counted_containers_are_the_flags() {
    let pod = "kind: Pod\nmetadata: {name: t}\nspec: {initContainers: [{name: wash, image: x}], containers: [{name: base, image: x}]}\n";
    let state = |flags: &[&str]| {
        let ran = common::kpo_in(
            std::path::Path::new("/"),
            &[&["run", "-f", "-", "--dry-run=client", "-o", "json"][..], flags].concat(),
            pod,
        );
        let pod: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let state = pod["metadata"]["annotations"]["kpo.rs/state"].as_str().unwrap();
        serde_json::from_str::<serde_json::Value>(state).unwrap()["spec"].clone()
    };
    let plain = state(&[]);
    assert_eq!(
        (&plain["template"]["counted"], &plain["clocks"]["run"]),
        (&serde_json::json!(["wash", "base"]), &serde_json::Value::Null)
    );
    let flagged = state(&["--init-may-rerun", "--run-timeout=90s"]);
    assert_eq!(flagged["template"]["counted"], serde_json::json!(["base"]));
    assert_eq!(flagged["clocks"]["run"]["secs"], 90);
}

#[test]
fn a_manifest_that_is_too_large_says_what_to_do() {
    let mut noise = String::new();
    let mut word: u64 = 1;
    while noise.len() < 400_000 {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise += &format!("{word:x}");
    }
    let pod = format!(
        "kind: Pod\nmetadata: {{name: t, annotations: {{n: a{noise}}}}}\nspec: {{containers: [{{name: base, image: x}}]}}\n"
    );
    let ran = common::kpo_in(std::path::Path::new("/"), &["run", "-f", "-", "--dry-run=client"], &pod);
    assert!(
        ran.code == Some(2)
            && ran.err.ends_with("put what is large of it (env, args, embedded files) into a ConfigMap or a Secret.\n"),
        "{}",
        ran.err
    );
}

#[test]
fn as_a_plugin_of_kubectls_it_names_itself_so_and_completes() {
    let folder = std::env::temp_dir().join(format!("kpo-cli-flags-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let plugin = folder.join("kubectl-kpo");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kpo"), &plugin).unwrap();
    let script = folder.join("kubectl_complete-kpo");
    std::fs::write(&script, kpo(&["completion", "kubectl-plugin"]).out).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let said = |program: &std::path::Path, arguments: &[&str]| {
        let mut command =
            if program == script { std::process::Command::new("sh") } else { std::process::Command::new(program) };
        if program == script {
            command.arg(program);
        }
        let output =
            command.env_clear().env("PATH", &path).env("HOME", "/nonexistent").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let hint = said(&plugin, &["run", "--image=x", "-n", "b"]);
    let completed = said(&script, &["run", "--rerun", "id"]);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(hint.contains("try it without a cluster: kubectl kpo run --lab"), "{hint}");
    assert_eq!(completed, "idempotent\tAlways: the program may run twice\n:4\n");
}
