//! The task: what the core decides with.

mod advance;
mod attach;
mod attempt;
mod clocks;
mod finish;
mod following;
mod hold;
mod observer;
mod rerun;
mod stage;
#[cfg(test)]
mod tests;
mod unwatched;

pub use attach::{Attach, AttachError, RestoreError};
pub use attempt::{Attempt, Leaving};
pub use clocks::Meter;
pub use observer::Observer;
pub use rerun::forbidden_by_default;
pub use stage::{MOVES, Stage, StageName};
pub use unwatched::Unwatched;

use crate::contract::{
    Because, Command, CommandId, Event, Hindrance, Input, NoRerun, Output, Refusal, Reply, Sight, Stop, Wait,
};
use crate::ledger::{Absence, OVERDUE};
use crate::outcome::AttemptRecord;
use crate::pod::Pod;
use crate::reason::Reason;
use crate::spec::Spec;
use crate::time::Time;
use crate::{STATE_VERSION, marks};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A task and everything known of it: a value, driven from outside.
///
/// # Contract
/// 1. Make it: [`Task::new`] for a fresh task, [`Task::attach`] for one that was found, [`Task::restore`] from a snapshot.
/// 2. Drain [`Task::poll`]: do each [`Output::Command`], say each [`Output::Event`], until it returns [`Output::Wait`].
/// 3. When something happens — an observation, the reply to a command, a wish to stop, or `until` of the last wait —
///    call [`Task::handle`] with the time and the input; then go to 2.
/// 4. It is over when the wait says [`Because::Finished`] or [`Because::Detached`].
///
/// Calling [`Task::handle`] before the queue is drained is [`Misuse::NotDrained`], and changes nothing. Time never goes back: an
/// earlier `now` counts as the latest one.
///
/// ```
/// use kpo_core::{Because, Command, Observer, Output, Spec, Task, Time};
///
/// let mut task = Task::new(Time::from_secs(0), Spec::minimal("hello", "default", "n0nce"), Observer::first("me"));
/// let Output::Command(_, Command::Create(create)) = task.poll() else { panic!("a fresh task creates its first attempt") };
/// assert_eq!(create.name, "hello-1");
/// let Output::Wait(wait) = task.poll() else { panic!("and then waits for the answer") };
/// assert_eq!(wait.because, Because::Creation);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    state: State,
    queue: VecDeque<Output>,
    drained: bool,
}

/// The serialisable whole of a [`Task`] between two inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// [`STATE_VERSION`].
    pub version: u32,
    /// What was asked for.
    pub spec: Spec,
    /// Who observes.
    pub observer: Observer,
    /// The latest moment known.
    pub now: Time,
    /// When the task began, with whichever observer.
    pub began: Time,
    /// Where it stands.
    pub stage: Stage,
    /// The attempt that counts.
    pub current: Attempt,
    /// Attempts that ended, oldest first.
    pub past: Vec<AttemptRecord>,
    /// Pods of ended attempts that still need a hand: logs, finalizer, deletion.
    pub leaving: Vec<Leaving>,
    /// The strongest wish to stop so far.
    pub stop: Option<Stop>,
    /// When it was asked for. `None`: it was not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stopped_at: Option<Time>,
    /// When the outcome was taken. `None`: it was not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delivered_at: Option<Time>,
    /// The commands without a reply.
    pub pending: BTreeMap<CommandId, Command>,
    /// Number of the next command.
    pub next_command: u64,
    /// The last thing said to be waited for.
    pub waiting: Option<Because>,
    /// Why the last create was refused for now, and the API server's words; or what admission altered.
    pub refusal: Option<(Reason, String)>,
    /// Why no other attempt is made, whatever the policy allows. `None`: nothing is in the way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub barred: Option<NoRerun>,
    /// Whether observation is interrupted: what happens may be missed, of the next attempt's pod too.
    #[serde(default)]
    pub blind: bool,
    /// The last thing said that could not be done, and the server's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hindrance: Option<(Hindrance, String)>,
    /// Pods of the current attempt that were given up before they could run: nothing that is seen of them is the attempt's.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub disowned: Vec<String>,
    /// That watching is forbidden, as far as that is so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unwatched: Option<Unwatched>,
    /// Not before this is a pod read again by name, after a refusal. `None`: at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub read_again_at: Option<Time>,
}

