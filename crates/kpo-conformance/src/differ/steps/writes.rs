//! Requests that change pods, and delete them.

use super::{
    Body, JSON, JSON_PATCH, MERGE, NODE, OTHER_UID, STRATEGIC, Step, finalizers, given, maybe, name, one, pick, pod,
};
use fastrand::Rng;
use serde_json::{Map, Value, json};

/// A patch of metadata that any kind of merge takes.
fn metadata(rng: &mut Rng) -> Value {
    let mut metadata = Map::new();
    match rng.u32(..8) {
        0 => metadata.insert("labels".to_owned(), json!({"app": pick(rng, &["x", "y", "w"])})),
        1 => metadata.insert("labels".to_owned(), json!({"app": null})),
        2 => metadata.insert("annotations".to_owned(), json!({"note": pick(rng, &["hello", "again"])})),
        3 => metadata.insert("finalizers".to_owned(), Value::Null),
        4 => metadata.insert("finalizers".to_owned(), finalizers(rng)),
        5 => metadata.insert("labels".to_owned(), json!({"app": pick(rng, &["a b", ""])})),
        6 => metadata.insert("finalizers".to_owned(), json!(["short"])),
        _ => metadata.insert("labels".to_owned(), json!({"more": "yes"})),
    };
    match rng.u32(..10) {
        0 => metadata.insert("resourceVersion".to_owned(), "$version".into()),
        1 => metadata.insert("resourceVersion".to_owned(), "$first-version".into()),
        2 => metadata.insert("uid".to_owned(), "$uid".into()),
        3 => metadata.insert("uid".to_owned(), OTHER_UID.into()),
        _ => None,
    };
    Value::Object(metadata)
}

fn dry(rng: &mut Rng) -> &'static str {
    pick(rng, &["", "", "", "", "?dryRun=All"])
}

pub(super) fn merge(rng: &mut Rng) -> Step {
    let body = match rng.u32(..14) {
        0 => json!({"spec": {"activeDeadlineSeconds": one(rng, json!([50, 200, null, -5]))}}),
        1 => json!({"spec": {"schedulingGates": one(rng, json!([null, null, [], [{"name": "kpo.rs/other"}]]))}}),
        2 => json!({"spec": {"nodeName": "other"}}),
        3 => json!({"spec": {"nodeSelector": {"disk": one(rng, json!(["ssd", "hdd", null]))}}}),
        4 => json!({"spec": {"terminationGracePeriodSeconds": one(rng, json!([1, -1]))}}),
        5 => {
            json!({"spec": {"containers": one(rng, json!([[], null, [{"name": "c", "image": "busybox:2"}], [{"name": "d"}]]))}})
        }
        6 => json!({"spec": {"tolerations": one(rng, json!([null, [{"key": "k", "operator": "Exists"}]]))}}),
        7 => json!({"status": {"phase": "Failed"}}),
        8 => one(rng, json!([{"metadata": {"name": "other"}}, []])),
        _ => json!({"metadata": metadata(rng)}),
    };
    given("PATCH", format!("{}{}", pod(rng), dry(rng)), MERGE, body)
}

pub(super) fn strategic(rng: &mut Rng) -> Step {
    let body = match rng.u32(..14) {
        0 => json!({"spec": {"containers": [{"name": "c", "image": one(rng, json!(["busybox:1.36", "", null]))}]}}),
        1 => json!({"spec": {"containers": [{"name": "d", "image": "busybox:1"}]}}),
        2 => json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["kpo.rs/one"]}}),
        3 => json!({"metadata": {"labels": {"$patch": "replace", "app": "x"}}}),
        4 => json!({"metadata": {"annotations": {"$patch": "delete"}}}),
        5 => json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": "kpo.rs/gate"}]}}),
        6 => json!({"spec": {"schedulingGates": [{"$patch": "replace"}]}}),
        7 => json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}}),
        8 => {
            let order = one(rng, json!([["kpo.rs/two", "kpo.rs/one"], ["kpo.rs/one"]]));
            json!({"metadata": {"$setElementOrder/finalizers": order, "finalizers": order}})
        }
        9 => {
            one(rng, json!([{"spec": {"containers": [{"image": "x"}]}}, {"metadata": {"labels": {"$patch": "what"}}}]))
        }
        _ => json!({"metadata": metadata(rng)}),
    };
    given("PATCH", format!("{}{}", pod(rng), dry(rng)), STRATEGIC, body)
}

