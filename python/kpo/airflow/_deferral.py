"""What a task is handed over to a trigger with."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kpo.airflow import _hooks, _options
from kpo.airflow._callbacks import wants_lines
from kpo.airflow.trigger import KpoPodTrigger

if TYPE_CHECKING:
    from kpo.airflow._earlier import Known
    from kpo.airflow.operator import KubernetesPodOperator

#: How often a trigger that has lost sight is followed by another, before the worker looks itself.
REDEFERRALS = 3

#: How much later than the task's own deadline Airflow ends it, in seconds.
_BACKSTOP = 60


def trigger(
    operator: KubernetesPodOperator, known: Known, context: Any, again: int
) -> tuple[KpoPodTrigger, timedelta | None]:
    """The trigger, and within what time Airflow ends it. None: never.

    Args:
        again: how many triggers have lost sight of the task before.
    """
    deadline = _deadline(operator, context)
    made = KpoPodTrigger(
        task=known.task,
        namespace=known.namespace,
        nonce=known.nonce,
        pod=operator._current or known.task,
        **_connection(operator),
        logs=[] if logs_when_resumed(operator) else followed(operator),
        prefix=operator.container_name_log_prefix_enabled,
        deadline=deadline,
        cancels=operator.on_kill_action.value == "delete_pod",
        trigger_kwargs={**(operator.trigger_kwargs or {}), **({"_redefer_count": again} if again else {})},
        try_number=context["ti"].try_number,
    )
    within = None if deadline is None else timedelta(seconds=max(0.0, deadline - time.time()) + _BACKSTOP)
    return made, within


def _connection(operator: KubernetesPodOperator) -> dict[str, Any]:
    """What the trigger connects by."""
    said = _hooks.of(operator)
    if said is not None:
        return {"hook_path": said[0], "hook_arguments": said[1]}
    names = ("kubernetes_conn_id", "in_cluster", "cluster_context", "config_file")
    return {name: getattr(operator, name) for name in names}


def _deadline(operator: KubernetesPodOperator, context: Any) -> float | None:
    """When the task's time is up, by its start: deferring again does not move it."""
    if operator.execution_timeout is None:
        return None
    # Airflow 2 has none under dag.test().
    began = context["ti"].start_date
    return float((began.timestamp() if began else time.time()) + operator.execution_timeout.total_seconds())


def logs_when_resumed(operator: KubernetesPodOperator) -> bool:
    """Whether lines go through code that only a worker has: then they are written when the task is resumed."""
    return operator.log_formatter is not None or wants_lines(operator)


def followed(operator: KubernetesPodOperator) -> list[str] | bool:
    """Whose logs are shown, also of a pod that cannot be read: then of all."""
    pod = operator.pod
    return True if pod is None or pod.spec is None else _options.followed(operator, pod)
