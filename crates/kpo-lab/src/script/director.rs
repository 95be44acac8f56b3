//! Makes a script happen: waits for instants and for pods' states, and acts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Action, ApiTrouble, ApiTroubleKind, Happening, NodeAction, PodPattern, PodState, Script, Statement, Target, When,
    matches,
};
use crate::api;
use crate::events::{self, Report};
use crate::faults::{Fault, FaultGuard, Faults, Match, Reply};
use crate::nodes;
use crate::pod;
use crate::provisioner::{ProvisionerKind, ProvisionerSpec};
use crate::resource::Resource;
use crate::store::{Change, ChangeKind, DeleteOptions, Writer};
use crate::time::Time;
use crate::world::World;

/// A pod: namespace, name, UID.
type PodKey = (String, String, String);

/// Waits and acts.
#[derive(Debug, Default)]
pub(crate) struct Director {
    happenings: Vec<Happening>,
    /// Happenings that happen once and have.
    done: BTreeSet<usize>,
    /// Happenings of a pod that are planned, or have happened: by pod UID.
    seen: BTreeSet<(usize, String)>,
    due: BTreeMap<(Time, u64), (usize, Option<PodKey>)>,
    planned: u64,
    /// What clients of the API server are to meet, where nobody stands between them and it.
    troubles: Vec<ApiTrouble>,
    /// The way to the API server.
    faults: Option<Faults>,
    /// Faults that end, and when.
    guards: Vec<(Time, FaultGuard)>,
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
            let When::Pod { pod, state, lasting, .. } = self.happenings[index].when.clone() else { continue };
            if self.done.contains(&index) || !fits(&pod, &change.object) || !is(state, change) {
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
        due.into_iter().chain(self.guards.iter().map(|(at, _)| *at)).min()
    }

    /// True if a fault is over.
    fn lift(&mut self, now: Time) -> bool {
        let before = self.guards.len();
        self.guards.retain(|(at, _)| *at > now);
        before > self.guards.len()
    }

    fn trouble(&mut self, now: Time, trouble: &ApiTrouble) {
        let Some(faults) = &self.faults else { return self.troubles.push(trouble.clone()) };
        let guard = faults.inject(trouble.matching(), trouble.fault());
        match trouble.lasting {
            Some(lasting) => self.guards.push((now + lasting, guard)),
            None => guard.keep(),
        }
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
                other => self.establish(other),
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
        for trouble in std::mem::take(&mut self.director.troubles) {
            self.director.trouble(now, &trouble);
        }
    }

    /// What clients of the API server are to meet from now on, where no [`World::set_faults`] was. Each is handed out once.
    pub fn take_api_troubles(&mut self) -> Vec<ApiTrouble> {
        std::mem::take(&mut self.director.troubles)
    }

    /// One statement of a cluster. A namespace that an object needs is made along with it.
    fn establish(&mut self, statement: &Statement) {
        match statement.clone() {
            Statement::Timing(timing) => self.set_timing(timing),
            Statement::Distribution(name) => self.store.set_distribution(Some(name)),
            Statement::Node(node) => self.add_node(node),
            Statement::Image(pattern, node, pull) => self.images_mut().set(&pattern, node.as_deref(), pull),
            Statement::Webhook(injection) => self.store.set_injection(Some(injection)),
            Statement::Provisioner(spec) => self.set_provisioner(Some(spec)),
            Statement::Provides(node) => {
                self.set_provisioner(Some(ProvisionerSpec { nodes: vec![node], ..Default::default() }))
            }
            Statement::Object(resource, object) => self.establish_object(resource, object),
        }
    }

    fn establish_object(&mut self, resource: Resource, object: Value) {
        let (now, ns) = (self.now(), pod::namespace(&object).to_owned());
        let writer = Writer::new("kubectl-create");
        if !ns.is_empty() && self.store.get(Resource::Namespaces, "", &ns).is_none() {
            let namespace = json!({"metadata": {"name": ns}});
            // Just seen to be missing.
            let _ = api::create(now, &mut self.store, Resource::Namespaces, namespace, &writer);
        }
        if let Err(error) = api::create(now, &mut self.store, resource, object, &writer) {
            tracing::warn!(message = %error.message, "the cluster refuses what the script says");
            self.refusals.push(error.message);
        }
    }

    /// Lets happen what is due. True if something did.
    pub(crate) fn direct(&mut self) -> bool {
        let mut busy = self.director.lift(self.now());
        while let Some((index, pod)) = self.director.next(self.now()) {
            busy = true;
            self.happen(index, pod);
        }
        busy
    }

