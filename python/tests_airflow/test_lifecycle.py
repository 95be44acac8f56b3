"""Workers, tasks and users that stop; pods of upstream's; tasks that are resumed; tokens that expire."""

from __future__ import annotations

import json
import os
import signal
import threading
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
import yaml
from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from harness import AIRFLOW_2, DAG, ENDLESS, GoneByThen, Shell, Store, all_pods, begun, pods, wait_until
from kubernetes import client as kubernetes_client

import kpo
from kpo.airflow import KubernetesPodOperator, _earlier, _event, _stop, exceptions
from kpo.airflow._compat import AirflowTaskTimeout
from kpo.airflow.trigger import KpoPodTrigger


class Signalled(KubernetesPodOperator):
    """Sends this process a signal when its program runs. The handler is Airflow's own: both call on_kill; Airflow 3's returns then, and Airflow 2's
    raises AirflowTaskTerminated."""

    def _at_start(self, callbacks: Any) -> None:
        super()._at_start(callbacks)
        assert "airflow" in signal.getsignal(signal.SIGTERM).__code__.co_filename
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_user_who_stops_the_task_has_its_pod_deleted(sync: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stop, "_state", lambda ti: "failed")
    with kpo.lab("quiet") as lab:
        ran = sync(lab, ENDLESS, Signalled)
        assert pods(lab) == []
    assert ran.state == "failed"
    assert type(ran.error) is exceptions.PodCancelled


