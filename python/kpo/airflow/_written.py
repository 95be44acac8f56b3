"""How far a try's log was written, where logs are kept together: each line of a container says in the file where it stood, and the next triggerer goes on
behind the last one that any triggerer has written, however that one ended.

A line's place is its ``loc``, which Airflow 3 shows when it is asked for sources only (``renderStructuredLog.tsx``)."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf
from airflow.triggers.base import BaseTrigger

if TYPE_CHECKING:
    from kpo.events import Cursor, LogLine, LogsRead

_PLACE = re.compile(rb'"loc":"[^"/ ]+/([^" ]+) ([^" ]+) (\d+) (\d+) (\d+)"')

#: The tries' logs that this process has begun: whoever has a try's trigger again begins its file anew (``TriggerLoggingFactory`` opens it with "wb"), and what
#: stood there is in no other's. The latest so many are known.
_begun: OrderedDict[str, None] = OrderedDict()
_KNOWN = 10_000


def is_shared() -> bool:
    """Whether what triggerers write is kept together, and in files that have a line's place (tried with Airflow 3.3). Of a remote log Airflow shows what was
    uploaded, and what a triggerer has written that was stopped or killed is not."""
    return (
        hasattr(BaseTrigger, "on_kill")
        and conf.getboolean("kpo", "shared_logs", fallback=False)
        and not conf.getboolean("logging", "remote_logging", fallback=False)
    )


def place(pod: str, uid: str, container: str, line: LogLine) -> str:
    """Where a line stood."""
    return f"{pod}/{container} {uid} {line.time_ns} {line.lines} {line.checksum}"


def before(ti: Any, log: Any) -> LogsRead:
    """How far triggerers have written the log of a try, where logs are kept together. Else it begins anew: what a triggerer has written that is gone is
    shown to nobody then (Airflow shows the file of the task's current one). ``ti``: None under ``dag.test()``."""
    if ti is None or not is_shared():
        return {}
    try:
        return read(ti)
    except Exception as error:
        log.warning("[kpo] the log of %s begins anew: %s", ti.task_id, type(error).__name__)
        return {}


def read(ti: Any) -> LogsRead:
    """The same, from their files. Nothing, where this process has begun one of them before."""
    name = _name(ti)
    if not _is_first(name):
        return {}
    furthest: dict[str, dict[str, Cursor]] = {}
    for file in _files(name):
        for (uid, container), cursor in _ends(file):
            logs = furthest.setdefault(uid, {})
            logs[container] = max(cursor, logs.get(container, cursor))
    return furthest


def _is_first(name: str) -> bool:
    is_first = name not in _begun
    _begun[name] = None
    _begun.move_to_end(name)
    if len(_begun) > _KNOWN:
        _begun.popitem(last=False)
    return is_first


def _name(ti: Any) -> str:
    """Of the try's log, as a triggerer makes it."""
    # Airflow 2 has none.
    from airflow.utils.helpers import log_filename_template_renderer

    return str(log_filename_template_renderer()(ti=ti))


def _files(name: str) -> Iterator[Path]:
    """Where each triggerer has its part (``TriggerRunnerSupervisor``)."""
    return Path(conf.get("logging", "base_log_folder")).glob(f"{escape(name)}.trigger.*.log")


def _ends(file: Path) -> Iterator[tuple[tuple[str, str], Cursor]]:
    """The last place of each log in a file, by UID and container. A line that is not whole has none."""
    ends: dict[tuple[bytes, bytes], re.Match[bytes]] = {}
    with file.open("rb") as lines:
        for found in filter(None, map(_PLACE.search, lines)):
            ends[found[2], found[1]] = found
    for (uid, container), found in ends.items():
        yield (uid.decode(), container.decode()), (int(found[3]), int(found[4]), int(found[5]))
