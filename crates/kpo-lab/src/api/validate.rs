//! What the API server refuses as invalid (422): the checks of `pkg/apis/core/validation` that a task's pod can run into.

use serde_json::Value;

use crate::error::{ApiError, Cause};
use crate::quantity::Quantity;
use crate::resource::Resource;

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with \
    an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
    and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
    character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// The most that annotations may hold in all, in bytes (`apimachinery/pkg/api/validation/objectmeta.go`).
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Checks an object that is to be created.
///
/// # Errors
/// 422 with every cause; 400 for a quantity that is none, as decoding refuses it.
pub fn create(resource: Resource, object: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    metadata(resource, object, &mut causes);
    match resource {
        Resource::Pods => {
            quantities(&object["spec"])?;
            pod_spec("spec", &object["spec"], &mut causes);
        }
        Resource::DaemonSets => {
            quantities(&object["spec"]["template"]["spec"])?;
            pod_spec("spec.template.spec", &object["spec"]["template"]["spec"], &mut causes);
        }
        _ => {}
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    finish(resource, name, &causes)
}

fn finish(resource: Resource, name: &str, causes: &[Cause]) -> Result<(), ApiError> {
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid(resource, name, causes)) }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn metadata(resource: Resource, object: &Value, causes: &mut Vec<Cause>) {
    let meta = &object["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if name.len() > 253 {
        causes.push(Cause::invalid("metadata.name", &meta["name"], "must be no more than 253 characters"));
    }
    let segments = name.split('.').all(is_label);
    if !name.is_empty() && !segments && resource != Resource::Events {
        let rule = if resource == Resource::Namespaces { LABEL_RULE } else { SUBDOMAIN_RULE };
        causes.push(Cause::invalid("metadata.name", &meta["name"], rule));
    }
    for (key, value) in meta["labels"].as_object().into_iter().flatten() {
        qualified_name("metadata.labels", key, causes);
        label_value("metadata.labels", value, causes);
    }
    annotations(&meta["annotations"], causes);
    for finalizer in meta["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !finalizer.contains('/') && finalizer != "orphan" && finalizer != "foregroundDeletion" {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid("metadata.finalizers", &finalizer.into(), detail));
        }
    }
}

fn annotations(annotations: &Value, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        qualified_name("metadata.annotations", &key.to_lowercase(), causes);
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > ANNOTATIONS_LIMIT {
        let body = format!("Too long: may not be more than {ANNOTATIONS_LIMIT} bytes");
        causes.push(Cause { field: "metadata.annotations".into(), reason: "FieldValueTooLong", body });
    }
}

fn qualified_name(field: &str, key: &str, causes: &mut Vec<Cause>) {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let mut refuse = |detail: &str| causes.push(Cause::invalid(field, &key.into(), detail));
    if prefix.is_some_and(|prefix| !prefix.split('.').all(is_label)) {
        refuse(&format!("prefix part {SUBDOMAIN_RULE}"));
    }
    if name.len() > 63 {
        refuse("name part must be no more than 63 characters");
    }
    if name.is_empty() || !is_loose(name) {
        refuse(NAME_PART_RULE);
    }
}

/// Letters, digits, `-`, `_` and `.`, a letter or digit at both ends; or empty.
fn is_loose(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
}

fn label_value(field: &str, value: &Value, causes: &mut Vec<Cause>) {
    let text = value.as_str().unwrap_or_default();
    if text.len() > 63 {
        causes.push(Cause::invalid(field, value, "must be no more than 63 characters"));
    }
    if !is_loose(text) {
        causes.push(Cause::invalid(field, value, VALUE_RULE));
    }
}

