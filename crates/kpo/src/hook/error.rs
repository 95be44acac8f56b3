//! What can be wrong with a connection's configuration and credentials. Each message is one line, and holds no secret.

use std::{error::Error as StdError, io, path::PathBuf};

use kube::client::{AuthError, OAuthError, oidc_errors};
use kube::config::ExecConfig;

/// Why there is no connection. Whether the server can be reached shows only with the first request, as an
/// [`ApiFailure`](crate::request::ApiFailure).
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No kubeconfig exists, and this process runs in no pod.
    #[error("no kubeconfig found (tried {}), and this is not a pod with a service account", paths(.tried))]
    NoKubeconfig {
        /// The files that were looked for.
        tried: Vec<PathBuf>,
    },
    /// A kubeconfig cannot be read.
    #[error("cannot read the kubeconfig {}", .path.display())]
    ReadKubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A kubeconfig is no kubeconfig. The lines themselves are not shown: they may hold a secret.
    #[error("the kubeconfig {} is not valid at {at}", .path.display())]
    ParseKubeconfig {
        /// The file.
        path: PathBuf,
        /// Line and column.
        at: String,
    },
    /// Files of `$KUBECONFIG` differ in `kind` or `apiVersion`.
    #[error("the kubeconfig {} has another kind or apiVersion than the one before it", .path.display())]
    UnlikeKubeconfigs {
        /// The later file.
        path: PathBuf,
    },
    /// The context that was asked for is not there.
    #[error("no context {name:?} in the kubeconfig; it has {}", names(.known))]
    UnknownContext {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The kubeconfig has no current context, and none was asked for.
    #[error("the kubeconfig has no {}", missing_context(.known))]
    NoCurrentContext {
        /// The names there are.
        known: Vec<String>,
    },
    /// The context names a cluster that is not there.
    #[error("the context {context:?} names the cluster {cluster:?}, which is not in the kubeconfig")]
    UnknownCluster {
        /// The context.
        context: String,
        /// The cluster.
        cluster: String,
    },
    /// The cluster has no server.
    #[error("the cluster {cluster:?} has no server in the kubeconfig")]
    NoServer {
        /// The cluster.
        cluster: String,
    },
    /// The cluster's server is no URL.
    #[error("the server of the cluster {cluster:?} is not a URL")]
    ServerUrl {
        /// The cluster.
        cluster: String,
    },
    /// The cluster's certificate authority cannot be read.
    #[error("cannot read the certificate authority {}", .path.display())]
    ReadAuthority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The cluster's certificate authority is no PEM certificate.
    #[error("the certificate authority of the cluster {cluster:?} is not a PEM certificate")]
    Authority {
        /// The cluster.
        cluster: String,
    },
    /// A proxy's URL cannot be understood.
    #[error("the proxy in {from} is not a URL")]
    ProxyUrl {
        /// Where it stands.
        from: &'static str,
    },
    /// A proxy of an unknown kind.
    #[error("proxies of the kind {scheme:?} are not supported; http, https, socks5 and socks5h are")]
    ProxyScheme {
        /// The URL's scheme.
        scheme: String,
    },
    /// The service account of this pod cannot be used.
    #[error("no service account to connect with: this is not a pod, or its token is not mounted")]
    InCluster(#[source] Box<dyn StdError + Send + Sync>),
    /// The user's client certificate or key cannot be read.
    #[error("the client certificate or key of the kubeconfig's user cannot be read")]
    ClientCertificate,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] Box<dyn StdError + Send + Sync>),
    /// The user's impersonation (`as`, `as-groups`) cannot be written as headers.
    #[error("the user to impersonate has a name that no header can carry")]
    Impersonation,
    /// The credentials cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The runtime is shutting down.
    #[error("connecting was interrupted")]
    Interrupted,
}

