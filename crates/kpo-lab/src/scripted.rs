//! Containers that do what a script says, under virtual time: thousands of them, no IO, no thread.

mod behaviour;
mod files;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::log::{ContainerLog, LogVolume, Rotation, Stream};
use crate::runtime::{
    ContainerId, ContainerSpec, ContainerState, ExecRequest, Exit, PodSetup, PrepareError, Runtime, RuntimeEvent,
    Session, SessionError, SessionOutput, Signal, StartError, Waker, attach, termination_message,
};
use crate::time::Time;
pub(crate) use behaviour::glob;
pub use behaviour::{
    AnswerExec, Behaviour, Content, Ending, ExecReply, LastWords, Line, MakeMessage, Matching, Message, OnTerm, Run,
    Start, View, Volume, Write,
};
use files::Files;

/// How much virtual time of a volume's lines is appended at once.
const VOLUME_BATCH: Duration = Duration::from_millis(100);

/// A runtime whose containers are scripted. Of the rules that match a container the one added last counts.
#[derive(Debug, Default)]
pub struct ScriptedRuntime {
    rules: Vec<(Matching, Arc<Behaviour>)>,
    rotation: Rotation,
    containers: BTreeMap<ContainerId, Container>,
    pods: BTreeMap<String, Pod>,
    /// What is due, by time, then in the order in which it was planned.
    due: BTreeMap<Due, (ContainerId, Step)>,
    planned: u64,
    started: u64,
    events: VecDeque<RuntimeEvent>,
    /// The last `now`: when the queued events happened at the latest.
    now: Time,
}

#[derive(Debug, Default)]
struct Pod {
    files: Files,
    containers: Vec<ContainerId>,
}

#[derive(Debug)]
struct Container {
    spec: ContainerSpec,
    behaviour: Arc<Behaviour>,
    started: Time,
    log: Arc<ContainerLog>,
    /// Lines written so far, for each volume.
    volume_lines: Vec<u64>,
    exit: Option<Exit>,
    exit_code: Arc<OnceLock<i32>>,
    /// What is planned for it, to be dropped at its end: nothing may wake the world for a container that has ended.
    planned: BTreeSet<Due>,
}

/// When something is due, and its number among all that was ever planned.
type Due = (Time, u64);

/// Something planned for a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Line(usize),
    Write(usize),
    Volume(usize),
    /// The end of its own run.
    End,
    /// The end that follows SIGTERM.
    EndAfterTerm,
    Die(i32),
}

impl ScriptedRuntime {
    /// Without rules: see [`Behaviour::unscripted`].
    pub fn new() -> Self {
        Self::default()
    }

    /// With this rotation of logs, from the next start on.
    pub fn with_rotation(mut self, rotation: Rotation) -> Self {
        self.rotation = rotation;
        self
    }

    /// With one more rule.
    pub fn with(mut self, matching: Matching, behaviour: Behaviour) -> Self {
        self.add_rule(matching, behaviour);
        self
    }

    /// Adds a rule for containers that are started from now on. It outranks those before it.
    pub fn add_rule(&mut self, matching: Matching, behaviour: Behaviour) {
        self.rules.push((matching, Arc::new(behaviour)));
    }

    /// How many containers were started since the beginning: the measure of "it ran once".
    pub fn starts(&self) -> u64 {
        self.started
    }

    /// Whether a rule says something of this container.
    pub fn has_rule_for(&self, spec: &ContainerSpec) -> bool {
        self.rules.iter().any(|(matching, _)| matching.matches(spec))
    }

    fn behaviour(&self, spec: &ContainerSpec) -> Arc<Behaviour> {
        let rule = self.rules.iter().rev().find(|(matching, _)| matching.matches(spec));
        rule.map_or_else(|| Arc::new(Behaviour::unscripted(spec.kind)), |(_, behaviour)| Arc::clone(behaviour))
    }

    fn plan(&mut self, at: Time, id: &ContainerId, step: Step) {
        self.planned += 1;
        let due = (at, self.planned);
        if let Some(container) = self.containers.get_mut(id) {
            container.planned.insert(due);
            self.due.insert(due, (id.clone(), step));
        }
    }

