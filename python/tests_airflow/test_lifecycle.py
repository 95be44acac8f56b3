"""Workers, triggers and users that stop, pods that are found again, tokens that expire, secrets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pendulum
import pytest
import yaml
from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from harness import AIRFLOW_2, DAG, Ran, Shell, all_pods, pods
from kubernetes import client as kubernetes_client
from kubernetes.client import models as k8s

import kpo
from kpo import events
from kpo.airflow import KubernetesPodOperator, _earlier, _event, _resume, _stop, exceptions
from kpo.airflow._compat import AirflowTaskTimeout
from kpo.airflow._log import TaskLog
from kpo.airflow.trigger import KpoPodTrigger

ENDLESS = "trap 'exit 0' TERM; echo begun; while true; do sleep 0.1; done"


class Signalled(KubernetesPodOperator):
    """Sends this process a signal when its program runs. The handler is Airflow's own: both call on_kill; Airflow 3's returns then, and Airflow 2's
    raises AirflowTaskTerminated."""

    def _at_start(self, callbacks: Any) -> None:
        super()._at_start(callbacks)
        assert "airflow" in signal.getsignal(signal.SIGTERM).__code__.co_filename
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def no_handler_is_left() -> Iterator[None]:
    """Airflow's stays: it takes its process for the task's own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def sync(run: Any) -> Shell:
    return Shell(run, deferrable=False)


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


class FirstTryLeaves(KubernetesPodOperator):
    """Its first try's worker is stopped when the program runs."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(retries=1, retry_delay=0, **kwargs)

    def execute(self, context: Any) -> Any:
        self.is_first = context["ti"].try_number == 1
        return super().execute(context)

    def _at_start(self, callbacks: Any) -> None:
        super()._at_start(callbacks)
        if self.is_first:
            self.on_kill()


def test_the_next_try_goes_on_with_the_pod(sync: Shell) -> None:
    """The program starts once; its log comes from the start."""
    with kpo.lab("quiet") as lab:
        go = "echo begun; i=0; while [ $i -lt 20 ]; do sleep 0.1; i=$((i+1)); done; echo '\"done\"' > /airflow/xcom/return.json"
        ran = sync(lab, go, FirstTryLeaves, do_xcom_push=True)
        assert lab.requests()["create pods"] == 1
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.xcom["return_value"] == "done"


def test_a_success_in_the_meantime_is_taken(sync: Shell) -> None:
    class Waits(FirstTryLeaves):
        def execute(self, context: Any) -> Any:
            if context["ti"].try_number > 1:
                _wait_until(lambda: pods(lab)[0].status.phase == "Succeeded")
            return super().execute(context)

    with kpo.lab("quiet") as lab:
        ran = sync(lab, "echo begun; sleep 0.5; echo 7 > /airflow/xcom/return.json", Waits, do_xcom_push=True)
        assert lab.requests()["create pods"] == 1
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.xcom["return_value"] == 7


def test_a_failure_in_the_meantime_was_that_trys(sync: Shell) -> None:
    class Waits(FirstTryLeaves):
        def execute(self, context: Any) -> Any:
            if context["ti"].try_number > 1:
                _wait_until(lambda: pods(lab)[0].status.phase == "Failed")
            return super().execute(context)

    with kpo.lab("quiet") as lab:
        script = '[ "$TRY" = 2 ] && exit 0; echo begun; sleep 0.5; exit 3'
        ran = sync(lab, script, Waits, env_vars={"TRY": "{{ ti.try_number }}"})
        assert lab.requests()["create pods"] == 2
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.has("the earlier try's task")


def test_a_success_beside_a_container_that_failed_is_taken(sync: Shell) -> None:
    """The pod's phase is Failed, and the program's exit code 0."""

    class Waits(FirstTryLeaves):
        def execute(self, context: Any) -> Any:
            if context["ti"].try_number > 1:
                _wait_until(lambda: pods(lab)[0].status.phase == "Failed")
            return super().execute(context)

    beside = k8s.V1Container(name="beside", image="busybox", command=["sh", "-c", "exit 1"])
    spec = k8s.V1PodSpec(containers=[k8s.V1Container(name="base"), beside])
    with kpo.lab("quiet") as lab:
        script = "sleep 0.5; echo 7 > /airflow/xcom/return.json"
        ran = sync(lab, script, Waits, do_xcom_push=True, full_pod_spec=k8s.V1Pod(spec=spec))
        assert lab.requests()["create pods"] == 1
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.xcom["return_value"] == 7


def test_a_pod_that_is_ending_is_waited_for_and_not_gone_on_with(sync: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear while the pod that a user's stop has deleted is still there: the new try makes its own, and never are there two."""

    class Cleared(FirstTryLeaves):
        def execute(self, context: Any) -> Any:
            if context["ti"].try_number > 1:
                [pod] = pods(lab)
                stop(lab, pod.metadata.labels["kpo.rs/task"])
            return super().execute(context)

        def _at_attempt(self, event: Any, *rest: Any) -> None:
            assert [pod.metadata.name for pod in all_pods(lab)] == [event.pod]
            super()._at_attempt(event, *rest)

    was_that_trys = _resume.was_that_trys

    def shortly(operator: Any, *rest: Any) -> bool:
        # What was long is short from now on.
        [pod] = all_pods(lab)
        operator.client.delete_namespaced_pod(pod.metadata.name, "default", grace_period_seconds=1)
        return was_that_trys(operator, *rest)

    monkeypatch.setattr(_resume, "was_that_trys", shortly)
    with kpo.lab("quiet") as lab:
        script = '[ "$TRY" = 2 ] && exit 0; trap "" TERM; while true; do sleep 0.1; done'
        ran = sync(lab, script, Cleared, env_vars={"TRY": "{{ ti.try_number }}"}, termination_grace_period=60)
        assert lab.requests()["create pods"] == 2
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.has("is ending: its end is waited for")


