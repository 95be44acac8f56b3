//! A server on the loopback, and a folder of a test's own.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;

/// What a [`LocalServer`] answers to a request: code and JSON.
pub(crate) type Answerer = Arc<dyn Fn(&Request<hyper::body::Incoming>) -> (u16, Value) + Send + Sync>;

/// A real HTTP server on the loopback, for what a connection's configuration does; with a certificate it speaks TLS.
pub(crate) struct LocalServer {
    pub port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LocalServer {
    pub(crate) async fn http(
        answer: impl Fn(&Request<hyper::body::Incoming>) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        Self::start(None, Arc::new(answer)).await
    }

    /// A TLS server with a certificate of its own making for `localhost` and 127.0.0.1; returns the certificate as PEM.
    pub(crate) async fn https(
        answer: impl Fn(&Request<hyper::body::Incoming>) -> (u16, Value) + Send + Sync + 'static,
    ) -> (Self, String) {
        Self::https_asking(None, answer).await
    }

    /// The same; with a verifier it asks for a client certificate.
    pub(crate) async fn https_asking(
        verifier: Option<Arc<dyn rustls::server::danger::ClientCertVerifier>>,
        answer: impl Fn(&Request<hyper::body::Incoming>) -> (u16, Value) + Send + Sync + 'static,
    ) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = match verifier {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        (Self::start(Some(acceptor), Arc::new(answer)).await, made.cert.pem())
    }

    async fn start(tls: Option<tokio_rustls::TlsAcceptor>, answer: Answerer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, tls.clone(), Arc::clone(&answer)));
            }
        });
        Self { port, task }
    }

    async fn serve(stream: tokio::net::TcpStream, tls: Option<tokio_rustls::TlsAcceptor>, answer: Answerer) {
        let Some(tls) = tls else { return exchange(stream, answer).await };
        // A client that does not trust us goes away: what the test is about.
        if let Ok(stream) = tls.accept(stream).await {
            exchange(stream, answer).await;
        }
    }
}

async fn exchange(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    answer: Answerer,
) {
    let service = hyper::service::service_fn(move |request| {
        let (code, body) = answer(&request);
        let body = http_body_util::Full::new(Bytes::from(body.to_string()));
        async move { Ok::<_, Infallible>(Response::builder().status(code).body(body).expect("a code and a body")) }
    });
    let io = hyper_util::rt::TokioIo::new(stream);
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await;
}

/// A folder of a test's own, removed at its end.
pub(crate) struct TestDir(pub std::path::PathBuf);

impl TestDir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kpo-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file; returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
