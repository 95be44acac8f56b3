//! What decoding refuses before anything else looks at an object: values of another type than their field's, in Go's words
//! (`encoding/json`). Fields that no part of the lab reads are not looked at.

use serde_json::Value;

use super::validate;
use crate::error::ApiError;
use crate::resource::Resource;

/// What a field holds.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Int,
    Flag,
    Object,
    /// A list of objects.
    Objects,
    /// A list of texts.
    Texts,
    /// An object of texts.
    TextMap,
}

use Shape::{Flag, Int, Object, Objects, Text, TextMap, Texts};

/// A field: its path (lists are passed through), Go's name of the struct that has it, what it holds, Go's name of that.
type Row = (&'static str, &'static str, Shape, &'static str);

const META: &[Row] = &[
    ("metadata", "", Object, "v1.ObjectMeta"),
    ("metadata.name", "ObjectMeta", Text, "string"),
    ("metadata.generateName", "ObjectMeta", Text, "string"),
    ("metadata.namespace", "ObjectMeta", Text, "string"),
    ("metadata.labels", "ObjectMeta", TextMap, "map[string]string"),
    ("metadata.annotations", "ObjectMeta", TextMap, "map[string]string"),
    ("metadata.finalizers", "ObjectMeta", Texts, "[]string"),
    ("metadata.ownerReferences", "ObjectMeta", Objects, "[]v1.OwnerReference"),
];

const POD_SPEC: &[Row] = &[
    ("containers", "PodSpec", Objects, "[]v1.Container"),
    ("initContainers", "PodSpec", Objects, "[]v1.Container"),
    ("volumes", "PodSpec", Objects, "[]v1.Volume"),
    ("volumes.emptyDir", "Volume", Object, "v1.EmptyDirVolumeSource"),
    ("volumes.configMap", "Volume", Object, "v1.ConfigMapVolumeSource"),
    ("volumes.secret", "Volume", Object, "v1.SecretVolumeSource"),
    ("volumes.projected", "Volume", Object, "v1.ProjectedVolumeSource"),
    ("volumes.downwardAPI", "Volume", Object, "v1.DownwardAPIVolumeSource"),
    ("tolerations", "PodSpec", Objects, "[]v1.Toleration"),
    ("schedulingGates", "PodSpec", Objects, "[]v1.PodSchedulingGate"),
    ("nodeSelector", "PodSpec", TextMap, "map[string]string"),
    ("affinity", "PodSpec", Object, "v1.Affinity"),
    ("securityContext", "PodSpec", Object, "v1.PodSecurityContext"),
    ("restartPolicy", "PodSpec", Text, "v1.RestartPolicy"),
    ("nodeName", "PodSpec", Text, "string"),
    ("priorityClassName", "PodSpec", Text, "string"),
    ("serviceAccountName", "PodSpec", Text, "string"),
    ("hostNetwork", "PodSpec", Flag, "bool"),
    ("priority", "PodSpec", Int, "int32"),
    ("terminationGracePeriodSeconds", "PodSpec", Int, "int64"),
    ("activeDeadlineSeconds", "PodSpec", Int, "int64"),
];

const CONTAINER: &[Row] = &[
    ("name", "Container", Text, "string"),
    ("image", "Container", Text, "string"),
    ("command", "Container", Texts, "[]string"),
    ("args", "Container", Texts, "[]string"),
    ("workingDir", "Container", Text, "string"),
    ("env", "Container", Objects, "[]v1.EnvVar"),
    ("env.name", "EnvVar", Text, "string"),
    ("env.value", "EnvVar", Text, "string"),
    ("env.valueFrom", "EnvVar", Object, "v1.EnvVarSource"),
    ("ports", "Container", Objects, "[]v1.ContainerPort"),
    ("resources", "Container", Object, "v1.ResourceRequirements"),
    ("resources.limits", "ResourceRequirements", Object, "v1.ResourceList"),
    ("resources.requests", "ResourceRequirements", Object, "v1.ResourceList"),
    ("volumeMounts", "Container", Objects, "[]v1.VolumeMount"),
    ("securityContext", "Container", Object, "v1.SecurityContext"),
    ("livenessProbe", "Container", Object, "v1.Probe"),
    ("readinessProbe", "Container", Object, "v1.Probe"),
    ("startupProbe", "Container", Object, "v1.Probe"),
    ("terminationMessagePath", "Container", Text, "string"),
    ("terminationMessagePolicy", "Container", Text, "v1.TerminationMessagePolicy"),
];

/// Checks the types of an object's fields.
///
/// # Errors
/// 400 for the first that is wrong.
pub(super) fn check(resource: Resource, object: &Value) -> Result<(), ApiError> {
    rows(resource, object, "", META)?;
    match resource {
        Resource::Pods => {
            rows(
                resource,
                object,
                "",
                &[("spec", "Pod", Object, "v1.PodSpec"), ("status", "Pod", Object, "v1.PodStatus")],
            )?;
            pod_spec(resource, object, "spec")?;
            validate::quantities(&object["spec"])
        }
        Resource::DaemonSets => {
            let outer = [
                ("spec", "DaemonSet", Object, "v1.DaemonSetSpec"),
                ("spec.template", "DaemonSetSpec", Object, "v1.PodTemplateSpec"),
                ("spec.template.spec", "PodTemplateSpec", Object, "v1.PodSpec"),
            ];
            rows(resource, object, "", &outer)?;
            pod_spec(resource, object, "spec.template.spec")?;
            validate::quantities(&object["spec"]["template"]["spec"])
        }
        Resource::PodTemplates => {
            let outer = [
                ("template", "PodTemplate", Object, "v1.PodTemplateSpec"),
                ("template.spec", "PodTemplateSpec", Object, "v1.PodSpec"),
            ];
            rows(resource, object, "", &outer)?;
            pod_spec(resource, object, "template.spec")
        }
        Resource::ConfigMaps => rows(resource, object, "", &[("data", "ConfigMap", TextMap, "map[string]string")]),
        Resource::Secrets => {
            let data = ("data", "Secret", TextMap, "map[string][]uint8");
            rows(resource, object, "", &[data, ("stringData", "Secret", TextMap, "map[string]string")])
        }
        _ => {
            let kind = resource.kind();
            rows(resource, object, "", &[("spec", kind, Object, "object"), ("status", kind, Object, "object")])
        }
    }
}

/// In the order of the alphabet, in which most clients send them: Go tells of the first that is wrong.
const DELETE_OPTIONS: &[Row] = &[
    ("dryRun", "DeleteOptions", Texts, "[]string"),
    ("gracePeriodSeconds", "DeleteOptions", Int, "int64"),
    ("orphanDependents", "DeleteOptions", Flag, "bool"),
    ("preconditions", "DeleteOptions", Object, "v1.Preconditions"),
    ("preconditions.resourceVersion", "Preconditions", Text, "string"),
    ("preconditions.uid", "Preconditions", Text, "types.UID"),
    ("propagationPolicy", "DeleteOptions", Text, "v1.DeletionPropagation"),
];

/// Checks the types of a deletion's options: one that is overlooked would delete without its condition.
///
/// # Errors
/// 500 for the first that is wrong: upstream's handler makes no API error of it.
pub(super) fn check_delete_options(options: &Value) -> Result<(), ApiError> {
    let refused = |why: String| ApiError::new(500, "", why);
    if !options.is_object() && !options.is_null() {
        let found = type_of(options);
        return Err(refused(format!("json: cannot unmarshal {found} into Go value of type v1.DeleteOptions")));
    }
    fits(options, "DeleteOptions", "", DELETE_OPTIONS).map_err(refused)
}

/// Checks the types of the options that an eviction has.
///
/// # Errors
/// 400 for the first that is wrong.
pub(super) fn check_eviction(eviction: &Value) -> Result<(), ApiError> {
    let refused =
        |why| ApiError::bad_request(format!("Eviction in version \"v1\" cannot be handled as a Eviction: {why}"));
    rows_of_eviction(eviction).map_err(refused)
}

fn rows_of_eviction(eviction: &Value) -> Result<(), String> {
    fits(eviction, "Eviction", "", &[("deleteOptions", "Eviction", Object, "v1.DeleteOptions")])?;
    fits(eviction, "Eviction", "deleteOptions", DELETE_OPTIONS)
}

fn pod_spec(resource: Resource, object: &Value, at: &str) -> Result<(), ApiError> {
    rows(resource, object, at, POD_SPEC)?;
    for list in ["initContainers", "containers"] {
        rows(resource, object, &format!("{at}.{list}"), CONTAINER)?;
    }
    Ok(())
}

fn rows(resource: Resource, object: &Value, under: &str, rows: &[Row]) -> Result<(), ApiError> {
    let (kind, version) = (resource.kind(), resource.version());
    let cannot = |why| format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}");
    fits(object, kind, under, rows).map_err(|why| ApiError::bad_request(cannot(why)))
}

