//! What a kubelet asks of a container runtime.
//!
//! The trait is synchronous and takes time as an argument, so that one kubelet runs scripted containers under virtual
//! time (`ScriptedRuntime`) and local processes (`ProcessRuntime`) alike. A runtime
//! never calls back: what happens on its own is queued, handed out by [`Runtime::poll`], and announced by the
//! [`Waker`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::log::ContainerLog;
use crate::time::Time;

mod mixed;
mod session;

pub use mixed::MixedRuntime;
pub(crate) use session::attach;
pub use session::{ExecRequest, Session, SessionError, SessionOutput};

/// Tells the driver that [`Runtime::poll`] has something to hand out. It may be called from any thread, more often
/// than needed, and must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Exit code of a container whose program could not be executed, as containerd reports it beside the reason `StartError`.
pub const START_ERROR_EXIT_CODE: i32 = 128;

/// The most that is ever read of a termination message file, in bytes, from its end: `MaxContainerTerminationMessageLength` in
/// `pkg/kubelet/container/runtime.go`. (The kubelet divides 12 KiB among the containers of a pod: its own affair.)
pub const TERMINATION_MESSAGE_LIMIT: usize = 4096;

/// The most of a log's end that `FallbackToLogsOnError` takes, in bytes (`MaxContainerTerminationMessageLogLength`).
pub const TERMINATION_LOG_LIMIT: u64 = 2048;

/// The most lines of a log's end that `FallbackToLogsOnError` takes (`MaxContainerTerminationMessageLogLines`).
pub const TERMINATION_LOG_LINES: u64 = 80;

/// A container's identity as `containerID` in a pod's status shows it: `lab://` and 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(Arc<str>);

impl ContainerId {
    /// An ID of its own for each start: `seed` is hashed, so that equal histories have equal IDs.
    pub fn derive(seed: &str) -> Self {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(seed.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("lab://{hex}").into())
    }

    /// The ID that a pod's status names, as it stands there.
    pub fn parse(text: &str) -> Self {
        Self(text.into())
    }

    /// The whole ID, with its scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID without its scheme, as runtimes name folders by it.
    pub fn hex(&self) -> &str {
        self.0.trim_start_matches("lab://")
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose container it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PodRef {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name; also the containers' host name.
    pub name: String,
    /// The pod's UID: what runtimes key by.
    pub uid: String,
    /// The node that the pod is bound to.
    pub node: String,
}

/// The part that a container plays in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum ContainerKind {
    /// An init container that has to end before the next one starts.
    Init,
    /// A native sidecar: an init container with `restartPolicy: Always`.
    Sidecar,
    /// One of `spec.containers`.
    #[default]
    Main,
}

/// One environment variable. Its value is never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// The variable's name.
    pub name: String,
    /// Its value, with references resolved and expanded by the kubelet.
    pub value: String,
}

impl EnvVar {
    /// A variable.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

/// A volume's place in a container (`volumeMounts`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Mount {
    /// The volume's name within the pod.
    pub volume: String,
    /// Where it appears: an absolute path.
    pub path: String,
    /// The part of the volume that is mounted; None for all of it.
    pub sub_path: Option<String>,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// What fills a termination message (`terminationMessagePolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MessagePolicy {
    /// The file alone.
    #[default]
    File,
    /// The file, or where it is empty and the container failed, the log's end.
    FallbackToLogsOnError,
}

/// Everything that a runtime needs to know to run one container.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// The container's pod.
    pub pod: PodRef,
    /// The container's name within the pod.
    pub name: String,
    /// Its part in the pod.
    pub kind: ContainerKind,
    /// How often a container of this name was started in this pod before.
    pub restart_count: u32,
    /// The image's name: only a name, no runtime of the lab has images.
    pub image: String,
    /// `command` as the manifest has it; [`ContainerSpec::argv`] expands it.
    pub command: Vec<String>,
    /// `args` as the manifest has them.
    pub args: Vec<String>,
    /// The environment, complete and in order; later entries win.
    pub env: Vec<EnvVar>,
    /// The working directory; None for `/`.
    pub working_dir: Option<String>,
    /// The volumes and where they appear.
    pub mounts: Vec<Mount>,
    /// `terminationMessagePath`; the API's default is `/dev/termination-log`.
    pub termination_message_path: String,
    /// `terminationMessagePolicy`.
    pub termination_message_policy: MessagePolicy,
    /// Whether the container has a standard input that `attach` can write to; otherwise it reads end of file.
    pub stdin: bool,
    /// The memory limit in bytes; None without one. A runtime may be unable to enforce it (LIMITS.md).
    pub memory_limit: Option<u64>,
    /// `securityContext.readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// `securityContext.runAsUser` (the container's, else the pod's); None for the runtime's default.
    pub run_as_user: Option<u32>,
    /// `securityContext.runAsGroup`; None for the runtime's default.
    pub run_as_group: Option<u32>,
}

