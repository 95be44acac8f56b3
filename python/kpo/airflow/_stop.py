"""Who stops a task whose worker is told to end: a user, or only the worker's machine."""

from __future__ import annotations

import threading
from typing import Any

#: How long Airflow is asked, in seconds: a worker that is being stopped has little time.
PATIENCE = 2.0


#: States of a task instance that nobody has stopped: of one whose worker was not heard of Airflow itself says ``up_for_retry``. (One that a user has
#: cleared while it ran is ``restarting``.)
_GOES_ON = ("running", "deferred", "queued", "scheduled", "up_for_retry")


#: Of a task instance that there is no more. (One of state None is to run again: the scheduler has taken it for orphaned.)
_DELETED = "deleted"


def is_by_user(context: Any) -> bool:
    """Whether Airflow says that the task instance is to run no more. No answer is none."""
    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(_state(context["ti"]))
        except Exception:
            # Whoever stops the worker may have stopped what would answer.
            return

    asking = threading.Thread(target=ask, name="kpo-asks-airflow", daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return bool(answer) and answer[0] is not None and str(answer[0]) not in _GOES_ON


def _state(ti: Any) -> Any:
    if not hasattr(ti, "get_task_states"):
        ti.refresh_from_db()
        return ti.state
    index = ti.map_index if ti.map_index is not None and ti.map_index >= 0 else None
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=index)
    # Of a mapped task the key has its index behind it.
    return next(iter(states.get(ti.run_id, {}).values()), _DELETED)
