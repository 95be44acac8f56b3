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
use std::path::PathBuf;
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
            let _ = write!(text, " --context {}", quoted(context));
        }
        if let Some(kubeconfig) = self.kubeconfig.clone().or_else(relative_kubeconfig) {
            // It may be typed in another folder.
            let path = std::path::absolute(&kubeconfig).unwrap_or(kubeconfig);
            let _ = write!(text, " --kubeconfig {}", quoted(&path.display().to_string()));
        }
        text
    }
}

/// The file of $KUBECONFIG, where that is one file that another folder would not find.
fn relative_kubeconfig() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("KUBECONFIG")?);
    let is_list = std::env::split_paths(&path).nth(1).is_some();
    (path.is_relative() && !path.as_os_str().is_empty() && !is_list).then_some(path)
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_shown_can_be_typed_anywhere() {
        let connection = ConnectionArgs {
            context: Some("o'brien's".to_owned()),
            kubeconfig: Some("/my dir/config".into()),
            ..ConnectionArgs::default()
        };
        let said = r" -n default --context 'o'\''brien'\''s' --kubeconfig '/my dir/config'";
        assert_eq!(connection.again("default"), said);
        let relative = ConnectionArgs { kubeconfig: Some("lab.yaml".into()), ..ConnectionArgs::default() };
        let folder = std::env::current_dir().unwrap();
        assert_eq!(relative.again("b"), format!(" -n b --kubeconfig {}/lab.yaml", folder.display()));
    }
}
