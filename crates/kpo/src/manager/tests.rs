//! The manager against a scripted server, on virtual time: the exact requests, and the silence after them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{Reply, ScriptedServer};

const POD: &str = "GET /api/v1/namespaces/ns/pods/p";

fn pod(attempt: &str, nonce: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "namespace": "ns", "uid": uid, "resourceVersion": "7",
            "labels": {"kpo.rs/attempt": attempt}, "annotations": {"kpo.rs/nonce": nonce},
        },
        "spec": {"containers": [{"name": "base"}]},
        "status": {"phase": "Pending"},
    })
}

fn preempted_event() -> Value {
    json!({"items": [
        {"reason": "Pulled", "message": "noise"},
        {"reason": "Preempted", "message": "Preempted by pod 6f on node n1", "lastTimestamp": "2026-11-24T10:00:00Z"},
    ]})
}

async fn silence() {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

mod reading {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_404_is_read_again_after_exactly_2_4_and_8_seconds() {
        let missing = std::iter::repeat_with(|| Reply::not_found("p")).take(4);
        let server = ScriptedServer::new(missing.chain([Reply::ok(preempted_event())]));
        let error = server.hook().pods("ns").read_pod("p", Call::forever()).await.unwrap_err();
        silence().await;
        assert_eq!(
            server.transcript(),
            [
                format!("0 {POD}"),
                format!("2000 {POD}"),
                format!("6000 {POD}"),
                format!("14000 {POD}"),
                "14000 GET /api/v1/namespaces/ns/events?fieldSelector=involvedObject.kind%3DPod%2CinvolvedObject.name%3Dp&limit=500".into(),
            ]
        );
        assert_eq!(
            error.to_string(),
            "pod \"p\" in namespace \"ns\" was not found, nor when it was read again after 2 s, 4 s, 8 s; this process never saw it; \
             a possible cause is preemption by pods of higher priority, such as DaemonSets on a fresh node; \
             evidence: Preempted: Preempted by pod 6f on node n1; \
             nothing brings a bare pod back: run it as a kpo task, which creates it again when nothing of it ran, or create it anew; \
             see `kubectl get events -n ns --field-selector involvedObject.name=p`"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_hook_reads_the_same_way() {
        let server = ScriptedServer::new([Reply::not_found("p"), Reply::not_found("p"), Reply::ok(pod("1", "n", "u"))]);
        let found = server.hook().get_pod("ns", "p", Call::forever()).await.unwrap();
        silence().await;
        assert_eq!(found["metadata"]["uid"], "u");
        assert_eq!(server.transcript(), [format!("0 {POD}"), format!("2000 {POD}"), format!("6000 {POD}")]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_last_seen_is_told_and_the_events_are_sought_by_uid() {
        let mut seen = pod("1", "n", "u-1");
        seen["spec"]["nodeName"] = json!("n1");
        seen["metadata"]["deletionTimestamp"] = json!("2026-11-24T10:00:00Z");
        seen["status"]["conditions"] = json!([
            {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "default-scheduler: preempting"},
            {"type": "PodScheduled", "status": "True"},
        ]);
        let missing = std::iter::repeat_with(|| Reply::not_found("p")).take(4);
        let refused = Reply::status(403, "Forbidden", "events is forbidden");
        let server = ScriptedServer::new([Reply::ok(seen)].into_iter().chain(missing).chain([refused]));
        let hook = server.hook();
        hook.pods("ns").get("p", Call::forever()).await.unwrap();
        let ReadError::NotFound(error) = hook.pods("ns").read_pod("p", Call::forever()).await.unwrap_err() else {
            panic!()
        };
        silence().await;
        assert!(server.seen().last().unwrap().query.contains("involvedObject.uid%3Du-1"));
        assert_eq!(server.seen().len(), 6);
        assert!(error.has_evidence());
        let line = error.to_string();
        let seen = "last seen: phase Pending, node \"n1\", terminating, DisruptionTarget=True (PreemptionByScheduler), PodScheduled=True";
        assert!(line.contains(seen), "{line}");
        assert!(
            line.contains("evidence: condition DisruptionTarget PreemptionByScheduler: default-scheduler: preempting"),
            "{line}"
        );
        assert!(!line.contains('\n'));
    }

    #[test]
    fn what_another_client_has_read_is_told_the_same_way() {
        let seen = pod("1", "n", "u-1");
        let waited = vec![Duration::from_secs(2)];
        let told = PodNotFound::told("ns", "p", waited.clone(), Some(&seen), Ok(&preempted_event()));
        assert!(told.has_evidence());
        let line = told.to_string();
        assert!(line.contains("nor when it was read again after 2 s; last seen: phase"), "{line}");
        let told = PodNotFound::told("ns", "p", waited, None, Err("events is forbidden".to_owned()));
        assert!(!told.has_evidence());
        assert!(told.to_string().contains("cannot be listed: events is forbidden"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_403_and_a_500_are_not_read_again_by_this_retry() {
        let server = ScriptedServer::new([Reply::status(403, "Forbidden", "no")]);
        let error = server.hook().pods("ns").read_pod("p", Call::forever()).await.unwrap_err();
        silence().await;
        assert!(matches!(error, ReadError::Request(e) if e.failure.is_forbidden()));
        assert_eq!(server.transcript(), [format!("0 {POD}")]);

        // The 500 is the request layer's, at its own instants (0.5 s, 1 s); out of time, it is an error and read no more.
        let server =
            ScriptedServer::new(std::iter::repeat_with(|| Reply::status(500, "InternalError", "etcd")).take(9));
        let error = server.hook().pods("ns").read_pod("p", Call::within(Duration::from_secs(2))).await.unwrap_err();
        silence().await;
        assert!(matches!(error, ReadError::Request(_)));
        assert_eq!(server.transcript(), [format!("0 {POD}"), format!("500 {POD}"), format!("1500 {POD}")]);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_of_requests_use_up_no_read() {
        let server = ScriptedServer::new([
            Reply::not_found("p"),
            Reply::Cut,
            Reply::status(503, "ServiceUnavailable", "starting"),
            Reply::not_found("p"),
            Reply::not_found("p"),
            Reply::not_found("p"),
            Reply::ok(json!({"items": []})),
        ]);
        server.hook().pods("ns").read_pod("p", Call::forever()).await.unwrap_err();
        let at: Vec<_> = server.seen().iter().map(|s| s.at.as_millis()).collect();
        assert_eq!(at, [0, 2000, 2500, 3500, 7500, 15500, 15500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_would_come_too_late_is_not_waited_for() {
        let replies = [Reply::not_found("p"), Reply::not_found("p"), Reply::ok(preempted_event())];
        let server = ScriptedServer::new(replies);
        let call = Call::within(Duration::from_secs(3));
        let ReadError::NotFound(error) = server.hook().pods("ns").read_pod("p", call).await.unwrap_err() else {
            panic!("a missing pod is no time-out")
        };
        silence().await;
        let at: Vec<_> = server.seen().iter().map(|s| s.at.as_millis()).collect();
        assert_eq!(at, [0, 2000, 2000]);
        assert_eq!(error.waited, [Duration::from_secs(2)]);
        assert!(error.to_string().contains("nor when it was read again after 2 s; this"), "{error}");
        assert!(error.has_evidence());
    }

    #[tokio::test(start_paused = true)]
    async fn delays_and_count_are_settable() {
        let replies = [Reply::not_found("p"), Reply::not_found("p"), Reply::ok(json!({"items": []}))];
        let server = ScriptedServer::new(replies);
        let retry = ReadRetry { delays: vec![Duration::from_millis(1500)] };
        let manager = server.hook().pods("ns").with_read_retry(retry.clone());
        let error = manager.read_pod("p", Call::forever()).await.unwrap_err().to_string();
        let at: Vec<_> = server.seen().iter().map(|s| s.at.as_millis()).collect();
        assert_eq!(at, [0, 1500, 1500]);
        let server =
            ScriptedServer::new([Reply::not_found("p"), Reply::not_found("p"), Reply::ok(json!({"items": []}))]);
        server.hook().with_read_retry(retry).get_pod("ns", "p", Call::forever()).await.unwrap_err();
        assert_eq!(server.seen().iter().map(|s| s.at.as_millis()).collect::<Vec<_>>(), at);
        assert!(error.contains("read again after 1.5 s;"), "{error}");
        assert!(error.contains("no event tells of it"), "{error}");
    }
}

mod creating {
    use super::*;

    fn no_events() -> Reply {
        Reply::ok(json!({"items": []}))
    }

    fn methods(server: &ScriptedServer) -> Vec<String> {
        server.seen().into_iter().map(|s| format!("{} {}", s.at.as_millis(), s.method)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answered_create_is_one_request() {
        let server = ScriptedServer::new([Reply::ok(pod("1", "n", "u"))]);
        let sent = pod("1", "n", "");
        let created = server.hook().pods("ns").create(&sent, Call::forever()).await.unwrap();
        silence().await;
        assert!(!created.resolved);
        assert_eq!(server.transcript(), ["0 POST /api/v1/namespaces/ns/pods"]);
        assert_eq!(server.seen()[0].body, sent);
    }

    /// A thousand creates may wait for their turn.
    #[tokio::test(start_paused = true)]
    async fn a_create_that_waits_takes_up_little_room() {
        let (pods, kept) = (ScriptedServer::new([]).hook().pods("ns"), CancellationToken::new());
        let waiting = pods.create_when_due("p", || Value::Null, Call::forever(), &kept);
        let size = std::mem::size_of_val(&waiting);
        assert!(size <= 1280, "{size} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_reply_is_resolved_by_looking() {
        for lost in [Reply::Cut, Reply::status(504, "Timeout", "request did not complete")] {
            let server = ScriptedServer::new([lost, Reply::ok(pod("1", "n", "u"))]);
            let created = server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await.unwrap();
            silence().await;
            assert!(created.resolved);
            assert_eq!(methods(&server), ["0 POST", "0 GET"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_create_without_effect_is_sent_again() {
        let foreign = [403, 404, 200].map(|code| Reply::foreign(code, "<html>default backend</html>"));
        for lost in [Reply::Cut].into_iter().chain(foreign) {
            let replies = [lost, Reply::not_found("p"), no_events(), Reply::ok(pod("1", "n", "u"))];
            let server = ScriptedServer::new(replies);
            let created = server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await.unwrap();
            silence().await;
            assert!(!created.resolved);
            assert_eq!(methods(&server), ["0 POST", "0 GET", "0 GET", "500 POST"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_create_that_arrived_late_is_found_by_the_second() {
        let exists = Reply::status(409, "AlreadyExists", "pods \"p\" already exists");
        let forbidden = Reply::status(403, "Forbidden", "events is forbidden");
        let replies = [Reply::Cut, Reply::not_found("p"), forbidden, exists, Reply::ok(pod("1", "n", "u"))];
        let server = ScriptedServer::new(replies);
        let created = server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await.unwrap();
        assert!(created.resolved);
        assert_eq!(methods(&server), ["0 POST", "0 GET", "0 GET", "500 POST", "500 GET"]);
    }

    /// The quota that refuses the second is filled by the pod of the first.
    #[tokio::test(start_paused = true)]
    async fn a_create_that_arrived_late_is_found_behind_a_refusal() {
        let quota = || Reply::status(403, "Forbidden", "pods \"p\" is forbidden: exceeded quota: q");
        let replies = [Reply::Cut, Reply::not_found("p"), no_events(), quota(), Reply::ok(pod("1", "n", "u"))];
        let server = ScriptedServer::new(replies);
        let created = server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await.unwrap();
        silence().await;
        assert!(created.resolved);
        assert_eq!(methods(&server), ["0 POST", "0 GET", "0 GET", "500 POST", "500 GET"]);

        // Later still: the doubt outlives the call.
        let replies = [Reply::Cut, Reply::not_found("p"), no_events(), quota(), Reply::not_found("p")];
        let server = ScriptedServer::new(replies.into_iter().chain([quota(), Reply::ok(pod("1", "n", "u"))]));
        let pods = server.hook().pods("ns");
        let error = pods.create(&pod("1", "n", ""), Call::forever()).await.unwrap_err();
        assert!(matches!(error, CreateError::Request(e) if e.failure.is_forbidden()));
        assert!(pods.create(&pod("1", "n", ""), Call::forever()).await.unwrap().resolved);
        silence().await;
        assert_eq!(methods(&server)[3..], ["500 POST", "500 GET", "500 POST", "500 GET"]);
    }

    #[tokio::test(start_paused = true)]
    async fn another_ones_pod_and_an_earlier_attempt_are_not_ours() {
        let mut earlier = pod("1", "n", "u-1");
        earlier["metadata"]["deletionTimestamp"] = json!("2026-11-24T10:00:00Z");
        for (found, terminates) in [(pod("2", "impostor", "u-1"), false), (earlier, true)] {
            let exists = Reply::status(409, "AlreadyExists", "pods \"p\" already exists");
            let server = ScriptedServer::new([exists, Reply::ok(found)]);
            let error = server.hook().pods("ns").create(&pod("2", "n", ""), Call::forever()).await.unwrap_err();
            silence().await;
            let CreateError::NameTaken { uid, terminating, .. } = error else { panic!("{error:?}") };
            assert_eq!((uid.as_str(), terminating), ("u-1", terminates));
            assert_eq!(methods(&server), ["0 POST", "0 GET"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_create_that_may_have_been_sent_is_looked_for_first() {
        let since = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        let sent = pod("1", "n", "");
        let server = ScriptedServer::new([Reply::ok(pod("1", "n", "u-1"))]);
        let again = async |server: &ScriptedServer| {
            let (pods, kept) = (server.hook().pods("ns"), CancellationToken::new());
            pods.create_again("p", || sent.clone(), since, Call::forever(), &kept).await
        };
        assert!(again(&server).await.unwrap().unwrap().resolved);
        assert_eq!(methods(&server), ["0 GET"]);

        let killed = event("u-0", "2026-11-24T10:00:05Z");
        let made = made_at("2026-11-24T10:00:06Z");
        let server = ScriptedServer::new([Reply::not_found("p"), Reply::ok(json!({"items": [killed]})), made]);
        let error = again(&server).await.unwrap_err();
        silence().await;
        assert!(matches!(error, CreateError::InDoubt { .. }), "{error:?}");
        assert_eq!(methods(&server), ["0 GET", "0 GET", "0 POST"]);

        let none = Reply::ok(json!({"items": []}));
        let server = ScriptedServer::new([Reply::not_found("p"), none, Reply::ok(pod("1", "n", "u-1"))]);
        again(&server).await.unwrap();
        assert_eq!(methods(&server), ["0 GET", "0 GET", "0 POST"]);
    }

    /// What is withdrawn is not sent again; what may have been sent is found out first.
    #[tokio::test(start_paused = true)]
    async fn a_create_that_is_withdrawn_is_not_sent_again() {
        let away = || Reply::status(503, "ServiceUnavailable", "the server is currently unable to handle the request");
        let create = async |replies: Vec<Reply>| {
            let (server, withdrawn) = (ScriptedServer::new(replies), CancellationToken::new());
            let (token, pods) = (withdrawn.clone(), server.hook().pods("ns"));
            let sent = pod("1", "n", "");
            let created =
                tokio::spawn(async move { pods.create_when_due("p", || sent.clone(), Call::forever(), &token).await });
            tokio::time::sleep(Duration::from_millis(1)).await;
            withdrawn.cancel();
            let created = created.await.unwrap().unwrap();
            silence().await;
            (created.map(|created| created.resolved), methods(&server))
        };
        // 503: its effect is not known, and there is no pod.
        let none = || Reply::ok(json!({"items": []}));
        let (created, sent) = create(vec![away(), Reply::not_found("p"), none(), Reply::not_found("p")]).await;
        assert_eq!((created, sent.join(", ").as_str()), (None, "0 POST, 0 GET, 0 GET, 1 GET"));
        // It arrived since it was looked for.
        let late = vec![away(), Reply::not_found("p"), none(), Reply::ok(pod("1", "n", "u-1"))];
        assert_eq!(create(late).await.0, Some(true));
        // 429: it had none, and the next try is waited for.
        let throttled = Reply::status(429, "TooManyRequests", "slow down");
        let (created, sent) = create(vec![throttled]).await;
        assert_eq!((created, sent.join(", ").as_str()), (None, "0 POST"));
        // Its reply was lost, and the pod is there.
        let (created, _) = create(vec![Reply::Cut, Reply::ok(pod("1", "n", "u-1"))]).await;
        assert_eq!(created, Some(true));
    }

    /// An event as the API server stored it then, seen a moment ago by this machine's clock.
    fn event(uid: &str, stored: &str) -> Value {
        let about = json!({"kind": "Pod", "name": "p", "uid": uid});
        json!({
            "metadata": {"creationTimestamp": stored}, "reason": "Killing", "message": "Stopping container base",
            "involvedObject": about, "lastTimestamp": "2099-01-01T00:00:00Z",
        })
    }

    /// What is answered to a create that would be made at that moment of the API server's clock.
    fn made_at(time: &str) -> Reply {
        Reply::ok(json!({"metadata": {"name": "p", "creationTimestamp": time}}))
    }

    /// What comes of a create that was lost, where these events are found.
    async fn lost_with(events: &[Value], clock: Reply) -> (Result<Created, CreateError>, ScriptedServer) {
        let events = Reply::ok(json!({"items": events}));
        let server =
            ScriptedServer::new([Reply::Cut, Reply::not_found("p"), events, clock, Reply::ok(pod("1", "n", "u"))]);
        let created = server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await;
        silence().await;
        (created, server)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_vanished_before_it_was_looked_for_is_not_created_twice() {
        let ours = || event("u-1", "2026-11-24T10:00:05Z");
        let old = event("u-0", "2026-11-24T09:59:50Z");
        let nameless = event("", "2026-11-24T10:00:05Z");
        let unasked = || Reply::status(403, "Forbidden", "no");
        for (events, clock, uid) in [
            (vec![ours()], made_at("2026-11-24T10:00:06Z"), "u-1"),
            (vec![old.clone(), ours()], made_at("2026-11-24T10:00:06Z"), "u-1"),
            (vec![event("", "2026-11-24T09:59:50Z"), nameless], made_at("2026-11-24T10:00:06Z"), ""),
            // Who cannot tell the time excludes nothing.
            (vec![old], unasked(), "u-0"),
        ] {
            let (created, server) = lost_with(&events, clock).await;
            let said = format!(
                "the pod \"p\" may have been created, and is not to be found: event Killing: Stopping container base (UID {uid})"
            );
            assert_eq!(created.unwrap_err().to_string(), said);
            assert_eq!(methods(&server), ["0 POST", "0 GET", "0 GET", "0 POST"]);
            assert_eq!(server.seen()[3].query, "dryRun=All", "what tells the time makes no pod");
        }
    }

    /// The name of a pod that was there a moment ago, which is what its events tell of.
    #[tokio::test(start_paused = true)]
    async fn the_events_of_a_predecessor_of_that_name_are_no_evidence() {
        let first = event("u-0", "2026-11-24T10:00:00Z");
        let last = event("u-0", "2026-11-24T10:00:05Z");
        let (created, server) = lost_with(&[first, last], made_at("2026-11-24T10:00:05Z")).await;
        assert!(!created.unwrap().resolved);
        assert_eq!(methods(&server), ["0 POST", "0 GET", "0 GET", "0 POST", "500 POST"]);

        // An event of long ago needs no such look.
        let mut long_ago = event("u-0", "2001-01-01T00:00:00Z");
        long_ago["lastTimestamp"] = json!("2001-01-01T00:00:00Z");
        let events = Reply::ok(json!({"items": [long_ago]}));
        let server = ScriptedServer::new([Reply::Cut, Reply::not_found("p"), events, Reply::ok(pod("1", "n", "u"))]);
        server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await.unwrap();
        assert_eq!(methods(&server), ["0 POST", "0 GET", "0 GET", "500 POST"]);
    }

    /// An answer that was cut is none: the pod may have run and be gone.
    #[tokio::test(start_paused = true)]
    async fn events_are_asked_for_until_they_are_answered() {
        let ours = Reply::ok(json!({"items": [event("u-1", "2026-11-24T10:00:05Z")]}));
        let unavailable = Reply::status(503, "ServiceUnavailable", "no");
        let clock = made_at("2026-11-24T10:00:06Z");
        let replies = [Reply::Cut, Reply::not_found("p"), Reply::Cut, unavailable, ours, clock];
        let server = ScriptedServer::new(replies);
        let error = server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await.unwrap_err();
        silence().await;
        assert!(matches!(error, CreateError::InDoubt { .. }), "{error:?}");
        assert_eq!(methods(&server), ["0 POST", "0 GET", "0 GET", "500 GET", "1500 GET", "1500 POST"]);
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_may_not_be_listed_are_no_evidence() {
        let forbidden = Reply::status(403, "Forbidden", "events is forbidden");
        let server = ScriptedServer::new([Reply::Cut, Reply::not_found("p"), forbidden, Reply::ok(pod("1", "n", "u"))]);
        server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await.unwrap();
        assert_eq!(methods(&server), ["0 POST", "0 GET", "0 GET", "500 POST"]);
    }

    /// A server that is there and says nothing: the create may be done yet.
    #[tokio::test(start_paused = true)]
    async fn a_silent_server_leaves_the_doubt() {
        let server = ScriptedServer::new(std::iter::repeat_with(|| Reply::Silence).take(9));
        let error = server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await.unwrap_err();
        silence().await;
        assert!(matches!(error, CreateError::InDoubt { .. }), "{error:?}");
        assert_eq!(methods(&server), ["0 POST", "10000 GET"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_not_look_stays_in_doubt() {
        let server = ScriptedServer::new([Reply::Cut, Reply::status(403, "Forbidden", "pods is forbidden")]);
        let error = server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await.unwrap_err();
        silence().await;
        assert!(matches!(error, CreateError::InDoubt { .. }));
        assert_eq!(methods(&server), ["0 POST", "0 GET"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final() {
        let server = ScriptedServer::new([Reply::status(403, "Forbidden", "exceeded quota: q")]);
        let error = server.hook().pods("ns").create(&pod("1", "n", ""), Call::forever()).await.unwrap_err();
        silence().await;
        assert!(matches!(error, CreateError::Request(e) if e.failure.is_forbidden()));
        assert_eq!(methods(&server), ["0 POST"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_during_a_create_ends_at_the_deadline() {
        let down = || Reply::status(500, "InternalError", "failed calling webhook");
        let replies = std::iter::repeat_with(move || [down(), Reply::not_found("p"), no_events()]).flatten().take(40);
        let server = ScriptedServer::new(replies);
        let call = Call::within(Duration::from_secs(3));
        let error = server.hook().pods("ns").create(&pod("1", "n", ""), call).await.unwrap_err();
        silence().await;
        assert!(error.to_string().contains("after 3 attempts"), "{error}");
        let one = |at: &str| ["POST", "GET", "GET"].map(|method| format!("{at} {method}"));
        assert_eq!(methods(&server), [one("0"), one("500"), one("1500")].concat());
    }
}

mod writing {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_delete_carries_uid_version_and_grace() {
        let server = ScriptedServer::new([Reply::ok(pod("1", "n", "u"))]);
        let options = DeleteOptions { precondition: Precondition::uid("u").at("7"), grace_seconds: Some(5) };
        let done = server.hook().pods("ns").delete("p", &options, Call::forever()).await.unwrap();
        silence().await;
        assert!(matches!(done, Written::Done(_)));
        assert_eq!(server.transcript(), ["0 DELETE /api/v1/namespaces/ns/pods/p"]);
        assert_eq!(
            server.seen()[0].body,
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 5,
                   "preconditions": {"uid": "u", "resourceVersion": "7"}})
        );
    }

    #[tokio::test(start_paused = true)]
    async fn anothers_uid_means_gone_and_another_version_conflict() {
        let uid = "Operation cannot be fulfilled on pods \"p\": Precondition failed: UID in precondition: u, UID in object meta: v";
        let version = "Operation cannot be fulfilled on pods \"p\": the ResourceVersion in the precondition (7) does not match the \
                       ResourceVersion in record (8). The object might have been modified";
        let cases = [
            (Reply::status(409, "Conflict", uid), Written::Gone),
            (Reply::status(409, "Conflict", version), Written::Conflict),
            (Reply::not_found("p"), Written::Gone),
        ];
        for (reply, expected) in cases {
            let server = ScriptedServer::new([reply]);
            let options = DeleteOptions { precondition: Precondition::uid("u").at("7"), grace_seconds: None };
            let done = server.hook().pods("ns").delete("p", &options, Call::forever()).await.unwrap();
            assert_eq!((done, server.seen().len()), (expected, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delete_whose_reply_was_lost_finds_its_own_effect() {
        let server = ScriptedServer::new([Reply::Cut, Reply::not_found("p")]);
        let options = DeleteOptions { precondition: Precondition::uid("u").at("7"), grace_seconds: None };
        let done = server.hook().pods("ns").delete("p", &options, Call::forever()).await.unwrap();
        assert_eq!((done, server.seen().len()), (Written::Gone, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxys_word_that_there_is_nothing_is_not_the_pods_end() {
        let options = DeleteOptions { precondition: Precondition::uid("u").at("7"), grace_seconds: None };
        for code in [404, 409] {
            let lost = Reply::foreign(code, "<html>default backend</html>");
            let server = ScriptedServer::new([lost, Reply::ok(pod("1", "n", "u"))]);
            let done = server.hook().pods("ns").delete("p", &options, Call::forever()).await.unwrap();
            assert!(matches!(done, Written::Done(_)), "{done:?}");
            assert_eq!(server.seen().len(), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_own_gate_and_finalizer_are_taken_off_in_one_request_each() {
        let server = ScriptedServer::new([Reply::ok(pod("1", "n", "u")), Reply::ok(pod("1", "n", "u"))]);
        let pods = server.hook().pods("ns");
        pods.remove_finalizer("p", "u", "kpo.rs/protect", Call::forever()).await.unwrap();
        pods.remove_gate("p", "u", "kpo.rs/backoff", Call::forever()).await.unwrap();
        silence().await;
        let seen = server.seen();
        assert_eq!(seen.iter().map(|s| s.method.as_str()).collect::<Vec<_>>(), ["PATCH", "PATCH"]);
        let finalizers = json!({"$deleteFromPrimitiveList/finalizers": ["kpo.rs/protect"], "uid": "u"});
        assert_eq!(seen[0].body, json!({ "metadata": finalizers }));
        let gates = json!([{"$patch": "delete", "name": "kpo.rs/backoff"}]);
        assert_eq!(seen[1].body, json!({"metadata": {"uid": "u"}, "spec": {"schedulingGates": gates}}));
    }

    /// As v1.34 answers a patch that names another UID than the pod's.
    #[tokio::test(start_paused = true)]
    async fn the_gate_of_a_namesake_is_left_alone() {
        let message = "Pod \"p\" is invalid: metadata.uid: Invalid value: \"u-1\": field is immutable";
        let cause = json!({"reason": "FieldValueInvalid", "field": "metadata.uid", "message": message});
        let details = json!({"name": "p", "kind": "Pod", "causes": [cause]});
        let server = ScriptedServer::new([Reply::status_with(422, "Invalid", message, details)]);
        let done = server.hook().pods("ns").remove_gate("p", "u-1", "kpo.rs/backoff", Call::forever()).await.unwrap();
        silence().await;
        assert_eq!((done, server.seen().len()), (Written::Gone, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_continuation_expired_is_begun_anew() {
    let page = |name: &str, token: &str| {
        Reply::ok(
            json!({"metadata": {"resourceVersion": "9", "continue": token}, "items": [{"metadata": {"name": name}}]}),
        )
    };
    let expired = Reply::status(410, "Expired", "The provided continue parameter is too old");
    let server = ScriptedServer::new([page("a", "t"), expired, page("b", "")]);
    let list = server.hook().pods("ns").list("kpo.rs/task=x", Call::forever()).await.unwrap();
    assert_eq!((list.items.len(), list.resource_version.as_str()), (1, "9"));
    let queries: Vec<_> = server.seen().into_iter().map(|s| s.query).collect();
    assert_eq!(
        queries,
        [
            "labelSelector=kpo.rs%2Ftask%3Dx&limit=500",
            "labelSelector=kpo.rs%2Ftask%3Dx&limit=500&continue=t",
            "labelSelector=kpo.rs%2Ftask%3Dx"
        ]
    );
}