    fn forget_plans(&mut self, planned: BTreeSet<Due>) {
        for due in planned {
            self.due.remove(&due);
        }
    }

    /// Plans all that a behaviour says about a run from `now` on; what is said at the moment of the end is said before it.
    fn plan_run(&mut self, now: Time, id: &ContainerId) {
        let Some(container) = self.containers.get(id) else { return };
        let (behaviour, uid) = (Arc::clone(&container.behaviour), container.spec.pod.uid.clone());
        for (index, write) in behaviour.writes.iter().enumerate() {
            self.plan(now + write.after, id, Step::Write(index));
        }
        for (index, line) in behaviour.lines.iter().enumerate() {
            self.plan(now + line.after, id, Step::Line(index));
        }
        for (index, volume) in behaviour.volumes.iter().enumerate() {
            self.plan(now + volume.after, id, Step::Volume(index));
        }
        match &behaviour.run {
            Run::For(duration) => self.plan(now + *duration, id, Step::End),
            Run::UntilEnded { container, after } if self.has_ended(&uid, container) => {
                self.plan(now + *after, id, Step::End);
            }
            Run::UntilStopped | Run::UntilEnded { .. } => {}
        }
    }

    fn has_ended(&self, pod: &str, name: &str) -> bool {
        let ids = self.pods.get(pod).map(|pod| &pod.containers[..]).unwrap_or_default();
        let last = ids.iter().rev().filter_map(|id| self.containers.get(id)).find(|other| other.spec.name == name);
        last.is_some_and(|other| other.exit.is_some())
    }

    fn step(&mut self, at: Time, id: &ContainerId, step: Step) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.exit.is_none()) else {
            return;
        };
        let behaviour = Arc::clone(&container.behaviour);
        match step {
            Step::Line(index) => container.say(at, &behaviour.lines[index]),
            Step::Write(index) => {
                let Write { path, content, .. } = &behaviour.writes[index];
                let pod = self.pods.entry(container.spec.pod.uid.clone()).or_default();
                pod.files.write(&container.spec, path, content.clone());
            }
            Step::Volume(index) => {
                if let Some(next) = container.say_much(at, index) {
                    self.plan(next, id, step);
                }
            }
            Step::End => self.end(at, id, &behaviour.ending),
            Step::EndAfterTerm => {
                if let OnTerm::Ends { ending, .. } = &behaviour.on_term {
                    self.end(at, id, ending);
                }
            }
            Step::Die(signal) => self.end(at, id, &Ending::signal(signal)),
        }
    }

    fn end(&mut self, at: Time, id: &ContainerId, ending: &Ending) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let uid = container.spec.pod.uid.clone();
        let files = &mut self.pods.entry(uid.clone()).or_default().files;
        let exit = container.end(at, ending, files);
        let planned = std::mem::take(&mut container.planned);
        let name = container.spec.name.clone();
        files.forget_container(&name);
        self.forget_plans(planned);
        self.events.push_back(RuntimeEvent::Exited { id: id.clone(), exit });
        for (waiting, after) in self.waiting_for(&uid, &name) {
            self.plan(at + after, &waiting, Step::End);
        }
    }

    /// The containers that run until this one has ended, and how much longer.
    fn waiting_for(&self, pod: &str, name: &str) -> Vec<(ContainerId, Duration)> {
        let ids = self.pods.get(pod).map(|pod| &pod.containers[..]).unwrap_or_default();
        let waiting = ids.iter().filter_map(|id| match &self.containers.get(id)?.behaviour.run {
            Run::UntilEnded { container, after } if container == name => Some((id.clone(), *after)),
            _ => None,
        });
        waiting.collect()
    }

    fn running(&self, id: &ContainerId) -> Result<&Container, SessionError> {
        let container = self.containers.get(id).ok_or_else(|| SessionError::NotFound { id: id.clone() })?;
        if container.exit.is_some() { Err(SessionError::NotRunning) } else { Ok(container) }
    }

    fn answer(&self, container: &Container, request: &ExecRequest) -> Result<ExecReply, SessionError> {
        let files = self.pods.get(&container.spec.pod.uid).map(|pod| &pod.files);
        let empty = Files::default();
        let view = View { files: files.unwrap_or(&empty), spec: &container.spec };
        let scripted = container.behaviour.exec.as_ref().and_then(|answer| answer(request, &view));
        scripted.or_else(|| cat(request, &view)).ok_or_else(|| SessionError::Unsupported {
            message: format!("no scripted reply to exec of {:?}", request.command),
        })
    }
}

