"""How far a try's log was written, where logs are kept together: each line of a container says in the file where it stood, and the next triggerer goes on
behind the last one that any triggerer has written, however that one ended.

A line's place is its ``loc``, which Airflow 3 shows when it is asked for sources only (``renderStructuredLog.tsx``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.providers.common.compat.sdk import conf
from airflow.triggers.base import BaseTrigger

if TYPE_CHECKING:
    from kpo.events import Cursor, LogLine, LogsRead

_PLACE = re.compile(rb'"loc":"[^"/ ]+/([^" ]+) ([^" ]+) (\d+) (\d+) (\d+) (\d+) (\d+)"')

#: Where a log begins.
_START: Cursor = (0, 0, 0)


class _Part(NamedTuple):
    """Of a log, what stands in one file: behind which line it begins (its time, and how many of that time), and its last line."""

    begin: tuple[int, int]
    end: Cursor


def is_shared(ti: Any) -> bool:
    """Whether there is a file of the try (under ``dag.test()`` a trigger has no task instance: None), what triggerers write is kept together, and in files that have a line's place (tried with Airflow 3.3). Of a remote log Airflow shows what was
    uploaded, and what a triggerer has written that was stopped or killed is not."""
    return (
        ti is not None
        and hasattr(BaseTrigger, "on_kill")
        and conf.getboolean("kpo", "shared_logs", fallback=False)
        and not conf.getboolean("logging", "remote_logging", fallback=False)
    )


def place(pod: str, uid: str, container: str, line: LogLine, read: LogsRead) -> str:
    """Where a line stood, and behind which one whoever writes it has begun (``read``)."""
    time, lines, _ = read.get(uid, {}).get(container, _START)
    return f"{pod}/{container} {uid} {line.time_ns} {line.lines} {line.checksum} {time} {lines}"


def before(ti: Any, log: Any) -> LogsRead:
    """How far triggerers have written the log of a try, where logs are kept together. Else it begins anew: what a triggerer has written that is gone is
    shown to nobody then (Airflow shows the file of the task's current one)."""
    if not is_shared(ti):
        return {}
    try:
        return read(ti)
    except Exception as error:
        log.warning("[kpo] the log of %s begins anew: %s", ti.task_id, type(error).__name__)
        return {}


def read(ti: Any) -> LogsRead:
    """The same, from their files: as far as these have it without a gap. Airflow begins the file of a triggerer anew that has a try again
    (``TriggerLoggingFactory`` opens it with "wb"): what stood there may be in no other's."""
    parts: dict[tuple[str, str], list[_Part]] = {}
    for file in _files(_name(ti)):
        for log, part in _parts(file):
            parts.setdefault(log, []).append(part)
    furthest: dict[str, dict[str, Cursor]] = {}
    for (uid, container), of_log in parts.items():
        end = _without_gap(of_log)
        if end != _START:
            furthest.setdefault(uid, {})[container] = end
    return furthest


def _without_gap(parts: list[_Part]) -> Cursor:
    end = _START
    # Each begins behind what others have: the one that begins first comes first.
    for part in sorted(parts, key=lambda part: part.begin):
        if part.begin <= end[:2]:
            end = max(end, part.end)
    return end


def _name(ti: Any) -> str:
    """Of the try's log, as a triggerer makes it."""
    # Airflow 2 has none.
    from airflow.utils.helpers import log_filename_template_renderer

    return str(log_filename_template_renderer()(ti=ti))


def _files(name: str) -> Iterator[Path]:
    """Where each triggerer has its part (``TriggerRunnerSupervisor``)."""
    return Path(conf.get("logging", "base_log_folder")).glob(f"{escape(name)}.trigger.*.log")


def _parts(file: Path) -> Iterator[tuple[tuple[str, str], _Part]]:
    """What a file has of each log, by UID and container, by its last place. A line that is not whole has none."""
    ends: dict[tuple[bytes, bytes], re.Match[bytes]] = {}
    with file.open("rb") as lines:
        for found in filter(None, map(_PLACE.search, lines)):
            ends[found[2], found[1]] = found
    for (uid, container), found in ends.items():
        time, count, checksum, *begin = map(int, found.groups()[2:])
        yield (uid.decode(), container.decode()), _Part((begin[0], begin[1]), (time, count, checksum))
