//! The connection to a cluster.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kpo::{KubernetesHook, hook::ConnectOptions, request::Call};
//!
//! // As kubectl: $KUBECONFIG, ~/.kube/config, or the service account of the pod that this runs in.
//! let hook = KubernetesHook::connect(ConnectOptions::default()).await?;
//! let pod = hook.get_pod(hook.default_namespace(), "nightly-1", Call::forever()).await?;
//! # Ok(()) }
//! ```
//!
//! # Guarantees
//! - TCP keepalive and `TCP_NODELAY` are on; there is no read timeout that would end quiet watches ([`Requests`] limits unary calls).
//! - kube's own retry is off, and its tracing layer is not in the stack.
//! - Credentials that are refused (401) are read again: files anew, plugins run anew, the callback asked anew.
//! - No secret appears in a `Debug` or an error.

mod account;
mod connection;
mod error;
mod kubeconfig;
mod proxy;
mod stack;
mod token;

#[cfg(test)]
mod auth_tests;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use kpo_core::Time;
use serde_json::Value;

use crate::{
    manager::{PodManager, ReadError, ReadRetry, SeenPods},
    request::{Call, RequestOptions, Requests},
};

pub(crate) use connection::Connection;
#[cfg(test)]
pub(crate) use connection::Renewal;
use connection::Surroundings;
pub use error::{ConnectError, CredentialError};
#[cfg(test)]
pub(crate) use stack::READ_BUFFER;
pub use token::TokenCallback;

/// Where the configuration of a connection comes from.
#[derive(Clone)]
pub enum Source {
    /// As kubectl finds it: the files of `$KUBECONFIG` (those that do not exist are skipped), else `~/.kube/config`; where none exists, the
    /// service account of the pod that this process runs in.
    Default,
    /// This file, and no other (`--kubeconfig`).
    File(PathBuf),
    /// A kubeconfig's text, YAML or JSON; relative paths in it are relative to the working directory.
    Text(String),
    /// The service account of the pod that this process runs in.
    InCluster,
    /// kube's configuration. Its `proxy_url` is used as it is; its `default_retry` and timeouts are not.
    Config(Box<kube::Config>),
}

/// How to connect.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Where the configuration comes from. Default [`Source::Default`].
    pub source: Source,
    /// The kubeconfig's context (`--context`). `None`: its `current-context`. Has no meaning for a service account or kube's configuration.
    pub context: Option<String>,
    /// Gives the bearer token, in place of all credentials of the configuration but client certificates. Asked before the first request
    /// and again after each 401. `None`: the configuration's credentials.
    pub token: Option<TokenCallback>,
    /// How requests are made.
    pub requests: RequestOptions,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { source: Source::Default, context: None, token: None, requests: RequestOptions::default() }
    }
}

/// Kubeconfigs hold secrets: only the kind of the source is shown, or its path.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("Default"),
            Source::File(path) => f.debug_tuple("File").field(path).finish(),
            Source::Text(_) => f.write_str("Text(..)"),
            Source::InCluster => f.write_str("InCluster"),
            Source::Config(config) => f.debug_tuple("Config").field(&config.cluster_url.host()).finish(),
        }
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("source", &self.source)
            .field("context", &self.context)
            .field("has_token", &self.token.is_some())
            .field("requests", &self.requests)
            .finish()
    }
}

/// A connection to one cluster: the way to everything else. Clones share it.
#[derive(Clone)]
pub struct KubernetesHook {
    connection: Arc<Connection>,
    requests: Requests,
    seen: SeenPods,
    read_retry: ReadRetry,
    wall_clock: WallClock,
}

/// Gives the time of day, UTC.
pub type WallClock = Arc<dyn Fn() -> Time + Send + Sync>;

pub(crate) fn system_clock() -> Time {
    Time::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl fmt::Debug for KubernetesHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesHook")
            .field("server", &self.connection.server())
            .field("namespace", &self.connection.namespace())
            .finish_non_exhaustive()
    }
}

