"""Puts the engine under upstream's own KubernetesPodOperator, with no DAG changed: an Airflow plugin, which does nothing until it is told to.

``[kpo] adopt`` (``AIRFLOW__KPO__ADOPT``) is

- ``audit``: nothing is changed; of each task that was lost the log says what kpo would have done, and why;
- ids of DAGs with commas between, or ``all``: their tasks run on the engine, with the default policies. A task that the engine cannot run as upstream
  does stays with upstream, and its log says why, in one line.

Where the Variable ``kpo_adopt_off`` is set (to anything but ``0``, ``false``, ``no`` or ``off``), all is as without it, from the next try of each task on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kpo.airflow import _choice
from kpo.airflow._imports import AfterImport, Then

if TYPE_CHECKING:
    from airflow.plugins_manager import AirflowPlugin
else:
    try:
        from airflow.sdk.plugins_manager import AirflowPlugin
    except ImportError:
        from airflow.plugins_manager import AirflowPlugin

__all__ = ["KpoPlugin", "install", "uninstall"]

_UPSTREAM = "airflow.providers.cncf.kubernetes"

#: What was replaced: a class, a name, and what it was.
_replaced: list[tuple[type, str, Any]] = []

_watching: list[AfterImport] = []


class KpoPlugin(AirflowPlugin):
    """The entry point ``airflow.plugins``."""

    name = "kpo"

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        install()


def install() -> None:
    """Replaces upstream's methods, as far as ``[kpo] adopt`` asks for it, where they are imported or when they will be. Twice is once."""
    wanted = _choice.setting()
    if not wanted or _watching:
        return
    then: dict[str, Then] = {f"{_UPSTREAM}.operators.pod": _under_pods}
    if wanted == "audit":
        then[f"{_UPSTREAM}.utils.pod_manager"] = _under_manager
    else:
        then[f"{_UPSTREAM}.operators.job"] = partial(_under_others, "KubernetesJobOperator")
        then[f"{_UPSTREAM}.operators.spark_kubernetes"] = partial(_under_others, "SparkKubernetesOperator")
    finder = AfterImport(then)
    _watching.append(finder)
    finder.install()


def uninstall() -> None:
    """Puts everything back."""
    for finder in _watching:
        finder.uninstall()
    _watching.clear()
    for cls, name, original in reversed(_replaced):
        setattr(cls, name, original)
    _replaced.clear()


def _replace(cls: type, name: str, instead: Callable[..., Any]) -> None:
    """``instead`` is called with the original and its arguments."""
    original = vars(cls)[name]

    @wraps(original)
    def method(*args: Any, **kwargs: Any) -> Any:
        return instead(original, *args, **kwargs)

    _replaced.append((cls, name, original))
    setattr(cls, name, method)


def _under_pods(module: ModuleType) -> None:
    _replace(module.KubernetesPodOperator, "execute", _execute)
    _replace(module.KubernetesPodOperator, "trigger_reentry", _trigger_reentry)


def _under_others(name: str, module: ModuleType) -> None:
    _replace(getattr(module, name), "execute", _execute_other)


def _under_manager(module: ModuleType) -> None:
    from kpo.airflow import _audit

    _replace(module.PodManager, "read_pod", _audit.read_pod)
    _replace(module.PodManager, "delete_pod", _audit.delete_pod)


# --- what is there instead ---------------------------------------------------------------------------------------------------------------


def _execute(original: Callable[..., Any], operator: Any, context: Any, **kwargs: Any) -> Any:
    run = partial(original, operator, context, **kwargs)
    mode = _choice.of(context["ti"].dag_id)
    if mode == "adopt" or context["ti"].try_number > 1:
        from kpo.airflow import _adopted

        has_begun = mode != "adopt" and _adopted.has_begun(operator, context)
        if (mode == "adopt" or has_begun) and _adopted.take_over(operator, again=has_begun):
            return _adopted.execute(operator, context)
    if mode == "audit":
        from kpo.airflow import _audit

        return _audit.watch(operator, run)
    return run()


def _trigger_reentry(original: Callable[..., Any], operator: Any, context: Any, event: Any, **kwargs: Any) -> Any:
    """What kpo has begun it ends, whatever is set by now."""
    from kpo.airflow import _adopted, _event

    run = partial(original, operator, context, event, **kwargs)
    if _adopted.is_kpos(operator):
        return run()
    if _event.KEY in event and _adopted.take_over(operator, again=True):
        return _adopted.trigger_reentry(operator, context, event)
    if _choice.of(context["ti"].dag_id) == "audit":
        from kpo.airflow import _audit

        return _audit.watch(operator, run, event)
    return run()


def _execute_other(original: Callable[..., Any], operator: Any, context: Any, **kwargs: Any) -> Any:
    """They stay on their own lifecycle, and read a pod that is not found again."""
    if _choice.of(context["ti"].dag_id) == "adopt":
        from kpo.airflow import _adopted

        _adopted.read_again(operator)
    return original(operator, context, **kwargs)
