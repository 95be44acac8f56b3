//! Answers that a real API server (v1.34.4) gives and the lab once gave otherwise: each was found by `cargo xtask differ`.

mod common;

use common::{Client, PODS, api_server, at, pod};
use kpo_lab::{Resource, Store};
use serde_json::{Value, json};

const JSON: &str = "json";
const MERGE: &str = "merge-patch+json";
const STRATEGIC: &str = "strategic-merge-patch+json";
const JSON_PATCH: &str = "json-patch+json";

fn message(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["message"].as_str().unwrap_or_default())
}

fn fields(answer: &(u16, Value)) -> Vec<&str> {
    let causes = answer.1["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    causes.iter().map(|cause| cause["field"].as_str().unwrap_or_default()).collect()
}

/// The pod `task`, with this merged into it.
async fn with(client: &Client<Store>, change: Value) {
    client.create(PODS, pod("task")).await;
    let (code, answer) = client.patch(&at("task"), MERGE, change).await;
    assert_eq!(code, 200, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn all_faults_of_an_object_are_told_together() {
    let (_lab, client) = api_server();
    let mut faulty = pod("task");
    faulty["metadata"]["finalizers"] = json!(["short"]);
    faulty["spec"]["nodeName"] = "node-1".into();
    faulty["spec"]["schedulingGates"] = json!([{ "name": "kpo.rs/gate" }]);
    faulty["spec"]["activeDeadlineSeconds"] = 0.into();
    faulty["spec"]["dnsPolicy"] = "None".into();
    let refused = client.call("POST", PODS, faulty).await;
    let expected = ["metadata.finalizers[0]", "spec.dnsConfig", "spec.activeDeadlineSeconds", "spec.nodeName"];
    assert_eq!((refused.0, fields(&refused)), (422, expected.to_vec()), "{}", refused.1);

    client.create(PODS, pod("task")).await;
    let patch = json!({ "metadata": { "labels": { "app": "a b" }, "uid": "other" } });
    let refused = client.patch(&at("task"), MERGE, patch).await;
    let (told, labels) = (message(&refused).1, fields(&refused).iter().filter(|f| **f == "metadata.labels").count());
    assert_eq!((told.matches("metadata.labels: ").count(), labels), (1, 4), "by four checks: {}", refused.1);
    assert!(told.contains("metadata.uid: Invalid value: \"other\": field is immutable"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn options_of_a_list_are_refused_with_causes() {
    let (_lab, client) = api_server();
    let refused = client.get(&format!("{PODS}?resourceVersionMatch=Sometimes&continue=abc")).await;
    assert_eq!(fields(&refused), ["resourceVersionMatch"; 3], "{}", refused.1);
    let details = json!([refused.1["details"]["group"], refused.1["details"]["kind"]]);
    assert_eq!(details, json!(["meta.k8s.io", "ListOptions"]));
}

#[tokio::test(start_paused = true)]
async fn what_is_malformed_is_refused_in_upstreams_words() {
    let (_lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    let (task, binding, eviction) = (at("task"), format!("{}/binding", at("task")), format!("{}/eviction", at("task")));
    let version = "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax";
    let target = |kind: &str| json!({ "metadata": { "name": "task" }, "target": { "kind": kind, "name": "node-1" } });
    let evict = |options: Value| json!({ "metadata": { "name": "task" }, "deleteOptions": options });
    let no_object = "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}";
    let table = [
        ("GET", format!("{PODS}?resourceVersion=abc"), JSON, Value::Null, 400, format!("invalid resource version: {version}")),
        ("GET", format!("{task}?resourceVersion=abc"), JSON, Value::Null, 500, version.to_owned()),
        ("GET", format!("{PODS}?watch=true&resourceVersion=abc"), JSON, Value::Null, 500, version.to_owned()),
        ("GET", format!("{PODS}?limit=1&continue=abc"), JSON, Value::Null, 400,
            "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value".to_owned()),
        ("POST", binding.clone(), JSON, target("Pod"), 500,
            "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"".to_owned()),
        ("POST", binding.clone(), JSON, json!({ "metadata": { "name": "task" } }), 500, "target.name: Required value".to_owned()),
        ("POST", binding, JSON, json!({ "metadata": { "name": "other" } }), 400,
            "name in URL does not match name in Binding object".to_owned()),
        ("POST", eviction.clone(), JSON, evict(json!({ "dryRun": "All" })), 400,
            "Eviction in version \"v1\" cannot be handled as a Eviction: json: cannot unmarshal string into Go struct field \
             DeleteOptions.deleteOptions.dryRun of type []string".to_owned()),
        ("POST", format!("{eviction}?dryRun=All"), JSON, evict(json!({ "dryRun": ["Some"] })), 500,
            "Non-matching dry-run options in request and content: [All] and [Some]".to_owned()),
        ("DELETE", at("none"), JSON, json!({ "propagationPolicy": "Sometimes" }), 422,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Sometimes\": supported values: \
             \"Foreground\", \"Background\", \"Orphan\", \"nil\"".to_owned()),
        ("PATCH", task.clone(), MERGE, json!([]), 400, no_object.to_owned()),
        ("PATCH", task.clone(), JSON_PATCH, json!({}), 400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp".to_owned()),
        ("PATCH", task.clone(), STRATEGIC, json!({ "metadata": { "labels": { "$patch": "what" } } }), 500,
            "unknown patch type: what in map: map[$patch:what]".to_owned()),
        ("PATCH", task, STRATEGIC, json!({ "spec": { "containers": [{ "image": "x" }] } }), 500,
            "map: map[image:x] does not contain declared merge key: name".to_owned()),
    ];
    for (method, target, kind, body, code, words) in table {
        let refused = client.call_as(method, &target, &format!("application/{kind}"), body).await;
        assert_eq!(message(&refused), (code, words.as_str()), "{method} {target}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_is_answered_as_the_write_would_be() {
    let (lab, client) = api_server();
    let created = client.create(PODS, pod("task")).await;
    let before = lab.with(|_, store| store.rv());
    let gone = client.call("DELETE", &format!("{}?dryRun=All", at("task")), Value::Null).await.1;
    let meta = &gone["metadata"];
    assert_eq!(json!([meta["generation"], meta["deletionGracePeriodSeconds"]]), json!([2, 0]), "{gone}");
    assert!(meta["deletionTimestamp"].is_string());
    assert_eq!(meta["resourceVersion"], created["metadata"]["resourceVersion"]);
    let patch = json!({ "metadata": { "labels": { "more": "yes" } } });
    let patched = client.patch(&format!("{}?dryRun=All", at("task")), MERGE, patch).await.1;
    let owned = &patched["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:labels"];
    assert_eq!(owned["f:more"], json!({}), "{patched}");
    let mut versioned = pod("other");
    versioned["metadata"]["resourceVersion"] = "5".into();
    let tried = client.call("POST", &format!("{PODS}?dryRun=All"), versioned.clone()).await;
    assert_eq!((tried.0, &tried.1["metadata"]["resourceVersion"]), (201, &json!("5")));
    let refused = client.call("POST", PODS, versioned).await;
    assert_eq!(message(&refused), (500, "resourceVersion should not be set on objects to be created"));
    let wrong = json!({ "metadata": { "name": "task", "uid": "other" }, "target": { "name": "node-1" } });
    let refused = client.call("POST", &format!("{}/binding?dryRun=All", at("task")), wrong).await;
    assert!(message(&refused).1.contains("Key: /pods/default/task,"), "{}", refused.1);
    assert_eq!(lab.with(|_, store| store.rv()), before, "nothing was written");
}

#[tokio::test(start_paused = true)]
async fn options_in_the_body_of_a_deletion_are_all_that_count() {
    let (lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    assert_eq!(client.call("DELETE", &format!("{}?dryRun=All", at("task")), json!({})).await.0, 200);
    assert!(lab.with(|_, store| store.get(Resource::Pods, "default", "task")).is_none(), "the query is not read");
}

#[tokio::test(start_paused = true)]
async fn removing_the_last_finalizer_is_answered_with_what_would_have_been() {
    let (_lab, client) = api_server();
    with(&client, json!({ "metadata": { "finalizers": ["kpo.rs/one"] } })).await;
    client.call("DELETE", &at("task"), json!({})).await;
    let again = client.call("POST", PODS, pod("task")).await;
    assert_eq!(message(&again), (409, "object is being deleted: pods \"task\" already exists"));
    let bound = json!({ "metadata": { "name": "task" }, "target": { "name": "node-1" } });
    let refused = client.call("POST", &format!("{}/binding", at("task")), bound).await;
    assert_eq!(refused.1["details"]["kind"], "pods/binding", "{}", refused.1);
    let marked = client.get(&at("task")).await.1["metadata"]["resourceVersion"].clone();
    let version = marked.as_str().expect("a version");
    let mut events = client.watch(&format!("{PODS}?watch=true&resourceVersion={version}")).await;
    let freed = json!({ "metadata": { "finalizers": null, "labels": { "more": "yes" } } });
    let (code, answer) = client.patch(&at("task"), MERGE, freed).await;
    assert_eq!((code, &answer["metadata"]["labels"]["more"]), (200, &json!("yes")));
    assert_eq!(answer["metadata"]["resourceVersion"], marked, "no version of its own");
    let (kind, last) = events.next().await.expect("unbroken").expect("an event");
    assert_eq!(
        (kind.as_str(), &last["metadata"]["finalizers"]),
        ("DELETED", &json!(["kpo.rs/one"])),
        "as it was stored"
    );
}

#[tokio::test(start_paused = true)]
async fn an_eviction_whose_options_are_refused_has_left_its_condition() {
    let (_lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    let eviction = json!({ "metadata": { "name": "task" }, "deleteOptions": { "propagationPolicy": "Sometimes" } });
    assert_eq!(client.call("POST", &format!("{}/eviction", at("task")), eviction).await.0, 422);
    let pod = client.get(&at("task")).await.1;
    assert_eq!(pod["status"]["conditions"][0]["reason"], "EvictionByEvictionAPI", "{pod}");
    // One that is only tried is refused for its options first, whatever its preconditions say.
    let options = json!({ "dryRun": ["Some"], "preconditions": { "uid": "other" } });
    let tried = json!({ "metadata": { "name": "task" }, "deleteOptions": options });
    assert_eq!(client.call("POST", &format!("{}/eviction", at("task")), tried).await.0, 422);
}

#[tokio::test(start_paused = true)]
async fn a_status_brings_no_ended_container_back() {
    let (_lab, client) = api_server();
    let mut never = pod("task");
    never["spec"]["restartPolicy"] = "Never".into();
    client.create(PODS, never).await;
    let of_state = |state: Value| json!({ "status": { "containerStatuses": [{ "name": "base", "state": state }] } });
    let status = format!("{}/status", at("task"));
    let (code, ended) = client.patch(&status, MERGE, of_state(json!({ "terminated": { "exitCode": 1 } }))).await;
    assert_eq!(
        (code, &ended["status"]["containerStatuses"][0]["lastState"]),
        (200, &json!({})),
        "as the type prints it"
    );
    let refused = client.patch(&status, MERGE, of_state(json!({ "running": {} }))).await;
    assert_eq!(fields(&refused), ["status.containerStatuses[0].state"], "{}", refused.1);
    let refused = client.patch(&status, MERGE, json!({ "status": { "qosClass": "Guaranteed" } })).await;
    assert_eq!(fields(&refused), ["status.qosClass"], "{}", refused.1);
}

#[tokio::test(start_paused = true)]
async fn admission_sees_updates_too() {
    let (_lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    let patch = json!({ "spec": { "tolerations": [{ "key": "k", "operator": "Exists" }] } });
    let (code, patched) = client.patch(&at("task"), MERGE, patch).await;
    let kept = patched["spec"]["tolerations"].as_array().map_or(0, Vec::len);
    assert_eq!((code, kept), (200, 3), "the default ones have come again: {patched}");
    let mut greedy = pod("other");
    greedy["spec"]["preemptionPolicy"] = "Never".into();
    let refused = client.call("POST", PODS, greedy).await;
    assert!(
        refused.0 == 403 && message(&refused).1.contains("the string value of PreemptionPolicy (Never)"),
        "{}",
        refused.1
    );
}

#[tokio::test(start_paused = true)]
async fn managed_fields_that_are_sent_replace_the_stored_ones() {
    let (_lab, client) = api_server();
    let created = client.create(PODS, pod("task")).await;
    let mut put = created.clone();
    put["metadata"]["managedFields"][0]["manager"] = "another".into();
    let (_, taken) = client.call("PUT", &at("task"), put).await;
    let managers = |pod: &Value| -> Vec<String> {
        let entries = pod["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["manager"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(managers(&taken), ["another"]);
    let (_, reset) = client.patch(&at("task"), MERGE, json!({ "metadata": { "managedFields": [{}] } })).await;
    assert_eq!(managers(&reset), [""; 0], "{reset}");
}
