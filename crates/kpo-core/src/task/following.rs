//! The current pod while it lives: what is done about it, and how it is stopped.

use super::advance::bare_verdict;
use super::{Stage, Task};
use crate::contract::{Command, Event, Hindrance, Refusal, Reply, Stop};
use crate::ledger::{OVERDUE, Situation};
use crate::reason::Reason;
use crate::time::Time;
use crate::verdict::Class;
use crate::{classify, marks};

impl Task {
    pub(super) fn step_following(&mut self) -> bool {
        self.note_progress();
        self.follow_logs();
        self.tidy();
        self.take_over();
        self.protect_unwatched();
        let situation = self.state.situation();
        if situation == Situation::Ended {
            return self.ended(None);
        }
        if situation == Situation::Doubtful {
            self.read();
        }
        if !self.is_active() {
            return false;
        }
        if let Some(reason) = self.stop_reason().or_else(|| self.wish_of_another()) {
            return self.stop_because(reason);
        }
        if self.has_escaped() {
            return self.stop_escaped();
        }
        self.act_on(situation)
    }

    /// What is current is stopped, and that is why.
    pub(super) fn stop_because(&mut self, reason: Reason) -> bool {
        let since = self.state.now;
        // What hindered it is gone with the pod: it is kept for the verdict.
        if self.state.refusal.is_none() && reason != Reason::CancelledByUser {
            self.state.refusal = self.hindrance().map(|words| (reason, words));
        }
        self.go(Stage::Stopping { reason, since })
    }

    /// What the active observer does about a living pod.
    fn act_on(&mut self, situation: Situation) -> bool {
        match situation {
            // What is seen to the contrary wins, also during the backoff (design rule 3): the attempt that is held never runs.
            Situation::Gated { ours: true, .. } if self.predecessor_ran() => {
                return self.stop_because(Reason::StartedAfterAll);
            }
            Situation::Gated { ours: true, .. } => {
                self.ask_for_predecessors();
                self.lift_gate();
            }
            Situation::Starting { fatal: Some(reason), .. } if self.state.spec.fail_fast_images => {
                return self.stop_because(reason);
            }
            Situation::Terminating { unreachable_since: Some(since), .. } => return self.replace_unreachable(since),
            _ => {}
        }
        let ended = self.state.clock().filter(|clock| clock.end <= self.state.now && self.may_time_out());
        if let Some(clock) = ended.filter(|_| !self.hears_of_a_node()) {
            return self.stop_because(clock.reason);
        }
        if self.explain_at().is_some_and(|at| at <= self.state.now) {
            self.explain();
        }
        false
    }

    /// Says each station once, and when it was passed.
    fn note_progress(&mut self) {
        let (now, attempt) = (self.state.now, self.state.current.number);
        let node = self.state.current.ledger.node().map(str::to_owned);
        let (ledger, own) = (&self.state.current.ledger, &self.state.spec.template.container);
        let ran = ledger.ran.contains_key(own) && ledger.ends.get(own).is_none_or(|end| !end.is_start_error());
        let disrupting = classify::disrupting(&self.state.current.ledger);
        let (said, times) = (&mut self.state.current.said, &mut self.state.current.times);
        let mut say = Vec::new();
        if let Some(node) = node.clone().filter(|_| !std::mem::replace(&mut said.assigned, node.is_some())) {
            times.assigned.get_or_insert(now);
            say.push(Event::Assigned { attempt, node });
        }
        if ran && !std::mem::replace(&mut said.running, true) {
            times.started.get_or_insert(now);
            say.push(Event::Running { attempt, node: node.unwrap_or_default() });
        }
        if let Some((reason, detail)) = disrupting.filter(|_| !said.disrupting) {
            said.disrupting = true;
            say.push(Event::Disrupting { attempt, reason, detail });
        }
        say.into_iter().for_each(|event| self.say(event));
    }

    /// Each container's log is followed from the moment it is seen to run or to have run. One that the runtime could not start has none.
    pub(super) fn follow_logs(&mut self) {
        let current = &mut self.state.current;
        let has_log = |container: &str| current.ledger.ends.get(container).is_none_or(|end| !end.is_start_error());
        let is_new = |container: &&String| !current.followed.contains(*container) && has_log(container);
        let ran: Vec<String> = current.ledger.ran.keys().filter(is_new).cloned().collect();
        let (name, uid) = (current.name.clone(), current.uid());
        for container in ran {
            self.state.current.followed.insert(container.clone());
            self.command(Command::FollowLog { name: name.clone(), uid: uid.clone(), container });
        }
    }

    /// The user said that after so long a silent node's pod may be replaced, at the risk of a second life.
    fn replace_unreachable(&mut self, since: Time) -> bool {
        let Some(after) = self.state.spec.replace_unreachable_after else { return false };
        if since + after > self.state.now {
            return false;
        }
        let verdict = classify::unreachable(&self.state.current.ledger, &self.state.spec.template);
        self.conclude(verdict)
    }

    // --- stopping -----------------------------------------------------------------------------------------------------------------

    /// What another observer was about to stop it for, when it died: the user's wish stands, and so does a deadline.
    pub(super) fn wish_of_another(&self) -> Option<Reason> {
        let signed = self.state.current.ledger.signed().filter(|_| !self.state.current.is_terminating());
        signed.filter(|reason| matches!(reason, Reason::CancelledByUser | Reason::Timeout))
    }

