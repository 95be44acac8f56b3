//! The options of requests: what is heeded, and what is refused instead of being overlooked.

mod common;

use common::{Client, PODS, api_server, at, pod};
use kpo_lab::{Resource, Store};
use serde_json::{Value, json};

fn message(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["message"].as_str().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn options_of_a_deletion_that_have_a_wrong_type_delete_nothing() {
    let (lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    let field = |found: &str, field: &str, of: &str| {
        format!("json: cannot unmarshal {found} into Go struct field {field} of type {of}")
    };
    let table = [
        (json!({ "dryRun": "All" }), field("string", "DeleteOptions.dryRun", "[]string")),
        (json!({ "dryRun": [1] }), field("number", "DeleteOptions.dryRun", "string")),
        (json!({ "preconditions": { "uid": 5 } }), field("number", "Preconditions.preconditions.uid", "types.UID")),
        (json!({ "preconditions": "x" }), field("string", "DeleteOptions.preconditions", "v1.Preconditions")),
        (
            json!({ "preconditions": { "resourceVersion": 7 } }),
            field("number", "Preconditions.preconditions.resourceVersion", "string"),
        ),
        (json!({ "gracePeriodSeconds": "0" }), field("string", "DeleteOptions.gracePeriodSeconds", "int64")),
        (
            json!({ "propagationPolicy": 1 }),
            field("number", "DeleteOptions.propagationPolicy", "v1.DeletionPropagation"),
        ),
        (json!({ "orphanDependents": "no" }), field("string", "DeleteOptions.orphanDependents", "bool")),
        (json!(["x"]), "json: cannot unmarshal array into Go value of type v1.DeleteOptions".to_owned()),
        (json!("x"), "json: cannot unmarshal string into Go value of type v1.DeleteOptions".to_owned()),
    ];
    let before = lab.with(|_, store| store.rv());
    for (options, words) in table {
        for (method, target) in [("DELETE", at("task")), ("DELETE", PODS.to_owned())] {
            let refused = client.call(method, &target, options.clone()).await;
            assert_eq!(message(&refused), (500, words.as_str()), "{method} {target} {options}");
        }
        let eviction = json!({ "metadata": { "name": "task" }, "deleteOptions": options });
        let refused = client.call("POST", &format!("{}/eviction", at("task")), eviction).await;
        assert_eq!(refused.0, 400, "{options}: {}", refused.1);
    }
    let unknown = client.call("DELETE", &at("task"), json!({ "dryRun": ["Some"] })).await;
    let words =
        "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"";
    assert_eq!(message(&unknown), (422, words));
    let query = client.call("DELETE", &format!("{}?gracePeriodSeconds=x", at("task")), Value::Null).await;
    assert_eq!(query.0, 400);
    assert_eq!(lab.with(|_, store| store.rv()), before, "nothing was written");
    assert_eq!(client.call("DELETE", &at("task"), json!({ "preconditions": null, "dryRun": null })).await.0, 200);
}

/// The deletion's instant and grace, as seconds after midnight.
fn deletion(answer: &(u16, Value)) -> (&str, i64) {
    let meta = &answer.1["metadata"];
    (meta["deletionTimestamp"].as_str().unwrap_or_default(), meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(-1))
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_is_shortened_counts_from_when_it_was_first_asked_for() {
    let (lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    lab.with(|now, store| store.bind(now, "default", "task", "node-1").expect("bound"));
    let (client, task) = (&client, &at("task"));
    let delete = |grace: i64| client.call("DELETE", task, json!({ "gracePeriodSeconds": grace }));
    assert_eq!(deletion(&delete(30).await), ("2026-11-24T00:00:30Z", 30));
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert_eq!(deletion(&delete(25).await), ("2026-11-24T00:00:25Z", 25), "not 35 s after midnight");
    assert_eq!(deletion(&delete(28).await), ("2026-11-24T00:00:25Z", 25), "never longer");
    assert_eq!(deletion(&delete(-5).await), ("2026-11-24T00:00:10Z", 1), "one second, and not in the past");
}

async fn refused(client: &Client<Store>, query: &str) -> (u16, String) {
    let answer = client.get(&format!("{PODS}?{query}")).await;
    (answer.0, answer.1["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(start_paused = true)]
async fn options_of_a_list_that_cannot_be_heeded_are_refused() {
    let (_lab, client) = api_server();
    for name in ["a", "b"] {
        client.create(PODS, pod(name)).await;
    }
    let first = client.get(&format!("{PODS}?limit=1")).await.1;
    let token = first["metadata"]["continue"].as_str().expect("more").to_owned();
    let invalid = |why: &str| format!("ListOptions.meta.k8s.io \"\" is invalid: {why}");
    let table = [
        ("limit=x".to_owned(), 400, "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
        ("timeoutSeconds=x".to_owned(), 400, "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
        (
            "resourceVersion=1&resourceVersionMatch=Foo".to_owned(),
            422,
            invalid(
                "resourceVersionMatch: Unsupported value: \"Foo\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
        ),
        (
            "resourceVersionMatch=Exact".to_owned(),
            422,
            invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=0".to_owned(),
            422,
            invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
        ),
        (
            format!("limit=1&resourceVersion=1&resourceVersionMatch=NotOlderThan&continue={token}"),
            422,
            invalid("resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"),
        ),
        (
            "sendInitialEvents=true".to_owned(),
            422,
            invalid("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ),
        (
            format!("limit=1&resourceVersion=1&continue={token}"),
            400,
            "specifying resource version is not allowed when using continue".to_owned(),
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan".to_owned(),
            422,
            invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
        ),
    ];
    for (query, code, words) in table {
        assert_eq!(refused(&client, &query).await, (code, words), "{query}");
    }
    let rest = client.get(&format!("{PODS}?limit=1&resourceVersion=0&continue={token}")).await;
    assert_eq!((rest.0, &rest.1["items"][0]["metadata"]["name"]), (200, &json!("b")));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_created_so_is_refused() {
    let (_lab, client) = api_server();
    let mut versioned = pod("task");
    versioned["metadata"]["resourceVersion"] = "7".into();
    let refused = client.call("POST", PODS, versioned).await;
    assert_eq!(message(&refused), (500, "resourceVersion should not be set on objects to be created"));
    let everywhere = client.call("POST", "/api/v1/pods", pod("task")).await;
    assert_eq!(message(&everywhere), (405, "the server does not allow this method on the requested resource"));
    assert_eq!(client.get(&at("task")).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_status_takes_labels_along_and_neither_spec_nor_owners() {
    let (_lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    let owner = json!([{ "apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y" }]);
    let write = json!({
        "metadata": { "labels": { "app": "x" }, "annotations": { "a": "b" }, "ownerReferences": owner, "finalizers": ["kpo.rs/x"] },
        "spec": { "activeDeadlineSeconds": 5 }, "status": { "phase": "Running" },
    });
    let (code, written) = client.patch(&format!("{}/status", at("task")), "merge-patch+json", write).await;
    assert_eq!((code, &written["status"]["phase"]), (200, &json!("Running")));
    let meta = &written["metadata"];
    assert_eq!(
        (&meta["labels"]["app"], &meta["annotations"]["a"]),
        (&json!("x"), &json!("b")),
        "as the pod's status strategy"
    );
    assert_eq!((meta.get("ownerReferences"), written["spec"].get("activeDeadlineSeconds")), (None, None));
    assert_eq!(meta["finalizers"], json!(["kpo.rs/x"]));
    assert_eq!(written["status"]["qosClass"], "BestEffort");
}

#[tokio::test(start_paused = true)]
async fn an_eviction_looks_at_budgets_only_for_pods_that_run() {
    let (lab, client) = api_server();
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({ "metadata": { "name": "all" }, "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "task" } } } });
    client.create(budgets, budget).await;
    for (phase, terminating, code) in [
        ("Pending", false, 201),
        ("Running", false, 429),
        ("Running", true, 201),
        ("Failed", false, 201),
        ("Succeeded", false, 201),
    ] {
        let name = format!("{phase}-{terminating}").to_lowercase();
        let mut created = pod(&name);
        // Held, so that what was written can be read.
        created["metadata"]["finalizers"] = json!(["kpo.rs/held"]);
        client.create(PODS, created).await;
        lab.with(|now, store| store.bind(now, "default", &name, "node-1").expect("bound"));
        let change = |pod: &mut Value| pod["status"]["phase"] = phase.into();
        let writer = kpo_lab::Writer::status("kubelet");
        lab.with(|now, store| {
            store.update_status(now, Resource::Pods, "default", &name, change, &writer).expect("there")
        });
        if terminating {
            client.call("DELETE", &at(&name), Value::Null).await;
        }
        let eviction = json!({ "metadata": { "name": name } });
        let evicted = client.call("POST", &format!("{}/eviction", at(&name)), eviction).await;
        assert_eq!(evicted.0, code, "{name}: {}", evicted.1);
        let pod = client.get(&at(&name)).await.1;
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let told = conditions.iter().any(|condition| condition["reason"] == "EvictionByEvictionAPI");
        assert_eq!(told, code == 201, "{name}: {conditions:?}");
        if told {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            let eviction = json!({ "metadata": { "name": name } });
            client.call("POST", &format!("{}/eviction", at(&name)), eviction).await;
            assert_eq!(client.get(&at(&name)).await.1, pod, "a second one changes nothing");
        }
    }
}
