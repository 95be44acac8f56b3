"""The seed's DAG, with nothing changed but the import (and where the cluster is), in both modes; and upstream's own operator beside it."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream
from harness import Ran, Runner, pods

import kpo
from kpo.airflow import KubernetesPodOperator


@pytest.fixture(params=[False, True], ids=["sync", "deferrable"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def seed(run: Runner, lab: kpo.Lab, cls: Any, deferrable: bool, **more: Any) -> Ran:
    arguments = {
        "task_id": "test_task",
        "name": "test-pod",
        "image": "busybox",
        "cmds": ["echo", "hello"],
        "retries": 0,
    }
    return run(lambda: cls(**arguments, config_file=lab.kubeconfig_path, deferrable=deferrable, **more))


def test_it_is_upstreams() -> None:
    assert issubclass(KubernetesPodOperator, Upstream)


def test_a_quiet_cluster(run: Runner, deferrable: bool) -> None:
    with kpo.lab("quiet") as lab:
        ran = seed(run, lab, KubernetesPodOperator, deferrable)
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1
    assert ran.xcom["pod_name"].startswith("test-pod-")


def test_it_survives_preemption(run: Runner, deferrable: bool) -> None:
    with kpo.lab("preemption") as lab:
        ran = seed(run, lab, KubernetesPodOperator, deferrable)
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1
    assert ran.xcom["pod_name"].endswith("-2")
    assert ran.has("preempted by pod kube-system/node-agent")


def test_upstreams_own_fails_there(run: Runner, deferrable: bool) -> None:
    with kpo.lab("preemption") as lab:
        ran = seed(run, lab, Upstream, deferrable, startup_check_interval_seconds=1)
    assert ran.state == "failed"
    assert not ran.has("[base] hello")
