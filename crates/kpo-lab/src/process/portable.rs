//! Starting containers where there are no namespaces: plain processes in process groups of their own.

use std::io;
use std::path::{Path, PathBuf};
use std::process;

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;

use super::launch::{Command, Isolation, LaunchError, RootSpec, Streams};

/// A child of the lab that runs its program.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) pid: i32,
    /// None: the kernel has no descriptor for the end of a process.
    pub(super) pidfd: Option<OwnedFd>,
}

/// What is ready to be started.
#[derive(Debug)]
pub(super) struct Launch {
    command: process::Command,
    program: String,
    working_dir: PathBuf,
}

impl Isolation {
    /// There is none.
    pub(super) fn probe(_folder: &Path) -> Self {
        Self::Plain { reason: "namespaces are Linux's".to_owned() }
    }
}

impl Launch {
    pub(super) fn container(
        command: &Command,
        _isolation: &Isolation,
        _root: &RootSpec<'_>,
        streams: Streams,
    ) -> io::Result<Self> {
        Ok(Self::new(command, streams))
    }

    pub(super) fn beside(command: &Command, _isolation: &Isolation, _pid: i32, streams: Streams) -> io::Result<Self> {
        Ok(Self::new(command, streams))
    }

    fn new(command: &Command, streams: Streams) -> Self {
        let program = command.argv.first().cloned().unwrap_or_default();
        let mut process = process::Command::new(&program);
        process
            .args(command.argv.iter().skip(1))
            .env_clear()
            .envs(command.env.iter().map(|var| (&var.name, &var.value)))
            .current_dir(&command.working_dir)
            .stdin(streams.stdin)
            .stdout(streams.stdout)
            .stderr(streams.stderr)
            .process_group(0);
        Self { command: process, program, working_dir: command.working_dir.clone() }
    }

    pub(super) fn start(mut self) -> Result<Spawned, LaunchError> {
        match self.command.spawn() {
            // The child is waited for by its PID.
            Ok(child) => Ok(Spawned { pid: child.id() as i32, pidfd: None }),
            Err(source) if !self.working_dir.is_dir() => {
                Err(LaunchError::WorkingDir { path: self.working_dir, source })
            }
            Err(source) => Err(LaunchError::NotExecutable { program: self.program, source }),
        }
    }
}

/// There is nowhere to mount it.
pub(super) fn message_file(_path: &Path) -> io::Result<()> {
    Ok(())
}
