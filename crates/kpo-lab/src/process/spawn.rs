//! From a plan to a running process: `clone`, mounts, `execve`.
//!
//! Between `clone` and `execve` the child is a copy of a process with many threads: another thread may hold the
//! allocator's lock, for ever. So everything that the child needs lies in a [`Prepared`] before the `clone`, and the child
//! makes system calls only.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::launch::pipe;
use libc::{c_char, c_int, c_ulong, c_void};

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
type Report = [i32; 3];

/// The report's stage that announces the PID of a process that joined.
const PID: i32 = -1;

/// Starts what is planned. The calling thread must live as long as the process: the kernel kills the process when the
/// thread ends (`PR_SET_PDEATHSIG`), which is what lets nothing outlive the lab.
pub(super) fn spawn(plan: &Plan) -> Result<Spawned, SpawnError> {
    let failed = |stage| move |source| SpawnError { stage, source };
    let prepared = Prepared::new(plan);
    let (mut reports, sink) = pipe().map(|(read, write)| (File::from(read), write)).map_err(failed(Stage::Clone))?;
    let (pid, pidfd) = clone_into(plan, &prepared, sink.as_raw_fd()).map_err(failed(Stage::Clone))?;
    drop(sink);
    let mut spawned = Spawned { pid, pidfd };
    while let Some([stage, index, errno]) = read_report(&mut reports).map_err(failed(Stage::Clone))? {
        if stage == PID {
            reap(spawned.pid);
            spawned = Spawned { pid: index, pidfd: pidfd_open(index) };
        } else {
            reap(spawned.pid);
            let stage = Stage::from_report(stage, index);
            return Err(SpawnError { stage, source: io::Error::from_raw_os_error(errno) });
        }
    }
    Ok(spawned)
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

    fn to_report(self) -> (i32, i32) {
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
struct Prepared {
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
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
    // makes async-signal-safe calls only (see `run`) and ends in `execve` or `_exit`.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let pid = libc::syscall(libc::SYS_clone, c_long_of(flags), 0, &raw mut pidfd, 0, 0);
        if pid == 0 {
            let (stage, errno) = run(plan, prepared, sink);
            let (stage, index) = stage.to_report();
            report(sink, [stage, index, errno]);
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

fn c_long_of(flags: c_int) -> libc::c_long {
    libc::c_long::from(flags)
}

/// Writes a report; 12 bytes go into a pipe at once.
///
/// # Safety
/// Async-signal-safe: one `write` from the stack.
unsafe fn report(sink: RawFd, report: Report) {
    // SAFETY: the buffer is 12 bytes long and lives on this stack.
    unsafe { libc::write(sink, report.as_ptr().cast(), 12) };
}

type Failed = (Stage, c_int);

/// The child's life: returns only with what failed.
///
/// # Safety
/// To be called in a child after `clone`. It neither allocates nor locks nor panics: only system calls on memory that was
/// prepared before.
unsafe fn run(plan: &Plan, prepared: &Prepared, sink: RawFd) -> Failed {
    // SAFETY: each is a child's step with the same contract as this function.
    let result = unsafe {
        enter(plan, sink)
            .and_then(|()| streams(plan))
            .and_then(|()| identity(plan))
            .and_then(|()| last_settings(plan, sink))
    };
    if let Err(failed) = result {
        return failed;
    }
    if plan.programs.is_empty() {
        // SAFETY: ends the child; nothing of the lab's is run at its exit.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: argv and env end with null, and their strings live in the plan.
    unsafe { exec(plan, prepared) }
}

/// Turns a system call's result into the stage's failure.
fn check(stage: Stage, result: libc::c_long) -> Result<(), Failed> {
    if result < 0 { Err((stage, last_errno())) } else { Ok(()) }
}

fn last_errno() -> c_int {
    // SAFETY: errno's address is valid in every thread; the child has its own copy.
    unsafe { *libc::__errno_location() }
}

/// Enters or furnishes the namespaces.
///
/// # Safety
/// As [`run`].
unsafe fn enter(plan: &Plan, sink: RawFd) -> Result<(), Failed> {
    // SAFETY: system calls on prepared memory.
    unsafe {
        match &plan.namespaces {
            Namespaces::Shared => {}
            Namespaces::Join(files) => join(files, sink)?,
            Namespaces::New { user, hostname, root, mounts } => {
                if let Some(map) = user {
                    map_user(map)?;
                }
                furnish(mounts)?;
                pivot(root)?;
                let name = hostname.as_bytes();
                check(Stage::Hostname, libc::sethostname(name.as_ptr().cast(), name.len()).into())?;
            }
        }
        // Fails only for a leader, which a fresh child is not.
        libc::setsid();
    }
    Ok(())
}

/// Joins namespaces. A PID namespace only holds for children: so one is made, as a child of the lab, and this one ends.
///
/// # Safety
/// As [`run`].
unsafe fn join(files: &[OwnedFd], sink: RawFd) -> Result<(), Failed> {
    // SAFETY: system calls on open descriptors; the second clone is a fork like the first.
    unsafe {
        for file in files {
            check(Stage::JoinNamespace, libc::setns(file.as_raw_fd(), 0).into())?;
        }
        let flags = libc::CLONE_PARENT | libc::SIGCHLD;
        let pid = libc::syscall(libc::SYS_clone, c_long_of(flags), 0, 0, 0, 0);
        check(Stage::JoinNamespace, pid)?;
        if pid > 0 {
            report(sink, [PID, pid as i32, 0]);
            libc::_exit(0);
        }
    }
    Ok(())
}

/// Makes the one user and group known: who has none is nobody, and may not even mount.
///
/// # Safety
/// As [`run`].
unsafe fn map_user(map: &IdMap) -> Result<(), Failed> {
    // SAFETY: system calls on prepared memory.
    unsafe {
        // Absent before Linux 3.19.
        let _ = put(c"/proc/self/setgroups", c"deny");
        put(c"/proc/self/uid_map", &map.uid)?;
        put(c"/proc/self/gid_map", &map.gid)
    }
}

/// Writes a text into a file of the kernel.
///
/// # Safety
/// As [`run`].
unsafe fn put(path: &CStr, text: &CStr) -> Result<(), Failed> {
    // SAFETY: system calls on prepared memory.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(Stage::UserNamespace, file.into())?;
        let text = text.to_bytes();
        let written = libc::write(file, text.as_ptr().cast(), text.len());
        let result = check(Stage::UserNamespace, written as libc::c_long);
        libc::close(file);
        result
    }
}

/// Makes the mounts.
///
/// # Safety
/// As [`run`].
unsafe fn furnish(mounts: &[MountStep]) -> Result<(), Failed> {
    // SAFETY: system calls on prepared memory.
    unsafe {
        // Nothing that is mounted here may be seen outside.
        let private = mount(ptr::null(), c"/".as_ptr(), ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
        check(Stage::PrivateMounts, private)?;
        for (index, step) in mounts.iter().enumerate() {
            check(Stage::Mount(index), make(step))?;
        }
    }
    Ok(())
}

/// # Safety
/// As [`run`]; the pointers are strings or null.
unsafe fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong) -> libc::c_long {
    // SAFETY: a system call on strings.
    unsafe { libc::mount(source, target, kind, flags, ptr::null()).into() }
}

/// # Safety
/// As [`run`].
unsafe fn make(step: &MountStep) -> libc::c_long {
    let bind = libc::MS_BIND | libc::MS_REC;
    // SAFETY: system calls on prepared memory.
    unsafe {
        match step {
            MountStep::Bind { source, target } => mount(source.as_ptr(), target.as_ptr(), ptr::null(), bind),
            MountStep::ReadOnly { target, keep, recursive } => read_only(target, *keep, *recursive),
            MountStep::Proc { target } => {
                let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
                match mount(c"proc".as_ptr(), target.as_ptr(), c"proc".as_ptr(), flags) {
                    0 => 0,
                    _ => mount(c"/proc".as_ptr(), target.as_ptr(), ptr::null(), bind),
                }
            }
        }
    }
}

/// Read-only with all below it where the kernel can (5.12), else the mount itself.
///
/// # Safety
/// As [`run`].
unsafe fn read_only(target: &CStr, keep: c_ulong, recursive: bool) -> libc::c_long {
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `attributes` is the kernel's struct of the size given; the rest are strings.
    unsafe {
        let size = size_of::<libc::mount_attr>();
        let attributes = (&raw const attributes).cast::<c_void>();
        match libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, target.as_ptr(), flags, attributes, size) {
            0 => 0,
            _ => {
                let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | keep;
                mount(ptr::null(), target.as_ptr(), ptr::null(), flags)
            }
        }
    }
}

/// Makes `root` the root, and lets go of the old one.
///
/// # Safety
/// As [`run`].
unsafe fn pivot(root: &CStr) -> Result<(), Failed> {
    let here = c".".as_ptr();
    // SAFETY: system calls on strings. `pivot_root(".", ".")` puts the old root on top of the new one, where it is
    // unmounted: pivot_root(2), "no put_old needed".
    unsafe {
        check(Stage::PivotRoot, libc::chdir(root.as_ptr()).into())?;
        check(Stage::PivotRoot, libc::syscall(libc::SYS_pivot_root, here, here))?;
        check(Stage::PivotRoot, libc::umount2(here, libc::MNT_DETACH).into())?;
        check(Stage::PivotRoot, libc::chdir(c"/".as_ptr()).into())
    }
}

/// Standard input, output and error.
///
/// # Safety
/// As [`run`].
unsafe fn streams(plan: &Plan) -> Result<(), Failed> {
    for (file, number) in [(&plan.stdin, 0), (&plan.stdout, 1), (&plan.stderr, 2)] {
        // SAFETY: open descriptors, none of them below 3 (see `pipe`).
        check(Stage::Streams, unsafe { libc::dup2(file.as_raw_fd(), number) }.into())?;
    }
    Ok(())
}

/// User and group. By system call: glibc's functions would ask the lab's other threads, which the child has not.
///
/// # Safety
/// As [`run`].
unsafe fn identity(plan: &Plan) -> Result<(), Failed> {
    let Some((user, group)) = plan.identity else { return Ok(()) };
    // SAFETY: system calls on numbers.
    unsafe {
        // So that `/dev/stdout` can be opened by who is about to lose root (runc: fixStdioPermissions).
        libc::fchown(1, user, group);
        libc::fchown(2, user, group);
        check(Stage::Identity, libc::syscall(libc::SYS_setgroups, 0, ptr::null::<u32>()))?;
        check(Stage::Identity, libc::syscall(libc::SYS_setgid, group))?;
        check(Stage::Identity, libc::syscall(libc::SYS_setuid, user))
    }
}

/// What a fresh process has: no open files, no handlers, no mask; and it dies with the lab.
///
/// # Safety
/// As [`run`].
unsafe fn last_settings(plan: &Plan, sink: RawFd) -> Result<(), Failed> {
    // SAFETY: system calls on prepared memory and this stack.
    unsafe {
        // Who has changed his identity has to ask again, so it comes after that.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let mut reader = libc::pollfd { fd: sink, events: 0, revents: 0 };
        if libc::poll(&raw mut reader, 1, 0) == 1 && reader.revents & libc::POLLERR != 0 {
            // The lab died before it could be asked.
            libc::_exit(127);
        }
        // Before Linux 5.11 there is no such flag: then those remain that somebody opened without CLOEXEC.
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        libc::umask(0o022);
        reset_signals();
        check(Stage::WorkingDir, libc::chdir(plan.working_dir.as_ptr()).into())
    }
}

/// # Safety
/// As [`run`].
unsafe fn reset_signals() {
    // SAFETY: zeroed structs are valid: the default handler, no flags, an empty mask.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            // Those that cannot be changed say so.
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Tries the places where the program may be. A place where it may not be executed is remembered, as `execvp` does.
///
/// # Safety
/// As [`run`]; argv and env end with null.
unsafe fn exec(plan: &Plan, prepared: &Prepared) -> Failed {
    let mut errno = libc::ENOENT;
    for program in &plan.programs {
        // SAFETY: strings, and arrays of strings that end with null.
        unsafe { libc::execve(program.as_ptr(), prepared.argv.as_ptr(), prepared.env.as_ptr()) };
        match last_errno() {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => errno = libc::EACCES,
            other => return (Stage::Exec, other),
        }
    }
    (Stage::Exec, errno)
}
