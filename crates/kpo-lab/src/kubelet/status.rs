//! A pod's status as the kubelet makes it, field by field: `pkg/kubelet/kubelet_pods.go` (`generateAPIPodStatus`), `pkg/kubelet/status`.
//!
//! All of it is pure: manifest, earlier status and what is seen of the machine go in, a status comes out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::machine::{Ended, Instance, PodOnMachine};
use crate::pod;
use crate::time::Time;

/// `kubetypes.PodConditionsByKubelet`, in the order in which the kubelet writes them.
const OWN_CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// What `TerminatePod` says of a container without a state at the end (`status_manager.go`).
const NOT_LOCATED: &str = "The container could not be located when the pod was terminated";

/// What is said of a container that is gone but was seen running (`kubelet_pods.go`).
const USED_TO_RUN: &str =
    "The container could not be located when the pod was deleted.  The container used to be Running";

/// 12 KiB for all termination messages of a pod (`MaxPodTerminationMessageLogLength`).
const ALL_MESSAGES: usize = 12 * 1024;

/// Reasons why containers wait, by name: reason and message (`reasonCache`).
pub(super) type Reasons = BTreeMap<String, (String, String)>;

/// What a status is made from.
pub(super) struct Sources<'a> {
    /// The pod as last accepted from the API.
    pub pod: &'a Value,
    /// The status that the kubelet made before, else the API's.
    pub old: &'a Value,
    /// The machine as last looked at.
    pub seen: &'a PodOnMachine,
    pub reasons: &'a Reasons,
    pub host_ip: &'a str,
    /// Whether `activeDeadlineSeconds` is over.
    pub overdue: bool,
}

/// `activeDeadlineHandler`'s message.
pub(super) const OVERDUE: &str = "Pod was active on the node longer than the specified deadline";

