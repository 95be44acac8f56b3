//! Connections against servers on the loopback, and what is said when there is none. Nothing waits on a clock.

use std::{
    error::Error as StdError,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use serde_json::json;

use super::*;
use crate::{
    request::{ApiFailure, ApiRequest, Effect, RequestError, TransportKind},
    testing::{LocalServer, TestDir, exact_options},
};

/// Never to be seen in any message.
const CANARY: &str = "c4n4ry-s3cr3t";

fn kubeconfig(server: &str, user: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "one",
            "clusters": [{{"name": "c", "cluster": {{"server": "{server}"}}}}],
            "contexts": [{{"name": "one", "context": {{"cluster": "c", "user": "u", "namespace": "team"}}}},
                         {{"name": "two", "context": {{"cluster": "gone", "user": "u"}}}}],
            "users": [{{"name": "u", "user": {user}}}]}}"#
    )
}

pub(super) fn options(source: Source) -> ConnectOptions {
    ConnectOptions { source, requests: exact_options(), ..ConnectOptions::default() }
}

pub(super) async fn connect(kubeconfig: &str) -> Result<KubernetesHook, ConnectError> {
    KubernetesHook::connect(options(Source::Text(kubeconfig.to_owned()))).await
}

pub(super) async fn ask(hook: &KubernetesHook) -> Result<serde_json::Value, RequestError> {
    hook.requests().send(&ApiRequest::get("team", "pods", "p"), Call::within(Duration::from_secs(60))).await
}

