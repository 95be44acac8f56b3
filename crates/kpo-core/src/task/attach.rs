//! Finding a task again: from the pods that carry its id, or from a snapshot.

use super::hold::{STOP_MARGIN, is_gated};
use super::{Attempt, Leaving, Observer, Stage, State, Task};
use crate::contract::{Carried, Command, Event, Found, Hindrance, NoRerun, Output, Reply, Sight};
use crate::ledger::Situation;
use crate::outcome::{AttemptRecord, Times};
use crate::pod::Pod;
use crate::spec::Template;
use crate::time::Time;
use crate::verdict::Verdict;
use crate::{STATE_VERSION, marks};
use std::collections::BTreeSet;
use std::time::Duration;

/// Events are kept for an hour (kube-apiserver, `--event-ttl`): what happened within this is still told.
const EVENTS_LAST: Duration = Duration::from_secs(50 * 60);
/// More than any task makes: what a label says beyond it is nonsense.
const MOST_ATTEMPTS: u32 = 1_000_000;

/// Why a task cannot be attached to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// No pod carries its id.
    #[error("no pod of task {task}: finished and cleaned, or lost")]
    NoPod {
        /// The task's id.
        task: String,
    },
    /// Pods of several tasks carry the same id.
    #[error("pods of {} tasks carry the id {task}: {}", .pods.len(), .pods.join(", "))]
    Ambiguous {
        /// The id.
        task: String,
        /// One pod of each.
        pods: Vec<String>,
    },
    /// Its state cannot be read.
    #[error("pod {pod} of task {task} carries no state that this version can read ({why})")]
    State {
        /// The id.
        task: String,
        /// The pod.
        pod: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a snapshot cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// It was written by a newer version.
    #[error("the state has version {found}; this kpo reads versions up to {STATE_VERSION}")]
    TooNew {
        /// Its version.
        found: u32,
    },
}

/// How to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// The task's id.
    pub task: String,
    /// This observer's unique name.
    pub observer: String,
    /// Whether it takes over from the observer that stands on the pod (writes epoch + 1), or only follows.
    pub take_over: bool,
    /// Whether the manifest as submitted was found: without it nothing is ever recreated.
    pub has_manifest: bool,
    /// The nonce, where it is known. `None`: the pods must agree on one.
    pub nonce: Option<String>,
    /// Whether the task is known to be over: whatever is found of it, no other attempt is made.
    pub over: bool,
}