impl Default for ContainerSpec {
    fn default() -> Self {
        Self {
            pod: PodRef::default(),
            name: String::new(),
            kind: ContainerKind::default(),
            restart_count: 0,
            image: String::new(),
            command: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            mounts: Vec::new(),
            termination_message_path: "/dev/termination-log".to_owned(),
            termination_message_policy: MessagePolicy::File,
            stdin: false,
            memory_limit: None,
            read_only_root: false,
            run_as_user: None,
            run_as_group: None,
        }
    }
}

impl ContainerSpec {
    /// Command and arguments with `$(VAR)` expanded: the program and what it is given. Empty if neither is set: an
    /// image of the lab has no entry point of its own. Without a command the first argument is the program, as in the
    /// images that have none.
    pub fn argv(&self) -> Vec<String> {
        let env: BTreeMap<&str, &str> = self.env.iter().map(|var| (var.name.as_str(), var.value.as_str())).collect();
        let lookup = |name: &str| env.get(name).map(|value| (*value).to_owned());
        self.command.iter().chain(&self.args).map(|word| expand(word, lookup)).collect()
    }
}

/// Expands `$(NAME)` as the kubelet does in `command`, `args` and environment values
/// (`third_party/forked/golang/expansion`): what `lookup` does not know stays as it is written, `$$` is a `$`.
pub fn expand(input: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (text, used) = reference(after, &lookup);
        out.push_str(&text);
        rest = &after[used..];
    }
    out.push_str(rest);
    out
}

/// What follows a `$`: its replacement and the number of bytes it takes up.
fn reference(after: &str, lookup: impl Fn(&str) -> Option<String>) -> (String, usize) {
    if after.starts_with('$') {
        return ("$".to_owned(), 1);
    }
    let name = after.strip_prefix('(').and_then(|inner| inner.find(')').map(|end| &inner[..end]));
    match name {
        Some(name) => (lookup(name).unwrap_or_else(|| format!("$({name})")), name.len() + 2),
        None => ("$".to_owned(), 0),
    }
}

/// One file of a volume that is made of files: a configMap, a secret, a token.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeFile {
    /// The path within the volume, relative.
    pub path: String,
    /// The permission bits, such as 0o644.
    pub mode: u32,
    /// The content; never shown by `Debug`.
    pub content: Bytes,
}

impl fmt::Debug for VolumeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (mode {:o}, {} bytes)", self.path, self.mode, self.content.len())
    }
}

/// What a volume consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// An empty folder that lives as long as the pod on its node.
    EmptyDir,
    /// Files that the kubelet wrote: configMap, secret, downwardAPI, projected. Read-only for containers.
    Files(Vec<VolumeFile>),
    /// A folder of the node, here of the machine that the lab runs on: hostPath. It outlives the pod.
    HostPath {
        /// Where it lies.
        path: PathBuf,
        /// Whether it is made where it is missing (types "" and `DirectoryOrCreate`), or missed (`Directory`).
        make: bool,
    },
}

/// A volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name within the pod.
    pub name: String,
    /// What it consists of.
    pub source: VolumeSource,
    /// Left out, mounts and all, by a runtime that cannot mount: for what admission added to every pod (the service
    /// account's token), so that such a runtime still runs pods that mount nothing of their own.
    pub optional: bool,
}

/// A pod as a runtime needs to know it before its first container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSetup {
    /// The pod.
    pub pod: PodRef,
    /// Its volumes, with their content.
    pub volumes: Vec<Volume>,
}

/// Why a pod's volumes could not be set up (the kubelet's `FailedMount`).
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct PrepareError {
    /// One sentence: which volume, and why not.
    pub message: String,
}

/// Why a container does not run. Which field of the status shows it differs: see the variants.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StartError {
    /// The container was made, its program could not be executed: `terminated`, reason `StartError`, exit code
    /// [`START_ERROR_EXIT_CODE`], `startedAt` the epoch, and *with* a containerID (recording `run_container_error`).
    #[error("{message}")]
    NotExecutable {
        /// The container's ID.
        id: ContainerId,
        /// containerd's and runc's wording.
        message: String,
    },
    /// The container could not be made: `waiting`, reason `CreateContainerError`; the kubelet tries again.
    #[error("{message}")]
    Create {
        /// What could not be done.
        message: String,
    },
}

/// What a container is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGTERM: please end.
    Term,
    /// SIGKILL: it ends now.
    Kill,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 0–255; 128 + n after signal n.
    pub exit_code: i32,
    /// The signal that ended it; None if it exited by itself. Kubernetes' status leaves it 0 with containerd.
    pub signal: Option<i32>,
    /// When it had ended.
    pub at: Time,
    /// The termination message, at most [`TERMINATION_MESSAGE_LIMIT`] bytes; empty without one.
    pub message: String,
    /// Whether its memory limit ended it (reason `OOMKilled`).
    pub oom_killed: bool,
}

