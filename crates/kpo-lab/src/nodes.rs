//! The life of nodes: their objects, their readiness, and what becomes of their pods (`pkg/controller/nodelifecycle`, `tainteviction`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api;
use crate::events::{self, Report, Source};
use crate::pod;
use crate::resource::Resource;
use crate::store::{Change, ChangeKind, DeleteOptions, Writer};
use crate::time::Time;
use crate::world::Cx;

const MANAGER: &str = "kube-controller-manager";

/// After how long without a heartbeat a node is Unknown (`--node-monitor-grace-period`, 50 s since 1.32).
const GRACE: Duration = Duration::from_secs(50);

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The conditions that a kubelet reports: type, status when all is well, reason, message.
const CONDITIONS: [(&str, &str, &str, &str); 4] = [
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
];

/// What a node is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// What it has to give, by resource: `cpu`, `memory`, `pods`, `ephemeral-storage`. What is missing is plenty.
    pub allocatable: BTreeMap<String, String>,
    /// Its labels beside the usual ones.
    pub labels: BTreeMap<String, String>,
    /// Labels that it gets later: key, value, how long after it came up.
    pub later_labels: Vec<(String, String, Duration)>,
    /// Its taints: key, value, effect.
    pub taints: Vec<(String, String, String)>,
}

/// What a node without a word about it has.
const PLENTY: [(&str, &str); 4] = [("cpu", "64"), ("memory", "256Gi"), ("pods", "110"), ("ephemeral-storage", "1Ti")];

impl NodeSpec {
    /// A node of this name with plenty of everything.
    pub fn named(name: impl Into<String>) -> NodeSpec {
        NodeSpec { name: name.into(), ..NodeSpec::default() }
    }

    /// The object as its kubelet registers it, ready.
    pub(crate) fn object(&self, now: Time, ip: &str) -> Value {
        let mut resources: BTreeMap<String, String> =
            PLENTY.iter().map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned())).collect();
        resources.extend(self.allocatable.clone());
        let mut labels = json!({
            "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux",
        });
        for (key, value) in &self.labels {
            labels[key] = value.as_str().into();
        }
        let mut node = json!({
            "metadata": {"name": self.name, "labels": labels},
            "spec": {},
            "status": {
                "addresses": [{"address": ip, "type": "InternalIP"}, {"address": self.name, "type": "Hostname"}],
                "allocatable": resources, "capacity": resources, "conditions": conditions(now),
                "nodeInfo": {
                    "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "lab://1", "kernelVersion": "lab",
                    "kubeProxyVersion": "", "kubeletVersion": "v1.34.4", "machineID": "", "operatingSystem": "linux",
                    "osImage": "kpo lab", "systemUUID": "",
                },
            },
        });
        let taints: Vec<Value> = self.taints.iter().map(|(key, value, effect)| taint(key, value, effect)).collect();
        if !taints.is_empty() {
            node["spec"]["taints"] = taints.into();
        }
        node
    }
}

/// A taint as a manifest has it.
pub(crate) fn taint(key: &str, value: &str, effect: &str) -> Value {
    let mut taint = json!({"effect": effect, "key": key});
    if !value.is_empty() {
        taint["value"] = value.into();
    }
    taint
}

fn conditions(now: Time) -> Vec<Value> {
    CONDITIONS.iter().map(|(kind, status, reason, message)| condition(now, kind, status, reason, message)).collect()
}

fn condition(now: Time, kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "lastHeartbeatTime": now.rfc3339(), "lastTransitionTime": now.rfc3339(), "message": message, "reason": reason,
        "status": status, "type": kind,
    })
}

/// The kubelet reports again: all conditions are as they should be.
pub(crate) fn report_ready(cx: &mut Cx<'_>, node: &str) {
    let now = cx.now;
    let change = |object: &mut Value| {
        for fresh in conditions(now) {
            let same = pod::condition(object, fresh["type"].as_str().unwrap_or_default())
                .is_some_and(|old| old["status"] == fresh["status"]);
            if !same {
                pod::set_condition(object, fresh);
            }
        }
    };
    // The object may have been deleted: a kubelet does not register twice.
    let _ = cx.store.update_status(now, Resource::Nodes, "", node, change, &Writer::status("kubelet"));
}

/// The kubelet says that its machine was started anew: another `bootID`, and an event.
pub(crate) fn report_reboot(cx: &mut Cx<'_>, node: &str) {
    let boot = cx.store.new_uid();
    let change = |object: &mut Value| object["status"]["nodeInfo"]["bootID"] = boot.as_str().into();
    if cx.store.update_status(cx.now, Resource::Nodes, "", node, change, &Writer::status("kubelet")).is_ok() {
        let reference = json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": node});
        let report = Report::warning("Rebooted", format!("Node {node} has been rebooted, boot id: {boot}"));
        cx.events.count(cx.store, cx.now, &Source::kubelet(node), reference, &report);
    }
}

