"""How triggers connect for upstream's operators of two clouds. Nothing of a provider is imported before one of its operators runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook


def _gke(operator: Any) -> tuple[str, dict[str, Any]]:
    """The hook that the operator makes, with what it was told of the cluster: an address and a certificate, which are public."""
    return "airflow.providers.google.cloud.hooks.kubernetes_engine.GKEKubernetesHook", {
        "gcp_conn_id": operator.gcp_conn_id,
        "impersonation_chain": operator.impersonation_chain,
        "cluster_url": operator.cluster_url,
        "ssl_ca_cert": operator.ssl_ca_cert,
        "use_dns_endpoint": operator.use_dns_endpoint,
    }


def _eks(operator: Any) -> tuple[str, dict[str, Any]]:
    from airflow.providers.amazon.aws.hooks.eks import EksHook

    # An older provider has none: its tasks stay with upstream.
    _ = EksHook.generate_config_file_with_credentials
    return f"{__name__}.{EksClusterHook.__name__}", {
        "cluster_name": operator.cluster_name,
        "aws_conn_id": operator.aws_conn_id,
        "region": operator.region,
        "conn_id": operator.kubernetes_conn_id,
        "in_cluster": operator.in_cluster,
        "cluster_context": operator.cluster_context,
    }


#: By an operator's path: what tells of one how a trigger connects.
KNOWN: dict[str, Callable[[Any], tuple[str, dict[str, Any]]]] = {
    "airflow.providers.google.cloud.operators.kubernetes_engine.GKEStartPodOperator": _gke,
    "airflow.providers.amazon.aws.operators.eks.EksPodOperator": _eks,
}


class EksClusterHook:
    """Connects as EksPodOperator does: by a kubeconfig, and credentials for its token, that are there only while it connects.

    Args:
        cluster_name, aws_conn_id, region: the cluster, and who asks AWS for it.
        conn_id, in_cluster, cluster_context: what upstream's hook is told beside the kubeconfig.
    """

    def __init__(
        self, *, cluster_name: str, aws_conn_id: str | None, region: str | None, **of_upstreams_hook: Any
    ) -> None:
        self._cluster_name, self._of_upstreams_hook = cluster_name, of_upstreams_hook
        self._aws = {"aws_conn_id": aws_conn_id, "region_name": region}

    def get_conn(self) -> Any:
        from airflow.providers.amazon.aws.hooks.eks import EksHook

        # The engine is told each namespace with what it asks for: one connection serves them all.
        files = EksHook(**self._aws).generate_config_file_with_credentials(
            eks_cluster_name=self._cluster_name, pod_namespace=None
        )
        with files as (kubeconfig, _):
            return KubernetesHook(config_file=kubeconfig, **self._of_upstreams_hook).get_conn()
