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
        let old = self.bindable(ns, name)?;
        let mut new = (*old).clone();
        new["spec"]["nodeName"] = node.into();
        set_scheduled(now, &mut new);
        Ok(self.put(ChangeKind::Modified, Resource::Pods, new, Some(old)))
    }

    /// The pod, if it may be assigned to a node.
    ///
    /// # Errors
    /// As [`Store::bind`].
    pub(crate) fn bindable(&self, ns: &str, name: &str) -> Result<Arc<Value>, ApiError> {
        let pods = Resource::Pods;
        let old = self.get(pods, ns, name).ok_or_else(|| ApiError::not_found(pods, name))?;
        if let Some(why) = unbindable(&old) {
            return Err(unbound(name, &why));
        }
        Ok(old)
    }
}

/// `assignPod`: the subresource is named where upstream has no better word.
fn unbound(name: &str, why: &str) -> ApiError {
    let mut error = ApiError::conflict(Resource::Pods, name, why);
    error.message = format!("Operation cannot be fulfilled on pods/binding {name:?}: {why}");
    if let Some(details) = &mut error.details {
        details["kind"] = "pods/binding".into();
    }
    error
}

fn unbindable(pod: &Value) -> Option<String> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    if pod["metadata"].get("deletionTimestamp").is_some() {
        return Some(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(assigned) = pod["spec"]["nodeName"].as_str().filter(|assigned| !assigned.is_empty()) {
        return Some(format!("pod {name} is already assigned to node {assigned:?}"));
    }
    let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    gated.then(|| format!("pod {name} has non-empty .spec.schedulingGates"))
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
