//! `metadata.managedFields`: who wrote which field last, in the form and by the rules of structured-merge-diff
//! (`sigs.k8s.io/structured-merge-diff/v4`, `merge/update.go`, `typed/compare.go`), for Update writers.
//!
//! A writer gains every path that it added or changed; the others lose what was changed or removed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Writer, metadata_mut};
use crate::resource::Resource;
use crate::time::Time;

/// A set of field paths, as a write finds them. (`FieldsV1` prints a member as `{}`, or as `"."` beside its children.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fields {
    member: bool,
    children: BTreeMap<String, Fields>,
}

impl Fields {
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    fn child(&mut self, name: String) -> &mut Fields {
        self.children.entry(name).or_default()
    }

    /// Without branches that lead to no member.
    fn prune(&mut self) {
        self.children.retain(|_, child| {
            child.prune();
            !child.is_empty()
        });
    }

    /// Takes these paths out of a printed set. False where nothing is left of it.
    fn take_from(&self, printed: &mut Map<String, Value>) -> bool {
        let member = (printed.is_empty() || printed.contains_key(".")) && !self.member;
        for (name, child) in &self.children {
            if let Some(theirs) = printed.get_mut(name).and_then(Value::as_object_mut)
                && !child.take_from(theirs)
            {
                printed.remove(name);
            }
        }
        settle(printed, member)
    }

    /// Puts these paths into a printed set; `new` where it held nothing before.
    fn put_into(&self, printed: &mut Map<String, Value>, new: bool) {
        let member = self.member || (!new && (printed.is_empty() || printed.contains_key(".")));
        for (name, child) in &self.children {
            let known = printed.get_mut(name).and_then(Value::as_object_mut);
            if let Some(theirs) = known {
                child.put_into(theirs, false);
            } else {
                let mut theirs = Map::new();
                child.put_into(&mut theirs, true);
                printed.insert(name.clone(), Value::Object(theirs));
            }
        }
        settle(printed, member);
    }
}

/// Writes down whether a printed set's own path is a member. False where it then holds nothing at all.
fn settle(printed: &mut Map<String, Value>, member: bool) -> bool {
    printed.remove(".");
    let inner = !printed.is_empty();
    if member && inner {
        printed.insert(".".into(), json!({}));
    }
    member || inner
}

/// What a write did to the fields.
#[derive(Debug, Default)]
struct Difference {
    /// Added or changed.
    written: Fields,
    /// No longer there.
    removed: Fields,
}

impl Difference {
    /// What `find` finds at the field or item `name`.
    fn within(&mut self, name: String, find: impl FnOnce(&mut Difference)) {
        let mut inner = Difference::default();
        find(&mut inner);
        if !inner.written.is_empty() {
            self.written.children.insert(name.clone(), inner.written);
        }
        if !inner.removed.is_empty() {
            self.removed.children.insert(name, inner.removed);
        }
    }
}

/// How a list's items are told apart.
enum List {
    /// The list is one value.
    Atomic,
    /// By these fields of each item.
    Keyed(&'static [&'static str]),
    /// The items are their own keys.
    Set,
}

/// The lists that are not atomic, by their field's name (`api/openapi-spec`: `x-kubernetes-list-map-keys`).
fn list_kind(field: &str, resource: Resource) -> List {
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "schedulingGates"
        | "resourceClaims"
        | "secrets" => List::Keyed(&["name"]),
        "volumeMounts" => List::Keyed(&["mountPath"]),
        "volumeDevices" => List::Keyed(&["devicePath"]),
        "ports" => List::Keyed(&["containerPort", "protocol"]),
        "hostAliases" | "podIPs" => List::Keyed(&["ip"]),
        "topologySpreadConstraints" => List::Keyed(&["topologyKey", "whenUnsatisfiable"]),
        "conditions" => List::Keyed(&["type"]),
        "addresses" if resource == Resource::Nodes => List::Keyed(&["type"]),
        "ownerReferences" => List::Keyed(&["uid"]),
        "finalizers" => List::Set,
        _ => List::Atomic,
    }
}

