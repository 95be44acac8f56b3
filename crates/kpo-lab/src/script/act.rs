//! Does what a script says, and says why where that comes to nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::director::PodKey;
use super::{Action, NodeAction, PodAction, Statement};
use crate::api;
use crate::events::{self, Report};
use crate::kubelet::Health;
use crate::nodes;
use crate::pod;
use crate::provisioner::{ProvisionerKind, ProvisionerSpec};
use crate::resource::Resource;
use crate::store::{DeleteOptions, Writer};
use crate::world::World;

/// Why something that a script says came to nothing; a clause.
pub(super) type Effect = Result<(), String>;

impl World {
    /// One statement of a cluster. A namespace that an object needs is made along with it.
    pub(super) fn establish(&mut self, statement: &Statement) -> Effect {
        match statement.clone() {
            Statement::Timing(timing) => self.set_timing(timing),
            Statement::Distribution(name) => self.store.set_distribution(Some(name)),
            Statement::Permit(pattern, wait) => self.scheduler.permit_after(pattern, wait),
            Statement::Token(name, rule) => self.users.entry(name).or_default().push(rule),
            Statement::PodGc(kept) => self.podgc.keep(kept),
            Statement::Node(node) if self.store.get(Resource::Nodes, "", &node.name).is_some() => {
                return Err(format!("node {} is there already", node.name));
            }
            Statement::Node(node) => self.add_node(node),
            Statement::Image(pattern, node, pull) => self.images_mut().set(&pattern, node.as_deref(), pull),
            Statement::Network(node, time) => self.network_mut().fail(node.as_deref(), time),
            Statement::Webhook(injection) => self.store.set_injection(Some(injection)),
            Statement::Provisioner(spec) => self.set_provisioner(Some(spec)),
            Statement::Provides(node) => {
                self.set_provisioner(Some(ProvisionerSpec { nodes: vec![node], ..Default::default() }))
            }
            Statement::Object(resource, object) => return self.establish_object(resource, object),
        }
        Ok(())
    }

    fn establish_object(&mut self, resource: Resource, object: Value) -> Effect {
        let (now, ns) = (self.now(), pod::namespace(&object).to_owned());
        let writer = Writer::new("kubectl-create");
        if !ns.is_empty() && self.store.get(Resource::Namespaces, "", &ns).is_none() {
            let namespace = json!({"metadata": {"name": ns}});
            // Just seen to be missing.
            let _ = api::create(now, &mut self.store, Resource::Namespaces, namespace, &writer);
        }
        api::create(now, &mut self.store, resource, object, &writer).map(drop).map_err(|error| error.message)
    }

    /// Does what a script's action says.
    pub(super) fn act(&mut self, line: usize, action: &Action, it: Option<&PodKey>) -> Effect {
        match action {
            Action::Pod(target, what) => {
                let pod = self.find(target, it)?;
                self.act_on_pod(what, &pod)
            }
            Action::Node(node, what) => self.act_on_node(node, what),
            Action::Add(statement) => self.establish(statement),
            Action::DeleteObject(resource, ns, name) => {
                let gone = api::delete(self.now(), &mut self.store, *resource, ns, name, &DeleteOptions::default());
                gone.map(drop).map_err(|error| error.message)
            }
            Action::Compact => {
                self.store.compact();
                Ok(())
            }
            Action::Api(trouble) => {
                let now = self.now();
                self.director.trouble(now, line, trouble);
                Ok(())
            }
        }
    }

    fn act_on_pod(&mut self, action: &PodAction, pod: &Arc<Value>) -> Effect {
        let (ns, name) = (pod::namespace(pod), pod::name(pod));
        match action {
            PodAction::Delete(grace) => self.delete_by_hand(pod, *grace),
            PodAction::Evict(by) => self.evict_by(pod, *by),
            PodAction::Mark(reason, message) => self.mark(pod, reason, message, true),
            PodAction::Unmark => self.mark(pod, "", "", false),
            PodAction::Fail(reason, message, writer) => self.set_phase(pod, "Failed", (reason, message, writer)),
            PodAction::LoseSight(reason, message, writer) => self.set_phase(pod, "Unknown", (reason, message, writer)),
            PodAction::Preempt if !self.has_place(pod) => Err(format!("pod {name} has no node")),
            PodAction::Preempt => self.changing(|world| world.preempt(pod)),
            PodAction::EvictForPressure(resource) => {
                self.by_its_kubelet(pod, |world| world.evict_for_pressure(ns, name, resource))
            }
            PodAction::EvictForVolume(volume) => {
                self.by_its_kubelet(pod, |world| world.evict_for_volume(ns, name, volume))
            }
            PodAction::KueueEvict => self.kueue_evict(pod),
            PodAction::BreakRuntime(records) => {
                let known = self.kubelets.get(pod::node_name(pod)).is_some_and(|kubelet| kubelet.has(pod::uid(pod)));
                self.break_runtime(ns, name, *records);
                if known { Ok(()) } else { Err(format!("no runtime has a record of pod {name}")) }
            }
            PodAction::Label(key, value) => {
                self.write(pod, |pod| set(&mut pod["metadata"], "labels", key, value.as_deref()))
            }
            PodAction::Annotate(key, value) => {
                self.write(pod, |pod| set(&mut pod["metadata"], "annotations", key, Some(value)))
            }
            PodAction::LiftGate(gate) => self.edit(pod, |pod| lift_gate(pod, gate)),
            PodAction::Finalizer(finalizer, add) => self.write(pod, |pod| set_finalizer(pod, finalizer, *add)),
        }
    }

