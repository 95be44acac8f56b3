"""Who stops a task whose worker is told to end: a user, or only the worker's machine."""

from __future__ import annotations

import threading
from typing import Any

#: How long Airflow is asked, in seconds: a worker that is being stopped has little time.
PATIENCE = 2.0


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
    return (
        bool(answer)
        and answer[0] is not None
        and str(answer[0]) not in ("running", "deferred", "queued", "scheduled", "restarting")
    )


def _state(ti: Any) -> Any:
    if hasattr(ti, "get_task_states"):
        states = ti.get_task_states(
            dag_id=ti.dag_id,
            task_ids=[ti.task_id],
            run_ids=[ti.run_id],
            map_index=ti.map_index if (ti.map_index or -1) >= 0 else None,
        )
        # Of mapped tasks the key has the index behind it.
        of_run = states.get(ti.run_id, {})
        return next(iter(of_run.values()), None)
    ti.refresh_from_db()
    return ti.state
