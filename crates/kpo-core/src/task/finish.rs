//! The end: logs, result, outcome, and what is cleaned up afterwards. Nothing of the last attempt is deleted before the outcome was taken.

use super::{Attempt, Leaving, Stage, State, Task};
use crate::contract::{Carried, Command, Event, Hindrance, Next, NoRerun, Refusal, Reply, Sight};
use crate::ledger::{Absence, OVERDUE};
use crate::outcome::{AttemptRecord, Outcome};
use crate::pod::Pod;
use crate::reason::Reason;
use crate::spec::{Naming, OnFinish, ResultBy};
use crate::time::Time;
use crate::verdict::{Class, Verdict};
use crate::{STATE_VERSION, marks};
use std::time::Duration;

/// How long a clean-up that fails is tried again, once the outcome is out: nobody waits longer for what no longer changes it.
const CLEANS_FOR: Duration = Duration::from_secs(5 * 60);

/// How long a follower waits for the next attempt of the active observer, beyond its backoff.
const SUCCESSOR: Duration = Duration::from_secs(60);

impl Task {
    // --- completing ---------------------------------------------------------------------------------------------------------------

    /// Asks for what the current attempt's logs still hold.
    pub(super) fn close_logs(&mut self) {
        let uid = self.state.current.uid();
        if self.awaits(|c| matches!(c, Command::CloseLogs { uid: closing, .. } if *closing == uid)) {
            return;
        }
        let current = &mut self.state.current;
        let name = current.name.clone();
        // What runs on, since it may not be deleted, would keep writing: its log has no end to wait for.
        let runs_on = current.left_behind && !current.ledger.is_over();
        if current.followed.is_empty() || current.logs_closed || runs_on {
            current.logs_closed = true;
            return;
        }
        let cause = current.verdict.as_ref().filter(|v| matches!(v.class, Class::Disrupted { .. })).map(|v| v.reason);
        self.command(Command::CloseLogs { name, uid, cause });
    }

    pub(super) fn logs_closed(&mut self, uid: &str) {
        self.attempts_mut(uid).for_each(|attempt| attempt.logs_closed = true);
    }

    pub(super) fn step_completing(&mut self, result: Option<Result<String, String>>) -> bool {
        let wanted = self.awaits_result();
        if wanted && self.stop_reason().is_some() {
            // The program had ended before, and that stands: what is given up is the wait for what it left.
            let given_up = "the task was stopped before the result was handed over".to_owned();
            return self.go(Stage::Completing { result: Some(Err(given_up)) });
        }
        if wanted {
            self.fetch_result();
        }
        let logs_out = self.state.leaving.iter().all(|leaving| leaving.attempt.logs_closed);
        if wanted || !self.state.current.logs_closed || !logs_out || self.is_taking_over() {
            return false;
        }
        let outcome = Box::new(self.outcome(result));
        self.command(Command::Deliver(outcome.clone()));
        self.go(Stage::Delivering { outcome })
    }

    /// Whether the program has succeeded and its result is still to come.
    pub(super) fn awaits_result(&self) -> bool {
        let is_out = matches!(self.state.stage, Stage::Completing { result: None });
        is_out && self.state.spec.result.is_some() && self.succeeded()
    }

    fn fetch_result(&mut self) {
        if !self.awaits(|c| matches!(c, Command::ReadResult { .. })) {
            let (name, uid) = (self.state.current.name.clone(), self.state.current.uid());
            self.command(Command::ReadResult { name, uid });
        }
        self.end_others();
    }

    /// The kubelet stops a native sidecar, which then reports the result, when all other containers have ended: one that runs on
    /// (istio-proxy) would keep it waiting for ever. `activeDeadlineSeconds: 1` ends them all and keeps the pod (measured on v1.34).
    fn end_others(&mut self) {
        let current = &self.state.current;
        let runs_on =
            current.ledger.last.as_ref().is_some_and(|pod| pod.others_run(&self.state.spec.template.container));
        let by_sidecar = self.state.spec.result == Some(ResultBy::Sidecar);
        if !by_sidecar || !runs_on || current.said.ends_others || current.is_terminating() || !self.is_active() {
            return;
        }
        let annotate = Command::Annotate {
            name: current.name.clone(),
            uid: current.uid(),
            annotations: Vec::new(),
            active_deadline_seconds: Some(1),
            resource_version: None,
        };
        self.state.current.said.ends_others = true;
        self.command(annotate);
    }

