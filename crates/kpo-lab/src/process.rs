//! Containers as processes of this machine.
//!
//! On Linux each container gets mount, PID and host name namespaces of its own (inside a user namespace where the lab is
//! not run by root): a root made of folders of its own and of the machine's programs, read-only; its volumes at their mount
//! paths; and no process of it outlives its first one. The kernel kills that one when the lab goes away, however it goes.
//! Where the kernel refuses namespaces, and on macOS, containers are plain processes; pods with volumes are then refused,
//! with the reason ([`Isolation`]).
//!
//! As in a real container the program is process 1 of its namespace: SIGTERM without a handler does nothing to it.

#[cfg(target_os = "linux")]
mod child;
mod container;
mod folder;
mod launch;
#[cfg(target_os = "linux")]
#[path = "process/linux.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "process/portable.rs"]
mod platform;
#[cfg(target_os = "linux")]
mod root;
#[cfg(target_os = "linux")]
mod spawn;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as channel};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use self::container::{Body, ClusterClock, ExecBody, ExecHandle, Handle, Outbox, feed};
use self::folder::{ContainerFolder, Janitor, LabFolder, PodFolder, rooted, usage, within};
use self::launch::{Bind, Command, LaunchError, RootSpec, Streams, null, pipe};
use self::platform::{Launch, message_file};
use crate::log::{ContainerLog, Rotation};
use crate::runtime::{
    ContainerId, ContainerSpec, ContainerState, ExecRequest, Mount, PodSetup, PrepareError, Runtime, RuntimeEvent,
    Session, SessionError, Signal, StartError, Waker, attach,
};
use crate::time::Time;

pub use self::launch::Isolation;

/// Pieces that may wait in a session.
const SESSION_BUFFER: usize = 16;

/// How a process runtime is set up.
#[derive(Clone, Debug, Default)]
pub struct ProcessOptions {
    /// Where its folder is made; None for the system's temporary folder.
    pub parent: Option<PathBuf>,
    /// Further files and folders of the machine that containers see, read-only, at the same paths. Those with programs,
    /// libraries and settings (`/usr`, `/etc`, …) are there anyway.
    pub host_paths: Vec<PathBuf>,
    /// Rotation of logs.
    pub rotation: Rotation,
}

/// A runtime whose containers are local processes. Dropping it ends them and removes all that it made.
pub struct ProcessRuntime {
    /// Before the folder, which goes when the last of its users has gone.
    pods: BTreeMap<String, Arc<PodFolder>>,
    containers: BTreeMap<ContainerId, Container>,
    execs: Vec<(Arc<ExecHandle>, JoinHandle<()>)>,
    /// Threads of containers that were removed while they ran.
    ending: Vec<JoinHandle<()>>,
    outbox: Arc<Outbox>,
    isolation: Isolation,
    options: ProcessOptions,
    started: u64,
    janitor: Janitor,
    folder: Arc<LabFolder>,
}

struct Container {
    spec: Arc<ContainerSpec>,
    started: Time,
    handle: Arc<Handle>,
    thread: JoinHandle<()>,
    /// Keeps its folder until it is removed.
    folder: Arc<ContainerFolder>,
}

impl std::fmt::Debug for ProcessRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessRuntime")
            .field("isolation", &self.isolation)
            .field("containers", &self.containers.len())
            .finish_non_exhaustive()
    }
}

impl ProcessRuntime {
    /// Sweeps what dead labs left behind, makes a folder, and finds out what the kernel allows.
    ///
    /// # Errors
    /// If no folder can be made.
    pub fn new(options: ProcessOptions) -> io::Result<Self> {
        let parent = options.parent.clone().unwrap_or_else(std::env::temp_dir);
        let folder = LabFolder::create(&parent)?;
        Ok(Self {
            pods: BTreeMap::new(),
            containers: BTreeMap::new(),
            execs: Vec::new(),
            ending: Vec::new(),
            outbox: Arc::default(),
            isolation: Isolation::probe(folder.path()),
            options,
            started: 0,
            janitor: Janitor::new()?,
            folder,
        })
    }

    /// What the kernel lets it do.
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// The folder in which everything lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// As if the kernel allowed nothing: what containers are on other systems.
    pub fn without_isolation(mut self, reason: &str) -> Self {
        self.isolation = Isolation::Plain { reason: reason.to_owned() };
        self
    }

