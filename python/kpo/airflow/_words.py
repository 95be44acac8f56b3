"""The engine speaks as the command line does; in a task's log its flags are the operator's arguments."""

from __future__ import annotations

import re
from typing import Final

#: The argument of a flag. None: the operator has none; then it is told as the command line's.
ARGUMENTS: Final[dict[str, str | None]] = {
    "--disturb": None,
    "--exit-zero-after-term": None,
    "--on-finish": "on_finish_action",
    "--on-sigterm": None,
    "--on-unsigned-delete": "on_unsigned_delete",
    "--protect": "protect",
    "--queue-timeout": "queue_timeout",
    "--replace-unreachable-after": None,
    "--rerun": "rerun",
    "--rerun-never-started": "rerun_budget",
    "--rerun-started": "rerun_budget",
    "--result": "do_xcom_push",
    "--retries": "retries",
    "--run-timeout": "run_timeout",
    "--schedule-timeout": "schedule_timeout_seconds",
    "--start-timeout": "startup_timeout_seconds",
    "--timeout": "total_timeout",
}

_FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)(?:=([\w-]+))?")


def of_operator(line: str) -> str:
    return _FLAG.sub(_argument, line)


def _argument(flag: re.Match[str]) -> str:
    name, value = ARGUMENTS.get(flag[1]), flag[2]
    if name is None:
        return f"kpo run's {flag[0]}" if flag[1] in ARGUMENTS else flag[0]
    if value is None:
        return name
    return f"{name}={value}" if value.isdigit() else f'{name}="{value}"'
