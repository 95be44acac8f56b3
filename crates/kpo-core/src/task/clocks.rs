//! The clocks: what each has used, and when it ends.

use super::advance::EXPLAIN_FOR;
use super::hold::is_gated;
use super::{Leaving, Stage, State, Task};
use crate::contract::{Because, Stop};
use crate::ledger::{Ledger, OVERDUE, Situation};
use crate::reason::Reason;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Time under an evidenced scale-up that is not charged to the scheduling clock, at most
/// (the cluster autoscaler gives a node 15 minutes to come up: `--max-node-provision-time`).
const SCALE_UP_CREDIT: Duration = Duration::from_secs(15 * 60);
/// A wait for a node or a start that lasts so long is explained by one list of events …
const EXPLAIN_AFTER: Duration = Duration::from_secs(10);
/// … and again after this long, since a scale-up may have begun or been given up.
const EXPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What an attempt's clocks have used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meter {
    /// Behind gates of others, or refused by a quota.
    pub queued: Duration,
    /// Without a node, and without a scale-up under way.
    pub scheduling: Duration,
    /// Without a node while a scale-up was under way.
    pub scaling_up: Duration,
}

impl Meter {
    /// The scheduling clock: credit beyond its limit is charged.
    fn scheduled(&self) -> Duration {
        self.scheduling + self.scaling_up.saturating_sub(SCALE_UP_CREDIT)
    }
}

/// A clock that runs: its end and the reason it ends with.
pub(super) struct Clock {
    pub(super) end: Time,
    pub(super) reason: Reason,
}

impl State {
    /// When the total clock ends. `None`: never.
    pub(super) fn total_deadline(&self) -> Option<Time> {
        self.spec.clocks.total.map(|limit| self.began + limit)
    }

    /// The situation of the current attempt.
    pub(super) fn situation(&self) -> Situation {
        self.current.ledger.situation(self.now, &self.spec.template)
    }

    fn queue_end(&self) -> Option<Time> {
        self.left(self.spec.clocks.queue, self.current.meter.queued)
    }

    fn schedule_end(&self, scaling_up: bool) -> Option<Time> {
        let credit = SCALE_UP_CREDIT.saturating_sub(self.current.meter.scaling_up);
        let end = self.left(self.spec.clocks.schedule, self.current.meter.scheduled())?;
        Some(if scaling_up { end + credit } else { end })
    }

    fn left(&self, limit: Option<Duration>, used: Duration) -> Option<Time> {
        limit.map(|limit| self.now + limit.saturating_sub(used))
    }

    /// The clock of the stage or situation, apart from the total one.
    pub(super) fn clock(&self) -> Option<Clock> {
        if let Stage::Creating { .. } = self.stage {
            let refused = self.refusal.as_ref().map_or(Reason::Unavailable, |(reason, _)| *reason);
            return self.queue_end().map(|end| Clock { end, reason: refused });
        }
        let (end, reason) = match self.situation() {
            Situation::Gated { others, .. } if !others.is_empty() => (self.queue_end()?, Reason::QueueTimeout),
            Situation::Unscheduled { scaling_up_since, .. } => {
                (self.schedule_end(scaling_up_since.is_some())?, Reason::ScheduleTimeout)
            }
            // What works on the way to the start is progress, however long it takes.
            Situation::Starting { init: Some(_), .. } => return None,
            Situation::Starting { progress, hindrance, .. } => {
                (progress + self.spec.clocks.start?, hindrance.unwrap_or(Reason::StartTimeout))
            }
            Situation::Running { .. } => (self.current.times.started? + self.spec.clocks.run?, Reason::RunTimeout),
            _ => return None,
        };
        Some(Clock { end, reason })
    }
}

impl Task {
    /// Moves time on and charges what has passed to the clock that ran.
    pub(super) fn charge(&mut self, now: Time) {
        let passed = now.since(self.state.now);
        if passed.is_zero() {
            return;
        }
        let situation = self.state.situation();
        let meter = &mut self.state.current.meter;
        match (&self.state.stage, situation) {
            (Stage::Creating { .. }, _) => meter.queued += passed,
            (Stage::Following, Situation::Gated { others, .. }) if !others.is_empty() => meter.queued += passed,
            (Stage::Following, Situation::Unscheduled { scaling_up_since: Some(_), .. }) => meter.scaling_up += passed,
            (Stage::Following, Situation::Unscheduled { .. }) => meter.scheduling += passed,
            _ => {}
        }
        self.state.now = now;
    }

