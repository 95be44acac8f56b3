"""Upstream's hook for event loops, with the read retry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.hooks import kubernetes as upstream

from kpo.airflow import _read

if TYPE_CHECKING:
    from kubernetes.client.models.v1_pod import V1Pod


class AsyncKubernetesHook(upstream.AsyncKubernetesHook):
    """Upstream's, but a pod that is not found is read again after 2 s, 4 s and 8 s: on a 404 only, and apart from the task's ``retries``.

    Raises (``get_pod``):
        PodNotFoundException: it was not there at any read. The message names what was last seen of it, and whether it was preempted.
    """

    #: The waits before each further read, in seconds.
    read_delays: tuple[float, ...] = _read.DELAYS
    #: What waits: a test's clock.
    sleep: Callable[[float], Awaitable[None]] = staticmethod(asyncio.sleep)

    @cached_property
    def _seen(self) -> _read.Seen:
        return _read.Seen()

    async def get_pod(self, name: str, namespace: str) -> V1Pod:
        waited: list[float] = []
        while True:
            try:
                read = await super().get_pod(name, namespace)
            except Exception as error:
                if not _read.is_not_found(error):
                    raise
                if len(waited) == len(self.read_delays):
                    raise await self._not_found(namespace, name, waited) from error
            else:
                self._seen.remember(namespace, name, read)
                return read
            delay = self.read_delays[len(waited)]
            self.log.info("Pod %s/%s was not found; it is read again after %g s", namespace, name, delay)
            await self.sleep(delay)
            waited.append(delay)

    async def _not_found(self, namespace: str, name: str, waited: list[float]) -> Exception:
        from kubernetes_asyncio import client

        seen = self._seen.last(namespace, name)
        events: Any = None
        refused: Exception | None = None
        try:
            async with self.get_conn() as connection:
                api = client.CoreV1Api(connection)
                events = await api.list_namespaced_event(
                    namespace, field_selector=_read.selector(name, seen), limit=500
                )
        except Exception as error:  # The pod is what was asked for; without events less is said.
            refused = error
        return _read.not_found(namespace, name, waited, seen, events, refused)
