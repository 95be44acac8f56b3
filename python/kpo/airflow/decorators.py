"""``@task.kpo`` and ``@task.kpo_cmd``: upstream's ``@task.kubernetes`` and ``@task.kubernetes_cmd`` on kpo's lifecycle, with all arguments of
:class:`kpo.airflow.KubernetesPodOperator`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.providers.cncf.kubernetes.decorators.kubernetes import _KubernetesDecoratedOperator
from airflow.providers.cncf.kubernetes.decorators.kubernetes_cmd import _KubernetesCmdDecoratedOperator
from airflow.providers.common.compat.sdk import task_decorator_factory

from kpo.airflow.operator import KubernetesPodOperator

__all__ = ["kpo_cmd_task", "kpo_task"]


class _KpoDecoratedOperator(_KubernetesDecoratedOperator, KubernetesPodOperator):
    custom_operator_name = "@task.kpo"


class _KpoCmdDecoratedOperator(_KubernetesCmdDecoratedOperator, KubernetesPodOperator):
    custom_operator_name = "@task.kpo_cmd"


def kpo_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> Any:
    """Runs a function in a pod, whose image has Python and bash.

    Args:
        python_callable: the function.
        multiple_outputs: whether a dict that it returns becomes one XCom a key.
        kwargs: the operator's arguments, and ``use_dill``.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_KpoDecoratedOperator,
        **kwargs,
    )


def kpo_cmd_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> Any:
    """Runs the command that a function returns, a list of strings, in a pod.

    Args:
        python_callable: the function; it is called in the worker.
        kwargs: the operator's arguments, and ``args_only``: whether it returns only the arguments of the image's own command.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_KpoCmdDecoratedOperator, **kwargs
    )