impl Sources<'_> {
    /// The whole status, its phase not held back yet.
    pub(super) fn generate(&self) -> Value {
        let mut status = Map::new();
        let init = self.container_statuses(true);
        let main = self.container_statuses(false);
        let phase = self.phase(&init, &main);
        self.keep_reason(&mut status, &phase);
        let phase = if self.overdue { "Failed" } else { phase.as_str() };
        if self.overdue {
            status.insert("reason".into(), "DeadlineExceeded".into());
            status.insert("message".into(), OVERDUE.into());
        }
        status.insert("conditions".into(), self.conditions(&init, &main, phase).into());
        status.insert("containerStatuses".into(), main.into());
        if !init.is_empty() {
            status.insert("initContainerStatuses".into(), init.into());
        }
        status.insert("phase".into(), phase.into());
        status.insert("qosClass".into(), self.qos());
        status.insert("hostIP".into(), self.host_ip.into());
        status.insert("hostIPs".into(), json!([{"ip": self.host_ip}]));
        self.addresses(&mut status);
        Value::Object(status)
    }

    fn qos(&self) -> Value {
        let known = &self.pod["status"]["qosClass"];
        if known.is_string() { known.clone() } else { pod::qos_class(self.pod).into() }
    }

    fn addresses(&self, status: &mut Map<String, Value>) {
        let host_network = self.pod["spec"]["hostNetwork"] == true;
        let known = self.seen.sandbox.as_ref().map(|sandbox| sandbox.ip.as_str());
        let ip = if host_network { Some(self.host_ip) } else { known.or(self.old["podIP"].as_str()) };
        if let Some(ip) = ip {
            status.insert("podIP".into(), ip.into());
            status.insert("podIPs".into(), json!([{"ip": ip}]));
        }
    }

    /// Reason and message stay as long as the phase does: the own ones, else those that somebody else wrote.
    fn keep_reason(&self, status: &mut Map<String, Value>, phase: &str) {
        let told = [self.old, &self.pod["status"]].into_iter().filter(|status| status["phase"] == phase);
        let told: Vec<&Value> = told.collect();
        for field in ["reason", "message"] {
            if let Some(text) = told.iter().find_map(|status| status.get(field)) {
                status.insert(field.into(), text.clone());
            }
        }
    }

    /// The containers' statuses: init containers in the manifest's order, the others by name.
    fn container_statuses(&self, init: bool) -> Vec<Value> {
        let containers = if init { pod::init_containers(self.pod) } else { pod::containers(self.pod) };
        let mut statuses: Vec<Value> =
            containers.iter().map(|container| self.container_status(init, container)).collect();
        if !init {
            statuses.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        }
        statuses
    }

    fn container_status(&self, init: bool, container: &Value) -> Value {
        let name = container["name"].as_str().unwrap_or_default();
        let field = if init { "initContainerStatuses" } else { "containerStatuses" };
        let old = pod::list(self.old, field).iter().find(|status| status["name"] == name);
        let mut status = match self.seen.instances.get(name).map(Vec::as_slice) {
            None | Some([]) => self.unseen(container, old),
            Some([.., latest]) => self.seen_status(container, latest, name),
        };
        self.apply_reason(&mut status, init, name);
        let runs = status["state"].get("running").is_some();
        let done = status["state"]["terminated"]["exitCode"] == 0;
        let plain_init = init && !pod::is_sidecar(container);
        status["started"] = runs.into();
        status["ready"] = if plain_init { done.into() } else { runs.into() };
        truncate_message(&mut status, pod::container_count(self.pod));
        status
    }

    fn base_status(&self, container: &Value) -> Value {
        let mut status = json!({
            "image": container["image"], "imageID": "", "lastState": {}, "name": container["name"], "restartCount": 0,
            "state": {"waiting": {"reason": self.default_reason()}},
        });
        let mounts: Vec<Value> = pod::list(container, "volumeMounts").iter().map(mount_status).collect();
        if !mounts.is_empty() {
            status["volumeMounts"] = mounts.into();
        }
        status
    }

    fn default_reason(&self) -> &'static str {
        if pod::init_containers(self.pod).is_empty() { "ContainerCreating" } else { "PodInitializing" }
    }

    /// A container that the machine does not have: not made yet, or its record is gone.
    fn unseen(&self, container: &Value, old: Option<&Value>) -> Value {
        let mut status = self.base_status(container);
        let Some(old) = old else { return status };
        if old["state"].get("terminated").is_some() {
            return old.clone();
        }
        status["restartCount"] = old["restartCount"].clone();
        status["lastState"] = old["lastState"].clone();
        if old["state"].get("running").is_some() {
            status["lastState"] = json!({"terminated": {
                "exitCode": 137, "finishedAt": null, "message": USED_TO_RUN, "reason": "ContainerStatusUnknown", "startedAt": null,
            }});
            if !pod::is_terminating(self.pod) {
                status["restartCount"] = (old["restartCount"].as_i64().unwrap_or(0) + 1).into();
            }
        }
        status
    }

    fn seen_status(&self, container: &Value, latest: &Instance, name: &str) -> Value {
        let mut status = self.base_status(container);
        status["containerID"] = latest.id.as_str().into();
        let image = container["image"].as_str().unwrap_or_default();
        status["image"] = super::images::full_reference(image).into();
        status["imageID"] = super::images::id(image).into();
        status["restartCount"] = latest.restart_count.into();
        status["state"] = state(latest);
        status["resources"] = container["resources"].as_object().cloned().unwrap_or_default().into();
        if let Some(requests) = container["resources"]["requests"].as_object().filter(|requests| !requests.is_empty()) {
            status["allocatedResources"] = requests.clone().into();
        }
        if let Some([.., before, _]) = self.seen.instances.get(name).map(Vec::as_slice)
            && before.ended.is_some()
        {
            status["lastState"] = state(before);
        }
        status
    }

    /// A container that the next sync would start shows why it could not (`ShouldContainerBeRestarted`).
    fn apply_reason(&self, status: &mut Value, init: bool, name: &str) {
        let exit_code = status["state"]["terminated"]["exitCode"].as_i64();
        if (init && exit_code == Some(0)) || !self.would_start(name, exit_code) {
            return;
        }
        let Some((reason, message)) = self.reasons.get(name) else { return };
        if exit_code.is_some() {
            status["lastState"] = status["state"].take();
        }
        status["state"] = json!({"waiting": {"reason": reason}});
        if !message.is_empty() {
            status["state"]["waiting"]["message"] = message.as_str().into();
        }
    }

    fn would_start(&self, name: &str, exit_code: Option<i64>) -> bool {
        if pod::is_terminating(self.pod) || self.seen.runs(name) {
            return false;
        }
        match exit_code {
            None => true,
            Some(code) => restarts(self.pod, name, code),
        }
    }

    /// `getPhase`, unless it has ended: a terminal phase is never left, whoever wrote it.
    fn phase(&self, init: &[Value], main: &[Value]) -> String {
        let told = [&self.pod["status"], self.old].into_iter().filter_map(|status| status["phase"].as_str());
        let ended = told.into_iter().find(|phase| pod::is_terminal_phase(phase));
        ended.unwrap_or_else(|| phase(self.pod, init, main)).to_owned()
    }

    fn conditions(&self, init: &[Value], main: &[Value], phase: &str) -> Vec<Value> {
        let ready = self.containers_ready(init, main, phase);
        let network = if self.seen.is_up() { "True" } else { "False" };
        vec![
            json!({"type": "PodReadyToStartContainers", "status": network}),
            self.initialized(init, main, phase),
            with_type(&ready, "Ready"),
            with_type(&ready, "ContainersReady"),
            json!({"type": "PodScheduled", "status": "True"}),
        ]
    }

    /// `GeneratePodInitializedCondition`.
    fn initialized(&self, init: &[Value], main: &[Value], phase: &str) -> Value {
        let kind = "Initialized";
        if phase == "Succeeded" {
            return json!({"type": kind, "status": "True", "reason": "PodCompleted"});
        }
        if main.iter().any(has_started) {
            return json!({"type": kind, "status": "True"});
        }
        let containers = pod::init_containers(self.pod).iter().zip(init);
        let incomplete = containers
            .filter(|(container, status)| status[if pod::is_sidecar(container) { "started" } else { "ready" }] != true);
        let names: Vec<&str> = incomplete.filter_map(|(container, _)| container["name"].as_str()).collect();
        if names.is_empty() {
            return json!({"type": kind, "status": "True"});
        }
        let message = format!("containers with incomplete status: [{}]", names.join(" "));
        json!({"type": kind, "status": "False", "reason": "ContainersNotInitialized", "message": message})
    }

    /// `GenerateContainersReadyCondition`, without its type.
    fn containers_ready(&self, init: &[Value], main: &[Value], phase: &str) -> Value {
        match phase {
            "Succeeded" => return json!({"status": "False", "reason": "PodCompleted"}),
            "Failed" => return json!({"status": "False", "reason": "PodFailed"}),
            _ => {}
        }
        let sidecars = pod::init_containers(self.pod).iter().zip(init);
        let sidecars = sidecars.filter(|(container, _)| pod::is_sidecar(container)).map(|(_, status)| status);
        let by_name = |name: &Value| main.iter().find(|status| status["name"] == *name);
        let mains = pod::containers(self.pod).iter().filter_map(|container| by_name(&container["name"]));
        let unready = sidecars.chain(mains).filter(|status| status["ready"] != true);
        let names: Vec<&str> = unready.filter_map(|status| status["name"].as_str()).collect();
        if names.is_empty() {
            return json!({"status": "True"});
        }
        let message = format!("containers with unready status: [{}]", names.join(" "));
        json!({"status": "False", "reason": "ContainersNotReady", "message": message})
    }
}

