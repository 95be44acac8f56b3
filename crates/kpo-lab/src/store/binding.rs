//! `pods/binding` (`registry/core/pod/storage/storage.go`).

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ChangeKind, Store};
use crate::error::ApiError;
use crate::resource::Resource;
use crate::time::Time;

impl Store {
    /// Assigns a pod to a node: `spec.nodeName` and the condition `PodScheduled`, as `pods/binding` writes them, owned by nobody
    /// (`registry/core/pod/storage/storage.go`, `setPodNodeAndMetadata`). The generation stays.
    ///
    /// # Errors
    /// 404; 409 where the pod is being deleted, is assigned, or has gates.
    pub fn bind(&mut self, now: Time, ns: &str, name: &str, node: &str) -> Result<Arc<Value>, ApiError> {
        let pods = Resource::Pods;
        let old = self.get(pods, ns, name).ok_or_else(|| ApiError::not_found(pods, name))?;
        if let Some(why) = unbindable(&old, node) {
            return Err(ApiError::conflict(pods, name, &why));
        }
        let mut new = (*old).clone();
        new["spec"]["nodeName"] = node.into();
        set_scheduled(now, &mut new);
        Ok(self.put(ChangeKind::Modified, pods, new, Some(old)))
    }
}

fn unbindable(pod: &Value, node: &str) -> Option<String> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    if pod["metadata"].get("deletionTimestamp").is_some() {
        return Some(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(assigned) = pod["spec"]["nodeName"].as_str().filter(|assigned| !assigned.is_empty()) {
        return Some(format!("pod {name} is already assigned to node {assigned:?}"));
    }
    let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    gated.then(|| format!("pod {name} has non-empty .spec.schedulingGates, cannot be assigned to {node:?}"))
}

fn set_scheduled(now: Time, pod: &mut Value) {
    let condition = json!({
        "lastProbeTime": null, "lastTransitionTime": now.rfc3339(), "status": "True", "type": "PodScheduled",
    });
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let conditions = pod["status"]["conditions"].as_array_mut().expect("made an array above");
    match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(scheduled) => *scheduled = condition,
        None => conditions.push(condition),
    }
}
