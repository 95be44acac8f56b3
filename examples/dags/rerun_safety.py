"""What may run again, and how it is said."""

import pendulum
from airflow.sdk import DAG

from kpo.airflow import KubernetesPodOperator

COMMITS = """
echo preparing
printf committed > /dev/termination-log
echo writing
"""

with DAG("rerun_safety", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
    # The default: again only with proof that nothing of it ran.
    careful = KubernetesPodOperator(task_id="careful", image="busybox", cmds=["echo", "once"])

    # May run as often as it must.
    idempotent = KubernetesPodOperator(
        task_id="idempotent", image="busybox", cmds=["echo", "again and again"], rerun="idempotent"
    )

    # May run again until it has said that it begins to write.
    until_commit = KubernetesPodOperator(
        task_id="until_commit", image="busybox", cmds=["sh", "-c", COMMITS], rerun="until-commit"
    )

    # One start at most: no rerun, and no retry. (Deferrable, since a worker that is drained costs a try.)
    never = KubernetesPodOperator(
        task_id="never", image="busybox", cmds=["echo", "at most once"], rerun="never", retries=0, deferrable=True
    )

    careful >> idempotent >> until_commit >> never
