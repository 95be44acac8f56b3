//! The current pod while it lives: what is done about it, and how it is stopped.

use super::advance::{TRY_AGAIN, bare_verdict};
use super::{Attempt, Leaving, Stage, Task};
use crate::classify;
use crate::contract::{Command, Event, Hindrance, Refusal, Reply, Stop};
use crate::ledger::Situation;
use crate::reason::Reason;
use crate::spec::RerunPolicy;
use crate::time::Time;
use crate::verdict::{Cause, Class, Started};

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
            return false;
        }
        if !self.is_active() {
            return false;
        }
        if let Some(reason) = self.stop_reason() {
            return self.go(Stage::Stopping { reason });
        }
        self.act_on(situation)
    }

    /// What the active observer does about a living pod.
    fn act_on(&mut self, situation: Situation) -> bool {
        match situation {
            Situation::Gated { ours: true, .. } if self.predecessor_ran() => return self.stop_held(),
            Situation::Gated { ours: true, .. } => self.lift_gate(),
            Situation::Starting { fatal: Some(reason), .. } if self.state.spec.fail_fast_images => {
                return self.go(Stage::Stopping { reason });
            }
            Situation::Terminating { unreachable_since: Some(since), .. } => return self.replace_unreachable(since),
            _ => {}
        }
        if let Some(clock) = self.state.clock().filter(|clock| clock.end <= self.state.now && self.may_time_out()) {
            return self.go(Stage::Stopping { reason: clock.reason });
        }
        if self.explain_at().is_some_and(|at| at <= self.state.now) {
            self.state.current.said.explained_at = Some(self.state.now);
            self.list_events();
        }
        false
    }

    /// Whether the attempt before, judged never to have started, was seen since to have run; and the program may not run twice.
    fn predecessor_ran(&self) -> bool {
        let template = &self.state.spec.template;
        let ran =
            |attempt: &Attempt| attempt.is_believed_unstarted() && attempt.ledger.started(template).next().is_some();
        let may_run_twice = self.state.spec.rerun.policy == RerunPolicy::Idempotent;
        !may_run_twice && self.state.leaving.iter().any(|leaving| ran(&leaving.attempt))
    }

    /// What is seen to the contrary wins, also during the backoff (design rule 3): the attempt that is held never runs.
    fn stop_held(&mut self) -> bool {
        self.go(Stage::Stopping { reason: Reason::StartedAfterAll })
    }

    fn lift_gate(&mut self) {
        let due = self.state.current.not_before.is_none_or(|at| at <= self.state.now);
        if due && !self.awaits(|c| matches!(c, Command::Ungate { .. })) {
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
                self.seen(crate::Sight::Present, &pod);
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

    /// A gate that may not be lifted would hold for ever: its pod, which never ran, is deleted, and the same attempt made again without one.
    fn do_without_gates(&mut self) {
        self.state.spec.gates = false;
        let again = Attempt::new(self.state.current.number, &self.state.spec);
        let mut held = std::mem::replace(&mut self.state.current, again);
        held.logs_closed = true;
        let protected = held.is_protected();
        self.state.leaving.push(Leaving { attempt: held, protected, delete: true, given_up: false });
        self.go(Stage::Delaying { until: self.state.now });
    }

    /// Says each station once, and when it was passed.
    fn note_progress(&mut self) {
        let (now, attempt) = (self.state.now, self.state.current.number);
        let node = self.state.current.ledger.node().map(str::to_owned);
        let ran = self.state.current.ledger.ran.contains_key(&self.state.spec.template.container);
        let disrupting = classify::disrupting(&self.state.current.ledger);
        let (said, times) = (&mut self.state.current.said, &mut self.state.current.times);
        let mut say = Vec::new();
        if let Some(node) = node.clone().filter(|_| !std::mem::replace(&mut said.assigned, node.is_some())) {
            times.assigned = Some(now);
            say.push(Event::Assigned { attempt, node });
        }
        if ran && !std::mem::replace(&mut said.running, true) {
            times.started = Some(now);
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
        let ran = !self.state.current.ledger.ran.is_empty();
        let started = if ran { Started::Started } else { Started::Unknown };
        let class = Class::Disrupted { cause: Cause::Unreachable, started };
        self.conclude(bare_verdict(class, Reason::Unreachable, None))
    }

    // --- stopping -----------------------------------------------------------------------------------------------------------------

    /// Why it must be stopped now, if it must: the user's cancel or a deadline.
    pub(super) fn stop_reason(&self) -> Option<Reason> {
        let timed_out = self.state.total_deadline().is_some_and(|end| end <= self.state.now) && self.is_active();
        match self.state.stop {
            Some(Stop::User) => Some(Reason::CancelledByUser),
            Some(Stop::Deadline) => Some(Reason::Timeout),
            Some(Stop::Shutdown) | None => timed_out.then_some(Reason::Timeout),
        }
    }

    pub(super) fn step_stopping(&mut self, reason: Reason) -> bool {
        self.note_progress();
        self.follow_logs();
        match self.state.situation() {
            Situation::Ended => return self.ended(Some(reason)),
            Situation::Doubtful => self.read(),
            _ if !self.state.current.ledger.our_delete && self.is_active() => self.delete_current(reason),
            _ => {}
        }
        false
    }

    /// Deletes the current pod, as it was last seen and no other.
    fn delete_current(&mut self, reason: Reason) {
        if self.awaits_read() || self.awaits(|c| matches!(c, Command::Delete { .. })) {
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

    pub(super) fn deleted(&mut self, uid: &str, reply: Reply) {
        if self.state.current.ledger.uid() != Some(uid) || self.state.stage.is_concluded() {
            return self.left(uid, reply);
        }
        match reply {
            Reply::Done | Reply::Pod(_) => {}
            Reply::NotFound => self.read(),
            Reply::Refused(refusal) => self.cannot_delete(&refusal),
            _ => {
                self.state.current.ledger.our_delete = false;
                self.read();
            }
        }
    }

    /// It may not delete what it is to stop: it says so, and leaves the pod as it is.
    fn cannot_delete(&mut self, refusal: &Refusal) {
        self.hinder(Hindrance::Delete, refusal);
        self.state.current.ledger.our_delete = false;
        self.state.current.undeletable = true;
        if let Stage::Stopping { reason } = self.state.stage {
            let class = if reason.is_launch_failure() { Class::LaunchFailed } else { Class::Cancelled };
            self.conclude(bare_verdict(class, reason, Some(refusal.message.clone())));
        }
    }
}