def stop(lab: kpo.Lab, name: str) -> None:
    """As the observer before does it that a user has stopped, until its deletion is under way."""
    with kpo.attach(name, client=lab.client(), take_over=True) as task:
        task.cancel()
        for event in task:
            if isinstance(event, kpo.events.Deleting):
                break
        _wait_until(lambda: all_pods(lab)[0].metadata.deletion_timestamp)
        task.detach()


class Store:
    """Airflow's store of a task's state (3.3), which stays when the task is tried again."""

    kept: ClassVar[dict[str, Any]] = {}

    get = kept.get

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


class Stored(FirstTryLeaves):
    """The same with a store, also where Airflow has none."""

    def execute(self, context: Any) -> Any:
        if context["ti"].try_number == 1:
            Store.kept.clear()
        context["task_state_store"] = Store()
        return super().execute(context)


LIVES_ON = "echo begun; i=0; while [ $i -lt 20 ]; do sleep 0.1; i=$((i+1)); done"


def test_a_label_that_changes_from_try_to_try_hides_no_pod(sync: Shell) -> None:
    with kpo.lab("quiet") as lab:
        ran = sync(lab, LIVES_ON, FirstTryLeaves, labels={"try": "{{ ti.try_number }}"})
        assert lab.requests()["create pods"] == 1
    assert ran.state == "success"


def test_a_pod_that_lost_its_labels_is_found_by_what_was_written_down(sync: Shell) -> None:
    class Unlabelled(Stored):
        def execute(self, context: Any) -> Any:
            if context["ti"].try_number > 1:
                [pod] = pods(lab)
                assert Store.kept["pod_identifier"]["uid"] == pod.metadata.uid
                lost = {"dag_id": None, "task_id": "another", "run_id": None}
                self.client.patch_namespaced_pod(pod.metadata.name, "default", {"metadata": {"labels": lost}})
            return super().execute(context)

    with kpo.lab("quiet") as lab:
        ran = sync(lab, LIVES_ON, Unlabelled)
        assert lab.requests()["create pods"] == 1
        assert pods(lab) == []
    assert ran.state == "success"