/// The whole chain in one line, as the command line prints it.
pub(super) fn line(error: &(dyn StdError + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |e: &&(dyn StdError + 'static)| (*e).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn bearer<B>(request: &Request<B>) -> Option<&str> {
    request.headers().get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Accepts one token, and tells who asked.
pub(super) fn only<B>(token: &str, request: &Request<B>) -> (u16, serde_json::Value) {
    match bearer(request) {
        Some(given) if given == token => {
            (200, json!({"kind": "Pod", "agent": request.headers()["user-agent"].to_str().unwrap()}))
        }
        _ => (401, json!({"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "Unauthorized"})),
    }
}

#[tokio::test]
async fn a_kubeconfig_with_a_token_connects() {
    let server = LocalServer::http(|request| only("good", request)).await;
    let hook =
        connect(&kubeconfig(&format!("http://127.0.0.1:{}", server.port), r#"{"token": "good"}"#)).await.unwrap();
    assert_eq!(hook.default_namespace(), "team");
    assert_eq!(&*hook.server(), format!("127.0.0.1:{}", server.port));
    let block = kubeconfig(&format!("http://127.0.0.1:{}", server.port), r#"{"token": "good\n"}"#);
    assert_eq!(ask(&connect(&block).await.unwrap()).await.unwrap()["kind"], "Pod");
    assert_eq!(ask(&hook).await.unwrap()["agent"], concat!("kpo/", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_certificate_of_the_kubeconfigs_authority_is_trusted_and_another_is_not() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let (server, pem) = LocalServer::https(|_| (200, json!({"kind": "Pod"}))).await;
    let url = format!("https://127.0.0.1:{}", server.port);
    let mut config: serde_json::Value = serde_json::from_str(&kubeconfig(&url, "{}")).unwrap();
    let error = ask(&connect(&config.to_string()).await.unwrap()).await.unwrap_err();
    assert!(
        matches!(error.failure, ApiFailure::Transport { kind: TransportKind::Certificate, .. }),
        "{}",
        line(&error)
    );
    assert_eq!(error.attempts, 1);
    assert!(line(&error).contains(&format!(
        "the certificate of the API server at 127.0.0.1:{} (context \"one\") is not trusted",
        server.port
    )));

    config["clusters"][0]["cluster"]["certificate-authority-data"] = json!(STANDARD.encode(pem));
    assert_eq!(ask(&connect(&config.to_string()).await.unwrap()).await.unwrap()["kind"], "Pod");
}

#[tokio::test]
async fn a_refused_token_is_read_again_from_its_file_and_from_a_changed_kubeconfig() {
    let server = LocalServer::http(|request| only("new", request)).await;
    let url = format!("http://127.0.0.1:{}", server.port);
    let dir = TestDir::new("renewal");
    // As whoever edits it leaves it: with a line feed.
    dir.write("token", " old\n");
    let path = dir.write("config", &kubeconfig(&url, r#"{"token": "", "tokenFile": "token"}"#));
    let hook = KubernetesHook::connect(options(Source::File(path))).await.unwrap();
    dir.write("token", "new\r\n");
    assert_eq!(ask(&hook).await.unwrap()["kind"], "Pod");

    let path = dir.write("config", &kubeconfig(&url, r#"{"token": "old"}"#));
    let hook = KubernetesHook::connect(options(Source::File(path))).await.unwrap();
    dir.write("config", &kubeconfig(&url, r#"{"token": "new"}"#));
    assert_eq!(ask(&hook).await.unwrap()["kind"], "Pod");
}

#[tokio::test]
async fn a_token_that_stays_refused_is_asked_for_once_more_and_then_an_error() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = LocalServer::http(move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        only("other", request)
    })
    .await;
    let config = kubeconfig(&format!("http://127.0.0.1:{}", server.port), &format!(r#"{{"token": "{CANARY}"}}"#));
    let error = ask(&connect(&config).await.unwrap()).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(
        line(&error),
        r#"cannot get pods "p" in namespace "team" after 2 attempts: the API server does not accept the credentials: Unauthorized"#
    );
}

#[tokio::test]
async fn a_token_callback_is_asked_once_and_again_after_a_401() {
    let server = LocalServer::http(|request| only("token-2", request)).await;
    let config = kubeconfig(&format!("http://127.0.0.1:{}", server.port), r#"{"token": "of the file"}"#);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let token = TokenCallback::new(move || {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok(format!("token-{number}\n")) }
    });
    let options = ConnectOptions { token: Some(token), ..options(Source::Text(config)) };
    let hook = KubernetesHook::connect(options).await.unwrap();
    for _ in 0..3 {
        ask(&hook).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_callback_without_a_token_is_told() {
    let token = TokenCallback::new(|| async { Err("the vault is sealed".to_owned()) });
    let options =
        ConnectOptions { token: Some(token), ..options(Source::Text(kubeconfig("http://127.0.0.1:9", "{}"))) };
    let error = ask(&KubernetesHook::connect(options).await.unwrap()).await.unwrap_err();
    assert!(line(&error).ends_with("no token: the vault is sealed"), "{}", line(&error));
}

mod plugins {
    use super::*;

    fn exec(script: &Path) -> String {
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
               "command": "sh", "args": [script]}})
        .to_string()
    }

    #[tokio::test]
    async fn a_plugin_runs_once_to_connect_and_again_after_a_401() {
        let server = LocalServer::http(|request| only("token-2", request)).await;
        let dir = TestDir::new("plugin");
        let runs = dir.0.join("runs");
        let script = format!(
            "echo run >> {0}; n=$(wc -l < {0}); echo '{{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1\", \
             \"status\": {{\"token\": \"token-'$((n))'\"}}}}'",
            runs.display()
        );
        let script = dir.write("plugin.sh", &script);
        let config = kubeconfig(&format!("http://127.0.0.1:{}", server.port), &exec(&script));
        let hook = connect(&config).await.unwrap();
        assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 1);
        ask(&hook).await.unwrap();
        assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 2);
    }

    #[tokio::test]
    async fn a_plugin_that_fails_is_told_by_its_last_line_and_nothing_of_its_output() {
        let dir = TestDir::new("plugin-fails");
        let script = dir
            .write("plugin.sh", &format!("echo {CANARY}; echo first >&2; echo 'the session has expired' >&2; exit 3"));
        let error = connect(&kubeconfig("http://127.0.0.1:9", &exec(&script))).await.unwrap_err();
        assert_eq!(line(&error), r#"the credential plugin "sh" failed (exit status: 3): the session has expired"#);
        assert!(!format!("{error:?}").contains(CANARY));
    }

    /// As kubectl: what no header can carry is refused, and not shown.
    #[tokio::test]
    async fn a_plugin_whose_token_has_a_line_feed_is_told() {
        let dir = TestDir::new("plugin-line-feed");
        let answer = json!({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": format!("{CANARY}\n")}});
        let script = dir.write("plugin.sh", &format!("cat {}", dir.write("answer", &answer.to_string()).display()));
        let error = connect(&kubeconfig("http://127.0.0.1:9", &exec(&script))).await.unwrap_err();
        assert_eq!(line(&error), "the credentials hold characters that no header can carry");
        assert!(!format!("{error:?}").contains(CANARY));
    }

    #[tokio::test]
    async fn a_plugin_that_answers_nonsense_or_is_missing_is_told() {
        let dir = TestDir::new("plugin-nonsense");
        let script = dir.write("plugin.sh", &format!("echo '{{\"token\": [{CANARY}'"));
        let error = connect(&kubeconfig("http://127.0.0.1:9", &exec(&script))).await.unwrap_err();
        assert_eq!(line(&error), "the credential plugin's answer is no usable ExecCredential");
        let missing = r#"{"exec": {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": "/nowhere/plugin"}}"#;
        let error = connect(&kubeconfig("http://127.0.0.1:9", missing)).await.unwrap_err();
        assert_eq!(line(&error), "the credential plugin could not be started: No such file or directory (os error 2)");
    }
}

mod unreachable {
    use super::*;

    /// One attempt: what it says is the matter, not how long it is tried.
    async fn failure(config: &str) -> (TransportKind, String) {
        let hook = connect(config).await.unwrap();
        let failure = hook.requests().once(&ApiRequest::get("team", "pods", "p"), None).await.unwrap_err();
        let ApiFailure::Transport { kind, effect, .. } = &failure else { panic!("{}", line(&failure)) };
        assert_eq!(*effect, Effect::None);
        (*kind, line(&failure))
    }

    fn through(proxy: &str) -> String {
        let mut config: serde_json::Value = serde_json::from_str(&kubeconfig("http://api.example:6443", "{}")).unwrap();
        config["clusters"][0]["cluster"]["proxy-url"] = json!(proxy);
        config.to_string()
    }

    #[tokio::test]
    async fn a_closed_port_is_told_with_its_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let (kind, line) = failure(&kubeconfig(&format!("https://127.0.0.1:{port}"), "{}")).await;
        assert_eq!(kind, TransportKind::Refused);
        assert!(
            line.contains(&format!("the API server at 127.0.0.1:{port} (context \"one\") refused the connection")),
            "{line}"
        );
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_told_without_its_password() {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let proxy = LocalServer::http(move |request| {
            let login = request.headers().get("proxy-authorization").map(|v| v.to_str().unwrap().to_owned());
            sink.lock().unwrap().push((request.method().to_string(), request.uri().to_string(), login));
            (403, json!({}))
        })
        .await;
        let (kind, line) = failure(&through(&format!("http://user:{CANARY}@127.0.0.1:{}", proxy.port))).await;
        assert_eq!(kind, TransportKind::Proxy);
        assert!(line.contains("the proxy makes no connection to the API server at api.example:6443"), "{line}");
        assert!(!line.contains(CANARY), "{line}");
        let (method, uri, login) = seen.lock().unwrap()[0].clone();
        assert_eq!((method.as_str(), uri.as_str()), ("CONNECT", "api.example:6443"));
        assert!(login.unwrap().starts_with("Basic "));
    }

    #[tokio::test]
    async fn a_socks_proxy_that_is_none_is_told() {
        let proxy = LocalServer::http(|_| (400, json!({}))).await;
        let (kind, line) = failure(&through(&format!("socks5://127.0.0.1:{}", proxy.port))).await;
        assert_eq!(kind, TransportKind::Proxy, "{line}");
        let error = connect(&through("ftp://proxy:1")).await.unwrap_err();
        assert_eq!(
            line_of(&error),
            "proxies of the kind \"ftp\" are not supported; http, https, socks5 and socks5h are"
        );
    }

    fn line_of(error: &ConnectError) -> String {
        super::line(error)
    }
}

mod files {
    use super::*;
    use crate::hook::kubeconfig as files;

    const NO_ENV: fn(&str) -> Option<String> = |_| None;

    #[test]
    fn of_several_files_those_that_do_not_exist_are_skipped_and_the_first_one_wins() {
        let dir = TestDir::new("several");
        let first = dir.write("first", "{apiVersion: v1, kind: Config, current-context: one}");
        let second = dir.write("second", &kubeconfig("https://second:1", "{}"));
        let list = std::env::join_paths([dir.0.join("missing"), first, "".into(), second]).unwrap();
        let env = |name: &str| (name == "KUBECONFIG").then(|| list.to_str().unwrap().to_owned());
        let paths = files::default_paths(&env);
        assert_eq!(paths.len(), 3);
        let config = files::read_existing(&paths).unwrap().unwrap();
        let config = files::config_of(&config, None, &NO_ENV).unwrap();
        assert_eq!(config.0.cluster_url.host(), Some("second"));
        assert!(files::read_existing(&[dir.0.join("missing")]).unwrap().is_none());
    }

    #[test]
    fn each_mistake_has_its_line() {
        let text = kubeconfig("https://h:1", "{}");
        let say = |text: &str, context: Option<&str>| {
            let config = files::parse(text).and_then(|config| files::config_of(&config, context, &NO_ENV).map(drop));
            super::line(&config.unwrap_err())
        };
        assert_eq!(say(&text, Some("prod")), r#"no context "prod" in the kubeconfig; it has "one", "two""#);
        assert_eq!(
            say(&text.replace("\"current-context\": \"one\",", ""), None),
            r#"the kubeconfig has no current context; choose one of "one", "two""#
        );
        assert_eq!(say("{}", None), "the kubeconfig has no current context; choose one of none");
        assert_eq!(
            say(&text, Some("two")),
            r#"the context "two" names the cluster "gone", which is not in the kubeconfig"#
        );
        assert_eq!(say(&text.replace("https://h:1", ""), None), r#"the cluster "c" has no server in the kubeconfig"#);
        assert_eq!(
            say(&text.replace("https://h:1", "not a url"), None),
            r#"the server of the cluster "c" is not a URL"#
        );
        let broken = format!("apiVersion: v1\nusers:\n- name: u\n  user:\n    token: {CANARY}\n   wrong: indent\n");
        assert!(
            say(&broken, None).starts_with("the kubeconfig (text) is not valid at line "),
            "{}",
            say(&broken, None)
        );
        assert!(!say(&broken, None).contains(CANARY));
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let path = TestDir::new("no-such").0.join("config");
        let error = KubernetesHook::connect(options(Source::File(path.clone()))).await.unwrap_err();
        assert_eq!(
            line(&error),
            format!("cannot read the kubeconfig {}: No such file or directory (os error 2)", path.display())
        );
    }

    #[test]
    fn without_any_kubeconfig_the_files_that_were_tried_are_named() {
        let error = ConnectError::NoKubeconfig { tried: vec!["/a/config".into(), "/b".into()] };
        let said = "no kubeconfig found (tried /a/config, /b), and this is not a pod with a service account";
        assert_eq!(error.to_string(), said);
    }
}

#[tokio::test]
async fn no_debug_shows_a_secret() {
    let user = format!(r#"{{"username": "u", "password": "{CANARY}", "client-key-data": "{CANARY}"}}"#);
    let text = kubeconfig("http://127.0.0.1:9", &user);
    let options = options(Source::Text(text.clone()));
    assert!(!format!("{options:?}").contains(CANARY));
    // The key is no key: the error must not quote it.
    let error = connect(&text).await.unwrap_err();
    assert_eq!(line(&error), "the client certificate or key of the kubeconfig's user cannot be read");
    let hook = connect(&kubeconfig("http://127.0.0.1:9", &format!(r#"{{"token": "{CANARY}"}}"#))).await.unwrap();
    assert!(!format!("{hook:?} {:?} {:?}", hook.requests(), hook.pods("ns")).contains(CANARY));
    let newline = kubeconfig("http://127.0.0.1:9", &format!(r#"{{"token": "{CANARY}\n\u0000"}}"#));
    let error = connect(&newline).await.unwrap_err();
    assert_eq!(line(&error), "the credentials hold characters that no header can carry");
    assert!(!format!("{error:?}").contains(CANARY));
}
