//! The transitions: given what is known, what is to be done now. Level-triggered: each step looks at the state alone, and steps
//! follow one another until none changes anything.

use super::hold::{STOP_MARGIN, is_gated};
use super::{Stage, Task};
use crate::classify;
use crate::contract::{Command, Create, Event, Next, Refusal, Reply, Sight, Stop};
use crate::ledger::OVERDUE;
use crate::pod::Pod;
use crate::reason::Reason;
use crate::time::Time;
use crate::verdict::{Cause, Class, Started, Verdict};
use std::time::Duration;

/// How long a verdict waits for the events that explain it. They are explanation, never proof.
pub(super) const EXPLAIN_FOR: Duration = Duration::from_secs(5);
/// A refused create is asked again after this, where the server names no time.
const ASK_AGAIN: Duration = Duration::from_secs(8);
/// A write that was refused or met a conflict is tried again after this.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Steps in one call to `handle`, at most: more is a livelock, and a bug.
const STEPS: usize = 64;

impl Task {
    /// Steps until nothing changes.
    pub(super) fn advance(&mut self) {
        for _ in 0..STEPS {
            if !self.step() {
                self.say_wait();
                return;
            }
        }
        unreachable!("a task that never comes to rest in stage {:?}", self.state.stage.name());
    }

    /// One step. Whether anything changed.
    fn step(&mut self) -> bool {
        if self.leaves() && !self.is_over() {
            return self.go(Stage::Detached { from: Box::new(self.state.stage.clone()) });
        }
        match self.state.stage.clone() {
            Stage::Creating { .. } | Stage::Delaying { .. } if !self.is_active() => self.step_back(),
            Stage::Creating { again_at: None, withdrawn } => self.step_created(withdrawn),
            Stage::Creating { again_at: Some(at), .. } => self.step_creating(at),
            Stage::Delaying { until } => self.step_delaying(until),
            Stage::Following => self.step_following(),
            Stage::Stopping { reason, since } => self.step_stopping(reason, since),
            Stage::Explaining { until } => self.step_explaining(until),
            Stage::Completing { result } => self.step_completing(result),
            Stage::Delivering { .. } => false,
            Stage::Cleaning => self.step_cleaning(),
            Stage::Finished | Stage::Detached { .. } => false,
        }
    }

    /// Whether this observer leaves: it was told to, or it was told to stop what it only follows.
    fn leaves(&self) -> bool {
        let observer = &self.state.observer;
        match self.state.stop {
            Some(Stop::Shutdown) => true,
            Some(Stop::Deadline | Stop::User) => observer.follows && !observer.takes_over,
            None => false,
        }
    }

    /// Moves to another stage, along a row of the table.
    pub(super) fn go(&mut self, stage: Stage) -> bool {
        debug_assert!(self.state.stage.may_become(&stage), "{:?} -> {:?}", self.state.stage.name(), stage.name());
        #[cfg(test)]
        super::tests::monkey::took(self.state.stage.name(), stage.name());
        self.state.stage = stage;
        true
    }

    // --- creating -----------------------------------------------------------------------------------------------------------------

    /// Sends the create of the current attempt.
    pub(super) fn create(&mut self) {
        self.send_create(None);
    }

    /// The same where somebody may have sent it since that moment.
    pub(super) fn send_create(&mut self, sent_before: Option<Time>) {
        if self.state.is_released() {
            self.state.current.not_before = None;
        }
        let state = &self.state;
        let create = Create {
            name: state.current.name.clone(),
            attempt: state.current.number,
            gated: !state.is_released() && state.can_gate(),
            protect: state.spec.protect,
            active_deadline_seconds: self.active_deadline(),
            avoid_nodes: self.nodes_to_avoid(),
            previous_verdict: state.previous_verdict(),
            observer: state.observer.mark(),
            state: state.carried(),
            sent_before,
        };
        self.command(Command::Create(Box::new(create)));
    }

    /// A create was sent. If its task is to stop it is withdrawn; the answer, or that there is none to come, says what there is to stop.
    fn step_created(&mut self, withdrawn: bool) -> bool {
        let Some((class, reason)) = self.creation_ends() else { return false };
        if self.deadline_passed().is_some_and(|at| at + OVERDUE <= self.state.now) {
            let why = "the API server never answered: whether the pod was created is not known";
            return self.end_without_pod(class, reason, Some(why.to_owned()));
        }
        if withdrawn {
            return false;
        }
        self.withdraw();
        self.go(Stage::Creating { again_at: None, withdrawn: true })
    }

