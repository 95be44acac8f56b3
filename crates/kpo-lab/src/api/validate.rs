//! What the API server refuses as invalid (422): the checks of `pkg/apis/core/validation` that a task's pod can run into, all of an object's
//! together and in upstream's order.

use serde_json::Value;

use crate::error::{ApiError, Cause};
use crate::resource::Resource;

mod metadata;
mod names;
mod pod;
mod pod_update;

pub(super) use names::{label_value_faults, qualified_name_faults};
pub(super) use pod::quantities;

/// Checks an object that is to be created.
///
/// # Errors
/// 422 with every cause.
pub fn create(resource: Resource, object: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    metadata::object(resource, object, &mut causes);
    match resource {
        Resource::Pods => {
            metadata::core_finalizers(object, &mut causes);
            pod::spec("spec", &object["spec"], &mut causes);
            gates_exclude_node(&object["spec"], &mut causes);
        }
        Resource::DaemonSets => {
            let template = &object["spec"]["template"]["spec"];
            pod::spec("spec.template.spec", template, &mut causes);
        }
        _ => metadata::core_finalizers(object, &mut causes),
    }
    finish(resource, object, &causes)
}

/// `ValidatePodCreate`.
fn gates_exclude_node(spec: &Value, causes: &mut Vec<Cause>) {
    let gated = spec["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    if gated && spec["nodeName"].as_str().is_some_and(|name| !name.is_empty()) {
        let detail = "cannot be set until all schedulingGates have been cleared";
        causes.push(Cause::forbidden("spec.nodeName", detail));
    }
}

fn finish(resource: Resource, object: &Value, causes: &[Cause]) -> Result<(), ApiError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid(resource, name, causes)) }
}

/// Checks an object that replaces another.
///
/// # Errors
/// 422 with every cause.
pub fn update(resource: Resource, old: &Value, new: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    common(resource, old, new, &mut causes);
    if resource == Resource::Pods {
        metadata::object(resource, new, &mut causes);
        metadata::core_finalizers(new, &mut causes);
        pod::spec("spec", &new["spec"], &mut causes);
        pod_update::spec(&old["spec"], &new["spec"], &mut causes);
    }
    if resource == Resource::PriorityClasses && old["value"] != new["value"] {
        causes.push(Cause::forbidden("value", "may not be changed in an update."));
    }
    let immutable = old["immutable"] == true && (old["data"] != new["data"] || old["binaryData"] != new["binaryData"]);
    if immutable {
        causes.push(Cause::forbidden("data", "field is immutable when `immutable` is set"));
    }
    finish(resource, new, &causes)
}

/// Checks an object whose status replaces another's.
///
/// # Errors
/// 422 with every cause.
pub fn status_update(resource: Resource, old: &Value, new: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    common(resource, old, new, &mut causes);
    if resource == Resource::Pods {
        pod_update::status(old, new, &mut causes);
    }
    finish(resource, new, &causes)
}

/// What is asked of every update, first for all resources alike (`registry/rest/update.go`, `validateCommonFields`) and then by the
/// resource's own validation: what is wrong is told twice among the causes, and once in the message.
fn common(resource: Resource, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    metadata::object(resource, new, causes);
    metadata::update(old, new, causes);
    metadata::update(old, new, causes);
    metadata::core_finalizers(new, causes);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::pod_update::UPDATABLE;
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
            message(
                "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'h'"
            )
        );
        assert_eq!(
            changed("/activeDeadlineSeconds", json!(10)),
            message("spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value")
        );
    }

    #[test]
    fn a_deletion_admits_no_new_finalizers() {
        let mut old = pod(json!({ "containers": [{ "name": "base", "image": "i" }] }));
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