/// The cloud says why it deletes a node.
pub(crate) fn report_cloud_deletion(cx: &mut Cx<'_>, node: &str) {
    let Some(object) = cx.store.get(Resource::Nodes, "", node) else { return };
    let reference = json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": pod::uid(&object)});
    let message = format!("Deleting node {node} because it does not exist in the cloud provider");
    let source = Source {
        component: "cloud-node-lifecycle-controller",
        host: String::new(),
        manager: "cloud-controller-manager",
    };
    cx.events.count(cx.store, cx.now, &source, reference, &Report::normal("DeletingNode", message));
}

/// The condition of a node that is low on `memory`, `disk` or `pids`.
pub(crate) fn pressure(what: &str) -> &'static str {
    match what {
        "disk" => "DiskPressure",
        "pids" => "PIDPressure",
        _ => "MemoryPressure",
    }
}

/// Reason and message of a pressure condition that is true (`pkg/kubelet/nodestatus/setters.go`).
fn under_pressure(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "DiskPressure" => ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        "PIDPressure" => ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        _ => ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    }
}

/// The kubelet says what the node is low on; None: of nothing.
pub(crate) fn report_pressure(cx: &mut Cx<'_>, node: &str, what: Option<&str>) {
    let low = what.map(pressure);
    let now = cx.now;
    let change = |object: &mut Value| {
        for (kind, status, reason, message) in CONDITIONS.iter().filter(|(kind, ..)| kind.ends_with("Pressure")) {
            let is = if low == Some(kind) { "True" } else { status };
            if pod::condition(object, kind).is_some_and(|old| old["status"] == is) {
                continue;
            }
            let (reason, message) = if low == Some(kind) { under_pressure(kind) } else { (*reason, *message) };
            let fresh = condition(now, kind, is, reason, message);
            pod::set_condition(object, fresh);
        }
    };
    // The object may be gone: then there is nobody to tell.
    let _ = cx.store.update_status(now, Resource::Nodes, "", node, change, &Writer::status("kubelet"));
}

/// The kubelet says that it goes down.
pub(crate) fn report_shutdown(cx: &mut Cx<'_>, node: &str) {
    let fresh = condition(cx.now, "Ready", "False", "KubeletNotReady", "node is shutting down");
    let change = |object: &mut Value| pod::set_condition(object, fresh);
    let _ = cx.store.update_status(cx.now, Resource::Nodes, "", node, change, &Writer::status("kubelet"));
}

/// The node lifecycle and taint eviction controllers.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    /// Since when kubelets are silent.
    silent: BTreeMap<String, Time>,
    /// Pods that are to be evicted, by when: UID, namespace and name.
    evictions: BTreeMap<String, (Time, String, String)>,
    /// Nodes and pods to look at.
    nodes: BTreeSet<String>,
    pods: BTreeSet<(String, String)>,
}

impl Lifecycle {
    /// A kubelet has stopped reporting.
    pub(crate) fn fell_silent(&mut self, node: &str, now: Time) {
        self.silent.entry(node.to_owned()).or_insert(now);
    }

    /// A kubelet reports again.
    pub(crate) fn answers(&mut self, node: &str) {
        self.silent.remove(node);
    }