fn with_type(condition: &Value, kind: &str) -> Value {
    let mut condition = condition.clone();
    condition["type"] = kind.into();
    condition
}

/// Whether a container that ended with this code is started again.
pub(super) fn restarts(pod: &Value, name: &str, exit_code: i64) -> bool {
    let sidecar = pod::init_containers(pod).iter().any(|c| c["name"] == name && pod::is_sidecar(c));
    match pod::restart_policy(pod) {
        _ if sidecar => true,
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

fn mount_status(mount: &Value) -> Value {
    let mut status = json!({"mountPath": mount["mountPath"], "name": mount["name"]});
    if mount["readOnly"] == true {
        status["readOnly"] = true.into();
        status["recursiveReadOnly"] = "Disabled".into();
    }
    status
}

fn state(instance: &Instance) -> Value {
    match &instance.ended {
        // `convertToKubeContainerState`: one that was created and does not run waits, for no reason.
        _ if instance.only_created => json!({"waiting": {}}),
        None => json!({"running": {"startedAt": instance.started.rfc3339()}}),
        Some(ended) => json!({"terminated": terminated(instance, ended)}),
    }
}

fn terminated(instance: &Instance, ended: &Ended) -> Value {
    let mut state = json!({
        "containerID": instance.id.as_str(), "exitCode": ended.exit_code, "finishedAt": ended.at.rfc3339(),
        "reason": ended.reason, "startedAt": instance.started.rfc3339(),
    });
    if !ended.message.is_empty() {
        state["message"] = ended.message.as_str().into();
    }
    state
}

/// `normalizeStatus`: 12 KiB divided among all containers, cut without a word.
fn truncate_message(status: &mut Value, containers: usize) {
    let limit = ALL_MESSAGES / containers.max(1);
    for state in ["state", "lastState"] {
        if let Some(Value::String(message)) = status[state].get_mut("terminated").and_then(|t| t.get_mut("message")) {
            message.truncate(message.floor_char_boundary(limit));
        }
    }
}

fn has_started(status: &Value) -> bool {
    let state = &status["state"];
    state.get("running").is_some()
        || state.get("terminated").is_some()
        || status["lastState"].get("terminated").is_some()
}

/// How many containers are in which state, as `getPhase` counts.
#[derive(Default)]
struct Count {
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

/// `getPhase` in `kubelet_pods.go`.
fn phase(pod: &Value, init: &[Value], main: &[Value]) -> &'static str {
    let initialized = main.iter().any(has_started);
    let mut count = Count::default();
    let mut pending = false;
    for (container, status) in pod::init_containers(pod).iter().zip(init) {
        let state = &status["state"];
        if pod::is_sidecar(container) {
            pending |= !initialized && state.get("terminated").is_none() && status["started"] != true;
            count.running += usize::from(state.get("running").is_some());
            count.stopped += usize::from(state.get("terminated").is_some());
            count.succeeded += usize::from(state.get("terminated").is_some());
            continue;
        }
        let last =
            [&status["state"], &status["lastState"]].into_iter().find_map(|s| s["terminated"]["exitCode"].as_i64());
        if last.is_some_and(|code| code != 0) && pod::restart_policy(pod) == "Never" {
            return "Failed";
        }
        pending |= !initialized && last != Some(0);
    }
    for status in main {
        count.add(status);
    }
    count.phase(pod, pending)
}

impl Count {
    fn add(&mut self, status: &Value) {
        let state = &status["state"];
        if state.get("running").is_some() {
            self.running += 1;
        } else if let Some(ended) = state.get("terminated") {
            self.stopped += 1;
            self.succeeded += usize::from(ended["exitCode"] == 0);
        } else if status["lastState"].get("terminated").is_some() {
            self.stopped += 1;
        } else {
            self.waiting += 1;
        }
    }

    fn phase(&self, pod: &Value, pending: bool) -> &'static str {
        if pending || self.waiting > 0 {
            return "Pending";
        }
        if self.running > 0 {
            return "Running";
        }
        match pod::restart_policy(pod) {
            "Always" => "Running",
            _ if self.stopped == self.succeeded => "Succeeded",
            "Never" => "Failed",
            _ => "Running",
        }
    }
}

/// The status manager's own part (`updateStatusInternal`): what stays from the earlier status, when conditions changed, what was observed.
pub(super) fn normalize(status: &mut Value, old: &Value, generation: &Value, now: Time) {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        let kind = condition["type"].clone();
        let before = pod::list(old, "conditions").iter().find(|before| before["type"] == kind);
        let unchanged = before.filter(|before| before["status"] == condition["status"]);
        let at = unchanged.map(|before| before["lastTransitionTime"].clone());
        condition["lastProbeTime"] = Value::Null;
        condition["lastTransitionTime"] = at.unwrap_or_else(|| now.rfc3339().into());
        condition["observedGeneration"] = generation.clone();
    }
    let start = old.get("startTime").filter(|start| start.is_string()).cloned();
    status["startTime"] = start.unwrap_or_else(|| now.rfc3339().into());
    status["observedGeneration"] = generation.clone();
}

