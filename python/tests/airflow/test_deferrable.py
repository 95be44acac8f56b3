"""The operator, deferrable: ``dag.test()`` runs its trigger in an event loop."""

from __future__ import annotations

from typing import Any

import pytest

import kpo
from harness import Runner
from kpo.airflow import exceptions
from test_outcomes import ONE_NODE, PREEMPTED, RESULT, Moments, pods, shell
from test_sync import Upstream, seed


def test_a_quiet_cluster(run: Runner) -> None:
    with kpo.lab("quiet") as lab:
        ran = seed(run, lab, deferrable=True)
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1


def test_the_seeds_dag_survives_preemption(run: Runner) -> None:
    with kpo.lab("preemption") as lab:
        ran = seed(run, lab, deferrable=True)
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1
    assert ran.xcom["pod_name"].endswith("-2")


def test_upstreams_own_fails_there(run: Runner) -> None:
    with kpo.lab("preemption") as lab:
        ran = seed(run, lab, Upstream, deferrable=True, startup_check_interval_seconds=1)
    assert ran.state == "failed"
