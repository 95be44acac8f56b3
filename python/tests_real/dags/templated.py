"""A task that is told by another's result, and by who begins the run, what it is to do."""

import os

import pendulum
from airflow.sdk import DAG

from kpo.airflow import KubernetesPodOperator

IMAGE = os.environ["KPO_REAL_IMAGE"]
RESULT = 'mkdir -p /airflow/xcom; echo \'{"word": "juice", "times": 3}\' > /airflow/xcom/return.json'

for mode, deferrable in {"sync": False, "deferrable": True}.items():
    with DAG(f"templated_{mode}", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
        first = KubernetesPodOperator(
            task_id="first",
            name="first",
            image=IMAGE,
            cmds=["sh", "-c", RESULT],
            do_xcom_push=True,
            deferrable=deferrable,
        )
        second = KubernetesPodOperator(
            task_id="test_task",
            name="{{ dag_run.conf['name'] }}",
            image=IMAGE,
            env_vars={"WORD": "{{ ti.xcom_pull('first')['word'] }}"},
            cmds=["sh", "-c"],
            arguments=[
                "echo $HOSTNAME: $WORD, {{ ti.xcom_pull('first')['times'] }} times, for {{ dag_run.conf['team'] }}"
            ],
            kubernetes_conn_id="kubernetes_{{ 'default' }}",
            deferrable=deferrable,
        )
        first >> second
    globals()[dag.dag_id] = dag
