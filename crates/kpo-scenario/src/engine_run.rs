//! A scenario on the engine: kpo's driver, its requests over the lab's API server in-process, under tokio's paused clock.

use crate::audit::{self, Audited, Book, Evidence};
use crate::core_run::{BACK_AFTER, Run, Sabotage, Upset, core_time};
use crate::expect::{self, Expectation, Rigour};
use crate::grammar::{Deed, Doing, Moment, Scenario};
use crate::lines::{Finished, Mangler};
use crate::seat;
use crate::transcript::{Piece, Printed, What};
use crate::wire::{Tap, Wire};
use kpo::KubernetesHook;
use kpo::driver::{self, AttachRequest, Running, TaskRequest, What as Told};
use kpo::logs::LogEvent;
use kpo::request::{Backoff, Jitter, RequestOptions};
use kpo::watch::{Watch, WatchOptions};
use kpo_core::{Event, Stop};
use kpo_lab::{Lab, LabOptions, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// What is told at most in a run: more is a livelock.
const TOLD: usize = 20_000;
/// After the last observer is done, this long is watched for what still happens.
const AFTERMATH: Duration = Duration::from_secs(600);
/// A run is ended after so long of virtual time, whatever the task waits for.
const LONGEST: Duration = Duration::from_secs(86_400);
/// After this it is attached again where no server answered.
const ATTACH_AGAIN: Duration = Duration::from_secs(60);
/// How often pods' states are looked at for those who wait for one.
const LOOK: Duration = Duration::from_millis(10);

/// Runs a scenario once on the engine and the lab. For [`Upset::Crash`], `command` counts writes.
pub fn run(scenario: &Scenario, upset: Upset, sabotage: Option<Sabotage>) -> Run {
    run_for(scenario, upset, sabotage, LONGEST)
}

/// The same, ended after so long of virtual time at the latest.
pub(crate) fn run_for(scenario: &Scenario, upset: Upset, sabotage: Option<Sabotage>, longest: Duration) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    // Only a system without threads or timers refuses.
    let runtime = runtime.expect("a runtime of one thread can be made");
    runtime.block_on(async {
        let mut runner = Runner::new(scenario, upset);
        (runner.sabotage, runner.longest) = (sabotage, longest);
        runner.run().await;
        runner.finish()
    })
}

/// As a person who attaches does: while no server answers, it is tried again.
async fn attached(hook: &KubernetesHook, request: &AttachRequest) -> Result<Running, driver::AttachFailure> {
    let until = Instant::now() + LONGEST;
    loop {
        match driver::attach(hook, request.clone()).await {
            Err(driver::AttachFailure::List { source, .. })
                if source.failure.is_transient() && Instant::now() < until =>
            {
                tokio::time::sleep(ATTACH_AGAIN).await;
            }
            attached => return attached,
        }
    }
}

/// An observer.
struct Observer {
    /// Counts its incarnations: what an earlier one still says is not heard.
    life: u64,
    /// Keeps the shared watch of a task that runs beside others.
    _watch: Option<Watch>,
    stopper: driver::Stopper,
    /// Reads it; dropping what it reads ends the driver.
    pump: JoinHandle<()>,
}

/// What an observer says: its name, its life, and the event; `None` when nothing more comes.
type Heard = (String, u64, Option<driver::Event>);

struct Runner<'s> {
    scenario: &'s Scenario,
    lab: Arc<Lab>,
    wire: Wire,
    book: Book,
    observers: BTreeMap<String, Observer>,
    heard: mpsc::UnboundedReceiver<Heard>,
    tell: mpsc::UnboundedSender<Heard>,
    crashes: mpsc::UnboundedReceiver<String>,
    began: Instant,
    done: BTreeSet<usize>,
    /// The beginnings of lines, with their timestamps, by life, pod and container.
    partial: BTreeMap<(u64, String, String), (kpo_core::Time, Vec<u8>)>,
    mangler: Mangler,
    finished: Vec<Finished>,
    because: BTreeMap<String, String>,
    lives: u64,
    told: usize,
    left: bool,
    lost: bool,
    cut: bool,
    upset: Upset,
    sabotage: Option<Sabotage>,
    longest: Duration,
    stuck: Option<String>,
}

