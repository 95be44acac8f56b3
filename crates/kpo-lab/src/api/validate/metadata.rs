//! The checks of metadata, in upstream's order (`apimachinery/pkg/api/validation/objectmeta.go`).

use serde_json::Value;

use super::names::{label_faults, label_value_faults, qualified_name_faults, subdomain_faults};
use crate::error::Cause;
use crate::resource::Resource;

/// The most that annotations may hold in all, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// `ValidateObjectMeta`.
pub(super) fn object(resource: Resource, object: &Value, causes: &mut Vec<Cause>) {
    let meta = &object["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    let faults = match resource {
        _ if name.is_empty() => {
            causes.push(Cause::required("metadata.name", "name or generateName is required"));
            Vec::new()
        }
        Resource::Events => Vec::new(),
        Resource::Namespaces => label_faults(name),
        _ => subdomain_faults(name),
    };
    causes.extend(faults.iter().map(|fault| Cause::invalid("metadata.name", &meta["name"], fault)));
    labels("metadata.labels", &meta["labels"], causes);
    annotations(&meta["annotations"], causes);
    for finalizer in finalizers(object) {
        qualified_name("metadata.finalizers", finalizer, causes);
    }
}

/// `ValidateObjectMetaUpdate`: no finalizer comes to what is being deleted, and what identifies an object stays.
pub(super) fn update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if old["metadata"].get("deletionTimestamp").is_some() {
        new_finalizers(old, new, causes);
    }
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let value = &new["metadata"][field];
        if old["metadata"][field] != *value {
            causes.push(Cause::invalid(format!("metadata.{field}"), value, "field is immutable"));
        }
    }
    labels("metadata.labels", &new["metadata"]["labels"], causes);
    annotations(&new["metadata"]["annotations"], causes);
}

/// `validateKubeFinalizerName`, which the core group asks beside what each API asks.
pub(super) fn core_finalizers(object: &Value, causes: &mut Vec<Cause>) {
    for (at, finalizer) in finalizers(object).enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        if !name.contains('/') && !["orphan", "foregroundDeletion", "kubernetes"].contains(&name) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(format!("metadata.finalizers[{at}]"), finalizer, detail));
        }
    }
}

fn finalizers(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten()
}

fn new_finalizers(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let known: Vec<&Value> = finalizers(old).collect();
    let mut added: Vec<String> = finalizers(new).filter(|f| !known.contains(f)).map(Value::to_string).collect();
    if !added.is_empty() {
        added.sort();
        added.dedup();
        let found = added.join(", ");
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{found}}}"
        );
        causes.push(Cause::forbidden("metadata.finalizers", &detail));
    }
}

/// `ValidateLabels`.
pub(super) fn labels(field: &str, labels: &Value, causes: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        qualified_name(field, &Value::from(key.as_str()), causes);
        let faults = label_value_faults(value.as_str().unwrap_or_default());
        causes.extend(faults.iter().map(|fault| Cause::invalid(field, value, fault)));
    }
}

fn annotations(annotations: &Value, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        let faults = qualified_name_faults(&key.to_lowercase());
        let refused = |fault: &String| Cause::invalid("metadata.annotations", &Value::from(key.as_str()), fault);
        causes.extend(faults.iter().map(refused));
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > ANNOTATIONS_LIMIT {
        let body = format!("Too long: may not be more than {ANNOTATIONS_LIMIT} bytes");
        causes.push(Cause { field: "metadata.annotations".into(), reason: "FieldValueTooLong", body });
    }
}

/// `ValidateQualifiedName`.
pub(super) fn qualified_name(field: &str, name: &Value, causes: &mut Vec<Cause>) {
    let faults = qualified_name_faults(name.as_str().unwrap_or_default());
    causes.extend(faults.iter().map(|fault| Cause::invalid(field, name, fault)));
}
