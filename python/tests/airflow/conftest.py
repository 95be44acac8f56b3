"""Airflow for tests: a home of its own for the whole run, made before anything imports Airflow."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_HOME = tempfile.TemporaryDirectory(prefix="kpo-airflow-")
os.environ.update(
    {
        "AIRFLOW_HOME": _HOME.name,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME.name}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(_HOME.name, "dags")),
    }
)
os.environ.pop("KUBECONFIG", None)
Path(_HOME.name, "dags").mkdir()
