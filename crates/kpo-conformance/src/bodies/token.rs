//! A service account's token that ends while its task is under way.

use super::{is_running, outage};
use crate::Error;
use crate::cluster::Namespace;
use crate::components::{Components, Fault};
use crate::ledger::Ledger;
use crate::target::client;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// For so long no token is good.
const WITHOUT: Duration = Duration::from_secs(5);

/// The file that a kubeconfig names.
struct TokenFile(PathBuf);

impl Drop for TokenFile {
    fn drop(&mut self) {
        // Its token ends with the namespace.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Namespace<'_> {
    /// A token that is good for as long as this Secret is there: the shortest time that a token can be asked for is ten minutes.
    async fn bound_token(&self, account: &str, secret: &str) -> Result<String, Error> {
        let made = self.post(&self.path("secrets"), &json!({"metadata": {"name": secret}})).await?;
        let object = json!({"kind": "Secret", "apiVersion": "v1", "name": secret, "uid": made["metadata"]["uid"]});
        self.token(account, json!({"expirationSeconds": 600, "boundObjectRef": object})).await
    }
}

/// The token ends, and so do all connections; the next token comes some seconds later, by the file. That an old one is good no longer
/// is noticed when something is asked anew: the API server looks at a token when a request begins.
pub(super) async fn token_ends_before_the_next(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    namespace.is_well().await?;
    namespace.runner("runs").await?;
    let file = TokenFile(std::env::temp_dir().join(format!("{}.token", namespace.name)));
    std::fs::write(&file.0, namespace.bound_token("runs", "old").await?)?;
    let account = namespace.kubeconfig_of("runs", json!({"tokenFile": file.0}))?;
    let ledger = Ledger::open(namespace).await?;
    let task = namespace.start_as(account.path(), "run", &ledger.run("task", &["-vv"], outage::COUNTS))?;
    namespace.pod("task-1", "runs", is_running).await?;

    namespace.delete(&namespace.path("secrets/old"), &json!({})).await?;
    components.suffer("kube-apiserver", Fault::Killed(Duration::from_secs(1))).await?;
    namespace.is_well().await?;
    let old = client(account.path(), Some(WITHOUT)).await?;
    let is_refused =
        || async { Ok(matches!(old.apiserver_version().await, Err(kube::Error::Api(e)) if e.code == 401)) };
    namespace.wait("the old token is refused", is_refused).await?;
    tokio::time::sleep(WITHOUT).await;
    std::fs::write(&file.0, namespace.bound_token("runs", "new").await?)?;

    ledger.allow("stop")?;
    let ended = task.ended().await?.exits(7)?.says(": 401 in ")?;
    outage::counts(&ended.stdout, false).map_err(|error| format!("{error}: {ended}"))?;
    ledger.shows("task", &[1])?;
    namespace.is_empty().await
}