pub(super) fn json_patch(rng: &mut Rng) -> Step {
    let label = |op: &str, value: &str| json!({"op": op, "path": "/metadata/labels/app", "value": value});
    let operations = match rng.u32(..12) {
        0 => json!([{"op": "add", "path": "/metadata/labels/more", "value": "yes"}]),
        1 => json!([label("test", "x"), label("replace", "w")]),
        2 => json!([{"op": "remove", "path": "/metadata/labels/nothing"}]),
        3 => json!([{"op": "remove", "path": "/spec/schedulingGates"}]),
        4 => json!([{"op": "remove", "path": "/spec/schedulingGates/0"}]),
        5 => {
            let add = json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}});
            json!([{"op": "test", "path": "/metadata/uid", "value": "$uid"}, add])
        }
        6 => json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "kpo.rs/three"}]),
        7 => json!([{"op": "copy", "from": "/metadata/labels/app", "path": "/metadata/labels/more"}]),
        8 => json!([{"op": "move", "from": "/metadata/labels/app", "path": "/metadata/labels/more"}]),
        9 => json!([{"op": "replace", "path": "/metadata/labels/nothing", "value": "x"}]),
        10 => one(
            rng,
            json!([{"op": "add"}, [{"op": "what", "path": "/metadata"}], [{"op": "add", "path": "/metadata/labels/x"}], []]),
        ),
        _ => json!([{"op": "remove", "path": "/metadata/finalizers/0"}]),
    };
    given("PATCH", format!("{}{}", pod(rng), dry(rng)), JSON_PATCH, operations)
}

fn condition(rng: &mut Rng) -> Value {
    let kind = pick(rng, &["DisruptionTarget", "Ready", "PodScheduled"]);
    let mut condition = json!({"type": kind, "status": "True", "reason": "Test", "message": "told"});
    maybe(rng, 2, &mut condition, "lastTransitionTime", |_| "$now".into());
    if kind == "DisruptionTarget" {
        // One without is old to a controller, which then takes it away.
        condition["lastTransitionTime"] = "$now".into();
    }
    condition
}

fn container_status(rng: &mut Rng) -> Value {
    let state = one(
        rng,
        json!([{"running": {}}, {"running": {"startedAt": "$now"}}, {"terminated": {"exitCode": 0}}, {"terminated": {"exitCode": 1, "reason": "Error"}},
            {"waiting": {"reason": "Waits"}}, {}]),
    );
    let mut status =
        json!({"name": "c", "state": state, "ready": false, "restartCount": 0, "image": "busybox:1", "imageID": ""});
    maybe(rng, 3, &mut status, "started", |rng| rng.bool().into());
    status
}

pub(super) fn status(rng: &mut Rng) -> Step {
    let status = match rng.u32(..11) {
        0 => json!({"phase": pick(rng, &["Running", "Succeeded", "Failed"])}),
        1 | 2 => json!({"conditions": [condition(rng)]}),
        3 | 4 => json!({"containerStatuses": [container_status(rng)]}),
        5 => json!({"phase": "Failed", "reason": "Evicted", "message": "told", "conditions": [condition(rng)]}),
        6 => json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "hostIP": "10.0.0.2", "startTime": "$now"}),
        7 => one(rng, json!([{"qosClass": "Guaranteed"}, {"qosClass": null}, null])),
        8 => json!({"initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 0}}}]}),
        9 => json!({"conditions": [{"type": "a b", "status": "True"}]}),
        _ => json!({"observedGeneration": 1, "conditions": null}),
    };
    let content = pick(rng, &[STRATEGIC, STRATEGIC, MERGE]);
    let mut body = json!({"status": status});
    maybe(rng, 6, &mut body, "metadata", metadata);
    maybe(rng, 12, &mut body, "spec", |_| json!({"activeDeadlineSeconds": 5}));
    given("PATCH", format!("{}/status{}", pod(rng), dry(rng)), content, body)
}

