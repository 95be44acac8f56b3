//! HTTPS on the loopback interface, with a certificate authority of the lab's own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::service::connection;
use super::{Cluster, Shared};

/// What can go wrong on the way to a listening server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port could not be had.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port that was asked for; 0 for any.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The certificates could not be made.
    #[error("cannot make the lab's certificates")]
    Certificate {
        /// Why.
        #[from]
        source: rcgen::Error,
    },
    /// TLS refused its configuration.
    #[error("cannot set up TLS")]
    Tls {
        /// Why.
        #[from]
        source: rustls::Error,
    },
    /// The system has no randomness for a token.
    #[error("cannot make a token: no randomness")]
    Randomness,
    /// The kubeconfig could not be written.
    #[error("cannot write {}", path.display())]
    Kubeconfig {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A listening server: its address and its authority's certificate.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    /// PEM.
    pub(crate) authority: String,
    pub(crate) listener: TcpListener,
    pub(crate) acceptor: TlsAcceptor,
}

/// Listens on the loopback interface; port 0 takes any.
///
/// # Errors
/// [`ServeError`].
pub(crate) async fn listen(port: u16) -> Result<Listening, ServeError> {
    let failed = |source| ServeError::Listen { port, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let authority = authority()?;
    let acceptor = acceptor(&authority)?;
    Ok(Listening { address, authority: authority.as_ref().pem(), listener, acceptor })
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, ServeError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "kpo-lab");
    // P-256: the default of `KeyPair::generate`.
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn acceptor(authority: &CertifiedIssuer<'static, KeyPair>) -> Result<TlsAcceptor, ServeError> {
    let names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// 32 hexadecimal digits that nobody can guess.
///
/// # Errors
/// [`ServeError::Randomness`].
pub(crate) fn random_token() -> Result<String, ServeError> {
    let mut bytes = [0; 16];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_| ServeError::Randomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Accepts connections for ever. Dropping the future closes them all.
pub(crate) async fn accept<C: Cluster>(shared: Arc<Shared<C>>, listening: (TcpListener, TlsAcceptor)) {
    let (listener, acceptor) = listening;
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(one(shared.clone(), acceptor.clone(), stream));
            }
            Err(error) => {
                // Mostly a lack of file descriptors, which passes.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn one<C: Cluster>(shared: Arc<Shared<C>>, acceptor: TlsAcceptor, stream: TcpStream) {
    // Without it small writes of streams wait for the peer's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
    match acceptor.accept(stream).await {
        Ok(stream) => connection(shared, None, stream).await,
        Err(error) => tracing::debug!(%error, "TLS handshake failed"),
    }
}
