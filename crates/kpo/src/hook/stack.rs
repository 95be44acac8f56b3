//! kube's client over a connector of our own: keepalive and nodelay, our proxy rules, no retry, no ERROR per 5xx.

use std::{error::Error as StdError, panic::catch_unwind, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use hyper::rt::{Read, Write};
use hyper_util::{
    client::legacy::{
        Builder,
        connect::{
            Connection, HttpConnector,
            proxy::{SocksV5, Tunnel},
        },
    },
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    client::{Body, ConfigExt, middleware::AuthLayer},
    config::AuthInfo,
};
use secrecy::ExposeSecret;
use tower::{BoxError, Layer, Service, ServiceExt, util::option_layer};
use tower_http::decompression::DecompressionLayer;

use super::{
    ConnectError, CredentialError, TokenCallback,
    token::{self, TokenLayer, TokenSource},
};

/// Time for a TCP connection, all addresses of the host together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was silent for so long is probed, every 10 s, and given up after three probes: a peer that vanished is noticed
/// within a minute, also under a quiet watch.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Bytes that a connection reads ahead, at most: a log's chunks are no larger.
pub(crate) const READ_BUFFER: usize = 128 << 10;
/// What this client calls itself.
const USER_AGENT: &str = concat!("kpo/", env!("CARGO_PKG_VERSION"));

/// Builds the client. Reads files and runs plugins: it blocks, and wants a runtime around it.
pub(super) fn client(mut config: kube::Config, token: Option<TokenCallback>) -> Result<kube::Client, ConnectError> {
    // Fails if there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let token = match token {
        Some(callback) => {
            forget_tokens(&mut config);
            Some(TokenSource::Callback(callback))
        }
        None => {
            trim_token(&mut config.auth_info)?;
            token_file(&mut config.auth_info)?
        }
    };
    // The layer panics where a plugin's token cannot be a header (tower-http 0.7 `auth/add_authorization.rs`); kubectl refuses it, too.
    let auth = catch_unwind(|| config.auth_layer()).map_err(|_| CredentialError::Characters)?.map_err(credentials)?;
    if auth.is_some() {
        // The plugin gave a token: kube would run it again to ask for a client certificate.
        config.auth_info.exec = None;
        config.auth_info.auth_provider = None;
    }
    config.headers.push((HeaderName::from_static("user-agent"), HeaderValue::from_static(USER_AGENT)));
    let parts = Parts { config, auth, token };
    match parts.config.proxy_url.clone() {
        None => parts.over(tcp()),
        Some(proxy) => parts.over_proxy(&proxy),
    }
}

/// A token callback replaces all other ways to a token; client certificates stay.
fn forget_tokens(config: &mut kube::Config) {
    let auth = &mut config.auth_info;
    auth.username = None;
    auth.password = None;
    auth.token = None;
    auth.token_file = None;
    auth.exec = None;
    auth.auth_provider = None;
}

/// A token in the kubeconfig itself, as a YAML block may end it: with a line feed. An empty one is none, as in client-go.
fn trim_token(auth: &mut AuthInfo) -> Result<(), CredentialError> {
    let Some(token) = auth.token.take() else { return Ok(()) };
    let token = token.expose_secret().trim();
    token::header(token)?;
    auth.token = (!token.is_empty()).then(|| token.to_owned().into());
    Ok(())
}

/// A token file, where nothing that counts before it is there (as kube and client-go have it). It must be readable from the beginning.
fn token_file(auth: &mut AuthInfo) -> Result<Option<TokenSource>, ConnectError> {
    let has_password = auth.username.is_some() && auth.password.is_some();
    if auth.auth_provider.is_some() || has_password || auth.token.is_some() {
        return Ok(None);
    }
    let Some(path) = auth.token_file.take().map(PathBuf::from) else { return Ok(None) };
    token::read(&path)?;
    auth.exec = None;
    Ok(Some(TokenSource::File(path)))
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(Duration::from_secs(10)));
    connector.set_keepalive_retries(Some(3));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(Duration::from_secs(60)));
    connector
}

