"""Tasks whose program notes each start of it, writes numbered lines, waits half-way until it is told to go on, and writes the rest."""

import os
import time
from pathlib import Path
from typing import Any, NoReturn

import pendulum
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream
from airflow.sdk import DAG, get_current_context
from kubernetes.client import models as k8s

from kpo.airflow import KubernetesPodOperator as Ours

LINES = int(os.environ["KPO_REAL_LINES"])
# It ends when the runtime has read what it wrote: containerd 1.6 loses the end of a burst on a busy machine ("Failed to pipe stdout": its log says so),
# and nobody above it knows.
PROGRAM = f"""
echo $HOSTNAME >> /ledger/$RUN.starts
awk 'BEGIN {{ for (i = 1; i <= {LINES // 2}; i++) print "line " i }}'
while [ ! -e /ledger/$RUN.go ]; do sleep 0.2; done
awk 'BEGIN {{ for (i = {LINES // 2 + 1}; i <= {LINES}; i++) print "line " i }}'
sleep 3
"""

DAGRUN_TIMEOUT = pendulum.duration(seconds=float(os.environ["KPO_REAL_DAGRUN_TIMEOUT"]))
LEDGERS = Path(os.environ["KPO_REAL_LEDGERS"])


class HandedOver(Ours):
    """The worker of its first try has handed it over, and does not come to defer."""

    def defer(self, **arguments: Any) -> NoReturn:
        context = get_current_context()
        if context["ti"].try_number == 1:
            (LEDGERS / f"{context['run_id']}.handed-over").touch()
            time.sleep(3600)
        super().defer(**arguments)


GATED = k8s.V1Pod(
    spec=k8s.V1PodSpec(
        containers=[k8s.V1Container(name="base")],
        scheduling_gates=[k8s.V1PodSchedulingGate(name="team.example/license")],
    )
)

#: By the name of their DAG, what they say beside.
VARIANTS: dict[str, dict[str, Any]] = {
    "kpo": {"cls": Ours},
    "kpo_idempotent": {"cls": Ours, "rerun": "idempotent"},
    "kpo_graceful": {"cls": Ours, "termination_grace_period": 120},
    "kpo_retried": {"cls": Ours, "retries": 1},
    "kpo_handed_over": {"cls": HandedOver, "retries": 1},
    # Held back by somebody's gate.
    "kpo_gated": {"cls": Ours, "full_pod_spec": GATED, "on_unsigned_delete": "recreate"},
    "kpo_heedless": {"cls": Ours, "termination_grace_period": 8, "before": "trap '' TERM"},
    "kpo_timed": {"cls": Ours},
    "upstream": {"cls": Upstream},
    "upstream_retried": {"cls": Upstream, "retries": 1},
}


def program(
    cls: type[Upstream], retries: int = 0, termination_grace_period: int = 1, before: str = "", **more: Any
) -> Upstream:
    ledgers = k8s.V1HostPathVolumeSource(path=str(LEDGERS), type="Directory")
    return cls(
        task_id="test_task",
        name="program",
        image=os.environ["KPO_REAL_IMAGE"],
        cmds=["sh", "-c", before + PROGRAM],
        env_vars={"RUN": "{{ run_id }}"},
        volumes=[k8s.V1Volume(name="ledger", host_path=ledgers)],
        volume_mounts=[k8s.V1VolumeMount(name="ledger", mount_path="/ledger")],
        retries=retries,
        retry_delay=pendulum.duration(seconds=1),
        termination_grace_period=termination_grace_period,
        **more,
    )


for name, variant in VARIANTS.items():
    for mode, deferrable in {"sync": False, "deferrable": True}.items():
        timeout = DAGRUN_TIMEOUT if name == "kpo_timed" else None
        with DAG(
            f"program_{name}_{mode}",
            start_date=pendulum.datetime(2025, 1, 1),
            schedule=None,
            dagrun_timeout=timeout,
        ) as dag:
            program(**variant, deferrable=deferrable)
        globals()[dag.dag_id] = dag
