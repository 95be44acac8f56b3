//! Starting containers on Linux: namespaces where the kernel allows them.

#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::launch::{Command, Isolation, LaunchError, RootSpec, Streams};
use super::root::{self, c_path, c_text};
use super::spawn::{IdMap, MountStep, Namespaces, Plan, SpawnError, Spawned, Stage, spawn};

/// What is ready to be started, on the thread that will watch it.
#[derive(Debug)]
pub(super) struct Launch {
    plan: Plan,
    program: String,
    working_dir: PathBuf,
}

impl Isolation {
    /// Finds out what the kernel allows, by doing it once in a folder that is thrown away.
    pub(super) fn probe(folder: &Path) -> Self {
        let plain = |reason| Self::Plain { reason };
        let mut refusal = String::new();
        for user in [false, true] {
            match try_namespaces(&folder.join(format!("probe-{user}")), user) {
                Ok(()) => return Self::Namespaces { user },
                Err(reason) => refusal = reason,
            }
        }
        plain(refusal)
    }
}

fn try_namespaces(dir: &Path, user: bool) -> Result<(), String> {
    let attempt = || -> io::Result<Launch> {
        fs::create_dir_all(dir)?;
        let root = RootSpec { dir, host: &[], binds: &[], read_only: false, hostname: "probe" };
        let nothing = Command { argv: Vec::new(), env: Vec::new(), working_dir: "/".into(), identity: None };
        Launch::container(&nothing, &Isolation::Namespaces { user }, &root, Streams::null()?)
    };
    let launch = attempt().map_err(|error| error.to_string())?;
    let spawned = spawn(&launch.plan).map_err(|error| launch.describe(&error))?;
    let pid = super::watch::Pid::default();
    pid.set(spawned.pid);
    let status = pid.wait();
    let removed = fs::remove_dir_all(dir);
    match (status.exit_code, removed) {
        (0, Ok(())) => Ok(()),
        (0, Err(error)) => Err(format!("what was mounted stayed visible: {error}")),
        (code, _) => Err(format!("a first try ended with {code}")),
    }
}

impl Launch {
    /// A container of its own: builds the skeleton of its root.
    pub(super) fn container(
        command: &Command,
        isolation: &Isolation,
        root: &RootSpec<'_>,
        streams: Streams,
    ) -> io::Result<Self> {
        let Isolation::Namespaces { user } = isolation else {
            return Self::plan(command, Namespaces::Shared, command.identity.filter(|_| is_root()), streams);
        };
        let mounts = root::build(root.dir, root.host, root.binds, root.read_only)?;
        root::make_working_dir(root.dir, root.binds, &command.working_dir);
        let namespaces = Namespaces::New {
            user: user.then(|| IdMap::for_identity(command.identity)).transpose()?,
            hostname: c_text(OsStr::new(root.hostname))?,
            root: c_path(root.dir)?,
            mounts,
        };
        Self::plan(command, namespaces, command.identity.filter(|_| !user), streams)
    }

    /// A command beside the running process `pid`, which cannot end meanwhile.
    pub(super) fn beside(command: &Command, isolation: &Isolation, pid: i32, streams: Streams) -> io::Result<Self> {
        let (namespaces, identity) = match isolation {
            Isolation::Plain { .. } => (Namespaces::Shared, command.identity.filter(|_| is_root())),
            Isolation::Namespaces { user } => {
                let kinds: &[&str] = if *user { &["user", "pid", "uts", "mnt"] } else { &["pid", "uts", "mnt"] };
                let open = |kind: &&str| File::open(format!("/proc/{pid}/ns/{kind}")).map(OwnedFd::from);
                (
                    Namespaces::Join(kinds.iter().map(open).collect::<io::Result<_>>()?),
                    command.identity.filter(|_| !user),
                )
            }
        };
        Self::plan(command, namespaces, identity, streams)
    }

    fn plan(
        command: &Command,
        namespaces: Namespaces,
        identity: Option<(u32, u32)>,
        streams: Streams,
    ) -> io::Result<Self> {
        let text = |text: &str| c_text(OsStr::new(text));
        let variables = command.env.iter().map(|var| text(&format!("{}={}", var.name, var.value)));
        let plan = Plan {
            namespaces,
            identity,
            working_dir: c_path(&command.working_dir)?,
            programs: command.programs().iter().map(|path| c_path(path)).collect::<io::Result<_>>()?,
            argv: command.argv.iter().map(|word| text(word)).collect::<io::Result<_>>()?,
            env: variables.collect::<io::Result<Vec<CString>>>()?,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let program = command.argv.first().cloned().unwrap_or_default();
        Ok(Self { plan, program, working_dir: command.working_dir.clone() })
    }

    /// Starts it; the calling thread has to outlive it.
    pub(super) fn start(self) -> Result<Spawned, LaunchError> {
        spawn(&self.plan).map_err(|error| match error.stage {
            Stage::Exec => LaunchError::NotExecutable { program: self.program, source: error.source },
            Stage::WorkingDir => LaunchError::WorkingDir { path: self.working_dir, source: error.source },
            _ => LaunchError::Surroundings { message: self.describe(&error) },
        })
    }

    fn describe(&self, error: &SpawnError) -> String {
        let what = match (error.stage, &self.plan.namespaces) {
            (Stage::Mount(index), Namespaces::New { mounts, .. }) => mounts.get(index).map(describe_mount),
            _ => None,
        };
        let what = what.unwrap_or_else(|| describe_stage(error.stage).to_owned());
        format!("{what}: {}", error.source)
    }
}

fn describe_stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Clone => "making a process",
        Stage::JoinNamespace => "joining the container's namespaces",
        Stage::UserNamespace => "making a user namespace",
        Stage::PrivateMounts => "making a mount namespace",
        Stage::Mount(_) => "mounting",
        Stage::PivotRoot => "changing the root",
        Stage::Hostname => "setting the host name",
        Stage::Streams => "connecting the standard streams",
        Stage::Identity => "changing the user",
        Stage::WorkingDir => "entering the working directory",
        Stage::Exec => "executing the program",
    }
}

fn describe_mount(step: &MountStep) -> String {
    match step {
        MountStep::Bind { source, .. } => format!("mounting {}", source.to_string_lossy()),
        MountStep::ReadOnly { target, .. } => format!("making {} read-only", target.to_string_lossy()),
        MountStep::Proc { .. } => "mounting /proc".to_owned(),
    }
}

impl IdMap {
    /// Inside one is who one asked to be (root by default), outside one stays who one is.
    fn for_identity(identity: Option<(u32, u32)>) -> io::Result<Self> {
        let (user, group) = identity.unwrap_or((0, 0));
        // SAFETY: these calls cannot fail and touch no memory.
        let (own_user, own_group) = unsafe { (libc::geteuid(), libc::getegid()) };
        Ok(Self {
            uid: CString::new(format!("{user} {own_user} 1"))?,
            gid: CString::new(format!("{group} {own_group} 1"))?,
        })
    }
}

fn is_root() -> bool {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::geteuid() == 0 }
}

/// The file that is bound to the termination message's path: writable by whoever the container runs as.
pub(super) fn message_file(path: &Path) -> io::Result<()> {
    File::create(path)?.set_permissions(fs::Permissions::from_mode(0o666))
}