    pub(super) fn result_read(&mut self, reply: Reply) {
        let read = match reply {
            Reply::Result(result) => result,
            Reply::NotFound => Err("the pod was gone before its result was read".to_owned()),
            Reply::Refused(refusal) => Err(refusal.message),
            _ => Err("the result could not be read".to_owned()),
        };
        if let Stage::Completing { result } = &mut self.state.stage {
            *result = Some(read);
        }
    }

    pub(super) fn delivered(&mut self) {
        self.state.delivered_at = Some(self.state.now);
        // That it is over is news to the pods before, too.
        self.state.leaving.iter_mut().for_each(|leaving| leaving.succeeded = false);
        self.go(Stage::Cleaning);
        if self.is_active() && self.state.current.is_there() {
            self.leave_current();
        }
    }

    /// The last attempt's pod is kept, or cleaned up.
    fn leave_current(&mut self) {
        let keep = self.keeps();
        if keep {
            self.keep_current();
        }
        let attempt = self.state.current.clone();
        let delete = !keep && !attempt.left_behind;
        self.leave(attempt, delete);
    }

    /// An ended attempt's pod still needs a hand.
    pub(super) fn leave(&mut self, attempt: Attempt, delete: bool) {
        let protected = self.state.spec.protect || attempt.is_protected();
        let delete = delete && attempt.is_there();
        self.state.leaving.push(Leaving::new(self.state.now, attempt, protected, delete));
    }

    fn succeeded(&self) -> bool {
        self.state.current.verdict.as_ref().is_some_and(|verdict| verdict.class == Class::Succeeded)
    }

    fn keeps(&self) -> bool {
        match self.state.spec.on_finish {
            OnFinish::None => false,
            OnFinish::All => true,
            OnFinish::Failed { .. } => !self.succeeded(),
        }
    }

    /// Marks a kept pod with its verdict and expiry, and stops containers that would run on: `activeDeadlineSeconds: 1`,
    /// patched onto a running pod, stops and keeps it (measured on v1.34).
    fn keep_current(&mut self) {
        let state = &self.state;
        let lifetime = match state.spec.on_finish {
            OnFinish::Failed { lifetime } => lifetime,
            OnFinish::None | OnFinish::All => None,
        };
        let mut annotations = vec![(marks::STATE.to_owned(), state.carried().to_json())];
        annotations.extend(lifetime.map(|lifetime| (marks::EXPIRES.to_owned(), (state.now + lifetime).to_string())));
        let own = &state.spec.template.container;
        // Where none does, its kubelet is about to write the phase, which would come out as DeadlineExceeded.
        let runs_on = state.current.ledger.last.as_ref().is_some_and(|pod| pod.others_run(own));
        let annotate = Command::Annotate {
            name: state.current.name.clone(),
            uid: state.current.uid(),
            annotations,
            active_deadline_seconds: runs_on.then_some(1),
            resource_version: None,
        };
        self.command(annotate);
    }

    // --- the outcome --------------------------------------------------------------------------------------------------------------

    /// The outcome, from the verdict on the current attempt and the result as read.
    fn outcome(&self, result: Option<Result<String, String>>) -> Outcome {
        let state = &self.state;
        let mut outcome = Outcome::living(&state.spec.task, &state.spec.namespace, state.records());
        let Some(verdict) = &state.current.verdict else { return outcome };
        outcome.conclude(verdict);
        match result {
            Some(Ok(text)) => outcome.result = Some(text),
            Some(Err(what)) => outcome.spoil(Reason::ResultMissing, &what),
            None => {}
        }
        outcome
    }

    // --- cleaning -----------------------------------------------------------------------------------------------------------------

    pub(super) fn step_cleaning(&mut self) -> bool {
        if !self.is_active() || self.tell_predecessors() {
            self.tidy();
        }
        // A follower cleans nothing up, and waits for nobody who does.
        let owes = self.is_active() && self.state.leaving.iter().any(Leaving::needs_a_hand);
        let in_time = self.cleaning_ends().is_none_or(|end| end > self.state.now);
        if (owes || !self.state.pending.is_empty()) && in_time {
            return false;
        }
        if owes {
            self.say_left_behind();
        }
        self.say(Event::Finished);
        self.go(Stage::Finished)
    }

