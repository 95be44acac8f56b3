"""Airflow as it is run: API server, scheduler with its workers, DAG processor and triggerer, each a process, in a folder and on ports of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

#: The name of the file in its folder.
KUBECONFIG = "kubeconfig.yaml"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
DAGS = Path(__file__).parent / "dags"
#: How long a condition is waited for, in seconds, unless it says otherwise: the machine may be busy.
LIMIT = 180.0
#: States in which a task instance stays.
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")

#: Whether this is the long run.
IS_LONG = "KPO_LONG" in os.environ
#: How many tasks the one of dags/mapped.py is mapped over.
MAPPED = 200 if IS_LONG else 20
#: The ``dagrun_timeout`` of dags/program.py's ``kpo_timed``, in seconds: its program is half-way by then.
DAGRUN_TIMEOUT = 100.0
#: How long these may take, in seconds.
MAPPED_LIMIT = 60.0 + 20.0 * MAPPED
#: What the program of dags/program.py writes, and the half after which it waits.
LINES = [f"line {number}" for number in range(1, (100_000 if IS_LONG else 10_000) + 1)]
HALF = LINES[: len(LINES) // 2]
#: How many lines the one of dags/crowd.py writes.
WRITTEN = 200_000


def until(what: str, look: Callable[[], T | None], limit: float = LIMIT) -> T:
    """Looks until there is something.

    Raises:
        TimeoutError: there is nothing within ``limit`` seconds.
    """
    end = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit:.0f} s")
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass
class Process:
    """Of this machine, as /proc shows it."""

    pid: int
    parent: int
    title: str

    def signal(self, number: signal.Signals) -> None:
        # It may have ended meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def processes_of(sessions: set[int]) -> Iterator[Process]:
    """Those of these sessions that have not ended. (Their environment does not tell: a process that gives itself a title writes over it.)"""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent, _, session = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:4]
            if int(session) in sessions and state != "Z":
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                yield Process(int(folder.name), int(parent), title)


@dataclass
class Cost:
    #: Seconds of CPU: of the processes of tasks that have ended; of the triggerer's.
    workers: float
    triggerer: float
    #: The triggerer's, in bytes: what its processes share is counted for each.
    memory: int


def _cpu(process: Process, begin: int, end: int) -> float:
    """Seconds: two fields of its stat, counted from 0 (13: its own, 15: those of children it has waited for)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[begin - 2 : end - 2]
    return sum(map(int, fields)) / os.sysconf("SC_CLK_TCK")


