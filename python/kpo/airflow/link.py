"""The link of a task to the evidence on which its last attempt's verdict rests: an XCom of the task, on Airflow's own page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom, conf
from airflow.version import version

from kpo.airflow import _words

if TYPE_CHECKING:
    import kpo

__all__ = ["KEY", "EvidenceLink", "evidence", "push"]

#: The XCom's key.
KEY = "kpo_evidence"


class EvidenceLink(BaseOperatorLink):
    """Leads to the task instance's XComs, among which the evidence is. Empty, so that there is no link: it has none."""

    name = "kpo evidence"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return "" if XCom.get_value(ti_key=ti_key, key=KEY) is None else _page(ti_key)


def evidence(outcome: kpo.Outcome) -> dict[str, Any] | None:
    """What the last attempt came to, and the entries of the ledger that it rests on; nothing of the manifest or the result, and of the log no more than the
    last line, with which the message of a program that failed ends. None: there was no attempt, or it lives."""
    last = outcome.attempts[-1] if outcome.attempts else None
    if last is None or last.verdict is None:
        return None
    pod, verdict = last.pod, last.verdict
    return {
        "message": _words.of_operator(outcome.message),
        "attempt": last.number,
        "pod": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "node": pod.node},
        "verdict": verdict.kind,
        "reason": verdict.reason,
        "cause": verdict.cause,
        "started": verdict.started,
        "proof": verdict.proof,
        "evidence": [dict(entry) for entry in verdict.evidence],
    }


def push(operator: Any, outcome: kpo.Outcome, context: Any) -> None:
    """It only explains: what the task comes to does not depend on it."""
    found = evidence(outcome)
    try:
        if found is not None:
            context["ti"].xcom_push(key=KEY, value=found)
    except Exception as error:
        operator.log.warning("[kpo] the evidence of the last attempt could not be pushed (%s)", type(error).__name__)


def _page(ti_key: Any) -> str:
    """Airflow's own page of a task instance's XComs."""
    is_mapped = ti_key.map_index is not None and ti_key.map_index >= 0
    return (_page_2 if version.startswith("2.") else _page_3)(ti_key, str(ti_key.map_index) if is_mapped else None)


def _page_3(ti_key: Any, index: str | None) -> str:
    parts = ["dags", ti_key.dag_id, "runs", ti_key.run_id, "tasks", ti_key.task_id]
    parts += [] if index is None else ["mapped", index]
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return "/".join([base, *(quote(part, safe="") for part in parts), "xcom"])


def _page_2(ti_key: Any, index: str | None) -> str:
    asked = {"dag_run_id": ti_key.run_id, "task_id": ti_key.task_id, "tab": "xcom"}
    asked |= {} if index is None else {"map_index": index}
    base = conf.get("webserver", "base_url", fallback="").rstrip("/")
    return f"{base}/dags/{quote(ti_key.dag_id, safe='')}/grid?{urlencode(asked)}"
