"""What a task comes to, in Airflow's terms: each case in both modes."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import pytest
from airflow.providers.cncf.kubernetes import kubernetes_helper_functions
from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.utils.pod_manager import (
    PodLaunchFailedException,
    PodLaunchTimeoutException,
    PodNotFoundException,
    XComRetrievalError,
)
from harness import AIRFLOW_2, Shell, pods
from kubernetes.client.exceptions import ApiException

import kpo
from kpo.airflow import KubernetesPodOperator, exceptions
from kpo.airflow._compat import AirflowException, AirflowFailException

ONE_NODE = "node node-1\n"


RESULT = "/airflow/xcom/return.json"


@pytest.mark.parametrize("results", ["sidecar", "exec", "message"])
def test_a_result(shell: Shell, results: str) -> None:
    with kpo.lab("quiet") as lab:
        ran = shell(lab, f"echo '{{\"a\": 1}}' > {RESULT}", do_xcom_push=True, results=results)
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.xcom["return_value"] == {"a": 1}


@pytest.mark.parametrize("results", ["sidecar", "exec"])
@pytest.mark.parametrize("script", ["true", f": > {RESULT}"], ids=["missing", "empty"])
def test_no_result_is_none(shell: Shell, results: str, script: str) -> None:
    with kpo.lab("quiet") as lab:
        ran = shell(lab, script, do_xcom_push=True, results=results)
    assert ran.state == "success"
    assert ran.xcom.get("return_value") is None


def test_a_broken_result_is_an_error(shell: Shell) -> None:
    with kpo.lab("quiet") as lab:
        ran = shell(lab, f"echo '{{' > {RESULT}", do_xcom_push=True)
    assert ran.state == "failed"
    assert isinstance(ran.error, XComRetrievalError)
    assert "the result is not JSON" in str(ran.error).splitlines()[0]


def test_multiple_outputs(shell: Shell) -> None:
    with kpo.lab("quiet") as lab:
        ran = shell(lab, f'echo \'{{"a": 1, "b": [2]}}\' > {RESULT}', do_xcom_push=True, multiple_outputs=True)
    assert ran.state == "success"
    assert (ran.xcom["a"], ran.xcom["b"], ran.xcom["return_value"]) == (1, [2], {"a": 1, "b": [2]})


def test_a_failure(shell: Shell) -> None:
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "echo oops; exit 3", env_vars={"PASSWORD": "canary-of-an-env-value"})
        assert pods(lab) == []
    assert ran.state == "failed"
    assert type(ran.error) is exceptions.PodFailed
    assert isinstance(ran.error, AirflowException)
    first, second, *rest = str(ran.error).splitlines()
    assert first.startswith("failed: the program exited 3 on node-1")
    assert second == f"Pod {ran.xcom['pod_name']} returned a failure."
    assert rest[0].startswith("remote_pod:")
    assert "canary" not in str(ran.error)
    assert not ran.has("canary")


def test_a_failure_without_its_pod(shell: Shell) -> None:
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "exit 3", log_pod_spec_on_failure=False)
    assert len(str(ran.error).splitlines()) == 2


@pytest.mark.parametrize("codes", [3, [2, 3]])
def test_skipped(shell: Shell, codes: Any) -> None:
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "exit 3", skip_on_exit_code=codes)
        assert pods(lab) == []
    assert ran.state == "skipped"


def test_a_loss_is_not_skipped_by_its_exit_code(shell: Shell) -> None:
    """The code is what it answers a SIGTERM with."""
    with kpo.lab(PREEMPTED) as lab:
        ran = shell(lab, "trap 'exit 3' TERM; while true; do sleep 0.1; done", skip_on_exit_code=3)
    assert type(ran.error) is exceptions.PodDisrupted


def test_the_engines_clock_is_not_airflows(shell: Shell) -> None:
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "sleep 60", total_timeout=2)
        assert pods(lab) == []
    assert type(ran.error) is exceptions.PodCancelled


def test_an_image_that_is_not_there(shell: Shell) -> None:
    with kpo.lab('node node-1\nimage nowhere* fails "no such host"') as lab:
        ran = shell(lab, "true", image="nowhere.invalid/x", startup_timeout_seconds=2)
        assert pods(lab) == []
    assert isinstance(ran.error, (PodLaunchFailedException, PodLaunchTimeoutException))
    assert "returned a failure" in str(ran.error)
    assert "nowhere.invalid" in str(ran.error).splitlines()[0]


def test_nothing_to_schedule_it_on(shell: Shell) -> None:
    with kpo.lab("node node-1 cpu=1") as lab:
        ran = shell(lab, "true", node_selector={"gpu": "yes"}, schedule_timeout_seconds=1)
        assert pods(lab) == []
    assert type(ran.error) is exceptions.PodLaunchTimeout
    assert isinstance(ran.error, PodLaunchTimeoutException)


PREEMPTED = ONE_NODE + "whenever pod task-* running: preempt it\n"


def test_a_loss_of_a_program_that_ran(shell: Shell) -> None:
    with kpo.lab(PREEMPTED) as lab:
        ran = shell(lab, "sleep 60")
    assert type(ran.error) is exceptions.PodDisrupted
    assert isinstance(ran.error, PodNotFoundException)
    assert str(ran.error).startswith("lost: preempted")


def test_strict_is_not_retried(shell: Shell) -> None:
    with kpo.lab(PREEMPTED) as lab:
        ran = shell(lab, "sleep 60", strict=True, retries=3)
    assert ran.state == "failed"
    assert isinstance(ran.error, AirflowFailException)
    assert isinstance(ran.error, exceptions.PodDisrupted)


def test_idempotent_runs_again(shell: Shell) -> None:
    with kpo.lab(ONE_NODE + "when pod task-*-1 running: preempt it\n") as lab:
        ran = shell(lab, '[ "$KPO_ATTEMPT" != 1 ] || sleep 60; echo attempt $KPO_ATTEMPT', rerun="idempotent")
    assert ran.state == "success"
    assert ran.log.count("[base] attempt 2") == 1


def test_a_deletion_that_nobody_signed(shell: Shell) -> None:
    script = ONE_NODE + "when pod task-*-1 created: delete it\nnetwork fails for 2s\n"
    with kpo.lab(script) as lab:
        ended = shell(lab, "true")
    with kpo.lab(script) as lab:
        again = shell(lab, "true", on_unsigned_delete="recreate")
    assert type(ended.error) is exceptions.PodDisrupted
    assert again.state == "success"


@pytest.mark.parametrize(
    ("action", "code", "kept"),
    [
        ("delete_pod", 0, False),
        ("delete_pod", 1, False),
        ("keep_pod", 0, True),
        ("keep_pod", 1, True),
        ("delete_active_pod", 0, True),
        ("delete_succeeded_pod", 0, False),
        ("delete_succeeded_pod", 1, True),
    ],
)
def test_what_is_kept(shell: Shell, action: str, code: int, kept: bool) -> None:
    with kpo.lab("quiet") as lab:
        shell(lab, f"exit {code}", on_finish_action=action)
        found = pods(lab)
        assert [pod.metadata.labels["already_checked"] for pod in found] == (["True"] if kept else [])


def test_an_exact_name(shell: Shell) -> None:
    with kpo.lab(ONE_NODE + "when pod task created: preempt it\nnetwork fails for 1s\n") as lab:
        ran = shell(lab, "echo hello", random_name_suffix=False)
    assert ran.state == "success"
    assert ran.xcom["pod_name"] == "task"


def test_the_task_takes_too_long(shell: Shell) -> None:
    from datetime import timedelta

    with kpo.lab("quiet") as lab:
        ran = shell(lab, "sleep 60", execution_timeout=timedelta(seconds=2), termination_grace_period=1)
        assert pods(lab) == []
    assert ran.state == "failed"
    assert type(ran.error).__name__ == "AirflowTaskTimeout"


class Moments(KubernetesPodOperatorCallback):
    """Notes what it is told."""

    told: ClassVar[list[tuple[str, Any]]] = []

    @staticmethod
    def _note(moment: str, pod: Any) -> None:
        Moments.told.append((moment, pod and pod.metadata.name))

    @staticmethod
    def on_sync_client_creation(*, client: Any, operator: Any, **kwargs: Any) -> None:
        Moments._note("on_sync_client_creation", None)

    @staticmethod
    def on_pod_manifest_created(
        *, pod_request: Any, client: Any, mode: str, operator: Any, context: Any, **kwargs: Any
    ) -> None:
        pod_request.metadata.annotations = {"edited": "yes"}
        Moments._note("on_pod_manifest_created", None)

    @staticmethod
    def on_pod_creation(*, pod: Any, client: Any, mode: str, operator: Any, context: Any, **kwargs: Any) -> None:
        assert pod.metadata.annotations["edited"] == "yes"
        Moments._note("on_pod_creation", pod)

    @staticmethod
    def on_pod_starting(*, pod: Any, client: Any, mode: str, operator: Any, context: Any, **kwargs: Any) -> None:
        Moments._note("on_pod_starting", pod)

    @staticmethod
    def progress_callback(
        *, line: str, client: Any, mode: str, container_name: str, timestamp: Any, pod: Any, **kwargs: Any
    ) -> None:
        assert container_name == "base"
        assert timestamp.year > 2000
        Moments.told.append((line, pod.metadata.name))

    @staticmethod
    def on_pod_completion(*, pod: Any, client: Any, mode: str, operator: Any, context: Any, **kwargs: Any) -> None:
        # The kubelet may have yet to write the phase.
        assert pod.status.container_statuses[0].state.terminated.exit_code == 0
        Moments._note("on_pod_completion", pod)

    @staticmethod
    def on_pod_teardown(*, pod: Any, client: Any, mode: str, operator: Any, context: Any, **kwargs: Any) -> None:
        Moments._note("on_pod_teardown", pod)

    @staticmethod
    def on_operator_resuming(
        *, pod: Any, event: dict[str, Any], client: Any, mode: str, operator: Any, context: Any, **kwargs: Any
    ) -> None:
        assert event["status"] == "success"
        Moments._note("on_operator_resuming", pod)

    @staticmethod
    def on_pod_cleanup(*, pod: Any, client: Any, mode: str, operator: Any, context: Any, **kwargs: Any) -> None:
        Moments._note("on_pod_cleanup", pod)


def test_callbacks_come_at_their_moments(shell: Shell) -> None:
    Moments.told = []
    with kpo.lab("preemption") as lab:
        ran = shell(lab, "echo hello", callbacks=Moments)
    first = ran.xcom["pod_name"].removesuffix("-2")
    assert ran.state == "success"
    # Under dag.test() Airflow 2 goes on with the very same object.
    again = [] if AIRFLOW_2 else [("on_sync_client_creation", None)]
    resumed = [*again, ("on_operator_resuming", f"{first}-2")]
    # The pod that is there when it is called: on a busy machine the first one has gone by then.
    created = next(pod for moment, pod in Moments.told if moment == "on_pod_creation")
    assert created in {f"{first}-1", f"{first}-2"}
    assert Moments.told == [
        ("on_sync_client_creation", None),
        ("on_pod_manifest_created", None),
        ("on_pod_creation", created),
        *(resumed if shell.deferrable else []),
        ("on_pod_starting", f"{first}-2"),
        ("hello", f"{first}-2"),
        ("on_pod_completion", f"{first}-2"),
        ("on_pod_teardown", f"{first}-2"),
        ("on_pod_cleanup", f"{first}-2"),
    ]


class Failing(KubernetesPodOperatorCallback):
    @staticmethod
    def on_pod_creation(**kwargs: Any) -> None:
        raise ValueError("a callback's own")


def test_what_a_callback_raises_loses_no_pod(shell: Shell) -> None:
    with kpo.lab("quiet") as lab:
        reported = shell(lab, "echo hello", callbacks=[Failing])
        raised = shell(lab, "echo hello", callbacks=[Failing], callback_errors="raise")
    assert reported.state == "success"
    assert reported.has("The callback on_pod_creation failed")
    assert raised.state == "failed"
    assert isinstance(raised.error, ValueError)


def test_progress_is_called(shell: Shell) -> None:
    lines: list[str] = []
    with kpo.lab("quiet") as lab:
        shell(lab, "echo a; echo b", progress_callback=lines.append)
    assert lines == ["a", "b"]


def test_whose_log_is_shown(shell: Shell) -> None:
    from kubernetes.client import models as k8s

    more = {
        "init_containers": [k8s.V1Container(name="before", image="busybox", command=["echo", "init"])],
        "full_pod_spec": k8s.V1Pod(
            spec=k8s.V1PodSpec(
                containers=[
                    k8s.V1Container(name="base"),
                    k8s.V1Container(name="beside", image="busybox", command=["echo", "side"]),
                ]
            )
        ),
    }
    with kpo.lab("quiet") as lab:
        base = shell(lab, "echo main", **more)
        every = shell(lab, "echo main", container_logs=True, init_container_logs=True, **more)
        none = shell(lab, "echo main", get_logs=False, **more)
        formatted = shell(lab, "echo ERROR: main", log_formatter=lambda container, line: f"{container}>{line}")
        plain = shell(lab, "echo main", container_name_log_prefix_enabled=False)
    lines = {"[base] main", "[beside] side", "[before] init"}
    assert lines & set(base.log) == {"[base] main"}
    assert lines & set(every.log) == lines
    assert lines & set(none.log) == set()
    assert formatted.has("base>ERROR: main")
    assert "main" in plain.log


class Unsteady(KubernetesPodOperator):
    """The API server fails so many requests of each kind that upstream's client makes."""

    times = 0
    #: Only when the task is resumed.
    only_resumed = False

    @cached_property
    def client(self) -> Any:
        api = KubernetesPodOperator.client.func(self)
        for name in ("list_namespaced_pod", "read_namespaced_pod"):
            setattr(api, name, self._failing(getattr(api, name)))
        return api

    def _failing(self, call: Any) -> Any:
        left = [self.times]

        def failing(*args: Any, **kwargs: Any) -> Any:
            if left[0] > 0 and not self.only_resumed:
                left[0] -= 1
                raise ApiException(status=503, reason="unavailable")
            return call(*args, **kwargs)

        return failing

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
        self.only_resumed = False
        self.__dict__.pop("client", None)
        return super().trigger_reentry(context, event)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream's retry does not wait."""
    monkeypatch.setattr(kubernetes_helper_functions.WaitRetryAfterOrExponential, "__call__", lambda *_: 0.0)


