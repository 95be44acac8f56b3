//! Upstream's kubectl against the lab, over real sockets, containers as local processes. A plain machine with Rust has no kubectl: the
//! tests are ignored there, and run with `--ignored` by `.ci/run`, which brings one. `KPO_TEST_KUBECTL` is its path; without it, `kubectl` on
//! PATH is taken.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use kpo_lab::process::ProcessOptions;
use kpo_lab::{Lab, LabOptions, NodeSpec, ProcessRuntime, Time, World};

fn program() -> PathBuf {
    std::env::var_os("KPO_TEST_KUBECTL").map_or_else(|| PathBuf::from("kubectl"), PathBuf::from)
}

/// A lab with one node, and kubectl for it.
struct Setup {
    program: PathBuf,
    folder: PathBuf,
    _lab: Lab,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for Setup {
    fn drop(&mut self) {
        // Only tidiness is lost where this fails.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn setup(name: &str) -> Setup {
    let program = program();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let containers = ProcessRuntime::new(ProcessOptions::default()).expect("a container runtime");
    let world = World::new(Time::wall_clock(), 1, Box::new(containers));
    let lab = runtime.block_on(Lab::serve(world, LabOptions::default())).expect("a lab");
    lab.with(|_, world| world.add_node(NodeSpec::named("node-1")));
    let folder = std::env::temp_dir().join(format!("kpo-lab-kubectl-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    lab.write_kubeconfig(&folder.join("config")).expect("written");
    Setup { program, folder, _lab: lab, _runtime: runtime }
}

impl Setup {
    /// Runs kubectl with a standard input; gives its exit code and output.
    fn run(&self, arguments: &[&str], stdin: &str) -> (Option<i32>, String) {
        let mut command = Command::new(&self.program);
        command.arg("--cache-dir").arg(self.folder.join("cache")).args(arguments);
        command.env("KUBECONFIG", self.folder.join("config")).env_remove("HTTPS_PROXY").env("NO_PROXY", "127.0.0.1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl on PATH, or its path in KPO_TEST_KUBECTL");
        child.stdin.take().expect("piped").write_all(stdin.as_bytes()).expect("kubectl reads");
        let Output { status, stdout, stderr } = child.wait_with_output().expect("kubectl ends");
        (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
    }

    /// The output of a kubectl that must succeed; the arguments are separated by spaces.
    fn ok(&self, arguments: &str, stdin: &str) -> String {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let (code, text) = self.run(&arguments, stdin);
        assert_eq!(code, Some(0), "kubectl {arguments:?}: {text}");
        text
    }
}

fn pod(name: &str, script: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","labels":{{"app":"task"}}}},
        "spec":{{"restartPolicy":"Never","terminationGracePeriodSeconds":1,
        "containers":[{{"name":"base","image":"busybox","command":["sh","-c","{script}"]}}]}}}}"#
    )
}

#[test]
#[ignore = "needs kubectl: .ci/run brings one"]
fn objects_are_applied_shown_and_deleted() {
    let kubectl = setup("objects");
    let gated = pod("task", "echo hello")
        .replace("\"restartPolicy\"", "\"schedulingGates\":[{\"name\":\"g\"}],\"restartPolicy\"");
    assert_eq!(kubectl.ok("apply -f -", &gated), "pod/task created\n");
    assert_eq!(kubectl.ok("apply -f -", &gated), "pod/task unchanged\n");
    assert_eq!(kubectl.ok("label pod task team=a", ""), "pod/task labeled\n");
    assert_eq!(kubectl.ok("annotate pod task kpo.rs/note=x", ""), "pod/task annotated\n");
    let table = kubectl.ok("get pods", "");
    assert!(
        table.starts_with("NAME   READY   STATUS            RESTARTS   AGE\ntask   0/1     SchedulingGated   0 "),
        "{table}"
    );
    assert_eq!(kubectl.ok("get pods -l team=a -o name", ""), "pod/task\n");
    let described = kubectl.ok("describe pod task", "");
    assert!(described.contains("BestEffort"), "{described}");
    let (code, text) = kubectl.run(&["create", "-f", "-"], &gated);
    assert_eq!(code, Some(1));
    assert!(text.contains("pods \"task\" already exists"), "{text}");
    assert!(kubectl.ok("api-resources", "").contains("daemonsets"));
    assert!(kubectl.ok("get nodes", "").contains("node-1   Ready"));
    // Since 1.33 kubectl adds the namespace.
    assert!(kubectl.ok("delete pod task", "").starts_with("pod \"task\" deleted"));
    assert!(kubectl.ok("get pods", "").contains("No resources found"));
    assert_eq!(kubectl.ok("auth can-i create pods", ""), "yes\n");
    assert_eq!(kubectl.ok("create namespace n", ""), "namespace/n created\n");
    assert_eq!(kubectl.ok("delete namespace n", ""), "namespace \"n\" deleted\n");
}

#[test]
#[ignore = "needs kubectl: .ci/run brings one"]
fn a_pod_runs_is_followed_waited_for_and_deleted() {
    let kubectl = setup("runs");
    kubectl.ok("apply -f -", &pod("task", "for i in 1 2 3; do echo line $i; sleep 0.2; done"));
    assert_eq!(
        kubectl.ok("wait pod/task --for=jsonpath={.status.phase}=Succeeded --timeout=30s", ""),
        "pod/task condition met\n"
    );
    assert_eq!(kubectl.ok("logs -f task", ""), "line 1\nline 2\nline 3\n");
    assert_eq!(kubectl.ok("logs task --tail=1", ""), "line 3\n");
    assert!(kubectl.ok("get pod task", "").contains("0/1     Completed"));
    let described = kubectl.ok("describe pod task", "");
    assert!(described.contains("Successfully assigned default/task to node-1"), "{described}");
    kubectl.ok("apply -f -", &pod("long", "echo up; exec sleep 100"));
    kubectl.ok("wait pod/long --for=condition=Ready --timeout=30s", "");
    let (code, text) = kubectl.run(&["exec", "long", "--", "sh", "-c", "echo out; echo err >&2; exit 3"], "");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
    let (code, text) = kubectl.run(&["exec", "-i", "long", "--", "cat"], "through\n");
    assert_eq!((code, text.as_str()), (Some(0), "through\n"));
    let drained = kubectl.ok("drain node-1 --force --timeout=30s", "");
    assert!(drained.contains("pod/long evicted\n"), "{drained}");
    assert_eq!(kubectl.ok("delete pod task --ignore-not-found --wait=true", ""), "");
}

#[test]
#[ignore = "needs kubectl: .ci/run brings one"]
fn nodes_are_tainted_and_cordoned() {
    let kubectl = setup("nodes");
    let taints = |kubectl: &Setup| kubectl.ok("get node node-1 -o jsonpath={.spec.taints[*].key}", "");
    assert_eq!(kubectl.ok("taint node node-1 a=b:NoSchedule c=d:NoSchedule", ""), "node/node-1 tainted\n");
    assert_eq!(taints(&kubectl), "a c");
    let again = kubectl.ok("taint node node-1 a=x:NoSchedule --overwrite", "");
    assert_eq!(again, "node/node-1 modified\n");
    assert_eq!(kubectl.ok("taint node node-1 a-", ""), "node/node-1 untainted\n");
    assert_eq!(taints(&kubectl), "c");
    assert_eq!(kubectl.ok("taint node node-1 c:NoSchedule-", ""), "node/node-1 untainted\n");
    assert_eq!(taints(&kubectl), "");
    assert_eq!(kubectl.ok("cordon node-1", ""), "node/node-1 cordoned\n");
    assert!(kubectl.ok("get nodes", "").contains("Ready,SchedulingDisabled"));
    assert_eq!(kubectl.ok("uncordon node-1", ""), "node/node-1 uncordoned\n");
    assert!(kubectl.ok("version", "").contains("Server Version: v1.34."));
}

#[test]
#[ignore = "needs kubectl: .ci/run brings one"]
fn objects_are_compared_and_patched() {
    let kubectl = setup("patch");
    let manifest = pod("task", "exec sleep 100");
    kubectl.ok("apply -f -", &manifest);
    assert_eq!(kubectl.ok("diff -f -", &manifest), "");
    let (code, text) = kubectl.run(&["diff", "-f", "-"], &manifest.replace("\"app\":\"task\"", "\"app\":\"other\""));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("-    app: task\n") && text.contains("+    app: other\n"), "{text}");
    let kinds = [
        ("strategic", r#"{"metadata":{"labels":{"app":"a"}}}"#),
        ("merge", r#"{"metadata":{"labels":{"app":"b"}}}"#),
        ("json", r#"[{"op":"replace","path":"/metadata/labels/app","value":"c"}]"#),
    ];
    for (kind, patch) in kinds {
        let (code, text) = kubectl.run(&["patch", "pod", "task", "--type", kind, "-p", patch], "");
        assert_eq!((code, text.as_str()), (Some(0), "pod/task patched\n"), "{kind}");
    }
    assert_eq!(kubectl.ok("get pod task -o jsonpath={.metadata.labels.app}", ""), "c");
    let agent = r#"{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"agent"},"spec":{
        "selector":{"matchLabels":{"app":"agent"}},"template":{"metadata":{"labels":{"app":"agent"}},
        "spec":{"containers":[{"name":"base","image":"busybox","command":["sleep","100"]}]}}}}"#;
    kubectl.ok("apply -f -", agent);
    let status = kubectl.ok("rollout status daemonset/agent --timeout=30s", "");
    assert!(status.ends_with("daemon set \"agent\" successfully rolled out\n"), "{status}");
}

#[test]
#[ignore = "needs kubectl: .ci/run brings one"]
fn files_are_copied_and_a_pod_is_attached_to() {
    let kubectl = setup("files");
    kubectl.ok(
        "apply -f -",
        &pod("long", "echo up; read line; echo heard $line; exec sleep 1")
            .replace("\"name\":\"base\"", "\"name\":\"base\",\"stdin\":true"),
    );
    kubectl.ok("wait pod/long --for=condition=Ready --timeout=30s", "");
    let (here, there) = (kubectl.folder.join("here"), kubectl.folder.join("there"));
    std::fs::write(&here, "copied\n").expect("written");
    kubectl.ok(&format!("cp {} long:/tmp/copy", here.display()), "");
    kubectl.ok(&format!("cp long:/tmp/copy {}", there.display()), "");
    assert_eq!(std::fs::read_to_string(&there).expect("copied"), "copied\n");
    let (code, text) = kubectl.run(&["attach", "-i", "long"], "you\n");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("heard you\n"), "{text}");
}

#[test]
#[ignore = "needs kubectl: .ci/run brings one"]
fn run_attaches_and_gives_the_exit_code() {
    let kubectl = setup("attach");
    let arguments = [
        "run",
        "once",
        "--image=busybox",
        "--restart=Never",
        "--attach",
        "--rm",
        "--command",
        "--",
        "sh",
        "-c",
        "sleep 2; echo hello; exit 0",
    ];
    let (code, text) = kubectl.run(&arguments, "");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("hello\n"), "{text}");
    let arguments = [
        "run",
        "twice",
        "--image=busybox",
        "--restart=Never",
        "--attach",
        "--command",
        "--",
        "sh",
        "-c",
        "sleep 2; exit 4",
    ];
    let (code, text) = kubectl.run(&arguments, "");
    assert_eq!(code, Some(4), "{text}");
}
