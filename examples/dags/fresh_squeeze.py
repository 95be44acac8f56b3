"""The DAG of airflow#59626 with one line changed: its import. It survives the preemption of its pod, with ``retries=0``."""

import pendulum
from airflow.sdk import DAG

from kpo.airflow import KubernetesPodOperator

with DAG("fresh_squeeze", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
    KubernetesPodOperator(task_id="test_task", name="test-pod", image="busybox", cmds=["echo", "hello"], retries=0)
