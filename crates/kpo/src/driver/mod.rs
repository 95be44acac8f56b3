//! The driver: steps the core, does what it commands, and tells it what happened.
//!
//! ```no_run
//! # async fn doc(hook: kpo::KubernetesHook, manifest: kpo::manifest::Manifest) -> Result<(), Box<dyn std::error::Error>> {
//! use kpo::driver::{self, TaskRequest, What};
//! let request = TaskRequest::new("nightly", "batch", &manifest)?;
//! let mut running = driver::run(&hook, request);
//! while let Some(event) = running.next().await {
//!     match event.what {
//!         What::Log(piece) => println!("{piece:?}"),
//!         What::Outcome(delivery) => {
//!             println!("{}", delivery.outcome().message);
//!             delivery.taken(); // only now may anything be deleted
//!         }
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod attach;
mod clock;
mod logs;
mod perform;
mod pods;
mod result;
#[cfg(test)]
mod sight_tests;
mod sweeper;
#[cfg(test)]
mod tests;
mod turn;

use crate::body::{PackError, Template};
use crate::hook::KubernetesHook;
use crate::identity;
use crate::manager::PodManager;
use crate::manifest::Manifest;
use crate::result::{CONTAINER, Plan};
use crate::watch::Watch;
use clock::Clock;
use kpo_core::{Observer, Outcome, Spec, Stop, Task, Time};
use logs::Logs;
use pods::Eyes;
use tokio::sync::{mpsc, oneshot};

pub use attach::{AttachFailure, AttachRequest, InUse, attach, attach_beside, demand_protection, find, in_use};
pub use logs::{LogsRead, Piece};

/// Pieces of logs that wait for the reader, at most (and each stream's within its own bytes): a slow reader slows the streams, not the task.
const PIECES: usize = 16;

/// An event on its way: a channel sets aside room for 32 at once, for each of a thousand tasks.
type Boxed = Box<Event>;

/// A task to be run: what decisions need, and the template.
#[derive(Debug, Clone)]
pub struct TaskRequest {
    /// Identity, policies, clocks.
    pub spec: Spec,
    /// The manifest and what all attempts share.
    pub template: Template,
    /// How its result leaves the pod. `None`: none is wanted.
    pub plan: Option<Plan>,
}

