//! The hook and the manager against the lab's API server: what the scripted server of the unit tests was told to answer, upstream's rules
//! answer here.

use std::time::Duration;

use kpo::{
    KubernetesHook, PodManager,
    hook::{ConnectOptions, Source},
    manager::{Admission, CreateError, DeleteOptions, Precondition, Written},
    request::{ApiFailure, Backoff, Call, Jitter, RequestOptions},
};
use kpo_lab::{Fault, Lab, LabOptions, Match, Reply, Resource, Store};
use serde_json::{Value, json};

fn lab() -> (Lab<Store>, KubernetesHook) {
    let lab = Lab::in_process(Store::default(), LabOptions::default());
    let client = kube::Client::new(lab.service(), "default");
    let hook = KubernetesHook::from_client(client, exact());
    (lab, hook)
}

fn exact() -> RequestOptions {
    RequestOptions { backoff: Backoff { jitter: Jitter::none(), ..Backoff::default() }, ..RequestOptions::default() }
}

fn pod(name: &str, nonce: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "finalizers": ["kpo.rs/protect", "example.com/other"],
            "labels": {"kpo.rs/task": "t", "kpo.rs/attempt": "1"}, "annotations": {"kpo.rs/nonce": nonce},
        },
        "spec": {
            "restartPolicy": "Never",
            "schedulingGates": [{"name": "kpo.rs/backoff"}, {"name": "example.com/queue"}],
            "containers": [{"name": "base", "image": "busybox"}],
        },
    })
}

async fn create(pods: &PodManager, name: &str) -> (String, Value) {
    let created = pods.create(&pod(name, "n"), Call::forever()).await.unwrap();
    (created.pod["metadata"]["uid"].as_str().unwrap().to_owned(), created.pod)
}

/// The requests that the server saw, as `verb resource`.
fn requests(lab: &Lab<Store>) -> Vec<String> {
    lab.journal().iter().map(|seen| format!("{} {}", seen.verb, seen.resource)).collect()
}

fn stored(lab: &Lab<Store>) -> usize {
    lab.with(|_, store| store.list(Resource::Pods, Some("default")).count())
}