impl<'s> Runner<'s> {
    fn new(scenario: &'s Scenario, upset: Upset) -> Self {
        let (runtime, book) = Audited::new(scenario.runtime(), Lab::EPOCH);
        let mut world = World::new(Lab::EPOCH, 7, Box::new(runtime));
        world.play(&scenario.script);
        let lab = Arc::new(Lab::in_process(world, LabOptions::default()));
        let (crash, crashes) = mpsc::unbounded_channel();
        let (tell, heard) = mpsc::unbounded_channel();
        let wire = Wire::new(Arc::clone(&lab), scenario, upset, crash);
        let mut runner = Self {
            scenario,
            lab,
            wire,
            book,
            observers: BTreeMap::new(),
            heard,
            tell,
            crashes,
            began: Instant::now(),
            done: BTreeSet::new(),
            partial: BTreeMap::new(),
            mangler: Mangler::default(),
            finished: Vec::new(),
            because: BTreeMap::new(),
            lives: 0,
            told: 0,
            left: false,
            lost: false,
            cut: false,
            upset,
            sabotage: None,
            longest: LONGEST,
            stuck: None,
        };
        runner.start();
        runner
    }

    fn hook(&self, observer: &str, life: u64) -> KubernetesHook {
        let mut options = RequestOptions {
            backoff: Backoff { jitter: Jitter::none(), ..Backoff::default() },
            ..RequestOptions::default()
        };
        options.limit.per_second = 0;
        let tap = Tap::new(self.wire.clone(), observer, life);
        let client = kube::Client::new(tap, self.scenario.task.spec.namespace.as_str());
        let began = self.began;
        let cluster_time = move || core_time(Lab::EPOCH) + began.elapsed();
        KubernetesHook::from_client(client, options).with_wall_clock(Arc::new(cluster_time))
    }

    fn start(&mut self) {
        self.lives += 1;
        let (part, hook) = (&self.scenario.task, self.hook("a", self.lives));
        let request = TaskRequest { spec: part.spec.clone(), template: part.template.clone(), plan: part.plan.clone() };
        let watch = part.beside_others.then(|| {
            Watch::start(
                hook.pods(&part.spec.namespace).requests().clone(),
                &part.spec.namespace,
                WatchOptions::default(),
            )
        });
        let running = match &watch {
            Some(watch) => driver::run_beside(&hook, watch, request).expect("a new watch has no task"),
            None => driver::run(&hook, request),
        };
        self.seat("a", running, watch);
    }

    fn seat(&mut self, name: &str, running: Running, watch: Option<Watch>) {
        let stopper = running.stopper();
        let pump = tokio::spawn(pump(name.to_owned(), self.lives, running, self.tell.clone()));
        let observer = Observer { life: self.lives, _watch: watch, stopper, pump };
        self.observers.insert(name.to_owned(), observer);
    }

    // --- the loop -----------------------------------------------------------------------------------------------------------------

    async fn run(&mut self) {
        while self.told < TOLD {
            self.do_doings().await;
            let until = self.next_doing();
            tokio::select! {
                biased;
                Some(observer) = self.crashes.recv() => self.crash(&observer).await,
                Some(heard) = self.heard.recv() => self.hear(heard),
                () = sleep_until(until) => {}
            }
            if self.is_cut() || self.is_over() {
                break;
            }
        }
        if self.told >= TOLD {
            self.stuck = Some(format!("a livelock: {TOLD} events, and no end"));
        }
        if !self.cut {
            self.aftermath().await;
        }
    }

    /// What still happens when all are done.
    async fn aftermath(&mut self) {
        let end = Instant::now() + AFTERMATH;
        while let Ok(Some(heard)) = tokio::time::timeout_at(end, self.heard.recv()).await {
            self.hear(heard);
        }
        sleep_until(end).await;
    }

    fn is_cut(&mut self) -> bool {
        self.cut = self.scenario.cut_at().is_some_and(|at| self.began.elapsed() >= at);
        self.cut
    }

    fn is_over(&self) -> bool {
        let to_come = self.pending().any(|(_, doing)| matches!(doing.when, Moment::At(_)));
        (self.observers.is_empty() && !to_come) || self.began.elapsed() >= self.longest
    }

    fn pending(&self) -> impl Iterator<Item = (usize, &'s Doing)> {
        let done = self.done.clone();
        self.scenario.doings.iter().enumerate().filter(move |(index, _)| !done.contains(index))
    }