/// Maps that are one value (`x-kubernetes-map-type: atomic`).
fn atomic_map(field: &str) -> bool {
    matches!(
        field,
        "nodeSelector"
            | "fieldRef"
            | "configMapKeyRef"
            | "secretKeyRef"
            | "resourceFieldRef"
            | "involvedObject"
            | "labelSelector"
            | "selector"
            | "requiredDuringSchedulingIgnoredDuringExecution"
            | OWNER
    )
}

/// What an item of `ownerReferences` is called here: it is one value, as no other list's items are.
const OWNER: &str = "an owner";

fn item_name(list: &str) -> &'static str {
    if list == "ownerReferences" { OWNER } else { "" }
}

fn item_key(keys: &[&str], item: &Value) -> String {
    let fields: Map<String, Value> =
        keys.iter().filter_map(|key| item.get(*key).map(|value| ((*key).to_owned(), value.clone()))).collect();
    format!("k:{}", Value::Object(fields))
}

/// The items of a list by their keys; None where the list is one value.
fn items<'a>(field: &str, list: &'a [Value], resource: Resource) -> Option<Vec<(String, &'a Value)>> {
    match list_kind(field, resource) {
        List::Atomic => None,
        List::Keyed(keys) => Some(list.iter().map(|item| (item_key(keys, item), item)).collect()),
        List::Set => Some(list.iter().map(|item| (format!("v:{item}"), item)).collect()),
    }
}

/// Every path of a value that is new, or gone: the inner ones too.
fn all_paths(field: &str, value: &Value, resource: Resource, into: &mut Fields) {
    into.member = true;
    match value {
        Value::Object(map) if !atomic_map(field) => {
            for (name, child) in map {
                all_paths(name, child, resource, into.child(format!("f:{name}")));
            }
        }
        Value::Array(list) => {
            for (key, item) in items(field, list, resource).unwrap_or_default() {
                all_paths(item_name(field), item, resource, into.child(key));
            }
        }
        _ => {}
    }
}

fn compare(field: &str, old: &Value, new: &Value, resource: Resource, found: &mut Difference) {
    if old == new {
        return;
    }
    // A null list or map is an empty one that is there (a zero field of the typed object).
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if !atomic_map(field) => compare_maps(old, new, resource, found),
        (Value::Null, Value::Object(new)) if !atomic_map(field) => compare_maps(&Map::new(), new, resource, found),
        (Value::Object(old), Value::Null) if !atomic_map(field) => compare_maps(old, &Map::new(), resource, found),
        (Value::Array(_) | Value::Null, Value::Array(_) | Value::Null) => {
            match (items(field, elements(old), resource), items(field, elements(new), resource)) {
                (Some(old), Some(new)) => compare_lists(item_name(field), &old, &new, resource, found),
                _ => found.written.member = true,
            }
        }
        _ => found.written.member = true,
    }
}

fn elements(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn compare_maps(old: &Map<String, Value>, new: &Map<String, Value>, resource: Resource, found: &mut Difference) {
    for (name, value) in new {
        match old.get(name) {
            Some(before) if before == value => {}
            Some(before) => found.within(format!("f:{name}"), |found| compare(name, before, value, resource, found)),
            None => all_paths(name, value, resource, found.written.child(format!("f:{name}"))),
        }
    }
    for (name, value) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        all_paths(name, value, resource, found.removed.child(format!("f:{name}")));
    }
}

fn compare_lists(
    item: &str,
    old: &[(String, &Value)],
    new: &[(String, &Value)],
    resource: Resource,
    found: &mut Difference,
) {
    let find = |list: &[(String, &Value)], key: &str| list.iter().position(|(known, _)| known == key);
    for (key, value) in new {
        match find(old, key) {
            Some(at) if old[at].1 == *value => {}
            Some(at) => found.within(key.clone(), |found| compare(item, old[at].1, value, resource, found)),
            None => all_paths(item, value, resource, found.written.child(key.clone())),
        }
    }
    for (key, value) in old.iter().filter(|(key, _)| find(new, key).is_none()) {
        all_paths(item, value, resource, found.removed.child(key.clone()));
    }
}

