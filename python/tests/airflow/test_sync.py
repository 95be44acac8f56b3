"""The operator, synchronous, under ``dag.test()`` on the lab."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream

import kpo
from harness import Ran, Runner
from kpo.airflow import KubernetesPodOperator


def seed(run: Runner, lab: kpo.Lab, cls: Any = KubernetesPodOperator, **more: Any) -> Ran:
    """The seed's DAG: nothing of it is changed but the import (and where the cluster is)."""
    return run(
        lambda: cls(
            **{"task_id": "test_task", "name": "test-pod", "image": "busybox", "cmds": ["echo", "hello"], "retries": 0, "config_file": lab.kubeconfig_path, **more}
        )
    )


def test_it_is_upstreams() -> None:
    assert issubclass(KubernetesPodOperator, Upstream)


def test_a_quiet_cluster(run: Runner) -> None:
    with kpo.lab("quiet") as lab:
        ran = seed(run, lab)
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1
    assert ran.xcom["pod_name"].startswith("test-pod-")


def test_the_seeds_dag_survives_preemption(run: Runner) -> None:
    with kpo.lab("preemption") as lab:
        ran = seed(run, lab)
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1
    assert ran.xcom["pod_name"].endswith("-2")
    assert ran.has("preempted by pod kube-system/node-agent")


def test_upstreams_own_fails_there(run: Runner) -> None:
    with kpo.lab("preemption") as lab:
        ran = seed(run, lab, Upstream, startup_check_interval_seconds=1)
    assert ran.state == "failed"
    assert "not found" in str(ran.error).lower()
    assert not ran.has("[base] hello")
