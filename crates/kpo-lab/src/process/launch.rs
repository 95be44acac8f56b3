//! From a container's spec to a process: what a shell, a runtime and an image would have settled.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::runtime::ContainerSpec;

/// `PATH` as images have it; containerd's default.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What containerd puts before runc's words (recording `run_container_error`).
const RUNC: &str = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
                    failed: unable to start container process: ";

/// What runc puts before its words when an exec fails.
const RUNC_EXEC: &str = "OCI runtime exec failed: exec failed: unable to start container process: ";

/// What the kernel lets the lab do for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Mount, PID and host name namespaces: a root of its own with volumes, and nothing survives its first process.
    Namespaces {
        /// Whether a user namespace was needed for it: who runs the lab is not root.
        user: bool,
    },
    /// Nothing: containers are plain processes of the machine, and pods with volumes are refused.
    Plain {
        /// Why.
        reason: String,
    },
}

/// The three standard streams of a child.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Streams {
    /// All three are `/dev/null`.
    #[cfg(target_os = "linux")]
    pub(super) fn null() -> io::Result<Self> {
        Ok(Self { stdin: null()?, stdout: null()?, stderr: null()? })
    }
}

/// `/dev/null`, not below descriptor 3.
pub(super) fn null() -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/null")?;
    OwnedFd::from(file).try_clone()
}

/// A pipe whose ends are closed on exec and are none of 0, 1, 2.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = io::pipe()?;
    // Duplicates are given out from 3 on, so that a child's dup2 to 0, 1 and 2 overwrites none of them.
    Ok((OwnedFd::from(read).try_clone()?, OwnedFd::from(write).try_clone()?))
}

/// Something of the machine that is to appear in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bind {
    /// Where in the container.
    pub(super) path: PathBuf,
    /// What: an existing file or folder.
    pub(super) source: PathBuf,
    /// Whether it may only be read.
    pub(super) read_only: bool,
}

/// Why a container or a command did not come up.
#[derive(Debug)]
pub(super) enum LaunchError {
    /// Its program could not be executed.
    NotExecutable { program: String, source: io::Error },
    /// Its working directory could not be entered.
    WorkingDir { path: PathBuf, source: io::Error },
    /// What surrounds it could not be made.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    Surroundings { message: String },
}

/// A root to be built.
#[derive(Debug)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(super) struct RootSpec<'a> {
    pub(super) dir: &'a Path,
    pub(super) host: &'a [PathBuf],
    pub(super) binds: &'a [Bind],
    pub(super) read_only: bool,
    pub(super) hostname: &'a str,
}

impl LaunchError {
    /// What a container's status says.
    pub(super) fn container_words(&self) -> String {
        self.words(RUNC)
    }

    /// What the answer to an exec says.
    pub(super) fn exec_words(&self) -> String {
        self.words(RUNC_EXEC)
    }

    fn words(&self, before: &str) -> String {
        match self {
            Self::NotExecutable { program, source } => format!("{before}{}: unknown", not_executable(program, source)),
            Self::WorkingDir { path, source } => {
                let (path, why) = (path.display(), plain(source));
                format!(
                    "{before}error during container init: chdir to cwd (\"{path}\") set in config.json failed: {why}: unknown"
                )
            }
            Self::Surroundings { message } => message.clone(),
        }
    }
}

/// A program, its arguments and environment, and how to run it.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) argv: Vec<String>,
    /// `NAME=value`, each name once.
    pub(super) env: Vec<Variable>,
    pub(super) working_dir: PathBuf,
    /// User and group; None for the default.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(super) identity: Option<(u32, u32)>,
}

/// One entry of an environment; its value is never shown.
#[derive(Clone)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