/// The object that a creation is compared with: the typed object's zero value, whose struct fields are there, and empty.
fn blank(resource: Resource) -> Value {
    match resource {
        Resource::Pods => json!({ "metadata": {}, "spec": { "containers": [] }, "status": {} }),
        Resource::DaemonSets => {
            json!({ "metadata": {}, "spec": { "template": { "metadata": {}, "spec": { "containers": [] } }, "updateStrategy": {} }, "status": {} })
        }
        Resource::Events => json!({ "metadata": {}, "source": {} }),
        _ => json!({ "metadata": {}, "spec": {}, "status": {} }),
    }
}

/// Without what is nobody's: the identity and the server's own fields (`fieldmanager/stripmeta.go`), and for a plain write the status
/// of resources that have a subresource for it.
fn strip(fields: &mut Fields, resource: Resource, subresource: Option<&str>) {
    for field in ["f:apiVersion", "f:kind"] {
        fields.children.remove(field);
    }
    if let Some(meta) = fields.children.get_mut("f:metadata") {
        meta.member = false;
        for field in OWNERLESS {
            meta.children.remove(*field);
        }
    }
    if subresource.is_none() && resource.has_status() {
        fields.children.remove("f:status");
    }
}

const OWNERLESS: &[&str] = &[
    "f:name",
    "f:namespace",
    "f:creationTimestamp",
    "f:deletionTimestamp",
    "f:deletionGracePeriodSeconds",
    "f:selfLink",
    "f:uid",
    "f:generation",
    "f:managedFields",
    "f:resourceVersion",
];

/// Writes into `new` who owns what, after `writer` turned `old` into it.
pub(super) fn record(now: Time, resource: Resource, old: &Value, new: &mut Value, writer: &Writer) {
    let found = difference(resource, old, new, writer);
    write(now, resource, &found, new, writer);
}

/// The entries that a write goes on from: those that were sent with it, or where there are none the stored ones; one that is empty takes all
/// away (`fieldmanager.go`, `decodeLiveOrNew`).
pub(super) fn sent_or_stored(sent: &mut Map<String, Value>, stored: &Map<String, Value>) {
    const FIELD: &str = "managedFields";
    let entries = sent.get(FIELD).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    match (entries, stored.get(FIELD)) {
        ([Value::Object(entry)], _) if entry.is_empty() => drop(sent.remove(FIELD)),
        (entries, _) if !entries.is_empty() && entries.iter().all(|entry| entry["manager"].is_string()) => {}
        (_, Some(known)) => drop(sent.insert(FIELD.into(), known.clone())),
        (_, None) => drop(sent.remove(FIELD)),
    }
}

/// The same where admission made `stored` of what the writer `submitted`: he owns the latter.
pub(super) fn record_submitted(now: Time, resource: Resource, submitted: &Value, stored: &mut Value, writer: &Writer) {
    let old = blank(resource);
    let found = difference(resource, &old, submitted, writer);
    write(now, resource, &found, stored, writer);
}

fn difference(resource: Resource, old: &Value, new: &Value, writer: &Writer) -> Difference {
    let mut found = Difference::default();
    compare("", old, new, resource, &mut found);
    for fields in [&mut found.written, &mut found.removed] {
        strip(fields, resource, writer.subresource);
        fields.prune();
    }
    found
}

