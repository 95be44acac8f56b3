//! What one would write with the `kube` crate in fifty lines: create a pod, watch it, show its log, delete it. Nothing is ridden out.

use crate::Error;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, LogParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, Config, ResourceExt};
use serde_json::json;

/// Runs so many pods at once, each watched by itself.
pub(crate) async fn run(count: &str, image: &str) -> Result<(), Error> {
    let client = Client::try_from(Config::infer().await?)?;
    let pods: Vec<_> = (0..count.parse()?).map(|number| one(client.clone(), number, image)).collect();
    futures::future::try_join_all(pods).await?;
    Ok(())
}

async fn one(client: Client, number: usize, image: &str) -> Result<(), Error> {
    let pods: Api<Pod> = Api::default_namespaced(client);
    let name = format!("plain-{number}");
    let pod = json!({"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [{"name": "base", "image": image}]}});
    let created = pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let version = created.resource_version().unwrap_or_default();
    let mut events = pods.watch(&only, &version).await?.boxed();
    while let Some(event) = events.try_next().await? {
        let WatchEvent::Modified(pod) = event else { continue };
        if let Some("Succeeded" | "Failed") = pod.status.and_then(|status| status.phase).as_deref() {
            break;
        }
    }
    let log = pods.log_stream(&name, &LogParams { follow: true, ..LogParams::default() }).await?;
    let mut lines = log.lines();
    while lines.try_next().await?.is_some() {}
    pods.delete(&name, &DeleteParams::default()).await?;
    Ok(())
}
