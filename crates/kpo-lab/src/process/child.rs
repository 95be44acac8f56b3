//! The child between `clone` and `execve`: a copy of a process with many threads, of which it has only its own.
//!
//! Another thread may have held the allocator's lock at the `clone`: in the child it is held for ever. So nothing here
//! allocates, locks or panics: only system calls on what [`super::spawn`] laid ready.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_char, c_int, c_ulong, c_void};

use super::spawn::{IdMap, MountStep, Namespaces, PID, Plan, Prepared, Report, Stage, fork_with};

/// Writes a report; 12 bytes go into a pipe at once.
///
/// # Safety
/// Async-signal-safe: one `write` from the stack.
pub(super) unsafe fn report(sink: RawFd, report: Report) {
    // SAFETY: the buffer is 12 bytes long and lives on this stack.
    unsafe { libc::write(sink, report.as_ptr().cast(), 12) };
}

/// The stage that failed, and errno.
type Failed = (Stage, c_int);

/// The child's life: returns only with what failed.
///
/// # Safety
/// To be called in a child after `clone`. It neither allocates nor locks nor panics: only system calls on memory that was
/// prepared before.
pub(super) unsafe fn run(plan: &Plan, prepared: &Prepared, sink: RawFd) -> Failed {
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
        let pid = fork_with(flags, ptr::null_mut());
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