fn write(now: Time, resource: Resource, found: &Difference, new: &mut Value, writer: &Writer) {
    if found.written.is_empty() && found.removed.is_empty() {
        return;
    }
    let mut entries = new["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    lose(&mut entries, found, writer);
    gain(now, resource, &mut entries, &found.written, writer);
    // fieldmanager/managedfields.go, sortEncodedManagedFields: by time, then by name.
    entries.sort_by_cached_key(|entry| (text(entry, "time"), text(entry, "manager"), text(entry, "subresource")));
    metadata_mut(new).insert("managedFields".into(), entries.into());
}

fn text(entry: &Value, field: &str) -> String {
    entry[field].as_str().unwrap_or_default().to_owned()
}

fn is_writers(entry: &Value, writer: &Writer) -> bool {
    entry["manager"] == writer.manager.as_str()
        && entry.get("subresource").and_then(Value::as_str) == writer.subresource
}

fn lose(entries: &mut Vec<Value>, found: &Difference, writer: &Writer) {
    entries.retain_mut(|entry| {
        let own = is_writers(entry, writer);
        let Some(fields) = entry["fieldsV1"].as_object_mut() else { return false };
        let left = found.removed.take_from(fields) && (own || found.written.take_from(fields));
        left && !fields.is_empty()
    });
}

fn gain(now: Time, resource: Resource, entries: &mut Vec<Value>, written: &Fields, writer: &Writer) {
    match entries.iter_mut().find(|entry| is_writers(entry, writer)) {
        Some(entry) => {
            if let Some(fields) = entry["fieldsV1"].as_object_mut() {
                written.put_into(fields, false);
            }
            entry["time"] = now.rfc3339().into();
        }
        None if written.is_empty() => {}
        None => {
            let mut fields = Map::new();
            written.put_into(&mut fields, true);
            let mut entry = json!({
                "apiVersion": resource.api_version(), "fieldsType": "FieldsV1", "fieldsV1": fields,
                "manager": writer.manager, "operation": "Update", "time": now.rfc3339(),
            });
            if let Some(subresource) = writer.subresource {
                entry["subresource"] = subresource.into();
            }
            entries.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The entry of `new` that a write made or changed.
    fn written<'a>(old: &Value, new: &'a Value) -> Option<&'a Value> {
        let known = old["metadata"]["managedFields"].as_array()?;
        let entries = new["metadata"]["managedFields"].as_array()?;
        let before = |entry: &Value| {
            known.iter().find(|k| k["manager"] == entry["manager"] && k["subresource"] == entry["subresource"])
        };
        // A writer gains or is stamped anew; the others only lose.
        entries
            .iter()
            .find(|entry| before(entry).is_none_or(|before| before["time"] != entry["time"] || grew(before, entry)))
    }

    fn grew(before: &Value, after: &Value) -> bool {
        after["fieldsV1"].to_string().len() > before["fieldsV1"].to_string().len()
    }

    /// Every write to a pod that a real cluster recorded, done again: the same entries in the same order.
    #[test]
    fn entries_are_a_real_clusters() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../kpo-core/tests/recordings");
        let mut compared = 0;
        for file in std::fs::read_dir(folder).expect("the recordings") {
            let path = file.expect("an entry").path();
            if path.extension().is_none_or(|kind| kind != "jsonl") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a recording");
            let mut last: BTreeMap<String, Value> = BTreeMap::new();
            for line in text.lines() {
                let event: Value = serde_json::from_str(line).expect("JSON");
                let object = event["object"].clone();
                if event["kind"] != "Pod" {
                    continue;
                }
                let old = last.insert(object["metadata"]["uid"].to_string(), object.clone());
                let Some((old, entry)) = old.as_ref().and_then(|old| Some((old, written(old, &object)?))) else {
                    continue;
                };
                let manager = entry["manager"].as_str().expect("a manager");
                let writer =
                    if entry["subresource"] == "status" { Writer::status(manager) } else { Writer::new(manager) };
                let mut again = object.clone();
                again["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
                let now = Time::parse(entry["time"].as_str().expect("a time")).expect("a time");
                record(now, Resource::Pods, old, &mut again, &writer);
                let (ours, theirs) = (&again["metadata"]["managedFields"], &object["metadata"]["managedFields"]);
                assert_eq!(ours, theirs, "{} at {}", path.display(), event["t"]);
                compared += 1;
            }
        }
        assert!(compared > 100, "only {compared} writes were compared");
    }
}
