//! Pods that are created, right and wrong.

use super::{JSON, NODE, Step, finalizers, given, maybe, name, one, pick};
use fastrand::Rng;
use serde_json::{Value, json};

/// (Without owners: the garbage collector takes away what has one that there is not.)
pub(super) fn create(rng: &mut Rng) -> Step {
    let mut metadata = json!({"name": name(rng), "labels": {"app": pick(rng, &["x", "y"])}});
    maybe(rng, 3, &mut metadata, "finalizers", finalizers);
    maybe(rng, 4, &mut metadata, "annotations", |_| json!({"note": "hello"}));
    let mut spec = spec(rng);
    maybe(rng, 2, &mut spec, "schedulingGates", |_| json!([{"name": "kpo.rs/gate"}]));
    maybe(rng, 3, &mut spec, "nodeName", |_| NODE.into());
    if rng.u32(..3) == 0 {
        let wrong = pick(rng, &[wrong_metadata, wrong_spec, wrong_spec, wrong_container, wrong_type, odd]);
        wrong(rng, &mut metadata, &mut spec);
    }
    let query = pick(rng, &["", "", "", "", "?dryRun=All"]);
    given("POST", format!("pods{query}"), JSON, json!({"metadata": metadata, "spec": spec}))
}

fn spec(rng: &mut Rng) -> Value {
    let mut spec =
        json!({"schedulerName": "nobody", "automountServiceAccountToken": false, "containers": [container(rng)]});
    maybe(rng, 3, &mut spec, "terminationGracePeriodSeconds", |rng| pick(rng, &[0, 5, 60, -1]).into());
    maybe(rng, 2, &mut spec, "restartPolicy", |rng| pick(rng, &["Never", "OnFailure"]).into());
    maybe(rng, 5, &mut spec, "activeDeadlineSeconds", |rng| pick(rng, &[100, 100, 0]).into());
    maybe(rng, 5, &mut spec, "initContainers", |rng| {
        let sidecar = json!({"name": "i", "image": "busybox:1", "restartPolicy": "Always"});
        one(rng, json!([[{"name": "i", "image": "busybox:1"}], [sidecar]]))
    });
    maybe(rng, 5, &mut spec, "volumes", volumes);
    if rng.bool() {
        let (field, value) = pick(rng, &FIELDS);
        spec[field] = value(rng);
    }
    spec
}

type Field = (&'static str, fn(&mut Rng) -> Value);

/// What else a spec may have.
const FIELDS: [Field; 12] = [
    ("tolerations", |rng| {
        let one_key = json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]);
        one(
            rng,
            json!([one_key, [{"key": "k", "value": "v", "effect": "NoExecute", "tolerationSeconds": 5}], [{"operator": "Exists"}]]),
        )
    }),
    ("nodeSelector", |rng| one(rng, json!([{"disk": "ssd"}, {}]))),
    ("affinity", |_| {
        let term = json!({"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]});
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}})
    }),
    ("securityContext", |rng| one(rng, json!([{"runAsUser": 0}, {"runAsNonRoot": true, "fsGroup": 1000}, {}, null]))),
    ("priorityClassName", |rng| one(rng, json!(["system-node-critical", "none", ""]))),
    ("serviceAccountName", |rng| one(rng, json!(["default", "nobody"]))),
    ("hostNetwork", |rng| rng.bool().into()),
    ("dnsPolicy", |rng| one(rng, json!(["Default", "None", "Sometimes"]))),
    ("hostname", |rng| one(rng, json!(["h", "", "H_"]))),
    ("enableServiceLinks", |rng| rng.bool().into()),
    ("preemptionPolicy", |rng| one(rng, json!(["Never", "PreemptLowerPriority"]))),
    ("shareProcessNamespace", |rng| rng.bool().into()),
];

fn volumes(rng: &mut Rng) -> Value {
    let volume = one(
        rng,
        json!([
            {"name": "v", "emptyDir": {}},
            {"name": "v"},
            {"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1024Mi"}},
            {"name": "v", "configMap": {"name": "c"}},
            {"name": "v", "secret": {"secretName": "s", "optional": true}},
            {"name": "v", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {"name": "v", "projected": {"sources": [{"configMap": {"name": "c"}}]}},
        ]),
    );
    json!([volume])
}

fn container(rng: &mut Rng) -> Value {
    let mut container =
        json!({"name": "c", "image": pick(rng, &["busybox:1", "busybox:1", "busybox:latest", "busybox"])});
    maybe(rng, 3, &mut container, "resources", |rng| {
        one(
            rng,
            json!([
                {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}},
                {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
                {"limits": {"cpu": 1, "memory": "1e3"}},
                {"limits": {"cpu": "1500m", "ephemeral-storage": "1Gi"}, "requests": {"cpu": "1.5"}},
                {"requests": {"memory": "0.5Gi"}, "limits": {}},
                {},
            ]),
        )
    });
    maybe(rng, 4, &mut container, "env", |rng| {
        let of_field = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
        one(rng, json!([[{"name": "A", "value": "b"}], [{"name": "A", "value": ""}, {"name": "B"}], of_field, []]))
    });
    if rng.u32(..3) == 0 {
        let (field, value) = pick(rng, &CONTAINER_FIELDS);
        container[field] = value(rng);
    }
    container
}

