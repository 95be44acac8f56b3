//! Containers that have what the suite's namespaces demand of each.

use serde_json::{Value, json};

/// There in both worlds: the lab takes any, the real cluster has it.
pub(crate) const IMAGE: &str = "busybox:1";

/// What Pod Security "restricted" and a quota of limits demand. The image names no user. Requests are small: those that are missing would be the limits.
fn demanded() -> Value {
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    json!({"securityContext": security, "resources": resources("10m", "1")})
}

/// CPU as requested and limited; memory as a shell needs it.
pub(crate) fn resources(requested: &str, limit: &str) -> Value {
    json!({"requests": {"cpu": requested, "memory": "16Mi"}, "limits": {"cpu": limit, "memory": "256Mi"}})
}

/// What kpo's own sidecar is made from: any image with a shell.
pub(crate) const SIDECAR: &str = IMAGE;

/// No registry has it: it is pulled in vain, in both worlds.
pub(crate) const NO_IMAGE: &str = "kpo.rs/missing:1";

/// One that runs a shell script.
pub(crate) fn container(name: &str, script: &str) -> Value {
    let mut container = demanded();
    container["name"] = json!(name);
    container["image"] = json!(IMAGE);
    container["command"] = json!(["sh", "-c", script]);
    container
}

/// Arguments of `run` for a task whose container, the first, runs a shell script.
pub(crate) fn run(task: &str, flags: &[&str], script: &str) -> Vec<String> {
    run_program(task, flags, &["sh", "-c", script])
}

/// The same for another program.
pub(crate) fn run_program(task: &str, flags: &[&str], program: &[&str]) -> Vec<String> {
    let mut arguments = ["--image", IMAGE, "--name", task].map(str::to_owned).to_vec();
    for (key, value) in demanded().as_object().into_iter().flatten() {
        arguments.extend(["--set".to_owned(), format!("spec.containers[0].{key}={value}")]);
    }
    arguments.extend(flags.iter().chain(&["--command", "--"]).chain(program).map(|word| (*word).to_owned()));
    arguments
}
