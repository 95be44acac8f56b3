//! `metadata.managedFields`: who wrote which field last, in the form and by the rules of structured-merge-diff
//! (`sigs.k8s.io/structured-merge-diff/v4`, `merge/update.go`, `typed/compare.go`), for Update writers.
//!
//! A writer gains every path that it added or changed; the others lose what was changed or removed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Writer, metadata_mut};
use crate::resource::Resource;
use crate::time::Time;

/// A set of field paths. A member prints as `{}`, or as `"."` beside its children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fields {
    member: bool,
    children: BTreeMap<String, Fields>,
}

impl Fields {
    fn read(value: &Value) -> Fields {
        let Some(map) = value.as_object() else {
            return Fields::default();
        };
        let children = map.iter().filter(|(name, _)| *name != ".");
        let children: BTreeMap<_, _> = children.map(|(name, value)| (name.clone(), Fields::read(value))).collect();
        Fields { member: map.is_empty() || map.contains_key("."), children }
    }

    fn print(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".into(), json!({}));
        }
        map.extend(self.children.iter().map(|(name, child)| (name.clone(), child.print())));
        Value::Object(map)
    }

    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    fn add(&mut self, other: &Fields) {
        self.member |= other.member;
        for (name, child) in &other.children {
            self.children.entry(name.clone()).or_default().add(child);
        }
    }

    fn subtract(&mut self, other: &Fields) {
        self.member &= !other.member;
        for (name, theirs) in &other.children {
            if let Some(ours) = self.children.get_mut(name) {
                ours.subtract(theirs);
            }
        }
        self.children.retain(|_, child| !child.is_empty());
    }

    fn child(&mut self, name: &str) -> &mut Fields {
        self.children.entry(name.to_owned()).or_default()
    }

    fn prune(mut self) -> Fields {
        for child in self.children.values_mut() {
            *child = std::mem::take(child).prune();
        }
        self.children.retain(|_, child| !child.is_empty());
        self
    }
}

/// What a write did to the fields.
#[derive(Debug, Default)]
struct Difference {
    /// Added or changed.
    written: Fields,
    /// No longer there.
    removed: Fields,
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
    )
}

fn item_key(keys: &[&str], item: &Value) -> String {
    let fields: Map<String, Value> =
        keys.iter().filter_map(|key| item.get(*key).map(|value| ((*key).to_owned(), value.clone()))).collect();
    format!("k:{}", Value::Object(fields))
}

/// The named parts of a value, or None where it is one value.
fn parts<'a>(field: &str, value: &'a Value, resource: Resource) -> Option<Vec<(String, &'a str, &'a Value)>> {
    match value {
        Value::Object(map) if !atomic_map(field) => {
            Some(map.iter().map(|(name, child)| (format!("f:{name}"), name.as_str(), child)).collect())
        }
        Value::Array(items) => match list_kind(field, resource) {
            List::Atomic => None,
            List::Keyed(keys) => Some(items.iter().map(|item| (item_key(keys, item), "", item)).collect()),
            List::Set => Some(items.iter().map(|item| (format!("v:{item}"), "", item)).collect()),
        },
        _ => None,
    }
}

/// Every path of a value that is new, or gone: the inner ones too.
fn all_paths(field: &str, value: &Value, resource: Resource, into: &mut Fields) {
    into.member = true;
    for (name, child_field, child) in parts(field, value, resource).unwrap_or_default() {
        all_paths(child_field, child, resource, into.child(&name));
    }
}

fn compare(field: &str, old: &Value, new: &Value, resource: Resource, found: &mut Difference, at: &[String]) {
    if old == new {
        return;
    }
    // A null list or map is an empty one that is there (a zero field of the typed object).
    let empty = |other: &Value| {
        if other.is_array() { json!([]) } else { json!({}) }
    };
    let (stand_in_old, stand_in_new) = (empty(new), empty(old));
    let old = if old.is_null() && parts(field, new, resource).is_some() { &stand_in_old } else { old };
    let new = if new.is_null() && parts(field, old, resource).is_some() { &stand_in_new } else { new };
    let (Some(before), Some(after)) = (parts(field, old, resource), parts(field, new, resource)) else {
        path(&mut found.written, at).member = true;
        return;
    };
    let before: BTreeMap<_, _> = before.into_iter().map(|(name, field, value)| (name, (field, value))).collect();
    let mut seen = std::collections::BTreeSet::new();
    for (name, child_field, value) in after {
        let mut at = at.to_vec();
        at.push(name.clone());
        match before.get(&name) {
            Some((_, old)) => compare(child_field, old, value, resource, found, &at),
            None => all_paths(child_field, value, resource, path(&mut found.written, &at)),
        }
        seen.insert(name);
    }
    for (name, (child_field, value)) in before.into_iter().filter(|(name, _)| !seen.contains(name)) {
        let mut at = at.to_vec();
        at.push(name);
        all_paths(child_field, value, resource, path(&mut found.removed, &at));
    }
}

fn path<'a>(fields: &'a mut Fields, at: &[String]) -> &'a mut Fields {
    at.iter().fold(fields, |fields, name| fields.child(name))
}

/// The object that a creation is compared with: the typed object's zero value, whose struct fields are there, and empty.
pub(crate) fn blank(resource: Resource) -> Value {
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

/// Writes into `stored` who owns what, after `writer` turned `old` into `submitted`.
pub(super) fn record(
    now: Time,
    resource: Resource,
    old: &Value,
    submitted: &Value,
    stored: &mut Value,
    writer: &Writer,
) {
    let mut found = Difference::default();
    compare("", old, submitted, resource, &mut found, &[]);
    for fields in [&mut found.written, &mut found.removed] {
        strip(fields, resource, writer.subresource);
        *fields = std::mem::take(fields).prune();
    }
    if found.written.is_empty() && found.removed.is_empty() {
        return;
    }
    let mut entries = old["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    lose(&mut entries, &found, writer);
    gain(now, resource, &mut entries, &found.written, writer);
    // fieldmanager/managedfields.go, sortEncodedManagedFields: by time, then by name.
    entries.sort_by_cached_key(|entry| (text(entry, "time"), text(entry, "manager"), text(entry, "subresource")));
    metadata_mut(stored).insert("managedFields".into(), entries.into());
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
        let mut fields = Fields::read(&entry["fieldsV1"]);
        fields.subtract(&found.removed);
        if !is_writers(entry, writer) {
            fields.subtract(&found.written);
        }
        entry["fieldsV1"] = fields.print();
        !fields.is_empty() || is_writers(entry, writer)
    });
}

fn gain(now: Time, resource: Resource, entries: &mut Vec<Value>, written: &Fields, writer: &Writer) {
    let mine = entries.iter_mut().find(|entry| is_writers(entry, writer));
    let mut fields = mine.as_ref().map(|entry| Fields::read(&entry["fieldsV1"])).unwrap_or_default();
    // An entry that prints as `{}` would read as a member: it owns nothing.
    fields.member = false;
    fields.add(written);
    if fields.is_empty() {
        entries.retain(|entry| !is_writers(entry, writer));
        return;
    }
    let mut entry = json!({
        "apiVersion": resource.api_version(), "fieldsType": "FieldsV1", "fieldsV1": fields.print(),
        "manager": writer.manager, "operation": "Update", "time": now.rfc3339(),
    });
    if let Some(subresource) = writer.subresource {
        entry["subresource"] = subresource.into();
    }
    match mine {
        Some(old) => *old = entry,
        None => entries.push(entry),
    }
}
