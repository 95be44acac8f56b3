//! What keeps the next attempt from running: its backoff, and an attempt before it that may still be alive.

use super::{Leaving, State, Task};
use crate::classify;
use crate::contract::{Command, Event, Hindrance, Refusal, Reply};
use crate::ledger::Absence;
use crate::pod::Pod;
use crate::reason::Reason;
use crate::spec::RerunPolicy;
use crate::task::advance::TRY_AGAIN;
use crate::task::{Attempt, Stage};
use crate::time::Time;
use crate::{Sight, marks};
use std::time::Duration;

/// What is waited beyond the grace where nobody attested that the old pod's containers are stopped: PodGC and forced deletions remove the
/// object while the machine may still run it (recording `node_deleted`: 2.5 s; a kubelet cut off from its API server acts on deletions when
/// it is back, so this bounds only a kubelet that is alive).
pub(super) const STOP_MARGIN: Duration = Duration::from_secs(30);

/// A predecessor that holds the next attempt is asked for again after this.
const ASK_EVERY: Duration = Duration::from_secs(60);

/// How long attempts before the current one keep it from running, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hold {
    /// They stand still.
    Free,
    /// Nobody attested that; by then they do.
    Until(Time),
    /// One is there and may run: only what is seen of it changes that.
    Alive,
}

impl State {
    /// What keeps the current attempt from running, apart from its backoff.
    pub(super) fn hold(&self) -> Hold {
        let strongest = self.leaving.iter().map(|leaving| self.hold_of(leaving)).max().unwrap_or(Hold::Free);
        match strongest {
            Hold::Until(at) if at <= self.now => Hold::Free,
            hold => hold,
        }
    }

    /// A replacement demands that a kubelet attested the end, or that the pod is over for so long that nothing of it can run; or that its
    /// node does not answer, and the user took the risk.
    fn hold_of(&self, leaving: &Leaving) -> Hold {
        let attempt = &leaving.attempt;
        let stopped = attempt.verdict.as_ref().is_some_and(|verdict| verdict.stopped);
        if stopped || classify::is_stopped(&attempt.ledger, &self.spec.template) {
            return Hold::Free;
        }
        if let Some(over) = attempt.ledger.over_at() {
            return Hold::Until(over + self.grace() + STOP_MARGIN);
        }
        match (attempt.ledger.silent_since(self.now), self.spec.replace_unreachable_after) {
            (Some(since), Some(after)) => Hold::Until(since + after),
            _ => Hold::Alive,
        }
    }

    /// When time alone changes what keeps the current attempt from running. `None`: it does not.
    pub(super) fn hold_turns_at(&self) -> Option<Time> {
        let asks = |leaving: &Leaving| Some(leaving.asked_at? + ASK_EVERY);
        let changes = |leaving: &Leaving| leaving.attempt.ledger.overdue().into_iter().chain(asks(leaving)).min();
        let by_predecessor = match self.hold() {
            Hold::Free => None,
            Hold::Until(at) => Some(at),
            Hold::Alive => self.leaving.iter().filter_map(changes).filter(|at| *at > self.now).min(),
        };
        self.current.not_before.into_iter().chain(by_predecessor).filter(|at| *at > self.now).min()
    }

    /// Whether it may run now.
    pub(super) fn is_released(&self) -> bool {
        self.current.not_before.is_none_or(|at| at <= self.now) && self.hold() == Hold::Free
    }

    /// The task's grace.
    pub(super) fn grace(&self) -> Duration {
        Duration::from_secs(u64::from(self.spec.template.grace_seconds))
    }
}

impl Task {
    /// Whether the attempt before, judged never to have started, was seen since to have run; and the program may not run twice.
    pub(super) fn predecessor_ran(&self) -> bool {
        let template = &self.state.spec.template;
        let ran =
            |attempt: &Attempt| attempt.is_believed_unstarted() && attempt.ledger.started(template).next().is_some();
        let may_run_twice = self.state.spec.rerun.policy == RerunPolicy::Idempotent;
        !may_run_twice && self.state.leaving.iter().any(|leaving| ran(&leaving.attempt))
    }

    /// Nobody may see any more what has become of a predecessor that holds the next attempt: it is asked for by name, now and then.
    pub(super) fn ask_for_predecessors(&mut self) {
        let now = self.state.now;
        let due = self.state.current.not_before.is_some_and(|at| at <= now);
        // One that is still to be deleted is heard of by that.
        let is_due = |leaving: &Leaving| !leaving.delete && leaving.asked_at.is_none_or(|at| at + ASK_EVERY <= now);
        let alive = |leaving: &Leaving| self.state.hold_of(leaving) == Hold::Alive;
        let found = self.state.leaving.iter().position(|leaving| due && is_due(leaving) && alive(leaving));
        if let Some(leaving) = found.map(|index| &mut self.state.leaving[index]) {
            leaving.asked_at = Some(now);
            let (name, uid) = (leaving.attempt.name.clone(), leaving.attempt.uid());
            self.read_pod(name, uid);
        }
    }

    /// Whether the current pod is to be held, and is not: the cluster has no gates, or somebody took it off.
    pub(super) fn has_escaped(&self) -> bool {
        let current = &self.state.current;
        let free = |pod: &Pod| !is_gated(pod) && !pod.is_terminating();
        let escaped = current.not_before.is_some() && current.ledger.last.as_ref().is_some_and(free);
        escaped && self.state.hold() != Hold::Free
    }

