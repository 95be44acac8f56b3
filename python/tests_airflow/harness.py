"""Runs an operator as Airflow does, ``dag.test()``, and tells what came of it."""

from __future__ import annotations

import itertools
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pendulum
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config
from sqlalchemy import select

import kpo
from kpo.airflow import KubernetesPodOperator
from kpo.airflow._compat import AirflowTaskTerminated, AirflowTaskTimeout

try:
    from airflow.models.xcom import XComModel
    from airflow.sdk import DAG

    AIRFLOW_2 = False
except ImportError:
    from airflow.models.dag import DAG
    from airflow.models.xcom import XCom as XComModel

    AIRFLOW_2 = True

_NUMBERS = itertools.count(1)


@dataclass
class Ran:
    """What came of a task."""

    state: str
    #: What was logged, by whomever, one record a line.
    log: list[str]
    #: By key.
    xcom: dict[str, Any] = field(default_factory=dict)
    #: What its last try raised. None: nothing.
    error: BaseException | None = None

    def has(self, text: str) -> bool:
        return any(text in line for line in self.log)


#: A line of Airflow 3's log on standard output: time, level, message, logger.
_LINE = re.compile(r"^\S+ \[\w+ *\] (.*?) +\[[\w.<>-]+\](?: |$)")


class _Records(logging.Handler):
    """What Airflow 2 logs."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Runner:
    """Runs operators, each in a DAG of its own."""

    def __init__(self, capfd: Any) -> None:
        self._capfd = capfd

    def __call__(self, make: Callable[[], Any]) -> Ran:
        """``make`` makes the operator, within the DAG."""
        with DAG(f"dag_{next(_NUMBERS)}", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
            task = make()
        raised: list[BaseException] = []
        for when in ("on_failure_callback", "on_retry_callback", "on_skipped_callback"):
            setattr(task, when, [lambda context: raised.append(context.get("exception"))])
        if not AIRFLOW_2:
            _sync(dag)
        dag_run, log = self._logged(dag, raised)
        ti = next(ti for ti in dag_run.get_task_instances() if ti.task_id == task.task_id)
        return Ran(str(ti.state), log, _xcom(dag_run, task.task_id), raised[-1] if raised else None)

    def dag(self, dag: DAG) -> tuple[dict[str, str], list[str]]:
        """Runs a DAG: the states of its tasks, and what was logged."""
        if not AIRFLOW_2:
            _sync(dag)
        dag_run, log = self._logged(dag, [])
        return {ti.task_id: str(ti.state) for ti in sorted(dag_run.get_task_instances(), key=_success_first)}, log

    def _logged(self, dag: DAG, raised: list[BaseException]) -> tuple[Any, list[str]]:
        records = _Records()
        # An operator's, and a trigger's.
        loggers = [logging.getLogger(name) for name in ("airflow.task", "kpo")]
        for logger in loggers:
            logger.setLevel(logging.INFO)
            logger.addHandler(records)
        self._capfd.readouterr()
        try:
            dag_run = dag.test()
        except (AirflowTaskTerminated, AirflowTaskTimeout) as error:
            # Airflow 2 lets them through.
            raised.append(error)
            dag_run = DagRun.find(dag_id=dag.dag_id)[-1]
        finally:
            for logger in loggers:
                logger.removeHandler(records)
        out, _ = self._capfd.readouterr()
        print(out)
        found = (_LINE.match(line) for line in out.splitlines())
        return dag_run, records.lines + [match[1] for match in found if match]


def _success_first(ti: Any) -> bool:
    """So that of a mapped task's instances one that did not succeed is told."""
    return str(ti.state) != "success"


def _sync(dag: DAG) -> None:
    """Tells the database of a DAG that stands in no file."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.settings import DAGS_FOLDER

    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    bag = BundleDagBag(dag_folder=DAGS_FOLDER, bundle_path=Path(DAGS_FOLDER), bundle_name="dags-folder")
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)


def _xcom(dag_run: Any, task_id: str) -> dict[str, Any]:
    with create_session() as session:
        rows = session.scalars(
            select(XComModel).where(
                XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id, XComModel.task_id == task_id
            )
        )
        # Airflow 2 has deserialised them when it loads them.
        return {row.key: row.value if AIRFLOW_2 else XComModel.deserialize_value(row) for row in rows}


class Shell:
    """Runs a shell's script by the operator."""

    def __init__(self, run: Runner, deferrable: bool) -> None:
        self._run, self.deferrable = run, deferrable

    def __call__(self, lab: kpo.Lab, script: str, cls: Any = KubernetesPodOperator, **more: Any) -> Ran:
        arguments = {
            "task_id": "task",
            "name": "task",
            "image": "busybox",
            "cmds": ["sh", "-c", script],
            "config_file": lab.kubeconfig_path,
            # The container that hands over a result reports within it.
            "termination_grace_period": 30 if more.get("do_xcom_push") else 1,
            "deferrable": self.deferrable,
        }
        return self._run(lambda: cls(**{**arguments, **more}))


def pods(lab: kpo.Lab, namespace: str = "default") -> list[Any]:
    """What is in the cluster, when all that is on its way out has gone: the kubelet takes a pod away a moment after its delete."""
    found: list[Any] = []

    def are_settled() -> bool:
        found[:] = all_pods(lab, namespace)
        return not any(pod.metadata.deletion_timestamp for pod in found)

    wait_until(are_settled)
    return found


def all_pods(lab: kpo.Lab, namespace: str = "default") -> list[Any]:
    """What is in the cluster now."""
    configuration = kubernetes_client.Configuration()
    kubernetes_config.load_kube_config(lab.kubeconfig_path, client_configuration=configuration)
    with kubernetes_client.ApiClient(configuration) as api:
        found: list[Any] = kubernetes_client.CoreV1Api(api).list_namespaced_pod(namespace).items
        return found


#: A program that runs until it is told to end.
ENDLESS = "trap 'exit 0' TERM; echo begun; while true; do sleep 0.1; done"


class Store:
    """Airflow's store of a task's state (3.3), which stays when the task is tried again."""

    kept: ClassVar[dict[str, Any]] = {}

    get = kept.get

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


def wait_until(condition: Any) -> None:
    """Asks the API server again until it is so. In a thread the test's own time limit would not end it.

    Raises:
        TimeoutError: it is not so within 50 s.
    """
    end = time.monotonic() + 50
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it did not come to be within 50 s")
        time.sleep(0.02)


class GoneByThen(KubernetesPodOperator):
    """Its pod is taken away by force between the trigger's event and its resumption."""

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
        name, namespace = event["name"], event["namespace"]
        self.client.patch_namespaced_pod(name, namespace, {"metadata": {"finalizers": None}})
        self.client.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
        wait_until(lambda: self.find_pod(namespace, context) is None)
        return super().trigger_reentry(context, event)


def begun(lab: kpo.Lab, script: str = ENDLESS, pod: dict[str, Any] | None = None, **options: Any) -> None:
    """A task whose worker has deferred it."""
    image = None if pod else "busybox"
    with kpo.Task(
        pod, image=image, command=True, args=["sh", "-c", script], name="juice", client=lab.client(), **options
    ) as task:
        for event in task:
            if isinstance(event, kpo.events.Created):
                task.detach()