impl Container {
    fn say(&self, at: Time, line: &Line) {
        self.log.write(at, line.stream, &line.text);
        if line.newline {
            self.log.write(at, line.stream, b"\n");
        }
    }

    /// Appends the lines of a volume that are due at `at`; when to go on.
    fn say_much(&mut self, at: Time, index: usize) -> Option<Time> {
        let volume = self.behaviour.volumes[index];
        let lines = LogVolume {
            width: volume.width,
            start: self.started + volume.after,
            every: volume.every,
            stream: volume.stream,
        };
        let done = self.volume_lines[index];
        let due = match volume.every.as_nanos() {
            0 => volume.lines,
            every => u64::try_from(at.since(lines.start).as_nanos() / every + 1).unwrap_or(u64::MAX).min(volume.lines),
        };
        if at >= lines.start && due > done {
            self.log.generate(&lines, done, due - done);
            self.volume_lines[index] = due;
        }
        (self.volume_lines[index] < volume.lines).then(|| at + volume.every.max(VOLUME_BATCH))
    }

    fn end(&mut self, at: Time, ending: &Ending, files: &Files) -> Exit {
        for index in 0..self.volume_lines.len() {
            self.say_much(at, index);
        }
        let view = View { files, spec: &self.spec };
        let file = match &ending.message {
            Message::AsWritten => view.file(&self.spec.termination_message_path).unwrap_or_default(),
            Message::Text(text) => text.clone(),
            Message::File(path) => view.file(path).unwrap_or_default(),
            Message::Made(make) => make(&view),
        };
        if let Some(LastWords(make)) = &ending.last_words {
            self.log.write(at, Stream::Stdout, &make(&view));
        }
        // Set before the log is closed: who waits for the end of the log then knows it.
        self.exit_code.get_or_init(|| ending.exit_code);
        self.log.close(at);
        let policy = self.spec.termination_message_policy;
        let exit = Exit {
            exit_code: ending.exit_code,
            signal: ending.signal,
            at,
            message: termination_message(policy, &file, ending.exit_code, &self.log),
            oom_killed: ending.oom_killed,
        };
        self.exit = Some(exit.clone());
        exit
    }
}

/// `cat PATH…` of files that the container sees.
fn cat(request: &ExecRequest, view: &View<'_>) -> Option<ExecReply> {
    let (program, paths) = request.command.split_first()?;
    if program != "cat" && program != "/bin/cat" {
        return None;
    }
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    for path in paths {
        match view.file(path) {
            Some(content) => stdout.extend_from_slice(&content),
            None => stderr.push_str(&format!("cat: can't open '{path}': No such file or directory\n")),
        }
    }
    let exit_code = i32::from(!stderr.is_empty());
    Some(ExecReply { stdout: stdout.into(), stderr: stderr.into(), exit_code })
}

/// A session whose output is known beforehand. Its input goes nowhere.
fn replied(reply: ExecReply, request: &ExecRequest) -> Session {
    let (sender, output) = mpsc::channel(3);
    let pieces = [
        (request.stdout && !reply.stdout.is_empty()).then_some(SessionOutput::Stdout(reply.stdout)),
        (request.stderr && !reply.stderr.is_empty()).then_some(SessionOutput::Stderr(reply.stderr)),
        Some(SessionOutput::Exited(reply.exit_code)),
    ];
    for piece in pieces.into_iter().flatten() {
        // There is room for all three.
        let _ = sender.try_send(piece);
    }
    let stdin = request.stdin.then(|| mpsc::channel::<Bytes>(1).0);
    Session { stdin, output }
}

impl Runtime for ScriptedRuntime {
    fn prepare_pod(&mut self, _now: Time, setup: &PodSetup) -> Result<(), PrepareError> {
        self.pods.entry(setup.pod.uid.clone()).or_default().files.set_up(setup);
        Ok(())
    }

