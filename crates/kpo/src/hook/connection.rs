//! The client of the moment, and how it is replaced when its credentials are no longer accepted.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use super::CredentialError;

/// Makes a client from the credentials as they are now: reads files again, runs plugins again.
pub(crate) type Renewal = Box<dyn Fn() -> BoxFuture<'static, Result<kube::Client, CredentialError>> + Send + Sync>;

/// A client that can be replaced. Streams that run keep the client with which they were opened.
pub(crate) struct Connection {
    current: Mutex<(u64, kube::Client)>,
    renewal: Option<Renewal>,
    /// One renewal at a time.
    renewing: tokio::sync::Mutex<()>,
    server: Arc<str>,
    namespace: String,
}

impl Connection {
    /// A client that is never replaced.
    pub(crate) fn fixed(client: kube::Client) -> Self {
        Self::new(client, "", None)
    }

    pub(crate) fn new(client: kube::Client, server: &str, renewal: Option<Renewal>) -> Self {
        Self {
            namespace: client.default_namespace().to_owned(),
            current: Mutex::new((0, client)),
            renewal,
            renewing: tokio::sync::Mutex::new(()),
            server: server.into(),
        }
    }

    /// The client, with the generation of its credentials.
    pub(crate) fn current(&self) -> (u64, kube::Client) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `host:port`; empty where it is not known.
    pub(crate) fn server(&self) -> Arc<str> {
        Arc::clone(&self.server)
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn can_renew(&self) -> bool {
        self.renewal.is_some()
    }

    /// Replaces the credentials of `generation`, unless somebody did so meanwhile.
    pub(crate) async fn renew(&self, generation: u64) -> Result<(), Arc<CredentialError>> {
        let renewal = self.renewal.as_ref().ok_or_else(|| Arc::new(CredentialError::Fixed))?;
        let _one = self.renewing.lock().await;
        if self.current().0 != generation {
            return Ok(());
        }
        let client = renewal().await.map_err(Arc::new)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = (generation + 1, client);
        Ok(())
    }
}
