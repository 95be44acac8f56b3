"""Events and lines of containers, in the task's log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from airflow.providers.cncf.kubernetes.utils import pod_manager as upstream

from kpo import events
from kpo.airflow import _words, _written

if TYPE_CHECKING:
    from kpo.events import LogsRead

#: A line that is longer is written in pieces.
_LONGEST = 1 << 20

#: So many lines are written in an event loop before others have their turn: a triggerer's supervisor may take a millisecond and more for each, and who writes
#: waits for it.
_AT_ONCE = 20

#: How long a supervisor takes for a line, at most; and for all that fits between it and who writes (its socket holds some hundred lines). In seconds.
_A_LINE, _AT_MOST = 0.002, 2.0

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


class _Piece(NamedTuple):
    """What has not ended in a line feed yet."""

    data: bytes
    last: events.LogLine


class TaskLog:
    """Writes what happens to a task.

    Args:
        log: where to.
        prefix: whether a line begins with its container's name.
        formatter: makes the line of container and line. None: by ``prefix``.
        on_line: told of each line first.
        is_quiet: whether only containers' lines are written: what happened was told before.
        goes_on_behind: how far it was written before, where each line says its place, for another to go on there. None: it does not.
        has_terminal: whether what is printed is the task's: in a triggerer it is not.
    """

    def __init__(
        self,
        log: Any,
        *,
        prefix: bool = True,
        formatter: Formatter | None = None,
        on_line: OnLine | None = None,
        is_quiet: bool = False,
        goes_on_behind: LogsRead | None = None,
        has_terminal: bool = True,
    ) -> None:
        self._log, self._prefix, self._formatter, self._on_line = log, prefix, formatter, on_line
        self._is_quiet, self._goes_on_behind, self._has_terminal = is_quiet, goes_on_behind, has_terminal
        #: By pod and container.
        self._pieces: dict[tuple[str, str], _Piece] = {}
        #: Lines that were told and are not written yet.
        self._left: deque[tuple[events.Log, Sequence[events.LogLine]]] = deque()
        #: Whether another one writes the log from here on.
        self._is_anothers = False
        #: When the last line is where it belongs.
        self._arrives = 0.0
        #: The UIDs of the pods that were seen, by name.
        self._uids: dict[str, str] = {}

    def tell(self, event: events.Event) -> None:
        if isinstance(event, events.Log):
            self._lines(event, event.log)
            return
        if isinstance(event, (events.Created, events.Adopted)):
            self._uids[event.pod] = event.uid
        if isinstance(event, events.TakenOver) and self._goes_on_behind is not None:
            # Whoever has taken over goes on behind the last line that it has found.
            self._is_anothers = True
            self._pieces.clear()
        if isinstance(event, (events.OutcomeReady, events.Ended, events.Gap)):
            self.flush()
        if not self._is_quiet:
            self._say(event)

    async def tell_async(self, event: events.Event) -> None:
        """The same in an event loop, which others share: a burst of lines is written piece by piece, and they have their turn in between. What is left of it
        when whoever tells is cancelled is written with what is told next."""
        await self._write_left()
        if not isinstance(event, events.Log):
            self.tell(event)
            return
        self._left.append((event, event.log))
        await self._write_left()

    async def _write_left(self) -> None:
        while self._left:
            event, lines = self._left.popleft()
            self._lines(event, lines[:_AT_ONCE])
            if len(lines) > _AT_ONCE:
                self._left.appendleft((event, lines[_AT_ONCE:]))
            await asyncio.sleep(0)

    def _lines(self, event: events.Log, lines: Sequence[events.LogLine]) -> None:
        if not self._is_anothers:
            for line in lines:
                self._piece(event.pod, event.container, line)

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
            self._flush(key)
        before = self._pieces.get(key)
        data = line.data if before is None else before.data + line.data
        self._pieces[key] = _Piece(data, line)
        if not line.partial or len(data) > _LONGEST:
            self._flush(key)

    def _flush(self, key: tuple[str, str]) -> None:
        piece = self._pieces.pop(key, None)
        if piece is not None:
            self._write(*key, piece.data.decode(errors="backslashreplace"), piece.last)

    def flush(self) -> None:
        """Writes what has not ended in a line feed."""
        for key in list(self._pieces):
            self._flush(key)

    def on_its_way(self) -> float:
        """How long it takes until what was written is where it belongs, in seconds."""
        return max(0.0, self._arrives - time.monotonic())

    def _write(self, pod: str, container: str, line: str, last: events.LogLine) -> None:
        if self._on_line is not None:
            self._on_line(line=line, container=container, timestamp=last.time)
        is_marker = _is_group_marker(line)
        if is_marker and self._has_terminal:
            # As upstream: the log viewer folds what stands between them, if nothing stands before.
            print(line)
            return
        text = line if is_marker else self._text(container, line)
        self._log.log(_level(line), "%s", text, **self._place(pod, container, last))
        now = time.monotonic()
        self._arrives = min(max(now, self._arrives) + _A_LINE, now + _AT_MOST)

    def _text(self, container: str, line: str) -> str:
        if self._formatter is not None:
            return self._formatter(container, line)
        return f"[{container}] {line}" if self._prefix else line

    def _place(self, pod: str, container: str, last: events.LogLine) -> dict[str, str]:
        uid = self._uids.get(pod)
        if uid is None or self._goes_on_behind is None:
            return {}
        return {"loc": _written.place(pod, uid, container, last, self._goes_on_behind)}


def _is_group_marker(line: str) -> bool:
    return line.startswith(("::group::", "::endgroup::"))


def _level(line: str) -> int:
    """As upstream reads it from the line's beginning, where it does."""
    parse = getattr(upstream, "_parse_log_level", None)
    return logging.INFO if parse is None else parse(line)
