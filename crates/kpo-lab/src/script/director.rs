//! Makes a script happen: waits for instants and for pods' states, and acts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{ApiTrouble, ApiTroubleKind, Happening, PodPattern, PodState, Script, Statement, Target, When, matches};
use crate::faults::{Fault, FaultGuard, Faults, Match, Reply};
use crate::pod;
use crate::provisioner::ProvisionerSpec;
use crate::resource::Resource;
use crate::store::{Change, ChangeKind};
use crate::time::Time;
use crate::world::World;

/// A pod: namespace, name, UID.
pub(super) type PodKey = (String, String, String);

/// Waits and acts.
#[derive(Debug, Default)]
pub(crate) struct Director {
    happenings: Vec<Happening>,
    /// Happenings that have happened.
    happened: BTreeSet<usize>,
    /// Happenings of a pod that are planned, or have happened: by pod UID.
    seen: BTreeSet<(usize, String)>,
    due: BTreeMap<(Time, u64), (usize, Option<PodKey>)>,
    planned: u64,
    /// What clients of the API server are to meet, where nobody stands between them and it.
    troubles: Vec<(usize, ApiTrouble)>,
    /// The way to the API server.
    faults: Option<Faults>,
    ongoing: Vec<Ongoing>,
}

/// A fault in force.
#[derive(Debug)]
struct Ongoing {
    /// The script's line.
    line: usize,
    /// When it is over; None: never.
    ends: Option<Time>,
    guard: FaultGuard,
}

impl Ongoing {
    fn is_over(&self, now: Time) -> bool {
        self.ends.is_some_and(|at| at <= now)
    }

    /// What is to be said of a fault that nobody met.
    fn idle(&self) -> Option<String> {
        (self.guard.hits() == 0).then(|| format!("line {}: it befell no request", self.line))
    }
}

impl Director {
    fn add(&mut self, now: Time, happenings: Vec<Happening>) {
        let first = self.happenings.len();
        for (index, happening) in happenings.iter().enumerate() {
            if let When::At(after) = happening.when {
                self.plan(now + after, first + index, None);
            }
        }
        self.happenings.extend(happenings);
    }

    fn plan(&mut self, at: Time, index: usize, pod: Option<PodKey>) {
        self.planned += 1;
        self.due.insert((at, self.planned), (index, pod));
    }

