//! Random requests about a handful of pods: what a client of an API server may ask, and what it may get wrong.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// Names of the pods that a sequence is about.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// A node that there is not: what is bound to it nobody touches, and it is deleted with a grace.
const NODE: &str = "ghost";

/// A request. Strings that begin with `$` are filled in by each world from what it saw: `$uid:a`, `$version:a`, `$first-version:a`.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) method: &'static str,
    /// Below the namespace.
    pub(super) path: String,
    pub(super) content: &'static str,
    pub(super) body: Body,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    None,
    Given(Value),
    /// The pod of that name as it was seen last, with this merged into it.
    Seen(String, Value),
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// The requests of one sequence.
pub(super) fn steps(seed: u64) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let count = rng.usize(4..14);
    let mut steps = vec![create(&mut rng)];
    steps.extend((1..count).map(|_| step(&mut rng)));
    steps
}

/// What ends it: it matches each selector of [`watches`].
pub(super) fn marker() -> Step {
    let spec = json!({"nodeName": NODE, "schedulerName": "nobody", "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "busybox:1"}]});
    let body = json!({"metadata": {"name": "z", "labels": {"app": "x"}}, "spec": spec});
    Step { method: "POST", path: "pods".to_owned(), content: JSON, body: Body::Given(body) }
}

/// The queries of the watches that a sequence is followed with.
pub(super) fn watches(seed: u64) -> [&'static str; 2] {
    let mut rng = Rng::with_seed(!seed);
    let selected = [
        "labelSelector=app%3Dx",
        "labelSelector=app",
        "labelSelector=app%20in%20(x,w)",
        "labelSelector=app!%3Dy",
        "fieldSelector=spec.nodeName%3Dghost",
        "fieldSelector=status.phase%3DPending",
        "fieldSelector=metadata.name!%3Da",
    ];
    ["", selected[rng.usize(..selected.len())]]
}

fn step(rng: &mut Rng) -> Step {
    let make = pick(
        rng,
        &[
            create, create, get, list, list, merge, merge, merge, strategic, json_patch, status, status, put, delete,
            delete, delete, bind, evict, collection,
        ],
    );
    make(rng)
}

fn pick<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())]
}

fn name(rng: &mut Rng) -> &'static str {
    pick(rng, &NAMES)
}

fn pod(rng: &mut Rng) -> String {
    format!("pods/{}", name(rng))
}

fn given(method: &'static str, path: String, content: &'static str, body: Value) -> Step {
    Step { method, path, content, body: Body::Given(body) }
}

fn get(rng: &mut Rng) -> Step {
    Step { method: "GET", path: pod(rng), content: JSON, body: Body::None }
}

fn list(rng: &mut Rng) -> Step {
    let query = pick(
        rng,
        &[
            "",
            "?labelSelector=app%3Dx",
            "?labelSelector=app!%3Dx",
            "?labelSelector=app%20notin%20(x)",
            "?labelSelector=!app",
            "?labelSelector=app%3D%3D%3Dx",
            "?labelSelector=a%20b",
            "?fieldSelector=status.phase%3DPending",
            "?fieldSelector=metadata.name%3Da,spec.nodeName%3Dghost",
            "?fieldSelector=spec.nodeName!%3Dghost",
            "?fieldSelector=spec.foo%3Dbar",
            "?fieldSelector=status.phase",
            "?limit=1",
            "?limit=2",
            "?limit=-1",
            "?resourceVersion=0",
            "?resourceVersion=abc",
            "?resourceVersion=1&resourceVersionMatch=Sometimes",
            "?resourceVersionMatch=Exact",
        ],
    );
    Step { method: "GET", path: format!("pods{query}"), content: JSON, body: Body::None }
}

fn create(rng: &mut Rng) -> Step {
    let mut metadata = json!({"name": name(rng), "labels": {"app": pick(rng, &["x", "y"])}});
    maybe(rng, 3, &mut metadata, "finalizers", finalizers);
    maybe(rng, 4, &mut metadata, "annotations", |_| json!({"note": "hello"}));
    let mut spec =
        json!({"schedulerName": "nobody", "automountServiceAccountToken": false, "containers": [container(rng)]});
    maybe(rng, 2, &mut spec, "schedulingGates", |_| json!([{"name": "kpo.rs/gate"}]));
    maybe(rng, 3, &mut spec, "nodeName", |_| NODE.into());
    maybe(rng, 3, &mut spec, "terminationGracePeriodSeconds", |rng| pick(rng, &[0, 5, 60]).into());
    maybe(rng, 2, &mut spec, "restartPolicy", |rng| pick(rng, &["Never", "OnFailure"]).into());
    maybe(rng, 5, &mut spec, "activeDeadlineSeconds", |rng| pick(rng, &[100, 100, 0]).into());
    maybe(rng, 5, &mut spec, "initContainers", |_| json!([{"name": "i", "image": "busybox:1"}]));
    maybe(rng, 5, &mut spec, "volumes", |_| json!([{"name": "v", "emptyDir": {}}]));
    wrong(rng, &mut metadata, &mut spec);
    let query = pick(rng, &["", "", "", "", "?dryRun=All"]);
    given("POST", format!("pods{query}"), JSON, json!({"metadata": metadata, "spec": spec}))
}