    /// When the doings are to be looked at next.
    fn next_doing(&self) -> Instant {
        let now = Instant::now();
        let moments = self.pending().map(|(_, doing)| match doing.when {
            Moment::At(at) => (self.began + at).max(now),
            Moment::When { .. } => now + LOOK,
        });
        let cut = self.scenario.cut_at().map(|at| self.began + at);
        moments.chain(cut).chain([self.began + self.longest]).min().unwrap_or(now)
    }

    fn hear(&mut self, (name, life, event): Heard) {
        if self.observers.get(&name).is_none_or(|observer| observer.life != life) {
            return;
        }
        self.told += 1;
        match event {
            Some(event) => self.put_down(&name, life, event),
            None => drop(self.observers.remove(&name)),
        }
    }

    fn put_down(&mut self, name: &str, life: u64, event: driver::Event) {
        let what = match event.what {
            Told::Task(event) => {
                if let Event::Waiting { because, .. } = &event {
                    self.because.insert(name.to_owned(), expect::because(because));
                }
                What::Said(event)
            }
            Told::Log(piece) => return self.print(name, life, &piece),
            Told::Trouble(why) => What::Runner(format!("trouble: {why}")),
            Told::Outcome(delivery) => {
                let outcome = delivery.taken();
                let last = outcome.attempts.last().map(|last| (last.number, last.pod.name.clone()));
                self.finished.push(Finished { life, observer: name.to_owned(), at: self.lab.now(), last });
                What::Outcome(Box::new(outcome))
            }
            other => What::Runner(format!("{other:?}")),
        };
        self.wire.record(name, what);
    }

    /// What comes of logs; pieces of one line are put together.
    fn print(&mut self, name: &str, life: u64, piece: &driver::Piece) {
        match &piece.event {
            LogEvent::Lines(batch) => {
                for line in batch.iter() {
                    let key = (life, piece.pod.to_string(), piece.container.to_string());
                    let (at, mut open) = self.partial.remove(&key).unwrap_or((line.time, Vec::new()));
                    open.extend_from_slice(line.bytes);
                    if line.partial {
                        self.partial.insert(key, (at, open));
                        continue;
                    }
                    let text = String::from_utf8_lossy(&open).trim_end_matches(['\n', '\r']).to_owned();
                    self.put_down_piece(name, life, piece, Printed::Line { at, text });
                }
            }
            LogEvent::Gap(gap) => {
                let (after, before, cause) = (gap.after, gap.before, format!("{:?}", gap.cause));
                self.put_down_piece(name, life, piece, Printed::Gap { after, before, cause });
            }
            LogEvent::Trouble(_) | LogEvent::End => {}
        }
    }

    fn put_down_piece(&mut self, name: &str, life: u64, piece: &driver::Piece, what: Printed) {
        let own = *piece.container == *self.scenario.task.spec.template.container;
        let container = (!own).then(|| piece.container.to_string());
        let piece = Piece { life, pod: piece.pod.to_string(), container, what };
        let mangled = self.sabotage.map_or_else(|| vec![piece.clone()], |defect| self.mangler.mangle(defect, &piece));
        mangled.into_iter().for_each(|piece| self.wire.record(name, What::Log(piece)));
    }

    // --- what observers and the user do -------------------------------------------------------------------------------------------

    async fn do_doings(&mut self) {
        let due: Vec<(usize, &Doing)> = self.pending().filter(|(_, doing)| self.is_due(doing)).collect();
        for (index, doing) in due {
            self.done.insert(index);
            self.do_it(doing).await;
        }
    }

    fn is_due(&self, doing: &Doing) -> bool {
        match &doing.when {
            Moment::At(at) => self.began.elapsed() >= *at,
            Moment::When { pod, state } => {
                let (born, spec) = (self.wire.born(), &self.scenario.task.spec);
                self.lab.with(|_, world| seat::is_in_state(world.store(), &born, spec, pod, state))
            }
        }
    }

    async fn do_it(&mut self, doing: &Doing) {
        let name = doing.observer.as_str();
        self.wire.record(name, What::Does(doing.deed));
        match doing.deed {
            Deed::Cancels => self.stop(name, Stop::User),
            Deed::Leaves => {
                self.left = true;
                self.stop(name, Stop::Shutdown);
            }
            Deed::Dies => {
                self.left = true;
                self.kill(name);
            }
            Deed::Follows => self.attach(name, false).await,
            Deed::TakesOver => {
                self.left = false;
                self.attach(name, true).await;
            }
        }
    }

