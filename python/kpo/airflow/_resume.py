"""Goes on with the task of an earlier try, or sees to its end: never are there two live pods of one task instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import kpo
from kpo import events
from kpo.airflow import _earlier, _failure, _options, exceptions

if TYPE_CHECKING:
    from kubernetes.client.models.v1_pod import V1Pod

    from kpo.airflow._callbacks import Callbacks
    from kpo.airflow.operator import KubernetesPodOperator


class NotLivingError(Exception):
    """What was found of a task is over, or ending: nothing to go on with before its end."""

    def __init__(self, *, is_over: bool) -> None:
        super().__init__()
        self.is_over = is_over


def go_on(
    operator: KubernetesPodOperator,
    found: V1Pod,
    client: kpo.Client,
    context: Any,
    callbacks: Callbacks,
    run: Callable[..., Any],
) -> Any:
    """Goes on with the task of an earlier try; where there is nothing to go on with, this one has its own.

    Args:
        found: its newest pod.
        run: what is done with the task.
    """
    known = _earlier.known_by(found)
    logs = _options.followed(operator, operator.pod_request_obj)
    is_there = False
    try:
        if operator.reattach_on_restart:
            _label(operator, found, context)
            return run(_earlier.attach(known, client, logs), context, callbacks, only_living=True)
        _clear(operator, known, client, context, callbacks)
    except kpo.NotFoundError:
        operator.log.warning("[kpo] pod %s of an earlier try has vanished", found.metadata.name)
        _earlier.demand_permission(operator, context)
    except NotLivingError as found_as:
        is_there = not found_as.is_over and not was_that_trys(operator, known, client, context, callbacks)
    return run(_earlier.attach(known, client, logs) if is_there else operator._new_task(client), context, callbacks)


def _label(operator: KubernetesPodOperator, found: V1Pod, context: Any) -> None:
    """Before it is gone on with: a trigger of an earlier try goes by that label, and so does ``airflow kubernetes cleanup-pods``."""
    meta = found.metadata
    if meta.labels.get(operator.POD_CHECKED_KEY) == "True":
        # It is kept, as that try's.
        return
    labels = {"try_number": str(context["ti"].try_number)}
    try:
        operator.client.patch_namespaced_pod(
            meta.name, meta.namespace, {"metadata": {"uid": meta.uid, "labels": labels}}
        )
    except Exception:
        operator.log.warning("[kpo] the label try_number of pod %s could not be set", meta.name)


def _clear(
    operator: KubernetesPodOperator, known: _earlier.Known, client: kpo.Client, context: Any, callbacks: Callbacks
) -> None:
    operator.log.warning(
        "[kpo] task %s of an earlier try is there, and durable is off: it is stopped first", known.task
    )
    with operator._under_way(_earlier.attach(known, client, []), context, callbacks) as task:
        task.cancel()
        for event in operator._events(task, context):
            if isinstance(event, events.OutcomeReady):
                _earlier.forget(operator, context)
                return


def was_that_trys(
    operator: KubernetesPodOperator, known: _earlier.Known, client: kpo.Client, context: Any, callbacks: Callbacks
) -> bool:
    """Waits for the end of what was ending when it was found. What it comes to is the earlier try's, but for a success, and for another attempt in which
    it lives on."""
    operator.log.info("[kpo] task %s of an earlier try is ending: its end is waited for", known.task)
    with operator._under_way(_earlier.attach(known, client, []), context, callbacks) as task:
        for event in operator._events(task, context):
            if isinstance(event, events.OutcomeReady):
                return _is_no_success(operator, task, event.outcome, context)
            if isinstance(event, events.Created):
                task.detach()
                return False
    return True


def _is_no_success(operator: KubernetesPodOperator, task: kpo.Task, outcome: kpo.Outcome, context: Any) -> bool:
    if outcome.succeeded:
        # Left as it is, and its result with it: who goes on takes it.
        task.close()
        return False
    operator.log.warning("[kpo] the earlier try's task %s: %s", outcome.task, outcome.message)
    _earlier.forget(operator, context)
    if exceptions.of(outcome, strict=_earlier.is_strict(operator, context)) is exceptions.PodDisruptedForGood:
        operator._take()
        raise _failure.of(operator, outcome, None)
    return True
