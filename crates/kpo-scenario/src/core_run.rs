//! A scenario on the core alone: `kpo_core::Task` and the lab's cluster, synchronously, under virtual time.
//!
//! The core's commands become the requests that the engine makes of them, answered by the lab's API handlers, so that
//! preconditions, quota and admission count. Pods are seen as the engine sees them: by a watch of the pod's name from its
//! create on, or by one watch selected by label.

use crate::audit::{self, Audited, Book, Born, Evidence, Violation};
use crate::expect::{self, Rigour};
use crate::grammar::{Deed, Doing, Moment, Scenario};
use crate::seat::{self, Coming, Eyes, Seat};
use crate::task::TaskPart;
use crate::transcript::{Record, Sent, What};
use kpo_core::{Command, CommandId, Create, Input, Observer, Outcome, Output, Pod, Reply, Stop, Task, Wait, marks};
use kpo_lab::World;
use kpo_lab::api::{Request, Response, User};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// The instant at which runs begin: 2026-11-24T00:00:00Z, as the lab's.
const EPOCH: i64 = 1_795_478_400;
/// Steps of a run at most: more is a livelock.
const STEPS: usize = 20_000;
/// After the last observer is done, this long is watched for what still happens.
const AFTERMATH: Duration = Duration::from_secs(600);
/// A run is ended after so long of virtual time, whatever the task waits for.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// How long a lost reply is missed: then the request is made again, or looked for.
const LOST_FOR: Duration = Duration::from_secs(1);
/// How long after a crash the next observer comes.
pub(crate) const BACK_AFTER: Duration = Duration::from_millis(500);

/// What goes wrong in a run that the scenario does not speak of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upset {
    /// Nothing.
    #[default]
    None,
    /// The observer is gone at its `n`th command (from 0): after the command's effect, or before. Then it attaches and takes over.
    Crash {
        /// Which command.
        command: usize,
        /// Whether the command's effect was had.
        done: bool,
        /// Whether the next observer comes with a snapshot, instead of only with what is in the cluster.
        snapshot: bool,
    },
    /// The reply to the `n`th write (from 0) is lost: its effect is had.
    LostReply {
        /// Which write.
        write: usize,
    },
}

/// A defect that is put in on purpose, to show that an invariant catches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Each create makes a second pod beside it.
    Twin,
    /// Whatever happened is taken for a proof that nothing ran.
    BlindRerun,
    /// Deletes go out without the UID.
    NoUid,
    /// Deletes go out without the resourceVersion.
    NoVersion,
    /// Deletes are answered and not done.
    NoDelete,
    /// The pod is deleted before the outcome is handed over.
    DeleteFirst,
    /// kpo's finalizer is not taken off, and that is answered as if it were.
    NoRelease,
    /// Whoever attaches finds no pod.
    RefuseAttach,
    /// Observations are dropped after the first running one.
    BlindEyes,
    /// The second line is printed twice (on the engine only, as those below).
    Stutter,
    /// The second line is not printed.
    Swallow,
    /// After the second line there is one that nobody wrote.
    Invent,
    /// The second line comes after the third.
    Swap,
    /// Nothing is printed at all.
    Mute,
    /// A gap is named where there is none, with times of other lines.
    Misname,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was done and said.
    pub records: Vec<Record>,
    /// Every request that reached the API server's door, with its moment; on the engine only.
    pub requests: Vec<String>,
    /// How it differs from what the scenario expects.
    pub faults: Vec<String>,
    /// The invariants that did not hold.
    pub violations: Vec<Violation>,
    /// Commands that observer `a` (or its successors) gave.
    pub commands: usize,
    /// Writes among them.
    pub writes: usize,
    /// Pods that were created for the task.
    pub created: usize,
    /// What went wrong.
    pub upset_was: Upset,
    /// Whether it took place.
    pub upset: bool,
    /// Whether the task could not be found again after the crash, no pod of it being there.
    pub lost: bool,
}

impl Run {
    /// The last outcome.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.records.iter().rev().find_map(|record| match &record.what {
            What::Outcome(outcome) => Some(&**outcome),
            _ => None,
        })
    }

    /// The verdict on an attempt, in the words of a scenario. `None`: there is none.
    pub fn verdict(&self, attempt: u32) -> Option<String> {
        self.records.iter().find_map(|record| match &record.what {
            What::Said(kpo_core::Event::Ended { attempt: number, verdict, .. }) if *number == attempt => {
                Some(expect::verdict(verdict))
            }
            _ => None,
        })
    }

    /// Whether all was as it should be.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty() && self.violations.is_empty()
    }
}