/// Credentials that cannot be had. Of a plugin only what it wrote to its standard error is shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The credentials are fixed: there is nothing to read again.
    #[error("the credentials cannot be renewed")]
    Fixed,
    /// A credential plugin could not be started.
    #[error("the credential plugin {command:?} could not be started: {reason}{}", hint(.install_hint))]
    PluginStart {
        /// Its command, without the arguments.
        command: String,
        /// The system's words.
        reason: String,
        /// The kubeconfig's word on how it is installed (`installHint`), one line. `None`: it has none.
        install_hint: Option<String>,
    },
    /// A credential plugin failed.
    #[error("the credential plugin {command:?} failed ({status}): {last_line}")]
    PluginFailed {
        /// Its command, without the arguments.
        command: String,
        /// How it ended, such as `exit status: 1`.
        status: String,
        /// The last line that it wrote to its standard error.
        last_line: String,
    },
    /// A credential plugin's answer could not be used.
    #[error("the credential plugin's answer is no usable ExecCredential")]
    PluginAnswer,
    /// The file that holds the token cannot be read.
    #[error("the token file {path:?} cannot be read: {reason}")]
    TokenFile {
        /// Its path.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// The caller's callback gave no token; in its words.
    #[error("no token: {0}")]
    Callback(String),
    /// A token or password holds characters that no header can carry.
    #[error("the credentials hold characters that no header can carry")]
    Characters,
    /// An OAuth provider gave no token; why, as far as that may be shown.
    #[error("no token from the OAuth provider: {0}")]
    OAuth(String),
    /// The kubeconfig's OpenID Connect token cannot be used, and none could be had for it.
    #[error("no token from the OpenID Connect provider: {0}")]
    Oidc(&'static str),
    /// The configuration could not be read again; in one line.
    #[error("{0}")]
    Configuration(String),
    /// The user's credentials cannot be used; why, in one line.
    #[error("the credentials of the kubeconfig's user cannot be used: {0}")]
    Unusable(String),
}

impl CredentialError {
    /// From kube's error, whose own text shows a plugin's whole output, and with it the token.
    pub(crate) fn from_kube(error: &AuthError) -> Self {
        match error {
            AuthError::AuthExecStart(error) => {
                Self::PluginStart { command: String::new(), reason: error.to_string(), install_hint: None }
            }
            AuthError::AuthExecRun { cmd, out } => Self::PluginFailed {
                command: program(cmd),
                status: out.status.to_string(),
                last_line: last_line(&out.stderr),
            },
            AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed | AuthError::MalformedTokenExpirationDate(_) => {
                Self::PluginAnswer
            }
            AuthError::ReadTokenFile(error, path) => {
                Self::TokenFile { path: path.display().to_string(), reason: error.to_string() }
            }
            AuthError::InvalidBasicAuth(_) | AuthError::InvalidBearerToken(_) => Self::Characters,
            AuthError::OAuth(error) => Self::OAuth(oauth_reason(error)),
            AuthError::Oidc(error) => Self::Oidc(oidc_reason(error)),
            // Unsupported providers, and what a `cmd-path` lacks: kube's words hold no token here.
            AuthError::AuthExec(words) => Self::Unusable(words.lines().next().unwrap_or_default().trim().to_owned()),
            AuthError::MissingCommand => Self::Unusable("its plugin has no command".to_owned()),
            AuthError::ExecMissingClusterInfo => {
                Self::Unusable("its plugin asks for the cluster, which is not known".to_owned())
            }
            _ => Self::Unusable("they are not valid".to_owned()),
        }
    }
}

impl ConnectError {
    /// With the plugin's name, which kube does not tell.
    pub(super) fn of_plugin(mut self, exec: Option<&ExecConfig>) -> Self {
        if let (Self::Credentials(CredentialError::PluginStart { command, install_hint, .. }), Some(exec)) =
            (&mut self, exec)
        {
            *command = exec.command.clone().unwrap_or_default();
            *install_hint = exec.install_hint.as_deref().map(one_line);
        }
        self
    }
}

fn hint(install_hint: &Option<String>) -> String {
    install_hint.as_ref().map(|hint| format!(". {hint}")).unwrap_or_default()
}

/// When the configuration is read again after a 401.
impl From<ConnectError> for CredentialError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Credentials(error) => error,
            other => Self::Configuration(match other.source() {
                Some(source) => format!("{other}: {source}"),
                None => other.to_string(),
            }),
        }
    }
}

/// Errors of reading an answer may quote it: they are told by their kind.
fn oauth_reason(error: &OAuthError) -> String {
    match error {
        OAuthError::NoDefaultProvider => "there are no application default credentials".to_owned(),
        OAuthError::InvalidDefaultProviderConfig(_) => "the application default credentials are not valid".to_owned(),
        OAuthError::LoadCredentials(error) => format!("the credentials file cannot be read: {error}"),
        OAuthError::ParseCredentials(_) | OAuthError::InvalidKeyFormat(_) | OAuthError::InvalidRsaKey(_) => {
            "the credentials file is not valid".to_owned()
        }
        OAuthError::RequestToken(error) => format!("it cannot be reached: {error}"),
        OAuthError::RetrieveCredentials(_) => "it refused".to_owned(),
        _ => "its answer cannot be used".to_owned(),
    }
}

fn oidc_reason(error: &oidc_errors::Error) -> &'static str {
    match error {
        oidc_errors::Error::IdTokenMissing => "the kubeconfig has no id-token",
        oidc_errors::Error::IdToken(_) => "the id-token is not valid",
        oidc_errors::Error::RefreshInit(_) => {
            "the id-token has expired, and the kubeconfig has not what is needed to refresh it"
        }
        oidc_errors::Error::Refresh(_) => "the id-token has expired, and refreshing it failed",
    }
}

/// kube hands the command over as `Command`'s Debug prints it: `"aws" "eks" …`, or `VAR="…" "aws" …` with the environment in front.
fn program(command: &str) -> String {
    let quoted = command.split(' ').find(|word| word.starts_with('"'));
    quoted.unwrap_or_else(|| command.split(' ').next().unwrap_or_default()).trim_matches('"').to_owned()
}

/// The words on one line, at most 300 characters of them.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

/// The last line that is not empty, at most 300 characters of it.
fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("(its standard error holds no message)").chars().take(300).collect()
}

fn paths(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    if names.is_empty() { "no path: there is no home directory".to_owned() } else { names.join(", ") }
}

fn missing_context(known: &[String]) -> String {
    if known.is_empty() { "contexts".to_owned() } else { format!("current context; choose one of {}", names(known)) }
}

fn names(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}
