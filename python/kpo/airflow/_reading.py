"""The triggers of operators that stay on upstream's lifecycle, with the read retry."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.hooks import kubernetes as upstream
from airflow.providers.cncf.kubernetes.triggers.job import KubernetesJobTrigger
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger

from kpo.airflow.hook import AsyncKubernetesHook

if TYPE_CHECKING:
    _Base = KubernetesPodTrigger
else:
    _Base = object


class _Reading(_Base):
    """Upstream's trigger, whose hook reads a pod that is not found again."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        cls = type(self)
        return f"{cls.__module__}.{cls.__name__}", super().serialize()[1]

    @cached_property
    def hook(self) -> upstream.AsyncKubernetesHook:
        hook = super().hook
        # One of its own stays as it is.
        if type(hook) is upstream.AsyncKubernetesHook:
            hook.__class__ = AsyncKubernetesHook
        return hook


class ReadingJobTrigger(_Reading, KubernetesJobTrigger):  # type: ignore[misc]
    """Of KubernetesJobOperator."""


class ReadingPodTrigger(_Reading, KubernetesPodTrigger):
    """Of SparkKubernetesOperator."""


_OF: dict[Any, Any] = {KubernetesJobTrigger: ReadingJobTrigger, KubernetesPodTrigger: ReadingPodTrigger}


def reading(trigger: Any) -> Any:
    """The trigger with the read retry. Any but upstream's own stays as it is."""
    cls = _OF.get(type(trigger))
    return trigger if cls is None else cls(**trigger.serialize()[1])