    /// Another observer has taken over before this one's attempt had a pod: it makes the attempt, or has. What this one was about to create is
    /// withdrawn, and the attempt before is the newest that is known.
    fn step_back(&mut self) -> bool {
        self.withdraw();
        let before = self.state.leaving.iter().rposition(|leaving| leaving.attempt.number < self.state.current.number);
        let Some(before) = before else {
            self.vanished_unseen();
            return true;
        };
        self.state.current = self.state.leaving.remove(before).attempt;
        let number = self.state.current.number;
        self.state.past.retain(|record| record.number < number);
        self.await_successor(Duration::ZERO)
    }

    /// A create that is still to be answered is not to be sent any more.
    pub(super) fn withdraw(&mut self) {
        let create = self.state.pending.iter().find(|(_, command)| matches!(command, Command::Create(_)));
        if let Some(create) = create.map(|(id, _)| *id) {
            self.command(Command::Withdraw { create });
        }
    }

    fn step_creating(&mut self, at: Time) -> bool {
        if self.predecessor_ran() {
            return self.end_held();
        }
        if let Some((class, reason)) = self.creation_ends() {
            let message =
                self.state.refusal.clone().filter(|_| class == Class::LaunchFailed).map(|(_, message)| message);
            return self.end_without_pod(class, reason, message);
        }
        if at > self.state.now || !self.may_create() {
            return false;
        }
        self.create();
        self.go(Stage::CREATING)
    }

    /// Whether the attempts before know of this one, if it runs as soon as it is there.
    fn may_create(&mut self) -> bool {
        let gated = self.state.can_gate() && !self.state.is_released();
        gated || self.tell_predecessors()
    }

    /// Why no pod is to be created any more: a stop, or the end of the clock that runs.
    fn creation_ends(&self) -> Option<(Class, Reason)> {
        let stopped = self.stop_reason().map(|reason| (Class::Cancelled, reason));
        let clock = self.state.clock().filter(|clock| clock.end <= self.state.now);
        stopped.or_else(|| clock.map(|clock| (Class::LaunchFailed, clock.reason)))
    }

    /// The create's answer. Its pod may have been seen before it, and even have ended: then it is followed, judged or replaced already, and
    /// of the answer only that it is altered is news.
    pub(super) fn created(&mut self, create: &Create, reply: Reply) {
        let same = self.state.current.number == create.attempt;
        let awaited = same && matches!(self.state.stage, Stage::Creating { .. });
        match reply {
            Reply::Altered { pod, differences } if awaited || (same && self.state.stage == Stage::Following) => {
                self.altered(&pod, create.gated, &differences);
            }
            // What it made may be news: nobody waits for it any more, and it is to be cleaned up.
            Reply::Pod(pod) | Reply::Altered { pod, .. } if !awaited => self.seen(Sight::Present, &pod),
            _ if !awaited => {}
            Reply::Pod(pod) => self.born(&pod, create.gated),
            Reply::Withdrawn => {
                self.go(Stage::creating_at(self.state.now));
            }
            Reply::NameTaken { uid, terminating } => self.name_taken(&uid, terminating),
            Reply::NotFound => self.vanished_unseen(),
            Reply::Refused(refusal) => self.refused(&refusal),
            _ => self.refused(&Refusal {
                code: 0,
                reason: "Unknown".to_owned(),
                message: "the create was answered with something else than a pod".to_owned(),
                retry_after: None,
            }),
        }
    }

    /// The API server has accepted the current attempt's pod.
    pub(super) fn born(&mut self, pod: &Pod, gated: bool) {
        let now = self.state.now;
        self.state.current.ledger.created(now, pod);
        self.state.current.times.created.get_or_insert(now);
        self.state.refusal = None;
        if gated && !is_gated(pod) && !pod.is_terminating() && self.state.spec.gates {
            self.lacks_gate();
        }
        if !gated {
            self.state.current.not_before = None;
        }
        let backoff = self.state.current.not_before.filter(|_| is_gated(pod)).map(|at| at.since(now));
        self.say(Event::Created {
            attempt: self.state.current.number,
            pod: self.state.current.name.clone(),
            uid: self.state.current.uid(),
            at_most: self.at_most(),
            backoff,
        });
        self.go(Stage::Following);
        self.claim();
        self.yield_to_other_observer();
        self.tidy();
    }

