"""The API server is away for a minute, and the program ends meanwhile; somebody deletes the pod by hand."""

from __future__ import annotations

from collections.abc import Callable

from clusters import Cluster
from installation import LINES, Run, until


def test_an_api_server_that_is_away(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    with cluster.quiet() as stage:
        task = run(f"program_kpo_{mode}")
        first = task.until_half_way()
        with stage.api_away(60):
            task.go_on()
        assert task.ended() == "success"
        assert task.starts() == [first]
        until("its pods are gone", lambda: not stage.pods())
    assert task.lines() == LINES


def test_a_pod_that_is_deleted_by_hand(cluster: Cluster, run: Callable[[str], Run], mode: str) -> None:
    with cluster.quiet() as stage:
        task = run(f"program_kpo_{mode}")
        first = task.until_half_way()
        stage.delete(first)
        assert task.ended() == "failed"
        assert task.starts() == [first]
        until("its pods are gone", lambda: not stage.pods())
    assert "no scheduler, autoscaler or node says" in "\n".join(task.log())
