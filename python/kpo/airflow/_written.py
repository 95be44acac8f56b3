"""How far a try's log was written, where logs are kept together: each line of a container says in the file where it stood, and the next triggerer goes on
behind the last one that any triggerer has written, however that one ended.

A line's place is its ``loc``, which Airflow 3 shows when it is asked for sources only (``renderStructuredLog.tsx``)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

if TYPE_CHECKING:
    from kpo.events import Cursor, LogLine, LogsRead

#: This process. One that is given a task's trigger again begins its file anew (``TriggerLoggingFactory`` opens it with "wb"): what stood there is no more.
_ME = uuid.uuid4().hex[:8]

_PLACE = re.compile(rb'"loc":"[^"/ ]+/([^" ]+) ([^" ]+) (\d+) (\d+) (\d+) (\w+)"')


def place(pod: str, uid: str, container: str, line: LogLine) -> str:
    """Where a line stood, and who has written it."""
    return f"{pod}/{container} {uid} {line.time_ns} {line.lines} {line.checksum} {_ME}"


def read(ti: Any) -> LogsRead:
    """How far the triggerers before this one have written the log of a try."""
    furthest: dict[str, dict[str, Cursor]] = {}
    for file in _files(ti):
        for (uid, container), cursor in _ends(file).items():
            logs = furthest.setdefault(uid, {})
            logs[container] = max(cursor, logs.get(container, cursor))
    return furthest


def _files(ti: Any) -> Iterator[Path]:
    """Where each triggerer has its part (``TriggerRunnerSupervisor``)."""
    # Airflow 2 has none.
    from airflow.utils.helpers import log_filename_template_renderer

    name = log_filename_template_renderer()(ti=ti)
    return Path(conf.get("logging", "base_log_folder")).glob(f"{escape(name)}.trigger.*.log")


def _ends(file: Path) -> dict[tuple[str, str], Cursor]:
    """The last place of each log in a file that another process has written. A line that is not whole has none."""
    ends: dict[tuple[str, str], Cursor] = {}
    with file.open("rb") as lines:
        for found in filter(None, map(_PLACE.search, lines)):
            container, uid, time, count, checksum, writer = (group.decode() for group in found.groups())
            if writer == _ME:
                return {}
            ends[uid, container] = (int(time), int(count), int(checksum))
    return ends