    /// The create's answer was lost, and what it made is gone: whether it ran is not known.
    pub(super) fn vanished_unseen(&mut self) {
        let class = Class::Disrupted { cause: Cause::Vanished, started: Started::Unknown };
        self.end_without_pod(class, Reason::Vanished, None);
    }

    /// It was accepted, but is not what was sent: it is stopped, and that is the verdict.
    fn altered(&mut self, pod: &Pod, gated: bool, differences: &[String]) {
        if !self.state.current.is(pod) {
            self.born(pod, gated);
        }
        self.state.refusal = Some((Reason::Altered, differences.join("; ")));
        self.stop_because(Reason::Altered);
    }

    /// Another pod has the name. Ours on its way out, or anybody's that terminates, is waited for; an impostor is left alone.
    fn name_taken(&mut self, uid: &str, terminating: bool) {
        let now = self.state.now;
        if terminating || self.state.leaving.iter().any(|leaving| leaving.attempt.ledger.uid() == Some(uid)) {
            self.go(Stage::Delaying { until: now + TRY_AGAIN });
        } else {
            self.end_without_pod(Class::LaunchFailed, Reason::NameTaken, Some(uid.to_owned()));
        }
    }

    fn refused(&mut self, refusal: &Refusal) {
        let refused = classify::refusal(refusal);
        if !refused.retry {
            self.end_without_pod(Class::LaunchFailed, refused.reason, Some(refusal.message.clone()));
            return;
        }
        self.state.refusal = Some((refused.reason, refusal.message.clone()));
        self.go(Stage::creating_at(self.state.now + refusal.retry_after.unwrap_or(ASK_AGAIN)));
    }

    fn step_delaying(&mut self, until: Time) -> bool {
        if let Some(reason) = self.stop_reason() {
            return self.end_without_pod(Class::Cancelled, reason, None);
        }
        if self.predecessor_ran() {
            return self.end_held();
        }
        self.ask_for_predecessors();
        self.tidy();
        let asked = self.awaits(|command| matches!(command, Command::Create(_)));
        let held = asked || (!self.state.can_gate() && !self.state.is_released());
        if until > self.state.now || held || self.state.predecessor_is_there() || !self.may_create() {
            return false;
        }
        self.create();
        self.go(Stage::CREATING)
    }

    /// What is seen to the contrary wins, also where no gate holds the next attempt: it is never created.
    fn end_held(&mut self) -> bool {
        let class = Class::Disrupted { cause: Cause::Other, started: Started::Unknown };
        self.end_without_pod(class, Reason::StartedAfterAll, None)
    }

    // --- the end of an attempt ----------------------------------------------------------------------------------------------------

    /// The current attempt has ended; `ours` says why we were stopping it.
    pub(super) fn ended(&mut self, ours: Option<Reason>) -> bool {
        let Some(verdict) = self.verdict(ours) else { return false };
        let to_explain = matches!(verdict.class, Class::Disrupted { .. }) && verdict.reason != Reason::StartedAfterAll;
        if to_explain && !self.state.current.uid().is_empty() {
            self.explain();
            return self.go(Stage::Explaining { until: self.state.now + EXPLAIN_FOR });
        }
        self.conclude(verdict)
    }

    /// The verdict from the ledger; where we stopped the attempt and it had not ended before, with our reason.
    fn verdict(&self, ours: Option<Reason>) -> Option<Verdict> {
        let mut verdict = classify::verdict(&self.state.current.ledger, &self.state.spec)?;
        if let Some(reason) = ours.filter(|ours| verdict.class == Class::Cancelled || verdict.reason == *ours) {
            (verdict.reason, verdict.class) = (reason, classify::class_of_stop(reason));
            if reason == Reason::StartedAfterAll {
                (verdict.proof, verdict.stopped) = (None, false);
            } else {
                verdict.detail = self.state.refusal.clone().map(|(_, words)| words);
            }
        }
        let timed_out = self.state.total_deadline().is_some_and(|end| end <= self.state.now);
        if verdict.reason == Reason::DeadlineExceeded && timed_out {
            // The pod carries the total clock too: it has ended by it, unwatched.
            (verdict.class, verdict.reason) = (Class::Cancelled, Reason::Timeout);
        }
        Some(verdict)
    }

