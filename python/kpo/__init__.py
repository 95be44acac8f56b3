"""Runs a task as a Kubernetes pod to completion and does not lose it: not to preemption, eviction, a vanished node, a broken connection or its
own death; and it never runs a task twice unless it was told that it may.

>>> import kpo
>>> outcome = kpo.run(image="busybox", args=["echo", "hello"])  # doctest: +SKIP
>>> outcome.verdict  # doctest: +SKIP
'succeeded'
"""

from kpo import errors, events
from kpo._client import Client
from kpo._kpo import VERSION as __version__
from kpo._lab import Lab, lab
from kpo._options import Options
from kpo._task import Task, attach, run, run_async
from kpo.errors import (
    BugError,
    ClosedError,
    ConnectError,
    ForbiddenError,
    ForkedError,
    InputError,
    KpoError,
    LeftError,
    LocalError,
    NotFoundError,
    PodNotFoundError,
    RefusedError,
    TaskCancelled,
    TaskDisrupted,
    TaskError,
    TaskExistsError,
    TaskFailed,
    TaskLaunchFailed,
)
from kpo.outcome import Attempt, Outcome, PodRef, Times, Verdict

__all__ = [
    "Attempt",
    "BugError",
    "Client",
    "ClosedError",
    "ConnectError",
    "ForbiddenError",
    "ForkedError",
    "InputError",
    "KpoError",
    "Lab",
    "LeftError",
    "LocalError",
    "NotFoundError",
    "Options",
    "Outcome",
    "PodNotFoundError",
    "PodRef",
    "RefusedError",
    "Task",
    "TaskCancelled",
    "TaskDisrupted",
    "TaskError",
    "TaskExistsError",
    "TaskFailed",
    "TaskLaunchFailed",
    "Times",
    "Verdict",
    "__version__",
    "attach",
    "errors",
    "events",
    "lab",
    "run",
    "run_async",
]