    fn start(&mut self, now: Time, spec: ContainerSpec) -> Result<ContainerId, StartError> {
        let behaviour = self.behaviour(&spec);
        self.started += 1;
        let id = ContainerId::derive(&format!("{} {} {}", spec.pod.uid, spec.name, self.started));
        match &behaviour.start {
            Start::Runs => {}
            Start::Fails(message) => return Err(StartError::Create { message: message.clone() }),
            Start::NotExecutable(message) => {
                return Err(StartError::NotExecutable { id, message: message.clone() });
            }
        }
        self.pods.entry(spec.pod.uid.clone()).or_default().containers.push(id.clone());
        let container = Container {
            spec,
            volume_lines: vec![0; behaviour.volumes.len()],
            behaviour,
            started: now,
            log: ContainerLog::in_memory(self.rotation),
            exit: None,
            exit_code: Arc::default(),
            planned: BTreeSet::new(),
        };
        self.containers.insert(id.clone(), container);
        self.plan_run(now, &id);
        Ok(id)
    }

    fn signal(&mut self, now: Time, id: &ContainerId, signal: Signal) {
        let Some(container) = self.containers.get(id).filter(|container| container.exit.is_none()) else {
            return;
        };
        let behaviour = Arc::clone(&container.behaviour);
        match (signal, &behaviour.on_term) {
            (Signal::Kill, _) => self.plan(now, id, Step::Die(9)),
            (Signal::Term, OnTerm::Dies) => self.plan(now, id, Step::Die(15)),
            (Signal::Term, OnTerm::Ignores) => {}
            (Signal::Term, OnTerm::Ends { after, .. }) => self.plan(now + *after, id, Step::EndAfterTerm),
        }
    }

    fn poll(&mut self, now: Time) -> Vec<RuntimeEvent> {
        self.now = self.now.max(now);
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let (due, (id, step)) = entry.remove_entry();
            if let Some(container) = self.containers.get_mut(&id) {
                container.planned.remove(&due);
            }
            self.step(due.0, &id, step);
        }
        self.events.drain(..).collect()
    }

    fn next_wakeup(&self) -> Option<Time> {
        if self.events.is_empty() { self.due.first_key_value().map(|((at, _), _)| *at) } else { Some(self.now) }
    }

    fn state(&self, id: &ContainerId) -> Option<ContainerState> {
        let container = self.containers.get(id)?;
        Some(match &container.exit {
            Some(exit) => ContainerState::Exited(exit.clone()),
            None => ContainerState::Running { since: container.started },
        })
    }

    fn log(&self, id: &ContainerId) -> Option<Arc<ContainerLog>> {
        self.containers.get(id).map(|container| Arc::clone(&container.log))
    }

    fn volume_usage(&self, pod_uid: &str, volume: &str) -> Option<u64> {
        self.pods.get(pod_uid)?.files.usage(volume)
    }

    fn storage_usage(&self, id: &ContainerId) -> Option<u64> {
        let container = self.containers.get(id)?;
        let written = self.pods.get(&container.spec.pod.uid).map(|pod| pod.files.own_usage(&container.spec.name));
        Some(container.log.len() + written.unwrap_or(0))
    }

    fn remove(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.remove(id) else { return };
        container.log.close(self.now);
        self.forget_plans(container.planned);
        if let Some(pod) = self.pods.get_mut(&container.spec.pod.uid) {
            pod.containers.retain(|other| other != id);
        }
    }

    fn remove_pod(&mut self, pod_uid: &str) {
        for id in self.pods.remove(pod_uid).unwrap_or_default().containers {
            self.remove(&id);
        }
    }

    fn exec(&mut self, _now: Time, id: &ContainerId, request: ExecRequest) -> Result<Session, SessionError> {
        let reply = self.answer(self.running(id)?, &request)?;
        Ok(replied(reply, &request))
    }

    fn attach(&mut self, _now: Time, id: &ContainerId, stdin: bool) -> Result<Session, SessionError> {
        let container = self.running(id)?;
        let stdin = (stdin && container.spec.stdin).then(|| mpsc::channel(1).0);
        attach(&container.log, Arc::clone(&container.exit_code), stdin)
    }

    fn set_waker(&mut self, _waker: Waker) {}
}

#[cfg(test)]
mod tests;
