"""Where the pods are: the embedded cluster, or the real one of ``cluster/cluster``, which is up and has two nodes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import yaml
from installation import until
from kubernetes import client as k8s
from kubernetes import config as kubernetes_config

import kpo

#: Of the tasks.
NAMESPACE = "default"

#: Somebody's, of dags/program.py.
GATE = "team.example/license"


class Cluster(Protocol):
    """A cluster in one of the situations that the tests are about. Each is over with its block."""

    #: One that it has.
    image: str

    def fresh_node(self) -> AbstractContextManager[Stage]:
        """A node on which no pod can start yet; :meth:`Stage.come_up` goes on."""

    def quiet(self) -> AbstractContextManager[Stage]:
        """Room for everybody."""


class Stage(Protocol):
    def come_up(self) -> None:
        """The DaemonSet of the fresh node comes, of a higher priority, and takes the place of the pod that waits there. Another node comes after it."""

    def preempt(self, pod: str) -> None:
        """One of higher priority takes the pod's place; there is another for its successor."""

    def delete(self, pod: str) -> None:
        """By hand, as kubectl does it."""

    def api_away(self, seconds: float) -> AbstractContextManager[None]:
        """Nobody is answered for so long, the block in it."""

    def pods(self) -> list[str]:
        """Those of tasks."""

    def phase(self, pod: str) -> str:
        """Empty: there is none."""

    def is_doomed(self, pod: str) -> bool:
        """Whether it is on its way out, or gone."""

    def is_gated(self, pod: str) -> bool:
        """Whether somebody's gate holds it back."""

    def ungate(self, pod: str) -> None:
        """As a queue lets it go."""

    def age(self, pod: str) -> float:
        """In seconds."""

    def requests(self) -> int:
        """So far, whoever's. Only the lab counts them."""


def core(kubeconfig: Path) -> k8s.CoreV1Api:
    configuration = k8s.Configuration()
    kubernetes_config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    return k8s.CoreV1Api(k8s.ApiClient(configuration))


class _Pods:
    """What is the same on both."""

    def __init__(self, kubeconfig: Path) -> None:
        self._core = core(kubeconfig)

    def pods(self) -> list[str]:
        return [pod.metadata.name for pod in self._tasks()]

    def phase(self, pod: str) -> str:
        return next((found.status.phase for found in self._tasks() if found.metadata.name == pod), "")

    def delete(self, pod: str) -> None:
        self._core.delete_namespaced_pod(pod, NAMESPACE)

    def _until_doomed(self, pod: str) -> None:
        until("it is taken away", lambda: self.is_doomed(pod))

    def is_doomed(self, pod: str) -> bool:
        try:
            found = self._core.read_namespaced_pod(pod, NAMESPACE)
        except k8s.ApiException as error:
            if error.status != 404:
                raise
            return True
        return found.metadata.deletion_timestamp is not None

    def is_gated(self, pod: str) -> bool:
        return any(gate.name == GATE for gate in self._read(pod).spec.scheduling_gates or [])

    def ungate(self, pod: str) -> None:
        gates = [{"$patch": "delete", "name": GATE}]
        self._core.patch_namespaced_pod(pod, NAMESPACE, {"spec": {"schedulingGates": gates}})

    def age(self, pod: str) -> float:
        created: datetime = self._read(pod).metadata.creation_timestamp
        return (datetime.now(timezone.utc) - created).total_seconds()

    def _read(self, pod: str) -> Any:
        return self._core.read_namespaced_pod(pod, NAMESPACE)

    def _tasks(self) -> list[Any]:
        found: list[Any] = self._core.list_namespaced_pod(NAMESPACE, label_selector="airflow_version").items
        return found


class LabStage(_Pods):
    def __init__(self, lab: kpo.Lab, kubeconfig: Path) -> None:
        super().__init__(kubeconfig)
        self._lab = lab

    def come_up(self) -> None:
        """Its script does."""

    def preempt(self, pod: str) -> None:
        self._lab.play(f"at 0s: preempt pod {pod}")
        self._until_doomed(pod)

    def requests(self) -> int:
        return sum(self._lab.requests().values())

    @contextmanager
    def api_away(self, seconds: float) -> Iterator[None]:
        self._lab.play(f"at 0s: api down {seconds:.0f}s")
        yield


