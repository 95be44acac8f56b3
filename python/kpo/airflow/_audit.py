"""Changes nothing: of each task of upstream's operator that was lost it says what kpo would have done, and why. What is decided about a pod, the engine
decides."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from kpo import _kpo, _pod
from kpo.airflow import _read
from kpo.airflow._compat import AirflowSkipException

#: Pods whose sights are kept, and how many of each.
_PODS, _SIGHTS = 16, 64


class _Seen:
    """What upstream has read of pods in this process, and whether it deleted them; the oldest are forgotten."""

    def __init__(self) -> None:
        self._sights: OrderedDict[tuple[str, str], list[Any]] = OrderedDict()
        #: Whether a pod was there when upstream deleted it.
        self._deleted: dict[tuple[str, str], bool] = {}

    def remember(self, pod: Any) -> None:
        key = _key(pod)
        sights = self._sights.setdefault(key, [])
        self._sights.move_to_end(key)
        if not sights or _version(sights[-1]) != _version(pod):
            sights.append(pod)
        # The first tells of its whole life, the last of its end.
        del sights[1 : max(1, len(sights) - _SIGHTS)]
        while len(self._sights) > _PODS:
            self._deleted.pop(self._sights.popitem(last=False)[0], None)

    def deleting(self, key: tuple[str, str], *, was_there: bool) -> None:
        self._deleted.setdefault(key, was_there)

    def take(self, key: tuple[str, str]) -> tuple[list[Any], bool | None]:
        """What was seen of it, and whether it was there when upstream deleted it. None: upstream has not."""
        return self._sights.pop(key, []), self._deleted.pop(key, None)


_seen = _Seen()


def _key(pod: Any) -> tuple[str, str]:
    return pod.metadata.namespace, pod.metadata.name


def _version(pod: Any) -> Any:
    return pod.metadata.uid, pod.metadata.resource_version


# --- what is looked at while upstream works ----------------------------------------------------------------------------------------------


def read_pod(original: Callable[..., Any], manager: Any, *args: Any, **kwargs: Any) -> Any:
    pod = original(manager, *args, **kwargs)
    _quietly(lambda: _seen.remember(pod))
    return pod


def delete_pod(original: Callable[..., Any], manager: Any, pod: Any, *args: Any, **kwargs: Any) -> Any:
    """What upstream deletes itself is not lost: so it is looked at before."""
    _quietly(lambda: _look(manager._client, *_key(pod)))
    return original(manager, pod, *args, **kwargs)


def _look(client: Any, namespace: str, name: str) -> None:
    found = _read_now(client, namespace, name)
    _seen.deleting((namespace, name), was_there=found is not None)
    if found is not None:
        _seen.remember(found)


def _read_now(client: Any, namespace: str, name: str) -> Any:
    try:
        return client.read_namespaced_pod(name, namespace)
    except Exception as error:
        if not _read.is_not_found(error):
            raise
        return None


def _quietly(call: Callable[[], object]) -> None:
    """An audit breaks nothing."""
    try:
        call()
    except Exception:
        return


# --- what is said ------------------------------------------------------------------------------------------------------------------------


def watch(operator: Any, run: Callable[[], Any], event: dict[str, Any] | None = None) -> Any:
    """Runs it as it is. Args: event: with which a trigger handed it back."""
    try:
        return run()
    except AirflowSkipException:
        raise
    except Exception:
        try:
            if not operator._killed:
                _tell(operator, event)
        except Exception as error:
            operator.log.warning("[kpo] audit: it is not known what became of the pod (%s)", _read.brief(error))
        raise


def _tell(operator: Any, event: dict[str, Any] | None) -> None:
    key = _followed(operator, event)
    if key is None:
        return
    sights, was_there = _seen.take(key)
    if not sights and operator.remote_pod is not None:
        sights = [operator.remote_pod]
    if was_there is None:
        found = _read_now(operator.client, *key)
        sights, was_there = [*sights, *([] if found is None else [found])], found is not None
    events = _events(operator, *key, uid=sights[-1].metadata.uid if sights else None)
    pods = [_record("Pod", sight) for sight in sights] or [_unseen(operator, *key, events)]
    text = "\n".join(json.dumps(record) for record in [*pods, *events])
    is_lost, _, line = _kpo.audit(text, operator.base_container_name, not was_there)
    if is_lost:
        operator.log.warning("[kpo] audit: pod %s: %s", key[1], line)


def _followed(operator: Any, event: dict[str, Any] | None) -> tuple[str, str] | None:
    """Namespace and name of the task's pod. None: it has none yet."""
    pod = operator.pod or operator.remote_pod
    if pod is not None:
        return _key(pod)
    return (event["namespace"], event["name"]) if event else None


def _record(kind: str, model: Any) -> dict[str, Any]:
    """What a list or a read gives of it has no kind."""
    return {**json.loads(_pod.manifest(model)), "kind": kind}


def _unseen(operator: Any, namespace: str, name: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    """A pod of which this process has seen nothing: its events are what is left of it."""
    metadata = {"namespace": namespace, "name": name}
    if events:
        metadata["uid"] = events[-1]["involvedObject"].get("uid", "")
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": operator.base_container_name}]}}


def _events(operator: Any, namespace: str, name: str, *, uid: str | None) -> list[dict[str, Any]]:
    """They only explain: without the right to list them less is said."""
    about = f"involvedObject.uid={uid}" if uid else f"involvedObject.name={name}"
    try:
        listed = operator.client.list_namespaced_event(
            namespace, field_selector=f"involvedObject.kind=Pod,{about}", limit=500
        )
    except Exception:
        return []
    return [_record("Event", item) for item in listed.items]