/// Whether all rows hold; else Go's sentence about the first that does not. `kind` is Go's name of the outermost struct.
fn fits(object: &Value, kind: &str, under: &str, rows: &[Row]) -> Result<(), String> {
    for (path, holder, shape, wanted) in rows {
        let path = if under.is_empty() { (*path).to_owned() } else { format!("{under}.{path}") };
        let names: Vec<&str> = path.split('.').collect();
        visit(object, &names, &mut |value| match mismatch(*shape, value) {
            None => Ok(()),
            Some((found, item)) => {
                let wanted =
                    if item { wanted.trim_start_matches("[]").trim_start_matches("map[string]") } else { wanted };
                let (found, holder) = (type_of(found), if holder.is_empty() { kind } else { holder });
                Err(format!("json: cannot unmarshal {found} into Go struct field {holder}.{path} of type {wanted}"))
            }
        })?;
    }
    Ok(())
}

/// Every value at a path, through lists; what is missing or null is nowhere.
fn visit(value: &Value, names: &[&str], check: &mut impl FnMut(&Value) -> Result<(), String>) -> Result<(), String> {
    let Some((name, rest)) = names.split_first() else { return check(value) };
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| visit(item, names, check));
    }
    match value.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(child) => visit(child, rest, check),
    }
}

/// The value that does not fit, and whether it is an item of the field's.
fn mismatch(shape: Shape, value: &Value) -> Option<(&Value, bool)> {
    let whole = |fits: bool| (!fits).then_some((value, false));
    let list = |fits: fn(&Value) -> bool| match value.as_array() {
        None => Some((value, false)),
        Some(items) => items.iter().find(|item| !item.is_null() && !fits(item)).map(|item| (item, true)),
    };
    match shape {
        Text => whole(value.is_string()),
        Int => whole(value.is_i64() || value.is_u64()),
        Flag => whole(value.is_boolean()),
        Object => whole(value.is_object()),
        Objects => list(Value::is_object),
        Texts => list(Value::is_string),
        TextMap => match value.as_object() {
            None => Some((value, false)),
            Some(map) => map.values().find(|item| !item.is_null() && !item.is_string()).map(|item| (item, true)),
        },
    }
}