impl Task {
    /// Goes on with a task from the pods that carry its label, as a consistent list shows them.
    ///
    /// The newest attempt is the current one; older pods of the same nonce are cleaned up (by an active observer), namesakes with
    /// another nonce are left alone.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(now: Time, how: &Attach, pods: Vec<Pod>) -> Result<Self, AttachError> {
        let mut pods = ours(how, pods)?;
        pods.sort_by_key(number);
        let current = pods.pop().ok_or_else(|| AttachError::NoPod { task: how.task.clone() })?;
        let carried = carried(how, &current)?;
        let over = carried.verdict.clone();
        let is_newest = carried.attempts.iter().all(|record| record.number < number(&current));
        let mut task = Self::over(found(now, how, &current, carried));
        pods.into_iter().for_each(|pod| task.find_leaving(&pod));
        task.state.current.ledger.observe(now, Sight::Present, &current);
        task.state.current.times = found_times(&current, &task.state.spec.template);
        task.hold_found_gate();
        let found = task.found_as(over.is_some(), is_newest);
        task.say(Event::Adopted {
            attempt: task.state.current.number,
            pod: task.state.current.name.clone(),
            uid: task.state.current.uid(),
            follows: !how.take_over,
            recreates: how.has_manifest,
            found,
        });
        if !is_newest {
            task.miss_successor(&current, over);
        }
        task.advance();
        Ok(task)
    }

    /// What the current attempt is to who has just found it. The newest pod may be that of an attempt before.
    fn found_as(&self, is_over: bool, is_newest: bool) -> Found {
        let current = &self.state.current;
        let has_ended =
            self.state.situation() == Situation::Ended || current.ledger.own_is_over(&self.state.spec.template);
        let is_ending = has_ended || current.is_terminating() || self.wish_of_another().is_some();
        match is_over {
            true => Found::Over,
            false if is_ending || !is_newest => Found::Ending,
            false => Found::Living,
        }
    }

    /// The newest pod says that there was an attempt after its own, which was about to run, and perhaps what became of it: it is gone, and else
    /// nothing is known. Where no gate held it, it may also never have been made: its create is found out about.
    fn miss_successor(&mut self, pod: &Pod, over: Option<Verdict>) {
        let found = self.state.current.number;
        self.find_leaving(pod);
        self.state.current = self.attempt(found + 1);
        let told = self.state.past.last().and_then(|record| record.times.ended).unwrap_or(self.state.began);
        if self.state.observer.takes_over {
            self.state.observer.take();
        }
        if let Some(verdict) = over {
            self.conclude(verdict);
            return;
        }
        let may_be_told = told + EVENTS_LAST > self.state.now && self.is_active();
        if self.state.can_gate() || !may_be_told || self.state.barred.is_some() {
            return self.vanished_unseen();
        }
        self.send_create(Some(told));
        self.go(Stage::CREATING);
    }

    /// Goes on from a snapshot, also of one whose observer has left. Commands without a reply are given again: each finds out what of it has
    /// happened. Logs that were not read to their end are followed from their start.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(now: Time, state: State) -> Result<Self, RestoreError> {
        if state.version > STATE_VERSION {
            return Err(RestoreError::TooNew { found: state.version });
        }
        let mut task = Self::over(state);
        if let Stage::Detached { from } = task.state.stage.clone() {
            (task.state.stage, task.state.stop, task.state.stopped_at) = (*from, None, None);
        }
        task.doubt_creates();
        let deletes = |command: &Command| matches!(command, Command::Delete { uid, .. } if task.state.current.ledger.uid() == Some(uid));
        task.state.current.delete_in_doubt |= task.state.pending.values().any(deletes);
        task.follow_again();
        task.state.leaving.iter_mut().for_each(|leaving| leaving.asked_at = None);
        let again: Vec<_> = task.state.pending.iter().map(|(id, c)| Output::Command(*id, c.clone())).collect();
        task.queue.extend(again);
        task.charge(now);
        task.lose_sight();
        task.advance();
        Ok(task)
    }

    /// A create without a reply may have been sent. Its pod, where it is gone again, is known by events alone, and not by older ones of a
    /// predecessor of the same name.
    fn doubt_creates(&mut self) {
        let state = &mut self.state;
        // A create whose pod was seen has been answered by that.
        let born = state.current.ledger.uid().is_some().then_some(state.current.number);
        state.pending.retain(|_, command| !matches!(command, Command::Create(create) if Some(create.attempt) == born));
        let since = state.past.last().and_then(|attempt| attempt.times.ended).unwrap_or(state.began);
        for command in state.pending.values_mut() {
            if let Command::Create(create) = command {
                create.sent_before = Some(since);
            }
        }
    }

    /// Logs whose reader has died are followed anew, before they are closed.
    fn follow_again(&mut self) {
        let attempts =
            std::iter::once(&mut self.state.current).chain(self.state.leaving.iter_mut().map(|l| &mut l.attempt));
        let mut follow = Vec::new();
        for attempt in attempts.filter(|attempt| !attempt.logs_closed) {
            let (name, uid) = (attempt.name.clone(), attempt.uid());
            let each = attempt.followed.iter().map(|container| Command::FollowLog {
                name: name.clone(),
                uid: uid.clone(),
                container: container.clone(),
            });
            follow.extend(each);
        }
        for command in follow {
            self.command(command);
        }
    }

    fn find_leaving(&mut self, pod: &Pod) {
        let mut attempt = Attempt::new(number(pod), &self.state.spec);
        let record = self.state.past.iter().find(|record| record.number == attempt.number);
        attempt.verdict = record.and_then(|record| record.verdict.as_ref()).map(|verdict| verdict.verdict.clone());
        attempt.name = pod.metadata.name.clone();
        attempt.logs_closed = true;
        attempt.ledger.observe(self.state.now, Sight::Present, pod);
        let protected = attempt.is_protected();
        let succeeded = written(pod).is_some_and(|carried| carried.attempts.iter().any(|a| a.number >= attempt.number));
        let leaving = Leaving::new(self.state.now, attempt, protected, true);
        self.state.leaving.push(Leaving { asked_at: None, succeeded, ..leaving });
    }

    /// A pod found behind kpo's gate: what is left of its backoff is not known, so it is waited anew. The same where the attempt before is
    /// gone, and nobody attested that it stands still.
    fn hold_found_gate(&mut self) {
        if !self.state.current.ledger.last.as_ref().is_some_and(is_gated) {
            return;
        }
        let before = self.state.past.last();
        let stopped = before.and_then(|a| a.verdict.as_ref()).is_none_or(|verdict| verdict.verdict.stopped);
        let is_there = before.is_some_and(|a| self.state.leaving.iter().any(|l| l.attempt.number == a.number));
        let margin = if stopped || is_there { Duration::ZERO } else { self.state.grace() + STOP_MARGIN };
        self.state.current.not_before = Some(self.state.now + self.last_delay().max(margin));
    }

    pub(super) fn annotated(&mut self, uid: &str, reply: Reply) {
        if self.state.current.ledger.uid() != Some(uid) {
            return;
        }
        match reply {
            Reply::Pod(pod) => {
                let ours = pod.annotation(marks::OBSERVER) == Some(&self.state.observer.mark());
                if self.state.observer.takes_over && ours {
                    self.state.observer.take();
                }
                self.seen(Sight::Present, &pod);
            }
            Reply::Conflict | Reply::NotFound => self.read(),
            // What is about to be deleted is deleted unsigned.
            Reply::Refused(_) if !self.state.observer.takes_over && !self.state.stage.is_concluded() => {}
            Reply::Refused(refusal) => {
                self.state.observer.takes_over = false;
                self.hinder(Hindrance::Annotate, &refusal);
            }
            _ => {}
        }
    }

    /// A follower goes on with the next attempt of the active observer, on which the verdict on the one before travels.
    pub(super) fn adopt_successor(&mut self, pod: &Pod) {
        if !self.state.observer.follows {
            self.born(pod, self.state.current.not_before.is_some());
            return;
        }
        let carried = written(pod);
        if let Some(carried) = &carried {
            self.learn_verdict(carried);
        }
        self.follow_logs();
        self.close_logs();
        self.succeed(self.attempt(number(pod)), carried.map(|carried| carried.attempts));
        self.state.current.name = pod.metadata.name.clone();
        let now = self.state.now;
        self.state.current.ledger.observe(now, Sight::Present, pod);
        self.state.current.times.created = Some(now);
        self.say(Event::Adopted {
            attempt: self.state.current.number,
            pod: self.state.current.name.clone(),
            uid: self.state.current.uid(),
            follows: true,
            recreates: self.state.barred.is_none(),
            found: Found::Living,
        });
        self.go(Stage::Following);
    }

    /// The active observer's verdict on the current attempt, where this one has reached none yet.
    fn learn_verdict(&mut self, carried: &Carried) {
        let attempt = self.state.current.number;
        let told = carried.attempts.iter().find(|record| record.number == attempt).and_then(|r| r.verdict.as_ref());
        if let Some(told) = told.filter(|_| self.state.current.verdict.is_none()) {
            let verdict = told.verdict.clone();
            let next = self.next_seen(&verdict, &carried.spec.rerun);
            self.state.current.times.ended = Some(self.state.now);
            self.state.current.verdict = Some(verdict.clone());
            self.say(Event::Ended { attempt, verdict: Box::new(verdict), next });
        }
    }

    /// Makes the next attempt the current one. What the active observer wrote of those before is the task's; where it agrees, this one's own
    /// record tells more.
    fn succeed(&mut self, next: Attempt, written: Option<Vec<AttemptRecord>>) {
        let ended = std::mem::replace(&mut self.state.current, next);
        self.state.past.push(ended.record(&self.state.spec.namespace));
        let own = std::mem::take(&mut self.state.past);
        let agrees = |a: &AttemptRecord, b: &AttemptRecord| a.number == b.number && a.reason() == b.reason();
        let richer = |record: AttemptRecord| own.iter().find(|own| agrees(own, &record)).cloned().unwrap_or(record);
        self.state.past = written.map_or_else(|| own.clone(), |written| written.into_iter().map(richer).collect());
        let protected = self.state.observer.takes_over && ended.is_protected();
        let delete = self.state.observer.takes_over && ended.is_there();
        self.state.leaving.push(Leaving::new(self.state.now, ended, protected, delete));
    }
}

