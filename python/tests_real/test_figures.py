"""What ten tasks of a minute cost the workers and the triggerer, beside upstream's in the same Airflow. Printed (``-s``), and judged by nobody."""

from __future__ import annotations

import pytest
from clusters import Cluster
from installation import Installation


@pytest.mark.figures
@pytest.mark.parametrize("operator", ["kpo", "upstream"])
def test_figures(airflow: Installation, cluster: Cluster, operator: str, mode: str) -> None:
    dag = f"crowd_{operator}_{mode}"
    with cluster.quiet():
        before = airflow.cost()
        run = airflow.run(dag, "figures")
        assert run.until_over(600) == "success"
        after = airflow.cost()
    workers, triggerer = after.workers - before.workers, after.triggerer - before.triggerer
    print(
        f"\n{dag}: a task's processes {workers / 10:.2f} s of CPU, triggerer {triggerer / 10:.2f} s; "
        f"the triggerer's memory {before.memory >> 10} KiB before, {after.memory >> 10} KiB after"
    )
