//! The clocks: what each has used, and when it ends.

use super::{Stage, State, Task};
use crate::contract::Because;
use crate::ledger::Situation;
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
        if let Stage::Creating { again_at: Some(_) } = self.stage {
            return self.queue_end().map(|end| Clock { end, reason: Reason::QuotaExceeded });
        }
        let (end, reason) = match self.situation() {
            Situation::Gated { others, .. } if !others.is_empty() => (self.queue_end()?, Reason::QueueTimeout),
            Situation::Unscheduled { scaling_up_since, .. } => {
                (self.schedule_end(scaling_up_since.is_some())?, Reason::ScheduleTimeout)
            }
            Situation::Starting { progress, hindrance, .. } => {
                (progress + self.spec.clocks.start?, hindrance.unwrap_or(Reason::StartTimeout))
            }
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
            (Stage::Creating { again_at: Some(_) }, _) => meter.queued += passed,
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
            Stage::Creating { again_at } => *again_at,
            Stage::Delaying { until } => Some(*until),
            Stage::Explaining { until } => Some(*until),
            Stage::Following => self.following_deadline(),
            Stage::Completing { .. } if self.awaits_result() => state.total_deadline(),
            _ => None,
        };
        let total = state.total_deadline().filter(|_| self.may_time_out());
        let clock = state.clock().map(|clock| clock.end).filter(|_| self.may_time_out());
        let turns = state.current.ledger.turns_at(state.now, &state.spec.template);
        // What was due has been done, or waits for something else than time.
        [stage, total, clock, turns, state.read_again_at].into_iter().flatten().filter(|at| *at > state.now).min()
    }

    fn following_deadline(&self) -> Option<Time> {
        let lift = self.state.current.not_before;
        let replace = match self.state.situation() {
            Situation::Terminating { unreachable_since: Some(since), .. } => {
                self.state.spec.replace_unreachable_after.map(|after| since + after)
            }
            _ => None,
        };
        [lift, replace, self.explain_at()].into_iter().flatten().min()
    }

    /// When the wait of the current attempt is (again) worth a list of its events. `None`: it is not.
    pub(super) fn explain_at(&self) -> Option<Time> {
        let waits = matches!(self.state.situation(), Situation::Unscheduled { .. } | Situation::Starting { .. });
        let since = self.state.current.times.assigned.or(self.state.current.times.created)?;
        let at = self.state.current.said.explained_at.map_or(since + EXPLAIN_AFTER, |last| last + EXPLAIN_EVERY);
        waits.then_some(at)
    }

    /// Whether a clock may still stop the task.
    pub(super) fn may_time_out(&self) -> bool {
        let open = matches!(self.state.stage, Stage::Creating { .. } | Stage::Delaying { .. } | Stage::Following);
        open && self.is_active() && !self.state.current.is_terminating()
    }

    /// What it waits for now.
    pub(super) fn because(&self) -> Because {
        let state = &self.state;
        match &state.stage {
            Stage::Creating { again_at: None } => Because::Creation,
            Stage::Creating { again_at: Some(_) } => Because::Admission {
                message: state.refusal.clone().unwrap_or_default(),
                deadline: state.clock().map(|clock| clock.end),
            },
            Stage::Delaying { .. } if state.predecessor_is_there() => Because::Predecessor,
            Stage::Delaying { .. } => Because::Backoff,
            Stage::Following | Stage::Stopping { .. } => self.because_of_pod(),
            Stage::Explaining { .. } | Stage::Completing { .. } | Stage::Delivering { .. } | Stage::Cleaning => {
                Because::Completion
            }
            Stage::Finished => Because::Finished,
            Stage::Detached => Because::Detached,
        }
    }

    fn because_of_pod(&self) -> Because {
        let deadline = self.state.clock().map(|clock| clock.end);
        match self.state.situation() {
            // The backoff lasts until kpo's gate is seen to be lifted.
            Situation::Gated { ours: true, others }
                if others.is_empty() || self.state.current.not_before > Some(self.state.now) =>
            {
                Because::Backoff
            }
            Situation::Gated { others, .. } => Because::Queue { gates: others, deadline },
            Situation::Unscheduled { message, scaling_up_since } => {
                Because::Node { message, scaling_up: scaling_up_since.is_some(), deadline }
            }
            Situation::Starting { node, waiting, .. } => {
                let message = self.state.current.ledger.hindrance(&self.state.spec.template);
                Because::Start { node, waiting, message, deadline }
            }
            Situation::Running { node } => Because::Program { node, deadline: self.state.total_deadline() },
            Situation::Terminating { node: Some(node), unreachable_since: Some(_) } => Because::Unreachable { node },
            Situation::Terminating { node, .. } => Because::Termination { node },
            Situation::Doubtful | Situation::Ended => Because::Completion,
        }
    }
}
