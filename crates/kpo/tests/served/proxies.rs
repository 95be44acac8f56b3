//! A whole task through a proxy of each kind: its create, its watch, its log and an exec. The API server's name is known to the proxies only.

use super::{RESULT, connect, finish_telling, lab, request};
use base64::{Engine, engine::general_purpose::STANDARD};
use kpo_lab::{Lab, World};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};

/// Among the names of the lab's certificate.
const SERVER: &str = "kubernetes.default.svc:6443";

/// What it takes to be let through.
#[derive(Clone, Copy)]
enum Kind {
    Http,
    Socks,
}

/// A proxy, and each connection that it was asked for.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Leads to that port, wherever it is asked to go.
    async fn start(kind: Kind, tls: Option<TlsAcceptor>, to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, book) = (tls.clone(), Arc::clone(&book));
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => serve(kind, tls.accept(stream).await.unwrap(), book, to).await,
                        None => serve(kind, stream, book, to).await,
                    }
                });
            }
        });
        Self { port, asked }
    }
}

async fn serve(kind: Kind, mut client: impl AsyncRead + AsyncWrite + Unpin, asked: Arc<Mutex<Vec<String>>>, to: u16) {
    let target = match kind {
        Kind::Http => connect_target(&mut client).await,
        Kind::Socks => socks_target(&mut client).await,
    };
    asked.lock().unwrap().push(target);
    let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
    // It ends when either side goes away, which is no failure.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

/// `CONNECT host:port`, with `Proxy-Authorization` (RFC 9110).
async fn connect_target(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let login = format!("authorization: basic {}", STANDARD.encode("ada:l:ove").to_lowercase());
    assert!(head.to_lowercase().contains(&login), "{head}");
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    head.split(' ').nth(1).unwrap().to_owned()
}

/// Version 5 with user and password (RFC 1928, 1929), the server by its name.
async fn socks_target(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    assert_eq!(client.read_u8().await.unwrap(), 5);
    let methods = text(client).await;
    assert!(methods.contains('\u{2}'), "user and password are offered: {methods:?}");
    client.write_all(&[5, 2]).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), 1);
    assert_eq!((text(client).await.as_str(), text(client).await.as_str()), ("ada", "l:ove"));
    client.write_all(&[1, 0]).await.unwrap();
    let mut request = [0; 4];
    client.read_exact(&mut request).await.unwrap();
    assert_eq!(request, [5, 1, 0, 3], "connect, by name");
    let host = text(client).await;
    let port = client.read_u16().await.unwrap();
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    format!("{host}:{port}")
}

/// A length, and so many bytes.
async fn text(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = vec![0; client.read_u8().await.unwrap().into()];
    client.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A certificate for a proxy on the loopback.
fn certificate() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

/// The lab's kubeconfig, by a proxy to a name that nobody else knows; `trusted` is trusted too.
fn through(lab: &Lab<World>, proxy: &str, trusted: &str) -> String {
    let line = |line: &str| match line.trim().split_once(": ") {
        Some(("server", _)) => format!("    server: https://{SERVER}\n    proxy-url: {proxy}\n"),
        Some(("certificate-authority-data", data)) => {
            let pem = String::from_utf8(STANDARD.decode(data).unwrap()).unwrap();
            format!("    certificate-authority-data: {}\n", STANDARD.encode(format!("{pem}\n{trusted}")))
        }
        _ => format!("{line}\n"),
    };
    lab.kubeconfig().expect("it has an address").lines().map(line).collect()
}

fn port(lab: &Lab<World>) -> u16 {
    lab.url().expect("it has an address").rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

#[tokio::test]
async fn a_task_through_a_proxy_of_each_kind() {
    let (tls, trusted) = certificate();
    for (scheme, kind, tls) in [
        ("http", Kind::Http, None),
        ("https", Kind::Http, Some(tls)),
        ("socks5", Kind::Socks, None),
        ("socks5h", Kind::Socks, None),
    ] {
        let (lab, _, ran) = lab().await;
        let proxy = Proxy::start(kind, tls, port(&lab)).await;
        let url = format!("{scheme}://ada:l%3Aove@127.0.0.1:{}", proxy.port);
        let hook = connect(through(&lab, &url, &trusted)).await;
        let (outcome, log) = finish_telling(kpo::driver::run(&hook, request())).await;
        assert_eq!((outcome.result.as_deref(), log.as_str()), (Some(RESULT), "hello\n"), "{scheme}: {outcome:#?}");
        assert_eq!(ran.lock().unwrap().len(), 1, "{scheme}");
        let asked = proxy.asked.lock().unwrap();
        // A connection for the watch, and those for the log and the exec beside it.
        assert!(asked.len() >= 3 && asked.iter().all(|target| target == SERVER), "{scheme}: {asked:?}");
    }
}
