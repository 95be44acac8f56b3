"""How a trigger connects for an operator that makes its connection itself: the path of a class and its arguments, of which the hook is made anew in the
triggerer. Upstream's own two clouds are known; any other class says it by its method ``kpo_trigger_hook``."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable, Iterable
from operator import methodcaller
from typing import Any

from kpo.airflow import _clouds
from kpo.airflow._compat import AirflowException

#: The method by which an operator's class says it.
SAYS = "kpo_trigger_hook"


def of(operator: Any) -> tuple[str, dict[str, Any]] | None:
    """The path of a class and its arguments, as they come out of JSON. None: upstream's hook, of the connection that the operator names.

    Raises:
        AirflowException: what its class says is of no use to a trigger.
    """
    cls = saying(type(operator))
    if cls is None:
        return None
    # What it raises itself says more: of a cloud, perhaps, that may not be asked.
    said = _how(cls)(operator)
    try:
        path, arguments = said
        pkgutil.resolve_name(path)
        return path, dict(json.loads(json.dumps(arguments)))
    except Exception as error:
        raise AirflowException(
            f"kpo: {cls.__name__} does not say how a trigger connects: {SAYS} gives the path of a class and arguments for JSON ({type(error).__name__})"
        ) from error


def saying(cls: type) -> type | None:
    """The class that says it. None: there is none."""
    return next((base for base in cls.__mro__ if SAYS in vars(base) or _path(base) in _clouds.KNOWN), None)


def unsaid(cls: type, connecting: Iterable[type | None]) -> type | None:
    """That of the classes which make the connection themselves of which nobody says how a trigger does. None: of all of them."""
    sayer = saying(cls)
    return next((own for own in connecting if own and not (sayer and issubclass(sayer, own))), None)


def configuration(path: str, arguments: dict[str, Any]) -> Any:
    """Of the Python client that such a hook makes."""
    return pkgutil.resolve_name(path)(**arguments).get_conn().configuration


def _how(cls: type) -> Callable[[Any], Any]:
    """What asks an operator of that class."""
    return methodcaller(SAYS) if SAYS in vars(cls) else _clouds.KNOWN[_path(cls)]


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
