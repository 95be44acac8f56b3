"""What a task is handed over to a trigger with."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from kpo.airflow import _options
from kpo.airflow._callbacks import wants_lines
from kpo.airflow.trigger import KpoPodTrigger

if TYPE_CHECKING:
    from kpo.airflow._earlier import Known
    from kpo.airflow.operator import KubernetesPodOperator

#: How often a trigger that has lost sight is followed by another, before the worker looks itself.
REDEFERRALS = 3

#: How much later than the task's own deadline, and the grace of its pod, Airflow ends it, in seconds.
_BACKSTOP = 60

#: Kubernetes' own.
_GRACE = 30


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
    within = None if deadline is None else max(0.0, deadline - time.time()) + _grace(operator) + _BACKSTOP
    return made, None if within is None else timedelta(seconds=within)


def _grace(operator: KubernetesPodOperator) -> int:
    """How long its pod may take to end, in seconds."""
    spec = operator.pod.spec if operator.pod is not None else None
    said = spec.termination_grace_period_seconds if spec is not None else operator.termination_grace_period
    return _GRACE if said is None else int(said)


def _connection(operator: KubernetesPodOperator) -> dict[str, Any]:
    """What the trigger connects by."""
    said = operator._trigger_hook
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
    """Whether lines go through what only a worker has, code of the user's or what Airflow masks there: then they are written when the task is resumed."""
    is_live = conf.getboolean("kpo", "live_logs", fallback=True)
    return not is_live or operator.log_formatter is not None or wants_lines(operator)


def followed(operator: KubernetesPodOperator) -> list[str] | bool:
    """Whose logs are shown, also of a pod that cannot be read: then of all."""
    pod = operator.pod
    return True if pod is None or pod.spec is None else _options.followed(operator, pod)
