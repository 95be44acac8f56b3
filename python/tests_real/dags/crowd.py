"""Ten tasks at a time that sleep, for the figures."""

import os

import pendulum
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream
from airflow.sdk import DAG
from kubernetes.client import models as k8s

from kpo.airflow import KubernetesPodOperator as Ours

for name, cls in {"kpo": Ours, "upstream": Upstream}.items():
    for mode, deferrable in {"sync": False, "deferrable": True}.items():
        with DAG(f"crowd_{name}_{mode}", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
            for number in range(10):
                cls(
                    task_id=f"sleeps_{number}",
                    name="sleeps",
                    image=os.environ["KPO_REAL_IMAGE"],
                    cmds=["sleep", "60"],
                    # All at once on a node.
                    container_resources=k8s.V1ResourceRequirements(requests={"cpu": "10m"}),
                    termination_grace_period=1,
                    deferrable=deferrable,
                )
        globals()[dag.dag_id] = dag
