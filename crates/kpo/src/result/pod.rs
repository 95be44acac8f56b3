//! What is added to a manifest on its way out.

use serde_json::{Map, Value, json};

use super::{CONTAINER, POD_MESSAGE_LIMIT, Plan, message_limit};

/// The sidecar, as the user may want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarOptions {
    /// Its image: it needs a shell and the tools named in the [module's](super) caveats. There is no public default.
    pub image: String,
    /// `imagePullPolicy`. `None`: the API server's default.
    pub pull_policy: Option<String>,
    /// Where the result is. Default [`DEFAULT_PATH`](super::DEFAULT_PATH).
    pub path: String,
    /// Most bytes of a result. Default 4 MiB: coded, it stays below the 10 MiB at which kubelets rotate logs.
    pub limit: usize,
    /// Requests and limits alike, as `resources.limits`. Default 50m CPU, 32Mi memory.
    pub resources: Map<String, Value>,
    /// The user id where the manifest names none. `None`: the image's own, or what the cluster assigns (OpenShift). Default 65532.
    pub user: Option<i64>,
    /// Replaces the whole `securityContext`. `None`: one that Pod Security "restricted" admits.
    pub security_context: Option<Value>,
    /// The JSON value that a file stands for which is missing or empty. `None`: a result was asked for, and its absence is a failure.
    pub absent: Option<String>,
}

/// Tells the container what a missing or empty file stands for.
const ABSENT: &str = "KPO_RESULT_ABSENT";

impl SidecarOptions {
    /// The defaults with an image.
    pub fn new(image: impl Into<String>) -> Self {
        let resources = json!({"cpu": "50m", "memory": "32Mi"});
        Self {
            image: image.into(),
            pull_policy: None,
            path: super::DEFAULT_PATH.to_owned(),
            limit: 4 << 20,
            resources: resources.as_object().cloned().unwrap_or_default(),
            user: Some(65532),
            security_context: None,
            absent: None,
        }
    }
}

/// Why a manifest cannot be given a way out for its result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The path is not absolute, names no file, or has no directory of its own.
    #[error(
        "the result's path {0:?} must be absolute and name a file in a directory of its own, such as /airflow/xcom/return.json"
    )]
    Path(String),
    /// The program's container is not in the manifest.
    #[error("the manifest has no container {0:?}")]
    NoContainer(String),
    /// The manifest has a container or volume of the name that kpo would add.
    #[error("the manifest has a {kind} {CONTAINER:?} already: kpo adds one of this name for the result")]
    NameTaken {
        /// `container` or `volume`.
        kind: &'static str,
    },
    /// The container's termination message has another path already.
    #[error("container {container:?} has the terminationMessagePath {path:?} already: it cannot carry the result too")]
    MessageTaken {
        /// The container.
        container: String,
        /// Its path.
        path: String,
    },
    /// So many containers share the room for termination messages that a report has none.
    #[error(
        "the pod has {containers} containers: each has {} bytes of their termination messages, and kpo's needs {HEAD} to report a result",
        message_limit(*.containers)
    )]
    TooManyContainers {
        /// How many it would have, kpo's included.
        containers: usize,
    },
}

/// A path that the API server sets where none is given.
const DEFAULT_MESSAGE_PATH: &str = "/dev/termination-log";
/// Longest first line of a report: the word, the kind, a length, a SHA-256.
const HEAD: usize = 110;
/// Containers that webhooks may add before a report in the message could be cut without standing in the log as well.
const INJECTED: usize = 8;
const VOLUME: &str = CONTAINER;

/// Adds the result sidecar to a Pod: a native sidecar (Kubernetes 1.29 or later), last of the init containers, and an `emptyDir` at the
/// result's directory in the program's container (or the volume that is mounted exactly there already).
///
/// # Errors
/// See [`ManifestError`]; the manifest is unchanged then.
///
/// ```
/// use kpo::result::{Plan, SidecarOptions, add_sidecar};
/// use serde_json::json;
/// let mut pod = json!({"spec": {"containers": [{"name": "base", "image": "python:3.14"}]}});
/// let plan = add_sidecar(&mut pod, "base", &SidecarOptions::new("registry.example/busybox:1.37")).unwrap();
/// assert_eq!(plan, Plan::Sidecar { path: "/airflow/xcom/return.json".into(), limit: 4 << 20 });
/// assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always");
/// assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], "/airflow/xcom");
/// ```
pub fn add_sidecar(pod: &mut Value, container: &str, options: &SidecarOptions) -> Result<Plan, ManifestError> {
    add(pod, container, options, Kind::Sidecar)?;
    Ok(Plan::Sidecar { path: options.path.clone(), limit: options.limit })
}

