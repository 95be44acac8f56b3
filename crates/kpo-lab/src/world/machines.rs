//! What can be done to nodes, their machines and their kubelets.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Cx, World};
use crate::api;
use crate::kubelet::{Health, Kubelet, Records};
use crate::nodes::{self, NodeSpec};
use crate::pod;
use crate::resource::Resource;
use crate::store::{DeleteOptions, Writer};

impl World {
    /// Adds a node with a machine and a kubelet of its own. One that is there already stays as it is.
    pub fn add_node(&mut self, spec: NodeSpec) {
        if self.store.get(Resource::Nodes, "", &spec.name).is_some() {
            return;
        }
        let index = self.kubelets.get(&spec.name).map_or(self.next_index, Kubelet::index);
        self.next_index = self.next_index.max(index + 1);
        // A machine of this name that was there before is another one.
        self.power_off_node(&spec.name);
        let kubelet = Kubelet::new(&spec.name, index, self.timing, self.now);
        let mut object = spec.object(self.now, kubelet.ip());
        object["status"]["nodeInfo"]["bootID"] = self.store.new_uid().into();
        if api::create(self.now, &mut self.store, Resource::Nodes, object, &Writer::new("kubelet")).is_err() {
            return;
        }
        self.lifecycle.answers(&spec.name);
        for (key, value, after) in &spec.later_labels {
            self.later_labels.push((self.now + *after, spec.name.clone(), key.clone(), value.clone()));
        }
        let kubelet = self.kubelets.entry(spec.name).insert_entry(kubelet).into_mut();
        // Pods may be assigned to the name already.
        kubelet.resync(&mut cx!(self));
    }

    /// Sets or removes a node's label.
    pub fn label_node(&mut self, node: &str, key: &str, value: Option<&str>) {
        let change = |node: &mut Value| match value {
            Some(value) => node["metadata"]["labels"][key] = value.into(),
            None => drop(node["metadata"]["labels"].as_object_mut().and_then(|labels| labels.remove(key))),
        };
        // A node that is gone needs no label.
        let _ = self.store.update_status(
            self.now,
            Resource::Nodes,
            "",
            node,
            change,
            &Writer::new("kube-controller-manager"),
        );
    }

    /// The kubelet falls silent, as behind a network that is cut; its containers run on.
    pub fn silence_node(&mut self, node: &str) {
        self.lose_kubelet(node, Health::Silent);
    }

    /// The kubelet's process stops; its containers run on. It forgets all it knew.
    pub fn stop_kubelet(&mut self, node: &str) {
        self.lose_kubelet(node, Health::Down);
    }

    fn lose_kubelet(&mut self, node: &str, health: Health) {
        if let Some(kubelet) = self.kubelets.get_mut(node) {
            if kubelet.health == Health::Up {
                self.lifecycle.fell_silent(node, self.now);
            }
            kubelet.stop(health);
        }
    }

    /// The kubelet is heard again, or its process is started.
    pub fn bring_back_kubelet(&mut self, node: &str) {
        if let Some(kubelet) = self.kubelets.get_mut(node)
            && kubelet.health != Health::Off
        {
            self.lifecycle.answers(node);
            kubelet.come_back(&mut cx!(self));
            nodes::report_ready(&mut cx!(self), node);
        }
    }

    /// The machine is started anew: no container of before runs; what its runtime knows of them.
    pub fn reboot_node(&mut self, node: &str, records: Records) {
        if let Some(kubelet) = self.kubelets.get_mut(node).filter(|kubelet| kubelet.health != Health::Off) {
            self.lifecycle.answers(node);
            kubelet.reboot(&mut cx!(self), records);
            nodes::report_ready(&mut cx!(self), node);
            nodes::report_reboot(&mut cx!(self), node);
        }
    }

    /// The machine is off for good; its object stays.
    pub fn power_off_node(&mut self, node: &str) {
        if let Some(kubelet) = self.kubelets.get_mut(node) {
            if kubelet.health == Health::Up {
                self.lifecycle.fell_silent(node, self.now);
            }
            kubelet.power_off(&mut cx!(self));
        }
    }

    /// The cloud's controller finds no such machine: it says so, and deletes the node's object (`node_lifecycle_controller.go`).
    pub fn delete_node_as_cloud(&mut self, node: &str) {
        nodes::report_cloud_deletion(&mut cx!(self), node);
        self.delete_node(node);
    }

    /// The node's object is deleted; the machine and what runs on it stay.
    pub fn delete_node(&mut self, node: &str) {
        // Not there: just as well.
        let _ = self.store.delete(self.now, Resource::Nodes, "", node, &DeleteOptions::default());
        self.lifecycle.answers(node);
    }

    /// Graceful shutdown: the kubelet ends its pods within `grace` and takes no more.
    pub fn shut_down_node(&mut self, node: &str, grace: Duration) {
        if let Some(kubelet) = self.kubelets.get_mut(node) {
            kubelet.shut_down(&mut cx!(self), grace);
            nodes::report_shutdown(&mut cx!(self), node);
        }
    }

