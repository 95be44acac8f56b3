//! From flags to a connection, and the runtime that all commands share.

use crate::error::{CliError, ErrorKind};
use crate::options::ConnectionArgs;
use crate::printer::to_stderr;
use crate::render;
use crate::retries::{Retries, Retry};
use kpo::KubernetesHook;
use kpo::hook::{ConnectOptions, Source};
use kpo::request::{Observer, RequestOptions};
use std::fmt::Write as _;
use std::future::Future;
use std::sync::{Arc, Once};
use std::time::Duration;

/// How long the first answer of a cluster is waited for: later outages are ridden out, but a wrong address is told at once.
pub(crate) const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Runs a command's future to its end, on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::because(ErrorKind::Local, "cannot start", &error))?;
    let done = runtime.block_on(future);
    // A thread that still waits for the network must not hold up the end.
    runtime.shutdown_background();
    done
}

impl ConnectionArgs {
    /// Connects as kubectl would. Of requests that are tried again the first is told on standard error.
    pub(crate) async fn connect(&self) -> Result<KubernetesHook, CliError> {
        let told = Once::new();
        let observer: Observer = Arc::new(move |notice| {
            if let Some(Retry::Failing { what, why }) = Retry::of(notice) {
                told.call_once(|| to_stderr(&render::failing(&what, &why)));
            }
        });
        self.connect_with(observer).await
    }

    /// The same; what is tried again is told to the caller.
    pub(crate) async fn connect_telling(&self) -> Result<(KubernetesHook, Retries), CliError> {
        let (observer, retries) = Retries::channel();
        Ok((self.connect_with(observer).await?, retries))
    }

    async fn connect_with(&self, observer: Observer) -> Result<KubernetesHook, CliError> {
        let source = self.kubeconfig.clone().map_or(Source::Default, Source::File);
        let requests = RequestOptions { observer: Some(observer), ..RequestOptions::default() };
        let options = ConnectOptions { source, context: self.context.clone(), requests, ..ConnectOptions::default() };
        Ok(KubernetesHook::connect(options).await?)
    }

    /// The namespace: the flag's, else the context's.
    pub(crate) fn namespace(&self, hook: &KubernetesHook) -> String {
        self.namespace.clone().unwrap_or_else(|| hook.default_namespace().to_owned())
    }

    /// The flags again, for a command that is shown: ` -n batch --context prod`.
    pub(crate) fn again(&self, namespace: &str) -> String {
        let mut text = format!(" -n {namespace}");
        if let Some(context) = &self.context {
            let _ = write!(text, " --context {context}");
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            let _ = write!(text, " --kubeconfig {}", kubeconfig.display());
        }
        text
    }
}
