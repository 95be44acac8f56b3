"""Upstream's own operator, with no DAG changed: audited, adopted, or left as it is."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

import pytest
from airflow.models.variable import Variable
from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream
from airflow.providers.cncf.kubernetes.operators.spark_kubernetes import SparkKubernetesOperator
from airflow.providers.cncf.kubernetes.triggers.job import KubernetesJobTrigger
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager as UpstreamsManager
from harness import Ran, Shell, pods

import kpo
from kpo.airflow import AsyncKubernetesHook, KubernetesPodOperator, PodManager, _adopted, _reading, adopt
from kpo.airflow._imports import AfterImport

Adopt = Callable[[str], None]

#: Upstream's methods as they are.
_OWN = {name: vars(Upstream)[name] for name in ("execute", "trigger_reentry")}


@pytest.fixture
def adopting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Adopt]:
    """Sets ``[kpo] adopt``, and loads the plugin."""

    def setting(value: str) -> None:
        monkeypatch.setenv("AIRFLOW__KPO__ADOPT", value)
        adopt.KpoPlugin.on_load()

    yield setting
    adopt.uninstall()
    assert {name: vars(Upstream)[name] for name in _OWN} == _OWN


@pytest.fixture
def off() -> Iterator[Callable[[], None]]:
    """Sets the Variable that turns it off."""
    yield lambda: Variable.set("kpo_adopt_off", "true")
    Variable.delete("kpo_adopt_off")


def is_adopted(ran: Ran) -> bool:
    return ran.has("[kpo] ") and ran.xcom["pod_name"].rsplit("-", 1)[-1].isdigit() and not ran.has("not adopted")


def stays(ran: Ran) -> bool:
    """Whether it says so, in one line."""
    return sum("[kpo] not adopted: " in line for line in ran.log) == 1 and not is_adopted(ran)


#: Upstream's triggers, and what they are made of.
_TRIGGERS: list[tuple[Any, dict[str, Any]]] = [
    (
        KubernetesJobTrigger,
        {
            "job_name": "job",
            "job_namespace": "default",
            "pod_names": ["job-1"],
            "pod_namespace": "default",
            "base_container_name": "base",
        },
    ),
    (
        KubernetesPodTrigger,
        {
            "pod_name": "pod",
            "pod_namespace": "default",
            "trigger_start_time": datetime(2026, 1, 1, tzinfo=timezone.utc),
            "base_container_name": "base",
        },
    ),
]

PREEMPTED = {"startup_check_interval_seconds": 1}


def test_it_is_an_entry_point() -> None:
    (own,) = [point for point in entry_points(group="airflow.plugins") if point.name == "kpo"]
    assert own.load() is adopt.KpoPlugin


def test_nothing_is_touched_where_nothing_is_set(adopting: Adopt) -> None:
    adopting("")
    assert {name: vars(Upstream)[name] for name in _OWN} == _OWN


# --- adopted -----------------------------------------------------------------------------------------------------------------------------


def test_an_adopted_task_survives_preemption(shell: Shell, adopting: Adopt) -> None:
    adopting("all")
    with kpo.lab("preemption") as lab:
        ran = shell(lab, "echo hello", cls=Upstream)
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1
    assert ran.xcom["pod_name"].endswith("-2")


def test_a_result_leaves_an_adopted_pod(shell: Shell, adopting: Adopt) -> None:
    adopting("all")
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "echo '{\"a\": 1}' > /airflow/xcom/return.json", cls=Upstream, do_xcom_push=True)
    assert is_adopted(ran)
    assert ran.xcom["return_value"] == {"a": 1}


@pytest.mark.parametrize("named", [True, False])
def test_dags_are_named(shell: Shell, adopting: Adopt, named: bool) -> None:
    def made(**arguments: Any) -> Upstream:
        operator = Upstream(**arguments)
        adopting(f"another, {operator.dag.dag_id if named else 'third'}")
        return operator

    with kpo.lab("quiet") as lab:
        ran = shell(lab, "true", cls=made)
    assert ran.state == "success"
    assert is_adopted(ran) == named


def test_a_variable_turns_it_off(shell: Shell, adopting: Adopt, off: Callable[[], None]) -> None:
    adopting("all")
    off()
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "true", cls=Upstream)
    assert ran.state == "success"
    assert not ran.has("[kpo]")


def test_what_was_begun_is_ended_when_it_is_turned_off(shell: Shell, adopting: Adopt, off: Callable[[], None]) -> None:
    class TurnsOff(KubernetesPodOperatorCallback):
        @staticmethod
        def on_pod_creation(**_: Any) -> None:
            off()

    adopting("all")
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "echo hello", cls=Upstream, callbacks=TurnsOff)
        assert pods(lab) == []
    assert ran.state == "success"
    assert is_adopted(ran)


def test_what_was_begun_is_ended_by_the_next_try_when_it_is_turned_off(
    sync: Shell, adopting: Adopt, off: Callable[[], None]
) -> None:
    """Upstream's lifecycle would run it once more: the pod that it found has ended."""

    class Leaves(Upstream):
        def execute(self, context: Any) -> Any:
            self.is_first = context["ti"].try_number == 1
            return super().execute(context)

        def _at_start(self, callbacks: Any) -> None:
            if self.is_first:
                off()
                self.on_kill()

    adopting("all")
    with kpo.lab("quiet") as lab:
        script = "echo begun; sleep 0.5; echo 7 > /airflow/xcom/return.json"
        ran = sync(lab, script, Leaves, do_xcom_push=True, retries=1, retry_delay=0)
        assert lab.requests()["create pods"] == 1
        assert pods(lab) == []
    assert ran.state == "success"
    assert ran.xcom["return_value"] == 7