/// What happened of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A container has ended; its log is complete.
    Exited {
        /// Which one.
        id: ContainerId,
        /// How.
        exit: Exit,
    },
}

/// What a runtime knows of a container, as a kubelet asks for it after its own restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// It runs since then.
    Running {
        /// When it was started.
        since: Time,
    },
    /// It has ended.
    Exited(Exit),
}

/// A container runtime. All calls return at once; `now` never goes backwards.
pub trait Runtime: Send {
    /// Sets up a pod's folder and volumes. Called again for the same pod (the kubelet retries, or a configMap changed)
    /// it renews the files and keeps what containers wrote.
    fn prepare_pod(&mut self, now: Time, setup: &PodSetup) -> Result<(), PrepareError>;

    /// Starts a container of a prepared pod.
    fn start(&mut self, now: Time, spec: ContainerSpec) -> Result<ContainerId, StartError>;

    /// Sends a signal; to the whole container for `Kill`. Nothing happens if it has ended or is not known.
    fn signal(&mut self, now: Time, id: &ContainerId, signal: Signal);

    /// Hands out what happened until `now`, each event once.
    fn poll(&mut self, now: Time) -> Vec<RuntimeEvent>;

    /// The next instant at which `poll` will have something by itself; None if only the waker tells.
    fn next_wakeup(&self) -> Option<Time>;

    /// What is known of a container; None if nothing (removed, or the record was lost).
    fn state(&self, id: &ContainerId) -> Option<ContainerState>;

    /// A container's log, also after its end, until it is removed.
    fn log(&self, id: &ContainerId) -> Option<Arc<ContainerLog>>;

    /// The size in bytes of what is in a pod's volume; None if there is no such volume.
    fn volume_usage(&self, pod_uid: &str, volume: &str) -> Option<u64>;

    /// Bytes of local storage that a container takes outside of volumes: what it wrote, and its log. None if it is not known.
    fn storage_usage(&self, id: &ContainerId) -> Option<u64>;

    /// Removes a container with its log; one that still runs is killed, and its end is not told.
    fn remove(&mut self, id: &ContainerId);

    /// Removes a pod's containers, volumes and folder.
    fn remove_pod(&mut self, pod_uid: &str);

    /// Runs a command in a running container.
    fn exec(&mut self, now: Time, id: &ContainerId, request: ExecRequest) -> Result<Session, SessionError>;

    /// Joins a running container: its output from now on, its input if it has one and `stdin` asks for it.
    fn attach(&mut self, now: Time, id: &ContainerId, stdin: bool) -> Result<Session, SessionError>;

    /// Sets who is told that `poll` has something. A runtime that only follows `now` has no use for it.
    fn set_waker(&mut self, waker: Waker);
}

/// What the kubelet takes as termination message (`getTerminationMessage` in
/// `pkg/kubelet/kuberuntime/kuberuntime_container.go`): the file's last 4096 bytes (`tail.ReadAtMost`), or by policy the log's end.
pub fn termination_message(policy: MessagePolicy, file: &[u8], exit_code: i32, log: &Arc<ContainerLog>) -> String {
    let file = &file[file.len().saturating_sub(TERMINATION_MESSAGE_LIMIT)..];
    if !file.is_empty() || policy == MessagePolicy::File || exit_code == 0 {
        return String::from_utf8_lossy(file).into_owned();
    }
    let text = log.last(TERMINATION_LOG_LINES);
    let start = text.len().saturating_sub(TERMINATION_LOG_LIMIT as usize);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> Option<String> {
        (name == "A").then(|| "1".to_owned())
    }

    #[test]
    fn expansion_follows_the_kubelet() {
        for (input, output) in [
            ("x$(A)y", "x1y"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("end$", "end$"),
            ("ä$(A)ö", "ä1ö"),
        ] {
            assert_eq!(expand(input, known), output, "{input}");
        }
    }

    #[test]
    fn argv_is_command_and_args_expanded() {
        let spec = ContainerSpec {
            command: vec!["echo".into()],
            args: vec!["$(A)".into(), "$(B)".into()],
            env: vec![EnvVar::new("A", "0"), EnvVar::new("A", "1")],
            ..ContainerSpec::default()
        };
        assert_eq!(spec.argv(), ["echo", "1", "$(B)"]);
    }

    #[test]
    fn debug_shows_no_secret() {
        let spec = ContainerSpec { env: vec![EnvVar::new("TOKEN", "canary")], ..ContainerSpec::default() };
        let file = VolumeFile { path: "p".into(), mode: 0o400, content: "canary".into() };
        assert!(!format!("{spec:?}{file:?}").contains("canary"));
    }
}
