"""A task is run to its end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from conftest import Log, pod, until_gone

import kpo


def test_a_task_prints_and_succeeds(client: kpo.Client, log: Log, kpo_lab: kpo.Lab) -> None:
    outcome = kpo.run(pod("echo hello", "echo bye"), client=client, on_event=log)
    assert outcome.succeeded and outcome.exit_code == 0 and outcome.check() is outcome
    assert log.printed() == ["hello", "bye"]
    assert isinstance(log.events[-1], kpo.events.Finished)
    until_gone(client)


def test_the_same_in_an_event_loop(client: kpo.Client, log: Log) -> None:
    outcome = asyncio.run(kpo.run_async(pod("echo hello"), client=client, on_event=log))
    assert outcome.succeeded and log.printed() == ["hello"]


@pytest.mark.usefixtures("kpo_lab")
@pytest.mark.kpo_lab("preemption")
def test_a_preempted_pod_is_run_again(log: Log) -> None:
    outcome = kpo.run(pod("echo hello"), on_event=log)
    first, second = outcome.attempts
    assert outcome.succeeded and log.printed() == ["hello"]
    assert first.verdict is not None and (first.verdict.kind, first.verdict.cause, first.verdict.started) == (
        "disrupted",
        "preemption",
        "never",
    )
    assert (
        first.verdict.proof == "kubelet-attested" and first.times.started is None and second.times.started is not None
    )
    assert [event.attempt for event in log.of(kpo.events.Created)] == [1, 2]


@pytest.mark.kpo_lab("preemption")
def test_and_in_an_event_loop_beside_others(kpo_lab: kpo.Lab) -> None:
    async def both() -> list[kpo.Outcome]:
        with kpo_lab.client(shared_watch=True) as client:
            tasks = [kpo.run_async(pod("echo hello", name=name), client=client) for name in ("apple", "pear")]
            return await asyncio.gather(*tasks)

    assert [outcome.verdict for outcome in asyncio.run(both())] == ["succeeded", "succeeded"]
    # One watch saw both.
    assert kpo_lab.requests()["watch pods"] == 1


def test_many_beside_each_other(kpo_lab: kpo.Lab) -> None:
    async def all_of_them() -> list[kpo.Outcome]:
        with kpo_lab.client(shared_watch=True) as client:
            tasks = [kpo.run_async(pod(f"exit {code}", name=f"task-{code}"), client=client) for code in range(20)]
            return await asyncio.gather(*tasks)

    assert [outcome.exit_code for outcome in asyncio.run(all_of_them())] == list(range(20))
    assert kpo_lab.requests()["watch pods"] == 1


@pytest.mark.kpo_lab("preemption")
def test_a_preempted_pod_may_be_the_end(client: kpo.Client) -> None:
    with pytest.raises(kpo.TaskDisrupted, match="preempted by pod kube-system/node-agent") as raised:
        kpo.run(pod("echo hello"), client=client, rerun="never", check=True)
    assert raised.value.outcome.exit_code == 75


def test_a_failure_is_an_outcome_or_an_exception(client: kpo.Client) -> None:
    outcome = kpo.run(pod("echo oops", "exit 3"), client=client)
    assert (outcome.verdict, outcome.exit_code, outcome.reason) == ("failed", 3, "programFailed")
    assert outcome.message.startswith("failed: the program exited 3 on node-1")
    with pytest.raises(kpo.TaskFailed, match="the program exited 3") as raised:
        kpo.run(pod("exit 3", name="other"), client=client, check=True)
    assert raised.value.outcome.exit_code == 3


def test_an_image_and_arguments_are_enough(client: kpo.Client, log: Log) -> None:
    outcome = kpo.run(
        image="busybox",
        args=["sh", "-c", "echo $WHO $1"],
        command=True,
        env={"WHO": "me = you"},
        client=client,
        on_event=log,
    )
    assert outcome.succeeded and log.printed() == ["me = you"] and outcome.task.startswith("busybox-")


def test_yaml_and_values_that_are_set(client: kpo.Client, log: Log) -> None:
    text = "kind: Pod\nmetadata: {name: y}\nspec:\n  containers: [{name: base, image: b, args: [sh, -c, 'echo $A']}]\n"
    outcome = kpo.run(
        text, client=client, on_event=log, set={"spec.containers[0].env": [{"name": "A", "value": "0x1F"}]}, name="z"
    )
    assert (outcome.task, log.printed()) == ("z", ["0x1F"])


@pytest.mark.parametrize(
    ("results", "more"),
    [("message", {}), ("sidecar", {"results_image": "busybox"}), ("exec", {"results_image": "busybox"})],
)
def test_a_result_comes_back(client: kpo.Client, log: Log, results: Any, more: Any) -> None:
    result = {"day": 7, "digits": 12345678901234567890, "words": ["ä", None]}
    script = f"mkdir -p /airflow/xcom; cat > /airflow/xcom/return.json <<'END'\n{json.dumps(result)}\nEND"
    outcome = kpo.run(pod(script), client=client, result=True, results=results, on_event=log, **more)
    assert outcome.check().result == result
    assert outcome.result_text is not None and json.loads(outcome.result_text) == result
    assert "12345678901234567890" not in repr(outcome) + repr(log.events)
    assert log.of(kpo.events.ResultLimit)


def test_a_result_that_is_missing_is_a_failure(client: kpo.Client) -> None:
    outcome = kpo.run(pod("true"), client=client, result="/out/result.json", results="message")
    assert (outcome.verdict, outcome.reason, outcome.exit_code) == ("failed", "resultMissing", 65)
    assert outcome.result is None and outcome.result_text is None


def test_logs_of_which_containers(client: kpo.Client) -> None:
    two = pod("echo mine")
    two["spec"]["containers"].append({"name": "other", "image": "busybox", "command": ["sh", "-c", "echo theirs"]})

    def printed(name: str, logs: Any) -> tuple[list[str], list[str]]:
        log = Log()
        assert kpo.run(two, client=client, name=name, logs=logs, on_event=log).succeeded
        return log.printed("base"), log.printed("other")

    assert printed("a", True) == (["mine"], ["theirs"])
    assert printed("b", ["other"]) == ([], ["theirs"])
    assert printed("c", "base") == (["mine"], [])
    assert printed("d", False) == ([], [])


def test_what_cannot_be_taken_is_one_clear_line(client: kpo.Client, kpo_lab: kpo.Lab) -> None:
    secret = pod("true", restartPolicy="Always")
    secret["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "s3cret"}]
    rows: list[tuple[Any, dict[str, Any], str]] = [
        (secret, {}, "restartPolicy"),
        ("kind: [", {}, "the pod"),
        (pod("true"), {"timeout": 0}, "timeout is 0 s: it is a time above 0, or None"),
        (pod("true"), {"run_timeout": -1}, "run_timeout is -1 s"),
        (pod("true"), {"rerun": "sometimes"}, "unknown variant `sometimes`"),
        (pod("true"), {"retries": "s3cret"}, "a value of a wrong type"),
        (pod("true"), {"retrys": 1}, "there is no option retrys"),
        (pod("true"), {"result": True}, "the result needs an image"),
        (pod("true"), {"rerun": "never", "replace_unreachable_after": 600}, "reruns are forbidden"),
        (pod("true"), {"keep_failed_for": 60}, "keep_failed_for means something"),
        (pod("true"), {"env": {"A": object()}, "args": [object()]}, "a value of a wrong type"),
        ({"kind": "Pod", "spec": {"x": object()}}, {}, "none of JSON's"),
        (7, {}, "int is none of them"),
        (None, {}, "image"),
    ]
    for manifest, options, said in rows:
        with pytest.raises(kpo.InputError) as raised:
            kpo.run(manifest, client=client, **options)
        text = str(raised.value)
        assert said in text and "s3cret" not in text, (options, text)
    assert "create pods" not in kpo_lab.requests()


def test_a_name_that_is_taken_is_told_before_anything_is_made(client: kpo.Client, kpo_lab: kpo.Lab) -> None:
    kept = kpo.run(pod("true"), client=client, on_finish="keep")
    assert kept.succeeded and client.find("juice") == ["juice-1"]
    with pytest.raises(
        kpo.TaskExistsError, match="task juice has ended, and its pod juice-1 in namespace default is kept"
    ):
        kpo.run(pod("true"), client=client)
    assert kpo_lab.requests()["create pods"] == 1


def test_an_outcome_that_could_not_be_saved_is_not_lost(client: kpo.Client) -> None:
    def save(event: kpo.events.Event) -> None:
        if isinstance(event, kpo.events.OutcomeReady):
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        kpo.run(pod("echo hello", "exit 4"), client=client, on_event=save)
    assert client.find("juice") == ["juice-1"]
    with kpo.attach("juice", client=client, take_over=True) as task:
        assert task.outcome().exit_code == 4
    until_gone(client)


def test_fields_of_a_job_that_mean_nothing_are_named(client: kpo.Client, log: Log) -> None:
    template = {"spec": pod("true")["spec"] | {"restartPolicy": "Never"}}
    job = {"kind": "Job", "metadata": {"name": "j"}, "spec": {"backoffLimit": 4, "template": template}}
    assert kpo.run(job, client=client, on_event=log).succeeded
    [unused] = log.of(kpo.events.Unused)
    assert unused.fields == ("spec.backoffLimit",)


def test_a_job_has_its_own_clock_unless_told_otherwise(client: kpo.Client) -> None:
    template = {"spec": pod("sleep 60")["spec"] | {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1}}
    job = {"kind": "Job", "metadata": {"name": "j"}, "spec": {"activeDeadlineSeconds": 1, "template": template}}
    assert kpo.run(job, client=client).exit_code == 124