    /// Whether a pod is bound, or its room is reserved.
    fn has_place(&self, pod: &Value) -> bool {
        !pod::node_name(pod).is_empty() || self.scheduler.reserved_node(pod::uid(pod)).is_some()
    }

    /// Something that shows in the store at once.
    fn changing(&mut self, act: impl FnOnce(&mut World)) -> Effect {
        let before = self.store.rv();
        act(self);
        if self.store.rv() == before { Err("it changes nothing".to_owned()) } else { Ok(()) }
    }

    /// What only a kubelet does that works and has the pod.
    fn by_its_kubelet(&mut self, pod: &Value, act: impl FnOnce(&mut World)) -> Effect {
        let (name, node) = (pod::name(pod), pod::node_name(pod));
        let kubelet = self.kubelets.get(node).ok_or_else(|| format!("pod {name} has no node"))?;
        if kubelet.health != Health::Up {
            return Err(format!("the kubelet of {node} is not heard of"));
        }
        if !kubelet.holds(pod::uid(pod)) {
            return Err(format!("pod {name} has ended"));
        }
        act(self);
        Ok(())
    }

    fn delete_by_hand(&mut self, pod: &Value, grace: Option<i64>) -> Effect {
        let (now, ns, name) = (self.now(), pod::namespace(pod), pod::name(pod));
        let options = DeleteOptions { grace, ..DeleteOptions::default() };
        self.changing(|world| drop(api::delete(now, &mut world.store, Resource::Pods, ns, name, &options)))
    }

    fn write(&mut self, pod: &Value, change: impl FnOnce(&mut Value)) -> Effect {
        self.write_as(pod, change, &Writer::new("kubectl-edit"))
    }

    /// The same as a client does it, of the specification.
    fn edit(&mut self, pod: &Value, change: impl FnOnce(&mut Value)) -> Effect {
        let (now, mut changed) = (self.now(), pod.clone());
        change(&mut changed);
        let writer = Writer::new("kubectl-edit");
        let done = api::update(now, &mut self.store, Resource::Pods, api::Part::Main, changed, &writer, false);
        done.map(drop).map_err(|error| error.message)
    }

    fn write_as(&mut self, pod: &Value, change: impl FnOnce(&mut Value), writer: &Writer) -> Effect {
        let (now, ns, name) = (self.now(), pod::namespace(pod), pod::name(pod));
        self.changing(|world| drop(world.store.update_status(now, Resource::Pods, ns, name, change, writer)))
    }

    /// What who scales down does beside the eviction: the cluster autoscaler speaks before, Karpenter afterwards.
    fn evict_by(&mut self, pod: &Arc<Value>, by: Option<ProvisionerKind>) -> Effect {
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
        let evicted = api::evict(now, &mut self.store, ns, name, &DeleteOptions::default(), false, || Ok(()));
        if by == Some(ProvisionerKind::Karpenter) && evicted.is_ok() {
            say(self, &Report::normal("Evicted", "Evicted pod: Underutilized"));
        }
        evicted.map_err(|error| error.message)
    }

    fn mark(&mut self, pod: &Value, reason: &str, message: &str, on: bool) -> Effect {
        let now = self.now();
        let known = pod::condition(pod, "DisruptionTarget").cloned();
        if !on && known.is_none() {
            return Err(format!("pod {} has no condition DisruptionTarget", pod::name(pod)));
        }
        let old = known.unwrap_or_default();
        let change = |pod: &mut Value| {
            let text = |new: &str, field: &str| if on { new.into() } else { old[field].clone() };
            let condition = json!({
                "lastProbeTime": null, "lastTransitionTime": now.rfc3339(), "message": text(message, "message"),
                "observedGeneration": pod["metadata"]["generation"], "reason": text(reason, "reason"),
                "status": if on { "True" } else { "False" }, "type": "DisruptionTarget",
            });
            pod::set_condition(pod, condition);
        };
        self.write_as(pod, change, &Writer::status("kube-controller-manager"))
    }