    fn stop(&mut self, name: &str, stop: Stop) {
        if let Some(observer) = self.observers.get(name) {
            observer.stopper.stop(stop);
        }
    }

    /// The process is gone: nothing that it had under way goes on.
    fn kill(&mut self, name: &str) {
        if let Some(observer) = self.observers.remove(name) {
            self.wire.silence(observer.life);
            observer.pump.abort();
        }
    }

    async fn crash(&mut self, name: &str) {
        self.kill(name);
        tokio::time::sleep(BACK_AFTER).await;
        self.attach(name, true).await;
        if self.scenario.has_cancelled(name, &self.done) {
            self.stop(name, Stop::User);
        }
    }

    async fn attach(&mut self, name: &str, take_over: bool) {
        self.lives += 1;
        let (hook, spec) = (self.hook(name, self.lives), &self.scenario.task.spec);
        let request = AttachRequest { take_over, ..AttachRequest::follow(&spec.task, &spec.namespace) };
        match attached(&hook, &request).await {
            Ok(running) => self.seat(name, running, None),
            Err(error) => {
                self.lost = true;
                self.wire.record(name, What::Runner(format!("attach: {error}")));
            }
        }
    }

    // --- the end ------------------------------------------------------------------------------------------------------------------

    fn finish(self) -> Run {
        let (records, born, writes, has_upset) = self.wire.close();
        let mut faults: Vec<String> = self.stuck.iter().cloned().collect();
        let scenario = self.scenario;
        if self.upset == Upset::None {
            faults.extend(expect::compare(&scenario.expected, &records, Rigour::Writes));
            faults.extend(self.waits());
            faults.extend(self.counts());
        }
        let disturbed = self.left || self.lost;
        let over = self.observers.is_empty();
        let mut from_world = Vec::new();
        let violations = self.lab.with(|_, world| {
            if let Some(livelock) = world.livelock() {
                from_world.push(format!("the lab: {livelock}"));
            }
            if self.upset == Upset::None {
                from_world.extend(seat::without_effect(world));
            }
            let (spec, store) = (&scenario.task.spec, world.store());
            if self.upset == Upset::None && !self.cut {
                from_world.extend(expect::keeps(&scenario.expected, store, spec));
            }
            let evidence = Evidence {
                spec,
                book: &self.book,
                born: &born,
                store,
                records: &records,
                began: Lab::EPOCH,
                over,
                cut: self.cut,
                left: disturbed,
                lost: self.lost,
                permits: scenario.permits.as_deref(),
                finished: Some(&self.finished),
            };
            audit::check(&evidence)
        });
        faults.extend(from_world);
        let seen = self.lab.journal();
        let requests = seen.iter().map(|seen| format!("{} {} {} {}", seen.at, seen.verb, seen.resource, seen.name));
        Run {
            records,
            requests: requests.collect(),
            faults,
            violations,
            commands: writes,
            writes,
            created: born.pods.len(),
            upset_was: self.upset,
            upset: has_upset,
            lost: self.lost,
        }
    }

    fn waits(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for expected in &self.scenario.expected {
            let Expectation::Waits(what, at) = &expected.what else { continue };
            let found = self.because.get(&expected.observer).cloned().unwrap_or_default();
            if found.split(' ').next() != Some(what) {
                faults.push(format!("line {}: at {at:?} it waits for {found:?}", expected.line));
            }
        }
        faults
    }

    fn counts(&self) -> Vec<String> {
        let requests: u64 = self.lab.requests().values().sum();
        let most = self.scenario.expected.iter().filter_map(|expected| match expected.what {
            Expectation::Requests(most) if requests > most => Some(expected.line),
            _ => None,
        });
        let kinds = || {
            let kinds = self.lab.requests();
            kinds.iter().map(|(kind, n)| format!("{n} {} {}", kind.verb, kind.resource)).collect::<Vec<_>>().join(", ")
        };
        most.map(|line| format!("line {line}: {requests} requests were made: {}", kinds())).collect()
    }
}

/// Hands over all that an observer says, and that it is done.
async fn pump(name: String, life: u64, mut running: Running, told: mpsc::UnboundedSender<Heard>) {
    while let Some(event) = running.next().await {
        // The runner is gone only when the run is over.
        let _ = told.send((name.clone(), life, Some(event)));
    }
    let _ = told.send((name, life, None));
}
