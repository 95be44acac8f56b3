"""What tasks of a minute cost, and a log of many lines, beside upstream's in the same Airflow. Told at the end, and judged by nobody."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime

import pytest
from clusters import Cluster
from installation import WRITTEN, Installation

pytestmark = pytest.mark.figures

#: Tells a line.
Tell = Callable[[str], None]


@pytest.fixture(scope="module")
def tasks(airflow: Installation, cluster: Cluster, tell: Tell) -> None:
    """The head of the table. What a triggerer imports for its first task of each is no task's cost."""
    for dag in ("crowd_kpo_deferrable_1", "crowd_upstream_deferrable_1"):
        with cluster.quiet():
            assert airflow.run(dag, f"{dag}-first").until_over(300) == "success"
    tell("")
    tell(
        "| | tasks | requests a task | CPU of a task's processes | triggerer's CPU a task | its memory, more at most | pod's end → task's end, median |"
    )
    tell("|---|---|---|---|---|---|---|")


def delays(airflow: Installation, dag: str, name: str, count: int) -> list[float]:
    """From the end of each program to that of its task, in seconds."""
    found = airflow.api(f"dags/{dag}/dagRuns/{name}/taskInstances?limit=500")["task_instances"]
    ends = {one["task_id"]: datetime.fromisoformat(one["end_date"]).timestamp() for one in found}
    assert len(ends) == count
    return [end - (airflow.ledgers / f"{name}.{task}.end").stat().st_mtime for task, end in ends.items()]


@pytest.mark.parametrize(("mode", "count"), [("sync", 8), ("deferrable", 1), ("deferrable", 80)])
@pytest.mark.parametrize("operator", ["kpo", "upstream"])
@pytest.mark.usefixtures("tasks")
def test_tasks(airflow: Installation, cluster: Cluster, tell: Tell, operator: str, mode: str, count: int) -> None:
    dag = f"crowd_{operator}_{mode}_{count}"
    with cluster.quiet() as stage:
        before, asked = airflow.cost(), stage.requests()
        run = airflow.run(dag, dag)
        with airflow.triggerers_memory() as largest:
            assert run.until_over(900) == "success"
        after = airflow.cost()
        asked = stage.requests() - asked
    late = statistics.median(delays(airflow, dag, dag, count))
    workers, triggerer = after.workers - before.workers, after.triggerer - before.triggerer
    tell(
        f"| {operator}, {mode} | {count} | {asked / count:.1f} | {workers / count:.2f} s | {triggerer / count:.2f} s "
        f"| {(max(largest) - before.memory) / (1 << 20):.1f} MiB | {late:.1f} s |"
    )


def test_lines(airflow: Installation, cluster: Cluster, tell: Tell) -> None:
    tell("")
    tell(f"| | lines a second, of {WRITTEN:,} | lines that are missing | lines twice |")
    tell("|---|---|---|---|")
    for operator, mode in itertools.product(("kpo", "upstream"), ("sync", "deferrable")):
        dag = f"lines_{operator}_{mode}"
        with cluster.quiet():
            run = airflow.run(dag, dag)
            assert run.until_over(900) == "success"
        written = list(run.written())
        took = max(at for at, _ in written) - min(at for at, _ in written)
        each = {line for _, line in written}
        missing, twice = WRITTEN - len(each), len(written) - len(each)
        tell(f"| {operator}, {mode} | {len(written) / took.total_seconds():,.0f} | {missing:,} | {twice:,} |")


def test_import(tell: Tell) -> None:
    """Of a DAG's file, by turns."""

    def took(module: str) -> float:
        code = f"import time; a = time.perf_counter(); import {module}; print(time.perf_counter() - a)"
        return float(
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()[-1]
        )

    upstream, kpo = "airflow.providers.cncf.kubernetes.operators.pod", "kpo.airflow.operator"
    times = [(took(kpo), took(upstream)) for _ in range(5)]
    ours, theirs = (statistics.median(each) for each in zip(*times, strict=True))
    tell("")
    tell(f"- import of kpo's operator, which has upstream's in it: {ours:.2f} s; of upstream's: {theirs:.2f} s")
