//! From a plan to a running process: `clone`, mounts, `execve`.
//!
//! Everything that the child needs is laid ready before the `clone`: what it does then is in [`super::child`].

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_char, c_int, c_ulong};

use super::child;
use super::launch::pipe;

/// A step of building a container's root, in the order in which the child makes them. Targets are paths on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MountStep {
    /// Shows `source`, with all that is mounted below it, at `target`.
    Bind {
        /// A file or folder.
        source: CString,
        /// A file or folder of the same kind.
        target: CString,
    },
    /// Makes what is mounted at `target` read-only.
    ReadOnly {
        /// Where.
        target: CString,
        /// Flags of the mount that must be kept where a kernel before 5.12 needs all of them.
        keep: c_ulong,
        /// Also what is mounted below.
        recursive: bool,
    },
    /// The PID namespace's own `/proc`; where the kernel refuses it, the machine's.
    Proc {
        /// Where.
        target: CString,
    },
}

/// The namespaces of a process to be.
#[derive(Debug)]
pub(super) enum Namespaces {
    /// The lab's own.
    Shared,
    /// New mount, PID and host name namespaces.
    New {
        /// Inside a new user namespace, with these identities: for who is not root.
        user: Option<IdMap>,
        /// The host name.
        hostname: CString,
        /// The folder that becomes `/`.
        root: CString,
        /// How it is furnished.
        mounts: Vec<MountStep>,
    },
    /// Those of a running container, in the order in which they are joined.
    Join(Vec<OwnedFd>),
}

/// The one user and group that a user namespace knows.
#[derive(Debug)]
pub(super) struct IdMap {
    /// A line of `uid_map`.
    pub(super) uid: CString,
    /// A line of `gid_map`.
    pub(super) gid: CString,
}

/// What is to run, and where.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) namespaces: Namespaces,
    /// User and group to become; None to stay who one is.
    pub(super) identity: Option<(u32, u32)>,
    pub(super) working_dir: CString,
    /// Where the program may be, in the order of `PATH`. Empty: only the namespaces are tried out.
    pub(super) programs: Vec<CString>,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// A child of the lab that has become its program.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) pid: i32,
    /// Readable when the process has ended; None where the kernel knows no such thing.
    pub(super) pidfd: Option<OwnedFd>,
}

/// Where a child failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Clone,
    JoinNamespace,
    UserNamespace,
    PrivateMounts,
    /// The mount step with this index.
    Mount(usize),
    PivotRoot,
    Hostname,
    Streams,
    Identity,
    WorkingDir,
    Exec,
}

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
#[error("{stage:?} failed")]
pub(super) struct SpawnError {
    pub(super) stage: Stage,
    #[source]
    pub(super) source: io::Error,
}

/// A report of the child: stage (or [`PID`]), index or PID, errno.
pub(super) type Report = [i32; 3];

/// The report's stage that announces the PID of a process that joined.
pub(super) const PID: i32 = -1;

/// Starts what is planned. The calling thread must live as long as the process: the kernel kills the process when the
/// thread ends (`PR_SET_PDEATHSIG`), which is what lets nothing outlive the lab.
pub(super) fn spawn(plan: &Plan) -> Result<Spawned, SpawnError> {
    let failed = |stage| move |source| SpawnError { stage, source };
    let prepared = Prepared::new(plan);
    let (mut reports, sink) = pipe().map(|(read, write)| (File::from(read), write)).map_err(failed(Stage::Clone))?;
    let (pid, pidfd) = clone_into(plan, &prepared, sink.as_raw_fd()).map_err(failed(Stage::Clone))?;
    drop(sink);
    let mut spawned = Spawned { pid, pidfd };
    let mut failure = None;
    // To the end: of a child that joins, the failure may come before the PID, from another process.
    while let Some([stage, index, errno]) = read_report(&mut reports).map_err(failed(Stage::Clone))? {
        if stage == PID {
            reap(spawned.pid);
            spawned = Spawned { pid: index, pidfd: pidfd_open(index) };
        } else {
            failure = Some(SpawnError {
                stage: Stage::from_report(stage, index),
                source: io::Error::from_raw_os_error(errno),
            });
        }
    }
    match failure {
        None => Ok(spawned),
        Some(failure) => {
            reap(spawned.pid);
            Err(failure)
        }
    }
}