@pytest.mark.usefixtures("at_once")
def test_an_api_server_that_fails_now_and_then_fails_no_task(shell: Shell) -> None:
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "true", type("Twice", (Unsteady,), {"times": 2}), callbacks=KubernetesPodOperatorCallback)
        assert pods(lab) == []
    assert ran.state == "success"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("code", [0, 3])
def test_one_that_fails_to_the_end_hides_no_outcome(run: Any, code: int) -> None:
    """The engine has its own way to it."""
    for_ever = type("ForEver", (Unsteady,), {"times": 99, "only_resumed": True})
    with kpo.lab("quiet") as lab:
        ran = Shell(run, deferrable=True)(lab, f"exit {code}", for_ever, callbacks=KubernetesPodOperatorCallback)
        assert pods(lab) == []
    assert ran.state == ("failed" if code else "success")
    assert code == 0 or str(ran.error).startswith("failed: the program exited 3")


def test_a_client_that_cannot_be_made_for_a_callback_hides_no_outcome(run: Any) -> None:
    class Clientless(KubernetesPodOperator):
        def extract_xcom(self, pod: Any, **kwargs: Any) -> Any:
            # What comes after has no client.
            type(self).client = property(lambda self: 1 / 0)
            return super().extract_xcom(pod, **kwargs)

    with kpo.lab("quiet") as lab:
        arguments = {"callbacks": KubernetesPodOperatorCallback, "do_xcom_push": True}
        ran = Shell(run, deferrable=False)(lab, f"echo 1 > {RESULT}", Clientless, **arguments)
    assert ran.state == "success"
    assert ran.xcom["return_value"] == 1