def test_its_name_stays(shell: Shell, adopting: Adopt) -> None:
    kept: list[Any] = []

    class Keeps(KubernetesPodOperatorCallback):
        @staticmethod
        def on_pod_creation(*, operator: Any, **_: Any) -> None:
            kept.append(operator)

    adopting("all")
    with kpo.lab("quiet") as lab:
        shell(lab, "true", cls=Upstream, callbacks=Keeps)
    assert isinstance(kept[0], _adopted.Adopted)
    assert (type(kept[0]).__name__, type(kept[0]).__module__) == ("KubernetesPodOperator", Upstream.__module__)


# --- subclasses --------------------------------------------------------------------------------------------------------------------------


class PrivateHook(Upstream):
    """Its hook is its own, and how a trigger makes it nobody says."""

    kubeconfig: ClassVar[str]

    @cached_property
    def hook(self) -> Any:
        return KubernetesHook(conn_id=None, config_file=self.kubeconfig)


class FoundHook:
    """Such a hook that finds its cluster by a name."""

    clusters: ClassVar[dict[str, str]] = {}

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster

    def get_conn(self) -> Any:
        return KubernetesHook(conn_id=None, config_file=self.clusters[self._cluster]).get_conn()


def says(self: Any) -> tuple[str, dict[str, Any]]:
    """How a trigger makes the hook."""
    FoundHook.clusters["lab"] = self.kubeconfig
    return f"{__name__}.FoundHook", {"cluster": "lab"}


def test_a_private_hook_is_connected_by(shell: Shell, adopting: Adopt, deferred_with: list[str]) -> None:
    adopting("all")
    with kpo.lab("preemption") as lab:
        cls = type("PrivateHook", (PrivateHook,), {"kubeconfig": lab.kubeconfig_path, "kpo_trigger_hook": says})
        ran = shell(lab, "echo hello", cls=cls, config_file=None)
        assert pods(lab) == []
        assert not any(lab.token in text or lab.kubeconfig_path in text for text in deferred_with)
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1
    assert ran.xcom["pod_name"].endswith("-2")
    assert len(deferred_with) == shell.deferrable