def test_a_namesake_of_what_was_written_down_is_left_alone(sync: Shell) -> None:
    class Replaced(Stored):
        def execute(self, context: Any) -> Any:
            if context["ti"].try_number > 1:
                name = pods(lab)[0].metadata.name
                self.client.delete_namespaced_pod(name, "default", grace_period_seconds=0)
                spec = {"containers": [{"name": "c", "image": "busybox", "command": ["sleep", "60"]}]}
                self.client.create_namespaced_pod("default", {"metadata": {"name": name}, "spec": spec})
            return super().execute(context)

    with kpo.lab("quiet") as lab:
        ran = sync(lab, '[ "$TRY" = 2 ] || sleep 60', Replaced, env_vars={"TRY": "{{ ti.try_number }}"})
        assert [pod.metadata.labels for pod in pods(lab)] == [None]
    assert ran.state == "success"


class LostMeanwhile(Stored):
    """Between its tries something happens to its pod."""

    happens: ClassVar[Any] = None

    def execute(self, context: Any) -> Any:
        if context["ti"].try_number > 1:
            type(self).happens(pods(LostMeanwhile.lab)[0].metadata.name)
        return super().execute(context)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("seen", [True, False])
def test_strict_holds_over_tries(sync: Shell, seen: bool, strict: bool) -> None:
    """Whether an earlier try's pod shows what became of it, or is gone."""

    def evict(name: str) -> None:
        lab.play(f"at 0s: evict pod {name} for memory")
        _wait_until(lambda: pods(lab)[0].status.phase == "Failed")

    def remove(name: str) -> None:
        lab.play(f"at 0s: delete pod {name} grace=0")
        _wait_until(lambda: pods(lab) == [])

    with kpo.lab("quiet") as lab:
        LostMeanwhile.lab = lab
        cls = type("Lost", (LostMeanwhile,), {"happens": staticmethod(evict if seen else remove)})
        script = '[ "$TRY" = 2 ] || sleep 60'
        ran = sync(lab, script, cls, strict=strict, env_vars={"TRY": "{{ ti.try_number }}"})
        assert lab.requests()["create pods"] == (1 if strict else 2)
        assert pods(lab) == []
    assert ran.state == ("failed" if strict else "success")
    assert not strict or type(ran.error) is exceptions.PodDisruptedForGood
    assert Store.kept == {} or not seen


def test_strict_holds_where_a_trigger_has_not_seen_what_became_of_the_pod(deferred: Shell) -> None:
    class Unseen(GoneByThen):
        def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
            event = {**event, "status": "failed", "kpo": {**event["kpo"], "outcome": None}}
            return super().trigger_reentry(context, event)

    with kpo.lab("quiet") as lab:
        ran = deferred(lab, "true", Unseen, strict=True, retries=3)
        assert lab.requests()["create pods"] == 1
    assert ran.state == "failed"
    assert type(ran.error) is exceptions.PodDisruptedForGood


def test_a_clear_lets_a_strict_task_run_again() -> None:
    def ti(try_number: int, max_tries: int) -> Any:
        return {"ti": SimpleNamespace(try_number=try_number, max_tries=max_tries)}

    operator = SimpleNamespace(strict=True, retries=2)
    assert [_earlier.is_strict(operator, ti(n, 2)) for n in (1, 2, 3)] == [False, True, True]
    # Cleared after its third try: Airflow adds its retries to the tries so far.
    assert [_earlier.is_strict(operator, ti(n, 5)) for n in (4, 5, 6)] == [False, True, True]


def broken_callback(**kwargs: Any) -> None:
    raise ZeroDivisionError


class Breaks(KubernetesPodOperatorCallback):
    on_pod_completion = staticmethod(broken_callback)


@pytest.mark.parametrize(
    ("result", "more"),
    [
        ("1", {"callbacks": Breaks, "callback_errors": "raise"}),
        ("1", {"multiple_outputs": True}),
        ("{", {"results": "message"}),
    ],
    ids=["callback", "shape", "json"],
)
def test_a_success_that_a_try_could_not_use_is_not_the_next_ones(
    shell: Shell, result: str, more: dict[str, Any]
) -> None:
    """It would fail as well, and so would each after a clear."""
    with kpo.lab("quiet") as lab:
        script = f"echo '{result}' > /airflow/xcom/return.json"
        ran = shell(lab, script, do_xcom_push=True, retries=1, retry_delay=0, **more)
        assert lab.requests()["create pods"] == 2
        assert pods(lab) == []
    assert ran.state == "failed"


