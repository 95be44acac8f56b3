//! The request layer against a scripted server, on virtual time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use serde_json::json;

use super::*;
use crate::testing::{Reply, ScriptedServer, exact_options};

fn get() -> ApiRequest {
    ApiRequest::get("ns", "pods", "p")
}

fn post() -> ApiRequest {
    ApiRequest::create("ns", "pods", json!({"metadata": {"name": "p"}}))
}

fn unavailable() -> Reply {
    Reply::status(503, "ServiceUnavailable", "apiserver is shutting down")
}

#[tokio::test(start_paused = true)]
async fn server_errors_are_tried_again_with_growing_waits() {
    let server = ScriptedServer::new([
        unavailable(),
        Reply::foreign(502, "<html>bad gateway</html>"),
        Reply::Cut,
        Reply::ok(json!({"kind": "Pod"})),
    ]);
    let pod = server.hook().requests().send(&get(), Call::forever()).await.unwrap();
    assert_eq!(pod["kind"], "Pod");
    let path = "GET /api/v1/namespaces/ns/pods/p";
    assert_eq!(
        server.transcript(),
        [format!("0 {path}"), format!("500 {path}"), format!("1500 {path}"), format!("3500 {path}")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_left_after_the_timeout() {
    let server = ScriptedServer::new([Reply::ok(json!({})), Reply::Silence, Reply::ok(json!({}))]);
    let hook = server.hook();
    hook.requests().send(&get(), Call::forever()).await.unwrap();
    hook.requests().send(&get(), Call::forever().timeout(Duration::from_secs(5))).await.unwrap();
    let at: Vec<_> = server.seen().iter().map(|s| s.at.as_millis()).collect();
    assert_eq!(at, [0, 0, 5500]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_in_header_and_body() {
    let slow = || Reply::status(429, "TooManyRequests", "slow down");
    let in_body = Reply::status_with(429, "TooManyRequests", "slow down", json!({"retryAfterSeconds": 3}));
    let server = ScriptedServer::new([slow().header("retry-after", "2"), in_body, Reply::ok(json!({}))]);
    server.hook().requests().send(&post(), Call::forever()).await.unwrap();
    let at: Vec<_> = server.seen().iter().map(|s| s.at.as_secs()).collect();
    assert_eq!(at, [0, 2, 5]);
}

/// Answers so for ever, the first time with what is given.
fn forbids_after(first: Option<Reply>, message: &'static str) -> ScriptedServer {
    let mut first = first;
    ScriptedServer::answering(move |_| first.take().unwrap_or_else(|| Reply::status(403, "Forbidden", message)))
}

const PLAIN: &str =
    "pods is forbidden: User \"u\" cannot create resource \"pods\" in API group \"\" in the namespace \"ns\"";
const NO_ROLE: &str = "pods is forbidden: User \"u\" cannot create resource \"pods\" in API group \"\" in the namespace \"ns\": RBAC: role.rbac.authorization.k8s.io \"kpo\" not found";

#[tokio::test(start_paused = true)]
async fn what_an_api_server_forbids_that_has_just_come_is_asked_for_again() {
    let late = |message| [unavailable(), Reply::status(403, "Forbidden", message), Reply::ok(json!({}))];
    for message in [PLAIN, NO_ROLE] {
        let server = ScriptedServer::new(late(message));
        server.hook().requests().send(&get(), Call::forever()).await.unwrap();
        let at: Vec<_> = server.seen().iter().map(|s| s.at.as_millis()).collect();
        assert_eq!(at, [0, 500, 1500], "{message}");
    }
    // For ten seconds: then it is forbidden.
    let until = |first: Option<Reply>, message| async move {
        let server = forbids_after(first, message);
        let error = server.hook().requests().send(&get(), Call::forever()).await.unwrap_err();
        assert!(error.failure.is_forbidden(), "{error:?}");
        server.seen().last().unwrap().at.as_millis()
    };
    assert_eq!(until(None, PLAIN).await, 0);
    assert_eq!(until(None, NO_ROLE).await, 10_000);
    assert_eq!(until(Some(unavailable()), PLAIN).await, 10_500);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_asked_once() {
    let cases = [
        Reply::status(403, "Forbidden", "no"),
        Reply::status(404, "NotFound", "no"),
        Reply::status(409, "AlreadyExists", "no"),
        Reply::status(409, "Conflict", "no"),
        Reply::status(410, "Expired", "no"),
        Reply::status(422, "Invalid", "no"),
        Reply::status(400, "BadRequest", "no"),
        Reply::foreign(413, "<html>Request Entity Too Large</html>"),
    ];
    for reply in cases {
        let server = ScriptedServer::new([reply]);
        let error = server.hook().requests().send(&get(), Call::forever()).await.unwrap_err();
        assert_eq!((error.attempts, server.seen().len()), (1, 1), "{error:?}");
    }
}

/// A proxy's words are not the API server's.
#[tokio::test(start_paused = true)]
async fn what_somebody_in_between_answers_is_asked_again() {
    for code in [302, 403, 404, 409, 410, 422, 200] {
        let server = ScriptedServer::new([Reply::foreign(code, "<html>default backend</html>"), Reply::ok(json!({}))]);
        server.hook().requests().send(&get(), Call::forever()).await.unwrap();
        assert_eq!(server.seen().len(), 2, "{code}");
    }
}

/// A wrong address, at which somebody answers.
#[tokio::test(start_paused = true)]
async fn where_no_api_server_ever_answered_the_first_contact_is_given_up_soon() {
    let page = || Reply::foreign(404, "<html>default backend</html>");
    let server = ScriptedServer::new(std::iter::repeat_with(page).take(50));
    let error = server.hook().requests().send(&get(), Call::forever()).await.unwrap_err();
    assert_eq!(error.attempts, 5, "at 0, 0.5, 1.5, 3.5 and 7.5 s, within 10 s");
    let said = "something in front of the API server answered with 404: <html>default backend</html>";
    assert_eq!(error.failure.to_string(), said);

    // Once one has, it is waited for.
    let server = ScriptedServer::new([Reply::ok(json!({}))].into_iter().chain(std::iter::repeat_with(page).take(50)));
    let hook = server.hook();
    hook.requests().send(&get(), Call::forever()).await.unwrap();
    let error = hook.requests().send(&get(), Call::within(Duration::from_secs(60))).await.unwrap_err();
    assert_eq!(error.attempts, 7, "until the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_create_is_not_repeated_when_its_effect_is_unknown() {
    let foreign = [504, 404, 403, 200].map(|code| Reply::foreign(code, "<html>not here</html>"));
    for reply in [Reply::Cut, Reply::Silence, unavailable()].into_iter().chain(foreign) {
        let server = ScriptedServer::new([reply]);
        let error = server.hook().requests().send(&post(), Call::forever()).await.unwrap_err();
        assert_eq!(error.failure.effect(), Effect::Unknown);
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_is_repeated_when_it_had_no_effect() {
    let quota = Reply::status_with(
        409,
        "Conflict",
        "Operation cannot be fulfilled on resourcequotas \"q\"",
        json!({"kind": "resourcequotas"}),
    );
    let server = ScriptedServer::new([quota, Reply::ok(json!({}))]);
    server.hook().requests().send(&post(), Call::forever()).await.unwrap();
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_attempts() {
    let replies = std::iter::once(Reply::ok(json!({}))).chain(std::iter::repeat_with(unavailable).take(20));
    let server = ScriptedServer::new(replies);
    let hook = server.hook();
    hook.requests().send(&get(), Call::forever()).await.unwrap();
    let error = hook.requests().send(&get(), Call::within(Duration::from_secs(4))).await.unwrap_err();
    // At 0, 0.5, 1.5 and 3.5 s; the next one would be at 7.5 s.
    assert_eq!(error.attempts, 4);
    assert_eq!(error.to_string(), r#"cannot get pods "p" in namespace "ns" after 4 attempts"#);
    assert_eq!(error.failure.to_string(), "the API server failed with 503: apiserver is shutting down");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_cuts_an_attempt_short() {
    let server = ScriptedServer::new([Reply::ok(json!({})), Reply::Silence]);
    let hook = server.hook();
    hook.requests().send(&get(), Call::forever()).await.unwrap();
    let begun = Instant::now();
    hook.requests().send(&get(), Call::within(Duration::from_secs(4))).await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 4);
}

#[tokio::test(start_paused = true)]
async fn without_any_answer_the_first_contact_is_given_up_soon() {
    let server = ScriptedServer::new(std::iter::repeat_with(|| Reply::Cut).take(50));
    let error = server.hook().requests().send(&get(), Call::forever()).await.unwrap_err();
    assert_eq!(error.attempts, 5, "at 0, 0.5, 1.5, 3.5 and 7.5 s, within 10 s");
}

#[tokio::test(start_paused = true)]
async fn each_repetition_and_the_recovery_are_told() {
    let server = ScriptedServer::new([unavailable(), Reply::Cut, Reply::ok(json!({}))]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let mut options = exact_options();
    options.observer = Some(Arc::new(move |notice: &Notice<'_>| {
        let line = match notice {
            Notice::Retrying { attempts, failure, delay, .. } => format!("{attempts}: {failure}; {delay:?}"),
            Notice::Recovered { attempts, after, .. } => format!("{attempts}: recovered after {after:?}"),
        };
        sink.lock().unwrap().push(line);
    }));
    server.hook_with(options).requests().send(&get(), Call::forever()).await.unwrap();
    assert_eq!(
        *told.lock().unwrap(),
        [
            "1: the API server failed with 503: apiserver is shutting down; 500ms",
            "2: the connection to the API server broke; 1s",
            "3: recovered after 1.5s"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn fixed_credentials_that_are_not_accepted_fail_at_once() {
    let server = ScriptedServer::new([Reply::status(401, "Unauthorized", "Unauthorized")]);
    let error = server.hook().requests().send(&get(), Call::forever()).await.unwrap_err();
    assert!(matches!(error.failure, ApiFailure::Unauthorized(_)));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_opened_again_until_its_headers_come_and_then_left_alone() {
    let chunks = vec!["one\n".into(), "two\n".into()];
    let server = ScriptedServer::new([unavailable(), Reply::Stream { chunks, cut: true }]);
    let stream = server.hook().requests().open(&ApiRequest::watch("ns", "pods"), Call::forever()).await.unwrap();
    let items: Vec<_> = stream.collect().await;
    assert_eq!(items.len(), 3);
    assert_eq!(&items[1].as_ref().unwrap()[..], b"two\n");
    assert!(matches!(
        items[2],
        Err(ApiFailure::Transport { effect: Effect::Unknown, kind: TransportKind::Broken, .. })
    ));
    assert_eq!(
        server.transcript(),
        ["0 GET /api/v1/namespaces/ns/pods?watch=true", "500 GET /api/v1/namespaces/ns/pods?watch=true"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_holds_no_slot() {
    let stream = || Reply::Stream { chunks: vec![], cut: false };
    let server = ScriptedServer::new([stream(), Reply::Silence, Reply::ok(json!({}))]);
    let mut options = exact_options();
    options.limit.in_flight = 1;
    let hook = server.hook_with(options);
    let call = Call::forever().timeout(Duration::from_secs(30));
    let _open = hook.requests().open(&ApiRequest::watch("ns", "pods"), call).await.unwrap();
    // A log follow whose headers never come holds none either.
    let requests = hook.requests().clone();
    let _quiet = tokio::spawn(async move { requests.open(&get().subresource("log"), Call::forever()).await.is_ok() });
    tokio::task::yield_now().await;
    hook.requests().send(&get(), Call::forever()).await.unwrap();
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn too_large_resource_version_is_known_by_cause_and_by_words() {
    let by_cause = json!({"code": 504, "reason": "Timeout", "message": "Timeout: …", "details": {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1}});
    let by_words =
        json!({"code": 504, "reason": "Timeout", "message": "Timeout: Too large resource version: 9, current: 7"});
    let failure = ApiFailure::from_status_object(&by_cause);
    assert!(matches!(failure, ApiFailure::TooLargeResourceVersion(_)));
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(1)));
    assert!(matches!(ApiFailure::from_status_object(&by_words), ApiFailure::TooLargeResourceVersion(_)));
}

mod credentials {
    use std::sync::atomic::AtomicUsize;

    use futures::FutureExt;

    use super::*;
    use crate::hook::{Connection, KubernetesHook, Renewal};

    fn unauthorized() -> Reply {
        Reply::status(401, "Unauthorized", "Unauthorized")
    }

    /// A hook whose credentials can be renewed, with the instants at which they were.
    fn renewable(server: &ScriptedServer) -> (KubernetesHook, Arc<Mutex<Vec<u64>>>) {
        let begun = Instant::now();
        let renewals = Arc::new(Mutex::new(Vec::new()));
        let (client, record) = (server.client(), Arc::clone(&renewals));
        let renewal: Renewal = Box::new(move || {
            record.lock().unwrap().push(begun.elapsed().as_secs());
            let client = client.clone();
            async move { Ok(client) }.boxed()
        });
        let connection = Connection::new(server.client(), "", None, Some(renewal));
        (KubernetesHook::over(connection, exact_options()), renewals)
    }

    #[tokio::test(start_paused = true)]
    async fn a_401_renews_once_and_then_again_and_again_until_the_deadline() {
        let refusals = std::iter::repeat_with(unauthorized).take(40);
        let server = ScriptedServer::new(std::iter::once(Reply::ok(json!({}))).chain(refusals));
        let (hook, renewals) = renewable(&server);
        hook.requests().send(&get(), Call::forever()).await.unwrap();
        let call = Call::within(Duration::from_secs(30));
        let error = hook.requests().send(&get(), call).await.unwrap_err();
        assert!(matches!(error.failure, ApiFailure::Unauthorized(_)));
        let at: Vec<_> = server.seen().iter().skip(1).map(|s| s.at.as_secs()).collect();
        assert_eq!(at, [0, 0, 1, 3, 7, 7, 23, 23]);
        assert_eq!(*renewals.lock().unwrap(), [0, 7, 23]);
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_see_the_same_401_renew_once() {
        let refusals = std::iter::repeat_with(unauthorized).take(20);
        let answers = std::iter::repeat_with(|| Reply::ok(json!({}))).take(20);
        let server = ScriptedServer::new(std::iter::once(Reply::ok(json!({}))).chain(refusals).chain(answers));
        let (hook, renewals) = renewable(&server);
        hook.requests().send(&get(), Call::forever()).await.unwrap();
        let ask = || async { hook.requests().send(&get(), Call::forever()).await };
        for answer in futures::future::join_all(std::iter::repeat_with(ask).take(20)).await {
            answer.unwrap();
        }
        assert_eq!(renewals.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_cannot_be_read_are_said_and_tried_again() {
        let server = ScriptedServer::new([Reply::ok(json!({})), unauthorized(), unauthorized(), Reply::ok(json!({}))]);
        let tries = Arc::new(AtomicUsize::new(0));
        let (client, count) = (server.client(), Arc::clone(&tries));
        let renewal: Renewal = Box::new(move || {
            let sealed = count.fetch_add(1, Ordering::SeqCst) == 0;
            let answer = if sealed { Err(crate::hook::CredentialError::PluginAnswer) } else { Ok(client.clone()) };
            async move { answer }.boxed()
        });
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut options = exact_options();
        let sink = Arc::clone(&told);
        options.observer = Some(Arc::new(move |notice: &Notice<'_>| {
            if let Notice::Retrying { failure, .. } = notice {
                sink.lock().unwrap().push(failure.to_string());
            }
        }));
        options.backoff.first = Duration::from_secs(6);
        let hook = KubernetesHook::over(Connection::new(server.client(), "", None, Some(renewal)), options);
        hook.requests().send(&get(), Call::forever()).await.unwrap();
        hook.requests().send(&get(), Call::forever()).await.unwrap();
        let at: Vec<_> = server.seen().iter().map(|s| s.at.as_secs()).collect();
        assert_eq!(at, [0, 0, 6, 6]);
        let said = [
            "the credential plugin's answer is no usable ExecCredential",
            "the API server does not accept the credentials: Unauthorized",
        ];
        assert_eq!(*told.lock().unwrap(), said);
    }
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_turn_before_the_deadline_is_told_so() {
    let server = ScriptedServer::new([Reply::Silence]);
    let mut options = exact_options();
    options.limit.in_flight = 1;
    let hook = server.hook_with(options);
    let requests = hook.requests().clone();
    let _busy = tokio::spawn(async move { requests.send(&get(), Call::forever()).await.is_ok() });
    tokio::task::yield_now().await;
    let error = hook.requests().send(&get(), Call::within(Duration::from_secs(3))).await.unwrap_err();
    assert_eq!(error.attempts, 0);
    assert_eq!(error.failure.to_string(), "this client's own limit left no turn for a request to the API server");
    assert_eq!(error.failure.effect(), Effect::None);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_rbac_names_the_missing_rule_and_one_by_quota_none() {
    let words =
        "pods is forbidden: User \"u\" cannot create resource \"pods\" in API group \"\" in the namespace \"ns\"";
    let quota = "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
    let server = ScriptedServer::new([Reply::status(403, "Forbidden", words), Reply::status(403, "Forbidden", quota)]);
    let hook = server.hook();
    let error = hook.requests().send(&post(), Call::forever()).await.unwrap_err();
    let rule = error.missing_rule().unwrap();
    assert_eq!(rule.to_string(), r#"{apiGroups: [""], resources: ["pods"], verbs: ["create"]}"#);
    assert_eq!(rule.namespace.as_deref(), Some("ns"));
    assert_eq!(hook.requests().send(&post(), Call::forever()).await.unwrap_err().missing_rule(), None);
}
