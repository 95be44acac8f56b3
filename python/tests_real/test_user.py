"""What users do: they clear a task, mark it failed, let its time run out, map it over many. What they stop is stopped; what they do not, is not."""

from __future__ import annotations

from collections.abc import Callable

from clusters import Cluster
from installation import DAGRUN_TIMEOUT, LIMIT, LINES, MAPPED, MAPPED_LIMIT, Run, until


def test_a_clear_while_it_runs(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    """Its worker ends with its pod before the next try begins. A deferred one's next try begins at once: it goes on with the pod that it finds, where the
    trigger has not taken it away."""
    with cluster.quiet() as stage:
        task = run(f"program_kpo_{mode}")
        task.until_half_way()
        task.clear()
        until("the second try", lambda: task.instance()["try_number"] == 2)
        task.until_half(2)
        task.go_on()
        assert task.ended() == "success"
        assert len(set(task.starts())) == len(task.starts()) <= 2
        assert mode == "deferrable" or len(task.starts()) == 2
        until("its pods are gone", lambda: not stage.pods())
    assert task.lines(2) == LINES


def test_what_is_marked_failed(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    """Its program does not heed SIGTERM: the stop takes longer than Airflow leaves it alone."""
    with cluster.quiet() as stage:
        task = run(f"program_kpo_heedless_{mode}")
        first = task.until_half_way()
        task.mark("failed")
        until("its pods are gone", lambda: not stage.pods())
        assert task.state == "failed"
        assert task.starts() == [first]


def test_a_run_whose_time_is_up(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    with cluster.quiet() as stage:
        task = run(f"program_kpo_timed_{mode}")
        first = task.until_half_way()
        assert task.until_over(DAGRUN_TIMEOUT + LIMIT) == "failed"
        until("its pods are gone", lambda: not stage.pods())
        assert task.state == "skipped"
        assert task.starts() == [first]


def test_a_task_that_is_mapped_over_many(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    with cluster.quiet() as stage:
        task = run(f"mapped_{mode}")
        assert task.until_over(MAPPED_LIMIT) == "success"
        assert sorted(map(int, task.starts())) == list(range(MAPPED))
        states = {instance["map_index"]: instance["state"] for instance in task.instances()}
        assert states == {number: "success" for number in range(MAPPED - 1)} | {MAPPED - 1: "skipped"}
        until("its pods are gone", lambda: not stage.pods())
