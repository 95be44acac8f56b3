//! The patches that the API server takes: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch
//! (`k8s.io/apimachinery/pkg/util/strategicpatch`), apply among them as far as LIMITS.md says.

use serde_json::{Map, Value};

use crate::error::ApiError;

mod json;

/// A kind of patch, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/apply-patch+yaml`.
    Apply,
}

impl PatchType {
    /// The kind that a content type names.
    ///
    /// # Errors
    /// 415 for any other.
    pub fn of(content_type: &str) -> Result<PatchType, ApiError> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(PatchType::Json),
            "application/merge-patch+json" => Ok(PatchType::Merge),
            "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
            "application/apply-patch+yaml" => Ok(PatchType::Apply),
            _ => {
                let message = "the body of the request was in an unknown format - accepted media types include: \
                    application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
                    application/apply-patch+yaml";
                Err(ApiError::new(415, "UnsupportedMediaType", message))
            }
        }
    }
}

/// The object with the patch in it.
///
/// # Errors
/// 400 for a malformed patch, 422 for a JSON patch that does not fit the object.
pub fn apply(kind: PatchType, object: &Value, patch: &Value) -> Result<Value, ApiError> {
    let mut patched = object.clone();
    if !matches!(kind, PatchType::Json) && !patch.is_object() {
        let why = "json: cannot unmarshal array into Go value of type map[string]interface {}";
        return Err(ApiError::bad_request(format!("error decoding patch: {why}")));
    }
    match kind {
        PatchType::Json => json::apply(&mut patched, patch)?,
        PatchType::Merge => merge(&mut patched, patch),
        PatchType::Strategic | PatchType::Apply => strategic(&mut patched, patch)?,
    }
    Ok(patched)
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().expect("made an object above");
    for (name, value) in changes {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// How a strategic patch treats a list, by its field's name (the `patchStrategy` and `patchMergeKey` tags of `core/v1/types.go`).
enum ListStrategy {
    Replace,
    MergeBy(&'static str),
    MergeValues,
}

fn list_strategy(field: &str, item: Option<&Value>) -> ListStrategy {
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "schedulingGates"
        | "resourceClaims" => ListStrategy::MergeBy("name"),
        "volumeMounts" => ListStrategy::MergeBy("mountPath"),
        "volumeDevices" => ListStrategy::MergeBy("devicePath"),
        "ports" => ListStrategy::MergeBy("containerPort"),
        "hostAliases" | "podIPs" | "hostIPs" => ListStrategy::MergeBy("ip"),
        "conditions" | "addresses" => ListStrategy::MergeBy("type"),
        "topologySpreadConstraints" => ListStrategy::MergeBy("topologyKey"),
        "ownerReferences" => ListStrategy::MergeBy("uid"),
        "secrets" if item.is_some_and(Value::is_object) => ListStrategy::MergeBy("name"),
        "finalizers" => ListStrategy::MergeValues,
        _ => ListStrategy::Replace,
    }
}

fn strategic(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let Some(changes) = patch.as_object() else {
        return Err(ApiError::bad_request("error decoding patch: not an object"));
    };
    if !target.is_object() || changes.get("$patch").is_some_and(|directive| directive == "replace") {
        *target = Value::Object(Map::new());
    }
    if changes.get("$patch").is_some_and(|directive| directive == "delete") {
        *target = Value::Object(Map::new());
        return Ok(());
    }
    if let Some(unknown) = changes.get("$patch").filter(|directive| *directive != "replace") {
        let message = format!("unknown patch type: {} in map: {}", go_value(unknown), go_value(patch));
        return Err(ApiError::new(500, "", message));
    }
    let map = target.as_object_mut().expect("made an object above");
    let before = map.clone();
    for (name, value) in changes {
        if let Some(field) = name.strip_prefix("$deleteFromPrimitiveList/") {
            delete_values(map, field, value);
        } else if !name.starts_with('$') {
            strategic_field(map, name, value)?;
        }
    }
    retain_keys(map, changes);
    reorder(map, changes, &before);
    Ok(())
}

/// A value as Go prints it (`%v`).
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().map(|(name, value)| format!("{name}:{}", go_value(value))).collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        _ => value.to_string(),
    }
}

fn strategic_field(map: &mut Map<String, Value>, name: &str, value: &Value) -> Result<(), ApiError> {
    match value {
        Value::Null => {
            map.remove(name);
            Ok(())
        }
        Value::Object(_) if !map.contains_key(name) => {
            if let Some(plain) = without_directives(value) {
                map.insert(name.to_owned(), plain);
            }
            Ok(())
        }
        Value::Object(_) => strategic(map.entry(name).or_insert(Value::Null), value),
        Value::Array(items) => strategic_list(map, name, items),
        _ => {
            map.insert(name.to_owned(), value.clone());
            Ok(())
        }
    }
}

