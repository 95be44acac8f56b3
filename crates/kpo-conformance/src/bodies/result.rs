//! Results, by each way out of the pod. What kpo adds for them is admitted where each container needs a security context and limits.

use super::{same, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::container::{SIDECAR, container};
use serde_json::{Value, json};

const WRITES: &str = r#"mkdir -p /airflow/xcom; echo '{"a": 1}' > /airflow/xcom/return.json"#;
/// More than a termination message holds.
const WRITES_MUCH: &str = r#"mkdir -p /airflow/xcom; (printf '"'; head -c 300000 /dev/zero | tr '\0' x; printf '"') > /airflow/xcom/return.json"#;

async fn result(namespace: &Namespace<'_>, how: &str, script: &str) -> Result<Value, Error> {
    let flags = ["-o", "json", "--result", "--results", how, "--results-image", SIDECAR];
    let outcome = namespace.kpo("run", &shell(&flags, script)).await?.exits(0)?.outcome()?;
    namespace.is_empty().await?;
    Ok(outcome["result"].clone())
}

pub(super) async fn by_sidecar(namespace: &Namespace<'_>) -> Result<(), Error> {
    same("result", &result(namespace, "sidecar", WRITES).await?, &json!({"a": 1}))
}

pub(super) async fn by_sidecar_large(namespace: &Namespace<'_>) -> Result<(), Error> {
    let value = result(namespace, "sidecar", WRITES_MUCH).await?;
    same("length", &json!(value.as_str().map(str::len)), &json!(300_000))
}

pub(super) async fn by_message(namespace: &Namespace<'_>) -> Result<(), Error> {
    same("result", &result(namespace, "message", WRITES).await?, &json!({"a": 1}))
}

pub(super) async fn by_exec(namespace: &Namespace<'_>) -> Result<(), Error> {
    namespace.may_also("kpo-exec").await?;
    same("result", &result(namespace, "exec", WRITES).await?, &json!({"a": 1}))
}

/// The program ended well; what was asked for beside is missing, and that is said.
pub(super) async fn missing(namespace: &Namespace<'_>) -> Result<(), Error> {
    let flags = ["-o", "json", "--result", "--results-image", SIDECAR];
    let ended = namespace.kpo("run", &shell(&flags, "true")).await?.exits(65)?.came_to(&["succeeded succeeded 0"])?;
    let outcome = ended.because("resultMissing", "the program left no result")?.outcome()?;
    same("result", &outcome["result"], &Value::Null)?;
    namespace.is_empty().await
}

/// How it gets out, what is written, and what is said of it: the program succeeded, and its result is none.
const SPOILT: &[(&str, &str, &str)] = &[
    ("message", "head -c 5000 /dev/zero | tr '\\0' 1", "it reaches the limit, the limit is 4096 bytes"),
    ("sidecar", "printf '[1,2'", "the result is not JSON: line 1, column 4"),
    ("sidecar", "head -c 5000000 /dev/zero | tr '\\0' 1", "it has 5000000 bytes, the limit is 4194304 bytes"),
];

pub(super) async fn spoilt_results(namespace: &Namespace<'_>) -> Result<(), Error> {
    for (how, writes, words) in SPOILT {
        let flags = ["-o", "json", "--result", "--results", how, "--results-image", SIDECAR];
        let script = format!("mkdir -p /airflow/xcom; ({writes}) > /airflow/xcom/return.json");
        let ended = namespace.kpo("run", &shell(&flags, &script)).await?.exits(65)?;
        let outcome = ended.came_to(&["succeeded succeeded 0"])?.because("resultMissing", words)?.outcome()?;
        same("result", &outcome["result"], &Value::Null)?;
        namespace.is_empty().await?;
    }
    Ok(())
}

/// The kubelet stops the result's sidecar after all other containers: one that runs on is not waited for.
pub(super) async fn beside_one_that_runs_on(namespace: &Namespace<'_>) -> Result<(), Error> {
    let side = container("side", "trap 'exit 0' TERM; while true; do sleep 0.2; done");
    let other = format!("spec.containers[1]={side}");
    let flags = ["-o", "json", "--set", &other, "--result", "--results-image", SIDECAR];
    let outcome = namespace.kpo("run", &shell(&flags, WRITES)).await?.exits(0)?.outcome()?;
    same("result", &outcome["result"], &json!({"a": 1}))?;
    namespace.is_empty().await
}
