//! What an API server refuses, for ever or for a while. Each body's namespace has Pod Security "restricted" and a quota that demands limits.

use super::shell;
use crate::Error;
use crate::cluster::Namespace;
use crate::proxy::{Fault, Proxy};
use serde_json::json;

pub(super) async fn pod_security_refuses(namespace: &Namespace<'_>) -> Result<(), Error> {
    let without = shell(&["--set", "spec.containers[0].securityContext={}"], "echo hello");
    namespace.kpo("run", &without).await?.exits(126)?.prints("")?.says("PodSecurity")?;
    namespace.is_empty().await
}

pub(super) async fn quota_is_full(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.quota("full", json!({"pods": "0"})).await?;
    let flags = ["-o", "json", "--queue-timeout", "5s"];
    let ended = namespace.kpo("run", &shell(&flags, "echo hello")).await?.exits(126)?;
    ended.came_to(&["launchFailed quotaExceeded"])?.because("quotaExceeded", "exceeded quota")?.has_line("hello", 0)?;
    let proxy = Proxy::start(namespace, |_| Fault::Pass).await?;
    let task = namespace.start_as(proxy.kubeconfig(), "run", &shell(&[], "echo hello"))?;
    namespace.saw(&proxy, "create pods", 1).await?;
    namespace.merge(&namespace.path("resourcequotas/full"), &json!({"spec": {"hard": {"pods": "5"}}})).await?;
    task.ended().await?.exits(0)?.prints("hello\n")?;
    let (creates, refused) = (proxy.count("create pods"), "creates, of which all but one are refused");
    if creates < 2 {
        return Err(format!("{creates} {refused}").into());
    }
    namespace.is_empty().await
}

pub(super) async fn quota_demands_limits(namespace: &Namespace<'_>) -> Result<(), Error> {
    let without = shell(&["--set", "spec.containers[0].resources={}"], "echo hello");
    namespace.kpo("run", &without).await?.exits(126)?.prints("")?.says("must specify")?;
    namespace.is_empty().await
}

pub(super) async fn namespace_is_missing(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ended = namespace.within("there-is-no-such", "run", &shell(&[], "echo hello"))?.ended().await?;
    ended.exits(126)?.prints("")?.says("there-is-no-such").map(drop)
}
