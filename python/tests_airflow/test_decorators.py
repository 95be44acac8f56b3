"""``@task.kpo`` and ``@task.kpo_cmd``, as Airflow finds them by the provider's metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.decorators.kubernetes import _KubernetesDecoratedOperator
from airflow.providers_manager import ProvidersManager
from harness import AIRFLOW_2, Runner, pods

import kpo
from kpo.airflow import KubernetesPodOperator, decorators

if AIRFLOW_2:
    from airflow.decorators import task
else:
    from airflow.sdk import task


#: A lab's container has this machine's programs, which may have a python3 and no python: to bash this is one.
PYTHON = {"BASH_FUNC_python%%": '() { python3 "$@"; }'}


@pytest.fixture(params=[False, True], ids=["sync", "deferrable"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_the_provider_is_known() -> None:
    manager = ProvidersManager()
    assert manager.providers["kpo"].version == kpo.__version__
    manager.initialize_providers_configuration()
    assert hasattr(task, "kpo") and hasattr(task, "kpo_cmd")


def test_they_are_upstreams_and_kpos() -> None:
    assert issubclass(decorators._KpoDecoratedOperator, _KubernetesDecoratedOperator)
    assert issubclass(decorators._KpoDecoratedOperator, KubernetesPodOperator)


def test_a_command_survives_preemption(run: Runner, deferrable: bool) -> None:
    def make() -> Any:
        @task.kpo_cmd(image="busybox", config_file=lab.kubeconfig_path, deferrable=deferrable, retries=0)
        def hello(name: str) -> list[str]:
            return ["echo", f"hello {name}"]

        return hello("world").operator

    with kpo.lab("preemption") as lab:
        ran = run(make)
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.log.count("[base] hello world") == 1
    assert ran.xcom["pod_name"].endswith("-2")


def test_kpos_arguments_are_checked(run: Runner) -> None:
    @task.kpo_cmd(image="busybox", rerun="sometimes")
    def hello() -> list[str]:
        return ["true"]

    with pytest.raises(Exception, match="rerun is 'sometimes'"):
        run(lambda: hello().operator)


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="a lab's container has no Python here")
def test_a_function_gives_a_result(run: Runner, deferrable: bool) -> None:
    def make() -> Any:
        @task.kpo(
            image="python",
            config_file=lab.kubeconfig_path,
            deferrable=deferrable,
            do_xcom_push=True,
            multiple_outputs=True,
            env_vars=PYTHON,
        )
        def add(one: int, two: int) -> dict[str, int]:
            print("it adds")
            return {"sum": one + two}

        return add(1, two=2).operator

    with kpo.lab("quiet") as lab:
        ran = run(make)
    assert ran.state == "success"
    assert (ran.xcom["sum"], ran.xcom["return_value"]) == (3, {"sum": 3})