/// What was written on it of the task. `None`: nothing that can be read.
fn written(pod: &Pod) -> Option<Carried> {
    pod.annotation(marks::STATE).and_then(|text| Carried::from_json(text).ok())
}

/// The pods of the one task that is meant. A pod that only has its label is an impostor, and left alone.
fn ours(how: &Attach, mut pods: Vec<Pod>) -> Result<Vec<Pod>, AttachError> {
    pods.retain(|pod| pod.metadata.labels.get(marks::TASK) == Some(&how.task));
    pods.retain(|pod| how.nonce.as_deref().is_none_or(|nonce| pod.annotation(marks::NONCE) == Some(nonce)));
    if pods.iter().any(is_genuine) {
        pods.retain(is_genuine);
    }
    let mut nonces = BTreeSet::new();
    let first_of_each: Vec<String> = pods
        .iter()
        .filter(|pod| nonces.insert(pod.annotation(marks::NONCE).unwrap_or_default().to_owned()))
        .map(|pod| pod.metadata.name.clone())
        .collect();
    if nonces.len() > 1 {
        return Err(AttachError::Ambiguous { task: how.task.clone(), pods: first_of_each });
    }
    Ok(pods)
}

/// When its stations were passed, by the cluster's clocks.
fn found_times(pod: &Pod, template: &Template) -> Times {
    let time = |text: &Option<String>| text.as_deref().and_then(Time::parse);
    let own = pod.status_of(&template.container).map(|own| &own.state);
    let running = own.and_then(|own| time(&own.running.as_ref()?.started_at));
    let end = own.and_then(|own| own.terminated.as_ref());
    // The runtime's zero time is none: it was never started.
    let real = |text: &Option<String>| time(text).filter(|time| time.0 > 0);
    Times {
        created: time(&pod.metadata.creation_timestamp),
        assigned: time(&pod.status.start_time),
        started: running.or_else(|| real(&end?.started_at)),
        ended: end.and_then(|end| real(&end.finished_at)),
    }
}

