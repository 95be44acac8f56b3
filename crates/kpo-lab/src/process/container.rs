//! A running container and its one thread; a command beside it and its own.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::folder::ContainerFolder;
use super::launch::LaunchError;
use super::platform::Launch;
use super::watch::{Pid, Status, Watch, Watcher, memory};
use crate::log::{ContainerLog, Stream};
use crate::runtime::{
    ContainerId, ContainerSpec, Exit, RuntimeEvent, SessionOutput, TERMINATION_MESSAGE_LIMIT, Waker,
    termination_message,
};
use crate::time::Time;

/// How often the memory of a container with a limit is looked at, in milliseconds.
const MEMORY_INTERVAL: i32 = 20;

/// How often a command without output is asked whether anybody still waits for it, in milliseconds.
const SESSION_INTERVAL: i32 = 100;

/// How long to wait for a peer that reads more slowly than a command writes.
const FULL_INTERVAL: Duration = Duration::from_millis(5);

/// What all threads of a runtime share: events on their way out.
#[derive(Default)]
pub(super) struct Outbox {
    events: Mutex<VecDeque<RuntimeEvent>>,
    waker: Mutex<Option<Waker>>,
}

impl Outbox {
    pub(super) fn set_waker(&self, waker: Waker) {
        *lock(&self.waker) = Some(waker);
    }

    pub(super) fn take(&self) -> Vec<RuntimeEvent> {
        lock(&self.events).drain(..).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.events).is_empty()
    }

    fn push(&self, event: RuntimeEvent) {
        lock(&self.events).push_back(event);
        let waker = lock(&self.waker).clone();
        if let Some(waker) = waker {
            waker();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cluster's clock for a thread: the machine's, shifted to what the cluster's showed at the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClusterClock {
    shift: i64,
}

impl ClusterClock {
    /// A clock that shows `now` now.
    pub(super) fn showing(now: Time) -> Self {
        Self { shift: now.0.saturating_sub(Time::wall_clock().0) }
    }

    pub(super) fn now(self) -> Time {
        Time(Time::wall_clock().0.saturating_add(self.shift))
    }
}

/// What the runtime and a container's thread both hold.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) pid: Pid,
    pub(super) log: Arc<ContainerLog>,
    pub(super) clock: ClusterClock,
    pub(super) exit: OnceLock<Exit>,
    pub(super) exit_code: Arc<OnceLock<i32>>,
    /// Its end is nobody's business any more.
    pub(super) removed: AtomicBool,
    /// The writing end of its standard input, until somebody attaches.
    stdin: Mutex<Option<OwnedFd>>,
}

impl Handle {
    pub(super) fn new(log: Arc<ContainerLog>, clock: ClusterClock, stdin: Option<OwnedFd>) -> Self {
        Self {
            clock,
            pid: Pid::default(),
            log,
            exit: OnceLock::new(),
            exit_code: Arc::default(),
            removed: AtomicBool::new(false),
            stdin: Mutex::new(stdin),
        }
    }

    /// Takes the standard input: only one can have it.
    pub(super) fn take_stdin(&self) -> Option<OwnedFd> {
        lock(&self.stdin).take()
    }
}

/// Everything that a container's thread needs.
pub(super) struct Body {
    pub(super) id: ContainerId,
    pub(super) spec: Arc<ContainerSpec>,
    pub(super) handle: Arc<Handle>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) launch: Launch,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// The file at the termination message's path; None where nothing can be mounted.
    pub(super) message: Option<PathBuf>,
    /// Keeps the container's folder while it runs.
    pub(super) folder: Arc<ContainerFolder>,
}

impl Body {
    /// The thread: starts the process, says whether it runs, watches it to its end and tells that.
    pub(super) fn run(self, reply: &SyncSender<Result<(), LaunchError>>) {
        let spawned = match self.launch.start() {
            Ok(spawned) => spawned,
            Err(error) => {
                self.handle.log.close(self.handle.clock.now());
                drop(self.folder);
                // Whoever asked is waiting for it.
                let _ = reply.send(Err(error));
                return;
            }
        };
        self.handle.pid.set(spawned.pid);
        let _ = reply.send(Ok(()));
        let mut watcher =
            ContainerWatcher { handle: &self.handle, limit: self.spec.memory_limit, out_of_memory: false };
        let watch = Watch { stdout: self.stdout, stderr: self.stderr, pidfd: spawned.pidfd };
        let status = watch.run(&self.handle.pid, &mut watcher);
        let oom_killed = watcher.out_of_memory && status.signal == Some(libc::SIGKILL);
        let exit = exit_of(&self.spec, &self.handle, self.message.as_ref(), status, oom_killed);
        // The folder first: who hears of the end may count on its being gone with the pod.
        drop(self.folder);
        if !self.handle.removed.load(Ordering::Acquire) {
            self.outbox.push(RuntimeEvent::Exited { id: self.id, exit });
        }
    }
}

