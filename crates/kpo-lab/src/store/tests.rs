use std::time::Duration;

use super::*;

const NOW: Time = Time::from_secs(1_800_000_000);

fn pod(name: &str) -> Value {
    json!({ "metadata": { "namespace": "default", "name": name }, "spec": { "containers": [{ "name": "base" }], "terminationGracePeriodSeconds": 5 },
        "status": { "phase": "Pending" } })
}

fn store_with(object: Value) -> Store {
    let mut store = Store::default();
    store.create(NOW, Resource::Pods, object, &Writer::new("test")).expect("created");
    store
}

fn kinds(store: &Store, since: u64) -> Vec<(ChangeKind, Option<i64>)> {
    let changes = store.changes_since(since).expect("not compacted");
    changes.map(|c| (c.kind, c.object["metadata"]["deletionGracePeriodSeconds"].as_i64())).collect()
}

#[test]
fn create_names_and_refuses_a_second() {
    let mut store = store_with(pod("a"));
    let error = store.create(NOW, Resource::Pods, pod("a"), &Writer::new("test")).expect_err("exists");
    assert_eq!((error.code, error.message.as_str()), (409, "pods \"a\" already exists"));
    let mut generated = pod("");
    generated["metadata"] = json!({ "namespace": "default", "generateName": "job-" });
    let object = store.create(NOW, Resource::Pods, generated, &Writer::new("test")).expect("created");
    let name = object["metadata"]["name"].as_str().expect("named");
    assert_eq!((name.len(), &name[..4]), (9, "job-"));
    assert_eq!(store.list(Resource::Pods, Some("default")).count(), 2);
    assert_eq!(store.list(Resource::Pods, Some("defaul")).count(), 0);
}

#[test]
fn unbound_pod_is_marked_and_gone_at_once() {
    let mut store = store_with(pod("a"));
    let rv = store.rv();
    let deletion = store.delete(NOW, Resource::Pods, "default", "a", &DeleteOptions::default()).expect("deleted");
    assert!(matches!(deletion, Deletion::Gone(_)));
    assert_eq!(kinds(&store, rv), [(ChangeKind::Modified, Some(0)), (ChangeKind::Deleted, Some(0))]);
    assert_eq!(deletion.object()["metadata"]["generation"], 2);
}

#[test]
fn bound_pod_keeps_its_grace_until_a_shorter_one() {
    let mut store = store_with(pod("a"));
    store.bind(NOW, "default", "a", "node-1").expect("bound");
    let rv = store.rv();
    store.delete(NOW, Resource::Pods, "default", "a", &DeleteOptions::default()).expect("marked");
    let marked = store.get(Resource::Pods, "default", "a").expect("still there");
    assert_eq!(marked["metadata"]["deletionTimestamp"], (NOW + Duration::from_secs(5)).rfc3339());
    store.delete(NOW, Resource::Pods, "default", "a", &DeleteOptions::grace(9)).expect("no effect");
    store.delete(NOW, Resource::Pods, "default", "a", &DeleteOptions::default()).expect("no effect");
    assert_eq!(kinds(&store, rv), [(ChangeKind::Modified, Some(5))]);
    store.delete(NOW, Resource::Pods, "default", "a", &DeleteOptions::grace(0)).expect("gone");
    assert_eq!(kinds(&store, rv)[1..], [(ChangeKind::Modified, Some(0)), (ChangeKind::Deleted, Some(0))]);
    assert!(store.get(Resource::Pods, "default", "a").is_none());
}

#[test]
fn finalizer_holds_until_it_is_removed() {
    let mut object = pod("a");
    object["metadata"]["finalizers"] = json!(["kpo.rs/protect"]);
    let mut store = store_with(object);
    store.delete(NOW, Resource::Pods, "default", "a", &DeleteOptions::default()).expect("marked");
    let mut held = (*store.get(Resource::Pods, "default", "a").expect("held")).clone();
    held["metadata"].as_object_mut().expect("metadata").remove("finalizers");
    let rv = store.rv();
    store.update(NOW, Resource::Pods, held, &Writer::new("test")).expect("updated");
    assert_eq!(kinds(&store, rv), [(ChangeKind::Deleted, Some(0))]);
}