def test_a_success_that_could_not_be_pushed_is_the_next_ones(sync: Shell) -> None:
    class Down(KubernetesPodOperator):
        def _push_xcom_with_fan_out(self, ti: Any, value: Any) -> None:
            if ti.try_number == 1:
                raise OSError("the database is down")
            super()._push_xcom_with_fan_out(ti, value)

    with kpo.lab("quiet") as lab:
        arguments = {"do_xcom_push": True, "retries": 1, "retry_delay": 0}
        ran = sync(lab, "echo 7 > /airflow/xcom/return.json", Down, **arguments)
        assert lab.requests()["create pods"] == 1
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.xcom["return_value"] == 7


def test_a_pod_that_is_kept_is_known_without_its_label(sync: Shell) -> None:
    """It says itself that its outcome was taken."""

    class Unlabelled(KubernetesPodOperator):
        def post_complete_action(self, **more: Any) -> None:
            super().post_complete_action(**more)
            raise OSError("after its success")

        def patch_already_checked(self, pod: Any, **more: Any) -> None:
            pass

    with kpo.lab("quiet") as lab:
        ran = sync(lab, "true", Unlabelled, on_finish_action="keep_pod", retries=1, retry_delay=0)
        assert lab.requests()["create pods"] == 2
        assert len(pods(lab)) == 2
    assert ran.state == "failed"


#: Upstream heeds ``durable`` from Airflow 3.3 on, and only warns of it before.
WITHOUT_DURABLE: list[dict[str, Any]] = [{"durable": None, "reattach_on_restart": False}]
WITHOUT_DURABLE += [] if AIRFLOW_2 else [{"durable": False}]


@pytest.mark.parametrize("how", WITHOUT_DURABLE)
def test_without_durable_the_earlier_trys_pod_is_stopped_first(sync: Shell, how: dict[str, Any]) -> None:
    class Looks(FirstTryLeaves):
        def _at_start(self, callbacks: Any) -> None:
            assert len(pods(lab)) == 1
            super()._at_start(callbacks)

    with kpo.lab("quiet") as lab:
        script = '[ "$TRY" = 2 ] && exit 0; trap "exit 0" TERM; while true; do sleep 0.1; done'
        ran = sync(lab, script, Looks, env_vars={"TRY": "{{ ti.try_number }}"}, **how)
        assert lab.requests()["create pods"] == 2
        assert pods(lab) == []
    assert ran.state == "success"


def _wait_until(condition: Any) -> None:
    """Asks the API server again until it is so: the test's own time limit ends it."""
    while not condition():
        pass


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
            _wait_until(lambda: pods(lab)[0].status.phase == "Succeeded")
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


class GoneByThen(KubernetesPodOperator):
    """Its pod is taken away by force between the trigger's event and its resumption."""

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
        name, namespace = event["name"], event["namespace"]
        self.client.patch_namespaced_pod(name, namespace, {"metadata": {"finalizers": None}})
        self.client.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
        _wait_until(lambda: self.find_pod(namespace, context) is None)
        return super().trigger_reentry(context, event)


@pytest.fixture
def deferred(run: Any) -> Shell:
    return Shell(run, deferrable=True)


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
            known = _earlier.known_by(all_pods(lab)[0])
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


# --- the trigger -------------------------------------------------------------------------------------------------------------------------


def trigger(lab: kpo.Lab, **more: Any) -> KpoPodTrigger:
    return KpoPodTrigger(
        **{"task": "juice", "namespace": "default", "pod": "juice-1", "config_file": lab.kubeconfig_path, **more}
    )


def begun(lab: kpo.Lab, script: str = ENDLESS, **options: Any) -> None:
    """A task whose worker has deferred it."""
    with kpo.Task(
        image="busybox", command=True, args=["sh", "-c", script], name="juice", client=lab.client(), **options
    ) as task:
        for event in task:
            if isinstance(event, kpo.events.Created):
                task.detach()


async def first(of: KpoPodTrigger) -> dict[str, Any]:
    async for event in of.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("no event")