    /// The runtime breaks down and is there again: a pod's containers are gone, and this is what it knows of them.
    pub fn break_runtime(&mut self, ns: &str, name: &str, records: Records) {
        self.on_kubelet(ns, name, |kubelet, cx, pod| kubelet.break_runtime(cx, pod::uid(pod), records));
    }

    /// The kubelet evicts a pod because its node is low on `resource` (`memory`, `ephemeral-storage`).
    pub fn evict_for_pressure(&mut self, ns: &str, name: &str, resource: &str) {
        self.on_kubelet(ns, name, |kubelet, cx, pod| kubelet.evict_for_pressure(cx, pod::uid(pod), resource));
    }

    /// The kubelet evicts a pod because a volume of it is over its limit.
    pub fn evict_for_volume(&mut self, ns: &str, name: &str, volume: &str) {
        self.on_kubelet(ns, name, |kubelet, cx, pod| kubelet.evict_for_volume(cx, pod::uid(pod), volume));
    }

    /// Takes no new pods, or does again (`spec.unschedulable`).
    pub fn cordon_node(&mut self, node: &str, on: bool) {
        let change = |node: &mut Value| match on {
            true => node["spec"]["unschedulable"] = true.into(),
            false => drop(node["spec"].as_object_mut().and_then(|spec| spec.remove("unschedulable"))),
        };
        // A node that is gone takes none anyway.
        let _ = self.store.update_status(self.now, Resource::Nodes, "", node, change, &Writer::new("kubectl-cordon"));
    }

    /// The kubelet rejects new pods with this reason and message; None: no more.
    pub fn reject_on_node(&mut self, node: &str, why: Option<(String, String)>) {
        if let Some(kubelet) = self.kubelets.get_mut(node) {
            kubelet.rejects = why;
        }
    }

    /// The node is low on `memory`, `disk` or `pids`: condition, taint, and no new pods. None: no more.
    pub fn set_pressure(&mut self, node: &str, what: Option<&str>) {
        let Some(kubelet) = self.kubelets.get_mut(node) else { return };
        kubelet.pressure = what.map(|what| nodes::pressure(what).to_owned());
        nodes::report_pressure(&mut cx!(self), node, what);
        self.change_taints(node, |taints| {
            taints.retain(|taint| !taint["key"].as_str().is_some_and(|key| key.ends_with("-pressure")));
            let key = |what: &str| format!("node.kubernetes.io/{}-pressure", what.trim_end_matches('s'));
            taints.extend(what.map(|what| nodes::taint(&key(what), "", "NoSchedule")));
        });
    }

    /// Changes a node's taints.
    pub(crate) fn change_taints(&mut self, node: &str, change: impl FnOnce(&mut Vec<Value>)) {
        let Some(object) = self.store.get(Resource::Nodes, "", node) else { return };
        let mut taints = pod::list(&object["spec"], "taints").to_vec();
        change(&mut taints);
        nodes::set_taints(&mut cx!(self), node, taints);
    }

    /// Preempts a pod that is bound, or whose room on a node is reserved: a pod of a higher priority is made, pinned to its node, that needs what it has.
    pub(crate) fn preempt(&mut self, victim: &Arc<Value>) {
        let reserved = self.scheduler.reserved_node(pod::uid(victim)).map(str::to_owned);
        let node = reserved.unwrap_or_else(|| pod::node_name(victim).to_owned());
        if node.is_empty() {
            return;
        }
        let class = json!({"metadata": {"name": "lab-preemptor"}, "value": 1_000_000_000});
        // Fails where it was made before.
        let _ =
            api::create(self.now, &mut self.store, Resource::PriorityClasses, class, &Writer::new("kubectl-create"));
        let own = pod::requests(victim).get("cpu").copied().unwrap_or(0);
        let cpu = if own > 0 { self.scheduler.free(&node, "cpu") + own } else { 1 };
        let pod = preemptor(pod::namespace(victim), &node, cpu);
        if let Ok(made) = api::create(self.now, &mut self.store, Resource::Pods, pod, &Writer::new("kubectl-create")) {
            self.scheduler.force(&mut cx!(self), &made, victim, &node);
        }
    }

    fn on_kubelet(&mut self, ns: &str, name: &str, work: impl FnOnce(&mut Kubelet, &mut Cx<'_>, &Arc<Value>)) {
        let Some(pod) = self.store.get(Resource::Pods, ns, name) else { return };
        if let Some(kubelet) = self.kubelets.get_mut(pod::node_name(&pod)) {
            work(kubelet, &mut cx!(self), &pod);
        }
    }
}

/// A pod of high priority for one node. It asks for so many thousandths of a core.
fn preemptor(ns: &str, node: &str, cpu: i64) -> Value {
    let only = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
    let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [only]}});
    let container = json!({
        "name": "base", "image": "lab/preemptor:1", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000000"],
        "resources": {"requests": {"cpu": format!("{cpu}m")}},
    });
    json!({
        "metadata": {"generateName": "preemptor-", "namespace": ns},
        "spec": {
            "affinity": {"nodeAffinity": affinity}, "containers": [container], "priorityClassName": "lab-preemptor",
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "tolerations": [{"operator": "Exists"}],
        },
    })
}
