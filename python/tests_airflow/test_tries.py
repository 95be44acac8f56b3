"""What an earlier try has left: its pod is found again, gone on with, or waited for; its success is taken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from harness import AIRFLOW_2, GoneByThen, Shell, Store, all_pods, pods, wait_until
from kubernetes.client import models as k8s

import kpo
from kpo.airflow import KubernetesPodOperator, _earlier, _resume, exceptions


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


def waits_for(lab: kpo.Lab, phase: str) -> type[FirstTryLeaves]:
    """Its second try begins when the first one's pod has come to that phase."""

    class Waits(FirstTryLeaves):
        def execute(self, context: Any) -> Any:
            if context["ti"].try_number > 1:
                wait_until(lambda: pods(lab)[0].status.phase == phase)
            return super().execute(context)

    return Waits


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
    with kpo.lab("quiet") as lab:
        ran = sync(
            lab,
            "echo begun; sleep 0.5; echo 7 > /airflow/xcom/return.json",
            waits_for(lab, "Succeeded"),
            do_xcom_push=True,
        )
        assert lab.requests()["create pods"] == 1
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.xcom["return_value"] == 7


def test_a_failure_in_the_meantime_was_that_trys(sync: Shell) -> None:
    with kpo.lab("quiet") as lab:
        script = '[ "$TRY" = 2 ] && exit 0; echo begun; sleep 0.5; exit 3'
        ran = sync(lab, script, waits_for(lab, "Failed"), env_vars={"TRY": "{{ ti.try_number }}"})
        assert lab.requests()["create pods"] == 2
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.has("the earlier try's task")


def test_a_success_beside_a_container_that_failed_is_taken(sync: Shell) -> None:
    """The pod's phase is Failed, and the program's exit code 0."""
    beside = k8s.V1Container(name="beside", image="busybox", command=["sh", "-c", "exit 1"])
    spec = k8s.V1PodSpec(containers=[k8s.V1Container(name="base"), beside])
    with kpo.lab("quiet") as lab:
        script = "sleep 0.5; echo 7 > /airflow/xcom/return.json"
        ran = sync(lab, script, waits_for(lab, "Failed"), do_xcom_push=True, full_pod_spec=k8s.V1Pod(spec=spec))
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
        wait_until(lambda: all_pods(lab)[0].metadata.deletion_timestamp)
        task.detach()


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
        wait_until(lambda: pods(lab)[0].status.phase == "Failed")

    def remove(name: str) -> None:
        lab.play(f"at 0s: delete pod {name} grace=0")
        wait_until(lambda: pods(lab) == [])

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
