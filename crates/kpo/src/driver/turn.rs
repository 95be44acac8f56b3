//! The loop: one input in, everything that follows from it out, then wait.

use super::clock::Clock;
use super::logs::Logs;
use super::pods::{Eyes, LastSights};
use super::{Boxed, Delivery, Event, TaskRequest, What, perform};
use crate::body::Template;
use crate::manager::PodManager;
use crate::result::Plan;
use crate::watch::{Observation, PodVersion};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kpo_core::{Command, CommandId, Create, Input, Naming, Output, Reply, Stop, Task, Time, Wait};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// An outage is said again after this long.
const TROUBLE_EVERY: Duration = Duration::from_secs(60);

/// A create whose answer is awaited.
struct Creating {
    id: CommandId,
    withdrawn: CancellationToken,
    /// Relists of a shared watch that were complete when it was begun.
    relists: u64,
}

/// Drives one task.
pub(super) struct Driver {
    pods: PodManager,
    core: Task,
    template: Option<Template>,
    plan: Option<Plan>,
    eyes: Eyes,
    sights: LastSights,
    logs: Logs,
    clock: Clock,
    replies: FuturesUnordered<BoxFuture<'static, (CommandId, Reply)>>,
    /// The last create, while its answer is awaited.
    creating: Option<Creating>,
    events: mpsc::UnboundedSender<Boxed>,
    stops: mpsc::UnboundedReceiver<Stop>,
    trouble_said: Option<Time>,
    /// Ends the reading of a result that nobody waits for any more.
    result_due: CancellationToken,
}

impl Driver {
    #[expect(clippy::too_many_arguments, reason = "one place makes it, from what it has just made")]
    pub(super) fn new(
        pods: PodManager,
        core: Task,
        request: Option<TaskRequest>,
        eyes: Eyes,
        logs: Logs,
        clock: Clock,
        events: mpsc::UnboundedSender<Boxed>,
        stops: mpsc::UnboundedReceiver<Stop>,
    ) -> Self {
        let sights = LastSights::default();
        let (template, plan) = request.map_or((None, None), |request| (Some(request.template), request.plan));
        Self {
            pods,
            core,
            template,
            plan,
            eyes,
            sights,
            logs,
            clock,
            replies: FuturesUnordered::new(),
            creating: None,
            events,
            stops,
            trouble_said: None,
            result_due: CancellationToken::new(),
        }
    }

    /// Until the task is over, or this observer leaves. `false`: neither; its watch has ended.
    pub(super) async fn run(mut self: Box<Self>) -> bool {
        loop {
            let wait = self.drain();
            if self.core.is_over() {
                return true;
            }
            let Some(input) = self.input(wait).await else { return false };
            let handled = self.core.handle(self.clock.now(), input);
            debug_assert_eq!(handled, Ok(()), "the driver keeps the contract");
        }
    }

    /// Does and says all that follows from the last input.
    fn drain(&mut self) -> Wait {
        loop {
            match self.core.poll() {
                Output::Command(id, command) => self.perform(id, command),
                Output::Event(event) => self.say(What::Task(event)),
                Output::Wait(wait) => return wait,
            }
        }
    }