impl Command {
    /// A container's own command. `home` is where a plain process is at home; None in a root of its own.
    pub(super) fn of(spec: &ContainerSpec, home: Option<&Path>) -> Self {
        let root = if spec.run_as_user.unwrap_or(0) == 0 { "/root" } else { "/" };
        let home_text = home.map_or_else(|| root.to_owned(), |home| home.display().to_string());
        let defaults = [("PATH", PATH), ("HOSTNAME", &spec.pod.name), ("HOME", &home_text)];
        let mut env: Vec<Variable> = Vec::new();
        let given = spec.env.iter().map(|var| (var.name.as_str(), var.value.as_str()));
        for (name, value) in defaults.into_iter().chain(given) {
            env.retain(|known| known.name != name);
            env.push(Variable { name: name.to_owned(), value: value.to_owned() });
        }
        let nowhere = || home.map_or_else(|| PathBuf::from("/"), Path::to_owned);
        let identity = (spec.run_as_user.is_some() || spec.run_as_group.is_some())
            .then(|| (spec.run_as_user.unwrap_or(0), spec.run_as_group.unwrap_or(0)));
        Self {
            argv: spec.argv(),
            env,
            working_dir: spec
                .working_dir
                .as_deref()
                .filter(|path| !path.is_empty())
                .map_or_else(nowhere, PathBuf::from),
            identity,
        }
    }

    /// Where the program may be, in the order of `PATH`.
    #[cfg(target_os = "linux")]
    pub(super) fn programs(&self) -> Vec<PathBuf> {
        let Some(program) = self.argv.first() else { return Vec::new() };
        if program.contains('/') {
            return vec![program.into()];
        }
        let path = self.env.iter().find(|variable| variable.name == "PATH").map_or("", |variable| &variable.value);
        path.split(':').map(|folder| Path::new(if folder.is_empty() { "." } else { folder }).join(program)).collect()
    }
}

/// Why a program does not run, in runc's words.
fn not_executable(program: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) if !program.contains('/') => {
            format!("exec: {program:?}: executable file not found in $PATH")
        }
        Some(libc::ENOENT) => format!("exec: {program:?}: stat {program}: no such file or directory"),
        Some(libc::EACCES) => format!("exec: {program:?}: permission denied"),
        _ => format!("exec {program}: {}", plain(error)),
    }
}

/// An error in Go's form: small letters, no number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{EnvVar, PodRef};

    fn command() -> Command {
        let pod = PodRef { name: "task".into(), ..PodRef::default() };
        let env = vec![EnvVar::new("A", "1"), EnvVar::new("HOSTNAME", "x"), EnvVar::new("A", "2")];
        Command::of(&ContainerSpec { pod, env, command: vec!["sh".into()], ..ContainerSpec::default() }, None)
    }

    #[test]
    fn the_environment_is_the_images_then_the_specs_and_nothing_else() {
        let env: Vec<String> = command().env.iter().map(|var| format!("{}={}", var.name, var.value)).collect();
        assert_eq!(env, [format!("PATH={PATH}").as_str(), "HOME=/root", "HOSTNAME=x", "A=2"]);
    }

    #[test]
    fn what_cannot_be_executed_is_said_in_runcs_words() {
        let words = |program: &str, errno| {
            let source = io::Error::from_raw_os_error(errno);
            LaunchError::NotExecutable { program: program.into(), source }.container_words()
        };
        let recorded = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc \
                        create failed: unable to start container process: exec: \"/no/such/program\": stat \
                        /no/such/program: no such file or directory: unknown";
        assert_eq!(words("/no/such/program", libc::ENOENT), recorded);
        assert!(words("nope", libc::ENOENT).contains(": exec: \"nope\": executable file not found in $PATH: unknown"));
        assert!(words("/etc", libc::EACCES).ends_with(": exec: \"/etc\": permission denied: unknown"));
        assert!(words("/x", libc::ENOEXEC).ends_with(": exec /x: exec format error: unknown"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn programs_are_looked_for_in_the_path() {
        assert_eq!(command().programs().len(), 6);
        assert_eq!(command().programs()[3], Path::new("/usr/bin/sh"));
        let slashed = Command { argv: vec!["./x".into()], ..command() };
        assert_eq!(slashed.programs(), [Path::new("./x")]);
    }
}
