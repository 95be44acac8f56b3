//! Node selectors and node affinity (`k8s.io/component-helpers/scheduling/corev1/nodeaffinity`).

use serde_json::Value;

use crate::pod;

/// Whether the node is one that the pod's `nodeSelector` and required node affinity allow.
pub(crate) fn matches_required(pod: &Value, node: &Value) -> bool {
    let selector = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    let selected = selector.into_iter().all(|(key, value)| pod::label(node, key) == value.as_str());
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    selected && (!required.is_object() || matches_any_term(required, node))
}

/// The weights of the preferences that the node meets, added up.
pub(crate) fn preference(pod: &Value, node: &Value) -> i64 {
    let preferred = &pod["spec"]["affinity"]["nodeAffinity"];
    let terms = pod::list(preferred, "preferredDuringSchedulingIgnoredDuringExecution").iter();
    let met = terms.filter(|term| matches_term(&term["preference"], node));
    met.map(|term| term["weight"].as_i64().unwrap_or(0)).sum()
}

/// A node selector: its terms are alternatives; without any it matches nothing.
fn matches_any_term(selector: &Value, node: &Value) -> bool {
    pod::list(selector, "nodeSelectorTerms").iter().any(|term| matches_term(term, node))
}

/// A term: all its requirements; an empty one matches nothing.
fn matches_term(term: &Value, node: &Value) -> bool {
    let (labels, fields) = (pod::list(term, "matchExpressions"), pod::list(term, "matchFields"));
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| pod::label(node, key).map(str::to_owned);
    let field = |key: &str| (key == "metadata.name").then(|| pod::name(node).to_owned());
    labels.iter().all(|requirement| meets(requirement, label))
        && fields.iter().all(|requirement| meets(requirement, field))
}

fn meets(requirement: &Value, lookup: impl Fn(&str) -> Option<String>) -> bool {
    let found = lookup(requirement["key"].as_str().unwrap_or_default());
    let values = pod::list(requirement, "values");
    let listed = || found.as_deref().is_some_and(|found| values.iter().any(|value| value == found));
    let number = |value: &str| value.parse::<i64>().ok();
    let bound = || values.first().and_then(Value::as_str).and_then(number);
    let own = || found.as_deref().and_then(number);
    match requirement["operator"].as_str().unwrap_or_default() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => own().zip(bound()).is_some_and(|(own, bound)| own > bound),
        "Lt" => own().zip(bound()).is_some_and(|(own, bound)| own < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operators_match_as_upstream() {
        let node = json!({"metadata": {"name": "n", "labels": {"zone": "a", "cores": "8"}}});
        let expression = |key: &str, operator: &str, values: Value| {
            let term = json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
            let affinity = json!({"nodeSelectorTerms": [term]});
            let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": affinity});
            matches_required(&json!({"spec": {"affinity": {"nodeAffinity": required}}}), &node)
        };
        assert!(expression("zone", "In", json!(["a", "b"])));
        assert!(!expression("zone", "NotIn", json!(["a"])));
        assert!(expression("other", "NotIn", json!(["a"])));
        assert!(expression("other", "DoesNotExist", json!([])));
        assert!(expression("cores", "Gt", json!(["4"])));
        assert!(!expression("cores", "Lt", json!(["4"])));
    }

    #[test]
    fn preferences_add_up() {
        let node = json!({"metadata": {"name": "n", "labels": {}}});
        let away = json!({"weight": 10, "preference": {"matchFields": [
            {"key": "metadata.name", "operator": "NotIn", "values": ["other"]}]}});
        let affinity = json!({"preferredDuringSchedulingIgnoredDuringExecution": [away.clone(), away]});
        assert_eq!(preference(&json!({"spec": {"affinity": {"nodeAffinity": affinity}}}), &node), 20);
    }
}