/// Decoding refuses what is no quantity, before validation.
fn quantities(spec: &Value) -> Result<(), ApiError> {
    for (_, container) in containers(spec) {
        let parts = ["limits", "requests"].into_iter().map(|part| &container["resources"][part]);
        let mut amounts = parts.flat_map(|part| part.as_object().into_iter().flatten());
        if amounts.any(|(_, amount)| Quantity::of(amount).is_none()) {
            return Err(ApiError::bad_request(
                "Pod in version \"v1\" cannot be handled as a Pod: quantities must match the regular expression \
                 '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ));
        }
    }
    Ok(())
}

/// The containers of a pod with the paths of their fields.
fn containers(spec: &Value) -> impl Iterator<Item = (String, &Value)> {
    ["initContainers", "containers"].into_iter().flat_map(move |list| {
        let items = spec[list].as_array().into_iter().flatten();
        items.enumerate().map(move |(at, container)| (format!("{list}[{at}]"), container))
    })
}

fn pod_spec(path: &str, spec: &Value, causes: &mut Vec<Cause>) {
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let volumes = volumes(path, spec, causes);
    let mut names = Vec::new();
    for (at, container) in containers(spec) {
        let at = format!("{path}.{at}");
        named(&format!("{at}.name"), &container["name"], &mut names, causes);
        container_fields(&at, container, &volumes, causes);
    }
    one_of(path, spec, "restartPolicy", &["Always", "OnFailure", "Never"], causes);
    if spec["activeDeadlineSeconds"].as_i64().is_some_and(|s| s < 1 || s > i64::from(i32::MAX)) {
        let field = format!("{path}.activeDeadlineSeconds");
        causes.push(Cause::invalid(
            field,
            &spec["activeDeadlineSeconds"],
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0) {
        let field = format!("{path}.terminationGracePeriodSeconds");
        causes.push(Cause::invalid(
            field,
            &spec["terminationGracePeriodSeconds"],
            "must be greater than or equal to 0",
        ));
    }
}

fn one_of(path: &str, object: &Value, field: &str, known: &[&str], causes: &mut Vec<Cause>) {
    if let Some(value) = object[field].as_str().filter(|value| !known.contains(value)) {
        causes.push(Cause::not_supported(format!("{path}.{field}"), value, known));
    }
}

/// A name within a pod: a label, and only once.
fn named(field: &str, name: &Value, seen: &mut Vec<String>, causes: &mut Vec<Cause>) {
    let text = name.as_str().unwrap_or_default().to_owned();
    if text.is_empty() {
        causes.push(Cause::required(field, ""));
    } else if text.len() > 63 {
        causes.push(Cause::invalid(field, name, "must be no more than 63 characters"));
    } else if !is_label(&text) {
        causes.push(Cause::invalid(field, name, LABEL_RULE));
    } else if seen.contains(&text) {
        causes.push(Cause::duplicate(field, &text));
    }
    seen.push(text);
}

fn volumes(path: &str, spec: &Value, causes: &mut Vec<Cause>) -> Vec<String> {
    let mut names = Vec::new();
    for (at, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        named(&format!("{path}.volumes[{at}].name"), &volume["name"], &mut names, causes);
    }
    names
}

fn container_fields(at: &str, container: &Value, volumes: &[String], causes: &mut Vec<Cause>) {
    if container["image"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required(format!("{at}.image"), ""));
    }
    one_of(at, container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], causes);
    one_of(at, container, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"], causes);
    for (n, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        if variable["name"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("{at}.env[{n}].name"), ""));
        }
        if variable["value"].as_str().is_some_and(|v| !v.is_empty()) && variable["valueFrom"].is_object() {
            let detail = "may not be specified when `value` is not empty";
            causes.push(Cause::invalid(format!("{at}.env[{n}].valueFrom"), &"".into(), detail));
        }
    }
    mounts(at, container, volumes, causes);
    limits(at, container, causes);
}

fn mounts(at: &str, container: &Value, volumes: &[String], causes: &mut Vec<Cause>) {
    let mut paths = Vec::new();
    for (n, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let name = mount["name"].as_str().unwrap_or_default();
        let field = format!("{at}.volumeMounts[{n}]");
        if !volumes.iter().any(|known| known == name) {
            causes.push(Cause::not_found(format!("{field}.name"), name));
        }
        match mount["mountPath"].as_str().unwrap_or_default() {
            "" => causes.push(Cause::required(format!("{field}.mountPath"), "")),
            path if paths.contains(&path) => {
                let value = Value::from(path);
                causes.push(Cause::invalid(format!("{field}.mountPath"), &value, "must be unique"));
            }
            path => paths.push(path),
        }
    }
}

fn limits(at: &str, container: &Value, causes: &mut Vec<Cause>) {
    let resources = &container["resources"];
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let (asked, limit) = (Quantity::of(request), Quantity::of(&resources["limits"][name]));
        if let (Some(asked), Some(limit)) = (asked, limit)
            && asked > limit
        {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            causes.push(Cause::invalid(format!("{at}.resources.requests"), request, &detail));
        }
    }
}

