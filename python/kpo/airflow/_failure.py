"""The exception of a task that did not succeed: its class by the verdict, its text one line first, then the pod without anything secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kpo.airflow import _pod, _words, exceptions

if TYPE_CHECKING:
    from kubernetes.client.models.v1_pod import V1Pod

    import kpo
    from kpo.airflow._compat import AirflowException
    from kpo.airflow.operator import KubernetesPodOperator


def of(operator: KubernetesPodOperator, outcome: kpo.Outcome, remote_pod: V1Pod | None) -> AirflowException:
    """Args: remote_pod: as it was seen last. None: it is not shown."""
    lines = [_words.of_operator(outcome.message)]
    if operator._current is not None:
        lines.append(f"Pod {operator._current} returned a failure.")
    if operator.log_pod_spec_on_failure and remote_pod is not None:
        lines.append(f"remote_pod: {_pod.redacted(remote_pod, _carries_result(operator))}")
    error = exceptions.of(outcome, strict=operator.strict)("\n".join(lines))
    error.outcome = outcome  # type: ignore[attr-defined]
    return error


def _carries_result(operator: KubernetesPodOperator) -> set[str]:
    """Containers whose termination message is the result."""
    return {operator.base_container_name} if operator.do_xcom_push and operator.results == "message" else set()
