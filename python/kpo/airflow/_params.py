"""Arguments that cannot be honoured are refused when the DAG is parsed; those that mean something else than they say are warned of."""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import Any

from airflow.providers.cncf.kubernetes.operators import pod as upstream

from kpo.airflow import _hooks, _options
from kpo.airflow._compat import AirflowException

#: Methods of upstream's lifecycle that nothing calls here: the engine does what they did.
REPLACED = frozenset(
    {
        "await_init_containers_completion",
        "await_pod_completion",
        "await_pod_start",
        "get_or_create_pod",
        "invoke_defer_method",
        "kill_istio_sidecar",
        "process_duplicate_label_pods",
        "log_matching_pod",
        "pod_manager",
        "process_pod_deletion",
        "_clean",
        "_read_pod_container_states",
        "_read_pod_events",
        "_write_logs",
    }
)

_CHOICES = {
    "rerun": (None, "never", "if-not-started", "until-commit", "idempotent"),
    "results": ("sidecar", "message", "exec"),
    "on_unsigned_delete": ("end", "recreate"),
    "callback_errors": ("report", "raise"),
}


def check(operator: Any, given: dict[str, Any]) -> None:
    """Args: given: what the operator was given, beside kpo's own arguments."""
    _check_choices(operator)
    _check_seams(type(operator), operator.kpo_ignores)
    _check_trigger(operator)
    _check_skip(given.get("skip_on_exit_code"))
    _check_held(operator)
    _warn(given)


def check_adopted(operator: Any) -> None:
    """The same of an operator that was upstream's when it was made."""
    _check_skip(operator.skip_on_exit_code)
    _check_held(operator)


def _refuse(what: str) -> AirflowException:
    return AirflowException(f"kpo: {what}")


def _check_choices(operator: Any) -> None:
    for name, choices in _CHOICES.items():
        if getattr(operator, name) not in choices:
            known = ", ".join(repr(choice) for choice in choices)
            raise _refuse(f"{name} is {getattr(operator, name)!r}; it may be {known}")
    budget = operator.rerun_budget
    if budget is not None and (not isinstance(budget, int) or isinstance(budget, bool) or budget < 0):
        raise _refuse(f"rerun_budget is {budget!r}; it is a number of reruns, or None")


def _check_seams(cls: type, ignored: frozenset[str]) -> None:
    """A method that a subclass overrides and nobody calls would be skipped in silence."""
    for name in sorted(REPLACED - ignored):
        own = overriding(cls, name)
        if own is not None:
            raise _refuse(
                f"{own.__name__} overrides {name}, which kpo's lifecycle does not call: stay on upstream's operator, or list it in kpo_ignores"
            )


def overriding(cls: type, name: str) -> type | None:
    """The class that has it instead of upstream's or kpo's own."""
    own = next((base for base in cls.__mro__ if name in vars(base)), None)
    if own is None or own.__module__.startswith("kpo.airflow.") or issubclass(upstream.KubernetesPodOperator, own):
        return None
    return own


def _check_trigger(operator: Any) -> None:
    """A trigger has the connection's id and no more of the operator: what a class does to make a hook is not done there, unless it says how."""
    own = _hooks.unsaid(type(operator), [overriding(type(operator), "hook")])
    if operator.deferrable and own is not None and "hook" not in operator.kpo_ignores:
        raise _refuse(
            f"{own.__name__} overrides hook, and a trigger makes upstream's of the connection: say by kpo_trigger_hook which one it makes, "
            "set deferrable=False, or list it in kpo_ignores"
        )


def _check_skip(codes: Any) -> None:
    """Upstream takes a str for a container of codes, in which no code ever is."""
    listed = codes if isinstance(codes, (list, tuple, set, frozenset)) else [] if codes is None else [codes]
    wrong = [code for code in listed if isinstance(code, (str, bytes, bool))]
    if wrong:
        raise _refuse(f"skip_on_exit_code has {wrong[0]!r}, which no exit code equals: give it as an int")


def _check_held(operator: Any) -> None:
    is_held = operator.protect or _options.keeping(operator) != "delete"
    if not operator.random_name_suffix and is_held and operator.rerun not in (None, "never"):
        raise _refuse(
            "random_name_suffix=False fixes the pod's name, and a pod that is kept or protected holds it, so that it could not run again: "
            "let the name vary, or set rerun='never'"
        )


def _warn(given: dict[str, Any]) -> None:
    if given.get("is_delete_operator_pod") is False and "on_finish_action" not in given:
        _tell("is_delete_operator_pod=False does nothing: to keep the pod, set on_finish_action='keep_pod'")
    if given.get("schedule_timeout_seconds") == 0:
        _tell("schedule_timeout_seconds=0 is no limit of 0 s: as upstream takes it, startup_timeout_seconds holds")


def _tell(what: str) -> None:
    # The DAG's line is what the warning is of: how many calls of Airflow's lie between differs by version.
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(("kpo.airflow", "airflow.")):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"kpo: {what}", UserWarning, stacklevel=level)
