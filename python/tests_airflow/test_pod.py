"""The pod: upstream's, with what upstream loses put right."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from harness import Shell, pods
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

import kpo
from kpo.airflow import KubernetesPodOperator, _pod
from kpo.airflow._compat import AirflowException


def make(**more: Any) -> KubernetesPodOperator:
    return KubernetesPodOperator(**{"task_id": "task", "name": "task", "image": "busybox", **more})


def built(**more: Any) -> Any:
    return make(**more).build_pod_request_obj(dry_run=True)


TEMPLATE = k8s.V1Pod(
    metadata=k8s.V1ObjectMeta(),
    spec=k8s.V1PodSpec(
        containers=[k8s.V1Container(name="base")],
        automount_service_account_token=True,
        host_network=True,
        termination_grace_period_seconds=30,
        active_deadline_seconds=60,
    ),
)


def as_template(how: str, tmp_path: Any) -> dict[str, Any]:
    plain = ApiClient().sanitize_for_serialization(TEMPLATE)
    if how == "full_pod_spec":
        return {how: TEMPLATE}
    if how == "pod_template_dict":
        return {how: plain}
    import yaml

    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(plain))
    return {how: str(tmp_path / "pod.yaml")}


@pytest.mark.parametrize("how", ["full_pod_spec", "pod_template_dict", "pod_template_file"])
def test_what_is_falsy_wins_over_a_template(how: str, tmp_path: Any) -> None:
    template = as_template(how, tmp_path)
    spec = built(**template).spec
    assert (spec.automount_service_account_token, spec.host_network, spec.termination_grace_period_seconds) == (
        True,
        True,
        30,
    )
    asked = {"automount_service_account_token": False, "hostnetwork": False, "termination_grace_period": 0}
    spec = built(**template, **asked).spec
    assert (spec.automount_service_account_token, spec.host_network, spec.termination_grace_period_seconds) == (
        False,
        False,
        0,
    )
    assert spec.active_deadline_seconds == 60
    assert TEMPLATE.spec.host_network is True


def test_the_environment_is_not_doubled() -> None:
    operator = make(
        env_vars={"A": "1"},
        pod_runtime_info_envs=[
            k8s.V1EnvVar(
                name="NODE",
                value_from=k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="spec.nodeName")),
            )
        ],
    )
    for _ in range(2):
        assert [variable.name for variable in operator.build_pod_request_obj(dry_run=True).spec.containers[0].env] == [
            "A",
            "NODE",
        ]


def test_two_containers_of_one_name_are_refused() -> None:
    template = k8s.V1Pod(
        spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="first", image="x"), k8s.V1Container(name="base")])
    )
    with pytest.raises(AirflowException, match="two containers 'base'"):
        built(full_pod_spec=template)


def test_upstreams_sidecar_is_not_added() -> None:
    operator = make(do_xcom_push=True)
    assert [container.name for container in operator.build_pod_request_obj(dry_run=True).spec.containers] == ["base"]
    assert operator.do_xcom_push is True


def test_operator_pod_is_as_requested(shell: Shell) -> None:
    """Nothing of kpo's is in it, but the attempt's name."""
    kept: list[Any] = []

    class Keeps(KubernetesPodOperator):
        def extract_xcom(self, pod: Any, **kwargs: Any) -> Any:
            kept.append(pod)
            return super().extract_xcom(pod, **kwargs)

    with kpo.lab("quiet") as lab:
        ran = shell(lab, "echo 1 > /airflow/xcom/return.json", Keeps, do_xcom_push=True)
    assert ran.xcom["return_value"] == 1
    (pod,) = kept
    assert pod.metadata.name == ran.xcom["pod_name"]
    if not shell.deferrable:
        assert not any(key.startswith("kpo.rs/") for key in {**pod.metadata.labels, **(pod.metadata.annotations or {})})
        assert [container.name for container in pod.spec.containers] == ["base"]
        assert pod.spec.init_containers == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"skip_on_exit_code": "99"}, "skip_on_exit_code has '99'"),
        ({"skip_on_exit_code": ["99"]}, "skip_on_exit_code has '99'"),
        ({"rerun": "always"}, "rerun is 'always'; it may be"),
        ({"results": "ftp"}, "results is 'ftp'"),
        ({"on_unsigned_delete": "maybe"}, "on_unsigned_delete is 'maybe'"),
        ({"callback_errors": "hide"}, "callback_errors is 'hide'"),
        ({"rerun_budget": -1}, "rerun_budget is -1"),
        ({"random_name_suffix": False, "protect": True, "rerun": "idempotent"}, "random_name_suffix=False fixes"),
        (
            {"random_name_suffix": False, "on_finish_action": "keep_pod", "rerun": "idempotent"},
            "random_name_suffix=False fixes",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(AirflowException, match=says):
        make(**arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"is_delete_operator_pod": False}, "is_delete_operator_pod=False does nothing"),
        ({"schedule_timeout_seconds": 0}, "schedule_timeout_seconds=0"),
    ],
)
def test_what_means_something_else_is_warned_of(arguments: dict[str, Any], says: str) -> None:
    with pytest.warns(UserWarning, match=says) as warned:
        make(**arguments)
    assert warned[0].filename == __file__


def test_nothing_else_is_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make()


def test_a_method_that_nobody_calls_may_not_be_overridden() -> None:
    class Own(KubernetesPodOperator):
        def await_pod_completion(self, pod: Any) -> None:
            raise NotImplementedError

    with pytest.raises(AirflowException, match="Own overrides await_pod_completion"):
        Own(task_id="task")

    class Knows(Own):
        kpo_ignores = frozenset({"await_pod_completion"})

    Knows(task_id="task")


@pytest.mark.parametrize(
    "name", ["pod_manager", "log_matching_pod", "_clean", "_read_pod_events", "_read_pod_container_states"]
)
def test_each_that_nobody_calls_is_refused(name: str) -> None:
    with pytest.raises(AirflowException, match=f"Own overrides {name}"):
        type("Own", (KubernetesPodOperator,), {name: lambda self: None})(task_id="task")


def test_a_hook_of_its_own_is_not_the_triggers() -> None:
    class Own(KubernetesPodOperator):
        @property
        def hook(self) -> Any:
            raise NotImplementedError

    Own(task_id="task", deferrable=False)
    with pytest.raises(AirflowException, match="Own overrides hook"):
        Own(task_id="task", deferrable=True)
    type("Knows", (Own,), {"kpo_ignores": frozenset({"hook"})})(task_id="task", deferrable=True)


def test_what_may_hold_a_secret_is_not_shown() -> None:
    """Neither a command, a header, a value of the environment, nor a result."""
    secret = "canary-of-a-secret"
    header = k8s.V1HTTPGetAction(port=80, http_headers=[k8s.V1HTTPHeader(name="Authorization", value=secret)])
    execs = k8s.V1ExecAction(command=["login", secret])
    container = k8s.V1Container(
        name="base",
        image="busybox",
        command=[secret],
        args=[secret],
        env=[k8s.V1EnvVar(name="PASSWORD", value=secret)],
        lifecycle=k8s.V1Lifecycle(post_start=k8s.V1LifecycleHandler(http_get=header)),
        liveness_probe=k8s.V1Probe(_exec=execs),
        readiness_probe=k8s.V1Probe(http_get=header),
        startup_probe=k8s.V1Probe(_exec=execs),
    )
    debugger = k8s.V1EphemeralContainer(name="debugger", command=[secret], env=container.env)
    ended = k8s.V1ContainerState(terminated=k8s.V1ContainerStateTerminated(exit_code=0, message=secret))
    status = k8s.V1ContainerStatus(name="base", state=ended, image="busybox", image_id="", ready=False, restart_count=0)
    pod = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="task", annotations={"note": secret}),
        spec=k8s.V1PodSpec(containers=[container], init_containers=[container], ephemeral_containers=[debugger]),
        status=k8s.V1PodStatus(container_statuses=[status]),
    )
    shown = str(_pod.redacted(pod, {"base"}))
    assert secret not in shown
    assert "PASSWORD" in shown and "busybox" in shown
    assert secret in str(pod)


class TestSeams:
    """What subclasses override keeps being called."""

    CALLED = (
        "build_pod_request_obj",
        "find_pod",
        "extract_xcom",
        "cleanup",
        "post_complete_action",
        "patch_already_checked",
        "_get_ti_pod_labels",
        "_build_find_pod_label_selector",
    )

    def test_each_is_called(self, shell: Shell) -> None:
        called: list[str] = []

        def seam(name: str) -> Any:
            def method(self: Any, *args: Any, **kwargs: Any) -> Any:
                called.append(name)
                return getattr(super(Own, self), name)(*args, **kwargs)

            return method

        Own = type("Own", (KubernetesPodOperator,), {name: seam(name) for name in self.CALLED})
        # It is no staticmethod any more.
        with kpo.lab("quiet") as lab:
            ran = shell(lab, "true", Own, do_xcom_push=True, on_finish_action="keep_pod")
            assert len(pods(lab)) == 1
        assert ran.state == "success"
        assert set(called) == set(self.CALLED)