    /// When what is still to be cleaned up is left as it is: nobody answers, and the outcome is out. At once where the task is told to stop now.
    pub(super) fn cleaning_ends(&self) -> Option<Time> {
        let delivered = self.state.delivered_at?;
        if self.state.stopped_at.is_some_and(|at| at > delivered) {
            return Some(delivered);
        }
        let is_urgent = self.deadline_passed().is_some();
        let patience = match (is_urgent, self.state.current.left_behind) {
            (true, true) => Duration::ZERO,
            (true, false) => self.state.grace() + OVERDUE,
            (false, _) => CLEANS_FOR,
        };
        Some(delivered + patience)
    }

    fn say_left_behind(&mut self) {
        let left = self.state.leaving.iter().filter(|leaving| leaving.needs_a_hand());
        let names: Vec<&str> = left.map(|leaving| leaving.attempt.name.as_str()).collect();
        let message = format!("time is up, and nobody has said that it is gone: {}", names.join(", "));
        self.hinder(Hindrance::Delete, &Refusal { message, ..Refusal::default() });
    }

    /// A create of ours was answered by its absence, and its pod is seen after all: it is cleaned up, and changes nothing.
    pub(super) fn find_late_born(&mut self, pod: &Pod) {
        let now = self.state.now;
        self.state.current.ledger.observe(now, Sight::Present, pod);
        if self.is_active() && self.state.stage == Stage::Cleaning {
            self.leave_current();
        }
    }

    /// Gives ended attempts' pods the hand they need: finalizer and deletion, once their logs are out and a successor (or the taken
    /// outcome) carries their verdict.
    pub(super) fn tidy(&mut self) {
        let carried = self.state.stage == Stage::Cleaning || self.state.current.is_there();
        let name_is_needed = self.state.predecessor_is_there();
        let held = self.state.current.not_before.is_some() && !self.state.stage.is_concluded();
        let may_run = |attempt: &Attempt| attempt.verdict.as_ref().is_some_and(|verdict| !verdict.stopped);
        self.state.leaving.retain(|leaving| {
            let is_watched = held && (leaving.attempt.is_believed_unstarted() || may_run(&leaving.attempt));
            // One that is there is still to be told what the task comes to.
            leaving.needs_a_hand() || is_watched || leaving.attempt.is_there()
        });
        if !(carried || name_is_needed) || !self.is_active() {
            return;
        }
        let observer = &self.state.observer;
        for leaving in &mut self.state.leaving {
            leaving.given_up |= leaving.attempt.mark().is_some_and(|mark| observer.yields_to(mark));
        }
        for index in 0..self.state.leaving.len() {
            if let Some(command) = self.hand_for(&self.state.leaving[index]) {
                self.command(command);
            }
        }
    }

    fn hand_for(&self, leaving: &Leaving) -> Option<Command> {
        let attempt = &leaving.attempt;
        let uid = attempt.uid();
        if !attempt.logs_closed || !attempt.is_there() || attempt.rests(self.state.now) || self.writes_to(&uid) {
            return None;
        }
        let name = attempt.name.clone();
        let terminating = attempt.is_terminating() || attempt.ledger.our_delete;
        if leaving.delete && !terminating {
            let resource_version = attempt.resource_version();
            return Some(Command::Delete { name, uid, resource_version, grace_seconds: None });
        }
        leaving.protected.then_some(Command::Release { name, uid })
    }

    fn writes_to(&self, pod: &str) -> bool {
        self.awaits_read()
            || self.awaits(|command| match command {
                Command::Delete { uid, .. } | Command::Release { uid, .. } | Command::Annotate { uid, .. } => {
                    uid == pod
                }
                _ => false,
            })
    }

    /// The answer to the deletion of an ended attempt's pod.
    pub(super) fn left(&mut self, uid: &str, reply: Reply) {
        let now = self.state.now;
        let Some(leaving) = self.state.leaving.iter_mut().find(|l| l.attempt.ledger.uid() == Some(uid)) else { return };
        match reply {
            Reply::Done | Reply::Pod(_) => {
                leaving.attempt.ledger.our_delete(now);
                leaving.delete = false;
            }
            Reply::NotFound => leaving.attempt.ledger.gone(now, Absence::Unobserved),
            Reply::Refused(refusal) => {
                // Our finalizer goes all the same: whoever deletes the pod one day would wait for it for ever.
                leaving.delete = false;
                leaving.given_up = !leaving.protected;
                self.hinder(Hindrance::Delete, &refusal);
            }
            _ => {
                leaving.attempt.met_conflict(now);
                leaving.attempt.ledger.our_delete = false;
                let name = leaving.attempt.name.clone();
                self.read_pod(name, uid.to_owned());
            }
        }
    }