fn read_report(reports: &mut File) -> io::Result<Option<Report>> {
    let mut bytes = [0; 12];
    match reports.read_exact(&mut bytes) {
        Ok(()) => {
            let word = |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            Ok(Some([word(0), word(4), word(8)]))
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for a child that is about to end.
fn reap(pid: i32) {
    let mut status = 0;
    // SAFETY: plain system call; `status` outlives it.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

fn pidfd_open(pid: i32) -> Option<OwnedFd> {
    // SAFETY: plain system call; a result that is not negative is a descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as RawFd))
    }
}

impl Stage {
    const PLAIN: [Self; 10] = [
        Self::Clone,
        Self::JoinNamespace,
        Self::UserNamespace,
        Self::PrivateMounts,
        Self::PivotRoot,
        Self::Hostname,
        Self::Streams,
        Self::Identity,
        Self::WorkingDir,
        Self::Exec,
    ];
    const MOUNT: i32 = 100;

    pub(super) fn to_report(self) -> (i32, i32) {
        match self {
            Self::Mount(index) => (Self::MOUNT, index as i32),
            // The cast reads a fieldless variant's place in `PLAIN`: without allocation, without a panic.
            plain => (Self::PLAIN.iter().position(|stage| *stage == plain).unwrap_or(0) as i32, 0),
        }
    }

    fn from_report(stage: i32, index: i32) -> Self {
        match stage {
            Self::MOUNT => Self::Mount(index as usize),
            plain => Self::PLAIN.get(plain as usize).copied().unwrap_or(Self::Clone),
        }
    }
}

/// Pointers into a plan, as `execve` wants them.
pub(super) struct Prepared {
    pub(super) argv: Vec<*const c_char>,
    pub(super) env: Vec<*const c_char>,
}

impl Prepared {
    fn new(plan: &Plan) -> Self {
        let pointers = |words: &[CString]| words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
        Self { argv: pointers(&plan.argv), env: pointers(&plan.env) }
    }
}

/// Clones the calling thread; the child never returns.
fn clone_into(plan: &Plan, prepared: &Prepared, sink: RawFd) -> io::Result<(i32, Option<OwnedFd>)> {
    let namespaces = match &plan.namespaces {
        Namespaces::New { user, .. } => {
            let user = if user.is_some() { libc::CLONE_NEWUSER } else { 0 };
            libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | user
        }
        Namespaces::Shared | Namespaces::Join(_) => 0,
    };
    let flags = namespaces | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    // SAFETY: `clone` without CLONE_VM and with a null stack is `fork`: the child has its own copy of memory and stack,
    // and only this thread. The kernel writes the descriptor to `pidfd`, which outlives the call. All signals are blocked
    // meanwhile, so that no handler of the lab runs in the child, where it would write into the lab's own pipes. The child
    // makes async-signal-safe calls only (see `child::run`) and ends in `execve` or `_exit`.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let pid = fork_with(flags, &raw mut pidfd);
        if pid == 0 {
            let (stage, errno) = child::run(plan, prepared, sink);
            let (stage, index) = stage.to_report();
            child::report(sink, [stage, index, errno]);
            libc::_exit(127);
        }
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        if pid < 0 {
            return Err(error);
        }
        Ok((pid as i32, (pidfd >= 0).then(|| OwnedFd::from_raw_fd(pidfd))))
    }
}

/// `clone` as a fork with more: no stack of its own, no thread's state. All arguments in a register's full width, which a
/// variadic call does not see to.
///
/// # Safety
/// What follows in the child has to be async-signal-safe until `execve` or `_exit`. `pidfd` is written to if CLONE_PIDFD is
/// among the flags.
pub(super) unsafe fn fork_with(flags: c_int, pidfd: *mut c_int) -> libc::c_long {
    const NONE: libc::c_long = 0;
    // SAFETY: the caller's.
    unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), NONE, pidfd, NONE, NONE) }
}