/// What a pod of the task is to it, that no attempt is known by.
enum Kinship {
    /// A create of ours made it, seen before its answer; or, for a follower, it is the next attempt by the active observer.
    Successor,
    /// A create of ours made it after all, seen when the task had been ended without it.
    LateBorn,
}

/// The driver broke the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// `handle` was called before `poll` had returned a wait.
    #[error("handle() before poll() was drained to a Wait")]
    NotDrained,
    /// A reply to a command that was never given, or was answered before.
    #[error("a reply to command {}, which waits for none", .0.0)]
    UnknownCommand(CommandId),
}

impl Task {
    /// A fresh task: its first command creates attempt 1.
    pub fn new(now: Time, spec: Spec, observer: Observer) -> Self {
        let current = Attempt::new(1, &spec);
        let mut task = Self::over(State::blank(now, spec, observer, current));
        task.create();
        task.advance();
        task
    }

    fn over(state: State) -> Self {
        Self { state, queue: VecDeque::new(), drained: false }
    }

    /// The state, for a snapshot or a look.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What was asked for.
    pub fn spec(&self) -> &Spec {
        &self.state.spec
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self) -> bool {
        matches!(self.state.stage, Stage::Finished | Stage::Detached { .. })
    }

    /// Takes one input at a moment.
    ///
    /// # Errors
    /// [`Misuse`], if the contract was broken; nothing has changed then.
    pub fn handle(&mut self, now: Time, input: Input) -> Result<(), Misuse> {
        if !self.drained {
            return Err(Misuse::NotDrained);
        }
        if let Input::Reply { to, .. } = &input
            && !self.state.pending.contains_key(to)
        {
            return Err(Misuse::UnknownCommand(*to));
        }
        self.drained = false;
        self.charge(now);
        self.take(input);
        self.advance();
        Ok(())
    }

