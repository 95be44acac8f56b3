"""Tasks that sleep a minute, many at a time, and one that writes much, for the figures."""

import os

import pendulum
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream
from airflow.sdk import DAG
from kubernetes.client import models as k8s

from kpo.airflow import KubernetesPodOperator as Ours

LEDGERS = os.environ["KPO_REAL_LEDGERS"]


def writes(cls: type[Upstream], deferrable: bool) -> Upstream:
    lines = os.environ["KPO_REAL_WRITTEN"]
    return cls(
        task_id="test_task",
        name="writes",
        image=os.environ["KPO_REAL_IMAGE"],
        # It ends when the runtime has read what it wrote.
        cmds=["awk", f'BEGIN {{ for (i = 1; i <= {lines}; i++) print "line " i; system("sleep 3") }}'],
        termination_grace_period=1,
        deferrable=deferrable,
    )


def sleeps(cls: type[Upstream], number: int, deferrable: bool) -> Upstream:
    ledgers = k8s.V1HostPathVolumeSource(path=LEDGERS, type="Directory")
    return cls(
        task_id=f"sleeps_{number}",
        name="sleeps",
        image=os.environ["KPO_REAL_IMAGE"],
        cmds=["sh", "-c", 'sleep 60; touch "/ledger/$RUN.$TASK.end"'],
        env_vars={"RUN": "{{ run_id }}", "TASK": f"sleeps_{number}"},
        volumes=[k8s.V1Volume(name="ledger", host_path=ledgers)],
        volume_mounts=[k8s.V1VolumeMount(name="ledger", mount_path="/ledger")],
        # All at once on a node.
        container_resources=k8s.V1ResourceRequirements(requests={"cpu": "5m"}),
        termination_grace_period=1,
        deferrable=deferrable,
    )


for name, cls in {"kpo": Ours, "upstream": Upstream}.items():
    for mode in ("sync", "deferrable"):
        with DAG(f"lines_{name}_{mode}", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
            writes(cls, mode == "deferrable")
        globals()[dag.dag_id] = dag
    for count, mode in ((8, "sync"), (1, "deferrable"), (80, "deferrable")):
        with DAG(f"crowd_{name}_{mode}_{count}", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
            for number in range(count):
                sleeps(cls, number, mode == "deferrable")
        globals()[dag.dag_id] = dag
