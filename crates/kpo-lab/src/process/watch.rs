//! A child's output and its end, watched by one thread that does nothing else.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::log::Stream;

/// How long to wait before looking again for the end of a child where the kernel does not tell, in milliseconds.
const LOOK_AGAIN: i32 = 20;

/// Bytes read from a pipe at once: what a pipe holds.
const BLOCK: usize = 64 << 10;

/// Reads after a child's end, at most: what pipes hold, many times over.
const REST: usize = 64;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) exit_code: i32,
    pub(super) signal: Option<i32>,
}

/// A child: its PID until it has been waited for (afterwards that may be anybody's), then how it ended.
#[derive(Debug, Default)]
pub(super) struct Pid(Mutex<Child>);

#[derive(Clone, Copy, Debug, Default)]
enum Child {
    #[default]
    NotYet,
    Running(i32),
    Ended(Status),
}

impl Pid {
    pub(super) fn set(&self, pid: i32) {
        *self.lock() = Child::Running(pid);
    }

    /// Does something with a child that cannot vanish meanwhile; None if it does not run.
    pub(super) fn with<T>(&self, action: impl FnOnce(i32) -> T) -> Option<T> {
        match *self.lock() {
            Child::Running(pid) => Some(action(pid)),
            Child::NotYet | Child::Ended(_) => None,
        }
    }

    /// Asks the child to end.
    pub(super) fn terminate(&self) {
        self.with(|pid| send(pid, libc::SIGTERM));
    }

    /// Kills the child and its process group; in a PID namespace of its own that is everything.
    pub(super) fn kill(&self) {
        self.with(|pid| {
            send(-pid, libc::SIGKILL);
            send(pid, libc::SIGKILL);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the child to end, holding everybody else up.
    #[cfg(target_os = "linux")]
    pub(super) fn wait(&self) -> Status {
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            poll([-1; 3], LOOK_AGAIN);
        }
    }

    /// How the child ended, if it has: it is waited for. What it left behind in its process group is killed first, while
    /// the PID still is the group's name.
    pub(super) fn try_wait(&self) -> Option<Status> {
        let mut child = self.lock();
        let pid = match *child {
            Child::NotYet => return None,
            Child::Ended(status) => return Some(status),
            Child::Running(pid) => pid,
        };
        if !has_ended(pid) {
            return None;
        }
        let mut status = 0;
        send(-pid, libc::SIGKILL);
        // SAFETY: a child that nobody else waits for; `status` outlives the call.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        let unknown = Status { exit_code: 255, signal: None };
        let status = if waited == pid { Status::from_wait(status) } else { unknown };
        *child = Child::Ended(status);
        Some(status)
    }
}

/// Sends a signal to a child that has not been waited for, or, negative, to its process group.
fn send(pid: i32, signal: i32) {
    // SAFETY: plain system call on numbers. An error means that it has ended.
    unsafe { libc::kill(pid, signal) };
}

/// Whether a child has ended; it stays to be waited for.
fn has_ended(pid: i32) -> bool {
    // SAFETY: a zeroed `siginfo_t` is valid; the kernel fills it in. With WNOHANG and nothing to tell its PID stays 0.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // An error is a child that is not ours to wait for: it has ended as far as can be known.
        libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, flags) != 0 || info.si_pid() != 0
    }
}

impl Status {
    fn from_wait(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            return Self { exit_code: 128 + signal, signal: Some(signal) };
        }
        Self { exit_code: libc::WEXITSTATUS(status), signal: None }
    }
}

/// A child's two output pipes and its end.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) pidfd: Option<OwnedFd>,
}

/// What the watcher is told; both may take their time: the child then waits on its pipe.
pub(super) trait Watcher {
    /// Some output.
    fn output(&mut self, stream: Stream, bytes: &[u8]);

    /// Looks around, at least this often in milliseconds; None if there is nothing to look at.
    fn interval(&self) -> Option<i32>;

    /// Called at the interval.
    fn look(&mut self);
}

impl Watch {
    /// Runs until the child has ended and all that it wrote has been read. What others wrote to its pipes after its end
    /// is not waited for.
    pub(super) fn run(self, pid: &Pid, watcher: &mut impl Watcher) -> Status {
        let mut pipes =
            [(Stream::Stdout, Some(File::from(self.stdout))), (Stream::Stderr, Some(File::from(self.stderr)))];
        let mut buffer = vec![0; BLOCK];
        let wait = match (watcher.interval(), &self.pidfd) {
            (Some(interval), _) => interval,
            (None, None) => LOOK_AGAIN,
            (None, Some(_)) => -1,
        };
        loop {
            if let Some(status) = pid.try_wait() {
                // Only what is there, and no more than pipes hold: a descendant that escaped may write for ever.
                for _ in 0..REST {
                    if !read_ready(&mut pipes, None, 0, &mut buffer, watcher) {
                        break;
                    }
                }
                return status;
            }
            read_ready(&mut pipes, self.pidfd.as_ref(), wait, &mut buffer, watcher);
            watcher.look();
        }
    }
}

type Pipes = [(Stream, Option<File>); 2];

/// Waits for something to read or for the end, and reads once from each pipe that has something. Whether it read.
fn read_ready(
    pipes: &mut Pipes,
    end: Option<&OwnedFd>,
    wait: i32,
    buffer: &mut [u8],
    watcher: &mut impl Watcher,
) -> bool {
    let number = |file: Option<&File>| file.map_or(-1, AsRawFd::as_raw_fd);
    let numbers = [number(pipes[0].1.as_ref()), number(pipes[1].1.as_ref()), end.map_or(-1, AsRawFd::as_raw_fd)];
    let ready = poll(numbers, wait);
    let mut read = false;
    for ((stream, pipe), _) in pipes.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
        let Some(file) = pipe else { continue };
        match file.read(buffer) {
            Ok(0) => *pipe = None,
            Ok(count) => {
                watcher.output(*stream, &buffer[..count]);
                read = true;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => read = true,
            Err(_) => *pipe = None,
        }
    }
    read
}

/// Which of the descriptors have something to read or have ended; those below zero are passed over.
fn poll(numbers: [RawFd; 3], wait: i32) -> [bool; 3] {
    let mut polled = numbers.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: an array of three structs that outlives the call.
    unsafe { libc::poll(polled.as_mut_ptr(), 3, wait) };
    polled.map(|entry| entry.revents != 0)
}

/// Anonymous memory of a process and its descendants in bytes: roughly what a memory cgroup counts.
#[cfg(target_os = "linux")]
pub(super) fn memory(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut pages = statm.split(' ').skip(1).map(|word| word.parse::<u64>().unwrap_or(0));
    let own = pages.next().unwrap_or(0).saturating_sub(pages.next().unwrap_or(0)) * page_size();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<i32> =
        children.flat_map(|line| line.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    own + pids.into_iter().map(memory).sum::<u64>()
}

#[cfg(target_os = "linux")]
fn page_size() -> u64 {
    // SAFETY: plain system call.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Not known here: limits are not watched (LIMITS.md).
#[cfg(not(target_os = "linux"))]
pub(super) fn memory(_pid: i32) -> u64 {
    0
}