    /// Takes note of a change.
    pub(crate) fn observe(&mut self, now: Time, change: &Change) {
        if change.resource != Resource::Pods {
            return;
        }
        for index in 0..self.happenings.len() {
            let When::Pod { pod, state, lasting, each } = self.happenings[index].when.clone() else { continue };
            if !each && self.happened.contains(&index) || !fits(&pod, &change.object) || !is(state, change) {
                continue;
            }
            let key = (index, pod::uid(&change.object).to_owned());
            if self.seen.insert(key) {
                self.plan(now + lasting, index, Some(key_of(&change.object)));
            }
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<Time> {
        let due = self.due.first_key_value().map(|((at, _), _)| *at);
        due.into_iter().chain(self.ongoing.iter().filter_map(|fault| fault.ends)).min()
    }

    /// Lifts the faults that are over: how many, and what is to be said of those that nobody met.
    fn lift(&mut self, now: Time) -> (usize, Vec<String>) {
        let over: Vec<Ongoing> = self.ongoing.extract_if(.., |fault| fault.is_over(now)).collect();
        (over.len(), over.iter().filter_map(Ongoing::idle).collect())
    }

    pub(super) fn trouble(&mut self, now: Time, line: usize, trouble: &ApiTrouble) {
        let Some(faults) = &self.faults else { return self.troubles.push((line, trouble.clone())) };
        let guard = faults.inject(trouble.matching(), trouble.fault());
        self.ongoing.push(Ongoing { line, ends: trouble.lasting.map(|lasting| now + lasting), guard });
    }

    fn next(&mut self, now: Time) -> Option<(usize, Option<PodKey>)> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}

fn key_of(pod: &Value) -> PodKey {
    (pod::namespace(pod).to_owned(), pod::name(pod).to_owned(), pod::uid(pod).to_owned())
}

fn fits(pattern: &PodPattern, pod: &Value) -> bool {
    pattern.namespace.as_deref().is_none_or(|ns| matches(ns, pod::namespace(pod)))
        && matches(&pattern.name, pod::name(pod))
}

/// Whether the pod is in the state after this change.
fn is(state: PodState, change: &Change) -> bool {
    let gone = change.kind == ChangeKind::Deleted;
    if gone || state == PodState::Gone { gone && state == PodState::Gone } else { holds(state, &change.object) }
}

fn holds(state: PodState, pod: &Value) -> bool {
    let phase = pod::phase(pod);
    match state {
        PodState::Created => true,
        PodState::Gated => !pod::list(&pod["spec"], "schedulingGates").is_empty(),
        PodState::Unschedulable => pod::condition(pod, "PodScheduled").is_some_and(|c| c["reason"] == "Unschedulable"),
        PodState::Scheduled => !pod::node_name(pod).is_empty(),
        PodState::Starting => pod["status"].get("startTime").is_some(),
        PodState::Waiting => waits(pod),
        PodState::Running => phase == "Running",
        PodState::Ended => pod::has_ended(pod),
        PodState::Succeeded => phase == "Succeeded",
        PodState::Failed => phase == "Failed",
        PodState::Disrupted => pod::is_true(pod, "DisruptionTarget"),
        PodState::Terminating => pod::is_terminating(pod),
        PodState::Gone => false,
    }
}

fn waits(pod: &Value) -> bool {
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let mut reasons = statuses.iter().flat_map(|field| pod::list(&pod["status"], field));
    reasons.any(|status| {
        let reason = status["state"]["waiting"]["reason"].as_str();
        reason.is_some_and(|reason| reason != "ContainerCreating" && reason != "PodInitializing")
    })
}

impl World {
    /// Makes the cluster what the script says, and lets happen what it says from now on. Containers' behaviours are the runtime's:
    /// [`Script::runtime`].
    pub fn play(&mut self, script: &Script) {
        let mut provisioner: Option<ProvisionerSpec> = None;
        for statement in &script.cluster {
            match statement {
                Statement::Provisioner(spec) => {
                    let nodes = provisioner.take().unwrap_or_default().nodes;
                    provisioner = Some(ProvisionerSpec { nodes, ..spec.clone() });
                }
                Statement::Provides(node) => provisioner.get_or_insert_default().nodes.push(node.clone()),
                other => {
                    if let Err(why) = self.establish(other) {
                        self.refuse(why);
                    }
                }
            }
        }
        if provisioner.is_some() {
            self.set_provisioner(provisioner);
        }
        let now = self.now();
        self.director.add(now, script.happenings.clone());
    }

    /// Who stands between clients and the API server: what a script says of it befalls them there.
    pub fn set_faults(&mut self, faults: Faults) {
        let now = self.now();
        self.director.faults = Some(faults);
        for (line, trouble) in std::mem::take(&mut self.director.troubles) {
            self.director.trouble(now, line, &trouble);
        }
    }

    /// What of the script has not happened so far, or has befallen nobody.
    pub fn idle_happenings(&self) -> Vec<String> {
        let director = &self.director;
        let all = director.happenings.iter().enumerate();
        let missing = all.filter(|(index, _)| !director.happened.contains(index));
        let missing = missing.map(|(_, happening)| format!("line {}: it never happened", happening.line));
        missing.chain(director.ongoing.iter().filter_map(Ongoing::idle)).collect()
    }

    /// Lets happen what is due. True if something did.
    pub(crate) fn direct(&mut self) -> bool {
        let (lifted, idle) = self.director.lift(self.now());
        idle.into_iter().for_each(|why| self.refuse(why));
        let mut busy = lifted > 0;
        while let Some((index, pod)) = self.director.next(self.now()) {
            busy = true;
            self.happen(index, pod);
        }
        busy
    }

    fn happen(&mut self, index: usize, pod: Option<PodKey>) {
        let happening = self.director.happenings[index].clone();
        if let (When::Pod { state, lasting, each, .. }, Some(key)) = (&happening.when, &pod) {
            if !each && self.director.happened.contains(&index) {
                return;
            }
            if !lasting.is_zero() && !self.still(*state, key) {
                self.director.seen.remove(&(index, key.2.clone()));
                return;
            }
        }
        tracing::debug!(line = happening.line, "happens");
        self.director.happened.insert(index);
        if let Err(why) = self.act(happening.line, &happening.action, pod.as_ref()) {
            self.refuse(format!("line {}: {why}", happening.line));
        }
        if let Some(When::Then(after)) = self.director.happenings.get(index + 1).map(|next| next.when.clone()) {
            let at = self.now() + after;
            self.director.plan(at, index + 1, pod);
        }
    }

    fn still(&self, state: PodState, (ns, name, uid): &PodKey) -> bool {
        let found = self.store.get(Resource::Pods, ns, name).filter(|pod| pod::uid(pod) == uid);
        match found {
            Some(pod) => holds(state, &pod),
            None => state == PodState::Gone,
        }
    }

    /// The pod that is meant.
    pub(super) fn find(&self, target: &Target, it: Option<&PodKey>) -> Result<Arc<Value>, String> {
        match target {
            Target::It => {
                let (ns, name, uid) = it.ok_or("there is no pod of a condition")?;
                let found = self.store.get(Resource::Pods, ns, name).filter(|pod| pod::uid(pod) == uid);
                found.ok_or_else(|| format!("pod {name} is gone by then"))
            }
            Target::Pod(pattern) => {
                let found = self.store.list(Resource::Pods, None).find(|pod| fits(pattern, pod));
                found.cloned().ok_or_else(|| format!("there is no pod {} then", pattern.name))
            }
        }
    }
}

impl Happening {
    /// How long after the beginning it happens; None where it waits for something else.
    pub fn at(&self) -> Option<Duration> {
        match self.when {
            When::At(after) => Some(after),
            _ => None,
        }
    }
}

impl ApiTrouble {
    /// Which requests it is about, as a fault's match.
    pub fn matching(&self) -> Match {
        let mut matching = Match::any();
        if let Some(verb) = &self.verb {
            matching = matching.verb(verb);
        }
        if let Some(resource) = &self.resource {
            matching = matching.resource(resource);
        }
        if let Some(times) = self.times {
            matching = matching.times(times);
        }
        matching
    }

    /// What befalls them.
    pub fn fault(&self) -> Fault {
        match &self.kind {
            ApiTroubleKind::Drops => Fault::Drop,
            ApiTroubleKind::LosesReply => Fault::DropReplyAfterEffect,
            ApiTroubleKind::Delays(by) => Fault::Delay(*by),
            ApiTroubleKind::Hangs => Fault::HalfOpen,
            ApiTroubleKind::Cuts(bytes) => Fault::CutAfter(*bytes),
            ApiTroubleKind::Closes => Fault::CloseEmpty,
            ApiTroubleKind::TokensExpire => Fault::Status(Reply::status(401)),
            ApiTroubleKind::Answers { code, retry_after, done } => {
                let reply = Reply { retry_after: *retry_after, ..Reply::status(*code) };
                if *done { Fault::StatusAfterEffect(reply) } else { Fault::Status(reply) }
            }
        }
    }
}