    /// A pod's folder, made if there is none.
    fn pod(&mut self, uid: &str) -> io::Result<Arc<PodFolder>> {
        if let Some(folder) = self.pods.get(uid) {
            return Ok(Arc::clone(folder));
        }
        self.started += 1;
        let folder = PodFolder::create(&self.folder, self.started)?;
        self.pods.insert(uid.to_owned(), Arc::clone(&folder));
        Ok(folder)
    }

    /// Makes everything that a container needs, short of its process.
    fn body(&mut self, now: Time, id: &ContainerId, spec: &Arc<ContainerSpec>) -> Result<Body, String> {
        let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        let pod = self.pod(&spec.pod.uid).map_err(failed("making the pod's folder"))?;
        let folder = pod.container(&spec.name, self.started).map_err(failed("making the container's folder"))?;
        let dir = folder.path();
        let log = ContainerLog::in_file(&dir.join("0.log"), self.options.rotation).map_err(failed("making the log"))?;
        let mounting = matches!(self.isolation, Isolation::Namespaces { .. });
        let message = mounting.then(|| dir.join("termination-log"));
        let mut binds = if mounting { binds(&pod, spec)? } else { Vec::new() };
        if let Some(file) = &message {
            message_file(file).map_err(failed("making the termination message's file"))?;
            let path = rooted(Path::new(&spec.termination_message_path));
            binds.push(Bind { path, source: file.clone(), read_only: false });
        }
        let (streams, stdout, stderr, stdin) = streams(spec.stdin).map_err(failed("making pipes"))?;
        let launch = self.launch(spec, dir, &binds, streams).map_err(failed("making the container's root"))?;
        Ok(Body {
            id: id.clone(),
            spec: Arc::clone(spec),
            handle: Arc::new(Handle::new(log, ClusterClock::showing(now), stdin)),
            folder,
            outbox: Arc::clone(&self.outbox),
            launch,
            stdout,
            stderr,
            message,
        })
    }

    fn launch(&self, spec: &ContainerSpec, dir: &Path, binds: &[Bind], streams: Streams) -> io::Result<Launch> {
        let (root, home) = (dir.join("root"), dir.join("home"));
        std::fs::create_dir(&root)?;
        std::fs::create_dir(&home)?;
        let plain = matches!(self.isolation, Isolation::Plain { .. });
        let command = Command::of(spec, plain.then_some(home.as_path()));
        let root = RootSpec {
            dir: &root,
            host: &self.options.host_paths,
            binds,
            read_only: spec.read_only_root,
            hostname: &spec.pod.name,
        };
        Launch::container(&command, &self.isolation, &root, streams)
    }

    fn running(&self, id: &ContainerId) -> Result<&Container, SessionError> {
        let container = self.containers.get(id).ok_or_else(|| SessionError::NotFound { id: id.clone() })?;
        if container.handle.exit.get().is_some() { Err(SessionError::NotRunning) } else { Ok(container) }
    }

    fn exec_body(&self, container: &Container, request: &ExecRequest) -> io::Result<Option<(ExecBody, Session)>> {
        let mut command = self.command_of(container);
        command.argv.clone_from(&request.command);
        let (streams, stdout, stderr, input) = streams(request.stdin)?;
        let launch = container.handle.pid.with(|pid| Launch::beside(&command, &self.isolation, pid, streams));
        let Some(launch) = launch.transpose()? else { return Ok(None) };
        let (sender, output) = mpsc::channel(SESSION_BUFFER);
        let stdin = input.map(feeder).transpose()?;
        let body = ExecBody {
            launch,
            handle: Arc::default(),
            stdout,
            stderr,
            output: sender,
            wanted: (request.stdout, request.stderr),
        };
        Ok(Some((body, Session { stdin, output })))
    }

    fn command_of(&self, container: &Container) -> Command {
        let plain = matches!(self.isolation, Isolation::Plain { .. });
        Command::of(&container.spec, plain.then_some(Path::new("/")))
    }

    /// Ends a container that nobody wants to hear of any more.
    fn end(&mut self, container: Container) {
        container.handle.removed.store(true, Ordering::Release);
        container.handle.pid.kill();
        container.handle.log.close(container.handle.clock.now());
        self.ending.push(container.thread);
        self.janitor.take(container.folder);
    }
}

