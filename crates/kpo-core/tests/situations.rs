//! What an attempt is while it lives, and what a refused create means.

use kpo_core::{
    Absence, ClusterEvent, Ledger, Pod, Reason, Refusal, Sight, Situation, Template, Time, classify, marks,
};
use serde_json::{Value, json};
use std::time::Duration;

fn template() -> Template {
    Template {
        container: "base".into(),
        counted: vec!["base".into()],
        grace_seconds: 30,
        active_deadline_seconds: None,
        names_its_node: false,
    }
}

fn at(seconds: i64) -> Time {
    Time::from_secs(1_800_000_000 + seconds)
}

/// A pod from its `spec` and `status`.
fn pod(spec: Value, status: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": "task", "uid": "u1"}, "spec": {"containers": [{"name": "base"}], "restartPolicy": "Never"}});
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod["status"] = status;
    serde_json::from_value(pod).unwrap()
}

fn event(reason: &str, reporter: &str, second: i64) -> ClusterEvent {
    let time = at(second).to_string();
    let event = json!({"type": "Normal", "reason": reason, "message": "m", "reportingComponent": reporter, "lastTimestamp": time,
        "involvedObject": {"kind": "Pod", "name": "task", "uid": "u1"}});
    serde_json::from_value(event).unwrap()
}

fn seen(sights: &[(i64, Pod)]) -> Ledger {
    let mut ledger = Ledger::default();
    for (second, pod) in sights {
        ledger.observe(at(*second), Sight::Present, pod);
    }
    ledger
}

fn unscheduled() -> Pod {
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"});
    pod(json!({}), json!({"phase": "Pending", "conditions": [condition]}))
}

/// Bound; `base` waits for that.
fn waits(reason: &str, message: &str) -> Pod {
    let status = json!({"name": "base", "state": {"waiting": {"reason": reason, "message": message}}});
    pod(
        json!({"nodeName": "node-1"}),
        json!({"phase": "Pending", "startTime": "2027-01-15T08:00:00Z", "containerStatuses": [status]}),
    )
}

#[test]
fn gates_of_others_and_of_kpo_are_told_apart() {
    for (gates, others, ours) in [
        (vec![marks::GATE], vec![], true),
        (vec!["kueue.x-k8s.io/admission"], vec!["kueue.x-k8s.io/admission"], false),
        (vec!["kueue.x-k8s.io/admission", marks::GATE], vec!["kueue.x-k8s.io/admission"], true),
    ] {
        let gates: Vec<Value> = gates.into_iter().map(|name| json!({"name": name})).collect();
        let ledger = seen(&[(0, pod(json!({"schedulingGates": gates}), json!({"phase": "Pending"})))]);
        let others = others.into_iter().map(str::to_owned).collect();
        assert_eq!(ledger.situation(at(1), &template()), Situation::Gated { others, ours });
    }
}

#[test]
fn a_scale_up_is_evidenced_until_the_autoscaler_says_otherwise() {
    let scaling = |events: &[(&str, &str, i64)]| {
        let mut ledger = seen(&[(0, unscheduled())]);
        events.iter().for_each(|(reason, reporter, second)| ledger.told(at(60), &event(reason, reporter, *second)));
        match ledger.situation(at(60), &template()) {
            Situation::Unscheduled { scaling_up_since, message } => {
                assert_eq!(message.as_deref(), Some("0/1 nodes are available"));
                scaling_up_since
            }
            other => panic!("{other:?}"),
        }
    };
    let (up, not) = (("TriggeredScaleUp", "cluster-autoscaler", 5), ("NotTriggerScaleUp", "cluster-autoscaler", 3));
    assert_eq!(scaling(&[]), None);
    assert_eq!(scaling(&[("FailedScheduling", "default-scheduler", 1)]), None);
    assert_eq!(scaling(&[up]), Some(at(5)));
    assert_eq!(scaling(&[up, not]), Some(at(5)), "the order of a list means nothing, the times do");
    assert_eq!(scaling(&[up, ("NotTriggerScaleUp", "cluster-autoscaler", 7)]), None);
    assert_eq!(scaling(&[("Nominated", "karpenter", 5)]), Some(at(5)));
    assert_eq!(scaling(&[("Nominated", "karpenter", 5), ("FailedScheduling", "karpenter", 9)]), None);
}

