//! `LimitRange` for containers: defaults, minimum and maximum (`plugin/pkg/admission/limitranger/admission.go`).

use serde_json::{Map, Value, json};

use super::forbid;
use crate::error::ApiError;
use crate::quantity::Quantity;
use crate::resource::Resource;
use crate::store::Store;

/// Writes the namespace's defaults into the pod's containers, then checks them.
///
/// # Errors
/// 403 with every violated bound.
pub(super) fn apply(store: &Store, ns: &str, pod: &mut Value) -> Result<(), ApiError> {
    let ranges: Vec<_> = store.list(Resource::LimitRanges, Some(ns)).cloned().collect();
    let rules = ranges.iter().flat_map(|range| range["spec"]["limits"].as_array().into_iter().flatten());
    let mut violations = Vec::new();
    for rule in rules.filter(|rule| rule["type"] == "Container") {
        for list in ["initContainers", "containers"] {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                fill(container, "limits", &rule["default"]);
                fill(container, "requests", &rule["defaultRequest"]);
                bounds(container, rule, &mut violations);
            }
        }
    }
    match violations.as_slice() {
        [] => Ok(()),
        [one] => Err(forbid(pod, one)),
        many => Err(forbid(pod, &format!("[{}]", many.join(", ")))),
    }
}

fn fill(container: &mut Value, part: &str, defaults: &Value) {
    for (name, amount) in defaults.as_object().into_iter().flatten() {
        let resources = &mut container["resources"];
        if !resources[part].is_object() {
            resources[part] = json!({});
        }
        let canonical = Quantity::of(amount).unwrap_or_default().to_string();
        let amounts = resources[part].as_object_mut().expect("made an object above");
        amounts.entry(name.clone()).or_insert(canonical.into());
    }
    let resources = container["resources"].as_object_mut();
    if let Some(map) = resources {
        map.retain(|_, value| !value.is_null());
    }
}

fn bounds(container: &Value, rule: &Value, violations: &mut Vec<String>) {
    let amount = |part: &str, name: &str| Quantity::of(&container["resources"][part][name]);
    for (name, bound) in each(&rule["max"]) {
        match amount("limits", name) {
            None => violations.push(format!("maximum {name} usage per Container is {bound}.  No limit is specified")),
            Some(limit) if limit > bound => {
                violations.push(format!("maximum {name} usage per Container is {bound}, but limit is {limit}"));
            }
            Some(_) => {}
        }
    }
    for (name, bound) in each(&rule["min"]) {
        match amount("requests", name) {
            None => violations.push(format!("minimum {name} usage per Container is {bound}.  No request is specified")),
            Some(asked) if asked < bound => {
                violations.push(format!("minimum {name} usage per Container is {bound}, but request is {asked}"));
            }
            Some(_) => {}
        }
    }
}

fn each(bounds: &Value) -> impl Iterator<Item = (&String, Quantity)> {
    let map: Option<&Map<String, Value>> = bounds.as_object();
    map.into_iter().flatten().filter_map(|(name, amount)| Some((name, Quantity::of(amount)?)))
}
