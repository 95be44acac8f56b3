//! Every kind of credentials that a kubeconfig can hold, against a server that accepts only these.

use std::{path::Path, sync::Arc};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::tests::{ask, connect, line, only, options};
use super::{ConnectError, KubernetesHook, Source, Surroundings};
use crate::testing::{LocalServer, TestDir};

fn kubeconfig(server: &str, user: Value) -> String {
    json!({
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": user}],
    })
    .to_string()
}

/// What the server sees in a header, of a request with these credentials; `Null` if it was not there.
async fn sent(header: &'static str, user: Value) -> Value {
    let server = LocalServer::http(move |request| {
        let values: Vec<_> = request.headers().get_all(header).iter().map(|v| v.to_str().unwrap().to_owned()).collect();
        (200, json!({"seen": values}))
    })
    .await;
    let hook = connect(&kubeconfig(&format!("http://127.0.0.1:{}", server.port), user)).await.unwrap();
    ask(&hook).await.unwrap()["seen"].take()
}

#[tokio::test]
async fn user_and_password() {
    let seen = sent("authorization", json!({"username": "ada", "password": "l:ove"})).await;
    assert_eq!(seen, json!([format!("Basic {}", STANDARD.encode("ada:l:ove"))]));
}

#[tokio::test]
async fn nobody_and_impersonation() {
    assert_eq!(sent("authorization", json!({})).await, json!([]));
    let user = || json!({"as": "ada", "as-groups": ["a", "b"]});
    assert_eq!(sent("impersonate-user", user()).await, json!(["ada"]));
    assert_eq!(sent("impersonate-group", user()).await, json!(["a", "b"]));
}

fn id_token(expires: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let expires: jiff::Timestamp = expires.parse().unwrap();
    let claims = json!({"iss": "https://issuer.example", "sub": "ada", "exp": expires.as_second()});
    format!("{}.{}.{}", part(json!({"alg": "RS256"})), part(claims), "c2ln")
}

#[tokio::test]
async fn an_openid_connect_token_while_it_lasts() {
    let provider = |token: &str| json!({"auth-provider": {"name": "oidc", "config": {"id-token": token}}});
    let good = id_token("2099-01-01T00:00:00Z");
    assert_eq!(sent("authorization", provider(&good)).await, json!([format!("Bearer {good}")]));

    let expired = id_token("2001-01-01T00:00:00Z");
    let hook = connect(&kubeconfig("http://127.0.0.1:9", provider(&expired))).await.unwrap();
    let error = ask(&hook).await.unwrap_err();
    let said = "the id-token has expired, and the kubeconfig has not what is needed to refresh it";
    assert!(line(&error).ends_with(said), "{}", line(&error));
    assert!(!format!("{error:?}").contains(&expired));
}

#[tokio::test]
async fn the_old_gcp_provider_by_its_command() {
    let dir = TestDir::new("gcp");
    let script = dir.write(
        "token.sh",
        r#"echo '{"credential": {"access_token": "from-gcp", "token_expiry": "2099-01-01T00:00:00Z"}}'"#,
    );
    let user = json!({"auth-provider": {"name": "gcp", "config": {
        "cmd-path": "sh", "cmd-args": script, "token-key": "{.credential.access_token}", "expiry-key": "{.credential.token_expiry}",
    }}});
    assert_eq!(sent("authorization", user).await, json!(["Bearer from-gcp"]));
}

#[tokio::test]
async fn a_provider_that_is_gone_is_told_with_what_replaces_it() {
    let user = json!({"auth-provider": {"name": "azure", "config": {}}});
    let error = connect(&kubeconfig("http://127.0.0.1:9", user)).await.unwrap_err();
    let said = "the credentials of the kubeconfig's user cannot be used: The azure auth plugin is not supported; \
                use https://github.com/Azure/kubelogin instead";
    assert_eq!(line(&error), said);
}

