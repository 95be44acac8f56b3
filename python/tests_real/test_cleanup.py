"""The chart's ``cleanup-pods`` beside a pod that a gate holds back: after some minutes it takes such a pod away, and nobody signs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clusters import NAMESPACE, Cluster
from installation import IS_LONG, LINES, Installation, Run, until

#: What it leaves alone.
PENDING = 5 * 60


@pytest.mark.skipif(not IS_LONG, reason="a pending pod is left alone for five minutes: KPO_LONG=1")
def test_a_gated_pod_that_is_taken_away(
    airflow: Installation, cluster: Cluster, run: Callable[[str], Run], mode: str
) -> None:
    with cluster.quiet() as stage:
        task = run(f"program_kpo_gated_{mode}")
        first = until("its pod is there", stage.pods)[0]
        assert stage.is_gated(first)
        airflow.cleanup_pods(NAMESPACE)
        assert stage.pods() == [first]
        until("it is old enough", lambda: stage.age(first) > PENDING, PENDING + 60)
        airflow.cleanup_pods(NAMESPACE)
        second = until("another takes its place", lambda: [pod for pod in stage.pods() if pod != first])[0]
        assert stage.is_gated(second)
        stage.ungate(second)
        task.until_half_way()
        task.go_on()
        assert task.ended() == "success"
        assert task.starts() == [second]
        until("its pods are gone", lambda: not stage.pods())
    assert task.lines() == LINES
