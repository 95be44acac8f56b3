//! The lab's HTTPS server over a real socket: its own authority, its token, and nobody else's.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use kpo_lab::{Fault, Lab, LabOptions, Match, Store};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

/// The authority's certificate out of a kubeconfig.
fn authority(kubeconfig: &str) -> CertificateDer<'static> {
    use base64::Engine as _;
    let line = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("certificate-authority-data: "));
    let pem = base64::engine::general_purpose::STANDARD.decode(line.expect("an authority")).expect("base64");
    CertificateDer::from_pem_slice(&pem).expect("PEM")
}

/// GETs a path: the code and the body; an error where TLS refuses the server.
async fn get(
    lab: &Lab<Store>,
    trusted: CertificateDer<'static>,
    path: &str,
    token: &str,
) -> std::io::Result<(u16, String)> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let url = lab.url().expect("it listens");
    let address = url.strip_prefix("https://").expect("https");
    let stream = tokio::net::TcpStream::connect(address).await?;
    let stream = connector.connect(ServerName::try_from("127.0.0.1").expect("a name"), stream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    let request = http::Request::get(path).header("host", address).header("authorization", format!("Bearer {token}"));
    let response = sender
        .send_request(request.body(Empty::<Bytes>::new()).expect("a request"))
        .await
        .map_err(std::io::Error::other)?;
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::test]
async fn only_its_authority_and_its_tokens_are_good() {
    let lab = Lab::serve(Store::default(), LabOptions::default()).await.expect("a lab");
    let other = Lab::serve(Store::default(), LabOptions::default()).await.expect("another");
    let kubeconfig = lab.kubeconfig().expect("a kubeconfig");
    let token = lab.token().expect("a token").to_owned();
    assert!(kubeconfig.contains(&token));
    let trusted = authority(&kubeconfig);
    let (code, text) = get(&lab, trusted.clone(), "/api/v1/namespaces", &token).await.expect("trusted");
    assert_eq!((code, text.contains("kube-system")), (200, true));
    assert_eq!(get(&lab, trusted.clone(), "/readyz", "none").await.expect("trusted"), (200, "ok".to_owned()));
    assert_eq!(get(&lab, trusted.clone(), "/api/v1/namespaces", "none").await.expect("trusted").0, 401);
    assert_eq!(
        get(&lab, trusted.clone(), "/api/v1/namespaces", other.token().expect("a token")).await.expect("trusted").0,
        401
    );
    let stranger = authority(&other.kubeconfig().expect("a kubeconfig"));
    get(&lab, stranger, "/readyz", &token).await.expect_err("another authority");
    let (code, counts) = get(&lab, trusted, "/lab/requests", &token).await.expect("trusted");
    assert_eq!((code, counts.contains("\"total\":5")), (200, true), "{counts}");
    assert!(!format!("{lab:?}").contains(&token));
}

#[tokio::test]
async fn faults_break_real_connections() {
    let lab = Lab::serve(Store::default(), LabOptions::default()).await.expect("a lab");
    let (trusted, token) =
        (authority(&lab.kubeconfig().expect("a kubeconfig")), lab.token().expect("a token").to_owned());
    for fault in [Fault::Drop, Fault::DropReplyAfterEffect, Fault::CutAfter(3)] {
        let guard = lab.faults().inject(Match::of("list", "namespaces"), fault.clone());
        get(&lab, trusted.clone(), "/api/v1/namespaces", &token).await.expect_err("broken");
        assert_eq!(guard.hits(), 1, "{fault:?}");
    }
    assert_eq!(get(&lab, trusted, "/api/v1/namespaces", &token).await.expect("whole again").0, 200);
}

#[tokio::test]
async fn a_kubeconfig_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::serve(Store::default(), LabOptions::default()).await.expect("a lab");
    let path = std::env::temp_dir().join(format!("kpo-lab-kubeconfig-{}", std::process::id()));
    lab.write_kubeconfig(&path).expect("written");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(std::fs::read_to_string(&path).ok(), lab.kubeconfig());
    let file = std::fs::File::open(&path).expect("opens");
    assert!(file.try_lock().is_err(), "locked: a sweep sees that its lab lives");
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(mode & 0o777, 0o600);
}
