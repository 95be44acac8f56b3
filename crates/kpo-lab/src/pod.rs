//! What the cluster's components ask of a pod's manifest and status.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quantity::Quantity;

/// Amounts by resource name, in thousandths (`cpu` 1500m is 1500, memory 1Ki is 1024000).
pub(crate) type Amounts = BTreeMap<String, i64>;

/// Priorities from here on are the system's: such pods are critical to the kubelet (`scheduling.SystemCriticalPriority`).
pub(crate) const SYSTEM_CRITICAL_PRIORITY: i64 = 2_000_000_000;

/// A quantity in thousandths; 0 where there is none.
pub(crate) fn milli(quantity: &Value) -> i64 {
    Quantity::of(quantity).map_or(0, Quantity::millis)
}

/// A field of the metadata as text; empty where it is missing.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub(crate) fn name(object: &Value) -> &str {
    meta(object, "name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    meta(object, "namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    meta(object, "uid")
}

pub(crate) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

pub(crate) fn node_name(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

pub(crate) fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or("Pending")
}

pub(crate) fn is_terminal_phase(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// Whether the pod has ended (`podutil.IsPodTerminal`).
pub(crate) fn has_ended(pod: &Value) -> bool {
    is_terminal_phase(phase(pod))
}

/// Whether its deletion was asked for.
pub(crate) fn is_terminating(object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some_and(|at| !at.is_null())
}

pub(crate) fn priority(pod: &Value) -> i64 {
    pod["spec"]["priority"].as_i64().unwrap_or(0)
}

pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn containers(pod: &Value) -> &[Value] {
    list(&pod["spec"], "containers")
}

pub(crate) fn init_containers(pod: &Value) -> &[Value] {
    list(&pod["spec"], "initContainers")
}

/// How many containers the pod has in all, ephemeral ones too: what the termination message's limit is divided by.
pub(crate) fn container_count(pod: &Value) -> usize {
    containers(pod).len() + init_containers(pod).len() + list(&pod["spec"], "ephemeralContainers").len()
}

/// A native sidecar: an init container that is restarted (KEP-753).
pub(crate) fn is_sidecar(init_container: &Value) -> bool {
    init_container["restartPolicy"] == "Always"
}

pub(crate) fn restart_policy(pod: &Value) -> &str {
    pod["spec"]["restartPolicy"].as_str().unwrap_or("Always")
}

/// `spec.terminationGracePeriodSeconds`; the API's default is 30.
pub(crate) fn grace_seconds(pod: &Value) -> i64 {
    pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30)
}

pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(&object["status"], "conditions").iter().find(|condition| condition["type"] == kind)
}