/// Adds the same as a plain container, for clusters without native sidecars: it lives on beside the program, whose result is fetched by exec,
/// and ends with its pod, which goes, or is stopped, when the outcome was taken. Stopped before, it leaves its report as the sidecar does.
///
/// ```
/// use kpo::result::{CONTAINER, SidecarOptions, add_waiter};
/// let mut pod = serde_json::json!({"spec": {"containers": [{"name": "base", "image": "python:3.14"}]}});
/// let options = SidecarOptions { path: "/out/result.json".into(), ..SidecarOptions::new("registry.example/busybox:1.37") };
/// let plan = add_waiter(&mut pod, "base", &options).unwrap();
/// assert_eq!(plan.by(), kpo_core::ResultBy::Exec);
/// assert_eq!(pod["spec"]["containers"][1]["name"], CONTAINER);
/// ```
///
/// # Errors
/// See [`ManifestError`]; the manifest is unchanged then.
pub fn add_waiter(pod: &mut Value, container: &str, options: &SidecarOptions) -> Result<Plan, ManifestError> {
    add(pod, container, options, Kind::Plain)?;
    Ok(Plan::Exec { path: options.path.clone(), limit: options.limit })
}

/// Makes the result's path the termination message of the program's container.
///
/// ```
/// let mut pod = serde_json::json!({"spec": {"containers": [{"name": "base", "image": "python:3.14"}]}});
/// kpo::result::add_message(&mut pod, "base", "/airflow/xcom/return.json").unwrap();
/// assert_eq!(pod["spec"]["containers"][0]["terminationMessagePath"], "/airflow/xcom/return.json");
/// ```
///
/// # Errors
/// See [`ManifestError`]; the manifest is unchanged then.
pub fn add_message(pod: &mut Value, container: &str, path: &str) -> Result<Plan, ManifestError> {
    directory(path)?;
    let program = find(pod, container)?;
    match program.get("terminationMessagePath").and_then(Value::as_str) {
        None | Some(DEFAULT_MESSAGE_PATH) => {}
        Some(taken) if taken == path => {}
        Some(taken) => {
            return Err(ManifestError::MessageTaken { container: container.to_owned(), path: taken.to_owned() });
        }
    }
    program["terminationMessagePath"] = path.into();
    program["terminationMessagePolicy"] = "File".into();
    Ok(Plan::Message { path: path.to_owned(), container: container.to_owned() })
}

/// How the result of a pod leaves it, read from what kpo once added to it: for one who attaches, and knows that a result is wanted (a
/// `terminationMessagePath` may also be the user's). `None`: no way was added.
pub fn detect(pod: &Value, container: &str) -> Option<Plan> {
    let command = |list: &str| {
        let found = named(pod.pointer(list)?, CONTAINER)?;
        let words = found.get("command")?.as_array()?;
        Some(words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect::<Vec<_>>())
    };
    if let Some([_, _, _, _, path, _, _, limit]) = command("/spec/initContainers").as_deref() {
        return Some(Plan::Sidecar { path: path.clone(), limit: limit.parse().ok()? });
    }
    if let Some([_, _, _, _, path, _, _, limit]) = command("/spec/containers").as_deref() {
        return Some(Plan::Exec { path: path.clone(), limit: limit.parse().ok()? });
    }
    let path = named(pod.pointer("/spec/containers")?, container)?.get("terminationMessagePath")?.as_str()?;
    let is_ours = path != DEFAULT_MESSAGE_PATH;
    is_ours.then(|| Plan::Message { path: path.to_owned(), container: container.to_owned() })
}

/// What the container runs in a pod that will have so many: the sizes tell it what surely fits its termination message, and what may.
fn command(containers: usize, options: &SidecarOptions) -> Result<Vec<String>, ManifestError> {
    let too_many = ManifestError::TooManyContainers { containers };
    let inline = message_limit(containers).checked_sub(HEAD).ok_or(too_many)?;
    let sure = (POD_MESSAGE_LIMIT / (containers + INJECTED)).saturating_sub(HEAD);
    let sizes = [sure.min(options.limit), inline.min(options.limit), options.limit].map(|n| n.to_string());
    let [sure, inline, most] = sizes.each_ref().map(String::as_str);
    Ok(shell(include_str!("sidecar.sh"), &[&options.path, sure, inline, most]))
}

