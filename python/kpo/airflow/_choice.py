"""Which tasks of upstream's operator are adopted: ``[kpo] adopt`` says it, and a Variable says that none is."""

from __future__ import annotations

import logging
from typing import Literal

from airflow.providers.common.compat.sdk import Variable, conf

log = logging.getLogger(__name__)

#: The Variable that turns all of it off, with any value but none, ``0``, ``false``, ``no`` and ``off``.
OFF = "kpo_adopt_off"

_NOT_OFF = ("", "0", "false", "no", "off", "none")

Mode = Literal["adopt", "audit"]


def setting() -> str:
    """``audit``, ``all``, ids of DAGs with commas between, or nothing."""
    found: str = conf.get("kpo", "adopt", fallback="")
    return found.strip()


def of(dag_id: str) -> Mode | None:
    """What is done with a task of that DAG. None: nothing."""
    mode = _set(dag_id)
    return None if mode is None or _is_off() else mode


def _set(dag_id: str) -> Mode | None:
    wanted = setting()
    if wanted == "audit":
        return "audit"
    return "adopt" if wanted == "all" or dag_id in [name.strip() for name in wanted.split(",")] else None


def _is_off() -> bool:
    """Asked of Airflow each time. Where it does not answer, all stays as it is without kpo."""
    try:
        value = _variable()
    except Exception as error:
        log.warning(
            "[kpo] not adopted: the Variable %s could not be read (%s); upstream's lifecycle runs the task",
            OFF,
            type(error).__name__,
        )
        return True
    return str(value or "").strip().lower() not in _NOT_OFF


def _variable() -> str | None:
    found: str | None
    try:
        found = Variable.get(OFF, default=None)
    except TypeError:
        # Airflow 2's name for it.
        found = Variable.get(OFF, default_var=None)  # type: ignore[call-arg]
    return found