    fn happen(&mut self, index: usize, pod: Option<PodKey>) {
        let happening = self.director.happenings[index].clone();
        if let (When::Pod { state, lasting, each, .. }, Some(key)) = (&happening.when, &pod) {
            if self.director.done.contains(&index) {
                return;
            }
            if !lasting.is_zero() && !self.still(*state, key) {
                self.director.seen.remove(&(index, key.2.clone()));
                return;
            }
            if !each {
                self.director.done.insert(index);
            }
        }
        tracing::debug!(line = happening.line, "happens");
        self.act(&happening.action, pod.as_ref());
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

    /// The pod that is meant, if it is there.
    fn find(&self, target: &Target, it: Option<&PodKey>) -> Option<Arc<Value>> {
        match target {
            Target::It => it.and_then(|(ns, name, _)| self.store.get(Resource::Pods, ns, name)),
            Target::Pod(pattern) => self.store.list(Resource::Pods, None).find(|pod| fits(pattern, pod)).cloned(),
        }
    }

    /// Does what a script's action says. What it is about may be gone by now: then nothing happens.
    fn act(&mut self, action: &Action, it: Option<&PodKey>) {
        match action {
            Action::Delete(target, _)
            | Action::Evict(target, _)
            | Action::Mark(target, ..)
            | Action::Unmark(target)
            | Action::Fail(target, ..)
            | Action::Preempt(target)
            | Action::EvictForPressure(target, _)
            | Action::EvictForVolume(target, _)
            | Action::KueueEvict(target)
            | Action::LoseRecords(target)
            | Action::Label(target, ..)
            | Action::Annotate(target, ..)
            | Action::Finalizer(target, ..) => {
                if let Some(pod) = self.find(target, it) {
                    self.act_on_pod(action, &pod);
                }
            }
            Action::Node(node, what) => self.act_on_node(node, what),
            Action::Add(statement) => self.establish(statement),
            Action::DeleteObject(resource, ns, name) => {
                let _ = api::delete(self.now(), &mut self.store, *resource, ns, name, &DeleteOptions::default());
            }
            Action::Compact => self.store.compact(),
            Action::Api(trouble) => {
                let now = self.now();
                self.director.trouble(now, trouble);
            }
        }
    }

    fn act_on_pod(&mut self, action: &Action, pod: &Arc<Value>) {
        let (now, ns, name) = (self.now(), pod::namespace(pod), pod::name(pod));
        // Found just now: that it is gone, or held by a budget, is the story's affair.
        match action {
            Action::Delete(_, grace) => {
                let options = DeleteOptions { grace: *grace, ..DeleteOptions::default() };
                let _ = api::delete(now, &mut self.store, Resource::Pods, ns, name, &options);
            }
            Action::Evict(_, by) => self.evict_by(pod, *by),
            Action::Mark(_, reason, message) => self.mark(pod, reason, message, true),
            Action::Unmark(_) => self.mark(pod, "", "", false),
            Action::Fail(_, reason, message, writer) => self.fail(pod, reason, message, writer),
            Action::Preempt(_) => self.preempt(pod),
            Action::EvictForPressure(_, resource) => self.evict_for_pressure(ns, name, resource),
            Action::EvictForVolume(_, volume) => self.evict_for_volume(ns, name, volume),
            Action::KueueEvict(_) => self.kueue_evict(pod),
            Action::LoseRecords(_) => self.lose_records(ns, name),
            Action::Label(_, key, value) => {
                self.write(pod, |pod| set(&mut pod["metadata"], "labels", key, value.as_deref()))
            }
            Action::Annotate(_, key, value) => {
                self.write(pod, |pod| set(&mut pod["metadata"], "annotations", key, Some(value)))
            }
            Action::Finalizer(_, finalizer, add) => self.write(pod, |pod| set_finalizer(pod, finalizer, *add)),
            _ => {}
        }
    }

    fn write(&mut self, pod: &Value, change: impl FnOnce(&mut Value)) {
        let (now, ns, name) = (self.now(), pod::namespace(pod), pod::name(pod));
        let _ = self.store.update_status(now, Resource::Pods, ns, name, change, &Writer::new("kubectl-edit"));
    }

    /// What who scales down does beside the eviction: the cluster autoscaler speaks before, Karpenter afterwards.
    fn evict_by(&mut self, pod: &Arc<Value>, by: Option<ProvisionerKind>) {
        let now = self.now();
        let say = |world: &mut World, report: &Report| {
            if let Some(by) = by {
                world.events.count(&mut world.store, now, &by.source(), events::reference(pod), report);
            }
        };
        if by == Some(ProvisionerKind::ClusterAutoscaler) {
            say(self, &Report::normal("ScaleDown", "deleting pod for node scale down"));
        }
        let (ns, name) = (pod::namespace(pod), pod::name(pod));
        let evicted = api::evict(now, &mut self.store, ns, name, &DeleteOptions::default());
        if by == Some(ProvisionerKind::Karpenter) && evicted.is_ok() {
            say(self, &Report::normal("Evicted", "Evicted pod: Underutilized"));
        }
    }

    fn mark(&mut self, pod: &Value, reason: &str, message: &str, on: bool) {
        let (now, ns, name) = (self.now(), pod::namespace(pod), pod::name(pod));
        let change = |pod: &mut Value| {
            let old = pod::condition(pod, "DisruptionTarget").cloned().unwrap_or_default();
            let text = |new: &str, field: &str| if on { new.into() } else { old[field].clone() };
            let condition = json!({
                "lastProbeTime": null, "lastTransitionTime": now.rfc3339(), "message": text(message, "message"),
                "observedGeneration": pod["metadata"]["generation"], "reason": text(reason, "reason"),
                "status": if on { "True" } else { "False" }, "type": "DisruptionTarget",
            });
            pod::set_condition(pod, condition);
        };
        let writer = Writer::status("kube-controller-manager");
        let _ = self.store.update_status(now, Resource::Pods, ns, name, change, &writer);
    }

    fn fail(&mut self, pod: &Value, reason: &str, message: &str, writer: &str) {
        let (now, ns, name) = (self.now(), pod::namespace(pod), pod::name(pod));
        let change = |pod: &mut Value| {
            pod["status"]["phase"] = "Failed".into();
            pod["status"]["reason"] = reason.into();
            pod["status"]["message"] = message.into();
        };
        let _ = self.store.update_status(now, Resource::Pods, ns, name, change, &Writer::status(writer));
    }

    fn kueue_evict(&mut self, pod: &Value) {
        let (now, ns, name) = (self.now(), pod::namespace(pod), pod::name(pod));
        let condition = json!({
            "lastProbeTime": null, "lastTransitionTime": now.rfc3339(),
            "message": "Preempted to accommodate a workload in the ClusterQueue", "reason": "StoppedByKueue", "status": "True",
            "type": "TerminationTarget",
        });
        let change = |pod: &mut Value| pod::set_condition(pod, condition);
        let _ = self.store.update_status(now, Resource::Pods, ns, name, change, &Writer::status("kueue"));
        let _ = api::delete(now, &mut self.store, Resource::Pods, ns, name, &DeleteOptions::default());
    }

    fn act_on_node(&mut self, node: &str, what: &NodeAction) {
        match what {
            NodeAction::Silent => self.silence_node(node),
            NodeAction::KubeletStopped => self.stop_kubelet(node),
            NodeAction::Answers | NodeAction::KubeletStarted => self.bring_back_kubelet(node),
            NodeAction::KubeletRestarted => {
                self.stop_kubelet(node);
                self.bring_back_kubelet(node);
            }
            NodeAction::Off => self.power_off_node(node),
            NodeAction::Deleted => self.delete_node(node),
            NodeAction::Rebooted(lost) => self.reboot_node(node, *lost),
            NodeAction::ShutDown(grace) => self.shut_down_node(node, *grace),
            NodeAction::Cordoned(on) => self.cordon_node(node, *on),
            NodeAction::Rejects(why) => self.reject_on_node(node, why.clone()),
            NodeAction::LowOn(what) => self.set_pressure(node, what.as_deref()),
            NodeAction::Labelled(key, value) => self.label_node(node, key, Some(value)),
            NodeAction::Tainted(key, value, effect) => {
                let taint = nodes::taint(key, value, effect);
                self.change_taints(node, |taints| taints.push(taint));
            }
            NodeAction::Untainted(key) => {
                self.change_taints(node, |taints| taints.retain(|taint| taint["key"] != key.as_str()))
            }
        }
    }
}

fn set(meta: &mut Value, map: &str, key: &str, value: Option<&str>) {
    match value {
        Some(value) => meta[map][key] = value.into(),
        None => drop(meta.get_mut(map).and_then(Value::as_object_mut).and_then(|map| map.remove(key))),
    }
}

fn set_finalizer(pod: &mut Value, finalizer: &str, add: bool) {
    let mut all = pod::list(&pod["metadata"], "finalizers").to_vec();
    all.retain(|known| known != finalizer);
    // A new finalizer is refused once the deletion has begun, as by the API server.
    if add && !pod::is_terminating(pod) {
        all.push(finalizer.into());
    }
    match all.is_empty() {
        true => drop(pod["metadata"].as_object_mut().and_then(|meta| meta.remove("finalizers"))),
        false => pod["metadata"]["finalizers"] = all.into(),
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
            ApiTroubleKind::TokensExpire => Fault::Status(Reply::status(401)),
            ApiTroubleKind::Answers { code, retry_after, done } => {
                let reply = Reply { retry_after: *retry_after, ..Reply::status(*code) };
                if *done { Fault::StatusAfterEffect(reply) } else { Fault::Status(reply) }
            }
        }
    }
}