    /// Takes note of a change.
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object;
        match change.resource {
            Resource::Nodes if change.kind != ChangeKind::Deleted => {
                let matters = change.old.as_ref().is_none_or(|old| {
                    old["spec"] != object["spec"] || old["status"]["conditions"] != object["status"]["conditions"]
                });
                if matters {
                    self.nodes.insert(pod::name(object).to_owned());
                }
            }
            Resource::Pods => {
                self.pods.insert((pod::namespace(object).to_owned(), pod::name(object).to_owned()));
            }
            _ => {}
        }
    }

    /// Everything is looked at again.
    pub(crate) fn resync(&mut self, store: &crate::store::Store) {
        self.nodes = store.list(Resource::Nodes, None).map(|node| pod::name(node).to_owned()).collect();
    }

    pub(crate) fn next_wakeup(&self) -> Option<Time> {
        let unknown = self.silent.values().map(|since| *since + GRACE);
        unknown.chain(self.evictions.values().map(|(at, _, _)| *at)).min()
    }

    /// True if it did something.
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut busy = self.mark_unknown(cx);
        for node in std::mem::take(&mut self.nodes) {
            busy = true;
            self.node_changed(cx, &node);
        }
        for (ns, name) in std::mem::take(&mut self.pods) {
            busy |= self.pod_changed(cx, &ns, &name);
        }
        busy | self.evict(cx)
    }

    /// Nodes whose grace is over: their conditions and their pods' readiness.
    fn mark_unknown(&mut self, cx: &mut Cx<'_>) -> bool {
        let due: Vec<String> =
            self.silent.iter().filter(|(_, since)| **since + GRACE <= cx.now).map(|(node, _)| node.clone()).collect();
        for node in &due {
            self.silent.remove(node);
            mark_unknown(cx, node);
            let report = Report::normal("NodeNotReady", format!("Node {node} status is now: NodeNotReady"));
            if let Some(object) = cx.store.get(Resource::Nodes, "", node) {
                let reference = json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": pod::uid(&object)});
                cx.events.count(cx.store, cx.now, &Source::controller("node-controller"), reference, &report);
                mark_pods_unready(cx, node);
            }
        }
        !due.is_empty()
    }

    /// Brings a node's taints in line with its conditions, then looks at its pods.
    fn node_changed(&mut self, cx: &mut Cx<'_>, name: &str) {
        let evicting = !all_unready(cx);
        let others: Vec<String> = cx.store.list(Resource::Nodes, None).map(|node| pod::name(node).to_owned()).collect();
        // Whether evictions are stopped is a matter of all nodes together.
        for node in others {
            taint_by_condition(cx, &node, evicting);
        }
        let mine = |pod: &&Arc<Value>| pod::node_name(pod) == name;
        let pods: Vec<(String, String)> = cx
            .store
            .list(Resource::Pods, None)
            .filter(mine)
            .map(|pod| (pod::namespace(pod).to_owned(), pod::name(pod).to_owned()))
            .collect();
        for (ns, name) in pods {
            self.pod_changed(cx, &ns, &name);
        }
    }

    /// Plans a pod's eviction, or drops the plan. True if something changed.
    fn pod_changed(&mut self, cx: &mut Cx<'_>, ns: &str, name: &str) -> bool {
        let pod = cx.store.get(Resource::Pods, ns, name);
        let before = self.evictions.iter().find(|(_, (_, n, m))| n == ns && m == name).map(|(uid, _)| uid.clone());
        let Some(pod) = pod.filter(|pod| !pod::is_terminating(pod) && !pod::has_ended(pod)) else {
            return self.cancel(cx, before);
        };
        let node = cx.store.get(Resource::Nodes, "", pod::node_name(&pod));
        let Some(after) = node.as_deref().and_then(|node| evicted_after(&pod, node)) else {
            return self.cancel(cx, before);
        };
        let uid = pod::uid(&pod).to_owned();
        match self.evictions.get(&uid) {
            // `processPodOnNode`: what is planned stays, unless a taint is not tolerated at all.
            Some((at, _, _)) if after > Duration::ZERO || *at <= cx.now => return false,
            Some(_) => drop(self.cancel(cx, Some(uid.clone()))),
            None => {}
        }
        self.evictions.insert(uid, (cx.now + after, ns.to_owned(), name.to_owned()));
        true
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, uid: Option<String>) -> bool {
        let Some((_, ns, name)) = uid.and_then(|uid| self.evictions.remove(&uid)) else { return false };
        report_eviction(cx, &ns, &name, &format!("Cancelling deletion of Pod {ns}/{name}"));
        true
    }

    /// Event, condition, deletion.
    fn evict(&mut self, cx: &mut Cx<'_>) -> bool {
        let due: Vec<String> =
            self.evictions.iter().filter(|(_, (at, _, _))| *at <= cx.now).map(|(uid, _)| uid.clone()).collect();
        for uid in &due {
            let Some((_, ns, name)) = self.evictions.remove(uid) else { continue };
            report_eviction(cx, &ns, &name, &format!("Marking for deletion Pod {ns}/{name}"));
            let Some(pod) = cx.store.get(Resource::Pods, &ns, &name) else { continue };
            let condition = json!({
                "lastProbeTime": null, "lastTransitionTime": cx.now.rfc3339(),
                "message": "Taint manager: deleting due to NoExecute taint", "observedGeneration": pod["metadata"]["generation"],
                "reason": "DeletionByTaintManager", "status": "True", "type": "DisruptionTarget",
            });
            let change = |pod: &mut Value| pod::set_condition(pod, condition);
            // Read just now, from the same store.
            let _ = cx.store.update_status(cx.now, Resource::Pods, &ns, &name, change, &Writer::status(MANAGER));
            let _ = api::delete(cx.now, cx.store, Resource::Pods, &ns, &name, &DeleteOptions::default());
        }
        !due.is_empty()
    }
}

/// The taint manager's events name the pod without its UID.
fn report_eviction(cx: &mut Cx<'_>, ns: &str, name: &str, message: &str) {
    let object = json!({"metadata": {"name": name, "namespace": ns}});
    let report = Report::normal("TaintManagerEviction", message);
    let source = Source::controller("taint-eviction-controller");
    cx.events.count(cx.store, cx.now, &source, events::bare_reference(&object), &report);
}