#[test]
fn a_nominated_node_is_a_scale_up_as_long_as_it_stands() {
    let mut nominated = unscheduled();
    nominated.status.nominated_node_name = Some("node-2".into());
    let mut ledger = seen(&[(0, unscheduled()), (4, nominated)]);
    let since = |ledger: &Ledger| match ledger.situation(at(9), &template()) {
        Situation::Unscheduled { scaling_up_since, .. } => scaling_up_since,
        other => panic!("{other:?}"),
    };
    assert_eq!(since(&ledger), Some(at(4)));
    ledger.observe(at(6), Sight::Present, &unscheduled());
    assert_eq!(since(&ledger), None);
}

/// What resets the starting clock, and what does not.
#[test]
fn progress_is_what_brings_the_start_nearer() {
    let base = |state: Value| json!([{"name": "base", "state": state}]);
    let with = |init: Value, main: Value, conditions: Value| {
        let status = json!({"phase": "Pending", "startTime": "2027-01-15T08:00:00Z", "conditions": conditions,
            "initContainerStatuses": init, "containerStatuses": main});
        pod(json!({"nodeName": "node-1", "initContainers": [{"name": "setup"}]}), status)
    };
    let initializing = base(json!({"waiting": {"reason": "PodInitializing"}}));
    let setup = |state: Value| json!([{"name": "setup", "state": state}]);
    let ready = json!([{"type": "PodReadyToStartContainers", "status": "True"}]);
    let (runs, over) = (
        setup(json!({"running": {"startedAt": "2027-01-15T08:00:04Z"}})),
        setup(json!({"terminated": {"exitCode": 0, "reason": "Completed", "containerID": "c://1"}})),
    );
    let pulling = |reason: &str| base(json!({"waiting": {"reason": reason, "message": "m"}}));
    let steps = [
        (10, pod(json!({}), json!({"phase": "Pending"})), true, "first seen"),
        (20, pod(json!({"nodeName": "node-1"}), json!({"phase": "Pending"})), true, "bound"),
        (30, with(json!([]), initializing.clone(), json!([])), true, "acknowledged"),
        (40, with(json!([]), initializing.clone(), ready.clone()), true, "its sandbox is up"),
        (50, with(runs.clone(), initializing.clone(), ready.clone()), true, "an init container runs"),
        (60, with(runs, initializing.clone(), json!([])), false, "a condition goes back"),
        (70, with(over.clone(), initializing, ready.clone()), true, "an init container has ended"),
        (80, with(over.clone(), pulling("ErrImagePull"), ready.clone()), false, "a pull failed"),
        (90, with(over.clone(), pulling("ImagePullBackOff"), ready.clone()), false, "the next is waited for"),
        (100, with(over.clone(), pulling("ErrImagePull"), ready.clone()), false, "it failed again"),
        (110, with(over.clone(), pulling("CreateContainerConfigError"), ready.clone()), false, "another error"),
        (120, with(over, pulling("PodInitializing"), ready), false, "the error is gone, and nothing came of it yet"),
    ];
    let (mut ledger, mut last) = (Ledger::default(), 0);
    for (second, pod, progress, what) in steps {
        ledger.observe(at(second), Sight::Present, &pod);
        last = if progress { second } else { last };
        assert_eq!(ledger.progress, at(last), "{what}");
    }
    ledger.told(at(200), &event("FailedMount", "kubelet", 150));
    assert_eq!(ledger.progress, at(last), "a failed mount is none");
    ledger.told(at(200), &event("Pulled", "kubelet", 160));
    assert_eq!(ledger.progress, at(160), "a pulled image is, when it was pulled");
    ledger.told(at(300), &event("Pulled", "kubelet", 160));
    assert_eq!(ledger.progress, at(160), "being told again is none");
}