fn maybe(rng: &mut Rng, one_in: u32, object: &mut Value, key: &str, value: impl Fn(&mut Rng) -> Value) {
    if rng.u32(..one_in) == 0 {
        object[key] = value(rng);
    }
}

fn container(rng: &mut Rng) -> Value {
    let mut container = json!({"name": "c", "image": "busybox:1"});
    maybe(rng, 4, &mut container, "resources", |_| json!({"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}));
    maybe(rng, 4, &mut container, "env", |_| json!([{"name": "A", "value": "b"}]));
    maybe(rng, 6, &mut container, "imagePullPolicy", |_| "Always".into());
    maybe(rng, 6, &mut container, "terminationMessagePolicy", |_| "FallbackToLogsOnError".into());
    container
}

/// Now and then something that a server refuses.
fn wrong(rng: &mut Rng, metadata: &mut Value, spec: &mut Value) {
    match rng.u32(..40) {
        0 => metadata["name"] = "A_b".into(),
        1 => metadata["labels"]["app"] = "a b".into(),
        2 => metadata["finalizers"] = json!(["short"]),
        3 => spec["containers"] = json!([]),
        4 => spec["containers"] = json!([{"name": "c", "image": "x"}, {"name": "c", "image": "y"}]),
        5 => spec["containers"][0]["name"] = "C".into(),
        6 => spec["restartPolicy"] = "Sometimes".into(),
        7 => spec["terminationGracePeriodSeconds"] = (-1).into(),
        8 => spec["containers"][0]["volumeMounts"] = json!([{"name": "nowhere", "mountPath": "/x"}]),
        9 => metadata["namespace"] = "elsewhere".into(),
        10 => spec["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        11 => spec["containers"][0]["image"] = Value::Null,
        _ => {}
    }
}

fn finalizers(rng: &mut Rng) -> Value {
    pick(rng, &[&["kpo.rs/one"][..], &["kpo.rs/one", "kpo.rs/two"]]).into()
}

/// A patch of metadata that any kind of merge takes.
fn metadata(rng: &mut Rng) -> Value {
    let mut metadata = Map::new();
    match rng.u32(..6) {
        0 => metadata.insert("labels".to_owned(), json!({"app": pick(rng, &["x", "y", "w"])})),
        1 => metadata.insert("labels".to_owned(), json!({"app": null})),
        2 => metadata.insert("annotations".to_owned(), json!({"note": pick(rng, &["hello", "again"])})),
        3 => metadata.insert("finalizers".to_owned(), Value::Null),
        4 => metadata.insert("finalizers".to_owned(), finalizers(rng)),
        _ => metadata.insert("labels".to_owned(), json!({"more": "yes"})),
    };
    match rng.u32(..10) {
        0 => metadata.insert("resourceVersion".to_owned(), "$version".into()),
        1 => metadata.insert("resourceVersion".to_owned(), "$first-version".into()),
        2 => metadata.insert("uid".to_owned(), "$uid".into()),
        3 => metadata.insert("uid".to_owned(), "00000000-0000-4000-8000-000000000000".into()),
        _ => None,
    };
    Value::Object(metadata)
}

fn merge(rng: &mut Rng) -> Step {
    let body = match rng.u32(..8) {
        0 => json!({"spec": {"activeDeadlineSeconds": pick(rng, &[50, 200])}}),
        1 => {
            json!({"spec": {"schedulingGates": pick(rng, &[Some("kpo.rs/other"), None]).map(|name| json!([{ "name": name }]))}})
        }
        2 => json!({"spec": {"nodeName": "other"}}),
        3 => json!({"spec": {"nodeSelector": {"disk": "ssd"}}}),
        _ => json!({"metadata": metadata(rng)}),
    };
    let query = pick(rng, &["", "", "", "", "?dryRun=All"]);
    given("PATCH", format!("{}{query}", pod(rng)), MERGE, body)
}

fn strategic(rng: &mut Rng) -> Step {
    let body = match rng.u32(..6) {
        0 => json!({"spec": {"containers": [{"name": "c", "image": "busybox:1.36"}]}}),
        1 => json!({"spec": {"containers": [{"name": "d", "image": "busybox:1"}]}}),
        2 => json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["kpo.rs/one"]}}),
        3 => json!({"metadata": {"labels": {"$patch": "replace", "app": "x"}}}),
        _ => json!({"metadata": metadata(rng)}),
    };
    given("PATCH", pod(rng), STRATEGIC, body)
}

fn json_patch(rng: &mut Rng) -> Step {
    let operations = match rng.u32(..7) {
        0 => json!([{"op": "add", "path": "/metadata/labels/more", "value": "yes"}]),
        1 => {
            json!([{"op": "test", "path": "/metadata/labels/app", "value": "x"}, {"op": "replace", "path": "/metadata/labels/app", "value": "w"}])
        }
        2 => json!([{"op": "remove", "path": "/metadata/labels/nothing"}]),
        3 => json!([{"op": "remove", "path": "/spec/schedulingGates"}]),
        4 => {
            json!([{"op": "test", "path": "/metadata/uid", "value": "$uid"}, {"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}])
        }
        5 => json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "kpo.rs/three"}]),
        _ => json!([{"op": "remove", "path": "/metadata/finalizers/0"}]),
    };
    given("PATCH", pod(rng), JSON_PATCH, operations)
}

fn status(rng: &mut Rng) -> Step {
    let condition = json!({"type": pick(rng, &["DisruptionTarget", "Ready"]), "status": "True", "reason": "Test", "message": "told"});
    let state = pick(rng, &["running", "terminated"]);
    let details = if state == "terminated" { json!({"exitCode": 0}) } else { json!({}) };
    let status = match rng.u32(..5) {
        0 => json!({"phase": pick(rng, &["Running", "Succeeded", "Failed"])}),
        1 | 2 => json!({"conditions": [condition]}),
        3 => {
            json!({"containerStatuses": [{"name": "c", "state": {state: details}, "ready": false, "restartCount": 0, "image": "busybox:1", "imageID": ""}]})
        }
        _ => json!({"phase": "Failed", "reason": "Evicted", "message": "told", "conditions": [condition]}),
    };
    given("PATCH", format!("{}/status", pod(rng)), pick(rng, &[STRATEGIC, STRATEGIC, MERGE]), json!({"status": status}))
}

fn put(rng: &mut Rng) -> Step {
    let name = name(rng);
    let change = match rng.u32(..6) {
        0 => json!({"metadata": {"resourceVersion": null, "labels": {"app": "w"}}}),
        1 => json!({"metadata": {"resourceVersion": "$first-version"}}),
        2 => json!({"metadata": {"uid": null, "annotations": {"put": "yes"}}}),
        3 => json!({"metadata": {"name": "other"}}),
        4 => json!({"spec": {"hostname": "changed"}}),
        _ => json!({"metadata": {"labels": {"app": "w"}}}),
    };
    let sub = pick(rng, &["", "", "", "/status"]);
    Step { method: "PUT", path: format!("pods/{name}{sub}"), content: JSON, body: Body::Seen(name.to_owned(), change) }
}

fn delete_options(rng: &mut Rng) -> Value {
    let mut options = Map::new();
    if rng.bool() {
        options.insert("gracePeriodSeconds".to_owned(), pick(rng, &[0, 0, 1, 20, 40, -1]).into());
    }
    let preconditions = match rng.u32(..8) {
        0 => json!({"uid": "$uid"}),
        1 => json!({"uid": "$uid", "resourceVersion": "$version"}),
        2 => json!({"uid": "00000000-0000-4000-8000-000000000000"}),
        3 => json!({"resourceVersion": "$first-version"}),
        _ => return Value::Object(options),
    };
    options.insert("preconditions".to_owned(), preconditions);
    Value::Object(options)
}

fn delete(rng: &mut Rng) -> Step {
    let query = pick(rng, &["", "", "", "", "", "?dryRun=All", "?gracePeriodSeconds=3"]);
    let options = delete_options(rng);
    given("DELETE", format!("{}{query}", pod(rng)), JSON, options)
}

fn collection(rng: &mut Rng) -> Step {
    let selector = pick(rng, &["app%3Dx", "app%3Dy", "app"]);
    let options = json!({"gracePeriodSeconds": pick(rng, &[0, 5])});
    given("DELETE", format!("pods?labelSelector={selector}"), JSON, options)
}

fn bind(rng: &mut Rng) -> Step {
    let name = name(rng);
    let mut body = json!({"metadata": {"name": name}, "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}});
    match rng.u32(..5) {
        0 => body["metadata"]["uid"] = "$uid".into(),
        1 => body["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000".into(),
        _ => {}
    }
    given("POST", format!("pods/{name}/binding"), JSON, body)
}

fn evict(rng: &mut Rng) -> Step {
    let name = name(rng);
    let mut body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    if rng.bool() {
        body["deleteOptions"] = delete_options(rng);
    }
    given("POST", format!("pods/{name}/eviction"), JSON, body)
}
