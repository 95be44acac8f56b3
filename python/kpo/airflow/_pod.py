"""The pod as upstream builds it, once a try, with what upstream loses put right."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from kubernetes.client import models as k8s

from kpo.airflow._compat import AirflowException

#: Arguments whose falsy value upstream's merge takes for none, so that a template's wins: an argument, and its field in the pod's spec.
FALSY = {
    "automount_service_account_token": "automount_service_account_token",
    "hostnetwork": "host_network",
    "termination_grace_period": "termination_grace_period_seconds",
    "active_deadline_seconds": "active_deadline_seconds",
}

_TEMPLATES = ("full_pod_spec", "pod_template_file", "pod_template_dict")


@contextmanager
def as_asked(operator: Any, given: set[str]) -> Iterator[None]:
    """For the time of one build: no sidecar of upstream's, the environment as before at the end, and templates without the fields for which the
    operator was given a falsy value.

    Args:
        given: the arguments that were given to the operator.
    """
    before = {name: getattr(operator, name) for name in ("do_xcom_push", "env_vars", *_TEMPLATES)}
    losing = [field for name, field in FALSY.items() if name in given and _is_falsy(getattr(operator, name))]
    try:
        operator.do_xcom_push = False
        # Upstream appends to this very list.
        operator.env_vars = copy.copy(operator.env_vars)
        template = _template(operator) if losing else None
        if template is not None:
            for field in losing:
                setattr(template.spec, field, None)
            operator.full_pod_spec, operator.pod_template_file, operator.pod_template_dict = template, None, None
        yield
    finally:
        for name, value in before.items():
            setattr(operator, name, value)


def namespace(operator: Any) -> str:
    """That of the pod which upstream would build (``build_pod_request_obj``)."""
    template = _template(operator)
    own = template.metadata.namespace if template is not None and template.metadata is not None else None
    return str(own or operator.namespace or operator.hook.get_namespace() or operator._incluster_namespace or "default")


def _is_falsy(value: Any) -> bool:
    return value is not None and not value


def _template(operator: Any) -> k8s.V1Pod | None:
    """What upstream takes for its template. None: it has none with a spec."""
    template = None
    if operator.pod_template_file:
        template = PodGenerator.deserialize_model_file(operator.pod_template_file)
    elif operator.pod_template_dict:
        template = PodGenerator.deserialize_model_dict(operator.pod_template_dict)
    if operator.full_pod_spec:
        full = copy.deepcopy(operator.full_pod_spec)
        template = PodGenerator.reconcile_pods(template, full) if template else full
    return template if template is not None and template.spec is not None else None


def set_falsy(operator: Any, pod: k8s.V1Pod, given: set[str]) -> None:
    """Puts falsy values into the pod that were given: left out they would mean something else to the API server."""
    for name, field in FALSY.items():
        if name in given and _is_falsy(getattr(operator, name)) and getattr(pod.spec, field) is None:
            setattr(pod.spec, field, getattr(operator, name))


def check(pod: k8s.V1Pod) -> None:
    """Refuses what the API server would, with a reason that helps."""
    names = [container.name for container in pod.spec.containers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise AirflowException(
            f"the pod has two containers {twice[0]!r}: a template's containers are merged by their place, so let its first one be the task's"
        )


def named(pod: k8s.V1Pod, name: str) -> k8s.V1Pod:
    """The pod as it was asked for, under the name of an attempt."""
    pod = copy.deepcopy(pod)
    pod.metadata.name = name
    return pod


#: The container that kpo adds for a result, which is its termination message.
_RESULT = "kpo-result"


def redacted(pod: Any, carrying: set[str]) -> Any:
    """A pod for a log: no values of its environment, no commands (hooks and probes have some, and headers), no result, no annotations (one of kpo's
    holds the manifest).

    Args:
        carrying: containers whose termination message is the result, beside kpo's own.
    """
    pod = copy.deepcopy(pod)
    spec = pod.spec
    for container in [*(spec.containers or []), *(spec.init_containers or []), *(spec.ephemeral_containers or [])]:
        container.command = container.args = container.lifecycle = None
        container.liveness_probe = container.readiness_probe = container.startup_probe = None
        for variable in container.env or []:
            if variable.value is not None:
                variable.value = "***"
    annotations = pod.metadata.annotations or {}
    pod.metadata.annotations = {key: "***" for key in annotations}
    pod.metadata.managed_fields = None
    for status in [*(pod.status.container_statuses or []), *(pod.status.init_container_statuses or [])]:
        for state in (status.state, status.last_state):
            if state and state.terminated and status.name in {_RESULT, *carrying}:
                state.terminated.message = "***"
    return pod