#[test]
fn preconditions_are_worded_as_upstream() {
    let mut store = store_with(pod("a"));
    let uid =
        store.get(Resource::Pods, "default", "a").expect("there")["metadata"]["uid"].as_str().expect("uid").to_owned();
    let error =
        store.delete(NOW, Resource::Pods, "default", "a", &DeleteOptions::default().uid("x")).expect_err("wrong");
    let expected = format!(
        "Operation cannot be fulfilled on Pod \"a\": the UID in the precondition (x) does not match the UID in record ({uid}). \
         The object might have been deleted and then recreated"
    );
    assert_eq!((error.code, error.reason.as_str(), error.message), (409, "Conflict", expected));
    let stale = DeleteOptions { resource_version: Some("1".into()), ..DeleteOptions::default() };
    assert_eq!(store.delete(NOW, Resource::Pods, "default", "a", &stale).expect_err("stale").code, 409);
}

#[test]
fn update_conflicts_and_no_ops() {
    let mut store = store_with(pod("a"));
    let mut object = (*store.get(Resource::Pods, "default", "a").expect("there")).clone();
    let rv = store.rv();
    store.update(NOW, Resource::Pods, object.clone(), &Writer::new("test")).expect("no-op");
    assert_eq!(store.rv(), rv, "nothing differs, nothing is written");
    object["metadata"]["resourceVersion"] = "1".into();
    let error = store.update(NOW, Resource::Pods, object, &Writer::new("test")).expect_err("stale");
    assert_eq!(
        error.message,
        "Operation cannot be fulfilled on pods \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
}

#[test]
fn compaction_forgets() {
    let mut store = store_with(pod("a"));
    store.compact();
    let now = store.rv();
    assert_eq!(store.changes_since(1).err(), Some(Compacted { asked: 1, oldest: now }));
    assert_eq!(store.changes_since(now).expect("current").count(), 0);
}

#[test]
fn binding_is_refused_once_the_pod_is_being_deleted() {
    let mut object = pod("a");
    object["metadata"]["finalizers"] = json!(["x/y"]);
    let mut store = store_with(object);
    store.delete(NOW, Resource::Pods, "default", "a", &DeleteOptions::default()).expect("marked");
    let error = store.bind(NOW, "default", "a", "node-1").expect_err("deleting");
    assert_eq!(
        (error.code, error.message.as_str()),
        (
            409,
            "Operation cannot be fulfilled on pods/binding \"a\": pod a is being deleted, cannot be assigned to a host"
        )
    );
}

/// The recorded cluster's own entries for the same writes (`preempted_before_start`).
#[test]
fn phase_belongs_to_who_changed_it() {
    let mut store = store_with(pod("a"));
    let later = NOW + Duration::from_secs(3);
    let condition = json!({ "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler" });
    store
        .update_status(
            NOW,
            Resource::Pods,
            "default",
            "a",
            |p| p["status"]["conditions"] = json!([condition]),
            &Writer::status("kube-scheduler"),
        )
        .expect("written");
    store
        .update_status(
            later,
            Resource::Pods,
            "default",
            "a",
            |p| p["status"]["phase"] = "Failed".into(),
            &Writer::status("kubelet"),
        )
        .expect("written");
    let object = store.get(Resource::Pods, "default", "a").expect("there");
    let entries = object["metadata"]["managedFields"].as_array().expect("entries");
    let of = |manager: &str| entries.iter().find(|e| e["manager"] == manager).expect("has an entry");
    assert_eq!(of("kubelet")["fieldsV1"], json!({ "f:status": { "f:phase": {} } }));
    assert_eq!(of("kubelet")["time"], later.rfc3339());
    let leaves = json!({ ".": {}, "f:reason": {}, "f:status": {}, "f:type": {} });
    assert_eq!(
        of("kube-scheduler")["fieldsV1"],
        json!({ "f:status": { "f:conditions": { ".": {}, "k:{\"type\":\"DisruptionTarget\"}": leaves } } })
    );
    assert_eq!(
        of("test")["fieldsV1"],
        json!({ "f:spec": { "f:containers": { "k:{\"name\":\"base\"}": { ".": {}, "f:name": {} } }, "f:terminationGracePeriodSeconds": {} } })
    );
}