fn mark_unknown(cx: &mut Cx<'_>, node: &str) {
    let now = cx.now;
    let change = |object: &mut Value| {
        for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
            condition["status"] = "Unknown".into();
            condition["reason"] = "NodeStatusUnknown".into();
            condition["message"] = "Kubelet stopped posting node status.".into();
            condition["lastTransitionTime"] = now.rfc3339().into();
        }
    };
    // The object may be gone with its node.
    let _ = cx.store.update_status(now, Resource::Nodes, "", node, change, &Writer::status(MANAGER));
}

/// `MarkPodsNotReady`: Ready turns False, without a reason, with an event.
fn mark_pods_unready(cx: &mut Cx<'_>, node: &str) {
    let mine = |pod: &&Arc<Value>| pod::node_name(pod) == node && pod::is_true(pod, "Ready");
    let pods: Vec<Arc<Value>> = cx.store.list(Resource::Pods, None).filter(mine).cloned().collect();
    for pod in pods {
        let at = cx.now.rfc3339();
        let change = |pod: &mut Value| {
            for condition in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
                if condition["type"] == "Ready" {
                    condition["status"] = "False".into();
                    condition["lastTransitionTime"] = at.as_str().into();
                }
            }
        };
        let (ns, name) = (pod::namespace(&pod), pod::name(&pod));
        let object = events::reference(&pod);
        // Listed in this very step.
        let _ = cx.store.update_status(cx.now, Resource::Pods, ns, name, change, &Writer::status(MANAGER));
        let report = Report::warning("NodeNotReady", "Node is not ready");
        cx.events.count(cx.store, cx.now, &Source::controller("node-controller"), object, &report);
    }
}

/// Whether no node at all is ready: then nobody is evicted (`stateFullDisruption`).
fn all_unready(cx: &Cx<'_>) -> bool {
    !cx.store.list(Resource::Nodes, None).any(|node| pod::is_true(node, "Ready"))
}

/// The taints that follow from the condition Ready.
fn taint_by_condition(cx: &mut Cx<'_>, name: &str, evicting: bool) {
    let Some(node) = cx.store.get(Resource::Nodes, "", name) else { return };
    let ready = pod::condition(&node, "Ready").and_then(|ready| ready["status"].as_str()).unwrap_or("Unknown");
    let key = match ready {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    let mut wanted: Vec<(&str, &str)> = key.map(|key| (key, "NoSchedule")).into_iter().collect();
    wanted.extend(key.filter(|_| evicting).map(|key| (key, "NoExecute")));
    let is_ours = |taint: &Value| taint["key"] == UNREACHABLE || taint["key"] == NOT_READY;
    let is = |taint: &Value, wanted: &(&str, &str)| taint["key"] == wanted.0 && taint["effect"] == wanted.1;
    let old = pod::list(&node["spec"], "taints");
    let mut taints: Vec<Value> =
        old.iter().filter(|taint| !is_ours(taint) || wanted.iter().any(|w| is(taint, w))).cloned().collect();
    for new in &wanted {
        if !taints.iter().any(|taint| is(taint, new)) {
            let mut taint = taint(new.0, "", new.1);
            taint["timeAdded"] = cx.now.rfc3339().into();
            taints.push(taint);
        }
    }
    if taints != old {
        set_taints(cx, name, taints);
    }
}

/// Writes a node's taints.
pub(crate) fn set_taints(cx: &mut Cx<'_>, node: &str, taints: Vec<Value>) {
    let change = |object: &mut Value| {
        if taints.is_empty() {
            drop(object["spec"].as_object_mut().and_then(|spec| spec.remove("taints")));
        } else {
            object["spec"]["taints"] = taints.into();
        }
    };
    // Read just now, from the same store.
    let _ = cx.store.update_status(cx.now, Resource::Nodes, "", node, change, &Writer::new(MANAGER));
}

/// After how long the node's NoExecute taints evict the pod; None if never.
fn evicted_after(pod: &Value, node: &Value) -> Option<Duration> {
    let taints = pod::list(&node["spec"], "taints").iter().filter(|taint| taint["effect"] == "NoExecute");
    let mut soonest: Option<Duration> = None;
    for taint in taints {
        let tolerations: Vec<&Value> =
            pod::tolerations(pod).iter().filter(|toleration| pod::tolerates(toleration, taint)).collect();
        if tolerations.is_empty() {
            return Some(Duration::ZERO);
        }
        let seconds = tolerations.iter().filter_map(|toleration| toleration["tolerationSeconds"].as_i64()).min();
        if let Some(seconds) = seconds {
            let after = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            soonest = Some(soonest.map_or(after, |known| known.min(after)));
        }
    }
    soonest
}
