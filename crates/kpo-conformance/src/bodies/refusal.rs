//! What an API server refuses, for ever or for a while.

use super::shell;
use crate::Error;
use crate::cluster::Namespace;
use serde_json::{Value, json};

/// As Pod Security "restricted" demands it of every container.
const RESTRICTED: &str = r#"spec.containers[0].securityContext={"allowPrivilegeEscalation":false,"runAsNonRoot":true,"runAsUser":1000,"capabilities":{"drop":["ALL"]},"seccompProfile":{"type":"RuntimeDefault"}}"#;

async fn enforce_restricted(namespace: &Namespace<'_>) -> Result<(), Error> {
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespace.merge(&format!("/api/v1/namespaces/{}", namespace.name), &labels).await?;
    Ok(())
}

async fn quota(namespace: &Namespace<'_>, hard: Value) -> Result<(), Error> {
    namespace
        .post(&namespace.path("resourcequotas"), &json!({"metadata": {"name": "quota"}, "spec": {"hard": hard}}))
        .await?;
    let path = namespace.path("resourcequotas/quota");
    // Until it is counted, everything is refused with another message.
    namespace
        .wait("the quota is counted", || async { Ok(namespace.get(&path).await?["status"]["hard"].is_object()) })
        .await
}

pub(super) async fn pod_security_refuses(namespace: &Namespace<'_>) -> Result<(), Error> {
    enforce_restricted(namespace).await?;
    let ended = namespace.kpo("run", &shell(&[], "echo hello")).await?;
    ended.exits(126)?.prints("")?.says("PodSecurity")?;
    namespace.is_empty().await
}

/// What kpo adds passes too: the sidecar among it.
pub(super) async fn pod_security_passes(namespace: &Namespace<'_>) -> Result<(), Error> {
    enforce_restricted(namespace).await?;
    let flags = ["-o", "json", "--set", RESTRICTED, "--result=/tmp/result.json", "--results-image", "kpo.rs/sidecar:1"];
    namespace.kpo("run", &shell(&flags, "echo 1 > /tmp/result.json")).await?.exits(0)?;
    namespace.is_empty().await
}

pub(super) async fn quota_is_full(namespace: &Namespace<'_>) -> Result<(), Error> {
    quota(namespace, json!({"pods": "0"})).await?;
    let flags = ["--queue-timeout", "5s"];
    namespace.kpo("run", &shell(&flags, "echo hello")).await?.prints("")?.says("exceeded quota")?;
    let task = namespace.start("run", &shell(&[], "echo hello"))?;
    namespace.merge(&namespace.path("resourcequotas/quota"), &json!({"spec": {"hard": {"pods": "5"}}})).await?;
    task.ended().await?.exits(0)?.prints("hello\n")?;
    namespace.is_empty().await
}

pub(super) async fn quota_demands_limits(namespace: &Namespace<'_>) -> Result<(), Error> {
    quota(namespace, json!({"limits.cpu": "4"})).await?;
    namespace.kpo("run", &shell(&[], "echo hello")).await?.prints("")?.says("must specify")?;
    let flags = [
        "-o",
        "json",
        "--set",
        "spec.containers[0].resources.limits.cpu=100m",
        "--result",
        "--results-image",
        "kpo.rs/sidecar:1",
    ];
    let script = "mkdir -p /airflow/xcom; echo 1 > /airflow/xcom/return.json";
    namespace.kpo("run", &shell(&flags, script)).await?.exits(0)?;
    namespace.is_empty().await
}

pub(super) async fn namespace_is_missing(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ended = namespace.within("there-is-no-such", "run", &shell(&[], "echo hello"))?.ended().await?;
    ended.exits(126)?.prints("")?.says("there-is-no-such").map(drop)
}