#[test]
fn image_errors_are_certain_or_may_heal() {
    let fatal_after = |tries: usize, reason: &str, message: &str| {
        let mut ledger = Ledger::default();
        for second in 0..i64::try_from(tries).unwrap() {
            ledger.observe(at(2 * second), Sight::Present, &waits("ContainerCreating", ""));
            ledger.observe(at(2 * second + 1), Sight::Present, &waits(reason, message));
        }
        match ledger.situation(at(100), &template()) {
            Situation::Starting { fatal, hindrance, waiting, .. } => {
                assert_eq!(waiting.as_deref(), Some(format!("base: {reason}").as_str()));
                (fatal, hindrance)
            }
            other => panic!("{other:?}"),
        }
    };
    let image = Some(Reason::Image);
    for (tries, reason, message, fatal, hindrance) in [
        (1, "InvalidImageName", "couldn't parse image name", Some(Reason::ImageInvalid), Some(Reason::ImageInvalid)),
        (1, "ErrImageNeverPull", "Container image \"x\" is not present with pull policy of Never", image, image),
        (2, "ErrImagePull", "failed to resolve reference \"r/x:1\": r/x:1: not found", None, image),
        (3, "ErrImagePull", "failed to resolve reference \"r/x:1\": r/x:1: not found", image, image),
        (3, "ErrImagePull", "manifest for r/x:1 not found: manifest unknown: manifest unknown", image, image),
        (
            3,
            "ImagePullBackOff",
            "Back-off pulling image \"x\": ErrImagePull: pull access denied, repository does not exist",
            image,
            image,
        ),
        (3, "ErrImagePull", "unexpected status from HEAD request: 401 Unauthorized", image, image),
        (9, "ErrImagePull", "dial tcp: lookup nowhere.invalid: no such host", None, image),
        (9, "ImagePullBackOff", "Back-off pulling image \"x\"", None, image),
        (9, "CreateContainerConfigError", "configmap \"late\" not found", None, Some(Reason::Config)),
        (9, "RunContainerError", "context deadline exceeded", None, Some(Reason::StartError)),
        (1, "ContainerCreating", "", None, None),
    ] {
        assert_eq!(fatal_after(tries, reason, message), (fatal, hindrance), "{tries} × {reason}: {message}");
    }
}

#[test]
fn the_hindrance_is_in_the_clusters_words() {
    let ledger = seen(&[(0, waits("CreateContainerConfigError", "configmap \"late\" not found"))]);
    assert_eq!(ledger.hindrance(&template()).as_deref(), Some("configmap \"late\" not found"));
    let mut ledger = seen(&[(0, pod(json!({"nodeName": "n"}), json!({"phase": "Pending"})))]);
    assert_eq!(ledger.hindrance(&template()), None);
    ledger.told(
        at(1),
        &serde_json::from_value(json!({"type": "Warning", "reason": "FailedMount", "message": "no such volume",
        "involvedObject": {"uid": "u1"}}))
        .unwrap(),
    );
    assert_eq!(ledger.hindrance(&template()).as_deref(), Some("no such volume"));
    assert_eq!(seen(&[(0, unscheduled())]).hindrance(&template()).as_deref(), Some("0/1 nodes are available"));
}

