"""examples/dags, as they stand there: all their tasks, in order."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from harness import AIRFLOW_2, Runner, pods

import kpo

EXAMPLES = Path(__file__).parents[2] / "examples" / "dags"


@pytest.mark.skipif(AIRFLOW_2, reason="they import Airflow 3's DAG")
@pytest.mark.parametrize("file", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_it_runs(file: str, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    with kpo.lab("preemption" if file == "fresh_squeeze.py" else "quiet") as lab:
        connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": lab.kubeconfig_path}}
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
        states, log = run.dag(_dag(file))
        assert pods(lab) == []
    assert set(states.values()) == {"success"}
    assert file != "result.py" or "[base] 3 rows" in log


def _dag(file: str) -> Any:
    spec = importlib.util.spec_from_file_location(file.removesuffix(".py"), EXAMPLES / file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from airflow.sdk import DAG

    return next(value for value in vars(module).values() if isinstance(value, DAG))