    /// What keeps the current attempt from running, in the cluster's words. `None`: nothing, or nothing that is told.
    fn hindrance(&self) -> Option<String> {
        match self.state.situation() {
            Situation::Gated { others, .. } if !others.is_empty() => Some(format!("held by {}", others.join(", "))),
            Situation::Unscheduled { message, .. } => self.state.current.ledger.no_scale_up_words().or(message),
            Situation::Starting { .. } => self.state.current.ledger.hindrance(&self.state.spec.template),
            _ => None,
        }
    }

    /// Why it must be stopped now, if it must: the user's cancel or a deadline.
    pub(super) fn stop_reason(&self) -> Option<Reason> {
        let timed_out = self.state.total_deadline().is_some_and(|end| end <= self.state.now) && self.is_active();
        match self.state.stop {
            Some(Stop::User) => Some(Reason::CancelledByUser),
            Some(Stop::Deadline) => Some(Reason::Timeout),
            Some(Stop::Shutdown) | None => timed_out.then_some(Reason::Timeout),
        }
    }

    pub(super) fn step_stopping(&mut self, reason: Reason, since: Time) -> bool {
        self.note_progress();
        self.follow_logs();
        let situation = self.state.situation();
        if situation == Situation::Ended {
            return self.ended(Some(reason));
        }
        if situation == Situation::Doubtful {
            self.read();
        }
        if self.is_active() && self.stopping_ends(since).is_some_and(|end| end <= self.state.now) {
            let why = "it was told to end, and nobody has said that it did: it may still run";
            return self.leave_behind(reason, why.to_owned());
        }
        if situation != Situation::Doubtful && !self.state.current.ledger.our_delete && self.is_active() {
            self.delete_current(reason);
        }
        false
    }

    /// When the end of what is being stopped is not waited for any more: its node should long have said it; or the task's own time is up.
    pub(super) fn stopping_ends(&self, since: Time) -> Option<Time> {
        let overdue = self.state.current.ledger.overdue();
        let by_deadline = self.deadline_passed().map(|at| at.max(since) + self.state.grace() + OVERDUE);
        overdue.into_iter().chain(by_deadline).min()
    }

    /// Deletes the current pod, as it was last seen and no other.
    fn delete_current(&mut self, reason: Reason) {
        let rests = self.state.current.rests(self.state.now);
        if rests || self.awaits_read() || self.awaits(|c| matches!(c, Command::Delete { .. })) {
            return;
        }
        if !std::mem::replace(&mut self.state.current.said.signed, true) {
            return self.sign(reason);
        }
        if self.awaits(|c| matches!(c, Command::Annotate { .. })) {
            return;
        }
        let current = &self.state.current;
        let delete = Command::Delete {
            name: current.name.clone(),
            uid: current.uid(),
            resource_version: current.resource_version(),
            grace_seconds: None,
        };
        if !std::mem::replace(&mut self.state.current.said.deleting, true) {
            let grace_seconds = self.state.spec.template.grace_seconds;
            self.say(Event::Deleting { attempt: self.state.current.number, reason, grace_seconds });
        }
        self.state.current.ledger.our_delete(self.state.now);
        self.command(delete);
    }

    /// Writes onto the pod why it is about to be deleted: who else observes the task need not take it for somebody's whim, and who takes it over
    /// goes on with it. Nobody signs for an observer that may not write, nor on a pod that has changed: it may be another observer's by now, who
    /// would take it for the user's wish. Where it cannot be looked at there is nothing to go by, and it is signed as it is.
    fn sign(&mut self, reason: Reason) {
        let current = &self.state.current;
        let version = Some(current.resource_version()).filter(|version| current.outdated.as_ref() != Some(version));
        self.command(current.annotate_at(version, marks::STOPPING, reason.code().to_owned()));
    }

    /// The answer to its signature. Where the pod has changed meanwhile, that is looked at, and it is signed again.
    pub(super) fn was_signed(&mut self, uid: &str, reply: Reply) {
        if reply == Reply::Conflict && self.state.current.ledger.uid() == Some(uid) {
            self.state.current.said.signed = false;
            self.state.current.outdated = Some(self.state.current.resource_version());
            self.state.current.met_conflict(self.state.now);
        }
        self.annotated(uid, reply);
    }

    pub(super) fn deleted(&mut self, uid: &str, reply: Reply) {
        if self.state.current.ledger.uid() != Some(uid) || self.state.stage.is_concluded() {
            return self.left(uid, reply);
        }
        match reply {
            Reply::Done | Reply::Pod(_) => {}
            Reply::Refused(refusal) => self.cannot_delete(&refusal),
            // It was gone before, and not by this.
            Reply::NotFound => self.was_not_deleted(),
            _ => {
                self.state.current.met_conflict(self.state.now);
                self.was_not_deleted();
            }
        }
    }

    fn was_not_deleted(&mut self) {
        self.state.current.ledger.our_delete = self.state.current.delete_in_doubt;
        self.read();
    }

    /// It may not delete what it is to stop: it says so, and leaves the pod as it is.
    fn cannot_delete(&mut self, refusal: &Refusal) {
        self.hinder(Hindrance::Delete, refusal);
        self.state.current.ledger.our_delete = false;
        if let Stage::Stopping { reason, .. } = self.state.stage {
            self.leave_behind(reason, refusal.message.clone());
        }
    }

    /// What was to be stopped is left where it is.
    fn leave_behind(&mut self, reason: Reason, why: String) -> bool {
        self.state.current.left_behind = true;
        let class = if reason.is_launch_failure() { Class::LaunchFailed } else { Class::Cancelled };
        self.conclude(bare_verdict(class, reason, Some(why)))
    }
}
