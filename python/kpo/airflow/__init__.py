"""Airflow's KubernetesPodOperator on kpo's lifecycle. With nothing changed but the import a task survives the preemption of its pod:

>>> from kpo.airflow import KubernetesPodOperator  # doctest: +SKIP

Needs ``apache-airflow`` and ``apache-airflow-providers-cncf-kubernetes`` (``pip install kpo[airflow]``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpo.airflow.hook import AsyncKubernetesHook
    from kpo.airflow.operator import KubernetesPodOperator
    from kpo.airflow.pod_manager import PodManager

#: Where each name is: the modules load Airflow, so they are imported when they are asked for.
_WHERE = {
    "AsyncKubernetesHook": "kpo.airflow.hook",
    "KubernetesPodOperator": "kpo.airflow.operator",
    "PodManager": "kpo.airflow.pod_manager",
}

__all__ = ["AsyncKubernetesHook", "KubernetesPodOperator", "PodManager"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module 'kpo.airflow' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