#[test]
fn a_pod_long_beyond_its_grace_has_a_silent_node() {
    let mut leaving = waits("ContainerCreating", "");
    leaving.metadata.deletion_timestamp = Some("2027-01-15T08:00:30Z".into());
    leaving.metadata.deletion_grace_period_seconds = Some(30);
    let ledger = seen(&[(0, waits("ContainerCreating", "")), (10, leaving)]);
    let unreachable = |second| match ledger.situation(at(second), &template()) {
        Situation::Terminating { node, unreachable_since } => {
            assert_eq!(node.as_deref(), Some("node-1"));
            unreachable_since
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(unreachable(99), None);
    assert_eq!(ledger.turns_at(at(99), &template()), Some(at(100)), "10 s + 30 s of grace + 60 s");
    assert_eq!(unreachable(100), Some(at(100)));
    assert_eq!(ledger.turns_at(at(100), &template()), None);
}

/// The kubelet holds the phase back until all containers have stopped.
#[test]
fn a_failure_waits_for_the_kubelet_to_say_of_what() {
    let ended = |code: i32, reason: &str, proxy: bool| {
        let base = json!({"name": "base", "containerID": "c://1", "state": {"terminated": {"exitCode": code, "reason": reason, "containerID": "c://1"}}});
        let proxy = proxy.then(|| json!({"name": "istio-proxy", "containerID": "c://2", "state": {"running": {}}}));
        let statuses: Vec<Value> = [base].into_iter().chain(proxy).collect();
        seen(&[(0, pod(json!({"nodeName": "node-1"}), json!({"phase": "Running", "containerStatuses": statuses})))])
    };
    for (code, reason, proxy, settles) in [
        (0, "Completed", true, 0),
        (137, "OOMKilled", true, 0),
        (128, "StartError", false, 0),
        (3, "Error", true, 5),
        (3, "Error", false, 35),
        (143, "Error", true, 35),
    ] {
        let ledger = ended(code, reason, proxy);
        let situation = |second| ledger.situation(at(second), &template());
        assert_eq!(situation(settles), Situation::Ended, "exit {code} {reason}");
        if settles > 0 {
            assert_eq!(situation(settles - 1), Situation::Running { node: "node-1".into() }, "exit {code} {reason}");
            assert_eq!(ledger.turns_at(at(0), &template()), Some(at(settles)));
        }
        assert_eq!(ledger.turns_at(at(settles), &template()), None);
    }
}

/// A read that the watch has overtaken.
#[test]
fn an_older_version_does_not_turn_time_back() {
    let version = |pod: Pod, version: &str| {
        let mut pod = pod;
        pod.metadata.resource_version = version.into();
        pod
    };
    let bound = version(waits("ContainerCreating", ""), "101");
    let mut ledger = seen(&[(0, bound)]);
    assert!(!ledger.observe(at(1), Sight::Present, &version(unscheduled(), "99")));
    assert_eq!(ledger.node(), Some("node-1"));
    let mut other = unscheduled();
    other.metadata.uid = "u2".into();
    assert!(!ledger.observe(at(2), Sight::Present, &version(other, "105")), "a namesake teaches nothing");
    assert_eq!((ledger.uid(), ledger.node()), (Some("u1"), Some("node-1")));
}

/// A label was taken off and put back while a read was under way.
#[test]
fn an_older_deleted_leaves_no_doubt() {
    let version = |version: &str| {
        let mut pod = waits("ContainerCreating", "");
        pod.metadata.resource_version = version.into();
        pod
    };
    let mut ledger = seen(&[(0, version("105"))]);
    assert!(!ledger.observe(at(1), Sight::Deleted, &version("101")));
    assert!(matches!(ledger.situation(at(1), &template()), Situation::Starting { .. }));
    ledger.observe(at(2), Sight::Deleted, &version("106"));
    assert_eq!(ledger.situation(at(2), &template()), Situation::Doubtful);
}

/// Hand-written and half-empty objects, as `kpo why -f` may be given.
#[test]
fn nulls_and_unknown_values_are_read_as_absent() {
    let text = r#"{"metadata": {"name": "t", "uid": "u", "labels": null, "finalizers": null, "managedFields": null},
        "spec": {"containers": null, "initContainers": null, "nodeName": null, "priority": 7, "unheardOf": [1]},
        "status": {"phase": "Paused", "conditions": null, "containerStatuses": [{"name": "c", "state": null, "lastState": null}]}}"#;
    let pod: Pod = serde_json::from_str(text).unwrap();
    assert_eq!((pod.status.phase, pod.statuses().count()), (kpo_core::pod::Phase::Unknown, 1));
    assert_eq!(serde_json::from_str::<Pod>("{}").unwrap(), Pod::default());
    assert_eq!(serde_json::from_str::<Pod>(r#"{"status": null}"#).unwrap(), Pod::default());
    let event = r#"{"reason": "Killing", "message": null, "reportingComponent": null, "source": null, "related": null, "lastTimestamp": null}"#;
    assert_eq!(serde_json::from_str::<ClusterEvent>(event).unwrap().reason, "Killing");
}

#[test]
fn a_sight_says_whether_it_taught_anything() {
    let mut ledger = Ledger::default();
    assert!(ledger.observe(at(0), Sight::Present, &unscheduled()));
    assert!(!ledger.observe(at(1), Sight::Present, &unscheduled()));
    assert!(ledger.observe(at(2), Sight::Present, &waits("ContainerCreating", "")));
    assert!(ledger.observe(at(3), Sight::Deleted, &waits("ContainerCreating", "")), "it is doubtful now");
    assert!(ledger.observe(at(4), Sight::Present, &waits("ContainerCreating", "")), "and no more");
    ledger.gone(at(5), Absence::Unobserved);
    assert_eq!(ledger.situation(at(5), &template()), Situation::Ended);
}

#[test]
fn nothing_seen_yet_waits_for_a_node() {
    let nothing = Situation::Unscheduled { message: None, scaling_up_since: None };
    assert_eq!(Ledger::default().situation(at(0), &template()), nothing);
    assert_eq!(Ledger::default().turns_at(at(0) + Duration::from_secs(1), &template()), None);
}

/// What the API server says when it refuses a create, as it words it.
#[test]
fn refusals() {
    let cases = [
        (
            403,
            "pods \"t\" is forbidden: exceeded quota: team-a, requested: pods=1, used: pods=50, limited: pods=50",
            Reason::QuotaExceeded,
            true,
        ),
        (
            403,
            "pods \"t\" is forbidden: failed quota: team-a: must specify limits.cpu for: base",
            Reason::Refused,
            false,
        ),
        (
            403,
            "pods \"t\" is forbidden: minimum cpu usage per Container is 100m, but request is 10m",
            Reason::Refused,
            false,
        ),
        (
            403,
            "pods \"t\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false",
            Reason::Refused,
            false,
        ),
        (
            403,
            "pods \"t\" is forbidden: unable to create new content in namespace n because it is being terminated",
            Reason::Namespace,
            false,
        ),
        (
            403,
            "pods is forbidden: User \"system:serviceaccount:n:default\" cannot create resource \"pods\" in API group \"\" in the namespace \"n\"",
            Reason::Forbidden,
            false,
        ),
        (
            403,
            "pods \"t\" is forbidden: error looking up service account n/default: serviceaccount \"default\" not found",
            Reason::Unavailable,
            true,
        ),
        (
            403,
            "pods \"t\" is forbidden: error looking up service account n/robot: serviceaccount \"robot\" not found",
            Reason::Refused,
            false,
        ),
        (403, "pods \"t\" is forbidden: status unknown for quota: team-a, resources: pods", Reason::Unavailable, true),
        (
            403,
            "admission webhook \"policy.example.com\" denied the request: exceeded quota: of patience",
            Reason::Refused,
            false,
        ),
        (400, "admission webhook \"policy.example.com\" denied the request: no latest tags", Reason::Refused, false),
        (403, "pods \"t\" is forbidden: no PriorityClass with name high was found", Reason::Refused, false),
        (404, "namespaces \"prodd\" not found", Reason::Namespace, false),
        (404, "the server could not find the requested resource", Reason::Refused, false),
        (
            409,
            "Operation cannot be fulfilled on resourcequotas \"team-a\": the object has been modified",
            Reason::QuotaExceeded,
            true,
        ),
        (422, "Pod \"t\" is invalid: spec.containers[0].image: Required value", Reason::Refused, false),
        (413, "Request entity too large: limit is 3145728", Reason::Refused, false),
        (401, "Unauthorized", Reason::Forbidden, false),
        (429, "too many requests", Reason::Unavailable, true),
        (
            500,
            "Internal error occurred: failed calling webhook \"pods.example.com\": context deadline exceeded",
            Reason::Unavailable,
            true,
        ),
        (503, "apiserver is shutting down", Reason::Unavailable, true),
        (504, "Timeout: request did not complete within the allotted timeout", Reason::Unavailable, true),
    ];
    for (code, message, reason, retry) in cases {
        let refusal = Refusal { code, reason: String::new(), message: message.into(), retry_after: None };
        let refused = classify::refusal(&refusal);
        assert_eq!((refused.reason, refused.retry), (reason, retry), "{code} {message}");
    }
}