/// Go's name for a JSON value's type.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_types_are_refused_in_gos_words() {
        let table = [
            (json!({ "spec": 5 }), "number into Go struct field Pod.spec of type v1.PodSpec"),
            (
                json!({ "spec": { "containers": [{ "command": "sh" }] } }),
                "string into Go struct field Container.spec.containers.command of type []string",
            ),
            (
                json!({ "spec": { "containers": [{ "name": "a" }, { "env": [{ "name": "A", "value": 1 }] }] } }),
                "number into Go struct field EnvVar.spec.containers.env.value of type string",
            ),
            (
                json!({ "spec": { "containers": ["x"] } }),
                "string into Go struct field PodSpec.spec.containers of type v1.Container",
            ),
            (
                json!({ "metadata": { "labels": { "a": true } } }),
                "bool into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                json!({ "spec": { "activeDeadlineSeconds": "9" } }),
                "string into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64",
            ),
        ];
        for (object, expected) in table {
            let error = check(Resource::Pods, &object).expect_err(expected);
            let prefix = "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal ";
            assert_eq!((error.code, error.message.strip_prefix(prefix)), (400, Some(expected)), "{object}");
        }
        let fine = json!({ "metadata": { "labels": null }, "spec": { "containers": [{ "env": null, "args": [] }], "volumes": null } });
        assert_eq!(check(Resource::Pods, &fine), Ok(()));
    }

    /// No shape of a body may bring a handler down.
    #[test]
    fn odd_bodies_are_refused_not_fatal() {
        let odd = [json!(1), json!("x"), json!(["x"]), json!([{ "a": 1 }]), json!({ "a": 1 }), json!(true)];
        let paths = POD_SPEC.iter().map(|row| format!("/spec/{}", row.0.replace('.', "/0/")));
        let inner = CONTAINER
            .iter()
            .map(|row| format!("/spec/containers/0/{}", row.0.replace("env.", "env/0/").replace('.', "/")));
        let skeleton = json!({ "metadata": { "name": "a", "namespace": "default" }, "spec": {
            "containers": [{ "name": "a", "image": "i", "env": [{}], "resources": {} }], "volumes": [{ "name": "v" }] } });
        for path in paths.chain(inner) {
            for value in &odd {
                let mut pod = skeleton.clone();
                let (parent, name) = path.rsplit_once('/').expect("a path");
                pod.pointer_mut(parent).expect(parent)[name] = value.clone();
                let mut store = crate::store::Store::default();
                super::super::namespaces::bootstrap(crate::Time::default(), &mut store);
                // Refused or not: it must come back.
                let _ = super::super::create(
                    crate::Time::default(),
                    &mut store,
                    Resource::Pods,
                    pod,
                    &crate::Writer::new("t"),
                );
            }
        }
    }
}