/// What a patch brings that was not there: as it is, but for what has a directive in it (`removeDirectives`).
fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key("$patch") => None,
        Value::Object(map) => {
            let kept = map.iter().filter(|(name, value)| !name.starts_with('$') && !value.is_null());
            Some(kept.filter_map(|(name, value)| Some((name.clone(), without_directives(value)?))).collect())
        }
        Value::Array(items) => Some(items.iter().filter_map(without_directives).collect()),
        _ => Some(value.clone()),
    }
}

fn strategic_list(map: &mut Map<String, Value>, name: &str, items: &[Value]) -> Result<(), ApiError> {
    let entry = map.entry(name).or_insert(Value::Array(Vec::new()));
    if !entry.is_array() {
        *entry = Value::Array(Vec::new());
    }
    let list = entry.as_array_mut().expect("made a list above");
    let before = list.clone();
    match list_strategy(name, items.first()) {
        ListStrategy::Replace => *list = items.to_vec(),
        ListStrategy::MergeBy(key) => {
            merge_items(list, key, items)?;
            put_in_order(list, items, &before, Some(key));
        }
        ListStrategy::MergeValues => {
            for item in items {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
            put_in_order(list, items, &before, None);
        }
    }
    Ok(())
}

fn merge_items(list: &mut Vec<Value>, key: &str, items: &[Value]) -> Result<(), ApiError> {
    if items.iter().any(|item| item["$patch"] == "replace") {
        list.clear();
    }
    for item in items.iter().filter(|item| item["$patch"] != "replace") {
        let Some(value) = item.get(key) else {
            let message = format!("map: {} does not contain declared merge key: {key}", go_value(item));
            return Err(ApiError::new(500, "", message));
        };
        let at = list.iter().position(|known| known.get(key) == Some(value));
        match (item["$patch"] == "delete", at) {
            (true, Some(at)) => drop(list.remove(at)),
            (true, None) => {}
            (false, Some(at)) => strategic(&mut list[at], item)?,
            (false, None) => {
                let mut added = Value::Object(Map::new());
                strategic(&mut added, item)?;
                list.push(added);
            }
        }
    }
    Ok(())
}

fn delete_values(map: &mut Map<String, Value>, field: &str, values: &Value) {
    let gone = values.as_array().cloned().unwrap_or_default();
    if let Some(list) = map.get_mut(field).and_then(Value::as_array_mut) {
        list.retain(|item| !gone.contains(item));
    }
}

/// `$retainKeys`: of a union only the named fields stay.
fn retain_keys(map: &mut Map<String, Value>, changes: &Map<String, Value>) {
    if let Some(keys) = changes.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|name, _| keys.iter().any(|key| key == name.as_str()));
    }
}

/// `$setElementOrder/containers`: the order of merged items.
fn reorder(map: &mut Map<String, Value>, changes: &Map<String, Value>, before: &Map<String, Value>) {
    for (name, order) in changes {
        let Some(field) = name.strip_prefix("$setElementOrder/") else { continue };
        let (Some(order), Some(list)) = (order.as_array(), map.get_mut(field).and_then(Value::as_array_mut)) else {
            continue;
        };
        let key = match list_strategy(field, list.first()) {
            ListStrategy::MergeBy(key) => Some(key),
            _ => None,
        };
        put_in_order(list, order, before.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice), key);
    }
}