def test_so_it_is_by_a_subclass_of_kpos(deferred: Shell) -> None:
    body = {"hook": vars(PrivateHook)["hook"], "kpo_trigger_hook": says}
    with kpo.lab("preemption") as lab:
        cls = type("PrivateHook", (KubernetesPodOperator,), {"kubeconfig": lab.kubeconfig_path, **body})
        ran = deferred(lab, "echo hello", cls=cls, config_file=None)
    assert ran.state == "success"
    assert ran.xcom["pod_name"].endswith("-2")


def test_a_private_hook_of_which_nothing_is_said_stays_where_it_is_deferred(deferred: Shell, adopting: Adopt) -> None:
    adopting("all")
    with kpo.lab("quiet") as lab:
        cls = type("PrivateHook", (PrivateHook,), {"kubeconfig": lab.kubeconfig_path})
        # Upstream's trigger does not make it either.
        ran = deferred(lab, "echo hello", cls=cls, config_file=lab.kubeconfig_path)
    assert ran.state == "success"
    assert stays(ran)
    assert ran.has("PrivateHook connects by itself, and no kpo_trigger_hook says how a trigger does: add one, or")


def test_what_is_said_does_not_hold_for_a_hook_further_down(deferred: Shell, adopting: Adopt) -> None:
    adopting("all")
    with kpo.lab("quiet") as lab:
        first = type("First", (PrivateHook,), {"kubeconfig": lab.kubeconfig_path, "kpo_trigger_hook": says})
        cls = type("Second", (first,), {"hook": vars(PrivateHook)["hook"]})
        cls.hook.__set_name__(cls, "hook")
        ran = deferred(lab, "true", cls=cls, config_file=lab.kubeconfig_path)
    assert ran.state == "success"
    assert stays(ran)
    assert ran.has("Second connects by itself")


@pytest.mark.parametrize("said", [("no.such.Hook", {}), (f"{__name__}.FoundHook", {"cluster": object()}), None])
def test_what_is_of_no_use_to_a_trigger_stays_with_upstream(deferred: Shell, adopting: Adopt, said: Any) -> None:
    adopting("all")
    with kpo.lab("quiet") as lab:
        body = {"kubeconfig": lab.kubeconfig_path, "kpo_trigger_hook": lambda self: said}
        ran = deferred(lab, "true", cls=type("Wrong", (PrivateHook,), body), config_file=lab.kubeconfig_path)
    assert ran.state == "success"
    assert stays(ran)
    assert ran.has("not adopted: Wrong does not say how a trigger connects")


def test_of_kpos_own_it_is_told_before_there_is_a_pod(deferred: Shell) -> None:
    cls = type("Wrong", (KubernetesPodOperator,), {"kpo_trigger_hook": lambda self: ("no.such.Hook", {})})
    with kpo.lab("quiet") as lab:
        ran = deferred(lab, "true", cls=cls)
        assert pods(lab) == []
    assert ran.state == "failed"
    assert "Wrong does not say how a trigger connects" in str(ran.error)
    assert "pod_name" not in ran.xcom


class LikeEks(Upstream):
    """As EksPodOperator, which connects by a kubeconfig that is there while it runs."""

    kubeconfig: ClassVar[str]
    directory: ClassVar[Path]

    def _within(self, run: Callable[[], Any]) -> Any:
        place = self.directory / "config"
        place.write_text(Path(self.kubeconfig).read_text())
        self.config_file = str(place)
        try:
            return run()
        finally:
            place.unlink()

    def execute(self, context: Any) -> Any:
        return self._within(lambda: super(LikeEks, self).execute(context))

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
        return self._within(lambda: super(LikeEks, self).trigger_reentry(context, event))


def test_a_kubeconfig_that_is_there_while_it_runs_is_connected_by(
    shell: Shell, adopting: Adopt, tmp_path: Path
) -> None:
    adopting("all")
    with kpo.lab("preemption") as lab:
        body = {"kubeconfig": lab.kubeconfig_path, "directory": tmp_path, "kpo_trigger_hook": says}
        ran = shell(lab, "echo hello", cls=type("Eks", (LikeEks,), body), config_file=None)
    assert ran.state == "success"
    assert ran.xcom["pod_name"].endswith("-2")
    assert list(tmp_path.iterdir()) == []