/// A server that asks for a client certificate, and the certificates, as PEM: the server's own, the client's, the client's key.
async fn mutual_tls() -> (LocalServer, String, String, String) {
    let client = rcgen::generate_simple_self_signed(["ada".to_owned()]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(client.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let (server, authority) = LocalServer::https_asking(Some(verifier), |_| (200, json!({"kind": "Pod"}))).await;
    (server, authority, client.cert.pem(), client.signing_key.serialize_pem())
}

async fn with_certificate(server: &LocalServer, authority: &str, user: Value, dir: &Path) -> Result<Value, String> {
    let mut config: Value =
        serde_json::from_str(&kubeconfig(&format!("https://localhost:{}", server.port), user)).unwrap();
    std::fs::write(dir.join("ca.pem"), authority).unwrap();
    config["clusters"][0]["cluster"]["certificate-authority"] = json!(dir.join("ca.pem"));
    let hook = connect(&config.to_string()).await.map_err(|error| line(&error))?;
    let failure = hook.requests().once(&crate::request::ApiRequest::get("ns", "pods", "p"), None).await;
    failure.map_err(|error| line(&error))
}

#[tokio::test]
async fn a_client_certificate_from_files_from_data_and_from_a_plugin() {
    let (server, authority, certificate, key) = mutual_tls().await;
    let dir = TestDir::new("mtls");
    let (cert_file, key_file) = (dir.write("c.pem", &certificate), dir.write("k.pem", &key));
    let answer = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"clientCertificateData": certificate, "clientKeyData": key}});
    let plugin = dir.write("plugin.sh", &format!("cat {}", dir.write("answer.json", &answer.to_string()).display()));
    let users = [
        json!({"client-certificate": cert_file, "client-key": key_file}),
        json!({"client-certificate-data": STANDARD.encode(&certificate), "client-key-data": STANDARD.encode(&key)}),
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": "sh", "args": [plugin]}}),
    ];
    for user in users {
        assert_eq!(with_certificate(&server, &authority, user, &dir.0).await, Ok(json!({"kind": "Pod"})));
    }
    assert!(with_certificate(&server, &authority, json!({}), &dir.0).await.is_err());
    let half = with_certificate(&server, &authority, json!({"client-certificate": cert_file}), &dir.0).await;
    assert_eq!(half.unwrap_err(), "the client certificate or key of the kubeconfig's user cannot be read");
}

/// Asks with the kubeconfig that the environment names. Where a provider's certificates are looked for, and Google's credentials, is the
/// whole process's matter.
#[tokio::test]
#[ignore = "run by those that need an environment of their own"]
async fn in_a_process_of_its_own() {
    let kubeconfig = std::env::var(KUBECONFIG).unwrap();
    let hook = KubernetesHook::connect(options(Source::File(kubeconfig.into()))).await.unwrap();
    assert_eq!(ask(&hook).await.unwrap_or_else(|error| panic!("{}", line(&error)))["kind"], "Pod");
}

const KUBECONFIG: &str = "KPO_TEST_KUBECONFIG";

/// Runs it with a user whose tokens a provider gives, which only `authority` signs for.
async fn asks_as(user: Value, api: &LocalServer, authority: &str, more: &[(&str, &Path)]) {
    let dir = TestDir::new(&format!("provider-{}", api.port));
    let config = dir.write("config", &kubeconfig(&format!("http://127.0.0.1:{}", api.port), user));
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "hook::auth_tests::in_a_process_of_its_own", "--ignored", "--nocapture"]);
    child.env(KUBECONFIG, config).env("SSL_CERT_FILE", dir.write("ca.pem", authority)).envs(more.iter().copied());
    let ran = child.output().await.unwrap();
    let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn an_openid_connect_token_is_refreshed_by_its_issuer() {
    let fresh = id_token("2099-01-01T00:00:00Z");
    let given = fresh.clone();
    let (issuer, authority) = LocalServer::https(move |request| match request.uri().path() {
        "/.well-known/openid-configuration" => {
            let host = request.headers()["host"].to_str().unwrap();
            (200, json!({"token_endpoint": format!("https://{host}/token")}))
        }
        "/token" if request.headers()["authorization"] == format!("Basic {}", STANDARD.encode("kpo:s3cret")) => {
            (200, json!({"id_token": given, "refresh_token": "next"}))
        }
        _ => (401, json!({})),
    })
    .await;
    let api = LocalServer::http(move |request| only(&fresh, request)).await;
    let config = json!({
        "id-token": id_token("2001-01-01T00:00:00Z"), "refresh-token": "r", "client-id": "kpo", "client-secret": "s3cret",
        "idp-issuer-url": format!("https://127.0.0.1:{}", issuer.port),
    });
    asks_as(json!({"auth-provider": {"name": "oidc", "config": config}}), &api, &authority, &[]).await;
}

