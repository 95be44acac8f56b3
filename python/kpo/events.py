"""What happens to a task, in order. Every event has the moment (UTC) and the lines that the command line says of it (often none)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from kpo import _decode
from kpo.outcome import Outcome, Verdict

__all__ = [
    "Admitted",
    "Adopted",
    "Assigned",
    "Because",
    "Crashed",
    "Created",
    "Deleting",
    "Disrupting",
    "Ended",
    "Event",
    "Finished",
    "Gap",
    "Hindered",
    "Log",
    "LogLine",
    "LogTrouble",
    "Next",
    "Other",
    "OutcomeReady",
    "Ran",
    "ResultLimit",
    "Running",
    "Sight",
    "Stopping",
    "TakenOver",
    "Trouble",
    "Ungated",
    "Unused",
    "Unwatched",
    "Waiting",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened to a task."""

    #: When, by this process's clock.
    at: datetime = _decode.made(_decode.time)
    #: What the command line says of it.
    lines: tuple[str, ...] = _decode.made(_decode.strings, default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Because:
    """What a task waits for, and the clock that runs. A field is None where it says nothing of that wait."""

    kind: Literal[
        "creation",
        "admission",
        "backoff",
        "predecessor",
        "queue",
        "node",
        "start",
        "program",
        "termination",
        "unreachable",
        "completion",
        "finished",
        "detached",
    ] = field(metadata={"json": "for"})
    node: str | None = None
    #: The cluster's sentence.
    message: str | None = None
    #: The gates of others.
    gates: tuple[str, ...] | None = _decode.optional(_decode.strings)
    #: The container, and its reason: ``base: ImagePullBackOff``.
    waiting: str | None = None
    #: Whether an evidenced scale-up holds the clock.
    scaling_up: bool | None = None
    #: An autoscaler's sentence on why it makes no node.
    refused: str | None = None
    #: Whether nothing of the pod was seen to start: then its node may also be pulling its image still.
    may_pull: bool | None = None
    #: When the clock ends. None: never.
    deadline: datetime | None = _decode.optional(_decode.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What follows an attempt's verdict."""

    kind: Literal["rerun", "end"] = field(metadata={"json": "next"})
    #: Of a rerun: after so long.
    backoff: timedelta | None = _decode.optional(_decode.span)
    #: Of a rerun: reruns of this budget that are left after it.
    left: int | None = None
    #: Of an end: why no other attempt follows a disruption. None: none would be expected.
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(Event):
    """An attempt's pod was accepted by the API server."""

    attempt: int
    pod: str
    uid: str
    #: Attempts possible at most, this one included.
    at_most: int
    #: How long it waits behind kpo's gate. None: it does not.
    backoff: timedelta | None = _decode.optional(_decode.span)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted(Event):
    """A pod was found again, not created."""

    attempt: int
    pod: str
    uid: str
    #: Whether this process only follows.
    follows: bool
    #: Whether the manifest is known here: without it no other attempt is ever made from here.
    recreates: bool
    #: What it was found as. ``ending``: it has ended, or is being ended, since before it was found; ``over``: its outcome was taken, and its pod is kept.
    found: Literal["living", "ending", "over"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ungated(Event):
    """Its gate was lifted."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned(Event):
    """It was bound to a node."""

    attempt: int
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Event):
    """It waits, and for something new."""

    attempt: int
    because: Because = _decode.made(_decode.decoder(Because))


@dataclass(frozen=True, slots=True, kw_only=True)
class Running(Event):
    """Its own container runs."""

    attempt: int
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disrupting(Event):
    """Somebody takes it away; it has not ended yet."""

    attempt: int
    #: The registered reason's code.
    reason: str
    #: In the cluster's words. None: it said nothing.
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """What became of an attempt."""

    attempt: int
    verdict: Verdict = _decode.made(_decode.decoder(Verdict))
    next: Next = _decode.made(_decode.decoder(Next))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping(Event):
    """A stop was asked for."""

    #: ``shutdown`` (detached), ``deadline`` or ``user`` (cancelled).
    stop: Literal["shutdown", "deadline", "user"]
    #: What was waited for when it was asked.
    because: Because = _decode.made(_decode.decoder(Because))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleting(Event):
    """Its pod is being deleted by this process, to stop it."""

    attempt: int
    reason: str
    #: How long its containers have to end after TERM.
    grace_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver(Event):
    """Another observer has taken the task over: from now on this process only follows."""

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight(Event):
    """Observation is interrupted, or goes on."""

    watching: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwatched(Event):
    """Watching is forbidden: pods are read again and again."""

    #: Whether kpo's finalizer holds the pod, so that its last state is seen all the same.
    protected: bool
    every: timedelta = _decode.made(_decode.span)
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindered(Event):
    """Something could not be done."""

    what: Literal["read", "events", "delete", "ungate", "gate", "annotate", "release"]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """The outcome was taken, and everything is cleaned up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran(Event):
    """A container was seen to run, or to have run, whoever put it there."""

    container: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted(Event):
    """A pod was admitted, but not quite as it was sent."""

    #: What was changed and what that costs, one clause each.
    changes: tuple[str, ...] = _decode.made(_decode.strings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLimit(Event):
    """A pod was admitted: most bytes of a result that can leave it."""

    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble(Event):
    """The cluster cannot be seen; the task goes on. Said once an outage, and again every minute."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused(Event):
    """Fields of a Job or CronJob that mean nothing to a task."""

    #: By path.
    fields: tuple[str, ...] = _decode.made(_decode.strings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed(Event):
    """kpo failed, which is a bug."""

    why: str


#: How far a log was read: its last line's time in nanoseconds since 1970, how many lines of that time there were, and a checksum of it.
Cursor = tuple[int, int, int]

#: How far logs were read, by the pod's UID and the container.
LogsRead = Mapping[str, Mapping[str, Cursor]]


class LogLine(NamedTuple):
    """A line of a container's log, or a piece of one."""

    #: When the container runtime took it (its node's clock): nanoseconds since 1970, UTC.
    time_ns: int
    #: What the container wrote, without the line feed; it need not be UTF-8.
    data: bytes
    #: It goes on where the one before stopped.
    continues: bool
    #: No line feed follows: the line goes on in the next one, or the log ended without one.
    partial: bool
    #: How many lines of that very time there were in a row, and a checksum of it.
    lines: int
    checksum: int

    @property
    def cursor(self) -> Cursor:
        """How far the log was read with it: ``kpo.attach(read=…)`` goes on there."""
        return (self.time_ns, self.lines, self.checksum)

    @property
    def time(self) -> datetime:
        return _decode.time_of_ns(self.time_ns)

    @property
    def text(self) -> str:
        """As UTF-8; what is none is replaced by U+FFFD."""
        return self.data.decode(errors="replace")

    def __repr__(self) -> str:
        return f"LogLine({self.time.isoformat()}, {len(self.data)} bytes)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Event):
    """Lines of a container's log."""

    pod: str
    container: str
    #: In order, each once. No repr shows what they say.
    log: tuple[LogLine, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Event):
    """Lines of a log are, or may be, missing here."""

    pod: str
    container: str
    cause: Literal["rotated", "overtaken", "pod-gone", "container-gone", "forbidden", "unreadable"]
    #: In the server's words. None: there are none.
    detail: str | None = None
    #: Time of the last line before it. None: none was seen.
    after: datetime | None = _decode.optional(_decode.time)
    #: Time of the first line behind it. None: there is none.
    before: datetime | None = _decode.optional(_decode.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTrouble(Event):
    """A log cannot be read now; it will be tried again."""

    pod: str
    container: str
    why: str
    retry_in: timedelta = _decode.made(_decode.span)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeReady(Event):
    """It is over. Nothing is deleted before the outcome counts as taken: when the next event is asked for, or the task is left without
    an exception."""

    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Other(Event):
    """An event that this module does not know: a newer engine's."""

    name: str
    data: Mapping[str, Any] = field(repr=False)


#: The class of each event, by its name in JSON.
BY_NAME: Final[dict[str, type[Event]]] = {
    "created": Created,
    "adopted": Adopted,
    "ungated": Ungated,
    "assigned": Assigned,
    "waiting": Waiting,
    "running": Running,
    "disrupting": Disrupting,
    "ended": Ended,
    "stopping": Stopping,
    "deleting": Deleting,
    "takenOver": TakenOver,
    "sight": Sight,
    "unwatched": Unwatched,
    "hindered": Hindered,
    "finished": Finished,
    "ran": Ran,
    "admitted": Admitted,
    "resultLimit": ResultLimit,
    "trouble": Trouble,
    "unused": Unused,
    "crashed": Crashed,
    "gap": Gap,
    "logTrouble": LogTrouble,
}

_Lines = tuple[int, str, str, list[tuple[int, bytes, bool, bool, int, int]]]


def decode(item: str | _Lines) -> Event:
    """The event that the native half tells."""
    if not isinstance(item, str):
        return _log(*item)
    data = json.loads(item)
    name = data["event"]
    if name == "outcome":
        outcome = _decode.decode(Outcome, data["outcome"], result_text=data["result"])
        return _decode.decode(OutcomeReady, data, outcome=outcome)
    cls = BY_NAME.get(name)
    if cls is None:
        return _decode.decode(Other, data, name=name, data=data)
    return _decode.decode(cls, data)


_line: Callable[[Iterable[Any]], LogLine] = LogLine._make


def _log(at: int, pod: str, container: str, lines: list[tuple[int, bytes, bool, bool, int, int]]) -> Log:
    return Log(at=_decode.time_of_ns(at), pod=pod, container=container, log=tuple(map(_line, lines)))