/// `pkg/apis/core/validation/validation.go`, `ValidatePodUpdate`.
const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
    `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` \
    (allow it to be set to 1 if it was previously negative)";

/// Checks an object that replaces another.
///
/// # Errors
/// 422 with every cause.
pub fn update(resource: Resource, old: &Value, new: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    metadata(resource, new, &mut causes);
    new_finalizers(old, new, &mut causes);
    if resource == Resource::Pods {
        pod_update(&old["spec"], &new["spec"], &mut causes);
    }
    if resource == Resource::PriorityClasses && old["value"] != new["value"] {
        causes.push(Cause::forbidden("value", "may not be changed in an update."));
    }
    let immutable = old["immutable"] == true && (old["data"] != new["data"] || old["binaryData"] != new["binaryData"]);
    if immutable {
        causes.push(Cause::forbidden("data", "field is immutable when `immutable` is set"));
    }
    finish(resource, new["metadata"]["name"].as_str().unwrap_or_default(), &causes)
}

/// Once deletion has begun finalizers can only be removed (`ValidateObjectMetaAccessorUpdate`).
fn new_finalizers(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if old["metadata"].get("deletionTimestamp").is_none() {
        return;
    }
    let list = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let known = list(old);
    let mut added: Vec<String> = list(new).into_iter().filter(|f| !known.contains(f)).map(|f| f.to_string()).collect();
    if !added.is_empty() {
        added.sort();
        let found = added.join(", ");
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{found}}}"
        );
        causes.push(Cause::forbidden("metadata.finalizers", &detail));
    }
}

fn pod_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    deadline(old, new, causes);
    gates(old, new, causes);
    tolerations(old, new, causes);
    let gated = old["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    if comparable(old, old, gated) != comparable(new, old, gated) {
        causes.push(Cause::forbidden("spec", UPDATABLE));
    }
}

/// The spec without what may change, so that two can be compared.
fn comparable(spec: &Value, old: &Value, gated: bool) -> Value {
    let mut rest = spec.clone();
    for list in ["containers", "initContainers"] {
        for container in rest[list].as_array_mut().into_iter().flatten() {
            container["image"] = Value::Null;
        }
    }
    let Some(map) = rest.as_object_mut() else { return rest };
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        map.remove(field);
    }
    if gated {
        // A gated pod may still narrow where it goes (KEP-3838).
        map.remove("nodeSelector");
        map.remove("affinity");
    }
    let was_negative = old["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0);
    if was_negative && spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s == 1) {
        map.insert("terminationGracePeriodSeconds".into(), old["terminationGracePeriodSeconds"].clone());
    }
    map.retain(|_, value| !value.is_null());
    rest
}

fn deadline(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let field = "spec.activeDeadlineSeconds";
    let value = &new["activeDeadlineSeconds"];
    match (old["activeDeadlineSeconds"].as_i64(), value.as_i64()) {
        (_, Some(new)) if new < 1 || new > i64::from(i32::MAX) => {
            causes.push(Cause::invalid(field, value, "must be between 1 and 2147483647, inclusive"));
        }
        (Some(old), Some(new)) if new > old => {
            causes.push(Cause::invalid(field, value, "must be less than or equal to previous value"));
        }
        (Some(_), None) => {
            causes.push(Cause::invalid(field, value, "must not update from a positive integer to nil value"));
        }
        _ => {}
    }
}

