"""What a task that did not succeed raises: one class a verdict, each a subclass of what upstream raises in its place, so that ``except`` clauses
and retry rules written for upstream's keep matching. The first line is the outcome's one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow.providers.cncf.kubernetes.utils.pod_manager import (  # type: ignore[attr-defined]
    PodLaunchFailedException,
    PodLaunchTimeoutException,
    PodNotFoundException,
    XComRetrievalError,
)

from kpo.airflow._compat import AirflowException, AirflowFailException

if TYPE_CHECKING:
    from kpo import Outcome

__all__ = [
    "PodCancelled",
    "PodDisrupted",
    "PodDisruptedForGood",
    "PodFailed",
    "PodLaunchFailed",
    "PodLaunchTimeout",
    "PodLeft",
    "PodResultMissing",
    "of",
]


class PodFailed(AirflowException):
    """The program failed."""


class PodLaunchFailed(PodLaunchFailedException):
    """It could not be launched: image, configuration, refused."""


class PodLaunchTimeout(PodLaunchFailed, PodLaunchTimeoutException):
    """It was not started in time."""


class PodDisrupted(PodNotFoundException):
    """It was taken away, and may not run again, or not any more."""


class PodDisruptedForGood(PodDisrupted, AirflowFailException):
    """The same of a program that ran, or may have run, under ``strict``: Airflow does not retry it either."""


class PodCancelled(AirflowException):
    """It was stopped: by a user, or because its time was up."""


class PodResultMissing(XComRetrievalError):
    """The program succeeded, but its result is missing or broken."""


class PodLeft(AirflowException):
    """The worker is being stopped, and nobody stopped the task: its pod runs on, and the next try goes on with it."""


_BY_VERDICT: Final = {
    "succeeded": PodResultMissing,
    "failed": PodFailed,
    "launchFailed": PodLaunchFailed,
    "disrupted": PodDisrupted,
    "cancelled": PodCancelled,
}

#: Reasons whose clock is one of starting.
_STARTING: Final = {"startTimeout", "scheduleTimeout", "queueTimeout"}


def of(outcome: Outcome, *, strict: bool) -> type[AirflowException]:
    """The class for a task that did not succeed."""
    if outcome.reason in _STARTING:
        return PodLaunchTimeout
    if outcome.reason == "resultMissing":
        return PodResultMissing
    last = outcome.attempts[-1].verdict if outcome.attempts else None
    if outcome.verdict == "disrupted" and (last is None or last.started != "never"):
        return unseen(strict=strict)
    return _BY_VERDICT[outcome.verdict or "failed"]


def unseen(*, strict: bool) -> type[AirflowException]:
    """The class for a task that is gone, and of which nobody knows that its program has not run."""
    return PodDisruptedForGood if strict else PodDisrupted