/// A command that runs a script with arguments.
pub(super) fn shell(script: &str, arguments: &[&str]) -> Vec<String> {
    ["sh", "-c", script, CONTAINER].iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

enum Kind {
    Sidecar,
    Plain,
}

fn add(pod: &mut Value, container: &str, options: &SidecarOptions, kind: Kind) -> Result<(), ManifestError> {
    let directory = directory(&options.path)?.to_owned();
    check_names(pod)?;
    let command = command(count(pod) + 1, options)?;
    let user = user(pod, container, options);
    let program = find(pod, container)?;
    let shared = named_mount(program, &directory).cloned();
    let mount = shared.clone().unwrap_or_else(|| json!({"name": VOLUME, "mountPath": directory}));
    if shared.is_none() {
        push(program, "volumeMounts", mount.clone());
        push(&mut pod["spec"], "volumes", json!({"name": VOLUME, "emptyDir": {}}));
    }
    let mut added = json!({
        "name": CONTAINER,
        "image": options.image,
        "command": command,
        "resources": {"requests": options.resources, "limits": options.resources},
        "securityContext": options.security_context.clone().unwrap_or_else(|| restricted(user)),
        "volumeMounts": [mount],
    });
    if let Some(policy) = &options.pull_policy {
        added["imagePullPolicy"] = policy.as_str().into();
    }
    if let Some(absent) = &options.absent {
        added["env"] = json!([{"name": ABSENT, "value": absent}]);
    }
    match kind {
        Kind::Sidecar => {
            added["restartPolicy"] = "Always".into();
            push(&mut pod["spec"], "initContainers", added);
        }
        Kind::Plain => push(&mut pod["spec"], "containers", added),
    }
    Ok(())
}

/// What Pod Security "restricted" asks of a container (`k8s.io/pod-security-admission/policy`).
fn restricted(user: Option<i64>) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if let Some(user) = user {
        context["runAsUser"] = user.into();
    }
    context
}

/// The program's user, so that the file can be read; else the one of the options.
fn user(pod: &Value, container: &str, options: &SidecarOptions) -> Option<i64> {
    let of = |value: &Value| value.pointer("/securityContext/runAsUser").and_then(Value::as_i64);
    let program = pod.pointer("/spec/containers").and_then(|list| named(list, container));
    let own = program.and_then(of).or_else(|| of(&pod["spec"]));
    own.filter(|user| *user != 0).or(options.user)
}

fn check_names(pod: &Value) -> Result<(), ManifestError> {
    let has = |list: &str| pod.pointer(list).is_some_and(|list| named(list, CONTAINER).is_some());
    if has("/spec/containers") || has("/spec/initContainers") {
        return Err(ManifestError::NameTaken { kind: "container" });
    }
    if has("/spec/volumes") {
        return Err(ManifestError::NameTaken { kind: "volume" });
    }
    Ok(())
}

/// The directory of an absolute path.
fn directory(path: &str) -> Result<&str, ManifestError> {
    let error = || ManifestError::Path(path.to_owned());
    let (directory, file) = path.rsplit_once('/').ok_or_else(error)?;
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let is_own = directory.starts_with('/') && directory[1..].split('/').all(is_plain);
    (is_own && is_plain(file) && !path.contains('\0')).then_some(directory).ok_or_else(error)
}

fn find<'a>(pod: &'a mut Value, container: &str) -> Result<&'a mut Value, ManifestError> {
    let list = pod.pointer_mut("/spec/containers").and_then(Value::as_array_mut);
    let found = list.into_iter().flatten().find(|c| c["name"] == container);
    found.ok_or_else(|| ManifestError::NoContainer(container.to_owned()))
}

fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|item| item["name"] == name)
}

fn named_mount<'a>(container: &'a Value, directory: &str) -> Option<&'a Value> {
    let is_there = |mount: &&Value| mount["mountPath"].as_str().is_some_and(|p| p.trim_end_matches('/') == directory);
    container.get("volumeMounts")?.as_array()?.iter().find(is_there)
}

fn push(object: &mut Value, list: &str, item: Value) {
    match object.get_mut(list).and_then(Value::as_array_mut) {
        Some(items) => items.push(item),
        None => object[list] = json!([item]),
    }
}

fn count(pod: &Value) -> usize {
    let of = |list: &str| pod.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
    of("/spec/containers") + of("/spec/initContainers") + of("/spec/ephemeralContainers")
}
