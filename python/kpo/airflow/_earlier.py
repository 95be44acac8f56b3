"""What earlier tries of a task instance have left: their pod is found by labels, and by what was written down of it, where Airflow has a place for that
(Airflow 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.providers.cncf.kubernetes.operators import pod as upstream

import kpo
from kpo.airflow import _read, exceptions

if TYPE_CHECKING:
    from kubernetes.client.models.v1_pod import V1Pod

    from kpo import events
    from kpo.events import LogsRead

#: The label by which a task's pods are found, and that of their number.
TASK_LABEL = "kpo.rs/task"
ATTEMPT_LABEL = "kpo.rs/attempt"
#: The annotation that tells a task from others of the same id.
NONCE = "kpo.rs/nonce"

_KEY = upstream.POD_IDENTIFIER_STATE_KEY


class Known(NamedTuple):
    """Which task is meant."""

    task: str
    namespace: str
    #: What tells it from others of that id: a name that the user fixed is that of all his runs. None: not known.
    nonce: str | None


def known_by(pod: V1Pod) -> Known:
    return Known(pod.metadata.labels[TASK_LABEL], pod.metadata.namespace, nonce_of(pod))


def attach(
    known: Known, client: kpo.Client, logs: list[str] | bool, *, over: bool = False, read: LogsRead | None = None
) -> kpo.Task:
    """As its observer from now on, which leaves it as it is when it is interrupted.

    Args:
        logs: the containers whose logs are followed; True: all.
        over: whether it is known what the task came to: then no other attempt is made.
        read: how far logs were read before, by UID and container.
    """
    return kpo.attach(
        known.task,
        client=client,
        namespace=known.namespace,
        nonce=known.nonce,
        take_over=True,
        logs=logs,
        over=over,
        read=read,
        on_interrupt="detach",
    )


def is_ours(pod: V1Pod) -> bool:
    return TASK_LABEL in (pod.metadata.labels or {})


def find(operator: Any, context: Any) -> V1Pod | None:
    """The newest pod of this task instance, as upstream's labels find it, or Airflow's alone: a user's may have changed since. Where none has them, that
    which was written down."""
    namespace = operator._requested.metadata.namespace
    found = [operator.find_pod(namespace, context), *by_airflows_labels(operator, namespace, context)]
    newest = newest_of([pod for pod in found if pod is not None])
    if newest is None and operator.reattach_on_restart:
        return _written_down(operator, context)
    return newest


def newest_of(pods: list[V1Pod]) -> V1Pod | None:
    return max(pods, key=_age, default=None)


def _age(pod: V1Pod) -> tuple[Any, int]:
    attempt = (pod.metadata.labels or {}).get(ATTEMPT_LABEL, "0")
    return pod.metadata.creation_timestamp, int(attempt) if attempt.isdigit() else 0


def by_airflows_labels(operator: Any, namespace: str, context: Any) -> list[V1Pod]:
    """Those of kpo's, whichever try's."""
    labels = operator._get_ti_pod_labels(context, include_try_number=False)
    wanted = [f"{name}={value}" for name, value in sorted(labels.items())]
    return listed(operator, namespace, ",".join([*wanted, TASK_LABEL, "!airflow-worker"]))


def listed(operator: Any, namespace: str, selector: str) -> list[V1Pod]:
    def call() -> Any:
        return operator.client.list_namespaced_pod(namespace=namespace, label_selector=selector).items

    pods: list[V1Pod] = _read.again(call)
    return pods


# --- what was written down ---------------------------------------------------------------------------------------------------------------


def write_down(operator: Any, context: Any, event: events.Created | events.Adopted, task: kpo.Task) -> None:
    """As upstream does it, so that upstream's can go on with it; and what tells the pod, and the task, from namesakes."""
    store = _store(context)
    if store is None:
        return
    known = {"name": event.pod, "namespace": task.namespace, "uid": event.uid, "task": task.name, "nonce": task.nonce}
    try:
        store.set(_KEY, known)
    except Exception:
        operator.log.warning("[kpo] pod %s could not be written down for later tries", event.pod)


def forget(operator: Any, context: Any) -> None:
    """What it came to is safe: that its pod is gone is no loss any more."""
    store = _store(context)
    if store is None:
        return
    try:
        store.delete(_KEY)
    except Exception:
        operator.log.warning("[kpo] it could not be written down that pod %s has ended", operator._current)


def demand_permission(operator: Any, context: Any) -> None:
    """Whether this try may have a pod of its own: under ``strict`` not where that of an earlier one has vanished, and nobody knows that it has not run.

    Raises:
        PodDisruptedForGood: it may not.
    """
    known = _known(context) if operator.reattach_on_restart and is_strict(operator, context) else None
    if known is not None and "uid" in known:
        raise exceptions.PodDisruptedForGood(
            f"pod {known['name']} of an earlier try is gone, nobody saw what became of it, and strict is set: the task is not run again"
        )


def is_strict(operator: Any, context: Any) -> bool:
    """Whether a loss in an earlier try forbids this one: where Airflow tries again of itself. Who clears a task lets it run again."""
    ti = context["ti"]
    return bool(operator.strict and ti.try_number > ti.max_tries - operator.retries + 1)


def _written_down(operator: Any, context: Any) -> V1Pod | None:
    known = _known(context)
    if known is None:
        return None
    if "task" in known:
        pods = listed(operator, known["namespace"], f"{TASK_LABEL}={known['task']}")
        newest = newest_of([pod for pod in pods if nonce_of(pod) == known["nonce"]])
        if newest is not None:
            return newest
    pod = read(operator, known["name"], known["namespace"])
    return pod if pod is not None and known.get("uid") in (None, pod.metadata.uid) else None


def nonce_of(pod: V1Pod) -> str | None:
    nonce: str | None = (pod.metadata.annotations or {}).get(NONCE)
    return nonce


def read(operator: Any, name: str, namespace: str) -> V1Pod | None:
    """The pod of that name. None: there is none."""

    def call() -> Any:
        return operator.client.read_namespaced_pod(name, namespace)

    try:
        pod: V1Pod = _read.again(call)
    except Exception as error:
        if not _read.is_not_found(error):
            raise
        return None
    return pod


def _known(context: Any) -> dict[str, Any] | None:
    store = _store(context)
    known = None if store is None else store.get(_KEY)
    is_whole = isinstance(known, dict) and all(isinstance(known.get(key), str) for key in ("name", "namespace"))
    return known if is_whole else None


def _store(context: Any) -> Any:
    return context.get("task_state_store") if hasattr(context, "get") else None
