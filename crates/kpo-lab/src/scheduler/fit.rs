//! Whether a pod fits a node, and upstream's words where it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::affinity;
use crate::pod::{self, Amounts};

/// A node with the pods that are assigned to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeInfo {
    object: Option<Arc<Value>>,
    allocatable: Amounts,
    used: Amounts,
    pods: BTreeMap<String, Arc<Value>>,
}

/// Why a pod does not fit a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Upstream's reasons.
    pub reasons: Vec<String>,
    /// Whether fewer pods there could help.
    pub resolvable: bool,
}

impl Misfit {
    fn for_good(reason: &str) -> Misfit {
        Misfit { reasons: vec![reason.to_owned()], resolvable: false }
    }
}

impl NodeInfo {
    pub(crate) fn renew(&mut self, object: Arc<Value>) {
        self.allocatable = pod::amounts(&object["status"]["allocatable"]);
        self.object = Some(object);
    }

    pub(crate) fn forget_object(&mut self) {
        self.object = None;
    }

    pub(crate) fn object(&self) -> &Value {
        self.object.as_deref().unwrap_or(&Value::Null)
    }

    /// Whether there is such a node, and not only pods that are assigned to its name.
    pub(crate) fn is_there(&self) -> bool {
        self.object.is_some()
    }

    pub(crate) fn pods(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.pods.values()
    }

    pub(crate) fn add(&mut self, pod: Arc<Value>) {
        self.remove(pod::uid(&pod));
        self.count(&pod, 1);
        self.pods.insert(pod::uid(&pod).to_owned(), pod);
    }

    /// False if it was not there.
    pub(crate) fn remove(&mut self, uid: &str) -> bool {
        let Some(pod) = self.pods.remove(uid) else { return false };
        self.count(&pod, -1);
        true
    }

    /// How much of a resource is left, in thousandths.
    pub(crate) fn free(&self, resource: &str) -> i64 {
        let amount = |amounts: &Amounts| amounts.get(resource).copied().unwrap_or(0);
        (amount(&self.allocatable) - amount(&self.used)).max(0)
    }

    fn count(&mut self, pod: &Value, sign: i64) {
        *self.used.entry("pods".into()).or_default() += sign * 1000;
        for (name, amount) in pod::requests(pod) {
            *self.used.entry(name).or_default() += sign * amount;
        }
    }

    /// Whether the pod fits beside what is there and `reserved`; if so how much is left free, in thousandths of the node, the larger the better.
    pub(crate) fn check(&self, pod: &Value, reserved: &[Arc<Value>]) -> Result<i64, Misfit> {
        let node = self.object();
        let unschedulable = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
        let tolerated = pod::tolerations(pod).iter().any(|toleration| pod::tolerates(toleration, &unschedulable));
        if node["spec"]["unschedulable"] == true && !tolerated {
            return Err(Misfit::for_good("node(s) were unschedulable"));
        }
        if pod::untolerated(pod, node, &["NoSchedule", "NoExecute"]).next().is_some() {
            return Err(Misfit::for_good("node(s) had untolerated taint(s)"));
        }
        if !affinity::matches_required(pod, node) {
            return Err(Misfit::for_good("node(s) didn't match Pod's node affinity/selector"));
        }
        self.check_room(pod, reserved)
    }

    fn check_room(&self, pod: &Value, reserved: &[Arc<Value>]) -> Result<i64, Misfit> {
        let mut used = self.used.clone();
        for other in reserved {
            *used.entry("pods".into()).or_default() += 1000;
            for (name, amount) in pod::requests(other) {
                *used.entry(name).or_default() += amount;
            }
        }
        let mut asked = pod::requests(pod);
        asked.insert("pods".into(), 1000);
        let mut misfit = Misfit { reasons: Vec::new(), resolvable: true };
        let capacity = |name: &str| self.allocatable.get(name).copied().unwrap_or(0);
        for (name, amount) in asked.iter().filter(|(_, amount)| **amount > 0) {
            if amount + used.get(name).copied().unwrap_or(0) > capacity(name) {
                let reason = if name == "pods" { "Too many pods".to_owned() } else { format!("Insufficient {name}") };
                misfit.reasons.push(reason);
                misfit.resolvable &= *amount <= capacity(name);
            }
        }
        if !misfit.reasons.is_empty() {
            return Err(misfit);
        }
        let free = |name: &str| {
            let taken = used.get(name).copied().unwrap_or(0) + asked.get(name).copied().unwrap_or(0);
            let whole = capacity(name).max(1);
            i64::try_from(i128::from(whole - taken) * 1000 / i128::from(whole)).unwrap_or(0)
        };
        Ok(free("cpu") + free("memory") + free("pods"))
    }
}

/// `ErrNoNodesAvailable`.
pub(super) const NO_NODES: &str = "no nodes available to schedule pods";

/// `FitError.Error()`: how many nodes there are, and what is wrong with how many of them.
pub(super) fn message(misfits: &BTreeMap<String, Misfit>) -> String {
    let reasons = counted(misfits.values().flat_map(|misfit| misfit.reasons.iter()));
    format!("0/{} nodes are available: {reasons}.", misfits.len())
}

/// `1 Insufficient cpu, 2 Too many pods`: sorted as text, as upstream sorts.
pub(super) fn counted<'a>(reasons: impl Iterator<Item = &'a String>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut texts: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort();
    texts.join(", ")
}
