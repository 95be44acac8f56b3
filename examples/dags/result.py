"""A result without exec: a native sidecar hands it over, and it survives an eviction after the program's end."""

import pendulum
from airflow.sdk import DAG

from kpo.airflow import KubernetesPodOperator

WRITE = "echo '{\"rows\": 3}' > /airflow/xcom/return.json"

with DAG("result", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
    writes = KubernetesPodOperator(
        task_id="writes", image="busybox", cmds=["sh", "-c", WRITE], do_xcom_push=True, deferrable=True
    )
    reads = KubernetesPodOperator(
        task_id="reads",
        image="busybox",
        cmds=["echo"],
        arguments=["{{ ti.xcom_pull(task_ids='writes')['rows'] }} rows"],
    )
    writes >> reads