/// Whether the condition is `True`.
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Replaces the condition of the same type in place, or appends it.
pub(crate) fn set_condition(object: &mut Value, condition: Value) {
    if !object["status"].is_object() {
        object["status"] = serde_json::json!({});
    }
    if !object["status"]["conditions"].is_array() {
        object["status"]["conditions"] = serde_json::json!([]);
    }
    let Some(conditions) = object["status"]["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|known| known["type"] == condition["type"]) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}

/// The amounts in a resource list (`requests`, `allocatable`).
pub(crate) fn amounts(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries.map(|(name, amount)| (name.clone(), milli(amount))).collect()
}

/// A container's requests; a limit stands in for a request that is missing, as the API server defaults it.
pub(crate) fn container_requests(container: &Value) -> Amounts {
    let mut requests = amounts(&container["resources"]["limits"]);
    requests.extend(amounts(&container["resources"]["requests"]));
    requests
}

fn add(into: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *into.entry(name.clone()).or_default() += amount;
    }
}

fn raise(into: &mut Amounts, floor: &Amounts) {
    for (name, amount) in floor {
        let known = into.entry(name.clone()).or_default();
        *known = (*known).max(*amount);
    }
}

/// What the pod needs of a node: the larger of what its containers and sidecars need together, and what an init container needs beside
/// the sidecars started before it, plus overhead (`k8s.io/component-helpers/resource`, `PodRequests`).
pub(crate) fn requests(pod: &Value) -> Amounts {
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in init_containers(pod) {
        let own = container_requests(container);
        let mut beside = sidecars.clone();
        add(&mut beside, &own);
        raise(&mut peak, &beside);
        if is_sidecar(container) {
            sidecars = beside;
        }
    }
    let mut total = sidecars;
    for container in containers(pod) {
        add(&mut total, &container_requests(container));
    }
    raise(&mut total, &peak);
    add(&mut total, &amounts(&pod["spec"]["overhead"]));
    total
}

/// `status.qosClass` (`pkg/apis/core/helper/qos`): cpu and memory only.
pub(crate) fn qos_class(pod: &Value) -> &'static str {
    let all = || containers(pod).iter().chain(init_containers(pod));
    let amount = |container: &Value, kind: &str, resource: &str| milli(&container["resources"][kind][resource]);
    let resources = ["cpu", "memory"];
    let any = all().any(|c| resources.iter().any(|r| amount(c, "requests", r) > 0 || amount(c, "limits", r) > 0));
    let full = all().all(|c| {
        resources.iter().all(|r| {
            let (limit, request) = (amount(c, "limits", r), amount(c, "requests", r));
            limit > 0 && (request == 0 || request == limit)
        })
    });
    match (any, full) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Whether the toleration covers the taint (`v1helper.ToleratesTaint`).
pub(crate) fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (effect, key) = (text(&toleration["effect"]), text(&toleration["key"]));
    if !effect.is_empty() && effect != text(&taint["effect"]) {
        return false;
    }
    if !key.is_empty() && key != text(&taint["key"]) {
        return false;
    }
    match text(&toleration["operator"]).as_str() {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && text(&toleration["value"]) == text(&taint["value"]),
        _ => false,
    }
}

pub(crate) fn tolerations(pod: &Value) -> &[Value] {
    list(&pod["spec"], "tolerations")
}

/// The node's taints with one of the effects that the pod does not tolerate.
pub(crate) fn untolerated<'a>(
    pod: &'a Value,
    node: &'a Value,
    effects: &'a [&'a str],
) -> impl Iterator<Item = &'a Value> + 'a {
    list(&node["spec"], "taints")
        .iter()
        .filter(move |taint| effects.contains(&taint["effect"].as_str().unwrap_or_default()))
        .filter(move |taint| !tolerations(pod).iter().any(|toleration| tolerates(toleration, taint)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_follow_init_and_sidecar_arithmetic() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let pod = json!({"spec": {
            "initContainers": [
                {"name": "sidecar", "restartPolicy": "Always", "resources": cpu("100m")},
                {"name": "setup", "resources": cpu("1")},
            ],
            "containers": [{"name": "a", "resources": cpu("200m")}, {"name": "b", "resources": {"limits": {"cpu": "300m"}}}],
        }});
        assert_eq!(requests(&pod)["cpu"], 1100, "setup runs beside the sidecar: more than a, b and the sidecar");
    }

    #[test]
    fn qos_needs_both_resources_limited_for_guaranteed() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"resources": resources}]}});
        assert_eq!(qos_class(&pod(json!({}))), "BestEffort");
        assert_eq!(qos_class(&pod(json!({"limits": {"cpu": "1", "memory": "1Gi"}}))), "Guaranteed");
        assert_eq!(qos_class(&pod(json!({"requests": {"memory": "20Mi"}, "limits": {"memory": "20Mi"}}))), "Burstable");
    }

    #[test]
    fn tolerations_match_as_upstream() {
        let taint = json!({"key": "a", "value": "x", "effect": "NoExecute"});
        for (toleration, covers) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "a", "operator": "Exists", "effect": "NoExecute"}), true),
            (json!({"key": "a", "value": "x"}), true),
            (json!({"key": "a", "value": "y"}), false),
            (json!({"key": "a", "operator": "Exists", "effect": "NoSchedule"}), false),
            (json!({"key": "b", "operator": "Exists"}), false),
        ] {
            assert_eq!(tolerates(&toleration, &taint), covers, "{toleration}");
        }
    }
}
