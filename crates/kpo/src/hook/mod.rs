//! The connection to a cluster.

mod connection;
mod error;

use std::{fmt, sync::Arc};

use serde_json::Value;

use crate::{
    manager::{PodManager, ReadError, SeenPods},
    request::{Call, RequestOptions, Requests},
};

pub(crate) use connection::Connection;
pub use error::CredentialError;

/// A connection to one cluster: the way to everything else. Clones share it.
#[derive(Clone)]
pub struct KubernetesHook {
    connection: Arc<Connection>,
    requests: Requests,
    seen: SeenPods,
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
    /// A hook over a client that the caller made: an in-process cluster, or a stack of his own. Its credentials are never renewed. The
    /// client's default namespace is the hook's.
    pub fn from_client(client: kube::Client, options: RequestOptions) -> Self {
        Self::over(Connection::fixed(client), options)
    }

    fn over(connection: Connection, options: RequestOptions) -> Self {
        let connection = Arc::new(connection);
        Self { requests: Requests::new(Arc::clone(&connection), options), connection, seen: SeenPods::default() }
    }

    /// kube's client with the credentials of this moment. Requests made with it know nothing of this crate's limit, timeouts and retries.
    pub fn client(&self) -> kube::Client {
        self.connection.current().1
    }

    /// The request layer.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Works on the pods of a namespace.
    pub fn pods(&self, namespace: impl Into<String>) -> PodManager {
        PodManager::sharing(self.requests.clone(), namespace.into(), self.seen.clone())
    }

    /// Reads a pod as [`PodManager::read_pod`] does: on a 404, and only on a 404, again after 2 s, 4 s and 8 s.
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
}
