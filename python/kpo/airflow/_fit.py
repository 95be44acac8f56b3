"""Whether the engine can run a task of upstream's operator as upstream does: where it cannot, or nobody knows, the task stays with upstream."""

from __future__ import annotations

from typing import Any

from kpo.airflow import _connection, _hooks, _params, _read

_OPERATORS = "airflow.providers.cncf.kubernetes.operators."

#: Modules whose operators are subclasses of upstream's, with a lifecycle of their own.
_OTHERS = tuple(_OPERATORS + name for name in ("job", "kueue", "spark_kubernetes"))

#: Methods that are not called while a task is not deferred, or that are known to do no more than to look at a pod: by the module of their class.
_HARMLESS = {"get_or_create_pod": "airflow.providers.google."}

#: What a trigger cannot do as the class does it, unless it is said how: it has no more of the operator than the connection's id.
_OF_DEFERRED = ("hook", "client", "trigger_reentry", "invoke_defer_method", "convert_config_file_to_dict")

#: Where API clients are that do no more than their configuration says, but for timeouts.
_CLIENTS = ("kubernetes.", "airflow.providers.")

#: The name of a task that there is not: asked for to see whether anything is answered.
_NOBODY = "kpo-asks-whether-it-may"


def is_another(cls: type) -> bool:
    """Whether its lifecycle is not upstream's operator's."""
    return any(base.__module__.startswith(_OTHERS) for base in cls.__mro__)


def unfit(operator: Any) -> str | None:
    """Why the engine cannot run it. None: it can."""
    return _seam(operator) or _trigger(operator) or _unconnectable(operator)


def _seam(operator: Any) -> str | None:
    cls = type(operator)
    for name in sorted(_params.REPLACED - getattr(cls, "kpo_ignores", frozenset())):
        own = _params.overriding(cls, name)
        if own is not None and not _is_harmless(operator, own, name):
            return f"{own.__name__} overrides {name}, which the engine does not call"
    return None


def _is_harmless(operator: Any, own: type, name: str) -> bool:
    if name == "invoke_defer_method":
        # Where it is deferred that is another matter.
        return True
    return name in _HARMLESS and own.__module__.startswith(_HARMLESS[name])


def _trigger(operator: Any) -> str | None:
    if not operator.deferrable:
        return None
    cls = type(operator)
    own = _hooks.unsaid(cls, (_params.overriding(cls, name) for name in _OF_DEFERRED))
    if own is not None:
        return f"{own.__name__} connects by itself, and no kpo_trigger_hook says how a trigger does: add one, or set deferrable=False"
    # Whether it can is known before its pod is there.
    _hooks.of(operator)
    return None


def _unconnectable(operator: Any) -> str | None:
    """Why the engine cannot connect as the operator's own client does."""
    api = operator.client.api_client
    if not type(api).__module__.startswith(_CLIENTS) or set(api.default_headers) - {"User-Agent"} or api.cookie:
        return "its hook's client does more than its configuration says"
    own = [_params.overriding(type(operator), name) for name in ("hook", "client")]
    if not any(own):
        return None
    try:
        with _connection.of(operator) as client:
            client.find(_NOBODY, namespace=operator.namespace or operator.hook.get_namespace() or "default")
    except Exception as error:
        return f"the engine cannot connect by its hook ({_read.brief(error)})"
    return None