/// The mounts of a container, with their folders.
fn binds(folder: &PodFolder, spec: &ContainerSpec) -> Result<Vec<Bind>, String> {
    spec.mounts.iter().map(|mount| bind(folder, mount)).collect()
}

fn bind(folder: &PodFolder, mount: &Mount) -> Result<Bind, String> {
    let volume = folder.volume(&mount.volume);
    let volume = volume.ok_or_else(|| format!("volume {:?} is not set up", mount.volume))?;
    let source = match &mount.sub_path {
        None => volume,
        Some(path) => within(&volume, path).ok_or_else(|| format!("subPath {path:?} leads out of its volume"))?,
    };
    if !source.exists() {
        // The kubelet makes a folder of a subPath that is not there.
        std::fs::create_dir_all(&source).map_err(|error| format!("making subPath: {error}"))?;
    }
    Ok(Bind { path: rooted(Path::new(&mount.path)), source, read_only: mount.read_only })
}

/// The streams of a child, and the lab's ends of them: standard output, standard error, standard input if there is one.
type Ends = (Streams, OwnedFd, OwnedFd, Option<OwnedFd>);

fn streams(with_stdin: bool) -> io::Result<Ends> {
    let (stdin, input) = if with_stdin {
        let (read, write) = pipe()?;
        (read, Some(write))
    } else {
        (null()?, None)
    };
    let (out_read, stdout) = pipe()?;
    let (err_read, stderr) = pipe()?;
    Ok((Streams { stdin, stdout, stderr }, out_read, err_read, input))
}

/// A sender that feeds a pipe, by a thread that ends with either.
fn feeder(pipe: OwnedFd) -> io::Result<mpsc::Sender<bytes::Bytes>> {
    let (sender, receiver) = mpsc::channel(SESSION_BUFFER);
    thread::Builder::new().name("lab-stdin".to_owned()).spawn(move || feed(pipe, receiver))?;
    Ok(sender)
}

/// A thread with something to say about its beginning.
fn beginning<R: Send + 'static>(
    name: &str,
    run: impl FnOnce(&channel::SyncSender<R>) + Send + 'static,
) -> io::Result<(JoinHandle<()>, R)> {
    let (sender, receiver) = channel::sync_channel(1);
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(&sender))?;
    let reply = receiver.recv().map_err(|_| io::Error::other("the thread ended without a word"))?;
    Ok((thread, reply))
}

/// What a container without command is told.
const NO_COMMAND: &str = "no command specified: images are only names in the lab, so give the container a command, or arguments that begin with one";

impl Runtime for ProcessRuntime {
    fn prepare_pod(&mut self, _now: Time, setup: &PodSetup) -> Result<(), PrepareError> {
        if let Isolation::Plain { reason } = &self.isolation
            && let Some(volume) = setup.volumes.iter().find(|volume| !volume.optional)
        {
            let name = &volume.name;
            let message =
                format!("volume {name:?} cannot be mounted: this machine gives the lab no mount namespace ({reason})");
            return Err(PrepareError { message });
        }
        let failed = |error: io::Error| PrepareError { message: format!("setting up volumes: {error}") };
        self.pod(&setup.pod.uid).and_then(|folder| folder.set_up(setup)).map_err(failed)
    }

    fn start(&mut self, now: Time, spec: ContainerSpec) -> Result<ContainerId, StartError> {
        let create = |message: String| StartError::Create { message };
        if spec.argv().is_empty() {
            return Err(create(NO_COMMAND.to_owned()));
        }
        self.started += 1;
        let id = ContainerId::derive(&format!(
            "{} {} {} {}",
            self.folder().display(),
            spec.pod.uid,
            spec.name,
            self.started
        ));
        let spec = Arc::new(spec);
        let body = self.body(now, &id, &spec).map_err(create)?;
        let (handle, folder) = (Arc::clone(&body.handle), Arc::clone(&body.folder));
        let (thread, reply) =
            beginning("lab-container", move |reply| body.run(reply)).map_err(|error| create(error.to_string()))?;
        match reply {
            Ok(()) => {
                self.containers.insert(id.clone(), Container { spec, started: now, handle, thread, folder });
                Ok(id)
            }
            Err(LaunchError::Surroundings { message }) => Err(create(message)),
            Err(error) => Err(StartError::NotExecutable { id, message: error.container_words() }),
        }
    }