class LabCluster:
    """The embedded one, a new one each time, whose kubeconfig is always at the same place."""

    image = "busybox"

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig

    def fresh_node(self) -> AbstractContextManager[Stage]:
        return self._lab("preemption")

    def quiet(self) -> AbstractContextManager[Stage]:
        return self._lab("node node-1\nnode node-2\n")

    @contextmanager
    def _lab(self, script: str) -> Iterator[Stage]:
        with kpo.lab(script) as lab:
            shutil.copy(lab.kubeconfig_path, self._kubeconfig)
            yield LabStage(lab, self._kubeconfig)


# --- the real one ------------------------------------------------------------------------------------------------------------------------

NODES = ("node-1", "node-2")
#: Whose label a node has gets the agent.
READY = "node-agent"
#: What a task's pod asks for that says nothing of it, and what the agent does: a node has room for one of them.
SHARE = "0.6"


def _agent(image: str, cpu: str) -> Any:
    program = {
        "name": "agent",
        "image": image,
        "command": ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 1; done"],
        "resources": {"requests": {"cpu": cpu}},
    }
    spec = {
        "nodeSelector": {READY: "ready"},
        # It brings the network.
        "hostNetwork": True,
        "priorityClassName": "system-node-critical",
        "terminationGracePeriodSeconds": 1,
        "containers": [program],
    }
    labels = {"app": READY}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {"metadata": {"name": READY}, "spec": {"selector": {"matchLabels": labels}, "template": template}}


class RealStage(_Pods):
    def __init__(self, kubeconfig: Path, conf: Path) -> None:
        super().__init__(kubeconfig)
        #: What the first node's network is made by.
        self._conf = conf
        self._apps = k8s.AppsV1Api(self._core.api_client)

    @contextmanager
    def prepared(self, image: str) -> Iterator[None]:
        """Two nodes with room for a task each, and an agent that takes it where it comes to."""
        # Whoever was killed has left what he did.
        self._tidy()
        share = f"{int(float(self._core.read_node(NODES[0]).status.allocatable['cpu']) * float(SHARE) * 1000)}m"
        limits = {"type": "Container", "defaultRequest": {"cpu": share}}
        try:
            self._core.create_namespaced_limit_range(
                NAMESPACE, {"metadata": {"name": "share"}, "spec": {"limits": [limits]}}
            )
            self._apps.create_namespaced_daemon_set("kube-system", _agent(image, share))
            yield
        finally:
            self._tidy()

    def _tidy(self) -> None:
        self._network("bridge")
        for node in NODES:
            self._node(node, {"metadata": {"labels": {READY: None}}, "spec": {"unschedulable": None}})
        with contextlib.suppress(k8s.ApiException):
            self._core.delete_namespaced_limit_range("share", NAMESPACE)
        with contextlib.suppress(k8s.ApiException):
            self._apps.delete_namespaced_daemon_set(READY, "kube-system")
        for pod in self.pods():
            with contextlib.suppress(k8s.ApiException):
                self._core.patch_namespaced_pod(pod, NAMESPACE, {"metadata": {"finalizers": None}})
                self._core.delete_namespaced_pod(pod, NAMESPACE, grace_period_seconds=1)
        until("the cluster is empty", lambda: not self.pods() and not self._agents())

    def _agents(self) -> list[Any]:
        found: list[Any] = self._core.list_namespaced_pod("kube-system", label_selector=f"app={READY}").items
        return found

    def _node(self, name: str, patch: Any) -> None:
        self._core.patch_node(name, patch)

    def without_network(self) -> None:
        """Only the first node takes pods, and none of them gets a network, until the agent is there."""
        self._network("not-here-yet")
        self._node(NODES[1], {"spec": {"unschedulable": True}})

    def _network(self, plugin: str) -> None:
        conf = json.loads(self._conf.read_text())
        conf["plugins"][0]["type"] = plugin
        new = self._conf.with_suffix(".new")
        new.write_text(json.dumps(conf))
        os.replace(new, self._conf)

    def come_up(self) -> None:
        pod = until("a pod waits on the fresh node", self._waiting)
        self._take(NODES[0])
        self._until_doomed(pod)
        # The agent brings the network: without it the kubelet could not end the pod either.
        self._network("bridge")
        self._node(NODES[1], {"spec": {"unschedulable": None}})

    def _waiting(self) -> str | None:
        """One that was refused a network: a kubelet that is still about to ask for it would start the pod when the agent brings it, though it is deleted."""
        reason = "reason=FailedCreatePodSandBox"
        refused = {
            event.involved_object.uid
            for event in self._core.list_namespaced_event(NAMESPACE, field_selector=reason).items
        }
        return next((pod.metadata.name for pod in self._tasks() if pod.metadata.uid in refused), None)

    def _take(self, node: str) -> None:
        self._node(node, {"metadata": {"labels": {READY: "ready"}}})

    def preempt(self, pod: str) -> None:
        self._take(self._core.read_namespaced_pod(pod, NAMESPACE).spec.node_name)
        self._until_doomed(pod)

    def requests(self) -> int:
        raise NotImplementedError("requests are counted on the lab")

    @contextmanager
    def api_away(self, seconds: float) -> Iterator[None]:
        _cluster("signal", "kube-apiserver", "STOP")
        try:
            yield
            time.sleep(seconds)
        finally:
            _cluster("signal", "kube-apiserver", "CONT")


