"""One Airflow for the whole run; its logs are kept where something failed."""

from __future__ import annotations

import itertools
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from clusters import Cluster, LabCluster, RealCluster
from installation import KUBECONFIG, MAPPED_LIMIT, Installation, Run

_NUMBERS = itertools.count(1)

#: What was measured, told at the end.
_TOLD = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster", default="lab", choices=["lab", "cluster"], help="where the pods are")
    parser.addoption("--cluster-folder", default="target/cluster", help="of the cluster that is up")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TOLD] = []
    config.addinivalue_line("markers", "figures: what it costs; only played when asked for (-m figures)")
    # Whoever ends this run wants nothing left of it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.option.markexpr = config.option.markexpr or "not figures"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What the client and Airflow warn of is not ours."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("default"))
        item.add_marker(pytest.mark.timeout(600 + MAPPED_LIMIT))


@pytest.fixture(scope="session")
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A line of what was measured."""
    return request.config.stash[_TOLD].append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_TOLD]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kpo-real-airflow-", ignore_cleanup_errors=True) as home:
        yield Path(home)


@pytest.fixture(scope="session")
def cluster(home: Path, request: pytest.FixtureRequest) -> Cluster:
    kubeconfig = home / KUBECONFIG
    if request.config.getoption("cluster") == "lab":
        return LabCluster(kubeconfig)
    return RealCluster(kubeconfig, Path(request.config.getoption("cluster_folder")).absolute())


@pytest.fixture(scope="session")
def airflow(home: Path, cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Installation]:
    with Installation(home, cluster.image) as installation:
        yield installation
    if request.session.testsfailed:
        kept = Path(tempfile.mkdtemp(prefix="kpo-real-logs-"))
        for log in (*home.glob("*.log"), home / "logs"):
            shutil.move(log, kept)
        print(f"Airflow's logs are kept in {kept}")


@pytest.fixture
def run(airflow: Installation, request: pytest.FixtureRequest) -> Callable[[str], Run]:
    """Begins a run of a DAG."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    return lambda dag: airflow.run(dag, f"{name}-{next(_NUMBERS)}")


@pytest.fixture(params=["sync", "deferrable"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)
