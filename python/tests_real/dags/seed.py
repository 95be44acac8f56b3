"""The DAG of airflow#59626, with the import changed, and with upstream's own beside it; synchronous and deferrable."""

import os

import pendulum
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream
from airflow.sdk import DAG

from kpo.airflow import KubernetesPodOperator as Ours

for name, KubernetesPodOperator in {"kpo": Ours, "upstream": Upstream}.items():
    for mode, deferrable in {"sync": False, "deferrable": True}.items():
        with DAG(f"seed_{name}_{mode}", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
            KubernetesPodOperator(
                task_id="test_task",
                name="test-pod",
                image=os.environ["KPO_REAL_IMAGE"],
                cmds=["echo", "hello"],
                retries=0,
                deferrable=deferrable,
            )
        globals()[dag.dag_id] = dag