def _cluster(*words: str) -> None:
    subprocess.run(["cluster/cluster", *words], check=True)


#: Of Airflow, and how long its token is good for: longer than all tests take.
ACCOUNT = "airflow"
GOOD_FOR = 6 * 3600


def _account(admin: Path) -> Any:
    """The kubeconfig of an account with the Roles of docs/rbac.yaml."""
    api, rbac = core(admin), k8s.RbacAuthorizationV1Api(core(admin).api_client)
    with _unless_there():
        api.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": ACCOUNT}})
    for role in yaml.safe_load_all(Path("docs/rbac.yaml").read_text()):
        if role["metadata"]["name"] in ("kpo-run", "kpo-logs", "kpo-events"):
            _bind(rbac, role)
    request = {"spec": {"expirationSeconds": GOOD_FOR}}
    token = api.create_namespaced_service_account_token(ACCOUNT, NAMESPACE, request).status.token
    config = yaml.safe_load(admin.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    return config


def _bind(rbac: k8s.RbacAuthorizationV1Api, role: Any) -> None:
    metadata = role["metadata"]
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": metadata["name"]}
    with contextlib.suppress(k8s.ApiException):
        rbac.delete_namespaced_role(metadata["name"], NAMESPACE)
    rbac.create_namespaced_role(NAMESPACE, role)
    with _unless_there():
        rbac.create_namespaced_role_binding(NAMESPACE, {"metadata": metadata, "subjects": [subject], "roleRef": ref})


@contextmanager
def _unless_there() -> Iterator[None]:
    try:
        yield
    except k8s.ApiException as error:
        if error.status != 409:
            raise


class RealCluster:
    """The real one. Airflow's tasks may do there what docs/rbac.yaml says, and no more."""

    image = "busybox:1"

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._admin, self._folder = folder / "admin.kubeconfig", folder
        kubeconfig.write_text(json.dumps(_account(self._admin)))

    @contextmanager
    def quiet(self) -> Iterator[RealStage]:
        stage = RealStage(self._admin, self._folder / "cni" / "10-bridge.conflist")
        with stage.prepared(self.image):
            yield stage

    @contextmanager
    def fresh_node(self) -> Iterator[RealStage]:
        with self.quiet() as stage:
            stage.without_network()
            yield stage
