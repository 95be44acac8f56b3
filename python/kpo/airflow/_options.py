"""The operator's arguments, as the engine's options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kpo._options import RESULT_PATH

#: Which pods stay, by ``on_finish_action``.
_KEEPING = {
    "delete_pod": "delete",
    "keep_pod": "keep",
    "delete_active_pod": "keep",
    "delete_succeeded_pod": "keep-failed",
}


def keeping(operator: Any) -> str:
    """Which pods stay: ``delete`` is none, ``keep`` all, ``keep-failed`` those that did not succeed."""
    return _KEEPING[operator.on_finish_action.value]


def keeps(operator: Any, *, succeeded: bool) -> bool:
    """Whether the pod of such an outcome stays."""
    return keeping(operator) == "keep" or (keeping(operator) == "keep-failed" and not succeeded)


def protects(operator: Any) -> bool:
    """Whether its pods carry kpo's finalizer. Where nothing else is said: while it is deferred, where the name may vary."""
    given: bool | None = operator.protect
    return bool(operator.deferrable and operator.random_name_suffix) if given is None else given


def of(operator: Any, pod: Any) -> dict[str, Any]:
    """How the task is to be run. A budget that is not given is the engine's."""
    options: dict[str, Any] = {
        "name": task_name(pod.metadata.name),
        "fixed_name": not operator.random_name_suffix,
        "container": operator.base_container_name,
        "rerun": rerun(operator),
        "on_unsigned_delete": operator.on_unsigned_delete,
        "protect": protects(operator),
        "schedule_timeout": operator.schedule_timeout_seconds or None,
        "start_timeout": operator.startup_timeout_seconds or None,
        "queue_timeout": operator.queue_timeout,
        "run_timeout": operator.run_timeout,
        "timeout": operator.total_timeout,
        "on_finish": keeping(operator),
        "logs": followed(operator, pod),
    }
    if operator.rerun_budget is not None:
        options["rerun_never_started"] = options["rerun_started"] = operator.rerun_budget
    if operator.do_xcom_push:
        options |= result(operator)
    return options


def rerun(operator: Any) -> str:
    """The policy. A pod that stays holds a fixed name, so that no other attempt could be made: unless told otherwise there is none then."""
    if operator.rerun is not None:
        return str(operator.rerun)
    is_kept = keeping(operator) != "delete"
    return "never" if not operator.random_name_suffix and is_kept else "if-not-started"


def result(operator: Any) -> dict[str, Any]:
    """Upstream's contract: the file's JSON, and where it is missing or empty, None."""
    options: dict[str, Any] = {"result": RESULT_PATH, "results": operator.results}
    if operator.results == "message":
        return options
    hook = operator.hook
    security = operator.xcom_sidecar_container_security_context
    if security is None:
        security = hook.get_xcom_sidecar_container_security_context()
    resources = hook.get_xcom_sidecar_container_resources()
    return {
        **options,
        "results_absent": "null",
        "results_image": hook.get_xcom_sidecar_container_image() or _default_image(),
        "results_resources": None if not resources else _limits(resources),
        "results_security": None if security is None else _plain(security),
    }


def _default_image() -> str:
    """Upstream's, of its own sidecar."""
    from airflow.providers.cncf.kubernetes.utils.xcom_sidecar import PodDefaults

    return str(PodDefaults.SIDECAR_CONTAINER.image)


def _limits(resources: Any) -> Any:
    plain = _plain(resources)
    return plain.get("limits") or plain.get("requests")


def _plain(value: Any) -> Any:
    from kubernetes.client import ApiClient

    return ApiClient().sanitize_for_serialization(value)


def task_name(name: str) -> str:
    """The task's id: the pod's name, as upstream made it, with room for an attempt's number. What makes it unique stands at its end."""
    longest, suffix = 59, 9
    name = name.replace(".", "-")
    if len(name) <= longest:
        return name
    return f"{name[: longest - suffix].rstrip('-')}{name[-suffix:]}"


def followed(operator: Any, pod: Any) -> list[str]:
    """Whose logs are shown."""
    mains = [container.name for container in pod.spec.containers]
    inits = [container.name for container in pod.spec.init_containers or []]
    shown = _chosen(operator, "container_logs", operator.container_logs, mains) if operator.get_logs else []
    return shown + _chosen(operator, "init_container_logs", operator.init_container_logs, inits)


def _chosen(operator: Any, argument: str, wanted: Iterable[str] | str | bool | None, there: list[str]) -> list[str]:
    if wanted is True:
        return there
    names = [wanted] if isinstance(wanted, str) else list(wanted or [])
    for name in names:
        if name not in there:
            operator.log.warning("%s names %r, and the pod has %s", argument, name, ", ".join(there) or "none")
    return [name for name in names if name in there]