impl KubernetesHook {
    /// Reads the configuration and its credentials (a credential plugin runs here). No request is made: whether the server can be reached is
    /// the first request's matter.
    ///
    /// # Errors
    /// See [`ConnectError`]: each is one line, and none holds a secret.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        Self::connect_in(Surroundings::default(), options).await
    }

    async fn connect_in(around: Surroundings, options: ConnectOptions) -> Result<Self, ConnectError> {
        let ConnectOptions { source, context, token, requests } = options;
        let connection = Connection::open(source, context, token, around).await?;
        Ok(Self::over(connection, requests))
    }

    /// A hook over a client that the caller made: an in-process cluster, or a stack of his own. Its credentials are never renewed. The
    /// client's default namespace is the hook's.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use kpo::{KubernetesHook, request::RequestOptions};
    /// use kpo_lab::{Lab, LabOptions, Store};
    /// let lab = Lab::in_process(Store::default(), LabOptions::default());
    /// let hook = KubernetesHook::from_client(kube::Client::new(lab.service(), "team"), RequestOptions::default());
    /// assert_eq!(hook.default_namespace(), "team");
    /// # }
    /// ```
    pub fn from_client(client: kube::Client, options: RequestOptions) -> Self {
        Self::over(Connection::fixed(client), options)
    }

    pub(crate) fn over(connection: Connection, options: RequestOptions) -> Self {
        let connection = Arc::new(connection);
        Self {
            requests: Requests::new(Arc::clone(&connection), options),
            connection,
            seen: SeenPods::default(),
            read_retry: ReadRetry::default(),
            wall_clock: Arc::new(system_clock),
        }
    }

    /// The same connection to a cluster that lives by another clock, such as one under virtual time. Each task that is run or attached to reads
    /// it once, and goes on by tokio's. Default: the system's.
    #[must_use]
    pub fn with_wall_clock(mut self, clock: WallClock) -> Self {
        self.wall_clock = clock;
        self
    }

    pub(crate) fn wall_clock(&self) -> Time {
        (self.wall_clock)()
    }

    /// kube's client with the credentials of this moment. Requests made with it know nothing of this crate's limit, timeouts and retries.
    pub fn client(&self) -> kube::Client {
        self.connection.current().1
    }

    /// The request layer.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The same connection with another read retry: of [`get_pod`](Self::get_pod), and of the managers that it makes.
    ///
    /// ```no_run
    /// # async fn example(hook: kpo::KubernetesHook) -> Result<(), Box<dyn std::error::Error>> {
    /// use kpo::{manager::ReadRetry, request::Call};
    /// use std::time::Duration;
    /// let hasty = hook.with_read_retry(ReadRetry { delays: vec![Duration::from_millis(500); 2] });
    /// let pod = hasty.get_pod("batch", "nightly-1", Call::forever()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_read_retry(mut self, retry: ReadRetry) -> Self {
        self.read_retry = retry;
        self
    }

    /// Works on the pods of a namespace.
    pub fn pods(&self, namespace: impl Into<String>) -> PodManager {
        let pods = PodManager::sharing(self.requests.clone(), namespace.into(), self.seen.clone());
        pods.with_read_retry(self.read_retry.clone())
    }

    /// Reads a pod as [`PodManager::read_pod`] does: on a 404, and only on a 404, again after 2 s, 4 s and 8 s, unless
    /// [`with_read_retry`](Self::with_read_retry) said otherwise.
    ///
    /// # Errors
    /// As there.
    pub async fn get_pod(&self, namespace: &str, name: &str, call: Call) -> Result<Value, ReadError> {
        self.pods(namespace).read_pod(name, call).await
    }

    /// The namespace that the context (or the service account, or the client) names; `default` where none does.
    pub fn default_namespace(&self) -> &str {
        self.connection.namespace()
    }

    /// The API server's `host:port`; empty for a client that the caller made.
    pub fn server(&self) -> Arc<str> {
        self.connection.server()
    }
}
