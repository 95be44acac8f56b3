"""The link to the evidence of the last attempt."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers_manager import ProvidersManager
from harness import AIRFLOW_2, Shell

import kpo
from kpo.airflow import KubernetesPodOperator, link


def test_the_evidence_is_pushed(shell: Shell) -> None:
    with kpo.lab("preemption") as lab:
        ran = shell(lab, "echo hello; exit 3", env_vars={"PASSWORD": "canary-of-an-env-value"})
    found = ran.xcom[link.KEY]
    assert (found["attempt"], found["verdict"], found["reason"]) == (2, "failed", "programFailed")
    assert found["pod"]["name"] == ran.xcom["pod_name"]
    assert found["message"] == str(ran.error).splitlines()[0]
    assert found["evidence"]
    assert "canary" not in json.dumps(found)


def test_a_result_is_no_evidence(shell: Shell) -> None:
    script = "echo '\"canary-of-a-result\"' > /airflow/xcom/return.json"
    with kpo.lab("quiet") as lab:
        ran = shell(lab, script, do_xcom_push=True, results="message")
    assert ran.xcom["return_value"] == "canary-of-a-result"
    assert ran.xcom[link.KEY]["verdict"] == "succeeded"
    assert "canary" not in json.dumps(ran.xcom[link.KEY])


def test_it_leads_to_airflows_page(monkeypatch: pytest.MonkeyPatch) -> None:
    section = "WEBSERVER" if AIRFLOW_2 else "API"
    monkeypatch.setenv(f"AIRFLOW__{section}__BASE_URL", "https://airflow.example/there/")
    known: dict[int, Any] = {-1: {}, 3: {}}
    monkeypatch.setattr(link, "XCom", SimpleNamespace(get_value=lambda ti_key, key: known.get(ti_key.map_index)))
    ti = SimpleNamespace(dag_id="dag", run_id="manual__1+2", task_id="a.task", map_index=-1)
    pages = [link.EvidenceLink().get_link(None, ti_key=ti)]  # type: ignore[arg-type]
    for ti.map_index in (3, 4):
        pages.append(link.EvidenceLink().get_link(None, ti_key=ti))  # type: ignore[arg-type]
    base = "https://airflow.example/there/dags/dag"
    if AIRFLOW_2:
        page = f"{base}/grid?dag_run_id=manual__1%2B2&task_id=a.task&tab=xcom"
        assert pages == [page, f"{page}&map_index=3", ""]
    else:
        page = f"{base}/runs/manual__1%2B2/tasks/a.task"
        assert pages == [f"{page}/xcom", f"{page}/mapped/3/xcom", ""]


def test_it_is_there(run: Any) -> None:
    (own,) = KubernetesPodOperator.operator_extra_links
    assert own.name == "kpo evidence"
    with kpo.lab("quiet") as lab:
        ran = Shell(run, False)(lab, "true")
    # Airflow 2 makes it when it is looked at.
    assert AIRFLOW_2 or ran.xcom[own.xcom_key].endswith("/xcom")


def test_airflow_may_load_it() -> None:
    """Airflow 2 loads links of none but those that providers name."""
    manager = ProvidersManager()
    assert "kpo.airflow.link.EvidenceLink" in manager.extra_links_class_names