    /// The earliest moment at which something is to be done without an input.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let state = &self.state;
        let stage = match &state.stage {
            Stage::Creating { again_at: None, .. } => self.deadline_passed().map(|at| at + OVERDUE),
            Stage::Creating { again_at, .. } => *again_at,
            Stage::Delaying { until } => {
                [Some(*until), state.hold_turns_at()].into_iter().flatten().filter(|at| *at > state.now).min()
            }
            Stage::Stopping { since, .. } => self.stopping_ends(*since),
            Stage::Cleaning => self.cleaning_ends(),
            Stage::Explaining { until } => Some(*until),
            Stage::Following => self.following_deadline(),
            Stage::Completing { .. } if self.awaits_result() => state.total_deadline(),
            _ => None,
        };
        let total = state.total_deadline().filter(|_| self.is_open() && self.is_active());
        let clock = state.clock().map(|clock| clock.end).filter(|_| self.may_time_out());
        let turns = state.current.ledger.turns_at(state.now, &state.spec.template);
        let leaving = state.leaving.iter().map(|leaving| &leaving.attempt);
        let again = leaving.chain([&state.current]).filter_map(|attempt| attempt.write_again_at);
        let again = again.filter(|at| *at > state.now).min();
        // What was due has been done, or waits for something else than time.
        [stage, total, clock, turns, state.read_again_at, again]
            .into_iter()
            .flatten()
            .filter(|at| *at > state.now)
            .min()
    }

    fn following_deadline(&self) -> Option<Time> {
        let held = self.state.current.ledger.last.as_ref().is_some_and(is_gated);
        let lift = self.state.hold_turns_at().filter(|_| held);
        let replace = match self.state.situation() {
            Situation::Terminating { unreachable_since: Some(since), .. } => {
                self.state.spec.replace_unreachable_after.map(|after| since + after)
            }
            _ => None,
        };
        let told = self.explained_until().filter(|_| self.state.current.said.asked_for_a_node);
        [lift, replace, told, self.explain_at()].into_iter().flatten().filter(|at| *at > self.state.now).min()
    }

    /// When the wait of the current attempt is (again) worth a list of its events. `None`: it is not.
    pub(super) fn explain_at(&self) -> Option<Time> {
        let waits = matches!(self.state.situation(), Situation::Unscheduled { .. } | Situation::Starting { .. });
        let since = self.state.current.times.assigned.or(self.state.current.times.created)?;
        let at = self.state.current.said.explained_at.map_or(since + EXPLAIN_AFTER, |last| last + EXPLAIN_EVERY);
        waits.then_some(at)
    }

    /// Whether a clock of the attempt's own may still stop it.
    pub(super) fn may_time_out(&self) -> bool {
        self.is_open() && self.is_active() && !self.state.current.is_terminating()
    }

    /// Whether a stop, or the end of the task's time, would still change something.
    fn is_open(&self) -> bool {
        matches!(self.state.stage, Stage::Creating { .. } | Stage::Delaying { .. } | Stage::Following)
    }

    /// When the task's own time was up, or its caller said so. `None`: it is not.
    pub(super) fn deadline_passed(&self) -> Option<Time> {
        let total = self.state.total_deadline().filter(|end| *end <= self.state.now && self.is_active());
        let told = self.state.stopped_at.filter(|_| self.state.stop == Some(Stop::Deadline));
        total.into_iter().chain(told).min()
    }

    /// Whether events are on their way that may tell of a node: the scheduling clock ends only when they were asked for.
    pub(super) fn hears_of_a_node(&mut self) -> bool {
        let Situation::Unscheduled { .. } = self.state.situation() else { return false };
        if !std::mem::replace(&mut self.state.current.said.asked_for_a_node, true) {
            self.explain();
        }
        self.awaits_events() && self.explained_until().is_some_and(|end| end > self.state.now)
    }

    /// Not longer than this are the events waited for that were asked for last.
    fn explained_until(&self) -> Option<Time> {
        self.state.current.said.explained_at.map(|at| at + EXPLAIN_FOR)
    }

    /// What events tell of a node that is being made, or will not be, they tell late: the time since then is charged as they say.
    pub(super) fn recharge(&mut self, before: Option<Time>) {
        let now = self.state.now;
        let Situation::Unscheduled { scaling_up_since: after, .. } = self.state.situation() else { return };
        let refused = self.state.current.ledger.no_scale_up;
        let meter = &mut self.state.current.meter;
        match (before, after, refused) {
            (None, Some(since), _) => {
                move_time(now.since(since), &mut meter.scheduling, &mut meter.scaling_up);
                self.state.current.said.asked_for_a_node = false;
            }
            (Some(_), None, Some(at)) => move_time(now.since(at), &mut meter.scaling_up, &mut meter.scheduling),
            _ => {}
        }
    }

    /// Since when a node is being made for the current attempt.
    pub(super) fn scaling_up_since(&self) -> Option<Time> {
        match self.state.situation() {
            Situation::Unscheduled { scaling_up_since, .. } => scaling_up_since,
            _ => None,
        }
    }

    /// What it waits for now.
    pub(super) fn because(&self) -> Because {
        let state = &self.state;
        match &state.stage {
            Stage::Creating { again_at: None, .. } => Because::Creation,
            Stage::Creating { again_at: Some(_), .. } => Because::Admission {
                message: state.refusal.clone().map(|(_, message)| message).unwrap_or_default(),
                deadline: state.clock().map(|clock| clock.end),
            },
            Stage::Delaying { .. } if state.predecessor_is_there() || self.waits_for_predecessor() => {
                self.because_of_predecessor()
            }
            Stage::Delaying { .. } => Because::Backoff,
            Stage::Following | Stage::Stopping { .. } => self.because_of_pod(),
            Stage::Explaining { .. } | Stage::Completing { .. } | Stage::Delivering { .. } | Stage::Cleaning => {
                Because::Completion
            }
            Stage::Finished => Because::Finished,
            Stage::Detached { .. } => Because::Detached,
        }
    }

    /// Whether the backoff is over, and an attempt before it may still be alive.
    fn waits_for_predecessor(&self) -> bool {
        let due = self.state.current.not_before.is_some_and(|at| at <= self.state.now);
        due && !self.state.is_released()
    }

    fn because_of_predecessor(&self) -> Because {
        let silent = |leaving: &&Leaving| leaving.attempt.ledger.silent_since(self.state.now).is_some();
        let ledger = self.state.leaving.iter().find(silent).map(|leaving| &leaving.attempt.ledger);
        ledger.and_then(unreachable).unwrap_or(Because::Predecessor)
    }

    fn because_of_pod(&self) -> Because {
        let deadline = self.state.clock().map(|clock| clock.end);
        match self.state.situation() {
            Situation::Gated { ours: true, .. } if self.waits_for_predecessor() => self.because_of_predecessor(),
            // The backoff lasts until kpo's gate is seen to be lifted.
            Situation::Gated { ours: true, others }
                if others.is_empty() || self.state.current.not_before > Some(self.state.now) =>
            {
                Because::Backoff
            }
            Situation::Gated { others, .. } => Because::Queue { gates: others, deadline },
            Situation::Unscheduled { message, scaling_up_since } => {
                let refused = self.state.current.ledger.no_scale_up_words();
                Because::Node { message, scaling_up: scaling_up_since.is_some(), refused, deadline }
            }
            Situation::Starting { node, waiting, .. } => {
                let message = self.state.current.ledger.hindrance(&self.state.spec.template);
                Because::Start { node, waiting, message, deadline }
            }
            Situation::Running { node } => {
                let deadline = self.state.total_deadline().into_iter().chain(deadline).min();
                Because::Program { node, deadline }
            }
            Situation::Terminating { node, unreachable_since } => {
                let silent = unreachable_since.and_then(|_| unreachable(&self.state.current.ledger));
                silent.unwrap_or(Because::Termination { node })
            }
            Situation::Doubtful | Situation::Ended => Because::Completion,
        }
    }
}

/// Moves as much time from one account to the other as the first one has.
fn move_time(span: Duration, from: &mut Duration, to: &mut Duration) {
    let moved = span.min(*from);
    *from -= moved;
    *to += moved;
}

/// The pod's node, which does not answer. `None`: it has none.
fn unreachable(ledger: &Ledger) -> Option<Because> {
    let node = ledger.node()?.to_owned();
    Some(Because::Unreachable { node, may_pull: ledger.may_pull() })
}
