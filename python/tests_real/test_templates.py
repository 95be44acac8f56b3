"""What is said when the DAG runs, and a DAG that runs in one process."""

from __future__ import annotations

from clusters import Cluster
from installation import Installation, until


def test_what_a_template_says(airflow: Installation, cluster: Cluster, mode: str) -> None:
    with cluster.quiet() as stage:
        task = airflow.run(f"templated_{mode}", f"templated-{mode}", {"name": "orange", "team": "red"})
        assert task.until_over() == "success"
        until("its pods are gone", lambda: not stage.pods())
    lines = [line for line in task.log() if line.endswith(": juice, 3 times, for red")]
    assert [line.startswith("[base] orange-") for line in lines] == [True]


def test_a_dag_in_one_process(airflow: Installation, cluster: Cluster, mode: str) -> None:
    """``dag.test()``."""
    with cluster.quiet() as stage:
        assert "[base] hello" in airflow.test(f"seed_kpo_{mode}")
        until("its pods are gone", lambda: not stage.pods())
