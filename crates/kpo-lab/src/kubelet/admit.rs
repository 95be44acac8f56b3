//! The kubelet's own look at a pod that it was given (`pkg/kubelet/lifecycle/predicate.go`).

use serde_json::Value;

use crate::pod::{self, Amounts};
use crate::scheduler::affinity;

/// Why the kubelet refuses a pod: the status's reason, and the sentence after `Pod was rejected: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// `OutOfcpu`, `NodeAffinity`, …
    pub reason: String,
    /// The sentence.
    pub message: String,
}

impl Rejection {
    fn new(reason: impl Into<String>, message: impl Into<String>) -> Rejection {
        Rejection { reason: reason.into(), message: message.into() }
    }

    /// Whether room is all that is missing: what a critical pod gets by preemption.
    pub(crate) fn is_about_room(&self) -> bool {
        self.reason.starts_with("OutOf")
    }
}

/// A node that goes down takes no pods (`nodeshutdown_manager_linux.go`).
pub(super) fn shutting_down() -> Rejection {
    Rejection::new("NodeShutdown", "Pod was rejected as the node is shutting down.")
}

/// A rejection that a script asks for.
pub(super) fn scripted((reason, message): (String, String)) -> Rejection {
    Rejection { reason, message }
}

/// A node under pressure takes no pods (`eviction_manager.go`, `Admit`).
pub(super) fn under_pressure(condition: &str) -> Rejection {
    Rejection::new("Evicted", format!("The node had condition: [{condition}]. "))
}

/// Checks a pod against its node and the pods already there. `used` counts them by resource, `pods` among them.
pub(super) fn admit(pod: &Value, node: &Value, used: &Amounts) -> Result<(), Rejection> {
    if let Some(short) = shortages(pod, node, used).into_iter().next() {
        let (name, asked, used, capacity) = short;
        let message =
            format!("Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}");
        return Err(Rejection::new(format!("OutOf{name}"), message));
    }
    if !affinity::matches_required(pod, node) {
        let why = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Err(Rejection::new("NodeAffinity", why));
    }
    if pod::untolerated(pod, node, &["NoExecute"]).next().is_some() {
        return Err(Rejection::new("TaintToleration", "Predicate TaintToleration failed"));
    }
    Ok(())
}

/// What is missing, in the unit of upstream's message (cpu in thousandths, all else whole): name, asked, used, capacity.
fn shortages(pod: &Value, node: &Value, used: &Amounts) -> Vec<(String, i64, i64, i64)> {
    let allocatable = pod::amounts(&node["status"]["allocatable"]);
    let mut asked = pod::requests(pod);
    asked.insert("pods".into(), 1000);
    let unit = |name: &str| if name == "cpu" { 1 } else { 1000 };
    let mut short = Vec::new();
    // `pods` comes first upstream, then cpu, memory, ephemeral storage, the rest.
    let order = |name: &str| ["pods", "cpu", "memory", "ephemeral-storage"].iter().position(|known| *known == name);
    let mut names: Vec<&String> = asked.keys().filter(|name| asked[*name] > 0).collect();
    names.sort_by_key(|name| order(name).unwrap_or(usize::MAX));
    for name in names {
        let (asked, used) = (asked[name], used.get(name).copied().unwrap_or(0));
        let capacity = allocatable.get(name).copied().unwrap_or(0);
        if asked + used > capacity {
            let unit = unit(name);
            short.push((name.clone(), asked / unit, used / unit, capacity / unit));
        }
    }
    short
}

/// The pods that make room for a critical one: the lowest priorities first, as few as it takes, never other critical pods
/// (`pkg/kubelet/preemption`). None if nothing helps. `running` are the admitted pods.
pub(super) fn victims<'a>(pod: &Value, node: &Value, running: &[&'a Value]) -> Option<Vec<&'a Value>> {
    let critical = |pod: &Value| pod::priority(pod) >= pod::SYSTEM_CRITICAL_PRIORITY;
    let mut candidates: Vec<&Value> = running.iter().copied().filter(|other| !critical(other)).collect();
    candidates.sort_by_key(|other| (pod::priority(other), std::cmp::Reverse(pod::requests(other).get("cpu").copied())));
    let mut stay: Vec<&Value> = running.to_vec();
    let mut victims = Vec::new();
    for candidate in candidates {
        if admit(pod, node, &usage(stay.iter().copied())).is_ok() {
            break;
        }
        stay.retain(|other| pod::uid(other) != pod::uid(candidate));
        victims.push(candidate);
    }
    admit(pod, node, &usage(stay.into_iter())).is_ok().then_some(victims)
}

/// What pods use together, `pods` among it.
pub(super) fn usage<'a>(pods: impl Iterator<Item = &'a Value>) -> Amounts {
    let mut used = Amounts::new();
    for pod in pods {
        *used.entry("pods".into()).or_default() += 1000;
        for (name, amount) in pod::requests(pod) {
            *used.entry(name).or_default() += amount;
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str) -> Value {
        json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}})
    }

    fn node() -> Value {
        json!({"metadata": {"labels": {"a": "b"}}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"}}})
    }

    #[test]
    fn the_words_are_the_recordings() {
        let rejected = admit(&pod("5"), &node(), &Amounts::new()).expect_err("too large");
        assert_eq!(rejected.reason, "OutOfcpu");
        let message = "Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 2000";
        assert_eq!(rejected.message, message);
    }

    #[test]
    fn taints_and_selectors_are_looked_at_again() {
        let (mut tainted, mut choosy) = (node(), pod("1"));
        tainted["spec"] = json!({"taints": [{"key": "k", "effect": "NoExecute"}]});
        let reason = |result: Result<(), Rejection>| result.map_err(|rejection| rejection.reason);
        assert_eq!(reason(admit(&pod("1"), &tainted, &Amounts::new())), Err("TaintToleration".into()));
        choosy["spec"]["nodeSelector"] = json!({"a": "c"});
        assert_eq!(reason(admit(&choosy, &node(), &Amounts::new())), Err("NodeAffinity".into()));
    }
}