#[tokio::test(start_paused = true)]
async fn an_undisturbed_create_is_one_request_and_admission_changes_nothing_that_matters() {
    let (lab, hook) = lab();
    let (_, created) = create(&hook.pods("default"), "p").await;
    let admission = Admission::compare(&pod("p", "n"), &created, "base");
    assert_eq!(admission, Admission { containers: 1, ..Admission::default() });
    assert_eq!(requests(&lab), ["create pods"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_makes_one_pod() {
    let effects = [
        Fault::DropReplyAfterEffect,
        Fault::StatusAfterEffect(Reply::status(504)),
        Fault::StatusAfterEffect(Reply::status(502).body("<html>bad gateway</html>")),
    ];
    for fault in effects {
        let (lab, hook) = lab();
        let _guard = lab.faults().inject(Match::of("create", "pods").times(1), fault);
        let created = hook.pods("default").create(&pod("p", "n"), Call::forever()).await.unwrap();
        assert!(created.resolved);
        assert_eq!(stored(&lab), 1);
        assert_eq!(requests(&lab), ["create pods", "get pods"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_never_arrived_is_sent_again() {
    for fault in [Fault::Drop, Fault::HalfOpen, Fault::Status(Reply::status(500))] {
        let (lab, hook) = lab();
        hook.pods("default").get("q", Call::forever()).await.unwrap(); // the server has answered once: no first contact
        let _guard = lab.faults().inject(Match::of("create", "pods").times(1), fault);
        let created = hook.pods("default").create(&pod("p", "n"), Call::forever()).await.unwrap();
        assert!(!created.resolved);
        assert_eq!(stored(&lab), 1);
        assert_eq!(requests(&lab)[1..], ["create pods", "get pods", "list events", "create pods"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_namesake_is_neither_adopted_nor_written_to() {
    let (lab, hook) = lab();
    let pods = hook.pods("default");
    let (uid, _) = create(&pods, "p").await;
    let error = pods.create(&pod("p", "another"), Call::forever()).await.unwrap_err();
    assert!(matches!(error, CreateError::NameTaken { uid: taken, terminating: false, .. } if taken == uid));

    let precondition = Precondition::uid("another");
    let patch = json!({"metadata": {"annotations": {"a": "b"}}});
    assert_eq!(pods.patch("p", &precondition, patch, Call::forever()).await.unwrap(), Written::Gone);
    let options = DeleteOptions { precondition, grace_seconds: Some(0) };
    assert_eq!(pods.delete("p", &options, Call::forever()).await.unwrap(), Written::Gone);
    assert_eq!(pods.remove_gate("p", "another", "kpo.rs/backoff", Call::forever()).await.unwrap(), Written::Gone);
    assert_eq!(stored(&lab), 1);
}

#[tokio::test(start_paused = true)]
async fn writes_are_bound_to_the_version_that_was_seen() {
    let (_lab, hook) = lab();
    let pods = hook.pods("default");
    let (_, first) = create(&pods, "p").await;
    let seen = Precondition::of(&first).unwrap();
    let patch = || json!({"metadata": {"annotations": {"a": "b"}}});
    let Written::Done(second) = pods.patch("p", &seen, patch(), Call::forever()).await.unwrap() else { panic!() };
    assert_eq!(second["metadata"]["annotations"]["a"], "b");

    let patch_again = json!({"metadata": {"annotations": {"a": "c"}}});
    assert_eq!(pods.patch("p", &seen, patch_again, Call::forever()).await.unwrap(), Written::Conflict);
    let stale = DeleteOptions { precondition: seen, grace_seconds: None };
    assert_eq!(pods.delete("p", &stale, Call::forever()).await.unwrap(), Written::Conflict);
    let fresh = DeleteOptions { precondition: Precondition::of(&second).unwrap(), grace_seconds: None };
    assert!(matches!(pods.delete("p", &fresh, Call::forever()).await.unwrap(), Written::Done(_)));
}

#[tokio::test(start_paused = true)]
async fn gate_and_finalizer_are_taken_off_and_others_stay() {
    let (_lab, hook) = lab();
    let pods = hook.pods("default");
    let (uid, _) = create(&pods, "p").await;
    pods.remove_gate("p", &uid, "kpo.rs/backoff", Call::forever()).await.unwrap();
    pods.remove_finalizer("p", &uid, "kpo.rs/protect", Call::forever()).await.unwrap();
    let now = pods.read_pod("p", Call::forever()).await.unwrap();
    assert_eq!(now["spec"]["schedulingGates"], json!([{"name": "example.com/queue"}]));
    assert_eq!(now["metadata"]["finalizers"], json!(["example.com/other"]));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_reply_was_lost_is_repeated_without_harm() {
    let (lab, hook) = lab();
    let pods = hook.pods("default");
    let (uid, first) = create(&pods, "p").await;
    let guard = lab.faults().inject(Match::of("patch", "pods").times(1), Fault::DropReplyAfterEffect);
    let done = pods.remove_gate("p", &uid, "kpo.rs/backoff", Call::forever()).await.unwrap();
    assert_eq!((matches!(done, Written::Done(_)), guard.hits()), (true, 1));
    let options = DeleteOptions { precondition: Precondition::of(&first).unwrap(), grace_seconds: None };
    assert_eq!(pods.delete("p", &options, Call::forever()).await.unwrap(), Written::Conflict);

    let now = pods.get("p", Call::forever()).await.unwrap().unwrap();
    let options = DeleteOptions { precondition: Precondition::of(&now).unwrap(), grace_seconds: None };
    let _guard = lab.faults().inject(Match::of("delete", "pods").times(1), Fault::DropReplyAfterEffect);
    let done = pods.delete("p", &options, Call::forever()).await.unwrap();
    assert_eq!(done, Written::Conflict, "its finalizers hold the object, whose version the first delete changed");
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_as_one_list() {
    let (lab, hook) = lab();
    let pods = hook.pods("default");
    for number in 0..503 {
        create(&pods, &format!("p{number}")).await;
    }
    let before = lab.journal().len();
    let list = pods.list("kpo.rs/task=t", Call::forever()).await.unwrap();
    assert_eq!(list.items.len(), 503);
    assert_eq!(requests(&lab)[before..], ["list pods", "list pods"]);
    assert!(!list.resource_version.is_empty());
    assert!(pods.list("kpo.rs/task=other", Call::forever()).await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_stores_nothing() {
    let (lab, hook) = lab();
    let answer = hook.pods("default").create_dry_run(&pod("p", "n"), Call::forever()).await.unwrap();
    assert_eq!(answer["metadata"]["name"], "p");
    assert_eq!(stored(&lab), 0);
    let mut invalid = pod("Not A Name", "n");
    invalid["spec"]["containers"] = json!([]);
    let error = hook.pods("default").create_dry_run(&invalid, Call::forever()).await.unwrap_err();
    assert!(matches!(error.failure, ApiFailure::Invalid(_)), "{:?}", error.failure);
}

#[tokio::test(start_paused = true)]
async fn whether_a_delete_is_allowed_can_be_asked() {
    let (lab, hook) = lab();
    let pods = hook.pods("default");
    let (uid, made) = create(&pods, "p").await;
    let ask = async |uid: &str| pods.delete_dry_run("p", &Precondition::uid(uid), Call::forever()).await;
    assert!(matches!(ask(&uid).await.unwrap(), Written::Done(_)));
    assert_eq!(ask("another").await.unwrap(), Written::Gone);
    assert_eq!(stored(&lab), 1);
    assert_eq!(pods.get("p", Call::forever()).await.unwrap(), Some(made));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_ridden_out() {
    let (lab, hook) = lab();
    let pods = hook.pods("default");
    create(&pods, "p").await;
    let guard = lab.faults().inject(Match::of("get", "pods").times(12), Fault::Status(Reply::status(503)));
    assert!(pods.get("p", Call::forever()).await.unwrap().is_some());
    assert_eq!(guard.hits(), 12);
}

#[tokio::test]
async fn over_https_with_its_kubeconfig_an_expired_token_is_renewed_from_the_file() {
    let lab = Lab::serve(Store::default(), LabOptions::default()).await.unwrap();
    let path = std::env::temp_dir().join(format!("kpo-cluster-{}", std::process::id()));
    lab.write_kubeconfig(&path).unwrap();
    let options = ConnectOptions { source: Source::File(path.clone()), requests: exact(), ..ConnectOptions::default() };
    let hook = KubernetesHook::connect(options).await.unwrap();
    create(&hook.pods("default"), "p").await;

    lab.grant("fresh", kpo_lab::api::User::admin());
    lab.expire(lab.token().unwrap());
    std::fs::write(&path, lab.kubeconfig_for("fresh").unwrap()).unwrap();
    assert!(hook.pods("default").get("p", Call::within(Duration::from_secs(60))).await.unwrap().is_some());
    std::fs::remove_file(&path).unwrap();
}

mod world {
    //! The same against a whole cluster: nodes, scheduler, preemption, scripted containers, on virtual time.

    use std::sync::Arc;

    use kpo::{
        manager::{EventsSought, ExecCommand, ExecError, ReadError},
        request::Effect,
    };
    use kpo_lab::{
        ScriptedRuntime, World,
        script::built_in,
        scripted::{Behaviour, ExecReply, Matching},
    };

    use super::*;

    fn plain(name: &str) -> Value {
        let mut pod = pod(name, "n");
        pod["metadata"].as_object_mut().unwrap().remove("finalizers");
        pod["spec"].as_object_mut().unwrap().remove("schedulingGates");
        pod
    }

    fn hook(lab: &Lab<World>) -> KubernetesHook {
        KubernetesHook::from_client(kube::Client::new(lab.service(), "default"), exact())
    }

    /// The seed's case (airflow#59626) for one who only reads: the pod is preempted before it ran, and the reads say so.
    #[tokio::test(start_paused = true)]
    async fn a_preempted_pod_that_is_read_is_explained_by_the_clusters_own_events() {
        let script = built_in("preemption").unwrap();
        let lab = Lab::in_process(World::new(Lab::EPOCH, 1, Box::new(script.runtime())), LabOptions::default());
        lab.with(|_, world| world.play(&script));
        let pods = hook(&lab).pods("default");
        pods.create(&plain("orange-juice"), Call::forever()).await.unwrap();
        for _ in 0..1000 {
            if pods.get("orange-juice", Call::forever()).await.unwrap().is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let before = lab.journal().len();
        let begun = lab.now();
        let ReadError::NotFound(error) = pods.read_pod("orange-juice", Call::forever()).await.unwrap_err() else {
            panic!()
        };
        let asked: Vec<_> = lab.journal()[before..].iter().map(|seen| (seen.at.0 - begun.0) / 1_000_000).collect();
        assert_eq!(asked, [0, 2000, 6000, 14000, 14000]);
        let EventsSought::Found(found) = &error.events else { panic!("{error}") };
        assert!(found.iter().any(|line| line.starts_with("Preempted: Preempted by pod ")), "{found:?}");
        let seen = error.last_seen.as_ref().unwrap();
        assert_eq!(seen.node.as_deref(), Some("node-1"));
        assert!(seen.disruption.as_ref().unwrap().contains("PreemptionByScheduler"), "{seen:?}");
        assert!(error.has_evidence() && !error.to_string().contains('\n'));
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_runs_in_the_pod_and_not_in_its_namesake() {
        let reply = ExecReply { stdout: "{\"rows\": 3}".into(), stderr: "noise".into(), exit_code: 7 };
        let behaviour = Behaviour { exec: Some(Arc::new(move |_, _| Some(reply.clone()))), ..Behaviour::forever() };
        let runtime = ScriptedRuntime::new().with(Matching::all(), behaviour);
        let lab = Lab::in_process(World::new(Lab::EPOCH, 1, Box::new(runtime)), LabOptions::default());
        lab.with(|_, world| world.add_node(kpo_lab::NodeSpec::named("node-1")));
        let pods = hook(&lab).pods("default");
        let created = pods.create(&plain("p"), Call::forever()).await.unwrap();
        let uid = created.pod["metadata"]["uid"].as_str().unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;

        let cat = ExecCommand::new("base", ["cat", "/airflow/xcom/return.json"]);
        let output = pods.exec("p", uid, &cat).await.unwrap();
        assert_eq!(
            (output.exit_code, &output.stdout[..], &output.stderr[..]),
            (7, &b"{\"rows\": 3}"[..], &b"noise"[..])
        );
        assert!(output.confirmed);

        assert!(matches!(pods.exec("p", "another", &cat).await, Err(ExecError::Gone)));
        let nowhere = ExecCommand::new("no-such-container", ["cat"]);
        let error = pods.exec("p", uid, &nowhere).await.unwrap_err();
        assert_eq!(error.effect(), Effect::None, "{error:?}");
        // The server takes the upgrade and is not heard of again: one attempt, no second run.
        let guard = lab.faults().inject(Match::any().resource("pods/exec"), Fault::HalfOpen);
        let error = pods.exec("p", uid, &cat).await.unwrap_err();
        assert_eq!((error.effect(), guard.hits()), (Effect::Unknown, 1), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_by_the_clusters_rbac_names_the_rule() {
        let lab = Lab::in_process(Store::default(), LabOptions::default());
        let user = kpo_lab::api::User::with_rules("narrow", vec![]);
        let client = kube::Client::new(lab.service_as(user), "default");
        let pods = KubernetesHook::from_client(client, exact()).pods("default");
        let CreateError::Request(error) = pods.create(&plain("p"), Call::forever()).await.unwrap_err() else {
            panic!()
        };
        let rule = error.missing_rule().unwrap();
        assert_eq!(rule.to_string(), r#"{apiGroups: [""], resources: ["pods"], verbs: ["create"]}"#);
        let error = pods.list("", Call::forever()).await.unwrap_err();
        assert_eq!(error.missing_rule().unwrap().verb.as_str(), "list");
    }
}