    /// The next thing to do or say; a [`Wait`] when there is none.
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.queue.pop_front() {
            return output;
        }
        self.drained = true;
        Output::Wait(self.wait())
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::Seen { sight, pod } => self.seen(sight, &pod),
            Input::Gap => self.gap(),
            Input::Covered { gapless } => self.covered(gapless),
            Input::Unwatched { message, every } => self.unwatched(message, every),
            Input::Missing { uid } => self.missing(&uid),
            Input::Reply { to, reply } => self.replied(to, reply),
            Input::Stop(stop) => self.stop(stop),
        }
    }

    fn seen(&mut self, sight: Sight, pod: &Pod) {
        let now = self.state.now;
        match self.kinship(pod) {
            Some(Kinship::Successor) => return self.adopt_successor(pod),
            Some(Kinship::LateBorn) => return self.find_late_born(pod),
            None => {}
        }
        for attempt in self.attempts_mut(&pod.metadata.uid) {
            attempt.ledger.observe(now, sight, pod);
            attempt.absent_since = None;
        }
        self.yield_to_other_observer();
    }

    /// What a pod of ours that no attempt is known by is to the task.
    fn kinship(&self, pod: &Pod) -> Option<Kinship> {
        if pod.annotation(marks::NONCE) != Some(&self.state.spec.nonce) {
            return None;
        }
        let number = pod.metadata.labels.get(marks::ATTEMPT).and_then(|n| n.parse().ok()).unwrap_or(0);
        let current = &self.state.current;
        let known = self.state.leaving.iter().any(|leaving| leaving.attempt.is(pod))
            || self.state.disowned.contains(&pod.metadata.uid);
        let asked_for = number == current.number && pod.metadata.name == current.name && !known;
        let unborn = current.ledger.uid().is_none() && asked_for;
        let next = self.state.observer.follows && number > current.number && attach::is_genuine(pod);
        match self.state.stage.is_concluded() {
            false if unborn || next => Some(Kinship::Successor),
            true if unborn => Some(Kinship::LateBorn),
            _ => None,
        }
    }

    fn gap(&mut self) {
        self.lose_sight();
        self.say(Event::Sight { watching: false });
    }

    /// What happens from now on may be missed: of the current pod, and of those that are made meanwhile.
    fn lose_sight(&mut self) {
        self.state.blind = true;
        self.state.current.ledger.gap(self.state.now);
    }

    /// The attempt of that number, of which nothing has happened yet.
    fn attempt(&self, number: u32) -> Attempt {
        let mut attempt = Attempt::new(number, &self.state.spec);
        if self.state.blind {
            attempt.ledger.gap(self.state.now);
        }
        attempt
    }

    fn covered(&mut self, gapless: bool) {
        let now = self.state.now;
        self.state.blind = false;
        self.state.current.ledger.covered(now, gapless);
        self.state.unwatched = None;
        self.say(Event::Sight { watching: true });
    }

    fn missing(&mut self, uid: &str) {
        if self.state.current.ledger.uid() == Some(uid) && self.state.current.ledger.gone.is_none() {
            self.read();
        }
        // An absence from a list proves nothing of a pod that is to be cleaned up either: it may only have lost its label.
        let there = |l: &&Leaving| l.attempt.ledger.uid() == Some(uid) && l.attempt.is_there();
        if let Some(name) = self.state.leaving.iter().find(there).map(|l| l.attempt.name.clone()) {
            self.read_pod(name, uid.to_owned());
        }
    }

    fn stop(&mut self, stop: Stop) {
        if self.state.stop < Some(stop) {
            self.state.stop = Some(stop);
            self.state.stopped_at = Some(self.state.now);
            let because = self.because();
            self.say(Event::Stopping { stop, because });
        }
    }

    /// A reply has come: the command it answers says what it means.
    fn replied(&mut self, to: CommandId, reply: Reply) {
        let Some(command) = self.state.pending.remove(&to) else { return };
        match command {
            Command::Create(create) => self.created(&create, reply),
            Command::Read { uid, .. } => self.was_read(&uid, reply),
            Command::Delete { uid, .. } => self.deleted(&uid, reply),
            Command::Ungate { uid, .. } => self.ungated(&uid, reply),
            Command::Release { uid, .. } => self.released(&uid, reply),
            Command::Annotate { uid, annotations, .. } if self.is_telling(&uid, &annotations) => {
                self.told_predecessor(&uid, reply);
            }
            Command::Annotate { uid, annotations, .. } if writes(&annotations, marks::STOPPING) => {
                self.was_signed(&uid, reply)
            }
            Command::Annotate { uid, .. } => self.annotated(&uid, reply),
            Command::Protect { uid, .. } => self.protected(&uid, reply),
            Command::ListEvents { uid, .. } => self.told(&uid, reply),
            Command::CloseLogs { uid, .. } => self.logs_closed(&uid),
            Command::ReadResult { .. } => self.result_read(reply),
            Command::Deliver(_) => self.delivered(),
            Command::FollowLog { .. } | Command::Withdraw { .. } => {}
        }
    }

    /// The pod that an attempt's name belongs to now. Not that UID's: the attempt's is gone.
    fn was_read(&mut self, asked: &str, reply: Reply) {
        let found = match reply {
            Reply::Pod(pod) => Some(pod),
            Reply::NotFound => None,
            Reply::Refused(refusal) => {
                self.state.read_again_at = Some(self.state.now + advance::TRY_AGAIN);
                return self.hinder(Hindrance::Read, &refusal);
            }
            _ => return,
        };
        let now = self.state.now;
        let is_absent = found.as_ref().is_none_or(|pod| pod.metadata.uid != asked);
        if is_absent && !self.may_be_shown_yet(asked) {
            self.attempts_mut(asked).for_each(|attempt| attempt.ledger.gone(now, Absence::Unobserved));
        }
        if let Some(pod) = found {
            self.seen(Sight::Present, &pod);
        }
    }

    /// Whether the watch, which is interrupted, may still show how an absent pod went. It is asked for again until it is seen or a while is over.
    fn may_be_shown_yet(&mut self, uid: &str) -> bool {
        let (now, state) = (self.state.now, &mut self.state);
        if state.current.ledger.uid() != Some(uid) || !state.blind || state.unwatched.is_some() {
            return false;
        }
        let waits = *state.current.absent_since.get_or_insert(now) + OVERDUE > now;
        if waits {
            state.current.ledger.doubtful = true;
            state.read_again_at = Some(now + advance::TRY_AGAIN);
        }
        waits
    }

    fn told(&mut self, uid: &str, reply: Reply) {
        let now = self.state.now;
        match reply {
            Reply::Events(events) => {
                let scaling_up = self.scaling_up_since();
                for attempt in self.attempts_mut(uid) {
                    events.iter().for_each(|event| attempt.ledger.told(now, event));
                }
                self.recharge(scaling_up);
            }
            Reply::Refused(refusal) => self.hinder(Hindrance::Events, &refusal),
            _ => {}
        }
    }

    /// Queues a command.
    fn command(&mut self, command: Command) -> CommandId {
        let id = CommandId(self.state.next_command);
        self.state.next_command += 1;
        if !matches!(command, Command::FollowLog { .. } | Command::Withdraw { .. }) {
            self.state.pending.insert(id, command.clone());
        }
        self.queue.push_back(Output::Command(id, command));
        id
    }

    /// Whether a command waits for its reply.
    fn awaits(&self, is: impl Fn(&Command) -> bool) -> bool {
        self.state.pending.values().any(is)
    }

    fn say(&mut self, event: Event) {
        self.queue.push_back(Output::Event(event));
    }

    /// Says what could not be done, unless that was the last thing of the kind that was said.
    fn hinder(&mut self, what: Hindrance, refusal: &Refusal) {
        let hindrance = Some((what, refusal.message.clone()));
        if std::mem::replace(&mut self.state.hindrance, hindrance.clone()) == hindrance {
            return;
        }
        self.say(Event::Hindered { what, message: refusal.message.clone() });
    }

    /// Asks for the current pod by name: one GET, compared by UID, decides.
    fn read(&mut self) {
        if !self.awaits_read() {
            let (name, uid) = (self.state.current.name.clone(), self.state.current.uid());
            self.read_pod(name, uid);
        }
    }

    /// Asks what is there under an attempt's name, unless that is being asked.
    fn read_pod(&mut self, name: String, uid: String) {
        if !self.awaits(|command| matches!(command, Command::Read { uid: asked, .. } if *asked == uid)) {
            self.command(Command::Read { name, uid });
        }
    }

    /// Whether a pod is being read, or, refused, is not to be read again yet. What it would show is awaited before a write is tried again.
    fn awaits_read(&self) -> bool {
        let refused = self.state.read_again_at.is_some_and(|at| at > self.state.now);
        refused || self.awaits(|c| matches!(c, Command::Read { .. }))
    }

    fn wait(&self) -> Wait {
        let because = self.because();
        let until = if self.is_over() { None } else { self.next_deadline() };
        Wait { until, because }
    }
}

/// Whether these annotations are, or hold, that mark of kpo's.
fn writes(annotations: &[(String, String)], mark: &str) -> bool {
    annotations.iter().any(|(key, _)| key == mark)
}

impl State {
    fn blank(now: Time, spec: Spec, observer: Observer, current: Attempt) -> Self {
        Self {
            version: STATE_VERSION,
            spec,
            observer,
            now,
            began: now,
            stage: Stage::CREATING,
            current,
            past: Vec::new(),
            leaving: Vec::new(),
            stop: None,
            stopped_at: None,
            delivered_at: None,
            pending: BTreeMap::new(),
            next_command: 0,
            waiting: None,
            refusal: None,
            barred: None,
            blind: false,
            hindrance: None,
            disowned: Vec::new(),
            unwatched: None,
            read_again_at: None,
        }
    }
}