struct Parts {
    config: kube::Config,
    auth: Option<AuthLayer>,
    token: Option<TokenSource>,
}

impl Parts {
    fn over_proxy(self, proxy: &Uri) -> Result<kube::Client, ConnectError> {
        let login = proxy_login(proxy);
        match proxy.scheme_str() {
            Some("http") => self.over(tunnel(proxy, tcp(), login)),
            Some("https") => {
                let connector = self.config.rustls_https_connector_with_connector(tcp()).map_err(tls)?;
                self.over(tunnel(proxy, connector, login))
            }
            // The proxy resolves the server's name, as Go's `socks5` and curl's `socks5h` do.
            Some("socks5" | "socks5h") => {
                let connector = SocksV5::new(proxy.clone(), tcp());
                match login {
                    Some((user, password)) => self.over(connector.with_auth(user, password)),
                    None => self.over(connector),
                }
            }
            _ => Err(ConnectError::ProxyScheme { scheme: proxy.scheme_str().unwrap_or_default().to_owned() }),
        }
    }

    fn over<C>(self, connector: C) -> Result<kube::Client, ConnectError>
    where
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: Connection + Read + Write + Send + Unpin + 'static,
        C::Future: Send + 'static,
        C::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let Self { config, auth, token } = self;
        let connector = config.rustls_https_connector_with_connector(connector).map_err(tls)?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).http1_max_buf_size(READ_BUFFER);
        let http: hyper_util::client::legacy::Client<_, Body> = builder.build(connector);
        let headers = config.extra_headers_layer().map_err(|_| ConnectError::Impersonation)?;
        let unzip = DecompressionLayer::new().gzip(!config.disable_compression).no_br().no_deflate().no_zstd();
        let service = headers.layer(http.map_err(BoxError::from));
        let service = option_layer(token.map(TokenLayer::new)).layer(service);
        let service = option_layer(auth).layer(service);
        let service = config.base_uri_layer().layer(unzip.layer(service));
        Ok(kube::Client::new(service, config.default_namespace))
    }
}

fn tunnel<C>(proxy: &Uri, connector: C, login: Option<(String, String)>) -> Tunnel<C> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let tunnel = Tunnel::new(proxy.clone(), connector);
    let Some((user, password)) = login else { return tunnel };
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
        .expect("base64 fits a header");
    value.set_sensitive(true);
    tunnel.with_auth(value)
}

/// User and password of a proxy's URL, percent-decoded.
fn proxy_login(proxy: &Uri) -> Option<(String, String)> {
    let (userinfo, _) = proxy.authority()?.as_str().rsplit_once('@')?;
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    Some((percent_decoded(user), percent_decoded(password)))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped =
            (*first == b'%').then(|| tail.get(..2)).flatten().filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let decoded = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn credentials(error: kube::Error) -> ConnectError {
    match error {
        kube::Error::Auth(auth) => ConnectError::Credentials(CredentialError::from_kube(&auth)),
        _ => ConnectError::Credentials(CredentialError::Unusable("they are not valid".to_owned())),
    }
}

/// kube's TLS errors hold no key material, but its errors for kubeconfigs may; only the former are shown.
fn tls(error: kube::Error) -> ConnectError {
    match error {
        kube::Error::RustlsTls(error) => ConnectError::Tls(Box::new(error)),
        kube::Error::Auth(auth) => ConnectError::Credentials(CredentialError::from_kube(&auth)),
        _ => ConnectError::ClientCertificate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_login_is_decoded() {
        let login = |uri: &str| proxy_login(&uri.parse().unwrap());
        assert_eq!(login("http://u:p%40s%3As@proxy:1"), Some(("u".into(), "p@s:s".into())));
        assert_eq!(login("http://u@proxy:1"), Some(("u".into(), String::new())));
        assert_eq!(login("http://u:50%25%+A@proxy:1"), Some(("u".into(), "50%%+A".into())));
        assert_eq!(login("http://proxy:1"), None);
    }
}