def test_a_trigger_serialises_all_it_takes() -> None:
    arguments = {
        "task": "juice",
        "namespace": "ns",
        "pod": "juice-2",
        "nonce": "n",
        "kubernetes_conn_id": "conn",
        "in_cluster": False,
        "cluster_context": "context",
        "config_file": "/a/path",
        "logs": ["base"],
        "prefix": False,
        "deadline": 5.0,
        "cancels": False,
        "trigger_kwargs": {"a": 1},
        "try_number": 2,
    }
    path, serialised = KpoPodTrigger(**arguments).serialize()
    assert path == f"{KpoPodTrigger.__module__}.{KpoPodTrigger.__qualname__}"
    assert serialised == arguments
    assert json.loads(json.dumps(serialised)) == serialised


def test_many_triggers_share_one_watch() -> None:
    async def together(lab: kpo.Lab) -> list[dict[str, Any]]:
        return await asyncio.gather(*(first(trigger(lab, task=f"t{n}", pod=f"t{n}-1")) for n in range(5)))

    with kpo.lab("quiet") as lab:
        client = lab.client()
        for n in range(5):
            with kpo.Task(image="busybox", args=["sleep", "1"], name=f"t{n}", client=client, protect=True) as task:
                # A request that comes later would be taken for one of a trigger's.
                while not isinstance(task.next_event(10), kpo.events.Sight):
                    pass
                task.detach()
        before = lab.requests().get("watch pods", 0)
        told = asyncio.run(together(lab))
        assert lab.requests()["watch pods"] == before + 1
        # No trigger deletes what has ended.
        assert len(pods(lab)) == 5
    assert [event["status"] for event in told] == ["success"] * 5


def test_trigger_kwargs_are_handed_on_and_overwrite_nothing() -> None:
    with kpo.lab("quiet") as lab:
        begun(lab, "true", protect=True)
        event = asyncio.run(first(trigger(lab, trigger_kwargs={"mine": 1, "status": "mine"})))
    assert (event["mine"], event["status"], event["name"]) == (1, "success", "juice-1")


def test_trigger_kwargs_come_back_to_the_task(deferred: Shell) -> None:
    told: list[Any] = []

    class Resumed(KubernetesPodOperatorCallback):
        @staticmethod
        def on_operator_resuming(*, event: dict[str, Any], **kwargs: Any) -> None:
            told.append(event["mine"])

    with kpo.lab("quiet") as lab:
        deferred(lab, "true", trigger_kwargs={"mine": 1}, callbacks=Resumed)
    assert told == [1]


def test_a_deadline_ends_the_task() -> None:
    with kpo.lab("quiet") as lab:
        begun(lab)
        event = asyncio.run(first(trigger(lab, deadline=0.0)))
        assert pods(lab) == []
    assert event["status"] == "timeout"


def test_a_task_that_is_gone() -> None:
    with kpo.lab("quiet") as lab:
        event = asyncio.run(first(trigger(lab)))
    assert event["status"] == "failed"
    assert event["message"].startswith("no pod of task juice")


def test_a_cluster_that_is_not_there_is_no_failure_of_the_task(tmp_path: Any) -> None:
    with kpo.lab("quiet") as lab:
        gone = trigger(lab)
        gone.config_file = str(tmp_path / "none.yaml")
        event = asyncio.run(first(gone))
    assert event["status"] == "error"


def test_another_run_of_the_same_name_is_not_followed() -> None:
    """A fixed name is that of all runs."""
    with kpo.lab("quiet") as lab:
        begun(lab)
        event = asyncio.run(first(trigger(lab, nonce="of-a-run-that-is-gone")))
        asyncio.run(trigger(lab, nonce="of-a-run-that-is-gone").on_kill())
        assert len(pods(lab)) == 1
    assert event["status"] == "failed"
    assert event["message"].startswith("no pod of task juice")
    assert event["kpo"]["nonce"] == "of-a-run-that-is-gone"


def test_another_run_of_the_same_name_is_not_resumed(deferred: Shell) -> None:
    """It has come between the trigger's event and the resumption."""

    class Another(GoneByThen):
        def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
            event["kpo"]["nonce"] = "of-a-run-that-is-gone"
            return KubernetesPodOperator.trigger_reentry(self, context, event)

    with kpo.lab("quiet") as lab:
        ran = deferred(lab, "exit 3", Another, random_name_suffix=False)
        assert len(pods(lab)) == 1
    assert str(ran.error).startswith("failed: the program exited 3")
    assert "remote_pod" not in str(ran.error)


