"""Airflow for tests: a home of its own for the whole run, made before anything imports Airflow."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

_HOME = tempfile.TemporaryDirectory(prefix="kpo-airflow-")
os.environ.update(
    {
        "AIRFLOW_HOME": _HOME.name,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME.name}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(_HOME.name, "dags")),
        # Never the machine's own.
        "KUBECONFIG": str(Path(_HOME.name, "none")),
    }
)
Path(_HOME.name, "dags").mkdir()

# The clouds' providers, for test_clouds.py: behind all that is installed. Where its providers are Airflow looks when it is imported.
if "KPO_CLOUDS" in os.environ:
    sys.path.append(os.environ["KPO_CLOUDS"])

#: Where there is no Airflow these tests are not for. (Looking for it imports it.)
collect_ignore_glob = [] if importlib.util.find_spec("airflow") else ["test_*.py"]

#: Those of the clouds are tried with Airflow 3.
_HAS_AIRFLOW_2 = not collect_ignore_glob and metadata.version("apache-airflow").startswith("2.")
collect_ignore = ["test_clouds.py"] if _HAS_AIRFLOW_2 else []

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Airflow warns of itself."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))


def _native_threads() -> list[str]:
    names = [
        Path(task, "comm").read_text().strip()
        for task in Path("/proc/self/task").iterdir()
        if Path(task, "comm").exists()
    ]
    return sorted(name for name in names if name.startswith("kpo"))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Airflow and upstream's client keep threads and connections of their own; of kpo's none is left."""
    before = _native_threads()
    yield
    assert _native_threads() == before


@pytest.fixture(scope="session", autouse=True)
def database() -> None:
    """Airflow's, empty."""
    warnings.simplefilter("default")
    from airflow.utils import db

    db.initdb()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs an operator as Airflow does."""
    from harness import Runner

    return Runner(capfd)


@pytest.fixture(params=[False, True], ids=["sync", "deferrable"])
def shell(run: Any, request: pytest.FixtureRequest) -> Any:
    """Runs a script by the operator, in both modes."""
    from harness import Shell

    return Shell(run, request.param)


@pytest.fixture
def sync(run: Any) -> Any:
    from harness import Shell

    return Shell(run, deferrable=False)


@pytest.fixture
def deferred(run: Any) -> Any:
    from harness import Shell

    return Shell(run, deferrable=True)


@pytest.fixture
def deferred_with(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The triggers that tasks were handed over to, as Airflow's database has them."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    told: list[str] = []
    real = KubernetesPodOperator.defer

    def defer(self: Any, *, trigger: Any, **more: Any) -> Any:
        told.append(json.dumps(trigger.serialize()))
        return real(self, trigger=trigger, **more)

    monkeypatch.setattr(KubernetesPodOperator, "defer", defer)
    return told


@pytest.fixture(autouse=True)
def no_handler_is_left() -> Iterator[None]:
    """Airflow's stays: it takes its process for the task's own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(autouse=True)
def tasks_are_resumed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No scheduler is to learn of a deferral first here."""
    monkeypatch.setattr("kpo.airflow.trigger.SETTLES", 0.0)
