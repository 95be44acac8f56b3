"""GKEStartPodOperator and EksPodOperator as their providers have them, adopted, against the lab: only what the clouds would answer is put in. The providers
are in the folder that ``KPO_CLOUDS`` names (``python/requirements-clouds.txt``)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Ran, Shell, begun, pods

import kpo
from kpo.airflow import adopt
from kpo.airflow.trigger import KpoPodTrigger

#: Makes the operator of a cloud from what any operator takes.
Make = Callable[..., Any]

#: What nobody but the cloud's own hooks may have.
SECRET = "canary-of-a-secret"


@pytest.fixture(autouse=True)
def are_there() -> None:
    """Without them nothing of this is tested, and that is no success."""
    try:
        import airflow.providers.amazon.aws.operators.eks
        import airflow.providers.google.cloud.operators.kubernetes_engine  # noqa: F401
    except ImportError as error:
        pytest.fail(
            f"KPO_CLOUDS must name a folder into which python/requirements-clouds.txt was installed: {error}",
            pytrace=False,
        )


@pytest.fixture(autouse=True)
def adopting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIRFLOW__KPO__ADOPT", "all")
    adopt.KpoPlugin.on_load()
    yield
    adopt.uninstall()


@pytest.fixture
def lab() -> Iterator[kpo.Lab]:
    with kpo.lab("preemption") as lab:
        yield lab


def cluster(lab: kpo.Lab) -> tuple[str, str]:
    """Its address, and its certificate."""
    (only,) = yaml.safe_load(Path(lab.kubeconfig_path).read_text())["clusters"]
    return only["cluster"]["server"], only["cluster"]["certificate-authority-data"]


@pytest.fixture
def gke(lab: kpo.Lab, monkeypatch: pytest.MonkeyPatch) -> Make:
    from airflow.providers.google.cloud.hooks.kubernetes_engine import GKEHook
    from airflow.providers.google.cloud.operators.kubernetes_engine import GKEStartPodOperator
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
    from google.cloud.container_v1.types import Cluster, MasterAuth
    from google.oauth2.credentials import Credentials

    server, certificate = cluster(lab)
    found = Cluster(
        endpoint=server.removeprefix("https://"), master_auth=MasterAuth(cluster_ca_certificate=certificate)
    )
    monkeypatch.setattr(GKEHook, "get_cluster", lambda self, **_: found)
    monkeypatch.setattr(GoogleBaseHook, "get_credentials", lambda self: Credentials(lab.token))
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", f"google-cloud-platform://:{SECRET}@")

    def make(*, config_file: Any, **arguments: Any) -> Any:
        return GKEStartPodOperator(location="europe", cluster_name="lab", project_id="kpo", **arguments)

    return make


#: In the place of the program that signs a token by AWS' credentials. The first tokens are refused.
GIVES_TOKENS = """#!/bin/sh
test "$AWS_SECRET_ACCESS_KEY" = {secret} || exit 3
echo asked >> {asked}
test "$(wc -l < {asked})" -gt {refused} && token={token} || token=refused
echo "expirationTimestamp: 2099-01-01T00:00:00Z, token: $token"
"""


@pytest.fixture
def aws(lab: kpo.Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], None]:
    """AWS' answers, which tell of the cluster, and give tokens. Takes how many of these the cluster refuses."""
    from botocore.client import BaseClient

    server, certificate = cluster(lab)
    found = {"cluster": {"endpoint": server, "certificateAuthority": {"data": certificate}}}

    def answer(self: Any, operation: str, arguments: Any) -> Any:
        return {("DescribeCluster", "lab"): found}[operation, arguments["name"]]

    monkeypatch.setattr(BaseClient, "_make_api_call", answer)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", f"aws://an-id:{SECRET}@/?region_name=eu-central-1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    # Credentials' files are made there.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def gives(refused: int) -> None:
        program = tmp_path / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        asked = tmp_path / "asked"
        program.write_text(GIVES_TOKENS.format(secret=SECRET, asked=asked, refused=refused, token=lab.token))
        program.chmod(0o700)

    return gives


@pytest.fixture
def eks(aws: Callable[[int], None]) -> Make:
    from airflow.providers.amazon.aws.operators.eks import EksPodOperator

    aws(0)

    def make(*, config_file: Any, name: str, **arguments: Any) -> Any:
        return EksPodOperator(cluster_name="lab", pod_name=name, **arguments)

    return make


def check(ran: Ran, lab: kpo.Lab, deferred_with: list[str]) -> None:
    """It has survived the preemption on the engine, and handed over no secret."""
    assert pods(lab) == []
    assert ran.state == "success"
    assert not ran.has("not adopted")
    assert ran.log.count("[base] hello") == 1
    assert ran.xcom["pod_name"].endswith("-2")
    assert all("KpoPodTrigger" in text and '"config_file": null' in text for text in deferred_with)
    assert not any(secret in text for text in deferred_with for secret in (lab.token, SECRET))
    assert not ran.has(lab.token)


def test_gke_survives_preemption(shell: Shell, lab: kpo.Lab, gke: Make, deferred_with: list[str]) -> None:
    ran = shell(lab, "echo hello", cls=gke)
    check(ran, lab, deferred_with)
    assert len(deferred_with) == shell.deferrable
    # The link leads to the second attempt.
    assert f"/{ran.xcom['pod_name']}/" in ran.xcom["kubernetes_pod_conf"]


def test_eks_survives_preemption(
    shell: Shell, lab: kpo.Lab, eks: Make, deferred_with: list[str], tmp_path: Path
) -> None:
    ran = shell(lab, "echo hello", cls=eks)
    check(ran, lab, deferred_with)
    assert len(deferred_with) == shell.deferrable
    assert list(tmp_path.glob("airflow_eks_*")) == []


def eks_trigger() -> KpoPodTrigger:
    arguments = {"cluster_name": "lab", "aws_conn_id": "aws_default", "region": None, "conn_id": "kubernetes_default"}
    hook = {"hook_path": "kpo.airflow._clouds.EksClusterHook", "hook_arguments": arguments}
    return KpoPodTrigger(task="juice", namespace="default", pod="juice-1", **hook)


def test_a_token_that_eks_refuses_is_asked_for_again(lab: kpo.Lab, aws: Callable[[int], None], tmp_path: Path) -> None:
    async def event() -> Any:
        return await anext(eks_trigger().run())

    aws(1)
    begun(lab, "sleep 1", protect=True)
    assert asyncio.run(event()).payload["status"] == "success"
    assert (tmp_path / "asked").read_text() == "asked\n" * 2


def test_a_user_stops_a_task_in_eks(lab: kpo.Lab, aws: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def state(self: Any) -> str:
        return "failed"

    aws(0)
    monkeypatch.setattr(KpoPodTrigger, "get_task_state", state)
    begun(lab)
    asyncio.run(eks_trigger().on_kill())
    assert pods(lab) == []