/// `mergePodStatus`: what is written over the API's status. While containers may run, no terminal phase goes out.
pub(super) fn merge(pod: &Value, api: &Value, new: &Value, could_run: bool) -> Value {
    let mut merged = new.clone();
    let is_terminal = |status: &Value| pod::is_terminal_phase(status["phase"].as_str().unwrap_or_default());
    let transitions = !is_terminal(api) && is_terminal(new);
    merged["conditions"] = merged_conditions(api, new, transitions && !could_run).into();
    if transitions && could_run {
        for field in ["phase", "reason", "message"] {
            match api.get(field) {
                Some(value) => merged[field] = value.clone(),
                None => drop(merged.as_object_mut().and_then(|status| status.remove(field))),
            }
        }
    }
    if is_terminal(&merged) {
        end_readiness(&mut merged, pod);
    }
    if merged["conditions"].as_array().is_some_and(Vec::is_empty) {
        drop(merged.as_object_mut().and_then(|status| status.remove("conditions")));
    }
    merged
}

/// Others' conditions first, then the kubelet's own; `DisruptionTarget` is shared and only goes out with the end.
fn merged_conditions(api: &Value, new: &Value, disruption: bool) -> Vec<Value> {
    let is_own = |condition: &&Value| OWN_CONDITIONS.contains(&condition["type"].as_str().unwrap_or_default());
    let others = pod::list(api, "conditions").iter().filter(|condition| !is_own(condition));
    let mut merged: Vec<Value> = others.cloned().collect();
    let shared = pod::list(new, "conditions").iter().find(|condition| condition["type"] == "DisruptionTarget");
    if let Some(shared) = shared.filter(|_| disruption) {
        match merged.iter_mut().find(|known| known["type"] == "DisruptionTarget") {
            Some(known) => *known = shared.clone(),
            None => merged.push(shared.clone()),
        }
    }
    merged.extend(pod::list(new, "conditions").iter().filter(is_own).cloned());
    merged
}