@pytest.mark.parametrize("answer", ["running", "up_for_retry", None, OSError("gone")])
def test_a_worker_that_is_stopped_leaves_the_pod(sync: Shell, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def state(ti: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(_stop, "_state", state)
    with kpo.lab("quiet") as lab:
        ran = sync(lab, ENDLESS, Signalled)
        assert [pod.status.phase for pod in pods(lab)] == ["Running"]
    assert ran.state == "failed"
    assert type(ran.error) is exceptions.PodLeft


def test_no_answer_is_waited_for_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(_stop, "PATIENCE", 0.05)
    monkeypatch.setattr(_stop, "_state", lambda ti: never.wait())
    assert not _stop.is_by_user({"ti": None})
    never.set()


@pytest.mark.parametrize(
    ("states", "is_by_user"),
    [
        ({"run": {"task": "running"}}, False),
        ({"run": {"task_7": "up_for_retry"}}, False),
        ({"run": {"task": "failed"}}, True),
        ({"run": {"task": "restarting"}}, True),
        # The scheduler has taken it for orphaned: it is to run again.
        ({"run": {"task": None}}, False),
        # It was deleted.
        ({}, True),
    ],
)
def test_what_airflow_3_says_of_a_task_that_a_user_has_stopped(states: Any, is_by_user: bool) -> None:
    ti = SimpleNamespace(
        dag_id="dag", task_id="task", run_id="run", map_index=None, get_task_states=lambda **asked: states
    )
    assert _stop.is_by_user({"ti": ti}) == is_by_user


def test_airflow_is_asked_for_the_state(sync: Shell) -> None:
    """Unpatched: under dag.test() the task runs, and so nobody has stopped it."""
    with kpo.lab("quiet") as lab:
        ran = sync(lab, ENDLESS, Signalled)
        assert len(pods(lab)) == 1
    assert type(ran.error) is exceptions.PodLeft


def test_on_kill_action_keep_pod(sync: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stop, "_state", lambda ti: "failed")
    with kpo.lab("quiet") as lab:
        sync(lab, ENDLESS, Signalled, on_kill_action="keep_pod")
        assert [pod.status.phase for pod in pods(lab)] == ["Running"]


def test_a_pod_of_upstreams_is_ended_by_upstreams(sync: Shell) -> None:
    """The upgrade while tasks run."""

    class BegunByUpstream(KubernetesPodOperator):
        def execute(self, context: Any) -> Any:
            pod = self.build_pod_request_obj(context)
            pod.metadata.name = "begun-by-upstream"
            self.client.create_namespaced_pod(pod.metadata.namespace, pod)
            return super().execute(context)

    with kpo.lab("quiet") as lab:
        ran = sync(lab, "sleep 1; echo hello", BegunByUpstream)
        assert lab.requests()["create pods"] == 1
    assert ran.state == "success"
    assert ran.has("[kpo] pod begun-by-upstream was begun by upstream's operator")


def test_a_pod_of_upstreams_is_stopped_by_upstreams(sync: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(KubernetesPodOperator):
        def execute(self, context: Any) -> Any:
            pod = self.build_pod_request_obj(context)
            self.client.create_namespaced_pod(pod.metadata.namespace, pod)
            return super().execute(context)

    class Kills(KubernetesPodOperatorCallback):
        @staticmethod
        def on_pod_starting(**kwargs: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(kpo.airflow.PodManager, "read_delays", ())
    with kpo.lab("quiet") as lab:
        ran = sync(lab, "sleep 5", Killed, callbacks=Kills)
        assert pods(lab) == []
        assert lab.requests()["delete pods"] == 1
    assert ran.state == "failed"


def test_an_event_of_upstreams_is_understood(sync: Shell) -> None:
    """Of a trigger that upstream's operator had deferred to, before the upgrade."""

    class Resumed(KubernetesPodOperator):
        def execute(self, context: Any) -> Any:
            pod = self.build_pod_request_obj(context)
            self.client.create_namespaced_pod(pod.metadata.namespace, pod)
            wait_until(lambda: pods(lab)[0].status.phase == "Succeeded")
            return self.trigger_reentry(
                context, {"status": "success", "name": pod.metadata.name, "namespace": pod.metadata.namespace}
            )

    with kpo.lab("quiet") as lab:
        ran = sync(lab, "echo hello", Resumed)
        assert pods(lab) == []
    assert ran.state == "success"


def test_a_token_is_renewed(sync: Shell) -> None:
    """The engine's 401 makes the hook anew."""
    with kpo.lab("quiet") as lab:
        lab.grant("first")
        lab.grant("second")
        tokens = iter(["first", "second", "second"])

        class Rotating(KubernetesPodOperator):
            @cached_property
            def client(self) -> Any:
                configuration = kubernetes_client.Configuration(
                    host=lab.url, api_key={"BearerToken": next(tokens)}, api_key_prefix={"BearerToken": "Bearer"}
                )
                configuration.verify_ssl = False
                return kubernetes_client.CoreV1Api(kubernetes_client.ApiClient(configuration))

        ran = sync(lab, "echo begun; sleep 1; echo ended", Rotating, progress_callback=lambda line: lab.expire("first"))
    assert ran.state == "success"
    assert ran.log.count("[base] ended") == 1


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
def test_mapped_tasks(run: Any, deferrable: bool) -> None:
    """Each has its own pod, and finds no other's."""
    with kpo.lab("quiet") as lab:
        arguments = {"name": "task", "image": "busybox", "cmds": ["echo"], "config_file": lab.kubeconfig_path}
        with DAG("mapped", start_date=pendulum.datetime(2025, 1, 1), schedule=None) as dag:
            mapped = KubernetesPodOperator.partial(task_id=f"mapped_{deferrable}", deferrable=deferrable, **arguments)
            mapped.expand(arguments=[["one"], ["two"], ["three"]])
        states, log = run.dag(dag)
        assert pods(lab) == []
        assert lab.requests()["create pods"] == 3
    assert states == {f"mapped_{deferrable}": "success"}
    assert sorted(line for line in log if line.startswith("[base]")) == ["[base] one", "[base] three", "[base] two"]


def test_a_connection_is_resolved_where_it_is_used(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubeconfig in its extras does not travel."""
    with kpo.lab("quiet") as lab:
        extra = {"kube_config": json.dumps(yaml.safe_load(lab.kubeconfig)), "namespace": "default"}
        monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": extra}))
        ran = shell(lab, "echo hello", config_file=None, kubernetes_conn_id="cluster")
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1


def test_the_event_suffices_where_the_pod_is_gone(deferred: Shell) -> None:
    with kpo.lab("quiet") as lab:
        ended = deferred(lab, "echo hello", GoneByThen)
        failed = deferred(lab, "exit 3", GoneByThen)
        skipped = deferred(lab, "exit 3", GoneByThen, skip_on_exit_code=3)
    assert ended.state == "success"
    assert ended.log.count("[base] hello") == 1
    assert str(failed.error).startswith("failed: the program exited 3")
    assert skipped.state == "skipped"


def test_a_result_that_is_gone_with_its_pod_is_an_error(deferred: Shell) -> None:
    class Written(GoneByThen):
        def execute(self, context: Any) -> Any:
            context["task_state_store"] = Store()
            return super().execute(context)

        def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
            assert Store.kept != {}
            context["task_state_store"] = Store()
            return super().trigger_reentry(context, event)

    with kpo.lab("quiet") as lab:
        ran = deferred(lab, "echo 1 > /airflow/xcom/return.json", Written, do_xcom_push=True)
    assert type(ran.error) is exceptions.PodResultMissing
    # The next try may have its own, under strict too: its program had not failed, nor was it taken away.
    assert Store.kept == {}


class Blinded(KubernetesPodOperator):
    """Its triggers lose sight so many times."""

    times = 0

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
        if event.get("_redefer_count", 0) < self.times:
            event = {**event, "status": "error", "kpo": {**event["kpo"], "outcome": None}}
        return super().trigger_reentry(context, event)


@pytest.mark.parametrize("times", [1, 9])
def test_a_trigger_that_loses_sight_fails_no_task(deferred: Shell, times: int) -> None:
    """Another goes on; in the end the worker itself."""
    with kpo.lab("quiet") as lab:
        ran = deferred(
            lab, "echo 1 > /airflow/xcom/return.json", type("Blind", (Blinded,), {"times": times}), do_xcom_push=True
        )
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.xcom["return_value"] == 1


@pytest.mark.parametrize("times", [1, 9])
def test_the_log_goes_on_where_a_trigger_loses_sight(
    deferred: Shell, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """In the next trigger, in the end in the worker."""
    left = [times]
    real = KpoPodTrigger._follow

    async def follow(self: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError("it cannot be seen from here")
        return await real(self)

    monkeypatch.setattr(KpoPodTrigger, "_follow", follow)
    with kpo.lab("quiet") as lab:
        ran = deferred(lab, "echo hello")
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1


def test_what_a_trigger_has_seen_is_not_run_again(sync: Shell) -> None:
    """Though what is left of it, seen by one who comes later, would let it."""

    class Resumed(KubernetesPodOperator):
        def execute(self, context: Any) -> Any:
            begun(lab)
            # The one that preempts it may be there already.
            known = _earlier.known_by(next(pod for pod in all_pods(lab) if pod.metadata.name == "juice-1"))
            told = {"task": "juice", "namespace": "default", "verdict": "disrupted", "reason": "preempted"}
            outcome = kpo.Outcome(exit_code=None, message="lost: preempted", attempts=(), **told)
            return self.trigger_reentry(context, _event.of(outcome, known, is_late=False, more={}))

    with kpo.lab("node node-1\nwhen pod juice-1 created: preempt it\nnetwork fails for 1s\n") as lab:
        ran = sync(lab, "true", Resumed)
        assert lab.requests()["create pods"] == 1
    assert str(ran.error).startswith("lost: preempted")


def test_a_result_that_a_timeout_kept_from_being_pushed_is_the_next_trys(sync: Shell) -> None:
    class Late(KubernetesPodOperator):
        def _push_xcom_with_fan_out(self, ti: Any, value: Any) -> None:
            if ti.try_number == 1:
                raise AirflowTaskTimeout
            super()._push_xcom_with_fan_out(ti, value)

    with kpo.lab("quiet") as lab:
        arguments = {"do_xcom_push": True, "retries": 1, "retry_delay": 0}
        ran = sync(lab, "echo 7 > /airflow/xcom/return.json", Late, **arguments)
        assert lab.requests()["create pods"] == 1
    if not AIRFLOW_2:
        # Airflow 2's dag.test() ends with a timeout.
        assert ran.state == "success"
        assert ran.xcom["return_value"] == 7