/// `normalizeElementOrder`: the items that the patch names in its order; each other one before the first of these that it stood before.
fn put_in_order(list: &mut Vec<Value>, patch: &[Value], before: &[Value], key: Option<&str>) {
    let place = |item: &Value, order: &[Value]| {
        order.iter().position(|known| key.map_or(known == item, |key| known[key] == item[key]))
    };
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        list.drain(..).partition(|item| place(item, patch).is_some());
    named.sort_by_key(|item| place(item, patch));
    others.sort_by_key(|item| place(item, before));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let Some(other) = others.peek() {
        let first = named.peek().is_none_or(|next| match (place(other, before), place(next, before)) {
            (Some(other), Some(next)) => other < next,
            _ => false,
        });
        list.extend(if first { others.next() } else { named.next() });
    }
    list.extend(named);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strategic_patches_merge_by_keys() {
        let object = json!({
            "metadata": { "labels": { "a": "1", "b": "2" }, "finalizers": ["x/y", "kpo.rs/p"] },
            "spec": { "containers": [{ "name": "base", "image": "i", "env": [{ "name": "A", "value": "1" }] }, { "name": "side" }],
                "tolerations": [{ "key": "t" }] },
        });
        let table = [
            (
                json!({ "metadata": { "labels": { "a": null, "c": "3" } } }),
                "/metadata/labels",
                json!({ "b": "2", "c": "3" }),
            ),
            (
                json!({ "spec": { "containers": [{ "name": "base", "image": "j", "env": [{ "name": "B", "value": "2" }] }] } }),
                "/spec/containers/0",
                json!({ "name": "base", "image": "j", "env": [{ "name": "B", "value": "2" }, { "name": "A", "value": "1" }] }),
            ),
            (
                json!({ "spec": { "containers": [{ "$patch": "delete", "name": "side" }] } }),
                "/spec/containers",
                json!([{ "name": "base", "image": "i", "env": [{ "name": "A", "value": "1" }] }]),
            ),
            (
                json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["kpo.rs/p"] } }),
                "/metadata/finalizers",
                json!(["x/y"]),
            ),
            (
                json!({ "metadata": { "finalizers": ["new/one"] } }),
                "/metadata/finalizers",
                json!(["new/one", "x/y", "kpo.rs/p"]),
            ),
            (
                json!({ "metadata": { "annotations": { "$patch": "replace", "a": "1" } } }),
                "/metadata",
                object["metadata"].clone(),
            ),
            (
                json!({ "metadata": { "annotations": { "a": "1", "b": null } } }),
                "/metadata/annotations",
                json!({ "a": "1" }),
            ),
            (json!({ "spec": { "tolerations": [{ "key": "u" }] } }), "/spec/tolerations", json!([{ "key": "u" }])),
            (
                json!({ "spec": { "$setElementOrder/containers": [{ "name": "side" }, { "name": "base" }], "containers": [] } }),
                "/spec/containers/0",
                json!({ "name": "side" }),
            ),
        ];
        for (patch, at, expected) in table {
            let patched = apply(PatchType::Strategic, &object, &patch).expect("applies");
            assert_eq!(patched.pointer(at), Some(&expected), "{patch}");
        }
    }

    /// What a patch names comes first, unless it stood behind (`normalizeElementOrder`; a real API server does so).
    #[test]
    fn strategic_patches_order_a_list_as_upstream() {
        let table = [
            (json!(["a"]), json!(["b"]), json!(["b", "a"])),
            (json!(["a", "b"]), json!(["b"]), json!(["a", "b"])),
            (json!(["a", "b", "c"]), json!(["d", "b"]), json!(["d", "a", "b", "c"])),
            (json!(["a", "b", "c"]), json!(["c", "a"]), json!(["b", "c", "a"])),
        ];
        let conditions = |names: &Value| -> Value {
            names.as_array().into_iter().flatten().map(|name| json!({ "type": name })).collect()
        };
        for (before, patch, after) in table {
            let object = json!({ "status": { "conditions": conditions(&before) } });
            let patch = json!({ "status": { "conditions": conditions(&patch) } });
            let patched = apply(PatchType::Strategic, &object, &patch).expect("applies");
            assert_eq!(patched["status"]["conditions"], conditions(&after), "{before} {patch}");
        }
    }

    #[test]
    fn json_patches_follow_the_rfc() {
        let object = json!({ "metadata": { "annotations": { "kpo.rs/observer": "1" } }, "list": [1, 2] });
        let table = [
            (json!([{ "op": "add", "path": "/list/1", "value": 9 }]), Some(("/list", json!([1, 9, 2])))),
            (json!([{ "op": "add", "path": "/list/-", "value": 9 }]), Some(("/list", json!([1, 2, 9])))),
            (json!([{ "op": "remove", "path": "/list/0" }]), Some(("/list", json!([2])))),
            (
                json!([{ "op": "replace", "path": "/metadata/annotations/kpo.rs~1observer", "value": "2" }]),
                Some(("/metadata/annotations", json!({ "kpo.rs/observer": "2" }))),
            ),
            (json!([{ "op": "test", "path": "/list/0", "value": 2 }]), None),
            (json!([{ "op": "remove", "path": "/nothing" }]), None),
            (json!([{ "op": "move", "from": "/list", "path": "/moved" }]), Some(("/moved", json!([1, 2])))),
        ];
        for (patch, expected) in table {
            let patched = apply(PatchType::Json, &object, &patch);
            match expected {
                Some((at, value)) => assert_eq!(patched.expect("applies").pointer(at), Some(&value), "{patch}"),
                None => assert_eq!(patched.expect_err("refused").code, 422, "{patch}"),
            }
        }
    }

    #[test]
    fn merge_patches_replace_lists() {
        let object = json!({ "a": { "b": 1, "c": 2 }, "l": [1] });
        let patched = apply(PatchType::Merge, &object, &json!({ "a": { "b": null }, "l": [2, 3] })).expect("applies");
        assert_eq!(patched, json!({ "a": { "c": 2 }, "l": [2, 3] }));
        assert_eq!(PatchType::of("text/plain").expect_err("unknown").code, 415);
    }
}
