"""The request itself: the pod of a task with ``retries=0`` is preempted on a fresh node, before its program has started."""

from __future__ import annotations

from collections.abc import Callable

from clusters import Cluster
from installation import Run, until


def test_it_survives(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    with cluster.fresh_node() as stage:
        task = run(f"seed_kpo_{mode}")
        stage.come_up()
        assert task.ended() == "success"
        log = task.log()
        until("its pods are gone", lambda: not stage.pods())
    text = "\n".join(log)
    assert "preempted by" in text
    assert "attempt 2" in text
    assert log.count("[base] hello") == 1
    assert task.instance()["try_number"] == 1


def test_upstreams_own_fails_there(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    with cluster.fresh_node() as stage:
        task = run(f"seed_upstream_{mode}")
        stage.come_up()
        assert task.ended() == "failed"
        text = "\n".join(task.log())
    assert "not found" in text
    assert "hello" not in [line.removeprefix("[base] ") for line in task.log()]
