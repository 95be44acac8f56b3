"""The pod is preempted while its program runs. How often the program started is what a file on its node says."""

from __future__ import annotations

from collections.abc import Callable

from clusters import Cluster
from installation import HALF, LINES, Run, until


def test_it_is_not_run_twice(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    with cluster.quiet() as stage:
        task = run(f"program_kpo_{mode}")
        first = task.until_half_way()
        stage.preempt(first)
        assert task.ended() == "failed"
        text = "\n".join(task.log())
        assert task.starts() == [first]
        until("its pods are gone", lambda: not stage.pods())
    assert "preempted by" in text


def test_it_runs_again_if_it_may(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    with cluster.quiet() as stage:
        task = run(f"program_kpo_idempotent_{mode}")
        first = task.until_half_way()
        stage.preempt(first)
        until("it has started again", lambda: len(task.starts()) == 2)
        task.go_on()
        assert task.ended() == "success"
        assert len(task.starts()) == 2
        until("its pods are gone", lambda: not stage.pods())
    log = task.log()
    assert "preempted by" in "\n".join(log)
    # The first half of the first attempt, and all of the second.
    assert task.lines() == HALF + LINES


def test_upstreams_own_fails(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    with cluster.quiet() as stage:
        task = run(f"program_upstream_{mode}")
        stage.preempt(task.until_half_way())
        assert task.ended() == "failed"
        assert len(task.starts()) == 1
        assert "not found" in "\n".join(task.log())


def test_what_ends_in_its_grace_has_succeeded(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    with cluster.quiet() as stage:
        task = run(f"program_kpo_graceful_{mode}")
        first = task.until_half_way()
        stage.preempt(first)
        task.go_on()
        assert task.ended() == "success"
        assert task.starts() == [first]
        until("its pods are gone", lambda: not stage.pods())
    assert task.lines() == LINES