pub(super) fn put(rng: &mut Rng) -> Step {
    let name = name(rng);
    let change = match rng.u32(..9) {
        0 => json!({"metadata": {"resourceVersion": null, "labels": {"app": "w"}}}),
        1 => json!({"metadata": {"resourceVersion": "$first-version"}}),
        2 => json!({"metadata": {"uid": null, "annotations": {"put": "yes"}}}),
        3 => json!({"metadata": {"name": "other"}}),
        4 => json!({"spec": {"hostname": "changed"}}),
        5 => json!({"spec": {"schedulingGates": null}}),
        6 => json!({"metadata": {"managedFields": null, "labels": {"more": "yes"}}}),
        7 => json!({"metadata": {"uid": OTHER_UID}}),
        _ => json!({"metadata": {"labels": {"app": "w"}}}),
    };
    let sub = pick(rng, &["", "", "", "/status", "?dryRun=All"]);
    Step { method: "PUT", path: format!("pods/{name}{sub}"), content: JSON, body: Body::Seen(name.to_owned(), change) }
}

fn delete_options(rng: &mut Rng) -> Value {
    let mut options = json!({});
    maybe(rng, 2, &mut options, "gracePeriodSeconds", |rng| pick(rng, &[0, 0, 1, 20, 40, -1]).into());
    maybe(rng, 10, &mut options, "propagationPolicy", |rng| pick(rng, &["Background", "Sometimes"]).into());
    maybe(rng, 10, &mut options, "dryRun", |rng| one(rng, json!([["All"], ["Some"], "All"])));
    maybe(rng, 2, &mut options, "preconditions", |rng| {
        let both = json!({"uid": "$uid", "resourceVersion": "$version"});
        one(
            rng,
            json!([{"uid": "$uid"}, both, {"uid": OTHER_UID}, {"resourceVersion": "$first-version"}, {}, {"uid": 5}]),
        )
    });
    options
}

pub(super) fn delete(rng: &mut Rng) -> Step {
    let query = pick(rng, &["", "", "", "", "?dryRun=All", "?gracePeriodSeconds=3", "?gracePeriodSeconds=x"]);
    let path = format!("{}{query}", pod(rng));
    if rng.u32(..4) == 0 {
        return Step { method: "DELETE", path, content: JSON, body: Body::None };
    }
    let options = delete_options(rng);
    given("DELETE", path, JSON, options)
}

pub(super) fn collection(rng: &mut Rng) -> Step {
    let selectors = [
        "labelSelector=app%3Dx",
        "labelSelector=app%3Dy",
        "labelSelector=app",
        "fieldSelector=metadata.name%3Da",
        "labelSelector=a%20b",
    ];
    let selector = pick(rng, &selectors);
    let mut options = json!({"gracePeriodSeconds": pick(rng, &[0, 5])});
    maybe(rng, 6, &mut options, "dryRun", |_| json!(["All"]));
    given("DELETE", format!("pods?{selector}"), JSON, options)
}

pub(super) fn bind(rng: &mut Rng) -> Step {
    let name = name(rng);
    let mut body = json!({"metadata": {"name": name}, "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}});
    match rng.u32(..9) {
        0 => body["metadata"]["uid"] = "$uid".into(),
        1 => body["metadata"]["uid"] = OTHER_UID.into(),
        2 => body["metadata"]["name"] = "other".into(),
        3 => body["target"] = json!({}),
        4 => body["target"]["kind"] = "Pod".into(),
        _ => {}
    }
    given("POST", format!("pods/{name}/binding{}", dry(rng)), JSON, body)
}

pub(super) fn evict(rng: &mut Rng) -> Step {
    let name = name(rng);
    let mut body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    maybe(rng, 2, &mut body, "deleteOptions", delete_options);
    maybe(rng, 10, &mut body, "metadata", |_| json!({"name": "other"}));
    given("POST", format!("pods/{name}/eviction{}", dry(rng)), JSON, body)
}
