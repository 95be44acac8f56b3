//! The patches that the API server takes: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch
//! (`k8s.io/apimachinery/pkg/util/strategicpatch`), apply among them as far as LIMITS.md says.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, Cause};
use crate::resource::Resource;

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
    match kind {
        PatchType::Json => json_patch(&mut patched, patch)?,
        PatchType::Merge => merge(&mut patched, patch),
        PatchType::Strategic | PatchType::Apply => strategic(&mut patched, patch)?,
    }
    Ok(patched)
}

/// A patch may not change the UID: it is invalid where another write would conflict, unless the version conflicts first
/// (`ValidateObjectMetaAccessorUpdate`; measured on v1.34).
///
/// # Errors
/// 422.
pub fn keeps_uid(resource: Resource, old: &Value, patched: &Value) -> Result<(), ApiError> {
    let same = |field: &str| old["metadata"][field] == patched["metadata"][field];
    if same("uid") || !same("resourceVersion") {
        return Ok(());
    }
    let cause = Cause::invalid("metadata.uid", &patched["metadata"]["uid"], "field is immutable");
    Err(ApiError::invalid(resource, patched["metadata"]["name"].as_str().unwrap_or_default(), &[cause]))
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

fn json_patch(object: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let malformed = |why: &str| ApiError::bad_request(format!("error decoding patch: {why}"));
    let steps = patch.as_array().ok_or_else(|| malformed("not a list"))?;
    for step in steps {
        json_step(object, step).map_err(|why| {
            // The reason is lost upstream too (`NewGenericServerResponse`).
            tracing::debug!(why, "a JSON patch does not fit");
            let message = "the server rejected our request due to an error in our request";
            ApiError { details: Some(json!({})), ..ApiError::new(422, "Invalid", message) }
        })?;
    }
    Ok(())
}

fn json_step(object: &mut Value, step: &Value) -> Result<(), String> {
    let text = |field: &str| step[field].as_str().ok_or_else(|| format!("a step without {field:?}"));
    let path = text("path")?;
    let value = || step.get("value").cloned().ok_or_else(|| "a step without \"value\"".to_owned());
    let missing = |path: &str| format!("nothing at {path:?}");
    match text("op")? {
        "add" => put(object, path, value()?),
        "remove" => take(object, path).map(drop),
        "replace" => {
            *object.pointer_mut(path).ok_or_else(|| missing(path))? = value()?;
            Ok(())
        }
        "move" => {
            let moved = take(object, text("from")?)?;
            put(object, path, moved)
        }
        "copy" => {
            let from = text("from")?;
            let copied = object.pointer(from).cloned().ok_or_else(|| missing(from))?;
            put(object, path, copied)
        }
        "test" => {
            let expected = value()?;
            let holds = object.pointer(path).unwrap_or(&Value::Null) == &expected;
            holds.then_some(()).ok_or_else(|| format!("testing value {path} failed"))
        }
        other => Err(format!("unknown operation {other:?}")),
    }
}

/// The pointer's parent and its last, unescaped token.
fn split<'a>(object: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), String> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| format!("{path:?} is no pointer"))?;
    let at = object.pointer_mut(parent).ok_or_else(|| format!("nothing at {parent:?}"))?;
    Ok((at, last.replace("~1", "/").replace("~0", "~")))
}

fn put(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *object = value;
        return Ok(());
    }
    let (parent, last) = split(object, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(last, value);
            Ok(())
        }
        Value::Array(list) if last == "-" => {
            list.push(value);
            Ok(())
        }
        Value::Array(list) => {
            let at = last.parse().ok().filter(|at| *at <= list.len());
            list.insert(at.ok_or_else(|| format!("no place {last:?} in the list"))?, value);
            Ok(())
        }
        _ => Err(format!("{path:?} is within a plain value")),
    }
}

fn take(object: &mut Value, path: &str) -> Result<Value, String> {
    let (parent, last) = split(object, path)?;
    let taken = match parent {
        Value::Object(map) => map.remove(&last),
        Value::Array(list) => {
            let at = last.parse().ok().filter(|at| *at < list.len());
            at.map(|at: usize| list.remove(at))
        }
        _ => None,
    };
    taken.ok_or_else(|| format!("nothing at {path:?}"))
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
    let map = target.as_object_mut().expect("made an object above");
    for (name, value) in changes {
        if let Some(field) = name.strip_prefix("$deleteFromPrimitiveList/") {
            delete_values(map, field, value);
        } else if !name.starts_with('$') {
            strategic_field(map, name, value)?;
        }
    }
    retain_keys(map, changes);
    reorder(map, changes);
    Ok(())
}

fn strategic_field(map: &mut Map<String, Value>, name: &str, value: &Value) -> Result<(), ApiError> {
    match value {
        Value::Null => {
            map.remove(name);
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

fn strategic_list(map: &mut Map<String, Value>, name: &str, items: &[Value]) -> Result<(), ApiError> {
    let entry = map.entry(name).or_insert(Value::Array(Vec::new()));
    if !entry.is_array() {
        *entry = Value::Array(Vec::new());
    }
    let list = entry.as_array_mut().expect("made a list above");
    match list_strategy(name, items.first()) {
        ListStrategy::Replace => *list = items.to_vec(),
        ListStrategy::MergeBy(key) => merge_items(list, key, items)?,
        ListStrategy::MergeValues => {
            for item in items {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
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
            let message = format!("map: {item} does not contain declared merge key: {key}");
            return Err(ApiError::new(500, "InternalError", message));
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
fn reorder(map: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, order) in changes {
        let Some(field) = name.strip_prefix("$setElementOrder/") else { continue };
        let (Some(order), Some(list)) = (order.as_array(), map.get_mut(field).and_then(Value::as_array_mut)) else {
            continue;
        };
        let key = match list_strategy(field, list.first()) {
            ListStrategy::MergeBy(key) => Some(key),
            _ => None,
        };
        let place = |item: &Value| {
            let same = |known: &Value| key.map_or(known == item, |key| known[key] == item[key]);
            order.iter().position(same).unwrap_or(order.len())
        };
        list.sort_by_key(place);
    }
}

#[cfg(test)]
mod tests {
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
                json!({ "name": "base", "image": "j", "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }] }),
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
                json!(["x/y", "kpo.rs/p", "new/one"]),
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