/// Something happened to a task.
#[derive(Debug)]
pub struct Event {
    /// When, by this process's clock.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What happened. One stream serves the command line, JSON, Airflow's log and the metrics.
#[derive(Debug)]
#[non_exhaustive]
pub enum What {
    /// A step of the task's life.
    Task(kpo_core::Event),
    /// A container of the current pod was seen to run, or to have run, whoever put it there.
    Ran(String),
    /// Lines of a container's log, or a gap in it.
    Log(Piece),
    /// A pod was admitted, but not quite as it was sent: what admission changed and what that costs, one clause each. The task runs on.
    Admitted(Vec<String>),
    /// A pod was admitted: most bytes of a result that can leave it.
    ResultLimit(usize),
    /// The watch does not stand: what is wrong. Said once an outage, and again every minute.
    Trouble(String),
    /// It is over: take it durably, then say so. Nothing is deleted before.
    Outcome(Delivery),
    /// The driver has failed, which is a bug: nothing more comes, and the task's pod, if there is one, stays as it is.
    Crashed(String),
}

/// The outcome, handed over. Dropped without [`Delivery::taken`] it counts as not taken: pods stay.
#[derive(Debug)]
pub struct Delivery {
    outcome: Box<Outcome>,
    taken: oneshot::Sender<()>,
}

impl Delivery {
    /// What the task came to.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The caller has it for good: clean up.
    pub fn taken(self) -> Outcome {
        // The driver is gone: it left, or was dropped; the outcome is the caller's all the same.
        let _ = self.taken.send(());
        *self.outcome
    }
}

/// A task under way. Dropping it leaves the pod as it is.
#[derive(Debug)]
pub struct Running {
    spec: Spec,
    template: Option<Template>,
    clock: Clock,
    events: mpsc::UnboundedReceiver<Boxed>,
    logs: mpsc::Receiver<Box<logs::OnItsWay>>,
    outcome: Option<Boxed>,
    stops: mpsc::UnboundedSender<Stop>,
    /// Ends in whether the task is over, or was left. `None`: its end was taken note of.
    task: Option<tokio::task::JoinHandle<bool>>,
}

impl Running {
    /// The next event; `None` after the last. A reader that is slow slows the logs, and nothing else; the outcome comes after the last
    /// line. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        while self.outcome.is_none() {
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Some(event) if matches!(event.what, What::Outcome(_)) => self.outcome = Some(event),
                    Some(event) => return Some(*event),
                    None => return self.crashed().await,
                },
                Some(piece) = self.logs.recv() => return Some(piece.event),
            }
        }
        match self.logs.try_recv() {
            Ok(piece) => Some(piece.event),
            Err(_) => self.outcome.take().map(|outcome| *outcome),
        }
    }

    /// Where no event comes any more: what is wrong, once, if that is not the end.
    async fn crashed(&mut self) -> Option<Event> {
        let ended = self.task.as_mut()?.await;
        self.task = None;
        let why = match ended {
            Ok(true) => return None,
            Ok(false) => "it sees nothing any more".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(Event { at: self.clock.now(), what: What::Crashed(why) })
    }

    /// The task: as asked for, or, attached to, as its pod carries it.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The manifest as submitted. `None`: attached to, it did not travel with the pod; then no attempt is ever made from here.
    pub fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// A handle that stops it, for a signal handler.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stops.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Stops a task. Clones stop the same one.
#[derive(Debug, Clone)]
pub struct Stopper(mpsc::UnboundedSender<Stop>);

impl Stopper {
    /// Asks it to stop; a weaker wish than one before changes nothing.
    pub fn stop(&self, stop: Stop) {
        // It is over already.
        let _ = self.0.send(stop);
    }
}

impl TaskRequest {
    /// A task of a manifest, with every default.
    ///
    /// # Errors
    /// The manifest is too large to travel with its pods.
    pub fn new(task: &str, namespace: &str, manifest: &Manifest) -> Result<Self, PackError> {
        let mut spec = Spec::minimal(task, namespace, &identity::nonce());
        spec.template = manifest.template();
        spec.clocks.total = manifest.total;
        Ok(Self { spec, template: Template::new(manifest.pod.clone(), true)?, plan: None })
    }
}

/// Runs a task in this process. Needs a tokio runtime.
pub fn run(hook: &KubernetesHook, request: TaskRequest) -> Running {
    let clock = Clock::start(hook);
    let core = Task::new(clock.now(), request.spec.clone(), Observer::first(identity::observer()));
    start(hook.pods(&request.spec.namespace), core, Some(request), None, clock, LogsRead::new())
}

/// Runs a task beside others, all seen by one watch of their namespace ([`Watch::start`]): it is created when that watch stands, or is known not
/// to. Kept pods that the watch shows to have expired are removed, whose task it may have been. `None`: another task of that id is watched in
/// this process.
pub fn run_beside(hook: &KubernetesHook, watch: &Watch, request: TaskRequest) -> Option<Running> {
    let clock = Clock::start(hook);
    let subscription = watch.subscribe(&request.spec.task)?;
    sweeper::start(&hook.pods(&request.spec.namespace), watch, clock);
    let core = Task::new(clock.now(), request.spec.clone(), Observer::first(identity::observer()));
    Some(start(hook.pods(&request.spec.namespace), core, Some(request), Some(subscription), clock, LogsRead::new()))
}

fn start(
    pods: PodManager,
    core: Task,
    request: Option<TaskRequest>,
    shared: Option<crate::watch::Subscription>,
    clock: Clock,
    read: LogsRead,
) -> Running {
    let (event_sender, events) = mpsc::unbounded_channel();
    let (piece_sender, logs) = mpsc::channel(PIECES);
    let (stops, stop_receiver) = mpsc::unbounded_channel();
    let eyes = shared.map_or_else(|| Eyes::Own(Vec::new()), |shared| Eyes::Shared(shared, None));
    let (spec, template) = (core.spec().clone(), request.as_ref().map(|request| request.template.clone()));
    let logs_of = Logs::new(pods.clone(), clock, piece_sender, vec![CONTAINER.to_owned()], read);
    let driver = Box::new(turn::Driver::new(pods, core, request, eyes, logs_of, clock, event_sender, stop_receiver));
    let task = Some(tokio::spawn(driver.run()));
    Running { spec, template, clock, events, logs, outcome: None, stops, task }
}
