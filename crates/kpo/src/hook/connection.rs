//! The client of the moment, and how it is replaced when its credentials are no longer accepted.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;

use tokio::time::Instant;

use super::{ConnectError, CredentialError, Source, TokenCallback, account, kubeconfig, stack};

/// The least time between two renewals.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(5);

/// Makes a client from the configuration as it is now: reads files again, runs plugins again.
pub(crate) type Renewal = Box<dyn Fn() -> BoxFuture<'static, Result<kube::Client, CredentialError>> + Send + Sync>;

/// A client that can be replaced. Streams that run keep the client with which they were opened.
pub(crate) struct Connection {
    current: Mutex<(u64, kube::Client)>,
    renewal: Option<Renewal>,
    /// One renewal at a time; when the last one was begun.
    renewing: tokio::sync::Mutex<Option<Instant>>,
    server: Arc<str>,
    /// The server, and the context of the kubeconfig that named it: for people.
    place: Arc<str>,
    namespace: String,
}

impl Connection {
    /// A client that is never replaced.
    pub(crate) fn fixed(client: kube::Client) -> Self {
        Self::new(client, "", None, None)
    }

    /// Reads the configuration and makes a client.
    pub(super) async fn open(
        source: Source,
        context: Option<String>,
        token: Option<TokenCallback>,
        around: Surroundings,
    ) -> Result<Self, ConnectError> {
        let make = move || {
            let (source, context, token, around) = (source.clone(), context.clone(), token.clone(), around.clone());
            tokio::task::spawn_blocking(move || {
                let (config, context) = configuration(&source, context.as_deref(), &around)?;
                let server = host_and_port(&config.cluster_url);
                Ok((stack::client(config, token)?, server, context))
            })
        };
        let (client, server, context) = make().await.map_err(|_| ConnectError::Interrupted)??;
        let renewal: Renewal = Box::new(move || {
            let made = make();
            Box::pin(async move {
                let made: Result<_, ConnectError> = made.await.unwrap_or(Err(ConnectError::Interrupted));
                made.map(|(client, ..)| client).map_err(CredentialError::from)
            })
        });
        Ok(Self::new(client, &server, context.as_deref(), Some(renewal)))
    }

    pub(crate) fn new(client: kube::Client, server: &str, context: Option<&str>, renewal: Option<Renewal>) -> Self {
        Self {
            namespace: client.default_namespace().to_owned(),
            current: Mutex::new((0, client)),
            renewal,
            renewing: tokio::sync::Mutex::new(None),
            server: server.into(),
            place: context
                .map_or_else(|| server.to_owned(), |context| format!("{server} (context {context:?})"))
                .into(),
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

    /// The same with the kubeconfig's context, for an error.
    pub(crate) fn place(&self) -> Arc<str> {
        Arc::clone(&self.place)
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn can_renew(&self) -> bool {
        self.renewal.is_some()
    }

    /// Replaces the credentials of `generation`, unless somebody did so meanwhile, or just now in vain: a plugin is not run by each of a thousand
    /// tasks that see the same 401. Returns whether there are other credentials now than those of `generation`.
    pub(crate) async fn renew(&self, generation: u64) -> Result<bool, Arc<CredentialError>> {
        let renewal = self.renewal.as_ref().ok_or_else(|| Arc::new(CredentialError::Fixed))?;
        let mut last = self.renewing.lock().await;
        if self.current().0 != generation {
            return Ok(true);
        }
        if last.is_some_and(|last| last.elapsed() < BETWEEN_RENEWALS) {
            return Ok(false);
        }
        *last = Some(Instant::now());
        let client = renewal().await.map_err(Arc::new)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = (generation + 1, client);
        Ok(true)
    }
}

/// An environment variable's value.
pub(super) type Env = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Where a process looks for a configuration that it was not given.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(super) env: Arc<Env>,
    /// Where a pod's service account is mounted.
    pub(super) account: PathBuf,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            env: Arc::new(|name| std::env::var(name).ok()),
            account: PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount"),
        }
    }
}

/// The configuration, and the context that it is of; `None`: not from a kubeconfig.
fn configuration(
    source: &Source,
    context: Option<&str>,
    around: &Surroundings,
) -> Result<(kube::Config, Option<String>), ConnectError> {
    let env = &*around.env;
    let without_context = |config| (config, None);
    match source {
        Source::Default => {
            let paths = kubeconfig::default_paths(env);
            match kubeconfig::read_existing(&paths)? {
                Some(config) => kubeconfig::config_of(&config, context, env),
                // A context that was asked for is in a kubeconfig or nowhere.
                None if context.is_some() => Err(ConnectError::NoKubeconfig { tried: paths }),
                None => account::config(around)
                    .map(without_context)
                    .map_err(|_| ConnectError::NoKubeconfig { tried: paths }),
            }
        }
        Source::File(path) => kubeconfig::config_of(&kubeconfig::read(path)?, context, env),
        Source::Text(text) => kubeconfig::config_of(&kubeconfig::parse(text)?, context, env),
        Source::InCluster => account::config(around).map(without_context),
        Source::Config(config) => Ok(without_context((**config).clone())),
    }
}

fn host_and_port(url: &http::Uri) -> String {
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    format!("{}:{port}", url.host().unwrap_or_default())
}
