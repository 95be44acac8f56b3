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