    /// Two lives may meet: what escaped is stopped. Where the program may run twice the same attempt is made again, and waited for in memory.
    pub(super) fn stop_escaped(&mut self) -> bool {
        if self.state.spec.rerun.policy == RerunPolicy::Idempotent {
            self.do_without_gates();
            return true;
        }
        let lost = "the scheduling gate was removed, and nobody attested that the attempt before stands still";
        self.state.refusal = Some((Reason::Altered, lost.to_owned()));
        self.stop_because(Reason::Altered)
    }

    /// The API server took the pod, but not its gate: the next attempts are waited for in memory.
    pub(super) fn lacks_gate(&mut self) {
        self.state.spec.gates = false;
        let message = "the API server dropped the scheduling gate".to_owned();
        self.hinder(Hindrance::Gate, &Refusal { message, ..Refusal::default() });
        if self.state.hold() == Hold::Free {
            self.state.current.not_before = None;
        }
    }

    /// Writes onto each pod that is still there what became of its attempt, and by that that there is another: an observer that dies leaves a
    /// pod which was never started, and whose successor may have run and be gone. Whether that is done, so that the current attempt may run.
    pub(super) fn tell_predecessors(&mut self) -> bool {
        let current = self.state.current.number;
        let is_before = |leaving: &&Leaving| leaving.attempt.is_there() && leaving.attempt.number < current;
        let untold = |leaving: &&Leaving| is_before(leaving) && !leaving.succeeded;
        let untold: Vec<_> = self.state.leaving.iter().filter(untold).map(|leaving| &leaving.attempt).collect();
        let due = untold.iter().filter(|attempt| !attempt.rests(self.state.now) && !self.annotates(&attempt.uid()));
        let verdicts = || self.state.carried().to_json();
        let tell: Vec<_> = due.map(|attempt| attempt.annotate(marks::STATE, verdicts())).collect();
        let are_told = untold.is_empty();
        for command in tell {
            self.command(command);
        }
        are_told
    }

    fn annotates(&self, pod: &str) -> bool {
        self.awaits(|command| matches!(command, Command::Annotate { uid, .. } if uid == pod))
    }

    /// Whether that annotation is a predecessor's.
    pub(super) fn is_telling(&self, uid: &str, annotations: &[(String, String)]) -> bool {
        self.state.current.ledger.uid() != Some(uid) && super::writes(annotations, marks::STATE)
    }

    /// The answer to a predecessor's annotation. What may not be written is said, and is no reason to wait for ever.
    pub(super) fn told_predecessor(&mut self, uid: &str, reply: Reply) {
        let now = self.state.now;
        let Some(leaving) = self.state.leaving.iter_mut().find(|l| l.attempt.ledger.uid() == Some(uid)) else { return };
        leaving.succeeded = !matches!(reply, Reply::Conflict);
        match reply {
            Reply::Pod(pod) => self.seen(Sight::Present, &pod),
            Reply::NotFound => leaving.attempt.ledger.gone(now, Absence::Unobserved),
            Reply::Conflict => leaving.attempt.met_conflict(now),
            Reply::Refused(refusal) => self.hinder(Hindrance::Annotate, &refusal),
            _ => {}
        }
    }

    pub(super) fn lift_gate(&mut self) {
        let due = self.state.is_released() && !self.awaits(|c| matches!(c, Command::Ungate { .. }));
        if due && self.tell_predecessors() {
            let (name, uid) = (self.state.current.name.clone(), self.state.current.uid());
            self.command(Command::Ungate { name, uid });
        }
    }

    pub(super) fn ungated(&mut self, uid: &str, reply: Reply) {
        if self.state.current.ledger.uid() != Some(uid) {
            return;
        }
        match reply {
            Reply::Pod(pod) => {
                self.state.current.not_before = None;
                self.say(Event::Ungated { attempt: self.state.current.number });
                self.seen(Sight::Present, &pod);
            }
            Reply::NotFound => self.read(),
            Reply::Refused(refusal) => {
                self.hinder(Hindrance::Ungate, &refusal);
                if refusal.code == 403 && self.state.can_gate() && self.state.stage == Stage::Following {
                    return self.do_without_gates();
                }
                self.state.current.not_before = Some(self.state.now + TRY_AGAIN);
            }
            _ => self.state.current.not_before = Some(self.state.now + TRY_AGAIN),
        }
    }

    /// A gate that may not be lifted would hold for ever, and one that is not there holds nothing: the pod is deleted, and the same attempt
    /// made again without one.
    fn do_without_gates(&mut self) {
        self.state.spec.gates = false;
        let again = self.attempt(self.state.current.number);
        let mut held = std::mem::replace(&mut self.state.current, again);
        self.state.current.not_before = held.not_before;
        held.logs_closed = true;
        self.withdraw();
        self.state.disowned.extend(held.ledger.uid().map(str::to_owned));
        self.leave(held, true);
        self.go(Stage::Delaying { until: self.state.now });
    }
}

/// Whether kpo's gate holds it.
pub(super) fn is_gated(pod: &Pod) -> bool {
    pod.spec.scheduling_gates.iter().any(|gate| gate.name == marks::GATE)
}