/// Runs a scenario once on the core.
pub fn run(scenario: &Scenario, upset: Upset, sabotage: Option<Sabotage>) -> Run {
    let mut runner = Runner::new(scenario, upset, sabotage);
    runner.run();
    runner.finish()
}

struct Runner<'s> {
    scenario: &'s Scenario,
    world: World,
    book: Book,
    born: Born,
    seats: Vec<Seat>,
    records: Vec<Record>,
    began: kpo_lab::Time,
    done: BTreeSet<usize>,
    upset: Upset,
    has_upset: bool,
    sabotage: Option<Sabotage>,
    commands: usize,
    writes: usize,
    left: bool,
    lost: bool,
    stuck: Option<String>,
    ended_at: Option<kpo_lab::Time>,
    cut: bool,
}

/// The core's moment of the lab's.
pub(crate) fn core_time(time: kpo_lab::Time) -> kpo_core::Time {
    kpo_core::Time(time.0)
}

fn lab_time(time: kpo_core::Time) -> kpo_lab::Time {
    kpo_lab::Time(time.0)
}

impl<'s> Runner<'s> {
    fn new(scenario: &'s Scenario, upset: Upset, sabotage: Option<Sabotage>) -> Self {
        let began = kpo_lab::Time::from_secs(EPOCH);
        let (runtime, book) = Audited::new(scenario.runtime(), began);
        let mut world = World::new(began, 7, Box::new(runtime));
        world.play(&scenario.script);
        world.advance(began);
        let mut runner = Self {
            scenario,
            world,
            book,
            born: Born::default(),
            seats: Vec::new(),
            records: Vec::new(),
            began,
            done: BTreeSet::new(),
            upset,
            has_upset: false,
            sabotage,
            commands: 0,
            writes: 0,
            left: false,
            lost: false,
            stuck: None,
            ended_at: None,
            cut: false,
        };
        let task = Task::new(core_time(began), runner.part().spec.clone(), Observer::first("a"));
        let eyes = runner.fresh_eyes();
        runner.seats.push(Seat::new("a", task, eyes));
        runner
    }

