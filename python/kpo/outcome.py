"""What a task came to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from kpo import _decode
from kpo.errors import BY_VERDICT

__all__ = ["Attempt", "Outcome", "PodRef", "Times", "Verdict", "VerdictClass"]

VerdictClass = Literal["succeeded", "failed", "launchFailed", "disrupted", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRef:
    """A pod, named for good."""

    name: str
    namespace: str
    #: Empty where the API server never accepted one.
    uid: str = ""
    #: None: never bound.
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When an attempt's stations were passed, by the observer's clock. None: not seen."""

    #: Its create was answered.
    created: datetime | None = _decode.optional(_decode.time)
    #: It was bound to a node.
    assigned: datetime | None = _decode.optional(_decode.time)
    #: Its own container was first seen running, or to have run.
    started: datetime | None = _decode.optional(_decode.time)
    #: Its verdict was reached.
    ended: datetime | None = _decode.optional(_decode.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of an attempt, and why that is believed."""

    kind: VerdictClass = field(metadata={"json": "class"})
    #: The registered reason's code (docs/reasons.md).
    reason: str
    #: Of the task's own container. None: none was reported.
    exit_code: int | None = None
    #: By whom or what it was disrupted: ``preemption``, ``deleted-outside``, …. None: it was not.
    cause: str | None = None
    #: Whether the program of a disrupted attempt ran. None: it was not disrupted.
    started: Literal["never", "started", "unknown"] | None = None
    #: Why ``never`` is believed. None: ``started`` is not ``never``.
    proof: Literal["never-bound", "kubelet-attested", "kubelet-rejected"] | None = None
    #: In the cluster's own words. None: it said nothing.
    detail: str | None = None
    #: Whether no process of the attempt can be alive any more.
    stopped: bool = False
    #: The entries of the ledger that it rests on, as JSON objects.
    evidence: tuple[Mapping[str, Any], ...] = _decode.made(tuple, repr=False, default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One pod that was created for the task."""

    #: From 1.
    number: int
    pod: PodRef = _decode.made(_decode.decoder(PodRef))
    #: None: it lives.
    verdict: Verdict | None = _decode.optional(_decode.decoder(Verdict))
    times: Times = _decode.made(_decode.decoder(Times))
    #: The pod's last ``status`` that was seen, as a JSON object. None: none.
    last_status: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a task came to. Its result is in no repr."""

    #: The task's id.
    task: str
    namespace: str
    #: None: it lives on.
    verdict: VerdictClass | None = None
    #: What the command line would exit with: the container's code, or one of kpo's own. None: it lives on.
    exit_code: int | None = None
    #: The registered reason's code (docs/reasons.md). None: it lives on.
    reason: str | None = None
    #: One line: class, cause, exit code, node, attempt, next step.
    message: str = ""
    #: The result as the program wrote it. None: none was asked for, or there is none.
    result_text: str | None = field(default=None, repr=False)
    #: In order.
    attempts: tuple[Attempt, ...] = _decode.made(_decode.many(Attempt), default=())

    @property
    def succeeded(self) -> bool:
        return self.verdict == "succeeded"

    @property
    def result(self) -> Any:
        """The result: parsed where it is JSON, else a str. None: none was asked for, there is none, or it is ``null``
        (``result_text`` tells them apart)."""
        if self.result_text is None:
            return None
        try:
            return json.loads(self.result_text)
        except ValueError:
            return self.result_text

    def check(self) -> Outcome:
        """The outcome itself, of a task that succeeded.

        Raises:
            TaskError: of any other task, the subclass for its verdict.
        """
        if self.succeeded:
            return self
        if self.verdict is None:
            raise ValueError(f"task {self.task} has not ended")
        raise BY_VERDICT[self.verdict](self)
