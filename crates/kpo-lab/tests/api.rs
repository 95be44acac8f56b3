//! The API server in-process, under a paused clock: exact answers and the silence after them.

mod common;

use common::{Client, PODS, api_server, at, pod};
use kpo_lab::api::{Injection, Rule, User};
use kpo_lab::{DeleteOptions, Resource};
use serde_json::{Value, json};

fn message(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["message"].as_str().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn create_answers_what_a_real_cluster_recorded() {
    let (_lab, client) = api_server();
    let created = client.create(PODS, pod("task")).await;
    let expected = json!({
        "containers": [{ "command": ["sh", "-c", "echo hello"], "image": "busybox", "imagePullPolicy": "IfNotPresent", "name": "base",
            "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File" }],
        "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority", "priority": 0,
        "restartPolicy": "Never", "schedulerName": "default-scheduler", "securityContext": {}, "serviceAccount": "default",
        "serviceAccountName": "default", "terminationGracePeriodSeconds": 5,
        "tolerations": [
            { "effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300 },
            { "effect": "NoExecute", "key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300 }],
    });
    assert_eq!(created["spec"], expected);
    assert_eq!(created["status"], json!({ "phase": "Pending", "qosClass": "BestEffort" }));
    assert_eq!(created["metadata"]["generation"], 1);
    // `succeeded.jsonl`, first line.
    let fields = json!({
        "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
        "f:spec": {
            "f:containers": { "k:{\"name\":\"base\"}": { ".": {}, "f:command": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {},
                "f:resources": {}, "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {} } },
            "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
            "f:terminationGracePeriodSeconds": {},
        },
    });
    let entries = created["metadata"]["managedFields"].as_array().expect("entries");
    assert_eq!(entries.len(), 1);
    assert_eq!((&entries[0]["manager"], &entries[0]["fieldsV1"]), (&json!("test"), &fields));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_worded_as_upstream() {
    let (_lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    let again = client.call("POST", PODS, pod("task")).await;
    assert_eq!(message(&again), (409, "pods \"task\" already exists"));
    assert_eq!(again.1["details"], json!({ "name": "task", "kind": "pods" }));
    let missing = client.get(&at("x")).await;
    assert_eq!(message(&missing), (404, "pods \"x\" not found"));
    let elsewhere = client.call("POST", "/api/v1/namespaces/nowhere/pods", pod("a")).await;
    assert_eq!(message(&elsewhere), (404, "namespaces \"nowhere\" not found"));
    let unserved = client.get("/apis/apps/v1/deployments").await;
    assert_eq!(message(&unserved), (404, "the server could not find the requested resource"));
    let mut classy = pod("a");
    classy["spec"]["priorityClassName"] = "urgent".into();
    let refused = client.call("POST", PODS, classy).await;
    assert_eq!(message(&refused), (403, "pods \"a\" is forbidden: no PriorityClass with name urgent was found"));
    let other = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "a" } });
    assert_eq!(client.call("POST", PODS, other).await.0, 400);
    let mut stranger = pod("a");
    stranger["metadata"]["namespace"] = "other".into();
    let refused = client.call("POST", PODS, stranger).await;
    let expected = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!(message(&refused), (400, expected));
}

#[tokio::test(start_paused = true)]
async fn a_watch_by_name_sees_the_whole_life_from_its_create() {
    let (_lab, client) = api_server();
    let created = client.create(PODS, pod("task")).await;
    let rv = created["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut events =
        client.watch(&format!("{PODS}?watch=1&fieldSelector=metadata.name%3Dtask&resourceVersion={rv}")).await;
    client.create(PODS, pod("other")).await;
    let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "task" }, "target": { "kind": "Node", "name": "node-1" } });
    let bound = client.call("POST", &format!("{}/binding", at("task")), binding).await;
    assert_eq!((bound.0, &bound.1["status"]), (201, &json!("Success")));
    let deleted = client.call("DELETE", &at("task"), Value::Null).await;
    assert_eq!((deleted.0, &deleted.1["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(5)));
    assert_eq!(deleted.1["metadata"]["deletionTimestamp"], "2026-11-24T00:00:05Z");
    let forced = client.call("DELETE", &at("task"), json!({ "gracePeriodSeconds": 0 })).await;
    assert_eq!(forced.0, 200);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (kind, object) = events.next().await.expect("unbroken").expect("more");
        seen.push((
            kind,
            object["metadata"]["deletionGracePeriodSeconds"].as_i64(),
            object["spec"]["nodeName"].clone(),
        ));
    }
    let node = json!("node-1");
    let expected = [("MODIFIED", None), ("MODIFIED", Some(5)), ("MODIFIED", Some(0)), ("DELETED", Some(0))];
    assert_eq!(seen, expected.map(|(kind, grace)| (kind.to_owned(), grace, node.clone())));
    assert!(events.is_silent(250).await);
}

#[tokio::test(start_paused = true)]
async fn a_label_selected_watch_adds_and_deletes_by_the_label() {
    let (_lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    let mut events = client.watch(&format!("{PODS}?watch=true&labelSelector=app%3Dtask")).await;
    assert_eq!(events.brief().await, "ADDED task");
    let (code, _) =
        client.patch(&at("task"), "merge-patch+json", json!({ "metadata": { "labels": { "app": null } } })).await;
    assert_eq!(code, 200);
    let (kind, object) = events.next().await.expect("unbroken").expect("more");
    assert_eq!((kind.as_str(), &object["metadata"]["labels"]["app"]), ("DELETED", &json!("task")));
    assert!(object["metadata"].get("deletionTimestamp").is_none(), "only the label is gone");
    client
        .patch(&at("task"), "strategic-merge-patch+json", json!({ "metadata": { "labels": { "app": "task" } } }))
        .await;
    assert_eq!(events.brief().await, "ADDED task");
}

#[tokio::test(start_paused = true)]
async fn initial_events_bookmarks_and_the_end() {
    let (_lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    let query =
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=90";
    let mut events = client.watch(&format!("{PODS}?{query}")).await;
    let begin = tokio::time::Instant::now();
    assert_eq!(events.brief().await, "ADDED task");
    let (kind, object) = events.next().await.expect("unbroken").expect("more");
    assert_eq!(
        (kind.as_str(), &object["metadata"]["annotations"]),
        ("BOOKMARK", &json!({ "k8s.io/initial-events-end": "true" }))
    );
    let mut at = Vec::new();
    while let Some((kind, _)) = events.next().await.expect("unbroken") {
        at.push((kind, begin.elapsed().as_secs()));
    }
    assert_eq!(at, [("BOOKMARK".to_owned(), 60), ("BOOKMARK".to_owned(), 88)]);
    assert_eq!(begin.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn what_was_compacted_is_gone_as_status_and_as_event() {
    let (lab, client) = api_server();
    client.create(PODS, pod("a")).await;
    client.create(PODS, pod("b")).await;
    let (_, page) = client.get(&format!("{PODS}?limit=1")).await;
    let token = page["metadata"]["continue"].as_str().expect("a token").to_owned();
    assert_eq!(page["metadata"]["remainingItemCount"], 1);
    let rv = page["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    client.create(PODS, pod("aa")).await;
    let (_, rest) = client.get(&format!("{PODS}?limit=1&continue={token}")).await;
    let names: Vec<&str> =
        rest["items"].as_array().expect("items").iter().filter_map(|i| i["metadata"]["name"].as_str()).collect();
    assert_eq!(
        (names, rest["metadata"]["resourceVersion"].as_str()),
        (vec!["b"], Some(rv.as_str())),
        "the snapshot of the first page"
    );
    lab.compact();
    let (code, status) = client.get(&format!("{PODS}?limit=1&continue={token}")).await;
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
    let mut events = client.watch(&format!("{PODS}?watch=1&resourceVersion={rv}")).await;
    let (kind, object) = events.next().await.expect("unbroken").expect("more");
    assert_eq!((kind.as_str(), &object["code"], &object["reason"]), ("ERROR", &json!(410), &json!("Expired")));
    assert!(object["message"].as_str().expect("a message").starts_with("too old resource version: "));
    assert_eq!(events.next().await.expect("unbroken"), None);
    let (code, status) = client.get(&format!("{PODS}?resourceVersion=99999")).await;
    assert_eq!((code, &status["details"]["retryAfterSeconds"]), (504, &json!(1)));
    assert!(status["message"].as_str().expect("a message").starts_with("Too large resource version: 99999"));
}

#[tokio::test(start_paused = true)]
async fn updates_conflict_and_preconditions_hold() {
    let (_lab, client) = api_server();
    let created = client.create(PODS, pod("task")).await;
    let patched = client
        .patch(&at("task"), "merge-patch+json", json!({ "metadata": { "annotations": { "kpo.rs/observer": "1" } } }))
        .await;
    assert_eq!((patched.0, &patched.1["metadata"]["generation"]), (200, &json!(1)));
    let stale = client.call("PUT", &at("task"), created.clone()).await;
    let text = "Operation cannot be fulfilled on pods \"task\": the object has been modified; please apply your changes to the latest version and try again";
    assert_eq!(message(&stale), (409, text));
    let (code, status) =
        client.patch(&at("task"), "strategic-merge-patch+json", json!({ "metadata": { "uid": "nope" } })).await;
    let text = "Pod \"task\" is invalid: metadata.uid: Invalid value: \"nope\": field is immutable";
    assert_eq!((code, status["message"].as_str()), (422, Some(text)), "as v1.34 says it of a patch; a PUT conflicts");
    let body = json!({ "preconditions": { "uid": created["metadata"]["uid"], "resourceVersion": created["metadata"]["resourceVersion"] } });
    let refused = client.call("DELETE", &at("task"), body).await;
    assert_eq!((refused.0, &refused.1["reason"]), (409, &json!("Conflict")));
    let lifted = client
        .patch(
            &at("task"),
            "json-patch+json",
            json!([{ "op": "replace", "path": "/spec/containers/0/command", "value": ["x"] }]),
        )
        .await;
    assert_eq!((lifted.0, &lifted.1["reason"]), (422, &json!("Invalid")));
    let dry = client.call("DELETE", &format!("{}?dryRun=All", at("task")), Value::Null).await;
    assert_eq!(dry.0, 200);
    let dry = client.call("POST", &format!("{PODS}?dryRun=All"), pod("other")).await;
    assert_eq!((dry.0, client.get(&at("other")).await.0, client.get(&at("task")).await.0), (201, 404, 200));
}

#[tokio::test(start_paused = true)]
async fn a_gate_is_lifted_and_a_status_written_alone() {
    let (lab, client) = api_server();
    let mut gated = pod("task");
    gated["spec"]["schedulingGates"] = json!([{ "name": "kpo.rs/backoff" }]);
    client.create(PODS, gated).await;
    let refused = lab.with(|now, store| store.bind(now, "default", "task", "node-1").expect_err("gated"));
    assert_eq!(refused.code, 409);
    let (code, lifted) = client
        .patch(&at("task"), "json-patch+json", json!([{ "op": "remove", "path": "/spec/schedulingGates" }]))
        .await;
    assert_eq!((code, &lifted["metadata"]["generation"]), (200, &json!(2)));
    let write = json!({ "metadata": { "labels": { "app": "x" } }, "status": { "phase": "Running" } });
    let (code, written) = client.patch(&format!("{}/status", at("task")), "merge-patch+json", write).await;
    assert_eq!(
        (code, &written["status"]["phase"], &written["metadata"]["labels"]["app"]),
        (200, &json!("Running"), &json!("x"))
    );
    let (_, kept) = client.patch(&at("task"), "merge-patch+json", json!({ "status": { "phase": "Failed" } })).await;
    assert_eq!(kept["status"]["phase"], "Running");
}

#[tokio::test(start_paused = true)]
async fn eviction_writes_the_condition_and_then_deletes() {
    let (lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    lab.with(|now, store| store.bind(now, "default", "task", "node-1").expect("bound"));
    let mut events = client.watch(&format!("{PODS}?watch=1&resourceVersion={}", lab.with(|_, store| store.rv()))).await;
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "task", "namespace": "default" } });
    let evicted = client.call("POST", &format!("{}/eviction", at("task")), eviction).await;
    assert_eq!(evicted.0, 201);
    let (_, first) = events.next().await.expect("unbroken").expect("more");
    let condition = first["status"]["conditions"].as_array().expect("conditions").last().expect("one").clone();
    let expected = json!({ "lastProbeTime": null, "lastTransitionTime": "2026-11-24T00:00:00Z", "message": "Eviction API: evicting",
        "reason": "EvictionByEvictionAPI", "status": "True", "type": "DisruptionTarget" });
    assert_eq!((condition, first["metadata"].get("deletionTimestamp")), (expected, None));
    let (_, second) = events.next().await.expect("unbroken").expect("more");
    assert_eq!(second["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(events.is_silent(60).await);
}

#[tokio::test(start_paused = true)]
async fn quotas_charge_and_refuse() {
    let (_lab, client) = api_server();
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let quota = json!({ "metadata": { "name": "team-a" }, "spec": { "hard": { "pods": "1", "requests.cpu": "1" } } });
    client.create(quotas, quota).await;
    let refused = client.call("POST", PODS, pod("a")).await;
    assert_eq!(
        message(&refused),
        (403, "pods \"a\" is forbidden: failed quota: team-a: must specify requests.cpu for: base")
    );
    let with_cpu = |name: &str| {
        let mut pod = pod(name);
        pod["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "0.5" } });
        pod
    };
    client.create(PODS, with_cpu("a")).await;
    let (_, found) = client.get(&format!("{quotas}/team-a")).await;
    assert_eq!(found["status"]["used"], json!({ "pods": "1", "requests.cpu": "500m" }));
    let refused = client.call("POST", PODS, with_cpu("b")).await;
    let text = "pods \"b\" is forbidden: exceeded quota: team-a, requested: pods=1, used: pods=1, limited: pods=1";
    assert_eq!(message(&refused), (403, text));
    client
        .patch(&format!("{}/status", at("a")), "merge-patch+json", json!({ "status": { "phase": "Succeeded" } }))
        .await;
    client.create(PODS, with_cpu("b")).await;
}

#[tokio::test(start_paused = true)]
async fn pod_security_restricted_is_worded_as_upstream() {
    let (_lab, client) = api_server();
    let namespace =
        json!({ "metadata": { "name": "strict", "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    client.create("/api/v1/namespaces", namespace).await;
    let refused = client.call("POST", "/api/v1/namespaces/strict/pods", pod("a")).await;
    let text = "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"base\" must set \
        securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"base\" must set \
        securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"base\" must set \
        securityContext.runAsNonRoot=true), seccompProfile (pod or container \"base\" must set securityContext.seccompProfile.type to \
        \"RuntimeDefault\" or \"Localhost\")";
    assert_eq!(message(&refused), (403, text));
    let mut good = pod("a");
    good["spec"]["securityContext"] = json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
    good["spec"]["containers"][0]["securityContext"] =
        json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    client.create("/api/v1/namespaces/strict/pods", good).await;
}

#[tokio::test(start_paused = true)]
async fn a_webhook_injects_renames_and_denies() {
    let (lab, client) = api_server();
    lab.with(|_, store| store.set_injection(Some(Injection::mesh())));
    let created = client.create(PODS, pod("a")).await;
    let names = |list: &str| {
        created["spec"][list].as_array().expect("a list").iter().map(|c| c["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names("containers"), names("initContainers")),
        (vec![json!("base"), json!("istio-proxy")], vec![json!("istio-init")])
    );
    assert_eq!(created["spec"]["containers"][1]["terminationMessagePath"], "/dev/termination-log");
    let deny = Injection { deny: Some("no team label".into()), ..Injection::default() };
    lab.with(|_, store| store.set_injection(Some(deny)));
    let refused = client.call("POST", PODS, pod("b")).await;
    assert_eq!(message(&refused), (403, "admission webhook \"inject.lab.kpo.rs\" denied the request: no team label"));
    let rename = Injection { rename: Some(("base".into(), "main".into())), ..Injection::default() };
    lab.with(|_, store| store.set_injection(Some(rename)));
    assert_eq!(client.create(PODS, pod("b")).await["spec"]["containers"][0]["name"], "main");
}

#[tokio::test(start_paused = true)]
async fn limit_ranges_default_and_bound() {
    let (_lab, client) = api_server();
    let limits = json!({ "type": "Container", "default": { "cpu": "500m" }, "defaultRequest": { "cpu": "100m" }, "max": { "cpu": "1" } });
    client
        .create(
            "/api/v1/namespaces/default/limitranges",
            json!({ "metadata": { "name": "l" }, "spec": { "limits": [limits] } }),
        )
        .await;
    let created = client.create(PODS, pod("a")).await;
    assert_eq!(
        created["spec"]["containers"][0]["resources"],
        json!({ "limits": { "cpu": "500m" }, "requests": { "cpu": "100m" } })
    );
    assert_eq!((created["spec"].get("initContainers"), &created["status"]["qosClass"]), (None, &json!("Burstable")));
    let mut big = pod("b");
    big["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "2" } });
    let refused = client.call("POST", PODS, big).await;
    assert_eq!(
        message(&refused),
        (403, "pods \"b\" is forbidden: maximum cpu usage per Container is 1, but limit is 2")
    );
}

#[tokio::test(start_paused = true)]
async fn namespaces_end_with_their_content() {
    let (lab, client) = api_server();
    client.create("/api/v1/namespaces", json!({ "metadata": { "name": "n" } })).await;
    let pods = "/api/v1/namespaces/n/pods";
    client.create(pods, pod("a")).await;
    lab.with(|now, store| store.bind(now, "n", "a", "node-1").expect("bound"));
    let (code, ending) = client.call("DELETE", "/api/v1/namespaces/n", Value::Null).await;
    assert_eq!((code, &ending["status"]["phase"]), (200, &json!("Terminating")));
    let refused = client.call("POST", pods, pod("b")).await;
    let text = "pods \"b\" is forbidden: unable to create new content in namespace n because it is being terminated";
    assert_eq!(message(&refused), (403, text));
    assert_eq!(refused.1["details"]["causes"][0]["reason"], "NamespaceTerminating");
    lab.with(|now, store| store.delete(now, Resource::Pods, "n", "a", &DeleteOptions::grace(0)).expect("deleted"));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(client.get("/api/v1/namespaces/n").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn tokens_users_and_permissions() {
    let (lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    lab.grant("secret", User::with_rules("kpo", vec![Rule::new("create,get", "pods").within("default")]));
    let limited = Client::with_token(&lab, "secret");
    assert_eq!(limited.get(&at("task")).await.0, 200);
    let refused = limited.get(&format!("{PODS}?watch=1")).await;
    let text =
        "pods is forbidden: User \"kpo\" cannot watch resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!(message(&refused), (403, text));
    lab.expire("secret");
    assert_eq!(message(&limited.get(&at("task")).await), (401, "Unauthorized"));
    assert_eq!(message(&Client::with_token(&lab, "unknown").get("/api").await), (401, "Unauthorized"));
    let user = Client::with_user(&lab, User::with_rules("reader", vec![Rule::new("get", "*")]));
    assert_eq!((user.get(&at("task")).await.0, user.call("DELETE", &at("task"), Value::Null).await.0), (200, 403));
}

#[tokio::test(start_paused = true)]
async fn apply_creates_and_then_merges() {
    let (_lab, client) = api_server();
    let target = format!("{}?fieldManager=kpo", at("task"));
    assert_eq!(client.patch(&target, "apply-patch+yaml", pod("task")).await.0, 201);
    let change = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "task", "labels": { "b": "2" } } });
    let (code, applied) = client.patch(&target, "apply-patch+yaml", change).await;
    assert_eq!((code, &applied["metadata"]["labels"]), (200, &json!({ "app": "task", "b": "2" })));
}

#[tokio::test(start_paused = true)]
async fn tables_discovery_and_counts() {
    let (lab, client) = api_server();
    client.create(PODS, pod("task")).await;
    let request =
        http::Request::get(PODS).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let request = request
        .header("user-agent", "kubectl/v1.32")
        .body(http_body_util::Full::new(bytes::Bytes::new()))
        .expect("a request");
    let response = tower::ServiceExt::oneshot(lab.service(), request).await.expect("an answer");
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes();
    let table: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(table["kind"], "Table");
    let cells = json!(["task", "0/1", "Pending", "0", "0s", "<none>", "<none>", "<none>", "<none>"]);
    assert_eq!(table["rows"][0]["cells"], cells);
    let (_, groups) = client.get("/apis").await;
    assert!(groups["groups"].as_array().expect("groups").iter().any(|group| group["name"] == "apps"));
    assert_eq!(client.get("/version").await.1["minor"], "34");
    let counts: Vec<_> =
        lab.requests().into_iter().map(|(kind, n)| (kind.verb, kind.resource, kind.agent, n)).collect();
    let row = |verb: &str, resource: &str, agent: &str| (verb.to_owned(), resource.to_owned(), agent.to_owned(), 1);
    let expected = [
        row("create", "pods", "test/1.0"),
        row("get", "/apis", "test/1.0"),
        row("get", "/version", "test/1.0"),
        row("list", "pods", "kubectl/v1.32"),
    ];
    assert_eq!(counts, expected);
}

/// Takes away what admission mounts into every pod of a real cluster, and the lab does not (LIMITS.md).
fn without_token_volume(spec: &mut Value) {
    let is_token = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
    let drop_from = |holder: &mut Value, list: &str| {
        if let Some(items) = holder.get_mut(list).and_then(Value::as_array_mut) {
            items.retain(|item| !is_token(&item["name"]));
            if items.is_empty() {
                holder.as_object_mut().expect("it has a list").remove(list);
            }
        }
    };
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            drop_from(container, "volumeMounts");
        }
    }
    drop_from(spec, "volumes");
}

/// Every pod that was created in the recordings, created again from what its creator submitted: the same spec, status and ownership of fields.
#[tokio::test(start_paused = true)]
async fn creates_answer_what_a_real_cluster_recorded() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../kpo-core/tests/recordings");
    let mut compared = 0;
    for file in std::fs::read_dir(folder).expect("the recordings") {
        let path = file.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a recording");
        let created = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|event| {
            let object = &event["object"];
            event["kind"] == "Pod" && event["type"] == "ADDED" && object["spec"]["nodeName"].is_null()
        });
        for mut recorded in created.map(|event| event["object"].clone()) {
            without_token_volume(&mut recorded["spec"]);
            let (_lab, client) = api_server();
            let spec = &recorded["spec"];
            if let Some(class) = spec["priorityClassName"].as_str().filter(|class| !class.starts_with("system-")) {
                let class = json!({ "metadata": { "name": class }, "value": spec["priority"] });
                client.create("/apis/scheduling.k8s.io/v1/priorityclasses", class).await;
            }
            let mut submitted = json!({ "metadata": { "name": recorded["metadata"]["name"] }, "spec": spec });
            for field in ["labels", "annotations", "finalizers"] {
                if let Some(value) = recorded["metadata"].get(field) {
                    submitted["metadata"][field] = value.clone();
                }
            }
            // What admission added is not owned by the creator.
            let owned = |object: &Value| object["metadata"]["managedFields"][0]["fieldsV1"].clone();
            let theirs = owned(&recorded);
            let fields = submitted["spec"].as_object_mut().expect("a spec");
            fields.retain(|field, _| theirs["f:spec"].get(format!("f:{field}")).is_some());
            let answer = client.create(PODS, submitted).await;
            let place = path.display();
            assert_eq!(answer["spec"], recorded["spec"], "{place}");
            // When a gated pod was found to be gated.
            let timeless = |object: &Value| {
                let mut status = object["status"].clone();
                let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
                conditions.into_iter().flatten().for_each(|condition| condition["lastTransitionTime"] = "T".into());
                status
            };
            assert_eq!(timeless(&answer), timeless(&recorded), "{place}");
            assert_eq!(owned(&answer), theirs, "{place}");
            compared += 1;
        }
    }
    assert!(compared >= 20, "only {compared} creates were compared");
}