    fn part(&self) -> &'s TaskPart {
        &self.scenario.task
    }

    fn fresh_eyes(&mut self) -> Eyes {
        let (spec, now) = (&self.part().spec, self.now());
        if self.part().beside_others {
            Eyes::by_label(now, &mut self.world, &spec.namespace, &spec.task)
        } else {
            Eyes::own()
        }
    }

    fn now(&self) -> kpo_lab::Time {
        self.world.now()
    }

    fn record(&mut self, observer: &str, what: What) {
        let at = audit::since(self.began, self.now());
        self.records.push(Record { at, observer: observer.to_owned(), what });
    }

    // --- the loop -----------------------------------------------------------------------------------------------------------------

    fn run(&mut self) {
        for _ in 0..STEPS {
            if !self.comes_to_rest() {
                break;
            }
            if self.is_finished() {
                return;
            }
            match self.next_moment() {
                Some(at) => self.pass_until(at),
                None => return,
            }
        }
        let seats: Vec<String> = self.seats.iter().map(|seat| format!("{:?}", seat.because)).collect();
        self.stuck = Some(format!("a livelock: {STEPS} steps, and no end; {}", seats.join(", ")));
    }

    /// Does all that there is to do at this instant. Not so: it never ends.
    fn comes_to_rest(&mut self) -> bool {
        (0..STEPS).any(|_| !self.act())
    }

    /// Everything that there is to do at this instant. Whether something was.
    fn act(&mut self) -> bool {
        let mut busy = self.do_doings();
        for index in 0..self.seats.len() {
            busy |= self.drain(index);
            busy |= self.feed(index);
        }
        busy
    }

    fn is_finished(&mut self) -> bool {
        let passed = audit::since(self.began, self.now());
        if let Some(cut) = self.scenario.cut_at()
            && passed >= cut
        {
            self.cut = true;
            return true;
        }
        let over = self.seats.iter().all(|seat| seat.task.is_over()) && self.doings_left() == 0;
        if over {
            let now = self.now();
            self.ended_at.get_or_insert(now);
        }
        passed >= LONGEST || self.ended_at.is_some_and(|at| self.now().since(at) >= AFTERMATH)
    }

    /// What is still to be done at a fixed moment.
    fn doings_left(&self) -> usize {
        let doings = self.scenario.doings.iter().enumerate();
        doings.filter(|(index, doing)| matches!(doing.when, Moment::At(_)) && !self.done.contains(index)).count()
    }

    /// The next moment at which anything happens. `None`: nothing ever will.
    fn next_moment(&self) -> Option<kpo_lab::Time> {
        let waits = self.seats.iter().filter_map(|seat| seat.until).map(lab_time);
        let replies = self.seats.iter().filter_map(Seat::next_reply);
        let doings = self.scenario.doings.iter().enumerate().filter(|(index, _)| !self.done.contains(index));
        let doings = doings.filter_map(|(_, doing)| match doing.when {
            Moment::At(after) => Some(self.began + after),
            Moment::When { .. } => None,
        });
        let cut = self.scenario.cut_at().map(|at| self.began + at);
        let back = self.seats.iter().filter_map(|seat| seat.back_at);
        let end = self.ended_at.map(|at| at + AFTERMATH);
        let all = waits.chain(replies).chain(doings).chain(cut).chain(back).chain(self.world.next_wakeup());
        let next = all.min()?.max(self.now());
        Some(end.map_or(next, |end| next.min(end)))
    }

    /// Time passes; a moment at which nothing is left to do is left for the next nanosecond.
    fn pass_until(&mut self, at: kpo_lab::Time) {
        let at = if at <= self.now() { kpo_lab::Time(self.now().0 + 1) } else { at };
        self.world.advance(at);
        self.look();
        for index in 0..self.seats.len() {
            self.seats[index].tick_due |= self.seats[index].until.is_some_and(|until| lab_time(until) <= at);
        }
    }

    fn look(&mut self) {
        let (spec, now) = (&self.scenario.task.spec, self.world.now());
        self.born.look(self.world.store(), spec, now);
    }

    // --- what observers and the user do -------------------------------------------------------------------------------------------

    fn do_doings(&mut self) -> bool {
        let mut busy = false;
        for (index, doing) in self.scenario.doings.iter().enumerate() {
            // Whoever just crashed is told when the next one is there.
            let away = self.seats.iter().any(|seat| seat.name == doing.observer && seat.back_at.is_some());
            if !self.done.contains(&index) && !away && self.is_due(doing) {
                self.done.insert(index);
                self.do_it(doing);
                busy = true;
            }
        }
        let now = self.now();
        while let Some(index) = self.seats.iter().position(|seat| seat.back_at.is_some_and(|at| at <= now)) {
            self.come_back(index);
            busy = true;
        }
        busy
    }

    fn is_due(&self, doing: &Doing) -> bool {
        match &doing.when {
            Moment::At(after) => self.began + *after <= self.now(),
            Moment::When { pod, state } => {
                seat::is_in_state(self.world.store(), &self.born, &self.part().spec, pod, state)
            }
        }
    }

    fn do_it(&mut self, doing: &Doing) {
        let position = self.seats.iter().position(|seat| seat.name == doing.observer);
        self.record(&doing.observer, What::Does(doing.deed));
        match (doing.deed, position) {
            (Deed::Cancels, Some(index)) => self.seats[index].inbox.push_back(Input::Stop(Stop::User)),
            (Deed::Leaves, Some(index)) => {
                self.left = true;
                self.seats[index].inbox.push_back(Input::Stop(Stop::Shutdown));
            }
            (Deed::Dies, Some(index)) => {
                self.left = true;
                self.seats.remove(index);
            }
            (Deed::Follows, None) => self.attach(&doing.observer, false),
            (Deed::TakesOver, None) => {
                self.attach(&doing.observer, true);
                // Whoever takes over cleans up again.
                self.left = false;
            }
            // It was lost in the crash.
            (_, None) if self.lost => {}
            (Deed::Follows | Deed::TakesOver, Some(_)) | (_, None) => {
                self.stuck =
                    Some(format!("line {}: no such observer, or one too many: {}", doing.line, doing.observer));
            }
        }
    }

    fn attach(&mut self, observer: &str, take_over: bool) {
        match self.attached(observer, take_over) {
            Ok((task, eyes)) => {
                self.seats.push(Seat { follows: !take_over, ..Seat::new(observer, task, eyes) });
            }
            Err(error) => self.record(observer, What::Runner(format!("attach: {error}"))),
        }
    }

    /// Finds the task in the cluster as the engine does: looking begins before the list.
    fn attached(&mut self, observer: &str, take_over: bool) -> Result<(Task, Eyes), kpo_core::AttachError> {
        let spec = &self.part().spec;
        let how = kpo_core::Attach {
            task: spec.task.clone(),
            observer: observer.to_owned(),
            take_over,
            has_manifest: true,
            nonce: None,
            over: false,
        };
        let (namespace, task) = (spec.namespace.clone(), spec.task.clone());
        if self.sabotage == Some(Sabotage::RefuseAttach) {
            return Err(kpo_core::AttachError::NoPod { task });
        }
        let eyes = Eyes::by_label(self.now(), &mut self.world, &namespace, &task);
        let pods = seat::pods_of(self.world.store(), &namespace, &task);
        Task::attach(core_time(self.now()), &how, pods).map(|task| (task, eyes))
    }

    // --- an observer's turn -------------------------------------------------------------------------------------------------------

    /// Does and says all that follows from the last input.
    fn drain(&mut self, index: usize) -> bool {
        let mut busy = false;
        while self.seats.get(index).is_some_and(|seat| seat.back_at.is_none() && !seat.drained) {
            busy = true;
            match self.seats[index].task.poll() {
                Output::Command(id, command) => {
                    if self.perform(index, id, command) {
                        return true;
                    }
                }
                Output::Event(event) => {
                    let name = self.seats[index].name.clone();
                    self.record(&name, What::Said(event));
                }
                Output::Wait(wait) => self.rest(index, wait),
            }
        }
        busy
    }

    fn rest(&mut self, index: usize, wait: Wait) {
        let seat = &mut self.seats[index];
        (seat.drained, seat.until, seat.because, seat.tick_due) = (true, wait.until, Some(wait.because), false);
    }

    /// The next input, if there is one. Whether there was.
    fn feed(&mut self, index: usize) -> bool {
        let ready = |seat: &Seat| seat.back_at.is_none() && seat.drained && !seat.task.is_over();
        if !self.seats.get(index).is_some_and(ready) {
            return false;
        }
        let Some(mut input) = self.input(index) else { return false };
        let now = self.now();
        match self.sabotage {
            Some(Sabotage::BlindEyes) if seat::shows_running(&input) => self.seats[index].blind = true,
            Some(Sabotage::BlindRerun) => seat::launder(&mut input),
            _ => {}
        }
        let seat = &mut self.seats[index];
        if seat.blind && matches!(input, Input::Seen { .. }) {
            return true;
        }
        if let Some(pod) = begins_watch(seat, &input) {
            seat.eyes.look_at(now, &mut self.world, &pod);
        }
        let seat = &mut self.seats[index];
        seat.tick_due = false;
        seat.drained = false;
        if let Err(misuse) = seat.task.handle(core_time(now), input) {
            self.stuck = Some(format!("the runner broke the contract: {misuse}"));
        }
        true
    }

    /// A stop, a reply, a sight, or the passing of time.
    fn input(&mut self, index: usize) -> Option<Input> {
        let now = self.now();
        let seat = &mut self.seats[index];
        if let Some(input) = seat.inbox.pop_front() {
            return Some(input);
        }
        // What has happened is seen before an answer that was given later.
        if let Some(sight) = seat.eyes.next(now, self.world.store()) {
            return Some(sight);
        }
        if let Some(coming) = seat.reply_due(now) {
            let name = seat.name.clone();
            let reply = match coming.lost {
                Some(command) => self.resolve(&name, &command, coming.withdrawn),
                None => coming.reply,
            };
            return Some(Input::Reply { to: coming.id, reply });
        }
        let due = seat.tick_due || seat.until.is_some_and(|until| lab_time(until) <= now);
        due.then_some(Input::Tick)
    }

    /// Does one command. Whether the observer is gone.
    fn perform(&mut self, index: usize, id: CommandId, command: Command) -> bool {
        let number = self.commands;
        self.commands += 1;
        let name = self.seats[index].name.clone();
        if let Upset::Crash { command: at, done: false, .. } = self.upset
            && at == number
            && !self.has_upset
        {
            self.crash(index, &format!("crash before {}", seat::named(&command)));
            return true;
        }
        if let Command::Withdraw { create } = &command {
            let asked = |coming: &&mut Coming| coming.id == *create;
            self.seats[index].replies.iter_mut().filter(asked).for_each(|coming| coming.withdrawn = true);
        }
        if let Some(answer) = self.answer(&name, &command) {
            let lost = self.loses(&command);
            let at = if lost { self.now() + LOST_FOR } else { self.now() };
            let lost = lost.then(|| command.clone());
            self.seats[index].replies.push_back(Coming { at, id, reply: answer, lost, withdrawn: false });
        }
        if let Upset::Crash { command: at, done: true, .. } = self.upset
            && at == number
            && !self.has_upset
        {
            self.crash(index, &format!("crash after {}", seat::named(&command)));
            return true;
        }
        false
    }

    /// Whether the reply to this write is the one that is lost.
    fn loses(&mut self, command: &Command) -> bool {
        if !seat::is_write(command) {
            return false;
        }
        let number = self.writes;
        self.writes += 1;
        let lost = matches!(self.upset, Upset::LostReply { write } if write == number) && !self.has_upset;
        if lost {
            self.has_upset = true;
            self.record("a", What::Runner(format!("the reply to {} is lost", seat::named(command))));
        }
        lost
    }

    fn crash(&mut self, index: usize, what: &str) {
        self.has_upset = true;
        let name = self.seats[index].name.clone();
        self.record(&name, What::Runner(what.to_owned()));
        let back_at = self.now() + BACK_AFTER;
        let seat = &mut self.seats[index];
        (seat.back_at, seat.until) = (Some(back_at), None);
        seat.replies.clear();
        seat.inbox.clear();
    }

    /// After a crash: from a snapshot, or from what is in the cluster.
    fn come_back(&mut self, index: usize) {
        let snapshot = matches!(self.upset, Upset::Crash { snapshot: true, .. });
        let (name, state) = (self.seats[index].name.clone(), self.seats[index].task.state().clone());
        let follows = self.seats[index].follows;
        let found = match snapshot {
            true => Ok(self.restored(state)),
            false => self.attached(&format!("{name}-again"), !follows),
        };
        match found {
            Ok((task, eyes)) => {
                self.seats[index] = Seat { follows, ..Seat::new(&name, task, eyes) };
                if self.scenario.has_cancelled(&name, &self.done) {
                    self.seats[index].inbox.push_back(Input::Stop(Stop::User));
                }
            }
            Err(error) => {
                self.record(&name, What::Runner(format!("attach: {error}")));
                self.lost = true;
                self.seats.remove(index);
            }
        }
    }

    /// From a snapshot; what is there now is seen first, as a relist shows it.
    fn restored(&mut self, state: kpo_core::State) -> (Task, Eyes) {
        let now = self.now();
        let eyes = Eyes::relisted(now, &mut self.world, &state);
        let task = Task::restore(core_time(now), state).expect("a snapshot of this version");
        (task, eyes)
    }

    // --- commands as requests -----------------------------------------------------------------------------------------------------

    /// Answers a command by requests to the API server; `None` for those without a reply.
    fn answer(&mut self, observer: &str, command: &Command) -> Option<Reply> {
        match command {
            Command::FollowLog { .. } | Command::Withdraw { .. } => None,
            Command::CloseLogs { .. } => Some(Reply::Done),
            Command::ReadResult { .. } => Some(Reply::Result(Err("results are the engine's".to_owned()))),
            Command::Deliver(outcome) => {
                if self.sabotage == Some(Sabotage::DeleteFirst) {
                    self.delete_last(observer, outcome);
                }
                self.record(observer, What::Outcome(outcome.clone()));
                Some(Reply::Done)
            }
            command => Some(self.ask(observer, command)),
        }
    }

    fn ask(&mut self, observer: &str, command: &Command) -> Reply {
        match command {
            Command::Create(create) if create.sent_before.is_some() => self.resolve_create(observer, create, false),
            Command::Create(create) => self.create(observer, &self.part().template.body(&self.part().spec, create)),
            Command::Read { name, .. } => match self.request(observer, "GET", name, None) {
                Ok(pod) => seat::seen(&pod),
                Err(error) => seat::refused(&error),
            },
            Command::Delete { name, uid, resource_version, grace_seconds } => {
                let body = seat::delete_body(uid, resource_version, *grace_seconds);
                self.delete(observer, name, &body)
            }
            Command::Ungate { name, uid } => {
                seat::written(self.request(observer, "PATCH", name, Some(&seat::without_gate(uid))), true)
            }
            Command::Protect { name, uid } => {
                seat::written(self.request(observer, "PATCH", name, Some(&seat::with_finalizer(uid))), true)
            }
            Command::Release { .. } if self.sabotage == Some(Sabotage::NoRelease) => Reply::Done,
            Command::Release { name, uid } => {
                seat::written(self.request(observer, "PATCH", name, Some(&seat::without_finalizer(uid))), false)
            }
            Command::Annotate { name, .. } => {
                let body = seat::annotation(command);
                seat::written(self.request(observer, "PATCH", name, Some(&body)), true)
            }
            Command::ListEvents { .. } if self.sabotage == Some(Sabotage::BlindRerun) => Reply::Events(Vec::new()),
            Command::ListEvents { name, .. } => {
                Reply::Events(seat::events(self.world.store(), &self.part().spec.namespace, name))
            }
            _ => Reply::Done,
        }
    }

    /// What came of a write whose reply was lost: a create is looked for by its name first, anything else is sent again.
    fn resolve(&mut self, observer: &str, command: &Command, withdrawn: bool) -> Reply {
        match command {
            Command::Create(create) => self.resolve_create(observer, create, withdrawn),
            _ => self.ask(observer, command),
        }
    }

    fn resolve_create(&mut self, observer: &str, create: &Create, withdrawn: bool) -> Reply {
        let body = self.part().template.body(&self.part().spec, create);
        match self.quiet_request("GET", &create.name, None) {
            Ok(found) if seat::same_attempt(&found, &body) => seat::seen(&found),
            Ok(found) => seat::name_taken(&found),
            Err(_) if seat::is_told_of(self.world.store(), &self.part().spec.namespace, &create.name) => {
                seat::in_doubt(create)
            }
            Err(_) if withdrawn => Reply::Withdrawn,
            Err(_) => self.create(observer, &body),
        }
    }

    /// As `PodManager::create`: a name that is taken is looked at; the conflict of a quota is asked again.
    fn create(&mut self, observer: &str, body: &Value) -> Reply {
        if self.sabotage == Some(Sabotage::Twin) {
            let mut twin = body.clone();
            twin["metadata"]["name"] = format!("{}-twin", body["metadata"]["name"].as_str().unwrap_or_default()).into();
            let _ = self.request(observer, "POST", "", Some(&twin));
        }
        let error = match self.request(observer, "POST", "", Some(body)) {
            Ok(pod) => return seat::seen(&pod),
            Err(error) => error,
        };
        if error["reason"] != "AlreadyExists" {
            return seat::refused(&error);
        }
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        match self.quiet_request("GET", name, None) {
            Ok(found) if seat::same_attempt(&found, body) => seat::seen(&found),
            Ok(found) => seat::name_taken(&found),
            Err(error) => seat::refused(&error),
        }
    }

    fn delete(&mut self, observer: &str, name: &str, body: &Value) -> Reply {
        match self.sabotage {
            Some(Sabotage::NoDelete) => Reply::Done,
            Some(Sabotage::NoUid) => self.delete_without(observer, name, body, "uid"),
            Some(Sabotage::NoVersion) => self.delete_without(observer, name, body, "resourceVersion"),
            _ => seat::written(self.request(observer, "DELETE", name, Some(body)), false),
        }
    }

    fn delete_last(&mut self, observer: &str, outcome: &Outcome) {
        let Some(last) = outcome.attempts.last().map(|last| last.pod.clone()) else { return };
        let found = self.quiet_request("GET", &last.name, None).unwrap_or_default();
        let version = found["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        // The run goes on without the pod, whatever the answer is.
        let _ = self.request(observer, "DELETE", &last.name, Some(&seat::delete_body(&last.uid, version, None)));
    }

    fn delete_without(&mut self, observer: &str, name: &str, body: &Value, precondition: &str) -> Reply {
        let mut bare = body.clone();
        bare["preconditions"][precondition] = Value::Null;
        seat::written(self.request(observer, "DELETE", name, Some(&bare)), false)
    }

    /// One request about pods, put down in the transcript. An error is its Status.
    fn request(&mut self, observer: &str, method: &str, pod: &str, body: Option<&Value>) -> Result<Value, Value> {
        if let Some(sent) = Sent::of(core_time(self.now()), method, pod, body.unwrap_or(&Value::Null)) {
            self.record(observer, What::Sent(sent));
        }
        let answer = self.quiet_request(method, pod, body);
        self.look();
        answer
    }

    fn quiet_request(&mut self, method: &str, pod: &str, body: Option<&Value>) -> Result<Value, Value> {
        let slash = if pod.is_empty() { "" } else { "/" };
        let target = format!("/api/v1/namespaces/{}/pods{slash}{pod}", self.part().spec.namespace);
        let kind = if method == "PATCH" { "application/strategic-merge-patch+json" } else { "application/json" };
        let mut request = Request::new(method, &target, User::admin());
        request.user_agent = "kpo".to_owned();
        let request = body.map_or(request.clone(), |body| request.json(kind, body));
        let now = self.now();
        let response = kpo_lab::api::handle(now, self.world.store_mut(now), &request);
        self.world.advance(now);
        match response {
            Response::Object { code, body, .. } if code < 300 => Ok((*body).clone()),
            Response::Object { body, .. } => Err((*body).clone()),
            other => Err(serde_json::json!({"code": 500, "message": format!("{other:?}")})),
        }
    }

    // --- the end ------------------------------------------------------------------------------------------------------------------

    fn finish(mut self) -> Run {
        self.look();
        let mut faults: Vec<String> = self.stuck.iter().cloned().collect();
        if let Some(livelock) = self.world.livelock() {
            faults.push(format!("the lab: {livelock}"));
        }
        let rigour = match self.upset {
            Upset::None => Rigour::Exact,
            _ => Rigour::Conclusions,
        };
        if rigour == Rigour::Exact {
            faults.extend(seat::without_effect(&self.world));
            faults.extend(expect::compare(&self.scenario.expected, &self.records, rigour));
            faults.extend(self.waits());
            if !self.cut {
                faults.extend(expect::keeps(&self.scenario.expected, self.world.store(), &self.part().spec));
            }
        }
        let evidence = Evidence {
            spec: &self.part().spec,
            book: &self.book,
            born: &self.born,
            store: self.world.store(),
            records: &self.records,
            began: self.began,
            over: self.seats.iter().all(|seat| seat.task.is_over()),
            cut: self.cut,
            left: self.left || self.lost,
            lost: self.lost,
            permits: self.scenario.permits.as_deref(),
            finished: None,
        };
        let violations = audit::check(&evidence);
        Run {
            faults,
            violations,
            commands: self.commands,
            writes: self.writes,
            created: self.born.pods.len(),
            upset_was: self.upset,
            upset: self.has_upset,
            lost: self.lost,
            records: self.records,
            requests: Vec::new(),
        }
    }

    fn waits(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for expected in &self.scenario.expected {
            let expect::Expectation::Waits(what, at) = &expected.what else { continue };
            let seat = self.seats.iter().find(|seat| seat.name == expected.observer);
            let found = seat.and_then(|seat| seat.because.as_ref()).map(expect::because).unwrap_or_default();
            if found.split(' ').next() != Some(what) {
                faults.push(format!("line {}: at {at:?} it waits for {found:?}", expected.line));
            }
        }
        faults
    }
}

/// The pod from which on an input has it watched by name: one that was just created, or that only stopped matching.
fn begins_watch(seat: &Seat, input: &Input) -> Option<Pod> {
    match input {
        Input::Reply { to, reply: Reply::Pod(pod) } if !seat.eyes.is_shared() => {
            let created = matches!(seat.task.state().pending.get(to), Some(Command::Create(_)));
            created.then(|| (**pod).clone())
        }
        // Without the label it is only to be seen by its name.
        Input::Reply { reply: Reply::Pod(pod), .. } if !pod.metadata.labels.contains_key(marks::TASK) => {
            Some((**pod).clone())
        }
        _ => None,
    }
}