    /// The next thing that happens.
    async fn input(&mut self, wait: Wait) -> Option<Input> {
        loop {
            let until = wait.until.map(|until| self.clock.instant(until));
            let tick = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(stop) = self.stops.recv() => return Some(Input::Stop(stop)),
                Some((to, reply)) = self.replies.next() => return Some(self.replied(to, reply)),
                seen = self.eyes.next() => if let Some(input) = self.seen(seen?) { return Some(input) },
                () = tick => return Some(Input::Tick),
            }
        }
    }

    fn say(&self, what: What) {
        // Nobody listens any more: the task goes on all the same.
        let _ = self.events.send(Box::new(Event { at: self.clock.now(), what }));
    }

    // --- commands -----------------------------------------------------------------------------------------------------------------

    fn perform(&mut self, id: CommandId, command: Command) {
        let reply: BoxFuture<'static, Reply> = match command {
            Command::Create(create) => self.create(id, create),
            Command::Withdraw { create } => return self.withdraw(create),
            Command::FollowLog { name, uid, container } => {
                self.say(What::Ran(container.clone()));
                return self.logs.follow(&name, &uid, &container, self.name_is_reused());
            }
            Command::CloseLogs { uid, .. } => self.logs.close(&uid),
            Command::ReadResult { name, uid } => self.read_result(name, uid),
            Command::Deliver(outcome) => self.deliver(outcome),
            Command::Delete { name, uid, resource_version, grace_seconds: None } if self.is_leaving(&uid) => {
                let (pods, sights) = (self.pods.clone(), self.sights.of(&uid));
                let mark = self.core.state().observer.mark();
                Box::pin(perform::clean_up(pods, sights, mark, (name, uid, resource_version)))
            }
            command => Box::pin(perform::perform(self.pods.clone(), command)),
        };
        self.replies.push(Box::pin(async move { (id, reply.await) }));
    }

    fn create(&mut self, id: CommandId, create: Box<Create>) -> BoxFuture<'static, Reply> {
        let (pods, spec, template) = (self.pods.clone(), self.core.spec().clone(), self.template.clone());
        let withdrawn = CancellationToken::new();
        self.creating = Some(Creating { id, withdrawn: withdrawn.clone(), relists: self.eyes.relists() });
        let (events, clock, said) = (self.events.clone(), self.clock, self.eyes.said());
        Box::pin(async move {
            let _ = withdrawn.run_until_cancelled(said).await;
            let (reply, costs) = perform::create_pod(pods, spec, template, create, withdrawn).await;
            if !costs.is_empty() {
                // Nobody listens any more: the task goes on all the same.
                let _ = events.send(Box::new(Event { at: clock.now(), what: What::Admitted(costs) }));
            }
            reply
        })
    }

    fn withdraw(&mut self, create: CommandId) {
        if let Some(creating) = self.creating.as_ref().filter(|creating| creating.id == create) {
            creating.withdrawn.cancel();
        }
    }

    /// Whether the current attempt's pod has the name that another had before.
    fn name_is_reused(&self) -> bool {
        self.core.spec().naming == Naming::Fixed && self.core.state().current.number > 1
    }

    /// Whether a pod's attempt is over, its log out and its verdict kept elsewhere.
    fn is_leaving(&self, uid: &str) -> bool {
        self.core.state().leaving.iter().any(|leaving| leaving.attempt.ledger.uid() == Some(uid))
    }

    fn read_result(&mut self, name: String, uid: String) -> BoxFuture<'static, Reply> {
        let Some(plan) = self.plan.clone() else {
            return Box::pin(async {
                Reply::Result(Err("how the result leaves the pod is not known here".to_owned()))
            });
        };
        let (pods, sights, due) = (self.pods.clone(), self.sights.of(&uid), self.result_due.clone());
        Box::pin(async move {
            tokio::select! {
                read = super::result::read(pods, plan, sights, name, uid) => Reply::Result(read),
                () = due.cancelled() => Reply::Result(Err("the outcome did not wait for it".to_owned())),
            }
        })
    }

    /// Hands the outcome over. Not taken, it is never answered: nothing is deleted.
    fn deliver(&self, outcome: Box<kpo_core::Outcome>) -> BoxFuture<'static, Reply> {
        self.result_due.cancel();
        let (taken, was_taken) = oneshot::channel();
        self.say(What::Outcome(Delivery { outcome, taken }));
        Box::pin(async move {
            match was_taken.await {
                Ok(()) => Reply::Done,
                Err(_) => std::future::pending().await,
            }
        })
    }

    // --- inputs -------------------------------------------------------------------------------------------------------------------

    /// A reply that shows a pod counts as a sight of it; one that shows it for the first time is where its watch begins.
    fn replied(&mut self, to: CommandId, reply: Reply) -> Input {
        let relists = self.creating.take_if(|creating| creating.id == to).map_or(0, |creating| creating.relists);
        if let Reply::Pod(pod) | Reply::Altered { pod, .. } = &reply {
            let created = self.core.state().pending.get(&to).is_some_and(|c| matches!(c, Command::Create(_)));
            if created {
                self.eyes.look_at(&self.pods, &PodVersion::of(pod), relists);
                self.say_result_limit(pod);
            } else if !pod.metadata.labels.contains_key(kpo_core::marks::TASK) {
                self.eyes.look_at_stray(&self.pods, &PodVersion::of(pod));
            }
            self.sights.saw(pod, false);
        }
        Input::Reply { to, reply }
    }

    /// What was injected at admission takes its share of a pod's termination messages: only the answer tells the limit.
    fn say_result_limit(&self, admitted: &kpo_core::Pod) {
        if let Some(plan) = &self.plan {
            self.say(What::ResultLimit(plan.limit(admitted)));
        }
    }

    fn seen(&mut self, observation: Observation) -> Option<Input> {
        match &observation {
            Observation::Seen { sighting, pod } => {
                self.pods.saw(pod);
                self.sights.saw(pod, matches!(sighting, crate::watch::Sighting::Deleted));
            }
            Observation::Trouble(trouble) => self.say_trouble(trouble.why.to_string()),
            Observation::Absent { uid, .. } => self.sights.lost(uid),
            Observation::Covered { .. } => self.trouble_said = None,
            Observation::Gap { .. } | Observation::Forbidden(_) => {}
        }
        observation.into_input()
    }

    fn say_trouble(&mut self, why: String) {
        let now = self.clock.now();
        if self.trouble_said.is_none_or(|last| now.since(last) >= TROUBLE_EVERY) {
            self.trouble_said = Some(now);
            self.say(What::Trouble(why));
        }
    }
}
