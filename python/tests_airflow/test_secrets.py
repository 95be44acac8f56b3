"""No secret is told: not in a log, an error, an event, nor in Airflow's database."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from harness import Ran, Shell

import kpo
from kpo.airflow import KubernetesPodOperator


def test_no_secret_is_told(shell: Shell, tmp_path: Any) -> None:
    """Not in the log, an error, a repr, nor in Airflow's database."""
    canary = "canary-of-a-secret"
    with kpo.lab("quiet") as lab:
        ran: Ran = shell(
            lab,
            f"echo '\"{canary}-result\"' > /airflow/xcom/return.json; exit 3",
            env_vars={"PASSWORD": f"{canary}-env"},
            arguments=[f"{canary}-argument"],
            do_xcom_push=True,
            # Rendered fields are shown by Airflow itself: they are looked for in what kpo writes.
        )
        token = lab.token
    assert ran.state == "failed"
    assert canary not in str(ran.error)
    assert not ran.has(canary)
    assert not ran.has(token)
    assert token not in str(ran.error)
    assert canary not in repr(ran.error.outcome)
    told = [(table, row) for table, row in database() if canary in row or token in row]
    assert told == []


#: Where Airflow shows what a DAG says, and how its templates were rendered.
AIRFLOWS_OWN = {"serialized_dag", "dag_code", "rendered_task_instance_fields"}


def database() -> Iterator[tuple[str, str]]:
    """All that Airflow has written down: each row of each table."""
    with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"], "airflow.db"))) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table not in AIRFLOWS_OWN:
                yield from ((table, repr(row)) for row in connection.execute(f'SELECT * FROM "{table}"'))


def test_no_secret_is_deferred(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    told: list[str] = []
    real = KubernetesPodOperator.defer

    def defer(self: Any, *, trigger: Any, **more: Any) -> Any:
        told.append(json.dumps(trigger.serialize()) + repr(trigger) + repr(vars(trigger)))
        return real(self, trigger=trigger, **more)

    reentry = KubernetesPodOperator.trigger_reentry

    def resumed(self: Any, context: Any, event: Any) -> Any:
        told.append(json.dumps(event))
        return reentry(self, context, event)

    monkeypatch.setattr(KubernetesPodOperator, "defer", defer)
    monkeypatch.setattr(KubernetesPodOperator, "trigger_reentry", resumed)
    canary = "canary-of-a-secret"
    with kpo.lab("quiet") as lab:
        ran = Shell(run, deferrable=True)(
            lab, f"echo '\"{canary}\"' > /airflow/xcom/return.json", env_vars={"PASSWORD": canary}, do_xcom_push=True
        )
        assert ran.xcom["return_value"] == canary
        assert len(told) == 2
        assert not any(canary in text or lab.token in text or "PASSWORD" in text for text in told)