def test_gke_links_to_each_attempt(run: Any, adopting: Adopt) -> None:
    linked: list[str] = []

    def get_or_create_pod(self: Any, pod_request_obj: Any, context: Any) -> Any:
        pod = super(cls, self).get_or_create_pod(pod_request_obj=pod_request_obj, context=context)
        linked.append(pod.metadata.name)
        return pod

    body = {"get_or_create_pod": get_or_create_pod, "__module__": "airflow.providers.google.cloud.operators.kubernetes"}
    cls: Any = type("GKEStartPodOperator", (PrivateHook,), body)
    adopting("all")
    with kpo.lab("preemption") as lab:
        cls.kubeconfig = lab.kubeconfig_path
        ran = Shell(run, False)(lab, "true", cls=cls, config_file=None)
    assert ran.state == "success"
    assert [name.rsplit("-", 1)[1] for name in linked] == ["1", "2"]


def test_a_seam_that_the_engine_does_not_call_stays_with_upstream(shell: Shell, adopting: Adopt) -> None:
    class Own(Upstream):
        def await_pod_start(self, pod: Any) -> None:
            super().await_pod_start(pod)

    adopting("all")
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "true", cls=Own)
    assert ran.state == "success"
    assert stays(ran)
    assert ran.has("not adopted: Own overrides await_pod_start, which the engine does not call")


def test_a_client_that_does_more_stays_with_upstream(run: Any, adopting: Adopt) -> None:
    class Headed(PrivateHook):
        @cached_property
        def client(self) -> Any:
            made = self.hook.core_v1_client
            made.api_client.set_default_header("X-Private", "canary-of-a-header")
            return made

    adopting("all")
    with kpo.lab("quiet") as lab:
        Headed.kubeconfig = lab.kubeconfig_path
        ran = Shell(run, False)(lab, "true", cls=Headed, config_file=None)
    assert ran.state == "success"
    assert stays(ran)
    assert not ran.has("canary")


def test_a_cluster_that_the_engine_may_not_ask_stays_with_upstream(
    run: Any, adopting: Adopt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise kpo.ForbiddenError("canary-of-a-refusal")

    monkeypatch.setattr(kpo.Client, "find", refused)
    adopting("all")
    with kpo.lab("quiet") as lab:
        cls = type("PrivateHook", (PrivateHook,), {"kubeconfig": lab.kubeconfig_path})
        ran = Shell(run, False)(lab, "true", cls=cls, config_file=None)
    assert ran.state == "success"
    assert stays(ran)
    assert ran.has("the engine cannot connect by its hook (ForbiddenError)")


def test_an_argument_that_kpo_refuses_stays_with_upstream(shell: Shell, adopting: Adopt) -> None:
    adopting("all")
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "true", cls=Upstream, random_name_suffix=False, skip_on_exit_code=["99"])
    assert ran.state == "success"
    assert stays(ran)