    /// Another writer than the kubelet sets the phase, with reason, message and its name.
    fn set_phase(&mut self, pod: &Value, phase: &str, words: (&str, &str, &str)) -> Effect {
        let (reason, message, writer) = words;
        let change = |pod: &mut Value| {
            pod["status"]["phase"] = phase.into();
            pod["status"]["reason"] = reason.into();
            pod["status"]["message"] = message.into();
        };
        self.write_as(pod, change, &Writer::status(writer))
    }

    fn kueue_evict(&mut self, pod: &Value) -> Effect {
        let condition = json!({
            "lastProbeTime": null, "lastTransitionTime": self.now().rfc3339(),
            "message": "Preempted to accommodate a workload in the ClusterQueue", "reason": "StoppedByKueue", "status": "True",
            "type": "TerminationTarget",
        });
        self.write_as(pod, |pod| pod::set_condition(pod, condition), &Writer::status("kueue"))?;
        self.delete_by_hand(pod, None)
    }

    fn act_on_node(&mut self, node: &str, what: &NodeAction) -> Effect {
        self.demand_node(node, what)?;
        match what {
            NodeAction::Silent => self.silence_node(node),
            NodeAction::KubeletStopped => self.stop_kubelet(node),
            NodeAction::Answers | NodeAction::KubeletStarted => self.bring_back_kubelet(node),
            NodeAction::KubeletRestarted => {
                self.stop_kubelet(node);
                self.bring_back_kubelet(node);
            }
            NodeAction::Off => self.power_off_node(node),
            NodeAction::Deleted(false) => self.delete_node(node),
            NodeAction::Deleted(true) => self.delete_node_as_cloud(node),
            NodeAction::Rebooted(records) => self.reboot_node(node, *records),
            NodeAction::ShutDown(grace) => self.shut_down_node(node, *grace),
            NodeAction::Cordoned(on) => return self.changing(|world| world.cordon_node(node, *on)),
            NodeAction::Rejects(why) => self.reject_on_node(node, why.clone()),
            NodeAction::LowOn(what) => return self.changing(|world| world.set_pressure(node, what.as_deref())),
            NodeAction::Labelled(key, value) => {
                return self.changing(|world| world.label_node(node, key, Some(value)));
            }
            NodeAction::Tainted(key, value, effect) => {
                let taint = nodes::taint(key, value, effect);
                return self.changing(|world| world.change_taints(node, |taints| taints.push(taint)));
            }
            NodeAction::Untainted(key) => {
                let other = |taint: &Value| taint["key"] != key.as_str();
                return self.changing(|world| world.change_taints(node, |taints| taints.retain(other)));
            }
        }
        Ok(())
    }

    /// Whether there is a node or a kubelet to which that can happen.
    fn demand_node(&self, node: &str, what: &NodeAction) -> Effect {
        let kubelet = self.kubelets.get(node).ok_or_else(|| format!("there is no node {node}"))?;
        let gone = self.store.get(Resource::Nodes, "", node).is_none();
        match what {
            NodeAction::Silent | NodeAction::KubeletStopped | NodeAction::ShutDown(_)
                if kubelet.health != Health::Up =>
            {
                Err(format!("the kubelet of {node} is not heard of"))
            }
            NodeAction::Answers | NodeAction::KubeletStarted if kubelet.health == Health::Up => {
                Err(format!("the kubelet of {node} is heard of"))
            }
            _ if kubelet.health == Health::Off && !what.is_about_its_object() => {
                Err(format!("the machine of {node} is off"))
            }
            _ if gone && what.is_about_its_object() => Err(format!("there is no node {node}")),
            _ => Ok(()),
        }
    }
}

impl NodeAction {
    /// Whether it happens to the node's object, and not to its machine or its kubelet.
    fn is_about_its_object(&self) -> bool {
        matches!(
            self,
            Self::Deleted(_) | Self::Cordoned(_) | Self::Labelled(..) | Self::Tainted(..) | Self::Untainted(_)
        )
    }
}

fn set(meta: &mut Value, map: &str, key: &str, value: Option<&str>) {
    match value {
        Some(value) => meta[map][key] = value.into(),
        None => drop(meta.get_mut(map).and_then(Value::as_object_mut).and_then(|map| map.remove(key))),
    }
}

fn lift_gate(pod: &mut Value, gate: &str) {
    let mut left = pod::list(&pod["spec"], "schedulingGates").to_vec();
    left.retain(|known| known["name"] != gate);
    match left.is_empty() {
        true => drop(pod["spec"].as_object_mut().and_then(|spec| spec.remove("schedulingGates"))),
        false => pod["spec"]["schedulingGates"] = left.into(),
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
