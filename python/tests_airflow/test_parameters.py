"""Every parameter of upstream's, in both modes: what it is for has the same effect, or it is refused, or told to mean nothing.

The table is compared with upstream's signature: a parameter that is new there fails here until somebody says what becomes of it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import pytest
import test_lifecycle
import test_secrets
import test_tries
import test_trigger
from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream
from airflow.providers.cncf.kubernetes.secret import Secret
from harness import Ran, Shell, pods
from kubernetes.client import models as k8s

import kpo
from kpo.airflow import KubernetesPodOperator

RESULT = "/airflow/xcom/return.json"


@dataclass
class Effect:
    """What a parameter does, and how that is seen."""

    value: Any
    #: Of the pod that was kept, as the API server has it.
    pod: Callable[[Any], object] | None = None
    #: Of what came of the task.
    ran: Callable[[Ran], object] | None = None
    script: str = "echo hello"
    state: str = "success"
    more: dict[str, Any] = field(default_factory=dict)
    cluster: str = "node node-1\n"


def base(pod: Any) -> Any:
    return next(container for container in pod.spec.containers if container.name == "base")


class Told(KubernetesPodOperatorCallback):
    lines: ClassVar[list[str]] = []

    @staticmethod
    def on_pod_creation(*, pod: Any, **kwargs: Any) -> None:
        Told.lines.append("created")


def progress(line: str) -> None:
    Told.lines.append(line)


def formatted(container: str, line: str) -> str:
    return f"{container} said {line}"


def container(name: str, *command: str) -> k8s.V1Container:
    return k8s.V1Container(name=name, image="busybox", command=list(command))


PVC_LESS = k8s.V1Volume(name="data", empty_dir=k8s.V1EmptyDirVolumeSource())
TEMPLATE = {"metadata": {"labels": {"of": "template"}}, "spec": {"containers": [{"name": "base", "image": "busybox"}]}}

EFFECTS: dict[str, Effect] = {
    # Connection (config_file is given in every case beside).
    "kubernetes_conn_id": Effect(
        "cluster", ran=lambda ran: ran.xcom["pod_namespace"] == "team-a", cluster="node node-1\nnamespace team-a\n"
    ),
    "cluster_context": Effect("lab", ran=lambda ran: ran.xcom["pod_name"]),
    "in_cluster": Effect(
        True,
        state="failed",
        more={"config_file": None},
        ran=lambda ran: type(ran.error).__name__ == "ConfigException",
    ),
    "namespace": Effect(
        "team-a", ran=lambda ran: ran.xcom["pod_namespace"] == "team-a", cluster="node node-1\nnamespace team-a\n"
    ),
    # The pod's shape.
    "image": Effect("busybox:1.36", pod=lambda pod: base(pod).image == "busybox:1.36"),
    "cmds": Effect(["echo", "from cmds"], ran=lambda ran: ran.has("[base] from cmds")),
    "arguments": Effect(["from arguments"], ran=lambda ran: ran.has("[base] from arguments"), more={"cmds": ["echo"]}),
    "ports": Effect(
        [k8s.V1ContainerPort(container_port=80, name="http")], pod=lambda pod: base(pod).ports[0].container_port == 80
    ),
    "image_pull_policy": Effect("Never", pod=lambda pod: base(pod).image_pull_policy == "Never"),
    "container_resources": Effect(
        k8s.V1ResourceRequirements(requests={"cpu": "10m"}),
        pod=lambda pod: base(pod).resources.requests["cpu"] == "10m",
    ),
    "container_security_context": Effect(
        k8s.V1SecurityContext(run_as_user=1000), pod=lambda pod: base(pod).security_context.run_as_user == 1000
    ),
    "env_vars": Effect({"A": "from env"}, ran=lambda ran: ran.has("[base] from env"), script="echo $A"),
    "env_from": Effect(
        [k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name="settings"))],
        ran=lambda ran: ran.has("[base] of the map"),
        script="echo $key",
        cluster='node node-1\nconfig-map default/settings key="of the map"\n',
    ),
    "configmaps": Effect(
        ["settings"],
        ran=lambda ran: ran.has("[base] of the map"),
        script="echo $key",
        cluster='node node-1\nconfig-map default/settings key="of the map"\n',
    ),
    "secrets": Effect(
        [Secret("env", "A", "hidden", "key")],
        pod=lambda pod: any(e.name == "A" and e.value_from.secret_key_ref.name == "hidden" for e in base(pod).env),
        cluster="node node-1\nsecret default/hidden key=value\n",
    ),
    "pod_runtime_info_envs": Effect(
        [
            k8s.V1EnvVar(
                name="NODE",
                value_from=k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="spec.nodeName")),
            )
        ],
        pod=lambda pod: [e.name for e in base(pod).env].count("NODE") == 1,
    ),
    "volumes": Effect([PVC_LESS], pod=lambda pod: "data" in [volume.name for volume in pod.spec.volumes]),
    "volume_mounts": Effect(
        [k8s.V1VolumeMount(name="data", mount_path="/data")],
        pod=lambda pod: "/data" in [mount.mount_path for mount in base(pod).volume_mounts],
        more={"volumes": [PVC_LESS]},
    ),
    "annotations": Effect({"a": "b"}, pod=lambda pod: pod.metadata.annotations["a"] == "b"),
    "labels": Effect({"a": "b"}, pod=lambda pod: pod.metadata.labels["a"] == "b"),
    "affinity": Effect(
        k8s.V1Affinity(
            node_affinity=k8s.V1NodeAffinity(
                preferred_during_scheduling_ignored_during_execution=[
                    k8s.V1PreferredSchedulingTerm(
                        weight=1,
                        preference=k8s.V1NodeSelectorTerm(
                            match_expressions=[k8s.V1NodeSelectorRequirement(key="zone", operator="Exists")]
                        ),
                    )
                ]
            )
        ),
        pod=lambda pod: (
            pod.spec.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution[0].weight == 1
        ),
    ),
    "node_selector": Effect(
        {"zone": "a"}, pod=lambda pod: pod.spec.node_name == "node-a", cluster="node node-b\nnode node-a label zone=a\n"
    ),
    "tolerations": Effect(
        [k8s.V1Toleration(key="gpu", operator="Exists")],
        pod=lambda pod: pod.spec.node_name == "node-1",
        cluster="node node-1 taint gpu=yes:NoSchedule\n",
    ),
    "host_aliases": Effect(
        [k8s.V1HostAlias(ip="10.0.0.1", hostnames=["a"])], pod=lambda pod: pod.spec.host_aliases[0].ip == "10.0.0.1"
    ),
    "image_pull_secrets": Effect(
        [k8s.V1LocalObjectReference("registry")], pod=lambda pod: pod.spec.image_pull_secrets[0].name == "registry"
    ),
    "service_account_name": Effect(
        # One that is not there.
        "robot",
        state="failed",
        ran=lambda ran: "service account default/robot" in str(ran.error),
    ),
    "automount_service_account_token": Effect(False, pod=lambda pod: pod.spec.automount_service_account_token is False),
    "hostnetwork": Effect(True, pod=lambda pod: pod.spec.host_network is True),
    "security_context": Effect(
        k8s.V1PodSecurityContext(fs_group=7), pod=lambda pod: pod.spec.security_context.fs_group == 7
    ),
    "runtime_class_name": Effect("gvisor", pod=lambda pod: pod.spec.runtime_class_name == "gvisor"),
    "dnspolicy": Effect("Default", pod=lambda pod: pod.spec.dns_policy == "Default"),
    "dns_config": Effect(
        k8s.V1PodDNSConfig(nameservers=["10.0.0.1"]), pod=lambda pod: pod.spec.dns_config.nameservers == ["10.0.0.1"]
    ),
    "hostname": Effect("host", pod=lambda pod: pod.spec.hostname == "host"),
    "subdomain": Effect("sub", pod=lambda pod: pod.spec.subdomain == "sub"),
    "schedulername": Effect(
        # One that is not there.
        "another",
        state="failed",
        more={"schedule_timeout_seconds": 1},
        ran=lambda ran: type(ran.error).__name__ == "PodLaunchTimeout",
    ),
    "priority_class_name": Effect(
        "urgent",
        pod=lambda pod: pod.spec.priority_class_name == "urgent",
        cluster="node node-1\npriority-class urgent 1000\n",
    ),
    "init_containers": Effect(
        [container("before", "true")], pod=lambda pod: "before" in [c.name for c in pod.spec.init_containers]
    ),
    "full_pod_spec": Effect(
        k8s.V1Pod(metadata=k8s.V1ObjectMeta(labels={"of": "spec"})), pod=lambda pod: pod.metadata.labels["of"] == "spec"
    ),
    "pod_template_file": Effect("<template>", pod=lambda pod: pod.metadata.labels["of"] == "template"),
    "pod_template_dict": Effect(TEMPLATE, pod=lambda pod: pod.metadata.labels["of"] == "template"),
    "name": Effect("another", pod=lambda pod: pod.metadata.name.startswith("another-")),
    "random_name_suffix": Effect(False, ran=lambda ran: ran.xcom["pod_name"] == "task"),
    "base_container_name": Effect(
        "main",
        ran=lambda ran: ran.has("[main] hello"),
        pod=lambda pod: [c.name for c in pod.spec.containers] == ["main"],
    ),
    "termination_message_policy": Effect(
        "FallbackToLogsOnError", pod=lambda pod: base(pod).termination_message_policy == "FallbackToLogsOnError"
    ),
    "active_deadline_seconds": Effect(
        1,
        script="sleep 60",
        state="failed",
        ran=lambda ran: "activeDeadlineSeconds" in str(ran.error) or "deadline" in str(ran.error),
    ),
    "termination_grace_period": Effect(7, pod=lambda pod: pod.spec.termination_grace_period_seconds == 7),
    "xcom_sidecar_container_security_context": Effect(
        {"runAsUser": 77},
        pod=lambda pod: (
            next(c for c in pod.spec.init_containers if c.name == "kpo-result").security_context.run_as_user == 77
        ),
        script=f"echo 1 > {RESULT}",
        more={"do_xcom_push": True},
    ),
    # The lifecycle.
    "startup_timeout_seconds": Effect(
        1,
        state="failed",
        cluster="node node-1\nnetwork fails for 60s\n",
        ran=lambda ran: type(ran.error).__name__ == "PodLaunchTimeout",
    ),
    "schedule_timeout_seconds": Effect(
        1,
        state="failed",
        cluster="node node-1\n",
        more={"node_selector": {"no": "node"}},
        ran=lambda ran: type(ran.error).__name__ == "PodLaunchTimeout",
    ),
    # Nothing is polled.
    "startup_check_interval_seconds": Effect(1, ran=lambda ran: ran.has("[base] hello")),
    "base_container_status_polling_interval": Effect(9, ran=lambda ran: ran.has("[base] hello")),
    "poll_interval": Effect(9, ran=lambda ran: ran.has("[base] hello")),
    # What happens is always told, and why.
    "log_events_on_startup": Effect(False, ran=lambda ran: ran.has("[kpo]") and ran.has("assigned to node-1")),
    "log_events_on_failure": Effect(
        False, state="failed", script="exit 3", ran=lambda ran: ran.has("the program exited 3")
    ),
    # Always streamed.
    "logging_interval": Effect(1, ran=lambda ran: ran.log.count("[base] hello") == 1),
    "get_logs": Effect(False, ran=lambda ran: not ran.has("[base] hello")),
    "container_logs": Effect(
        ["beside"],
        ran=lambda ran: ran.has("[beside] side") and not ran.has("[base] hello"),
        more={
            "full_pod_spec": k8s.V1Pod(
                spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base"), container("beside", "echo", "side")])
            )
        },
    ),
    "init_container_logs": Effect(
        ["before"],
        ran=lambda ran: ran.has("[before] first"),
        more={"init_containers": [container("before", "echo", "first")]},
    ),
    "container_name_log_prefix_enabled": Effect(False, ran=lambda ran: "hello" in ran.log),
    "log_formatter": Effect(formatted, ran=lambda ran: ran.has("base said hello")),
    "do_xcom_push": Effect(True, script=f"echo 5 > {RESULT}", ran=lambda ran: ran.xcom["return_value"] == 5),
    "skip_on_exit_code": Effect(4, script="exit 4", state="skipped"),
    "log_pod_spec_on_failure": Effect(
        False, state="failed", script="exit 3", ran=lambda ran: "remote_pod" not in str(ran.error)
    ),
    "on_finish_action": Effect("keep_pod", pod=lambda pod: pod.metadata.labels["already_checked"] == "True"),
    "callbacks": Effect([Told], ran=lambda ran: Told.lines == ["created"]),
    "progress_callback": Effect(progress, ran=lambda ran: Told.lines == ["hello"]),
}

#: What takes more than one run to be seen: a test that would fail without it.
SEEN_ELSEWHERE = {
    "config_file": test_lifecycle.test_a_connection_is_resolved_where_it_is_used,
    "deferrable": test_secrets.test_no_secret_is_deferred,
    "durable": test_tries.test_without_durable_the_earlier_trys_pod_is_stopped_first,
    "reattach_on_restart": test_tries.test_without_durable_the_earlier_trys_pod_is_stopped_first,
    "on_kill_action": test_lifecycle.test_on_kill_action_keep_pod,
    "trigger_kwargs": test_trigger.test_trigger_kwargs_come_back_to_the_task,
}

#: Refused, or told to mean nothing, when the DAG is parsed: see test_pod.
TOLD_WHEN_PARSED = {"is_delete_operator_pod"}


def parameters() -> list[str]:
    signature = inspect.signature(Upstream.__init__)
    return [
        name
        for name, parameter in signature.parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    ]


def test_each_is_in_the_table() -> None:
    assert set(parameters()) == set(EFFECTS) | set(SEEN_ELSEWHERE) | TOLD_WHEN_PARSED


@pytest.mark.parametrize("name", EFFECTS)
def test_its_effect(shell: Shell, name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    effect = EFFECTS[name]
    Told.lines = []
    more = dict(effect.more)
    if effect.value is not None:
        more[name] = effect.value
    if name == "pod_template_file":
        import yaml

        more[name] = str(tmp_path / "pod.yaml")
        (tmp_path / "pod.yaml").write_text(yaml.safe_dump(TEMPLATE))
    if effect.pod is not None:
        more |= {"on_finish_action": "keep_pod"}
    if name == "kubernetes_conn_id":
        connection = {"conn_type": "kubernetes", "extra": {"namespace": "team-a"}}
        monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps(connection))
    with kpo.lab(effect.cluster) as lab:
        if name == "cluster_context":
            more[name] = _context(lab)
        ran = shell(lab, effect.script, **more)
        kept = pods(lab, ran.xcom.get("pod_namespace", "default"))
    assert ran.state == effect.state, ran.error
    assert len(kept) == (0 if effect.pod is None else 1)
    assert effect.pod is None or effect.pod(kept[0])
    assert effect.ran is None or effect.ran(ran)


def _context(lab: kpo.Lab) -> str:
    import yaml

    return str(yaml.safe_load(lab.kubeconfig)["current-context"])


@pytest.mark.parametrize("name", ["execution_timeout"])
def test_airflows_own(shell: Shell, name: str) -> None:
    with kpo.lab("quiet") as lab:
        ran = shell(lab, "sleep 60", execution_timeout=timedelta(seconds=1))
        assert pods(lab) == []
    assert type(ran.error).__name__ == "AirflowTaskTimeout"


def test_ours_are_upstreams_and_more() -> None:
    assert issubclass(KubernetesPodOperator, Upstream)
    assert set(KubernetesPodOperator.template_fields) == set(Upstream.template_fields)