@pytest.mark.parametrize("cancels", [True, False])
def test_a_user_who_stops_a_deferred_task(cancels: bool) -> None:
    with kpo.lab("quiet") as lab:
        begun(lab)
        asyncio.run(trigger(lab, cancels=cancels).on_kill())
        assert len(pods(lab)) == (0 if cancels else 1)


@pytest.mark.parametrize(("state", "left"), [("deferred", 1), ("failed", 0), (OSError("gone"), 1)])
def test_before_airflow_3_3_a_trigger_asks_who_stopped_it(
    monkeypatch: pytest.MonkeyPatch, state: Any, left: int
) -> None:
    async def answer(self: Any) -> Any:
        if isinstance(state, Exception):
            raise state
        return state

    monkeypatch.setattr("kpo.airflow.trigger._HAS_ON_KILL", False)
    monkeypatch.setattr(KpoPodTrigger, "get_task_state", answer)
    with kpo.lab("quiet") as lab:
        begun(lab)
        asyncio.run(trigger(lab).cleanup())
        assert len(pods(lab)) == left


class Notes(KpoPodTrigger):
    """Tells when it has found its task."""

    async def until_adopted(self) -> asyncio.Future[Any]:
        self.adopted = asyncio.Event()
        running = asyncio.ensure_future(first(self))
        await self.adopted.wait()
        return running

    async def _outcome(self, task: Any, log: Any) -> Any:
        await task.__anext__()
        self.adopted.set()
        return await super()._outcome(task, log)


