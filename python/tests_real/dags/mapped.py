"""A task that is mapped over as many numbers as the environment says, each of which notes its starts; the last one says that there is nothing to do."""

import os

import pendulum
from airflow.sdk import DAG
from kubernetes.client import models as k8s

from kpo.airflow import KubernetesPodOperator

COUNT = int(os.environ["KPO_REAL_MAPPED"])
NOTHING_TO_DO = 99
# It takes longer than a busy scheduler needs to learn of a deferral: what ends before that may be marked failed by Airflow (airflow#72716), here too.
PROGRAM = f"echo $0 >> /ledger/$RUN.starts; sleep 15; [ $0 -lt {COUNT - 1} ] || exit {NOTHING_TO_DO}"

ledgers = k8s.V1HostPathVolumeSource(path=os.environ["KPO_REAL_LEDGERS"], type="Directory")
for mode, deferrable in {"sync": False, "deferrable": True}.items():
    with DAG(f"mapped_{mode}", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
        KubernetesPodOperator.partial(
            task_id="test_task",
            name="mapped",
            image=os.environ["KPO_REAL_IMAGE"],
            # "$0" is the number that it is mapped over.
            cmds=["sh", "-c", PROGRAM],
            env_vars={"RUN": "{{ run_id }}"},
            # Many at once on a node.
            container_resources=k8s.V1ResourceRequirements(requests={"cpu": "10m"}),
            volumes=[k8s.V1Volume(name="ledger", host_path=ledgers)],
            volume_mounts=[k8s.V1VolumeMount(name="ledger", mount_path="/ledger")],
            skip_on_exit_code=NOTHING_TO_DO,
            retries=1,
            retry_delay=pendulum.duration(seconds=1),
            termination_grace_period=1,
            deferrable=deferrable,
        ).expand(arguments=[[str(number)] for number in range(COUNT)])
    globals()[dag.dag_id] = dag