/// A terminal phase is never written beside `Ready=True` (`generateContainersReadyConditionForTerminalPhase`).
fn end_readiness(status: &mut Value, pod: &Value) {
    let reason = if status["phase"] == "Succeeded" { "PodCompleted" } else { "PodFailed" };
    let generation = pod["metadata"]["generation"].clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        let readiness = matches!(condition["type"].as_str(), Some("Ready" | "ContainersReady"));
        if readiness && condition["status"] == "True" {
            condition["status"] = "False".into();
            condition["reason"] = reason.into();
            condition["observedGeneration"] = generation.clone();
        }
    }
}

/// `TerminatePod`: whatever has no end gets one, and the phase becomes terminal. `pod` is the pod as last accepted from the API.
pub(super) fn terminate(pod: &Value, status: &mut Value) {
    if has_initialized(pod) {
        for container in statuses_mut(status, "containerStatuses") {
            end_unknown(container);
        }
    }
    let init = pod::list(status, "initContainerStatuses");
    let known = init.iter().rposition(|container| {
        container["state"].get("waiting").is_none() || container["lastState"].get("terminated").is_some()
    });
    let reached = known.unwrap_or(0) + 1;
    for container in statuses_mut(status, "initContainerStatuses").take(reached) {
        end_unknown(container);
    }
    if !pod::is_terminal_phase(status["phase"].as_str().unwrap_or_default()) {
        status["phase"] = "Failed".into();
    }
}

fn statuses_mut<'a>(status: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    status.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn end_unknown(container: &mut Value) {
    if container["state"].get("terminated").is_none() {
        container["state"] = json!({"terminated": {
            "exitCode": 137, "finishedAt": null, "message": NOT_LOCATED, "reason": "ContainerStatusUnknown", "startedAt": null,
        }});
    }
}

/// `hasPodInitialized`: whether there is evidence that a regular container may have been started.
fn has_initialized(pod: &Value) -> bool {
    let Some(last) = pod::init_containers(pod).last() else { return true };
    let waits_for_init = |container: &Value| {
        container["lastState"].get("terminated").is_none()
            && container["state"]["waiting"]["reason"] == "PodInitializing"
    };
    if !pod::list(&pod["status"], "containerStatuses").iter().all(waits_for_init) {
        return true;
    }
    let statuses = pod::list(&pod["status"], "initContainerStatuses");
    let Some(status) = statuses.iter().find(|status| status["name"] == last["name"]) else { return false };
    if pod::is_sidecar(last) {
        return status["state"].get("running").is_some() && status["started"] == true;
    }
    ["state", "lastState"].iter().any(|state| status[*state]["terminated"]["exitCode"] == 0)
}
