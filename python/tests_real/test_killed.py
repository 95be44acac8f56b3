"""What observes a task is killed while its program runs: a worker, the triggerer. The program starts once, and the log has each of its lines."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

import pytest
from clusters import NAMESPACE, Cluster
from installation import HALF, LINES, Installation, Run, until


def goes_on(task: Run, first: str) -> None:
    """A second try goes on with the pod of the first."""
    until("the second try", lambda: task.instance()["try_number"] == 2)
    task.until_half(2)
    task.go_on()
    assert task.ended() == "success"
    assert task.starts() == [first]
    assert task.lines(2) == LINES


def test_a_worker_that_is_gone(airflow: Installation, cluster: Cluster, run: Callable[[str], Run]) -> None:
    with cluster.quiet() as stage:
        task = run("program_kpo_retried_sync")
        first = task.until_half_way()
        for process in airflow.worker():
            process.signal(signal.SIGKILL)
        goes_on(task, first)
        until("its pods are gone", lambda: not stage.pods())
    assert task.lines(1) == HALF


def test_a_worker_between_hand_over_and_deferral(
    airflow: Installation, cluster: Cluster, run: Callable[[str], Run]
) -> None:
    with cluster.quiet() as stage:
        task = run("program_kpo_handed_over_deferrable")
        task.until_handed_over()
        first = until("its program has started", task.starts)[-1]
        for process in airflow.worker():
            process.signal(signal.SIGKILL)
        goes_on(task, first)
        until("its pods are gone", lambda: not stage.pods())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_tasks_process_that_is_ended(
    airflow: Installation, cluster: Cluster, run: Callable[[str], Run], number: signal.Signals
) -> None:
    with cluster.quiet() as stage:
        task = run("program_kpo_retried_sync")
        first = task.until_half_way()
        _, worker = airflow.worker()
        worker.signal(number)
        goes_on(task, first)
        until("its pods are gone", lambda: not stage.pods())
    assert task.lines(1) == HALF


def test_upstreams_own_starts_twice_after_a_sigterm(
    airflow: Installation, cluster: Cluster, run: Callable[[str], Run]
) -> None:
    with cluster.quiet():
        task = run("program_upstream_retried_sync")
        task.until_half_way()
        _, worker = airflow.worker()
        worker.signal(signal.SIGTERM)
        until("another start", lambda: len(task.starts()) == 2)
        task.go_on()
        assert task.ended() == "success"


def test_the_triggerer(airflow: Installation, cluster: Cluster, run: Callable[[str], Run]) -> None:
    """The next one goes on with the log behind the last line that was written."""
    with cluster.quiet() as stage:
        task = run("program_kpo_deferrable")
        first = task.until_half_way()
        airflow.kill("triggerer")
        airflow.start("triggerer")
        task.until_another_follows()
        task.go_on()
        assert task.ended() == "success"
        assert task.starts() == [first]
        until("its pods are gone", lambda: not stage.pods())
    assert task.lines_of_triggerers() == [HALF, LINES[len(HALF) :]]
    # Airflow shows a task's files in one, and is not exact in their order.
    assert Counter(task.lines()) == Counter(LINES)


def test_a_triggerer_that_is_stopped(airflow: Installation, cluster: Cluster, run: Callable[[str], Run]) -> None:
    """As a rollout does it: the next one goes on with the log, too."""
    with cluster.quiet() as stage:
        task = run("program_kpo_deferrable")
        first = task.until_half_way()
        # It is stopped while the second half comes at once.
        task.go_on()
        airflow.stop("triggerer")
        airflow.start("triggerer")
        assert task.ended() == "success"
        assert task.starts() == [first]
        until("its pods are gone", lambda: not stage.pods())
    assert [line for file in task.lines_of_triggerers() for line in file] == LINES
    assert Counter(task.lines()) == Counter(LINES)


def test_a_triggerer_that_was_silent(airflow: Installation, cluster: Cluster, run: Callable[[str], Run]) -> None:
    """Another one has its triggers when it is heard of again, and Airflow cancels its own with the words of a user's stop."""
    with cluster.quiet() as stage:
        task = run("program_kpo_deferrable")
        first = task.until_half_way()
        with airflow.silent("triggerer"):
            task.until_another_follows()
        try:
            task.until_cancelled()
        finally:
            airflow.stop("silent triggerer")
        task.go_on()
        assert task.ended() == "success"
        assert task.starts() == [first]
        until("its pods are gone", lambda: not stage.pods())
    assert [line for file in task.lines_of_triggerers() for line in file] == LINES


def test_a_triggerer_before_anybody_has_its_event(
    airflow: Installation, cluster: Cluster, run: Callable[[str], Run]
) -> None:
    """What hands events on does nothing from before the program has ended until it is killed."""
    with cluster.quiet() as stage:
        task = run("program_kpo_deferrable")
        first = task.until_half_way()
        with airflow.paused("triggerer"):
            task.go_on()
            until("its program has ended", lambda: stage.phase(first) == "Succeeded")
            airflow.kill("triggerer")
        airflow.start("triggerer")
        assert task.ended() == "success"
        assert task.starts() == [first]
        until("its pods are gone", lambda: not stage.pods())


def test_a_triggerer_before_its_event_is_acted_on(
    airflow: Installation, cluster: Cluster, run: Callable[[str], Run]
) -> None:
    """The task is to be resumed, and nobody does. The chart's cleanup takes the pod that has ended away meanwhile, and nothing that was not taken."""
    with cluster.quiet() as stage:
        task = run("program_kpo_deferrable")
        first = task.until_half_way()
        with airflow.paused("scheduler"):
            task.go_on()
            task.until_state("scheduled")
            airflow.kill("triggerer")
            try:
                airflow.cleanup_pods(NAMESPACE)
                assert stage.is_doomed(first)
            finally:
                airflow.start("triggerer")
        assert task.ended() == "success"
        assert task.starts() == [first]
        until("its pods are gone", lambda: not stage.pods())
    assert task.lines() == LINES