    /// Asks for the events about the current attempt.
    pub(super) fn explain(&mut self) {
        self.state.current.said.explained_at = Some(self.state.now);
        if !self.awaits_events() {
            let (name, uid) = (self.state.current.name.clone(), self.state.current.uid());
            self.command(Command::ListEvents { name, uid });
        }
    }

    /// Whether the events about the current attempt are on their way.
    pub(super) fn awaits_events(&self) -> bool {
        self.awaits(|c| matches!(c, Command::ListEvents { uid, .. } if self.state.current.ledger.uid() == Some(uid)))
    }

    fn step_explaining(&mut self, until: Time) -> bool {
        if self.is_taking_over() {
            return false;
        }
        let awaits_events = self.awaits_events();
        let awaits_successor = self.state.current.verdict.is_some() && !self.is_active();
        if (awaits_events || awaits_successor) && until > self.state.now {
            return false;
        }
        self.take_over_unmarked();
        match self.state.current.verdict.clone().or_else(|| self.verdict(None)) {
            Some(verdict) => self.conclude(verdict),
            None => false,
        }
    }

    /// The verdict on the current attempt is reached, once and for all: another attempt, or the end.
    pub(super) fn conclude(&mut self, verdict: Verdict) -> bool {
        let next = if self.is_active() { self.next(&verdict) } else { self.followers_next(&verdict) };
        self.state.current.times.ended.get_or_insert(self.state.now);
        self.state.current.verdict = Some(verdict.clone());
        self.say(Event::Ended { attempt: self.state.current.number, verdict: Box::new(verdict), next: next.clone() });
        self.follow_logs();
        self.close_logs();
        match next {
            Next::Rerun { backoff, .. } if !self.is_active() => self.await_successor(backoff),
            Next::Rerun { backoff, .. } => self.rerun(backoff),
            Next::End { .. } => self.go(Stage::Completing { result: None }),
        }
    }

    /// Makes the next attempt the current one: created at once behind a gate where that is possible.
    fn rerun(&mut self, backoff: Duration) -> bool {
        let next = self.attempt(self.state.current.number + 1);
        let ended = std::mem::replace(&mut self.state.current, next);
        self.state.past.push(ended.record(&self.state.spec.namespace));
        let unseen = ended.ledger.uid().is_none();
        if !unseen {
            self.leave(ended, true);
        }
        // Of one that nobody ever saw, nobody will say that it stands still.
        let margin = if unseen { self.state.grace() + STOP_MARGIN } else { Duration::ZERO };
        let until = self.state.now + backoff.max(margin);
        self.state.current.not_before = Some(until);
        if self.state.can_gate() {
            self.create();
            return self.go(Stage::CREATING);
        }
        self.go(Stage::Delaying { until })
    }

    /// It ends without a pod of the current attempt: refused, or stopped before there was one.
    fn end_without_pod(&mut self, class: Class, reason: Reason, detail: Option<String>) -> bool {
        self.conclude(bare_verdict(class, reason, detail))
    }

    /// `activeDeadlineSeconds` for the next pod: what is left of the template's, and of the total clock.
    fn active_deadline(&self) -> Option<u32> {
        let state = &self.state;
        let template =
            state.spec.template.active_deadline_seconds.map(|limit| limit.saturating_sub(state.active_seconds()));
        let held = state.current.not_before.map_or(Duration::ZERO, |at| at.since(state.now));
        // The kubelet counts from `status.startTime`, cut to whole seconds: rounded up and one more, it never strikes before our own clock,
        // whose end is a timeout and not a failure of the program.
        let total = state.total_deadline().map(|end| end.since(state.now + held).as_millis().div_ceil(1_000) + 1);
        let total = total.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        template.into_iter().chain(total).min().map(|seconds| seconds.max(1))
    }

    /// Says what it waits for, when that is something new.
    fn say_wait(&mut self) {
        if !matches!(
            self.state.stage,
            Stage::Following | Stage::Delaying { .. } | Stage::Creating { again_at: Some(_), .. }
        ) {
            return;
        }
        let because = self.because();
        if self.state.waiting.as_ref().is_none_or(|last| !last.is_like(&because)) {
            self.state.waiting = Some(because.clone());
            self.say(Event::Waiting { attempt: self.state.current.number, because });
        }
    }
}

/// A verdict that rests on no ledger.
pub(super) fn bare_verdict(class: Class, reason: Reason, detail: Option<String>) -> Verdict {
    Verdict { class, reason, exit_code: None, proof: None, detail, stopped: false, evidence: Vec::new() }
}
