"""What is taken for a pod."""

from __future__ import annotations

import datetime
import json
from typing import Any

from conftest import Log
from kubernetes import client as k8s

import kpo
from kpo import _pod


def model() -> Any:
    env = [
        k8s.V1EnvVar(name="A", value="1"),
        k8s.V1EnvVar(
            name="B", value_from=k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="metadata.name"))
        ),
    ]
    container = k8s.V1Container(
        name="base",
        image="busybox",
        command=["sh", "-c", "echo $A $B"],
        env=env,
        resources=k8s.V1ResourceRequirements(limits={"cpu": "1"}),
    )
    spec = k8s.V1PodSpec(
        containers=[container], termination_grace_period_seconds=0, automount_service_account_token=False
    )
    stamp = datetime.datetime(2026, 11, 24, tzinfo=datetime.timezone.utc)
    return k8s.V1Pod(
        kind="Pod", metadata=k8s.V1ObjectMeta(name="m", labels={"a.b/c": "d_e"}, creation_timestamp=stamp), spec=spec
    )


def test_a_model_is_what_its_own_client_would_send() -> None:
    wanted = k8s.ApiClient(k8s.Configuration()).sanitize_for_serialization(model())
    assert json.loads(_pod.manifest(model())) == wanted
    # What is false or 0 stays.
    assert (
        wanted["spec"]["terminationGracePeriodSeconds"] == 0 and wanted["spec"]["automountServiceAccountToken"] is False
    )


def test_a_model_is_run(client: kpo.Client, log: Log) -> None:
    assert kpo.run(model(), client=client, on_event=log).succeeded
    assert log.printed() == ["1 m-1"]


def test_models_within_a_dict() -> None:
    found = json.loads(
        _pod.manifest(
            {
                "kind": "Pod",
                "spec": {"containers": [k8s.V1Container(name="base", image="b", image_pull_policy="Always")]},
            }
        )
    )
    assert found["spec"]["containers"] == [{"name": "base", "image": "b", "imagePullPolicy": "Always"}]


def test_an_object_that_makes_itself_a_dict() -> None:
    class Own:
        def to_dict(self) -> dict[str, Any]:
            return {"kind": "Pod"}

    assert json.loads(_pod.manifest(Own())) == {"kind": "Pod"}