    pub(super) fn released(&mut self, uid: &str, reply: Reply) {
        let Some(leaving) = self.state.leaving.iter_mut().find(|l| l.attempt.ledger.uid() == Some(uid)) else { return };
        leaving.protected = reply == Reply::Conflict;
        match reply {
            Reply::Conflict => leaving.attempt.met_conflict(self.state.now),
            Reply::Refused(refusal) => {
                leaving.given_up = true;
                self.hinder(Hindrance::Release, &refusal);
            }
            _ => {}
        }
    }

    /// The attempts (current or leaving) with that UID.
    pub(super) fn attempts_mut(&mut self, uid: &str) -> impl Iterator<Item = &mut Attempt> {
        let leaving = self.state.leaving.iter_mut().map(|leaving| &mut leaving.attempt);
        std::iter::once(&mut self.state.current).chain(leaving).filter(move |a| a.ledger.uid() == Some(uid))
    }

    // --- followers ----------------------------------------------------------------------------------------------------------------

    /// A follower makes no attempt. Where the active observer should make one, it waits for it a while.
    pub(super) fn followers_next(&self, verdict: &Verdict) -> Next {
        let waited = matches!(self.state.stage, Stage::Explaining { .. }) && self.state.current.verdict.is_some();
        match self.next(verdict) {
            Next::Rerun { .. } if waited => Next::End { why: Some(NoRerun::Follower) },
            next => next,
        }
    }

    /// How long a follower waits for the next attempt.
    pub(super) fn await_successor(&mut self, backoff: Duration) -> bool {
        self.go(Stage::Explaining { until: self.state.now + backoff + SUCCESSOR })
    }
}

impl Leaving {
    /// Whether its pod (as far as known) still has that name.
    fn holds(&self, name: &str) -> bool {
        self.attempt.name == name && self.attempt.is_there() && !self.given_up
    }

    /// Whether anything is left to do about it. What is being deleted already, by whomever, is not waited for: a finalizer of others may hold it
    /// for ever.
    fn needs_a_hand(&self) -> bool {
        let deletes = self.delete && !self.attempt.is_terminating();
        let write = self.attempt.is_there() && !self.given_up && (deletes || self.protected);
        write || !self.attempt.logs_closed
    }
}

impl State {
    /// What travels on the current pod.
    pub(super) fn carried(&self) -> Carried {
        Carried {
            version: STATE_VERSION,
            spec: self.spec.clone(),
            began: self.began,
            attempts: self.past.iter().map(AttemptRecord::condensed).collect(),
            verdict: self.current.verdict.clone(),
        }
    }

    /// All attempts, the current one last.
    pub(super) fn records(&self) -> Vec<AttemptRecord> {
        let mut records = self.past.clone();
        records.push(self.current.record(&self.spec.namespace));
        records
    }

    /// Whether a replacement can be held by kpo's gate.
    pub(super) fn can_gate(&self) -> bool {
        self.spec.gates && self.spec.naming == Naming::Numbered && !self.spec.template.names_its_node
    }

    /// Whether a pod that needs our current attempt's name is (as far as known) still there.
    pub(super) fn predecessor_is_there(&self) -> bool {
        self.leaving.iter().any(|leaving| leaving.holds(&self.current.name))
    }

    /// For `KPO_PREVIOUS_VERDICT`: `class`, or `class/cause/started`.
    pub(super) fn previous_verdict(&self) -> String {
        let verdict = self.past.last().and_then(|attempt| attempt.verdict.as_ref()).map(|v| &v.verdict.class);
        match verdict {
            Some(Class::Disrupted { cause, started }) => format!("disrupted/{}/{}", cause.name(), started.name()),
            Some(class) => class.name().to_owned(),
            None => String::new(),
        }
    }

    /// Seconds that earlier attempts were active on nodes, as far as was seen.
    pub(super) fn active_seconds(&self) -> u32 {
        let active = |attempt: &AttemptRecord| Some(attempt.times.ended?.since(attempt.times.assigned?));
        let total: Duration = self.past.iter().filter_map(active).sum();
        u32::try_from(total.as_secs()).unwrap_or(u32::MAX)
    }
}
