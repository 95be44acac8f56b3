"""Events and lines of containers, in the task's log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from airflow.providers.cncf.kubernetes.utils import pod_manager as upstream

from kpo import events
from kpo.airflow import _words

#: A line that is longer is written in pieces.
_LONGEST = 1 << 20

#: So many lines are written in an event loop before others have their turn.
_AT_ONCE = 100

#: What an event is logged at, beside INFO.
_WARNINGS = (
    events.Disrupting,
    events.Ended,
    events.Gap,
    events.Hindered,
    events.LogTrouble,
    events.TakenOver,
    events.Trouble,
    events.Unwatched,
)

Formatter = Callable[[str, str], str]


class OnLine(Protocol):
    """Called with each line before it is written."""

    def __call__(self, line: str, container: str, timestamp: datetime) -> None: ...


class TaskLog:
    """Writes what happens to a task.

    Args:
        log: where to.
        prefix: whether a line begins with its container's name.
        formatter: makes the line of container and line. None: by ``prefix``.
        on_line: told of each line first.
        is_quiet: whether only containers' lines are written: what happened was told before.
    """

    def __init__(
        self,
        log: Any,
        *,
        prefix: bool = True,
        formatter: Formatter | None = None,
        on_line: OnLine | None = None,
        is_quiet: bool = False,
    ) -> None:
        self._log, self._prefix, self._formatter, self._on_line = log, prefix, formatter, on_line
        self._is_quiet = is_quiet
        #: Pieces of lines that have not ended, by pod and container.
        self._pieces: dict[tuple[str, str], bytes] = {}
        #: How far each log was written, by pod and container.
        self.cursors: dict[str, dict[str, events.Cursor]] = {}

    def tell(self, event: events.Event) -> None:
        if isinstance(event, events.Log):
            self._lines(event, event.log)
            self._has_written(event)
            return
        if isinstance(event, (events.OutcomeReady, events.Ended, events.Gap)):
            self.flush()
        if not self._is_quiet:
            self._say(event)

    async def tell_async(self, event: events.Event) -> None:
        """The same in an event loop, which others share: a burst of lines is written piece by piece, and they have their turn in between."""
        if not isinstance(event, events.Log):
            self.tell(event)
            return
        left = event.log
        try:
            while left:
                self._lines(event, left[:_AT_ONCE])
                left = left[_AT_ONCE:]
                await asyncio.sleep(0)
        finally:
            # Whoever is cancelled leaves no event half written: nobody could go on there.
            self._lines(event, left)
            self._has_written(event)

    def _lines(self, event: events.Log, lines: Sequence[events.LogLine]) -> None:
        for line in lines:
            self._piece(event.pod, event.container, line)

    def _has_written(self, event: events.Log) -> None:
        if event.cursor is not None:
            self.cursors.setdefault(event.pod, {})[event.container] = event.cursor

    def _say(self, event: events.Event) -> None:
        level = logging.WARNING if isinstance(event, _WARNINGS) else logging.INFO
        if isinstance(event, events.Ended) and event.verdict.kind == "succeeded":
            level = logging.INFO
        if isinstance(event, events.OutcomeReady) and not event.outcome.succeeded:
            level = logging.ERROR
        if isinstance(event, events.Stopping):
            # Who asked for it has said so.
            return
        for line in "\n".join(event.lines).splitlines():
            self._log.log(level, "[kpo] %s", _words.of_operator(line.strip()))
        if isinstance(event, events.ResultLimit):
            self._log.info("[kpo] a result of at most %d bytes can leave this pod", event.bytes)

    def _piece(self, pod: str, container: str, line: events.LogLine) -> None:
        key = (pod, container)
        if not line.continues:
            self._flush(key, line)
        self._pieces[key] = self._pieces.get(key, b"") + line.data
        if not line.partial or len(self._pieces[key]) > _LONGEST:
            self._flush(key, line)

    def _flush(self, key: tuple[str, str], line: events.LogLine) -> None:
        data = self._pieces.pop(key, None)
        if data is not None:
            self._write(data.decode(errors="backslashreplace"), key[1], line.time)

    def flush(self) -> None:
        """Writes what has not ended in a line feed."""
        for (pod, container), data in self._pieces.items():
            del pod
            self._write(data.decode(errors="backslashreplace"), container, datetime.now().astimezone())
        self._pieces.clear()

    def _write(self, line: str, container: str, timestamp: datetime) -> None:
        if self._on_line is not None:
            self._on_line(line=line, container=container, timestamp=timestamp)
        if _is_group_marker(line):
            # As upstream: the log viewer folds what stands between them, if nothing stands before.
            print(line)
            return
        text = (
            self._formatter(container, line) if self._formatter else f"[{container}] {line}" if self._prefix else line
        )
        self._log.log(_level(line), "%s", text)


def _is_group_marker(line: str) -> bool:
    return line.startswith(("::group::", "::endgroup::"))


def _level(line: str) -> int:
    """As upstream reads it from the line's beginning, where it does."""
    parse = getattr(upstream, "_parse_log_level", None)
    return logging.INFO if parse is None else parse(line)