async def cancelled(running: asyncio.Future[Any]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_a_trigger_that_ends_leaves_the_pod() -> None:
    """A restart of the triggerer."""

    async def restarted(of: Notes) -> None:
        await cancelled(await of.until_adopted())
        await of.cleanup()

    with kpo.lab("quiet") as lab:
        begun(lab)
        asyncio.run(restarted(Notes(**trigger(lab).serialize()[1])))
        assert [pod.status.phase for pod in pods(lab)] != []


@pytest.mark.parametrize("is_taken_over", [False, True])
def test_a_user_who_stops_a_task_under_way(is_taken_over: bool) -> None:
    """A clear stops the old try's trigger, and the new try may have gone on with the pod by then: it is that one's."""

    async def killed(lab: kpo.Lab, of: Notes) -> None:
        running = await of.until_adopted()
        if is_taken_over:
            await asyncio.to_thread(go_on, lab)
        await cancelled(running)
        await of.on_kill()
        await of.cleanup()

    with kpo.lab("quiet") as lab:
        begun(lab)
        asyncio.run(killed(lab, Notes(**trigger(lab).serialize()[1])))
        assert len(pods(lab)) == (1 if is_taken_over else 0)


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_stop_that_airflow_does_not_wait_for_is_ended(has_begun: bool) -> None:
    """Else the finalizer would hold the pod for ever."""

    async def killed(lab: kpo.Lab, of: Notes) -> None:
        if has_begun:
            await cancelled(await of.until_adopted())
        killing = asyncio.ensure_future(of.on_kill())
        await asyncio.to_thread(_wait_until, lambda: all_pods(lab)[0].metadata.deletion_timestamp)
        await cancelled(killing)
        await of.cleanup()

    with kpo.lab("quiet") as lab:
        heedless = "trap '' TERM; while true; do sleep 0.1; done"
        begun(lab, heedless, protect=True, set={"spec.terminationGracePeriodSeconds": 2})
        asyncio.run(killed(lab, Notes(**trigger(lab).serialize()[1])))
        assert pods(lab) == []


def go_on(lab: kpo.Lab) -> None:
    """As a newer try's worker, until the pod is its own."""

    def mark() -> Any:
        return all_pods(lab)[0].metadata.annotations["kpo.rs/observer"]

    before = mark()
    with kpo.attach("juice", client=lab.client(), take_over=True) as task:
        _wait_until(lambda: task.next_event(0.05) is None and mark() != before)
        task.detach()


@pytest.mark.parametrize(("label", "left"), [("1", 0), ("2", 1)])
def test_a_trigger_that_has_not_begun_goes_by_the_label(label: str, left: int) -> None:
    with kpo.lab("quiet") as lab:
        begun(lab, set={"metadata.labels.try_number": label})
        asyncio.run(trigger(lab, try_number=1).on_kill())
        assert len(pods(lab)) == left


class Burst:
    """A task whose program has written much at once."""

    def __init__(self, lines: int) -> None:
        log = tuple(events.LogLine(0, b"a line", False, False) for _ in range(lines))
        self._events = [events.Log(at=None, lines=(), pod="juice-1", container="base", log=log)]

    def __aiter__(self) -> Burst:
        return self

    async def __anext__(self) -> events.Event:
        if not self._events:
            raise StopAsyncIteration
        return self._events.pop()

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()


def test_a_burst_of_lines_leaves_other_triggers_their_turn() -> None:
    turns = 0
    told: list[int] = []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def follow() -> None:
        beside = asyncio.ensure_future(others())
        log: Any = SimpleNamespace(log=lambda *said: told.append(turns))
        of = KpoPodTrigger(task="juice", namespace="default", pod="juice-1")
        burst: Any = Burst(1_000)
        await of._outcome(burst, TaskLog(log))
        await cancelled(beside)

    asyncio.run(follow())
    assert len(told) == 1_000
    assert max(told.count(turn) for turn in set(told)) <= 100


# --- secrets -----------------------------------------------------------------------------------------------------------------------------


def test_no_secret_is_told(shell: Shell, tmp_path: Any) -> None:
    """Not in the log, an error, a repr, nor in Airflow's database."""
    canary = "canary-of-a-secret"
    with kpo.lab("quiet") as lab:
        ran: Ran = shell(
            lab,
            f"echo '\"{canary}-result\"' > /airflow/xcom/return.json; exit 3",
            env_vars={"PASSWORD": f"{canary}-env"},
            arguments=[f"{canary}-argument"],
            do_xcom_push=True,
            # Rendered fields are shown by Airflow itself: they are looked for in what kpo writes.
        )
        token = lab.token
    assert ran.state == "failed"
    assert canary not in str(ran.error)
    assert not ran.has(canary)
    assert not ran.has(token)
    assert token not in str(ran.error)
    assert canary not in repr(ran.error.outcome)
    told = [(table, row) for table, row in database() if canary in row or token in row]
    assert told == []


#: Where Airflow shows what a DAG says, and how its templates were rendered.
AIRFLOWS_OWN = {"serialized_dag", "dag_code", "rendered_task_instance_fields"}


def database() -> Iterator[tuple[str, str]]:
    """All that Airflow has written down: each row of each table."""
    with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"], "airflow.db"))) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table not in AIRFLOWS_OWN:
                yield from ((table, repr(row)) for row in connection.execute(f'SELECT * FROM "{table}"'))


def test_no_secret_is_deferred(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    told: list[str] = []
    real = KubernetesPodOperator.defer

    def defer(self: Any, *, trigger: Any, **more: Any) -> Any:
        told.append(json.dumps(trigger.serialize()) + repr(trigger) + repr(vars(trigger)))
        return real(self, trigger=trigger, **more)

    reentry = KubernetesPodOperator.trigger_reentry

    def resumed(self: Any, context: Any, event: Any) -> Any:
        told.append(json.dumps(event))
        return reentry(self, context, event)

    monkeypatch.setattr(KubernetesPodOperator, "defer", defer)
    monkeypatch.setattr(KubernetesPodOperator, "trigger_reentry", resumed)
    canary = "canary-of-a-secret"
    with kpo.lab("quiet") as lab:
        ran = Shell(run, deferrable=True)(
            lab, f"echo '\"{canary}\"' > /airflow/xcom/return.json", env_vars={"PASSWORD": canary}, do_xcom_push=True
        )
        assert ran.xcom["return_value"] == canary
        assert len(told) == 2
        assert not any(canary in text or lab.token in text or "PASSWORD" in text for text in told)