/// What else a container may have.
const CONTAINER_FIELDS: [Field; 11] = [
    ("imagePullPolicy", |_| "Always".into()),
    ("terminationMessagePolicy", |_| "FallbackToLogsOnError".into()),
    ("terminationMessagePath", |_| "/dev/other".into()),
    ("command", |rng| one(rng, json!([["sh", "-c", "true"], []]))),
    ("args", |_| json!(["x", ""])),
    ("workingDir", |rng| one(rng, json!(["/tmp", ""]))),
    ("ports", |rng| one(rng, json!([[{"containerPort": 80}], [{"containerPort": 80, "name": "web", "hostPort": 0}]]))),
    ("securityContext", |rng| one(rng, json!([{"runAsUser": 1000, "privileged": false}, {}]))),
    ("stdin", |rng| rng.bool().into()),
    ("envFrom", |_| json!([{"configMapRef": {"name": "c"}}])),
    ("readinessProbe", |rng| {
        let get = json!({"httpGet": {"port": 80}, "initialDelaySeconds": 0});
        one(rng, json!([get, {"exec": {"command": ["true"]}, "periodSeconds": 5}]))
    }),
];

fn wrong_metadata(rng: &mut Rng, metadata: &mut Value, _: &mut Value) {
    match rng.u32(..9) {
        0 => metadata["name"] = "A_b".into(),
        1 => metadata["labels"]["app"] = "a b".into(),
        2 => metadata["labels"] = json!({"-a": "x"}),
        3 => metadata["finalizers"] = json!(["short"]),
        4 => metadata["finalizers"] = json!(["a/b/c", "kpo.rs/one"]),
        5 => metadata["namespace"] = "elsewhere".into(),
        6 => metadata["annotations"] = json!({"a b": "c"}),
        7 => metadata["name"] = "n".repeat(254).into(),
        _ => metadata["resourceVersion"] = "5".into(),
    }
}

fn wrong_spec(rng: &mut Rng, _: &mut Value, spec: &mut Value) {
    match rng.u32(..10) {
        0 => spec["containers"] = json!([]),
        1 => spec["containers"] = json!([{"name": "c", "image": "x"}, {"name": "c", "image": "y"}]),
        2 => spec["restartPolicy"] = "Sometimes".into(),
        3 => spec["terminationGracePeriodSeconds"] = (-1).into(),
        4 => spec["schedulingGates"] = json!([{"name": "a b"}, {"name": "kpo.rs/gate"}, {"name": "kpo.rs/gate"}]),
        5 => spec["tolerations"] = json!([{"key": "k", "operator": "Sometimes"}, {"value": "v"}]),
        6 => spec["nodeSelector"] = json!({"disk": "a b"}),
        7 => spec["volumes"] = json!([{"name": "v"}, {"name": "v"}, {"name": "V"}]),
        8 => spec["nodeName"] = "A_b".into(),
        _ => spec["initContainers"] = json!([{"name": "c"}]),
    }
}

fn wrong_container(rng: &mut Rng, _: &mut Value, spec: &mut Value) {
    let container = &mut spec["containers"][0];
    match rng.u32(..8) {
        0 => container["name"] = "C".into(),
        1 => {
            container["volumeMounts"] =
                json!([{"name": "nowhere", "mountPath": "/x"}, {"name": "nowhere", "mountPath": "/x"}])
        }
        2 => container["resources"] = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        3 => container["image"] = Value::Null,
        4 => container["env"] = json!([{"value": "x"}]),
        5 => container["imagePullPolicy"] = "Sometimes".into(),
        6 => container["resources"] = json!({"requests": {"cpu": "much"}}),
        _ => container["terminationMessagePolicy"] = "Nowhere".into(),
    }
}

/// What decoding refuses.
fn wrong_type(rng: &mut Rng, metadata: &mut Value, spec: &mut Value) {
    match rng.u32(..7) {
        0 => spec["containers"] = "c".into(),
        1 => spec["containers"] = json!(["c"]),
        2 => metadata["labels"] = json!({"app": 1}),
        3 => metadata["finalizers"] = "kpo.rs/one".into(),
        4 => spec["activeDeadlineSeconds"] = "9".into(),
        5 => spec["containers"][0]["command"] = "sh".into(),
        _ => spec["hostNetwork"] = "yes".into(),
    }
}

/// What is written otherwise than it is kept.
fn odd(rng: &mut Rng, metadata: &mut Value, spec: &mut Value) {
    match rng.u32(..6) {
        0 => metadata["labels"] = json!({}),
        1 => metadata["labels"]["none"] = Value::Null,
        2 => metadata["finalizers"] = json!([]),
        3 => metadata["generation"] = 7.into(),
        4 => metadata["uid"] = super::OTHER_UID.into(),
        _ => spec["nodeName"] = "".into(),
    }
}
