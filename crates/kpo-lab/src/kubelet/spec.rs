//! From a manifest's container to what a runtime is asked for.

use serde_json::Value;

use crate::pod;
use crate::runtime::{ContainerKind, ContainerSpec, EnvVar, MessagePolicy, Mount, PodRef};

/// What the runtime is asked to run.
pub(super) fn container(
    key: &PodRef,
    pod: &Value,
    container: &Value,
    kind: ContainerKind,
    restart_count: u32,
    env: Vec<EnvVar>,
) -> ContainerSpec {
    let text = |field: &str| container[field].as_str().unwrap_or_default().to_owned();
    let policy = match container["terminationMessagePolicy"].as_str() {
        Some("FallbackToLogsOnError") => MessagePolicy::FallbackToLogsOnError,
        _ => MessagePolicy::File,
    };
    let path = container["terminationMessagePath"].as_str().unwrap_or("/dev/termination-log");
    ContainerSpec {
        pod: key.clone(),
        name: text("name"),
        kind,
        restart_count,
        image: text("image"),
        command: words(&container["command"]),
        args: words(&container["args"]),
        env,
        working_dir: container["workingDir"].as_str().map(str::to_owned),
        mounts: pod::list(container, "volumeMounts").iter().map(mount).collect(),
        termination_message_path: path.to_owned(),
        termination_message_policy: policy,
        stdin: container["stdin"] == true,
        memory_limit: memory_limit(container),
        read_only_root: container["securityContext"]["readOnlyRootFilesystem"] == true,
        run_as_user: security(pod, container, "runAsUser"),
        run_as_group: security(pod, container, "runAsGroup"),
    }
}

/// `verifyRunAsNonRoot` in `pkg/kubelet/kuberuntime`: an image's user is root, as the lab's images say nothing of theirs.
///
/// # Errors
/// Why the container may not be started.
pub(super) fn verify_non_root(pod: &Value, container: &Value) -> Result<(), String> {
    let flag = |of: &Value| of["securityContext"]["runAsNonRoot"].as_bool();
    if flag(container).or(flag(&pod["spec"])) != Some(true) {
        return Ok(());
    }
    let why = match security(pod, container, "runAsUser") {
        Some(0) => "container's runAsUser breaks non-root policy",
        Some(_) => return Ok(()),
        None => "container has runAsNonRoot and image will run as root",
    };
    let of = format!("{}_{}({})", pod::name(pod), pod::namespace(pod), pod::uid(pod));
    Err(format!("{why} (pod: {of:?}, container: {})", container["name"].as_str().unwrap_or_default()))
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn mount(mount: &Value) -> Mount {
    Mount {
        volume: mount["name"].as_str().unwrap_or_default().to_owned(),
        path: mount["mountPath"].as_str().unwrap_or_default().to_owned(),
        sub_path: mount["subPath"].as_str().filter(|path| !path.is_empty()).map(str::to_owned),
        read_only: mount["readOnly"] == true,
    }
}

fn memory_limit(container: &Value) -> Option<u64> {
    let bytes = pod::milli(&container["resources"]["limits"]["memory"]) / 1000;
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

/// The container's setting, else the pod's.
fn security(pod: &Value, container: &Value, field: &str) -> Option<u32> {
    let own = container["securityContext"][field].as_u64();
    own.or(pod["spec"]["securityContext"][field].as_u64()).and_then(|id| u32::try_from(id).ok())
}