fn number(pod: &Pod) -> u32 {
    let number = pod.metadata.labels.get(marks::ATTEMPT).and_then(|number| number.parse().ok());
    number.filter(|number| *number < MOST_ATTEMPTS).unwrap_or(1)
}

/// Whether it carries the state of a task of its own nonce and id, in whatever version.
pub(super) fn is_genuine(pod: &Pod) -> bool {
    let state = pod.annotation(marks::STATE).and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let Some(spec) = state.as_ref().map(|state| &state["spec"]) else { return false };
    let task = pod.metadata.labels.get(marks::TASK).map(String::as_str);
    spec["nonce"].as_str() == pod.annotation(marks::NONCE) && spec["task"].as_str() == task && task.is_some()
}

fn carried(how: &Attach, pod: &Pod) -> Result<Carried, AttachError> {
    let unreadable = |why: String| AttachError::State { task: how.task.clone(), pod: pod.metadata.name.clone(), why };
    let text = pod.annotation(marks::STATE).ok_or_else(|| unreadable(format!("no annotation {}", marks::STATE)))?;
    let carried = Carried::from_json(text).map_err(unreadable)?;
    if carried.version > STATE_VERSION {
        return Err(unreadable(format!("version {}, and this kpo reads up to {STATE_VERSION}", carried.version)));
    }
    Ok(carried)
}

fn found(now: Time, how: &Attach, pod: &Pod, carried: Carried) -> State {
    let spec = carried.spec;
    let mut current = Attempt::new(number(pod), &spec);
    current.name = pod.metadata.name.clone();
    current.verdict = None;
    let epoch = Observer::epoch_of(pod.annotation(marks::OBSERVER).unwrap_or_default());
    let observer = Observer {
        id: how.observer.clone(),
        epoch: epoch.saturating_add(how.take_over.into()),
        follows: true,
        takes_over: how.take_over,
    };
    let mut state = State::blank(now, spec, observer, current);
    state.began = carried.began;
    state.past = carried.attempts;
    state.stage = Stage::Following;
    // With a verdict on the pod (it was kept) the task is over, and its outcome was taken.
    state.barred = match carried.verdict {
        Some(_) => Some(NoRerun::Over),
        None if how.over => Some(NoRerun::Over),
        None => (!how.has_manifest).then_some(NoRerun::NoManifest),
    };
    state
}