fn gates(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let list = |spec: &Value| spec["schedulingGates"].as_array().cloned().unwrap_or_default();
    let known = list(old);
    for gate in list(new).iter().filter(|gate| !known.contains(gate)) {
        let name = gate["name"].as_str().unwrap_or_default();
        let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
        causes.push(Cause::forbidden("spec.schedulingGates", &detail));
    }
}

fn tolerations(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let list = |spec: &Value| spec["tolerations"].as_array().cloned().unwrap_or_default();
    let kept = list(new);
    if list(old).iter().any(|toleration| !kept.contains(toleration)) {
        causes.push(Cause::forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: Value) -> Value {
        json!({ "metadata": { "name": "a", "namespace": "n" }, "spec": spec })
    }

    #[test]
    fn creation_is_refused_as_upstream_words_it() {
        let base = json!({ "name": "base", "image": "i" });
        let table = [
            (json!({ "containers": [] }), "Pod \"a\" is invalid: spec.containers: Required value"),
            (
                json!({ "containers": [{ "name": "base" }] }),
                "Pod \"a\" is invalid: spec.containers[0].image: Required value",
            ),
            (
                json!({ "containers": [base, base] }),
                "Pod \"a\" is invalid: spec.containers[1].name: Duplicate value: \"base\"",
            ),
            (
                json!({ "containers": [base], "restartPolicy": "Sometimes" }),
                "Pod \"a\" is invalid: spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ),
            (
                json!({ "containers": [{ "name": "base", "image": "i", "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }] }),
                "Pod \"a\" is invalid: spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            ),
            (
                json!({ "containers": [{ "name": "base", "image": "i", "resources": { "limits": { "cpu": "1" }, "requests": { "cpu": "2" } } }] }),
                "Pod \"a\" is invalid: spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ),
        ];
        for (spec, message) in table {
            let error = create(Resource::Pods, &pod(spec)).expect_err(message);
            assert_eq!((error.code, error.message.as_str()), (422, message));
        }
        create(Resource::Pods, &pod(json!({ "containers": [base] }))).expect("valid");
    }

    #[test]
    fn only_some_fields_of_a_pod_may_change() {
        let old = json!({ "containers": [{ "name": "base", "image": "i" }], "schedulingGates": [{ "name": "g" }], "activeDeadlineSeconds": 9 });
        let changed = |at: &str, value: Value| {
            let mut new = old.clone();
            *new.pointer_mut(at).expect("there") = value;
            update(Resource::Pods, &pod(old.clone()), &pod(new)).err().map(|error| error.message)
        };
        assert_eq!(changed("/containers/0/image", json!("j")), None);
        assert_eq!(changed("/schedulingGates", json!([])), None);
        assert_eq!(changed("/activeDeadlineSeconds", json!(3)), None);
        let message = |text: &str| Some(format!("Pod \"a\" is invalid: {text}"));
        assert_eq!(changed("/containers/0/name", json!("x")), message(&format!("spec: Forbidden: {UPDATABLE}")));
        assert_eq!(
            changed("/schedulingGates", json!([{ "name": "g" }, { "name": "h" }])),
            message("spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate 'h'")
        );
        assert_eq!(
            changed("/activeDeadlineSeconds", json!(10)),
            message("spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value")
        );
    }

    #[test]
    fn a_deletion_admits_no_new_finalizers() {
        let mut old = pod(json!({}));
        old["metadata"]["deletionTimestamp"] = "2026-11-23T22:10:07Z".into();
        old["metadata"]["finalizers"] = json!(["x/y"]);
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!([]);
        update(Resource::Pods, &old, &new).expect("may be removed");
        new["metadata"]["finalizers"] = json!(["x/y", "kpo.rs/protect"]);
        assert_eq!(
            update(Resource::Pods, &old, &new).expect_err("may not be added").message,
            "Pod \"a\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, \
             found new finalizers []string{\"kpo.rs/protect\"}"
        );
    }
}
