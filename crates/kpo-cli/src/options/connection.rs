//! Which cluster, which namespace.

use clap::Args;
use std::path::PathBuf;

/// Which cluster, which namespace: as kubectl has it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ConnectionArgs {
    /// The namespace. Default: the manifest's, else the context's
    #[arg(short, long, value_name = "NAMESPACE", value_parser = super::names::namespace)]
    pub(crate) namespace: Option<String>,
    /// The context of the kubeconfig. Default: its current one
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// The kubeconfig file. Default: $KUBECONFIG, else ~/.kube/config, else the pod's own service account
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}