/// Closes the log and settles how it ended.
fn exit_of(spec: &ContainerSpec, handle: &Handle, message: Option<&PathBuf>, status: Status, oom_killed: bool) -> Exit {
    let at = handle.clock.now();
    handle.exit_code.get_or_init(|| status.exit_code);
    lock(&handle.stdin).take();
    handle.log.close(at);
    let file = message.map(read_message).unwrap_or_default();
    let policy = spec.termination_message_policy;
    let message = termination_message(policy, &file, status.exit_code, &handle.log);
    let exit = Exit { exit_code: status.exit_code, signal: status.signal, at, message, oom_killed };
    handle.exit.get_or_init(|| exit).clone()
}

fn read_message(path: &PathBuf) -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(mut file) = fs::File::open(path) {
        let limit = TERMINATION_MESSAGE_LIMIT as u64;
        let size = file.metadata().map_or(0, |file| file.len());
        // The last bytes. What cannot be read is no message.
        let _ = file.seek(SeekFrom::Start(size.saturating_sub(limit)));
        let _ = file.take(limit).read_to_end(&mut text);
    }
    text
}

struct ContainerWatcher<'a> {
    handle: &'a Handle,
    limit: Option<u64>,
    out_of_memory: bool,
}

impl Watcher for ContainerWatcher<'_> {
    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        self.handle.log.write(self.handle.clock.now(), stream, bytes);
    }

    fn interval(&self) -> Option<i32> {
        self.limit.map(|_| MEMORY_INTERVAL)
    }

    fn look(&mut self) {
        let Some(limit) = self.limit else { return };
        if self.handle.pid.with(memory).is_some_and(|used| used > limit) {
            self.out_of_memory = true;
            self.handle.pid.kill();
        }
    }
}

/// What the runtime and an exec's thread both hold.
#[derive(Debug, Default)]
pub(super) struct ExecHandle {
    pid: Pid,
    abandoned: AtomicBool,
}

impl ExecHandle {
    /// Ends the command; nobody reads what it still says.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.pid.kill();
    }
}

/// Everything that an exec's thread needs.
pub(super) struct ExecBody {
    pub(super) launch: Launch,
    pub(super) handle: Arc<ExecHandle>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) output: mpsc::Sender<SessionOutput>,
    /// Which streams were asked for; the other one is read and thrown away.
    pub(super) wanted: (bool, bool),
}

impl ExecBody {
    /// The thread: as a container's, with its output going to the session.
    pub(super) fn run(self, reply: &SyncSender<Result<(), LaunchError>>) {
        let spawned = match self.launch.start() {
            Ok(spawned) => spawned,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let handle = &*self.handle;
        handle.pid.set(spawned.pid);
        let _ = reply.send(Ok(()));
        let mut watcher = SessionWatcher { handle, output: &self.output, wanted: self.wanted };
        let watch = Watch { stdout: self.stdout, stderr: self.stderr, pidfd: spawned.pidfd };
        let status = watch.run(&handle.pid, &mut watcher);
        watcher.send(SessionOutput::Exited(status.exit_code));
    }
}

struct SessionWatcher<'a> {
    handle: &'a ExecHandle,
    output: &'a mpsc::Sender<SessionOutput>,
    wanted: (bool, bool),
}

impl SessionWatcher<'_> {
    /// Sends a piece as soon as there is room; gives up where nobody will ever read it. A command that has ended is
    /// waited for meanwhile: its container cannot end before (the kernel holds a PID namespace's first process until
    /// all others are waited for), and must not depend on a slow peer.
    fn send(&self, mut piece: SessionOutput) {
        while let Err(TrySendError::Full(back)) = self.output.try_send(piece) {
            if self.handle.abandoned.load(Ordering::Acquire) {
                return;
            }
            self.handle.pid.try_wait();
            std::thread::sleep(FULL_INTERVAL);
            piece = back;
        }
    }
}

impl Watcher for SessionWatcher<'_> {
    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        match stream {
            Stream::Stdout if self.wanted.0 => self.send(SessionOutput::Stdout(bytes)),
            Stream::Stderr if self.wanted.1 => self.send(SessionOutput::Stderr(bytes)),
            _ => {}
        }
    }

    fn interval(&self) -> Option<i32> {
        Some(SESSION_INTERVAL)
    }

    fn look(&mut self) {
        if self.output.is_closed() {
            self.handle.pid.kill();
        }
    }
}

/// Feeds a standard input until its sender or its reader is gone.
pub(super) fn feed(pipe: OwnedFd, mut input: mpsc::Receiver<Bytes>) {
    let mut pipe = File::from(pipe);
    while let Some(bytes) = input.blocking_recv() {
        if pipe.write_all(&bytes).is_err() {
            return;
        }
    }
}
