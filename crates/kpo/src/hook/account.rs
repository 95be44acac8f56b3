//! The service account of the pod that this process runs in (client-go `rest.InClusterConfig`).

use std::{fs, net::IpAddr, path::Path};

use http::Uri;
use kube::Config;

use super::{ConnectError, connection::Surroundings, kubeconfig, proxy};

/// The configuration that the kubelet puts into every pod: the API server in the environment, and the account's files.
pub(super) fn config(around: &Surroundings) -> Result<Config, ConnectError> {
    let env = &*around.env;
    let no_server = || missing("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set, or no address");
    let mut config = Config::new(server(env).ok_or_else(no_server)?);
    let authority = read(&around.account, "ca.crt")?;
    config.root_cert = Some(kubeconfig::certificates(&authority).ok_or_else(|| missing("ca.crt is no certificate"))?);
    // Read again now and then: authorities are renewed under pods that run for long.
    config.root_cert_file = Some(around.account.join("ca.crt"));
    let namespace = read(&around.account, "namespace")?;
    config.default_namespace = String::from_utf8_lossy(&namespace).trim().to_owned();
    config.auth_info.token_file = Some(around.account.join("token").display().to_string());
    config.proxy_url =
        proxy::from_environment(&config.cluster_url, env).map_err(|from| ConnectError::ProxyUrl { from })?;
    Ok(config)
}

fn server(env: proxy::Lookup<'_>) -> Option<Uri> {
    let (host, port) = (env("KUBERNETES_SERVICE_HOST")?, env("KUBERNETES_SERVICE_PORT")?);
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host,
    };
    format!("https://{host}:{port}").parse().ok()
}

fn read(account: &Path, name: &str) -> Result<Vec<u8>, ConnectError> {
    let path = account.join(name);
    fs::read(&path).map_err(|error| missing(&format!("{}: {error}", path.display())))
}

fn missing(what: &str) -> ConnectError {
    ConnectError::InCluster(Box::from(what))
}
