//! What can be wrong with a connection's configuration and credentials.

use kube::client::AuthError;

/// Credentials that cannot be had. No message holds a secret: of a plugin only what it wrote to its standard error is shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The credentials are fixed: there is nothing to read again.
    #[error("the credentials cannot be renewed")]
    Fixed,
    /// A credential plugin could not be started.
    #[error("the credential plugin could not be started: {0}")]
    PluginStart(String),
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
    /// Anything else, in one line that holds no secret.
    #[error("{0}")]
    Other(String),
}

impl CredentialError {
    /// From kube's error, whose own text shows a plugin's whole output, and with it the token.
    pub(crate) fn from_kube(error: &AuthError) -> Self {
        match error {
            AuthError::AuthExecStart(io) => Self::PluginStart(io.to_string()),
            AuthError::AuthExecRun { cmd, out } => Self::PluginFailed {
                command: cmd.split(' ').next().unwrap_or_default().to_owned(),
                status: out.status.to_string(),
                last_line: last_line(&out.stderr),
            },
            AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed | AuthError::MalformedTokenExpirationDate(_) => {
                Self::PluginAnswer
            }
            AuthError::ReadTokenFile(io, path) => {
                Self::TokenFile { path: path.display().to_string(), reason: io.to_string() }
            }
            AuthError::InvalidBasicAuth(_) | AuthError::InvalidBearerToken(_) => {
                Self::Other("the credentials hold characters that no header can carry".to_owned())
            }
            AuthError::OAuth(_) => Self::Other("no token from the OAuth provider".to_owned()),
            AuthError::Oidc(_) => Self::Other("no token from the OpenID Connect provider".to_owned()),
            _ => Self::Other("the credentials of the kubeconfig's user cannot be used".to_owned()),
        }
    }
}

/// The last line that is not empty, at most 300 characters of it.
fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("(it wrote nothing to its standard error)").chars().take(300).collect()
}
