"""The read retry: on a 404, and only on a 404, a pod is read again after 2 s, 4 s and 8 s. Its waits and what is said at its end are the engine's."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import generic_api_retry
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException

from kpo import _kpo, _pod

#: The waits before each further read, in seconds.
DELAYS: tuple[float, ...] = tuple(_kpo.read_delays())

#: Pods whose last sight is remembered for the message.
_REMEMBERED = 256


T = TypeVar("T")


def again(call: Callable[[], T]) -> T:
    """What it gives. Transport errors, 409, 429 and 5xx are tried again, as upstream does it; never a 404."""
    retried: Callable[[], T] = generic_api_retry(call)  # type: ignore[no-untyped-call]
    return retried()


def brief(error: Exception) -> str:
    """An error of a client in a word: its text has the headers of the answer."""
    return f"{getattr(error, 'status', None) or type(error).__name__}"


def is_not_found(error: BaseException) -> bool:
    """Whether it is the answer that there is no such pod: of the client for threads, or of the one for event loops."""
    return str(getattr(error, "status", None)) == "404"


class Seen:
    """The last sight of pods; the oldest are forgotten."""

    def __init__(self) -> None:
        self._pods: OrderedDict[tuple[str, str], str] = OrderedDict()

    def remember(self, namespace: str, name: str, pod: Any) -> None:
        self._pods[namespace, name] = _pod.manifest(pod)
        self._pods.move_to_end((namespace, name))
        if len(self._pods) > _REMEMBERED:
            self._pods.popitem(last=False)

    def last(self, namespace: str, name: str) -> str | None:
        return self._pods.get((namespace, name))


def selector(name: str, seen: str | None) -> str:
    """Of the pod's events: by UID where it is known, else by name (they may then speak of a namesake)."""
    if seen is None:
        return f"involvedObject.kind=Pod,involvedObject.name={name}"
    return f"involvedObject.uid={json.loads(seen)['metadata']['uid']}"


def not_found(
    namespace: str, name: str, waited: list[float], seen: str | None, events: Any, refused: Exception | None
) -> PodNotFoundException:
    """What is raised in the end."""
    listed = None if events is None else _pod.manifest(events)
    why = None if refused is None else brief(refused)
    return PodNotFoundException(
        _kpo.pod_not_found(namespace, name, waited=waited, seen=seen, events=listed, refused=why)
    )
