"""The Python client (`kubernetes` on PyPI) against the lab: create, watch, read the log, exec, delete, and the errors in between.

Run by `.ci/run` inside `kpo lab --`, which sets KUBECONFIG."""

import sys

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream

config.load_kube_config()
api = client.CoreV1Api()


def pod(name, script):
    container = client.V1Container(name="base", image="busybox", command=["sh", "-c", script])
    spec = client.V1PodSpec(restart_policy="Never", termination_grace_period_seconds=1, containers=[container])
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels={"app": "it"}), spec=spec)


def wait(name, phase):
    for event in watch.Watch().stream(
        api.list_namespaced_pod, "default", field_selector=f"metadata.name={name}", timeout_seconds=60
    ):
        if event["object"].status.phase == phase:
            return event["object"]
    sys.exit(f"{name} never became {phase}")


passed = 0


def check(what, ok):
    global passed
    if not ok:
        sys.exit(f"failed: {what}")
    passed += 1


api.create_namespaced_pod("default", pod("hello", "echo hello; exit 3"))
ended = wait("hello", "Failed")
check("the exit code", ended.status.container_statuses[0].state.terminated.exit_code == 3)
check("the log", api.read_namespaced_pod_log("hello", "default") == "hello\n")
check("a list by label", len(api.list_namespaced_pod("default", label_selector="app=it").items) == 1)
try:
    api.create_namespaced_pod("default", pod("hello", "true"))
    check("a second pod of the name is refused", False)
except ApiException as error:
    check("a second pod of the name is refused", error.status == 409)
api.create_namespaced_pod("default", pod("sleeper", "trap 'exit 0' TERM; while :; do sleep 0.1; done"))
wait("sleeper", "Running")
said = stream(
    api.connect_get_namespaced_pod_exec, "sleeper", "default", command=["echo", "from inside"], stdout=True, stderr=True,
    stdin=False, tty=False,
)
check("an exec", said == "from inside\n")
api.delete_namespaced_pod("sleeper", "default")
for event in watch.Watch().stream(api.list_namespaced_pod, "default", timeout_seconds=60):
    if event["type"] == "DELETED" and event["object"].metadata.name == "sleeper":
        break
try:
    api.read_namespaced_pod("sleeper", "default")
    check("it is gone", False)
except ApiException as error:
    check("it is gone", error.status == 404)
print(f"{passed} passed, 0 failed")