    fn signal(&mut self, _now: Time, id: &ContainerId, signal: Signal) {
        let Some(container) = self.containers.get(id) else { return };
        match signal {
            Signal::Term => container.handle.pid.terminate(),
            Signal::Kill => container.handle.pid.kill(),
        }
    }

    fn poll(&mut self, _now: Time) -> Vec<RuntimeEvent> {
        self.execs.retain(|(_, thread)| !thread.is_finished());
        self.ending.retain(|thread| !thread.is_finished());
        let known = |event: &RuntimeEvent| match event {
            RuntimeEvent::Exited { id, .. } => self.containers.contains_key(id),
        };
        self.outbox.take().into_iter().filter(known).collect()
    }

    fn next_wakeup(&self) -> Option<Time> {
        // What waits is due at once; everything else is told by the waker.
        (!self.outbox.is_empty()).then_some(Time::default())
    }

    fn state(&self, id: &ContainerId) -> Option<ContainerState> {
        let container = self.containers.get(id)?;
        Some(match container.handle.exit.get() {
            Some(exit) => ContainerState::Exited(exit.clone()),
            None => ContainerState::Running { since: container.started },
        })
    }

    fn log(&self, id: &ContainerId) -> Option<Arc<ContainerLog>> {
        self.containers.get(id).map(|container| Arc::clone(&container.handle.log))
    }

    fn volume_usage(&self, pod_uid: &str, volume: &str) -> Option<u64> {
        self.pods.get(pod_uid)?.volume(volume).map(|path| usage(&path))
    }

    fn storage_usage(&self, id: &ContainerId) -> Option<u64> {
        self.containers.get(id).map(|container| usage(container.folder.path()))
    }

    fn remove(&mut self, id: &ContainerId) {
        if let Some(container) = self.containers.remove(id) {
            self.end(container);
        }
    }

    fn remove_pod(&mut self, pod_uid: &str) {
        let of_pod = |(_, container): &(&ContainerId, &Container)| container.spec.pod.uid == pod_uid;
        let ids: Vec<ContainerId> = self.containers.iter().filter(of_pod).map(|(id, _)| id.clone()).collect();
        ids.iter().for_each(|id| self.remove(id));
        // The folder goes with the last of the containers' threads.
        if let Some(folder) = self.pods.remove(pod_uid) {
            self.janitor.take(folder);
        }
    }

    fn exec(&mut self, _now: Time, id: &ContainerId, request: ExecRequest) -> Result<Session, SessionError> {
        let container = self.running(id)?;
        let failed = |error: io::Error| SessionError::NotExecutable { message: error.to_string() };
        let (body, session) = self.exec_body(container, &request).map_err(failed)?.ok_or(SessionError::NotRunning)?;
        let handle = Arc::clone(&body.handle);
        let (thread, reply) = beginning("lab-exec", move |reply| body.run(reply)).map_err(failed)?;
        reply.map_err(|error| SessionError::NotExecutable { message: error.exec_words() })?;
        self.execs.push((handle, thread));
        Ok(session)
    }

    fn attach(&mut self, _now: Time, id: &ContainerId, stdin: bool) -> Result<Session, SessionError> {
        let handle = Arc::clone(&self.running(id)?.handle);
        let input = if stdin { handle.take_stdin() } else { None };
        let failed = |error: io::Error| SessionError::Unsupported { message: error.to_string() };
        let stdin = input.map(feeder).transpose().map_err(failed)?;
        attach(&handle.log, Arc::clone(&handle.exit_code), stdin)
    }

    fn set_waker(&mut self, waker: Waker) {
        self.outbox.set_waker(waker);
    }
}

impl Drop for ProcessRuntime {
    fn drop(&mut self) {
        for (_, container) in std::mem::take(&mut self.containers) {
            self.end(container);
        }
        self.execs.iter().for_each(|(exec, _)| exec.abandon());
        let threads = self.ending.drain(..).chain(self.execs.drain(..).map(|(_, thread)| thread));
        // A thread that panicked has said so.
        threads.for_each(|thread| drop(thread.join()));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
