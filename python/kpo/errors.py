"""What can go wrong. The native half has the same table (``kpo._kpo.error_table``); a test compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kpo.outcome import Outcome

__all__ = [
    "BugError",
    "ClosedError",
    "ConnectError",
    "ForbiddenError",
    "ForkedError",
    "InputError",
    "KpoError",
    "LeftError",
    "LocalError",
    "NotFoundError",
    "PodNotFoundError",
    "RefusedError",
    "TaskCancelled",
    "TaskDisrupted",
    "TaskError",
    "TaskExistsError",
    "TaskFailed",
    "TaskLaunchFailed",
]


class KpoError(Exception):
    """Whatever kpo raises of its own. The message is one line and holds no secret."""


class InputError(KpoError, ValueError):
    """A manifest or an option cannot be taken; nothing was created"""


class ConnectError(KpoError, ConnectionError):
    """The cluster cannot be reached, or does not let us in"""


class ForbiddenError(KpoError, PermissionError):
    """A right is missing; the message has the rule to add"""


class NotFoundError(KpoError, LookupError):
    """There is no pod of that task"""


class PodNotFoundError(NotFoundError):
    """There is no pod of that name, nor was there at any later read"""


class TaskExistsError(KpoError):
    """A task of that name is there already; nothing was created"""


class RefusedError(KpoError):
    """The cluster refused a request, or what was found is no task to go on with"""


class LocalError(KpoError, OSError):
    """Something on this machine"""


class ForkedError(KpoError, RuntimeError):
    """It was made before this process was forked off"""


class ClosedError(KpoError, RuntimeError):
    """It was closed before"""


class LeftError(KpoError):
    """The task was left before it had an outcome: its pod stays"""


class BugError(KpoError):
    """kpo failed, which is a bug; the task's pod may be left"""


class TaskError(KpoError):
    """A task did not succeed. The message is the outcome's one line."""

    #: What the task came to.
    outcome: Outcome

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome

    def __reduce__(self) -> tuple[type[TaskError], tuple[Outcome]]:
        return type(self), (self.outcome,)


class TaskFailed(TaskError):
    """The program failed, or its result is missing"""


class TaskLaunchFailed(TaskError):
    """It could not be launched: image, configuration, refused"""


class TaskDisrupted(TaskError):
    """It was taken away, and may not run again, or not any more"""


class TaskCancelled(TaskError):
    """It was stopped: cancelled, or a clock ran out"""


BY_VERDICT: Final[dict[str, type[TaskError]]] = {
    "failed": TaskFailed,
    "launchFailed": TaskLaunchFailed,
    "disrupted": TaskDisrupted,
    "cancelled": TaskCancelled,
}
"""The exception for each verdict that is no success."""