@dataclass
class Installation:
    """Airflow in ``home``. Its tasks find their cluster by the connection ``kubernetes_default``, whose kubeconfig is the file of that name there."""

    home: Path
    image: str
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    #: Of each component that was ever started: its own, and that of all that it starts.
    _sessions: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.port = free_port()
        #: What tasks leave for the tests: hostPath of each pod that wants it.
        self.ledgers = self.home / "ledgers"
        extra = {"kube_config_path": str(self.home / KUBECONFIG), "xcom_sidecar_container_image": self.image}
        connection = {"conn_type": "kubernetes", "extra": extra}
        settings = {
            "CORE__DAGS_FOLDER": DAGS,
            "CORE__LOAD_EXAMPLES": False,
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": 8,
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
            "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.port}/execution/",
            "API__BASE_URL": f"http://127.0.0.1:{self.port}",
            # All instances of a mapped task in one answer.
            "API__MAXIMUM_PAGE_LIMIT": 1000,
            "API_AUTH__JWT_SECRET": os.urandom(32).hex(),
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db",
            "LOGGING__BASE_LOG_FOLDER": self.home / "logs",
            # By which `airflow kubernetes cleanup-pods` finds its cluster.
            "KUBERNETES_EXECUTOR__IN_CLUSTER": False,
            "KUBERNETES_EXECUTOR__CONFIG_FILE": self.home / KUBECONFIG,
            # A worker or a triggerer of which nobody hears is missed after this; five minutes and half a minute without.
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 30,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 2,
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": 15,
            # All of them write to one folder, which the API server reads.
            "KPO__SHARED_LOGS": True,
            # Nobody changes them.
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 3600,
            "USAGE_DATA_COLLECTION__ENABLED": False,
        }
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "KUBE"))},
            **{f"AIRFLOW__{name}": str(value) for name, value in settings.items()},
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection),
            "KPO_REAL_LEDGERS": str(self.ledgers),
            "KPO_REAL_IMAGE": self.image,
            "KPO_REAL_LINES": str(len(LINES)),
            "KPO_REAL_MAPPED": str(MAPPED),
            "KPO_REAL_WRITTEN": str(WRITTEN),
            "KPO_REAL_DAGRUN_TIMEOUT": str(DAGRUN_TIMEOUT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    # --- processes -------------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Installation:
        self.ledgers.mkdir()
        # Programs in pods may be anybody.
        self.ledgers.chmod(0o777)
        self._airflow("db", "migrate").check_returncode()
        try:
            for name in COMPONENTS:
                self.start(name)
            until("Airflow is up", self._is_up)
            self._warm_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _airflow(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        with (self.home / "setup.log").open("ab") as log:
            command = [sys.executable, "-m", "airflow", *words]
            return subprocess.run(command, env=self.environment, stdout=log, stderr=log, check=False)

    def start(self, name: str) -> None:
        # Logs are read where they are written: what serves them to other machines listens on every address.
        more = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}.get(name, [])
        if name == "api-server":
            more = ["--host", "127.0.0.1", "--port", str(self.port)]
        with (self.home / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", name, *more],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._sessions.add(self._running[name].pid)

    def kill(self, name: str) -> None:
        """A component and all that it started, as a machine that is gone."""
        main = self._running.pop(name)
        for process in processes_of({main.pid}):
            process.signal(signal.SIGKILL)
        main.wait()

    def stop(self, name: str) -> None:
        """A component, as a rollout does it."""
        main = self._running.pop(name)
        main.terminate()
        main.wait(LIMIT)

    @contextlib.contextmanager
    def silent(self, name: str) -> Iterator[None]:
        """A component that nobody hears of for as long as the block takes, with all that it started; another is started there beside it. After the
        block it is the first one's turn to end: ``stop`` it by the name ``f"silent {name}"``."""
        main = self._running[f"silent {name}"] = self._running.pop(name)
        for process in processes_of({main.pid}):
            process.signal(signal.SIGSTOP)
        try:
            self.start(name)
            yield
            for process in processes_of({main.pid}):
                process.signal(signal.SIGCONT)
        except BaseException:
            self.kill(f"silent {name}")
            raise

    @contextlib.contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """A component that does nothing for as long as the block takes; what it has started goes on."""
        main = self._running[name]
        main.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            main.send_signal(signal.SIGCONT)

    def cleanup_pods(self, namespace: str) -> None:
        """What the Helm chart runs every quarter of an hour; of pods that have ended none is too young for it here, of pending ones those of five minutes,
        which is the least that it takes."""
        ages = ("--min-completed-minutes", "0", "--min-pending-minutes", "5")
        self._airflow("kubernetes", "cleanup-pods", "--namespace", namespace, *ages).check_returncode()

    def processes(self) -> list[Process]:
        """All of this Airflow's."""
        return list(processes_of(self._sessions))

    def worker(self) -> tuple[Process, Process]:
        """The supervisor of the one task that runs, and the process in which its operator does."""

        def look() -> tuple[Process, Process] | None:
            own = {process.pid: process for process in processes_of({self._running["scheduler"].pid})}
            pairs = [(own[one.parent], one) for one in own.values() if one.parent in own]
            found = [(parent, one) for parent, one in pairs if "LocalExecutor" in parent.title]
            return found[0] if len(found) == 1 else None

        return until("one task's process", look)

    def cost(self) -> Cost:
        """So far."""
        scheduler, triggerer = (self._running[name].pid for name in ("scheduler", "triggerer"))
        # A supervisor has waited for each task's process that has ended.
        workers = sum(_cpu(one, 15, 17) for one in processes_of({scheduler}) if "LocalExecutor" in one.title)
        own = list(processes_of({triggerer}))
        pages = sum(int(Path(f"/proc/{one.pid}/statm").read_text().split()[1]) for one in own)
        return Cost(workers, sum(_cpu(one, 13, 15) for one in own), pages * os.sysconf("SC_PAGE_SIZE"))

    @contextlib.contextmanager
    def triggerers_memory(self) -> Iterator[list[int]]:
        """In bytes, once a second for as long as the block takes."""
        sizes, is_over = [self.cost().memory], threading.Event()

        def sample() -> None:
            while not is_over.wait(1.0):
                sizes.append(self.cost().memory)

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            yield sizes
        finally:
            is_over.set()
            sampler.join()

    def close(self) -> None:
        """Ends all of it: first as one asks for it, then without asking."""
        for main in self._running.values():
            main.terminate()
        for main in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                main.wait(20)
        for process in self.processes():
            process.signal(signal.SIGKILL)
        for main in self._running.values():
            main.wait()
        self._running.clear()
        until("nothing of Airflow is left", lambda: not self.processes(), 20)

    # --- what a user does ------------------------------------------------------------------------------------------------------------

    def api(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """A request to the public API.

        Raises:
            OSError: it is not answered, or with an error.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        url = f"http://127.0.0.1:{self.port}/api/v2/{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            return json.load(answer)

    def _is_up(self) -> bool:
        for name, process in self._running.items():
            if process.poll() is not None:
                raise RuntimeError(f"Airflow's {name} has ended: {self.home}/{name}.log")
        try:
            health = self.api("monitor/health")
        except OSError:
            return False
        parts = [health.get(name) or {} for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")]
        return all(part.get("status") == "healthy" for part in parts)

    def _warm_up(self) -> None:
        """The first request of a worker's kind is served when the API server has generated its routes, and all others wait with it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/execution/health", timeout=LIMIT):
            pass

    def test(self, dag: str) -> str:
        """What ``dag.test()`` prints: all of a run, in one process.

        Raises:
            RuntimeError: the run has failed; with what was printed.
        """
        command = [sys.executable, "-m", "airflow", "dags", "test", dag]
        played = subprocess.run(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT
        )
        if played.returncode != 0:
            raise RuntimeError(f"{dag} has failed:\n{played.stdout}")
        return played.stdout

    def run(self, dag: str, name: str, conf: dict[str, str] | None = None) -> Run:
        """Begins a run of that name, with what it is given."""

        def trigger() -> bool:
            try:
                self.api(f"dags/{dag}/dagRuns", {"dag_run_id": name, "logical_date": None, "conf": conf or {}})
            except urllib.error.HTTPError as error:
                # Not parsed yet.
                if error.code != 404:
                    raise
                return False
            return True

        until(f"DAG {dag} is known", trigger)
        return Run(self, dag, name)


@dataclass
class Run:
    """A run of a DAG with one task, ``test_task``."""

    airflow: Installation
    dag: str
    name: str

    def instance(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.airflow.api(f"dags/{self.dag}/dagRuns/{self.name}/taskInstances/test_task")
        return answer

    def of_dag(self) -> str:
        state: str = self.airflow.api(f"dags/{self.dag}/dagRuns/{self.name}")["state"]
        return state

    def instances(self) -> list[dict[str, Any]]:
        """Of a mapped task."""
        path = f"dags/{self.dag}/dagRuns/{self.name}/taskInstances/test_task/listMapped?limit=500"
        answer: list[dict[str, Any]] = self.airflow.api(path)["task_instances"]
        return answer

    def clear(self) -> None:
        body = {"dry_run": False, "dag_run_id": self.name, "task_ids": ["test_task"], "only_failed": False}
        self.airflow.api(f"dags/{self.dag}/clearTaskInstances", body)

    def mark(self, state: str) -> None:
        path = f"dags/{self.dag}/dagRuns/{self.name}/taskInstances/test_task"
        self.airflow.api(path, {"new_state": state}, "PATCH")

    def until_over(self, limit: float = LIMIT) -> str:
        """Its run's state."""

        def look() -> str | None:
            state = self.of_dag()
            return state if state in ("success", "failed") else None

        return until(f"{self.dag}/{self.name} is over", look, limit)

    @property
    def state(self) -> str | None:
        state: str | None = self.instance()["state"]
        return state

    def until_state(self, *states: str, limit: float = LIMIT) -> str:
        def look() -> str | None:
            state = self.state
            return state if state in states else None

        return until(f"{self.dag}/{self.name} is {' or '.join(states)}", look, limit)

    def ended(self, limit: float = LIMIT) -> str:
        return self.until_state(*ENDED, limit=limit)

    def log(self, try_number: int = 1) -> list[str]:
        """The messages of the task's log, as the user interface shows it."""
        path = f"dags/{self.dag}/dagRuns/{self.name}/taskInstances/test_task/logs/{try_number}?full_content=true"
        content = self.airflow.api(path)["content"]
        return [entry if isinstance(entry, str) else str(entry["event"]) for entry in content]

    def starts(self) -> list[str]:
        """What each start of its program has noted: the name of its pod."""
        ledger = self.airflow.ledgers / f"{self.name}.starts"
        return ledger.read_text().splitlines() if ledger.exists() else []

    def lines(self, try_number: int = 1) -> list[str]:
        """What its program has written, as the task's log has it."""
        return _lines(self.log(try_number))

    def lines_of_triggerers(self) -> list[list[str]]:
        """The same of each triggerer's file, the first one's first."""
        files = sorted(self._logs("*.trigger.*"), key=lambda file: int(file.name.split(".")[-2]))
        return [_lines(json.loads(entry)["event"] for entry in file.read_text().splitlines()) for file in files]

    def written(self) -> Iterator[tuple[datetime, str]]:
        """When each line of its program was written to a file of the log, and the line."""
        for file in self._logs("attempt=*"):
            with file.open() as log:
                for entry in map(json.loads, log):
                    for line in _lines([entry["event"]]):
                        yield datetime.fromisoformat(entry["timestamp"]), line

    def _logs(self, pattern: str) -> Iterator[Path]:
        folder = self.airflow.home / "logs" / f"dag_id={self.dag}" / f"run_id={self.name}" / "task_id=test_task"
        return folder.glob(pattern)

    def until_cancelled(self) -> None:
        """A triggerer was told to cancel it."""
        text = b"Trigger cancelled by user action"
        until("its trigger is cancelled", lambda: any(text in file.read_bytes() for file in self._logs("*.trigger.*")))

    def until_another_follows(self) -> None:
        """A second triggerer has written to its log."""
        until("another triggerer follows it", lambda: len(list(self._logs("*.trigger.*"))) >= 2)

    def until_half(self, try_number: int = 1) -> None:
        """One of a try's logs (its worker's, and those of its triggerers) has the first half of what its program writes. Looked for in the files,
        since a long log takes Airflow seconds to show."""
        last = f'{HALF[-1]}"'.encode()

        def has_it() -> bool:
            return any(last in file.read_bytes() for file in self._logs(f"attempt={try_number}.log*"))

        until("half of it is in the log", has_it)

    def until_half_way(self) -> str:
        """Its program has started; with kpo the log has the first half of what it writes (deferred, upstream's reads it at the end). Its pod's name."""
        pod = until("its program has started", self.starts)[-1]
        if "upstream" not in self.dag:
            self.until_half()
        return pod

    def until_handed_over(self) -> None:
        """Its worker has handed it over to a trigger that there is not yet."""
        until("it is handed over", (self.airflow.ledgers / f"{self.name}.handed-over").exists)

    def go_on(self) -> None:
        """Its program waits for this half-way."""
        (self.airflow.ledgers / f"{self.name}.go").touch()


def _lines(log: Iterable[str]) -> list[str]:
    # Of a deferred task upstream's worker writes "[base] logs: ".
    lines = (line.removeprefix("[base] ").removeprefix("logs: ") for line in log)
    return [line for line in lines if line.startswith("line ")]
