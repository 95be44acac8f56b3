//! Upstream's kubectl against the lab, over real sockets. Runs where `KPO_TEST_KUBECTL` is set, and then demands kubectl.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use kpo_lab::{Lab, LabOptions, Store};

/// Whether to run at all: set the variable to anything, or to kubectl's path.
fn kubectl() -> Option<PathBuf> {
    let value = std::env::var_os("KPO_TEST_KUBECTL")?;
    let path = PathBuf::from(&value);
    Some(if path.is_absolute() { path } else { PathBuf::from("kubectl") })
}

struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// Runs kubectl with arguments that are separated by spaces and a standard input; gives its exit code and output.
    fn run(&self, arguments: &str, stdin: &str) -> (Option<i32>, String) {
        let mut command = Command::new(&self.program);
        command.args(arguments.split(' ')).arg("--cache-dir").arg(self.kubeconfig.with_extension("cache"));
        command.env("KUBECONFIG", &self.kubeconfig).env_remove("HTTPS_PROXY").env("NO_PROXY", "127.0.0.1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("KPO_TEST_KUBECTL is set: kubectl must be there");
        child.stdin.take().expect("piped").write_all(stdin.as_bytes()).expect("kubectl reads");
        let Output { status, stdout, stderr } = child.wait_with_output().expect("kubectl ends");
        (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
    }

    fn succeed(&self, arguments: &str, stdin: &str) -> String {
        let (code, text) = self.run(arguments, stdin);
        assert_eq!(code, Some(0), "kubectl {arguments}: {text}");
        text
    }
}

const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"task","labels":{"app":"task"}},
    "spec":{"restartPolicy":"Never","containers":[{"name":"base","image":"busybox","command":["sh","-c","echo hello"]}]}}"#;

#[test]
fn kubectl_works_with_the_api_server() {
    let Some(program) = kubectl() else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let lab = runtime.block_on(Lab::serve(Store::default(), LabOptions::default())).expect("a lab");
    let kubeconfig = std::env::temp_dir().join(format!("kpo-lab-kubectl-{}", std::process::id()));
    lab.write_kubeconfig(&kubeconfig).expect("written");
    let kubectl = Kubectl { program, kubeconfig };

    assert_eq!(kubectl.succeed("apply -f -", POD), "pod/task created\n");
    assert_eq!(kubectl.succeed("apply -f -", POD), "pod/task unchanged\n");
    assert_eq!(kubectl.succeed("label pod task team=a", ""), "pod/task labeled\n");
    assert_eq!(kubectl.succeed("annotate pod task kpo.rs/note=x", ""), "pod/task annotated\n");
    let table = kubectl.succeed("get pods", "");
    assert!(table.starts_with("NAME   READY   STATUS    RESTARTS   AGE\ntask   0/1     Pending   0 "), "{table}");
    assert_eq!(kubectl.succeed("get pods -l team=a -o name", ""), "pod/task\n");
    let described = kubectl.succeed("describe pod task", "");
    assert!(described.contains("QoS Class:") && described.contains("BestEffort"), "{described}");
    let (code, text) = kubectl.run("create -f -", POD);
    assert_eq!(code, Some(1));
    assert!(text.contains("pods \"task\" already exists"), "{text}");
    assert!(kubectl.succeed("api-resources", "").contains("daemonsets"));
    assert_eq!(kubectl.succeed("auth can-i create pods", ""), "yes\n");
    assert_eq!(
        kubectl.succeed("wait pod/task --for=jsonpath={.status.phase}=Pending --timeout=5s", ""),
        "pod/task condition met\n"
    );
    assert_eq!(kubectl.succeed("delete pod task", ""), "pod \"task\" deleted\n");
    assert!(kubectl.succeed("get pods", "").contains("No resources found"));
    assert_eq!(kubectl.succeed("create namespace n", ""), "namespace/n created\n");
    assert_eq!(kubectl.succeed("delete namespace n", ""), "namespace \"n\" deleted\n");
}
