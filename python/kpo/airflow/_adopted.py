"""Operators of upstream's that are run by the engine: each is given a class in which kpo's lifecycle stands between its own class and upstream's, as if
its import had been changed."""

from __future__ import annotations

import inspect
from functools import cache, cached_property
from typing import Any

from airflow.providers.cncf.kubernetes.operators import pod as upstream
from airflow.providers.cncf.kubernetes.utils import pod_manager as upstream_manager
from kubernetes.client import VersionApi

from kpo.airflow import _earlier, _fit, _params, _pod, _reading
from kpo.airflow._compat import AirflowException
from kpo.airflow.operator import KubernetesPodOperator
from kpo.airflow.pod_manager import PodManager

#: The first Kubernetes with native sidecars, by which a result is handed over.
_SIDECARS = (1, 29)


class Adopted(KubernetesPodOperator):
    """What an adopted operator has beside a kpo one."""

    def get_or_create_pod(self, pod_request_obj: Any, context: Any) -> Any:
        """The pod of the attempt under way: what a subclass does with it, it does with each."""
        return self.pod

    def _at_attempt(self, event: Any, task: Any, context: Any, callbacks: Any) -> None:
        super()._at_attempt(event, task, context, callbacks)
        try:
            self.get_or_create_pod(pod_request_obj=self.pod_request_obj, context=context)
        except Exception:
            self.log.exception("%s.get_or_create_pod failed; the task goes on", type(self).__name__)


def is_kpos(operator: Any) -> bool:
    return isinstance(operator, KubernetesPodOperator)


def take_over(operator: Any, *, again: bool = False) -> bool:
    """Whether the operator is kpo's from now on. If not, it is as it was, and its log says why.

    Args:
        again: it was before it was deferred.
    """
    if _fit.is_another(type(operator)):
        return False
    try:
        why = None if again else _fit.unfit(operator)
        if why is None:
            _become(operator, _class(_own(operator)))
            return True
    except AirflowException as error:
        # An argument that kpo refuses, or upstream does.
        why = str(error).removeprefix("kpo: ")
    except Exception as error:
        why = f"{type(error).__name__} while it was looked at"
    operator.log.warning("[kpo] not adopted: %s; upstream's lifecycle runs the task", why)
    return False


def has_begun(operator: Any, context: Any) -> bool:
    """Whether there is a pod of an earlier try that kpo has begun and not ended. It ends it, whatever is set by now: upstream's lifecycle would run the program
    once more."""
    if is_kpos(operator):
        return False
    try:
        pods = _earlier.by_airflows_labels(operator, _pod.namespace(operator), context)
    except Exception:
        # Upstream's lifecycle meets it, too.
        return False
    return any(operator.POD_CHECKED_KEY not in pod.metadata.labels for pod in pods)


def execute(operator: Any, context: Any) -> Any:
    # Whoever called upstream's has shown already that it is Airflow.
    return inspect.unwrap(KubernetesPodOperator.execute)(operator, context)


def trigger_reentry(operator: Any, context: Any, event: dict[str, Any]) -> Any:
    return KubernetesPodOperator.trigger_reentry(operator, context, event)


def _become(operator: Any, cls: type) -> None:
    own = type(operator)
    object.__setattr__(operator, "__class__", cls)
    try:
        for name, value in _defaults().items():
            setattr(operator, name, value)
        operator._begin_life()
        operator.results = _results(operator)
        _params.check_adopted(operator)
    except Exception:
        object.__setattr__(operator, "__class__", own)
        raise


def _own(operator: Any) -> Any:
    return type(operator)


@cache
def _class(cls: Any) -> type:
    """That class, with kpo's right above upstream's. Its name stays: Airflow goes by it."""
    bases = (Adopted,) if cls is upstream.KubernetesPodOperator else (cls, Adopted)
    made: type = type(cls)(cls.__name__, bases, _named_as(cls))
    return made


def _named_as(cls: Any) -> dict[str, Any]:
    return {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}


@cache
def _defaults() -> dict[str, Any]:
    """Of the arguments that only kpo has."""
    parameters = inspect.signature(inspect.unwrap(KubernetesPodOperator.__init__)).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def _results(operator: Any) -> str:
    """How a result leaves the pod: as upstream has it leave where the cluster is too old for more, or does not say."""
    if not operator.do_xcom_push:
        return "sidecar"
    try:
        code = VersionApi(operator.client.api_client).get_code()
        version = (int(code.major), int(code.minor.rstrip("+")))
    except Exception:
        return "exec"
    return "sidecar" if version >= _SIDECARS else "exec"


# --- the read retry alone ----------------------------------------------------------------------------------------------------------------


def read_again(operator: Any) -> None:
    """An operator that stays on its own lifecycle reads a pod that is not found again."""
    try:
        object.__setattr__(operator, "__class__", _reader(_own(operator)))
    except Exception as error:
        operator.log.warning("[kpo] it goes without the read retry: %s", type(error).__name__)


@cache
def _reader(cls: Any) -> type:
    def pod_manager(self: Any) -> Any:
        manager = super(adopted, self).pod_manager
        # One of its own stays as it is.
        if type(manager) is upstream_manager.PodManager:
            manager.__class__ = PodManager
        return manager

    def defer(self: Any, *, trigger: Any, **kwargs: Any) -> Any:
        return super(adopted, self).defer(trigger=_reading.reading(trigger), **kwargs)

    body = {**_named_as(cls), "pod_manager": cached_property(pod_manager), "defer": defer}
    adopted: Any = type(cls)(cls.__name__, (cls,), body)
    made: type = adopted
    return made
