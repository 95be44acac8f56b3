"""The read retry, in threads and in event loops alike: the same cases against the lab's API server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml
from airflow.providers.cncf.kubernetes.hooks import kubernetes as upstream_hook
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.cncf.kubernetes.utils import pod_manager as upstream_manager
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException
from kubernetes.client import V1ObjectMeta, V1Pod

import kpo
from kpo.airflow import AsyncKubernetesHook, PodManager

POD = V1Pod(metadata=V1ObjectMeta(name="task-1", namespace="default"))


class Reader:
    """Reads the pod ``task-1``; waits by a clock that it keeps."""

    def __init__(self, lab: kpo.Lab, mode: str, then: dict[int, str]) -> None:
        self.waits: list[float] = []
        self._lab, self._mode, self._then = lab, mode, then
        if mode == "sync":
            self._manager = PodManager(KubernetesHook(config_file=lab.kubeconfig_path).core_v1_client)
            self._manager.sleep = self._wait
        else:
            self._hook = AsyncKubernetesHook(config_dict=yaml.safe_load(lab.kubeconfig))
            self._hook.sleep = self._wait_async

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) in self._then:
            self._lab.play(self._then[len(self.waits)])
            self._lab.client().read_pod("task-1", namespace="default", within=10)

    async def _wait_async(self, seconds: float) -> None:
        self._wait(seconds)

    def __call__(self) -> Any:
        if self._mode == "sync":
            return self._manager.read_pod(POD)
        return asyncio.run(self._hook.get_pod("task-1", "default"))


@pytest.fixture(params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


def reads(lab: kpo.Lab) -> int:
    return lab.requests().get("get pods", 0)


def test_both_are_upstreams() -> None:
    assert issubclass(PodManager, upstream_manager.PodManager)
    assert issubclass(AsyncKubernetesHook, upstream_hook.AsyncKubernetesHook)


@pytest.mark.parametrize("waits", [0, 1, 2, 3])
def test_a_pod_that_comes_is_read(mode: str, waits: int) -> None:
    pod = 'at 0s: pod default/task-1 image=busybox command="sleep 60" node=node-1'
    with kpo.lab("node node-1\n" + ("" if waits else pod.removeprefix("at 0s: "))) as lab:
        read = Reader(lab, mode, {waits: pod} if waits else {})
        assert read().metadata.name == "task-1"
        assert read.waits == [2, 4, 8][:waits]


def test_in_the_end_it_says_what_became_of_the_pod(mode: str) -> None:
    with kpo.lab("quiet") as lab:
        read = Reader(lab, mode, {})
        with pytest.raises(PodNotFoundException) as raised:
            read()
        assert read.waits == [2, 4, 8]
        assert reads(lab) == 4
        message = str(raised.value)
        assert message.startswith(
            'pod "task-1" in namespace "default" was not found, nor when it was read again after 2 s, 4 s, 8 s'
        )
        assert "a possible cause is preemption" in message
        assert "\n" not in message


def test_the_preemption_that_took_it_is_named(mode: str) -> None:
    with kpo.lab('node node-1\npod default/task-1 image=busybox command="sleep 60" node=node-1 grace=0') as lab:
        read = Reader(lab, mode, {})
        assert read().metadata.name == "task-1"
        lab.play("at 0s: preempt pod default/task-1")
        _gone(lab)
        with pytest.raises(PodNotFoundException) as raised:
            read()
        assert "evidence:" in str(raised.value)
        assert "last seen: phase" in str(raised.value)


def _gone(lab: kpo.Lab) -> None:
    core = KubernetesHook(config_file=lab.kubeconfig_path).core_v1_client
    from kubernetes.watch import Watch

    listed = core.list_namespaced_pod("default", field_selector="metadata.name=task-1")
    if not listed.items:
        return
    for event in Watch().stream(
        core.list_namespaced_pod,
        "default",
        resource_version=listed.metadata.resource_version,
        field_selector="metadata.name=task-1",
        timeout_seconds=30,
    ):
        if event["type"] == "DELETED":
            return
    raise AssertionError("the pod is still there")


@pytest.mark.parametrize("code", [403, 410])
def test_what_is_no_404_is_not_read_again(mode: str, code: int) -> None:
    with kpo.lab(f"node node-1\nat 0s: api answers {code} to get pods") as lab:
        read = Reader(lab, mode, {})
        _until_it_answers(lab, code)
        before = reads(lab)
        with pytest.raises(Exception) as raised:
            read()
        assert not isinstance(raised.value, PodNotFoundException)
        assert str(raised.value.status) == str(code)  # type: ignore[attr-defined]
        assert read.waits == []
        assert reads(lab) == before + 1


def _until_it_answers(lab: kpo.Lab, code: int) -> None:
    from kubernetes.client import ApiException

    core = KubernetesHook(config_file=lab.kubeconfig_path).core_v1_client
    while True:
        try:
            core.read_namespaced_pod("task-1", "default")
        except ApiException as error:
            if error.status == code:
                return