@pytest.mark.parametrize("cls", [KubernetesJobOperator, SparkKubernetesOperator])
def test_others_read_again_and_stay_as_they_are(cls: Any, adopting: Adopt, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(cls, "execute", lambda self, context: ran.append(self.pod_manager))
    adopting("all")
    operator = cls(task_id="task", **({"template_spec": {}} if cls is SparkKubernetesOperator else {}))
    operator.client = object()
    operator.execute({"ti": type("Ti", (), {"dag_id": "dag"})})
    assert type(ran[0]) is PodManager
    assert not isinstance(operator, _adopted.KubernetesPodOperator)
    adopt.uninstall()
    adopting("audit")
    operator = cls(task_id="task", **({"template_spec": {}} if cls is SparkKubernetesOperator else {}))
    operator.client = object()
    operator.execute({"ti": type("Ti", (), {"dag_id": "dag"})})
    assert type(ran[1]) is UpstreamsManager


@pytest.mark.parametrize(("cls", "arguments"), _TRIGGERS, ids=["job", "pod"])
def test_the_triggers_of_others_read_again(cls: Any, arguments: dict[str, Any]) -> None:
    path, kept = _reading.reading(cls(**arguments)).serialize()
    module, name = path.rsplit(".", 1)
    trigger = getattr(importlib.import_module(module), name)(**kept)
    assert isinstance(trigger, cls)
    assert type(trigger.hook) is AsyncKubernetesHook
    assert kept == cls(**arguments).serialize()[1]


def test_others_defer_to_such_a_trigger(adopting: Adopt, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, arguments = _TRIGGERS[0]
    monkeypatch.setattr(
        KubernetesJobOperator, "execute", lambda self, context: self.defer(trigger=cls(**arguments), method_name="done")
    )
    adopting("all")
    operator = KubernetesJobOperator(task_id="task")
    with pytest.raises(BaseException) as raised:
        operator.execute({"ti": type("Ti", (), {"dag_id": "dag"})})
    assert type(raised.value.trigger) is _reading.ReadingJobTrigger  # type: ignore[attr-defined]


# --- audited -----------------------------------------------------------------------------------------------------------------------------


def audits(ran: Ran) -> list[str]:
    return [line for line in ran.log if "[kpo] audit: " in line]


def test_an_audit_tells_of_a_lost_task_and_changes_nothing(shell: Shell, adopting: Adopt) -> None:
    adopting("audit")
    with kpo.lab("preemption") as lab:
        ran = shell(lab, "echo hello", cls=Upstream, **PREEMPTED)
    assert ran.state == "failed"
    (line,) = audits(ran)
    assert "preempted" in line
    assert "kpo would have" in line or "kpo, which watches its pods, would have known" in line


@pytest.mark.parametrize("script", ["true", "exit 3"])
def test_an_audit_tells_of_nothing_else(shell: Shell, adopting: Adopt, script: str) -> None:
    adopting("audit")
    with kpo.lab("quiet") as lab:
        ran = shell(lab, script, cls=Upstream)
    assert ran.state == ("success" if script == "true" else "failed")
    assert audits(ran) == []
    assert not ran.has("[kpo]")


def test_what_upstream_gives_up_is_not_lost(run: Any, adopting: Adopt) -> None:
    adopting("audit")
    with kpo.lab("node node-1 cpu=1") as lab:
        ran = Shell(run, False)(
            lab,
            "true",
            cls=Upstream,
            node_selector={"there": "is none"},
            startup_timeout_seconds=1,
            schedule_timeout_seconds=1,
            **PREEMPTED,
        )
    assert ran.state == "failed"
    assert audits(ran) == []


def test_an_audit_breaks_nothing(shell: Shell, adopting: Adopt, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("canary-of-an-audit")

    monkeypatch.setattr("kpo._kpo.audit", broken)
    adopting("audit")
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "exit 3", cls=Upstream)
    assert ran.state == "failed"
    assert "returned a failure" in str(ran.error)
    assert ran.has("[kpo] audit: it is not known what became of the pod (RuntimeError)")


# --- the import of it --------------------------------------------------------------------------------------------------------------------


def test_a_module_is_changed_when_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "kpo_test_later.py").write_text("there = 1\n")
    (tmp_path / "kpo_test_broken.py").write_text("there = 1\n")
    done: list[Any] = []

    def broken(module: Any) -> None:
        raise RuntimeError

    finder = AfterImport({"kpo_test_later": lambda module: done.append(module.there), "kpo_test_broken": broken})
    finder.install()
    try:
        assert done == []
        import kpo_test_broken  # type: ignore[import-not-found]
        import kpo_test_later  # type: ignore[import-not-found]
    finally:
        finder.uninstall()
    assert (done, kpo_test_broken.there) == ([1], 1)
    assert "there = 1" in inspect.getsource(kpo_test_later)
    for name in ("kpo_test_later", "kpo_test_broken"):
        del sys.modules[name]
