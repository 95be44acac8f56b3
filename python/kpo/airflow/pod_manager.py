"""Upstream's PodManager, with the read retry."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.utils import pod_manager as upstream

from kpo.airflow import _read

if TYPE_CHECKING:
    from kubernetes.client.models.v1_pod import V1Pod


class PodManager(upstream.PodManager):
    """Upstream's, but a pod that is not found is read again after 2 s, 4 s and 8 s: on a 404 only, and apart from the task's ``retries``.

    Raises (``read_pod``):
        PodNotFoundException: it was not there at any read. The message names what was last seen of it, and whether it was preempted.
    """

    #: The waits before each further read, in seconds.
    read_delays: tuple[float, ...] = _read.DELAYS
    #: What waits: a test's clock.
    sleep: Callable[[float], None] = staticmethod(time.sleep)

    @cached_property
    def _seen(self) -> _read.Seen:
        return _read.Seen()

    def read_pod(self, pod: V1Pod) -> V1Pod:
        namespace, name = pod.metadata.namespace, pod.metadata.name
        waited: list[float] = []
        while True:
            try:
                read = super().read_pod(pod)
            except Exception as error:
                if not _read.is_not_found(error):
                    raise
                if len(waited) == len(self.read_delays):
                    raise self._not_found(namespace, name, waited) from error
            else:
                self._seen.remember(namespace, name, read)
                return read
            delay = self.read_delays[len(waited)]
            self.log.info("Pod %s/%s was not found; it is read again after %g s", namespace, name, delay)
            self.sleep(delay)
            waited.append(delay)

    def _not_found(self, namespace: str, name: str, waited: list[float]) -> Exception:
        seen = self._seen.last(namespace, name)
        events: Any = None
        refused: Exception | None = None
        try:
            events = self._client.list_namespaced_event(namespace, field_selector=_read.selector(name, seen), limit=500)
        except Exception as error:  # The pod is what was asked for; without events less is said.
            refused = error
        return _read.not_found(namespace, name, waited, seen, events, refused)
