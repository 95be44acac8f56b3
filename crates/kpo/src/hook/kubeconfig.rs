//! From kubeconfig files to the configuration of one context.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use http::Uri;
use kube::config::{AuthInfo, Cluster, Context, ExecInteractiveMode, Kubeconfig, KubeconfigError};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{ConnectError, proxy};

/// The files that kubectl would read, in its order (`clientcmd.NewDefaultClientConfigLoadingRules`).
pub(super) fn default_paths(env: proxy::Lookup<'_>) -> Vec<PathBuf> {
    match env("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(value) => env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect(),
    }
}

/// Merges the files that exist; `None` if none does.
pub(super) fn read_existing(paths: &[PathBuf]) -> Result<Option<Kubeconfig>, ConnectError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths {
        let next = match read(path) {
            Ok(next) => next,
            Err(ConnectError::ReadKubeconfig { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        merged = Some(match merged {
            Some(config) => config.merge(next).map_err(|_| ConnectError::UnlikeKubeconfigs { path: path.clone() })?,
            None => next,
        });
    }
    Ok(merged)
}

/// One file, which must exist.
pub(super) fn read(path: &Path) -> Result<Kubeconfig, ConnectError> {
    Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::ReadConfig(source, _) => ConnectError::ReadKubeconfig { path: path.to_owned(), source },
        error => ConnectError::ParseKubeconfig { path: path.to_owned(), at: place(&error) },
    })
}

/// A kubeconfig's text.
pub(super) fn parse(text: &str) -> Result<Kubeconfig, ConnectError> {
    Kubeconfig::from_yaml(text)
        .map_err(|error| ConnectError::ParseKubeconfig { path: PathBuf::from("(text)"), at: place(&error) })
}

/// Only the place: the parser's own message quotes the lines around, and with them tokens and keys.
fn place(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!("line {}, column {}", at.line(), at.column()),
            None => "an unknown place".to_owned(),
        },
        _ => "its documents, which do not belong together".to_owned(),
    }
}

/// The configuration for one context (`None`: the current one), and its name.
pub(super) fn config_of(
    kubeconfig: &Kubeconfig,
    context: Option<&str>,
    env: proxy::Lookup<'_>,
) -> Result<(kube::Config, Option<String>), ConnectError> {
    let (name, context) = pick_context(kubeconfig, context)?;
    let cluster = pick_cluster(kubeconfig, name, context)?;
    let server = cluster.server.as_deref().filter(|s| !s.is_empty());
    let server = server.ok_or_else(|| ConnectError::NoServer { cluster: context.cluster.clone() })?;
    let url: Uri = server.parse().map_err(|_| ConnectError::ServerUrl { cluster: context.cluster.clone() })?;
    if url.host().is_none() {
        return Err(ConnectError::ServerUrl { cluster: context.cluster.clone() });
    }
    let mut config = kube::Config::new(url);
    if let Some(namespace) = context.namespace.as_ref().filter(|n| !n.is_empty()) {
        config.default_namespace.clone_from(namespace);
    }
    config.root_cert = authorities(cluster, &context.cluster)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name.clone().filter(|n| !n.is_empty());
    config.proxy_url = match cluster.proxy_url.as_deref().filter(|p| !p.is_empty()) {
        Some(proxy) => Some(proxy::parse(proxy).ok_or(ConnectError::ProxyUrl { from: "the kubeconfig's proxy-url" })?),
        None => proxy::from_environment(&config.cluster_url, env).map_err(|from| ConnectError::ProxyUrl { from })?,
    };
    config.auth_info = user_of(kubeconfig, context, cluster)?;
    Ok((config, Some(name.to_owned())))
}

fn pick_context<'a>(
    kubeconfig: &'a Kubeconfig,
    wanted: Option<&'a str>,
) -> Result<(&'a str, &'a Context), ConnectError> {
    let known = || kubeconfig.contexts.iter().map(|c| c.name.clone()).collect();
    let current = kubeconfig.current_context.as_deref().filter(|c| !c.is_empty());
    let name = wanted.or(current).ok_or_else(|| ConnectError::NoCurrentContext { known: known() })?;
    let named = kubeconfig.contexts.iter().find(|c| c.name == name);
    let context = named.and_then(|named| named.context.as_ref());
    context
        .map(|context| (name, context))
        .ok_or_else(|| ConnectError::UnknownContext { name: name.to_owned(), known: known() })
}

fn pick_cluster<'a>(kubeconfig: &'a Kubeconfig, name: &str, context: &Context) -> Result<&'a Cluster, ConnectError> {
    let named = kubeconfig.clusters.iter().find(|c| c.name == context.cluster);
    named
        .and_then(|named| named.cluster.as_ref())
        .ok_or_else(|| ConnectError::UnknownCluster { context: name.to_owned(), cluster: context.cluster.clone() })
}

/// The user's credentials; a context without a user, or with an unknown one, is anonymous, as in client-go.
fn user_of(kubeconfig: &Kubeconfig, context: &Context, cluster: &Cluster) -> Result<AuthInfo, ConnectError> {
    let named = kubeconfig.auth_infos.iter().find(|user| Some(&user.name) == context.user.as_ref());
    let mut user = named.and_then(|named| named.auth_info.clone()).unwrap_or_default();
    if let Some(exec) = &mut user.exec {
        if exec.provide_cluster_info {
            let info = cluster.try_into().map_err(|_| ConnectError::Authority { cluster: context.cluster.clone() })?;
            exec.cluster = Some(info);
        }
        // kube leaves the plugin's standard error to the terminal unless it is told `Never`; without a terminal its last line is ours to tell.
        if exec.interactive_mode != Some(ExecInteractiveMode::Always) && !has_terminal() {
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
    }
    Ok(user)
}

fn has_terminal() -> bool {
    use std::io::IsTerminal;
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The certificates that the cluster's server may be signed by. `None`: the system's.
fn authorities(cluster: &Cluster, name: &str) -> Result<Option<Vec<Vec<u8>>>, ConnectError> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let error = || ConnectError::Authority { cluster: name.to_owned() };
    let pem = match (cluster.certificate_authority_data.as_deref(), cluster.certificate_authority.as_deref()) {
        (Some(data), _) if !data.is_empty() => STANDARD.decode(data.trim()).map_err(|_| error())?,
        (_, Some(path)) if !path.is_empty() => {
            std::fs::read(path).map_err(|source| ConnectError::ReadAuthority { path: PathBuf::from(path), source })?
        }
        _ => return Ok(None),
    };
    certificates(&pem).map(Some).ok_or_else(error)
}

/// The certificates of a PEM file; `None` if it has none.
pub(super) fn certificates(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).map(|c| c.map(|c| c.to_vec())).collect();
    found.ok().filter(|found| !found.is_empty())
}