#[tokio::test]
async fn googles_application_credentials_get_a_token() {
    let (provider, authority) = LocalServer::https(|request| match request.uri().path() {
        "/token" => (200, json!({"access_token": "from-oauth", "token_type": "Bearer", "expires_in": 3600})),
        _ => (404, json!({})),
    })
    .await;
    let api = LocalServer::http(|request| only("from-oauth", request)).await;
    let dir = TestDir::new("application-credentials");
    let account = json!({
        "type": "service_account", "client_email": "kpo@project.example", "private_key_id": "1", "client_id": "1", "project_id": "p",
        "private_key": include_str!("testdata/rsa.pem"), "token_uri": format!("https://127.0.0.1:{}/token", provider.port),
    });
    let file = dir.write("account.json", &account.to_string());
    let user = json!({"auth-provider": {"name": "gcp", "config": {}}});
    asks_as(user, &api, &authority, &[("GOOGLE_APPLICATION_CREDENTIALS", &file)]).await;
}

/// A pod's service account, and a server that accepts its token only.
struct Account {
    server: LocalServer,
    dir: TestDir,
}

impl Account {
    async fn mounted(name: &str, token: &'static str) -> Self {
        let (server, authority) = LocalServer::https(move |request| only(token, request)).await;
        let dir = TestDir::new(name);
        dir.write("ca.crt", &authority);
        dir.write("namespace", "team\n");
        dir.write("token", "good\n");
        Self { server, dir }
    }

    async fn connect(&self, source: Source) -> Result<KubernetesHook, ConnectError> {
        let port = self.server.port.to_string();
        let env = move |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("127.0.0.1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some(port.clone()),
            "KUBECONFIG" => Some("/nonexistent/config".to_owned()),
            _ => None,
        };
        let around = Surroundings { env: Arc::new(env), account: self.dir.0.clone() };
        KubernetesHook::connect_in(around, options(source)).await
    }
}

#[tokio::test]
async fn the_service_account_of_a_pod() {
    let account = Account::mounted("account", "good").await;
    for source in [Source::InCluster, Source::Default] {
        let hook = account.connect(source).await.unwrap();
        assert_eq!(hook.default_namespace(), "team");
        assert_eq!(&*hook.server(), format!("127.0.0.1:{}", account.server.port));
        assert_eq!(ask(&hook).await.unwrap()["kind"], "Pod");
    }
    // Its token is replaced under a process that runs.
    let account = Account::mounted("account-renewed", "better").await;
    let hook = account.connect(Source::InCluster).await.unwrap();
    account.dir.write("token", "better\n");
    assert_eq!(ask(&hook).await.unwrap()["kind"], "Pod");
}

#[tokio::test]
async fn what_a_service_account_lacks_is_named() {
    for file in ["ca.crt", "namespace"] {
        let account = Account::mounted(&format!("without-{file}"), "good").await;
        std::fs::remove_file(account.dir.0.join(file)).unwrap();
        let error = account.connect(Source::InCluster).await.unwrap_err();
        assert!(line(&error).contains(&format!("{file}: No such file or directory")), "{}", line(&error));
    }
    let account = Account::mounted("without-token", "good").await;
    account.dir.write("token", "\n");
    let said = format!("the token file {:?} cannot be read: it is empty", account.dir.0.join("token"));
    assert_eq!(line(&account.connect(Source::InCluster).await.unwrap_err()), said);
}

#[tokio::test]
async fn a_configuration_of_kubes() {
    let server = LocalServer::http(|request| only("good", request)).await;
    let mut config = kube::Config::new(format!("http://127.0.0.1:{}", server.port).parse().unwrap());
    config.default_namespace = "team".to_owned();
    config.auth_info.token = Some("good".to_owned().into());
    let hook = KubernetesHook::connect(options(Source::Config(Box::new(config)))).await.unwrap();
    assert_eq!(hook.default_namespace(), "team");
    assert_eq!(ask(&hook).await.unwrap()["kind"], "Pod");
}

#[tokio::test]
async fn a_compressed_answer_is_read() {
    use std::io::Write;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(String::from_utf8_lossy(&head).to_lowercase().contains("accept-encoding: gzip"));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(br#"{"kind": "Pod"}"#).unwrap();
        let body = gzip.finish().unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
    });
    let hook = connect(&kubeconfig(&format!("http://127.0.0.1:{port}"), json!({}))).await.unwrap();
    assert_eq!(ask(&hook).await.unwrap()["kind"], "Pod");
}
