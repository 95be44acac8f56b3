"""The event with which a trigger hands its task back: upstream's, and under ``kpo`` what the task came to. No result and nothing of the manifest is
in it: they are in the pod, which stays until the task has taken them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kpo import Attempt, Outcome, _decode
from kpo.airflow import _earlier

#: Where ours is in an event.
KEY = "kpo"


def of(outcome: Outcome, known: _earlier.Known, *, is_late: bool, more: dict[str, Any]) -> dict[str, Any]:
    """The event of a task that has ended. ``is_late``: since its execution_timeout was over. ``more``: ``trigger_kwargs``."""
    pod = outcome.attempts[-1].pod.name if outcome.attempts else outcome.task
    has_started = any(attempt.times.started for attempt in outcome.attempts)
    status = "timeout" if is_late else "success" if outcome.succeeded else "failed"
    return _event(known, pod, status, outcome.message, more, _encode(outcome), has_started)


def of_error(known: _earlier.Known, pod: str, message: str, *, more: dict[str, Any]) -> dict[str, Any]:
    """The event of a task that the trigger could not follow any more."""
    return _event(known, pod, "error", message, more, None, False)


def _event(
    known: _earlier.Known,
    pod: str,
    status: str,
    message: str,
    more: dict[str, Any],
    outcome: Any,
    has_started: bool,
) -> dict[str, Any]:
    return {
        # Upstream copies them last, so that one of them could overwrite the status.
        **more,
        "status": status,
        "namespace": known.namespace,
        "name": pod,
        "message": message,
        "last_log_time": None,
        KEY: {"task": known.task, "nonce": known.nonce, "outcome": outcome, "hasStarted": has_started},
    }


def task_of(event: dict[str, Any]) -> _earlier.Known:
    """Whose event it is. One of an earlier version has no nonce."""
    own = event[KEY]
    return _earlier.Known(own["task"], event["namespace"], own.get("nonce"))


def outcome_of(event: dict[str, Any]) -> Outcome | None:
    """What the task came to. None: it is not known."""
    encoded = event[KEY]["outcome"]
    return None if encoded is None else _decode.decode(Outcome, encoded)


def told(event: dict[str, Any], found: Outcome) -> Outcome:
    """What the task came to: as the trigger told it, who saw it happen, with the result and the evidence that were found. Where the result is missing by
    now, as found."""
    outcome = outcome_of(event)
    if outcome is None or (outcome.succeeded and not found.succeeded):
        return found
    return replace(outcome, result_text=found.result_text, attempts=_with_evidence(outcome.attempts, found.attempts))


def _with_evidence(attempts: tuple[Attempt, ...], found: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The last attempt with what was found of the same pod, and proves the same."""
    if not attempts or not found:
        return attempts
    last, same = attempts[-1], found[-1]
    if not last.verdict or not same.verdict or (last.pod.uid, last.verdict.kind) != (same.pod.uid, same.verdict.kind):
        return attempts
    return (*attempts[:-1], replace(last, verdict=replace(last.verdict, evidence=same.verdict.evidence)))


def has_log(event: dict[str, Any], otherwise: bool) -> bool:
    """Whether the trigger has written what the program wrote. ``otherwise``: one of an earlier version does not say."""
    return bool(event[KEY].get("hasLog", otherwise))


def has_started(event: dict[str, Any]) -> bool:
    """Whether an attempt's program was seen to run."""
    return bool(event[KEY]["hasStarted"])


def _encode(outcome: Outcome) -> dict[str, Any]:
    return {
        "task": outcome.task,
        "namespace": outcome.namespace,
        "verdict": outcome.verdict,
        "exitCode": outcome.exit_code,
        "reason": outcome.reason,
        "message": outcome.message,
        "attempts": [_encode_attempt(attempt) for attempt in outcome.attempts],
    }


def _encode_attempt(attempt: Any) -> dict[str, Any]:
    pod, verdict = attempt.pod, attempt.verdict
    return {
        "number": attempt.number,
        "pod": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "node": pod.node},
        "verdict": verdict
        and {
            "class": verdict.kind,
            "reason": verdict.reason,
            "exitCode": verdict.exit_code,
            "cause": verdict.cause,
            "started": verdict.started,
            "proof": verdict.proof,
        },
        "times": {},
    }
