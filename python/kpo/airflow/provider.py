"""What Airflow is told of this package: the entry point ``apache_airflow_provider``. (The plugin has an entry point of its own.)"""

from __future__ import annotations

from typing import Any

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    return {
        "package-name": "kpo",
        "name": "kpo",
        "description": "KubernetesPodOperator whose tasks are not lost.",
        "task-decorators": [
            {"name": "kpo", "class-name": "kpo.airflow.decorators.kpo_task"},
            {"name": "kpo_cmd", "class-name": "kpo.airflow.decorators.kpo_cmd_task"},
        ],
        "extra-links": ["kpo.airflow.link.EvidenceLink"],
        "config": {
            "kpo": {
                "description": "kpo: tasks run as pods that are not lost.",
                "options": {"adopt": _ADOPT, "live_logs": _LIVE_LOGS, "shared_logs": _SHARED_LOGS},
            }
        },
    }


_ADOPT = {
    "description": "Which tasks of the cncf.kubernetes provider's own KubernetesPodOperator kpo runs: ``all``, or ids of Dags with commas "
    "between; ``audit`` only logs what kpo would have done with those that were lost. The Variable kpo_adopt_off turns it off.",
    "version_added": "0.1.0",
    "type": "string",
    "example": "audit",
    "default": "",
}

_LIVE_LOGS = {
    "description": "Whether what a deferred task's program writes is written by the triggerer, while it runs, whose log masks only what triggers asked Airflow "
    "for. Else the worker writes it when the task is resumed. Read on workers.",
    "version_added": "0.1.0",
    "type": "boolean",
    "example": "False",
    "default": "True",
}

_SHARED_LOGS = {
    "description": "Whether all components keep their logs in one place, which the API server reads: then the log of a deferred task goes on where the "
    "triggerer before has left it. Else it begins anew with the next triggerer. Read on triggerers and workers.",
    "version_added": "0.1.0",
    "type": "boolean",
    "example": "True",
    "default": "False",
}
