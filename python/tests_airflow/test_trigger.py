"""The trigger alone: what it takes and hands back, whom it follows, and who stops it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from harness import GoneByThen, Shell, all_pods, begun, pods, wait_until
from kubernetes.client import Configuration

import kpo
from kpo import events
from kpo.airflow import KubernetesPodOperator, _connection
from kpo.airflow._compat import AirflowException
from kpo.airflow._log import TaskLog
from kpo.airflow.trigger import KpoPodTrigger


def trigger(lab: kpo.Lab, **more: Any) -> KpoPodTrigger:
    return KpoPodTrigger(
        **{"task": "juice", "namespace": "default", "pod": "juice-1", "config_file": lab.kubeconfig_path, **more}
    )


async def first(of: KpoPodTrigger) -> dict[str, Any]:
    async for event in of.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("no event")


def test_a_trigger_serialises_all_it_takes() -> None:
    arguments = {
        "task": "juice",
        "namespace": "ns",
        "pod": "juice-2",
        "nonce": "n",
        "kubernetes_conn_id": "conn",
        "in_cluster": False,
        "cluster_context": "context",
        "config_file": "/a/path",
        "hook_path": "a.package.Hook",
        "hook_arguments": {"region": "eu"},
        "logs": ["base"],
        "prefix": False,
        "deadline": 5.0,
        "cancels": False,
        "trigger_kwargs": {"a": 1},
        "try_number": 2,
    }
    path, serialised = KpoPodTrigger(**arguments).serialize()
    assert path == f"{KpoPodTrigger.__module__}.{KpoPodTrigger.__qualname__}"
    assert serialised == arguments
    assert json.loads(json.dumps(serialised)) == serialised


def test_many_triggers_share_one_watch() -> None:
    async def together(lab: kpo.Lab) -> list[dict[str, Any]]:
        return await asyncio.gather(*(first(trigger(lab, task=f"t{n}", pod=f"t{n}-1")) for n in range(5)))

    with kpo.lab("quiet") as lab:
        client = lab.client()
        for n in range(5):
            with kpo.Task(image="busybox", args=["sleep", "1"], name=f"t{n}", client=client, protect=True) as task:
                # A request that comes later would be taken for one of a trigger's.
                while not isinstance(task.next_event(10), kpo.events.Sight):
                    pass
                task.detach()
        before = lab.requests().get("watch pods", 0)
        told = asyncio.run(together(lab))
        assert lab.requests()["watch pods"] == before + 1
        # No trigger deletes what has ended.
        assert len(pods(lab)) == 5
    assert [event["status"] for event in told] == ["success"] * 5


class NamedHook:
    """Finds its cluster by the path of a kubeconfig, and says that it was made."""

    made: ClassVar[list[str]] = []

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig
        self.made.append(kubeconfig)

    def get_conn(self) -> Any:
        return KubernetesHook(conn_id=None, config_file=self._kubeconfig).get_conn()


def test_hooks_of_other_arguments_are_other_connections() -> None:
    async def together(labs: list[kpo.Lab]) -> list[dict[str, Any]]:
        hook = {"hook_path": f"{__name__}.NamedHook", "config_file": None}
        made = [trigger(lab, **hook, hook_arguments={"kubeconfig": lab.kubeconfig_path}) for lab in labs]
        return await asyncio.gather(*map(first, made))

    NamedHook.made.clear()
    with kpo.lab("quiet") as one, kpo.lab("quiet") as two:
        begun(one, "sleep 1", protect=True)
        begun(two, "sleep 1; exit 3", protect=True)
        told = asyncio.run(together([one, two]))
        assert NamedHook.made == [one.kubeconfig_path, two.kubeconfig_path]
    assert [event["status"] for event in told] == ["success", "failed"]


def test_trigger_kwargs_are_handed_on_and_overwrite_nothing() -> None:
    with kpo.lab("quiet") as lab:
        begun(lab, "true", protect=True)
        event = asyncio.run(first(trigger(lab, trigger_kwargs={"mine": 1, "status": "mine"})))
    assert (event["mine"], event["status"], event["name"]) == (1, "success", "juice-1")


def test_trigger_kwargs_come_back_to_the_task(deferred: Shell) -> None:
    told: list[Any] = []

    class Resumed(KubernetesPodOperatorCallback):
        @staticmethod
        def on_operator_resuming(*, event: dict[str, Any], **kwargs: Any) -> None:
            told.append(event["mine"])

    with kpo.lab("quiet") as lab:
        deferred(lab, "true", trigger_kwargs={"mine": 1}, callbacks=Resumed)
    assert told == [1]


def test_a_deadline_ends_the_task() -> None:
    with kpo.lab("quiet") as lab:
        begun(lab)
        event = asyncio.run(first(trigger(lab, deadline=0.0)))
        assert pods(lab) == []
    assert event["status"] == "timeout"


def test_a_task_that_is_gone() -> None:
    with kpo.lab("quiet") as lab:
        event = asyncio.run(first(trigger(lab)))
    assert event["status"] == "failed"
    assert event["message"].startswith("no pod of task juice")


def test_a_cluster_that_is_not_there_is_no_failure_of_the_task(tmp_path: Any) -> None:
    with kpo.lab("quiet") as lab:
        gone = trigger(lab)
        gone.config_file = str(tmp_path / "none.yaml")
        event = asyncio.run(first(gone))
    assert event["status"] == "error"


def test_another_run_of_the_same_name_is_not_followed() -> None:
    """A fixed name is that of all runs."""
    with kpo.lab("quiet") as lab:
        begun(lab)
        event = asyncio.run(first(trigger(lab, nonce="of-a-run-that-is-gone")))
        asyncio.run(trigger(lab, nonce="of-a-run-that-is-gone").on_kill())
        assert len(pods(lab)) == 1
    assert event["status"] == "failed"
    assert event["message"].startswith("no pod of task juice")
    assert event["kpo"]["nonce"] == "of-a-run-that-is-gone"


def test_another_run_of_the_same_name_is_not_resumed(deferred: Shell) -> None:
    """It has come between the trigger's event and the resumption."""

    class Another(GoneByThen):
        def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
            event["kpo"]["nonce"] = "of-a-run-that-is-gone"
            return KubernetesPodOperator.trigger_reentry(self, context, event)

    with kpo.lab("quiet") as lab:
        ran = deferred(lab, "exit 3", Another, random_name_suffix=False)
        assert len(pods(lab)) == 1
    assert str(ran.error).startswith("failed: the program exited 3")
    assert "remote_pod" not in str(ran.error)


@pytest.fixture(autouse=True)
def state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What Airflow says of the task, or raises. "failed": a user has marked it so."""
    state = getattr(request, "param", "failed")

    async def answer(self: Any) -> Any:
        if isinstance(state, Exception):
            raise state
        return state

    monkeypatch.setattr(KpoPodTrigger, "get_task_state", answer)
    return state


@pytest.mark.parametrize("cancels", [True, False])
def test_a_user_who_stops_a_deferred_task(cancels: bool) -> None:
    with kpo.lab("quiet") as lab:
        begun(lab)
        asyncio.run(trigger(lab, cancels=cancels).on_kill())
        assert len(pods(lab)) == (0 if cancels else 1)


@pytest.mark.parametrize("has_on_kill", [True, False])
@pytest.mark.parametrize(
    ("state", "left"),
    [("deferred", 1), (None, 0), ("failed", 0), (AirflowException("it is not found"), 0), (OSError("gone"), 1)],
    indirect=["state"],
)
def test_a_trigger_asks_who_stopped_it(
    monkeypatch: pytest.MonkeyPatch, state: Any, left: int, has_on_kill: bool
) -> None:
    """Before Airflow 3.3 nobody tells. Since then a triggerer that was not heard of for a while, and whose triggers another one has, is told of a user, too,
    though there was none: perhaps before the other one has begun."""
    monkeypatch.setattr("kpo.airflow.trigger._HAS_ON_KILL", has_on_kill)
    monkeypatch.setattr("kpo.airflow.trigger._ASKS_FOR", -1.0)
    with kpo.lab("quiet") as lab:
        begun(lab)
        of = trigger(lab)
        asyncio.run(of.on_kill() if has_on_kill else of.cleanup())
        assert len(pods(lab)) == left


class Notes(KpoPodTrigger):
    """Tells when it has found its task."""

    async def until_adopted(self) -> asyncio.Future[Any]:
        self.adopted = asyncio.Event()
        running = asyncio.ensure_future(first(self))
        await self.adopted.wait()
        return running

    async def _outcome(self, task: Any, log: Any) -> Any:
        await task.__anext__()
        self.adopted.set()
        return await super()._outcome(task, log)


async def cancelled(running: asyncio.Future[Any]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("state", ["deferred"], indirect=True)
def test_a_trigger_that_ends_leaves_the_pod(state: str) -> None:
    """A restart of the triggerer."""

    async def restarted(of: Notes) -> None:
        await cancelled(await of.until_adopted())
        await of.cleanup()

    with kpo.lab("quiet") as lab:
        begun(lab)
        asyncio.run(restarted(Notes(**trigger(lab).serialize()[1])))
        assert [pod.status.phase for pod in pods(lab)] != []


@pytest.mark.parametrize("is_taken_over", [False, True])
def test_a_user_who_stops_a_task_under_way(is_taken_over: bool) -> None:
    """A clear stops the old try's trigger, and the new try may have gone on with the pod by then: it is that one's."""

    async def killed(lab: kpo.Lab, of: Notes) -> None:
        running = await of.until_adopted()
        if is_taken_over:
            await asyncio.to_thread(go_on, lab)
        await cancelled(running)
        await of.on_kill()
        await of.cleanup()

    with kpo.lab("quiet") as lab:
        begun(lab)
        asyncio.run(killed(lab, Notes(**trigger(lab).serialize()[1])))
        assert len(pods(lab)) == (1 if is_taken_over else 0)


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_stop_that_airflow_does_not_wait_for_is_ended(has_begun: bool) -> None:
    """Airflow 3.3 cancels a trigger that it cancels with each look at its database: what stops the task, and what cleans up behind that. Left half-way,
    the finalizer would hold the pod for ever."""

    async def killed(lab: kpo.Lab, of: Notes) -> None:
        if has_begun:
            await cancelled(await of.until_adopted())
        killing = asyncio.ensure_future(of.on_kill())
        await asyncio.to_thread(wait_until, lambda: all_pods(lab)[0].metadata.deletion_timestamp)
        await cancelled(killing)
        cleaning = asyncio.ensure_future(of.cleanup())
        await asyncio.sleep(0)
        await cancelled(cleaning)
        await asyncio.to_thread(wait_until, lambda: not all_pods(lab))

    with kpo.lab("quiet") as lab:
        heedless = "trap '' TERM; while true; do sleep 0.1; done"
        begun(lab, heedless, protect=True, set={"spec.terminationGracePeriodSeconds": 2})
        asyncio.run(killed(lab, Notes(**trigger(lab).serialize()[1])))


def test_what_a_program_writes_while_it_is_stopped_is_in_the_log() -> None:
    said: list[str] = []

    class Heard(Notes):
        log: Any = SimpleNamespace(
            log=lambda level, text, *words: said.append(text % words), info=print, warning=print, exception=print
        )

    async def killed(of: Heard) -> None:
        running = await of.until_adopted()
        await asyncio.to_thread(wait_until, lambda: "[base] hello" in said)
        await cancelled(running)
        await of.on_kill()
        await of.cleanup()

    with kpo.lab("quiet") as lab:
        begun(lab, "trap 'echo bye; exit 0' TERM; echo hello; while true; do sleep 0.1; done")
        asyncio.run(killed(Heard(**{**trigger(lab).serialize()[1], "logs": True})))
    assert [line for line in said if line.startswith("[base]")] == ["[base] hello", "[base] bye"]


@pytest.mark.parametrize("live", [True, False])
def test_lines_are_a_workers_where_they_are_not_live(
    deferred: Shell, deferred_with: list[str], monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    """Airflow masks there what templates were given."""
    monkeypatch.setenv("AIRFLOW__KPO__LIVE_LOGS", str(live))
    with kpo.lab("quiet") as lab:
        ran = deferred(lab, "echo hello")
    assert ran.state == "success"
    assert ran.log.count("[base] hello") == 1
    assert [json.loads(text)[1]["logs"] for text in deferred_with] == [["base"] if live else []]


def test_a_group_of_lines_is_marked_in_the_triggers_log(capsys: pytest.CaptureFixture[str]) -> None:
    """What it prints is the triggerer's."""
    said: list[str] = []
    log = KpoPodTrigger(task="juice", namespace="default", pod="juice-1")._task_log()
    log._log = SimpleNamespace(log=lambda level, text, *words: said.append(text % words))
    marker = events.LogLine(0, b"::group::a", False, False, 1, 7)
    log.tell(events.Log(at=None, lines=(), pod="juice-1", container="base", log=(marker,)))  # type: ignore[arg-type]
    assert said == ["::group::a"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("no_proxy", "proxy"),
    [(None, "http://proxy:3128"), ("other.example", "http://proxy:3128"), ("10.0.0.0/8", None), ("10.0.0.1", None)],
)
def test_a_proxy_of_the_environment_does_not_hold_where_no_proxy_does(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str | None, proxy: str | None
) -> None:
    """The Python client takes both from there."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr("kpo.airflow._connection.kpo.Client", lambda **how: asked.update(how))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    if no_proxy is not None:
        monkeypatch.setenv("NO_PROXY", no_proxy)
    configuration = Configuration(host="https://10.0.0.1:6443")
    _connection.client(configuration, lambda: configuration)
    assert asked["proxy"] == proxy


def go_on(lab: kpo.Lab) -> None:
    """As a newer try's worker, until the pod is its own."""

    def mark() -> Any:
        return all_pods(lab)[0].metadata.annotations["kpo.rs/observer"]

    before = mark()
    with kpo.attach("juice", client=lab.client(), take_over=True) as task:
        wait_until(lambda: task.next_event(0.05) is None and mark() != before)
        task.detach()


@pytest.mark.parametrize(("label", "left"), [("1", 0), ("2", 1)])
def test_a_trigger_that_has_not_begun_goes_by_the_label(label: str, left: int) -> None:
    with kpo.lab("quiet") as lab:
        begun(lab, set={"metadata.labels.try_number": label})
        asyncio.run(trigger(lab, try_number=1).on_kill())
        assert len(pods(lab)) == left


def test_a_scheduler_is_left_the_time_to_learn_of_the_deferral(monkeypatch: pytest.MonkeyPatch) -> None:
    """airflow#67287: else it marks the task failed."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def follow(self: Any) -> Any:
        return {"status": "success", "kpo": {}}

    monkeypatch.setattr("kpo.airflow.trigger.SETTLES", 5_000.0)
    monkeypatch.setattr("kpo.airflow.trigger._sleep", sleep)
    monkeypatch.setattr(KpoPodTrigger, "_follow", follow)
    event = asyncio.run(first(KpoPodTrigger(task="juice", namespace="default", pod="juice-1")))
    assert event == {"status": "success", "kpo": {"hasLog": False}}
    assert [4_000 < seconds <= 5_000 for seconds in waited] == [True]


def test_a_stop_that_cannot_be_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def hold(self: Any) -> None:
        raise OSError("it cannot be reached")

    monkeypatch.setattr(KpoPodTrigger, "_hold", hold)
    asyncio.run(KpoPodTrigger(task="juice", namespace="default", pod="juice-1").on_kill())
    # Airflow 3's log goes to the terminal.
    assert "juice could not be stopped: OSError" in caplog.text + capfd.readouterr().out


def test_who_stops_it_is_asked_whoever_is_cancelled_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow 2 cancels a trigger again each second, too, and answers when it can."""
    asked: list[str] = []

    async def answer(self: Any) -> str:
        await asyncio.sleep(0)
        asked.append("answered")
        return "failed"

    async def cleaned(of: KpoPodTrigger) -> None:
        cleaning = asyncio.ensure_future(of.cleanup())
        await asyncio.sleep(0)
        await cancelled(cleaning)
        await asyncio.to_thread(wait_until, lambda: not all_pods(lab))

    monkeypatch.setattr("kpo.airflow.trigger._HAS_ON_KILL", False)
    monkeypatch.setattr(KpoPodTrigger, "get_task_state", answer)
    with kpo.lab("quiet") as lab:
        begun(lab)
        asyncio.run(cleaned(trigger(lab)))
    assert asked == ["answered"]


class Burst:
    """A task whose program has written much at once."""

    def __init__(self, lines: int) -> None:
        log = tuple(events.LogLine(0, b"a line", False, False, 1, 7) for _ in range(lines))
        self._events = [events.Log(at=None, lines=(), pod="juice-1", container="base", log=log)]

    def __aiter__(self) -> Burst:
        return self

    async def __anext__(self) -> events.Event:
        if not self._events:
            raise StopAsyncIteration
        return self._events.pop()

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()


@pytest.mark.parametrize(("lines", "seconds"), [(0, 0.0), (1, 0.002), (200, 0.4), (5_000, 2.0)])
def test_what_was_written_is_on_its_way(monkeypatch: pytest.MonkeyPatch, lines: int, seconds: float) -> None:
    monkeypatch.setattr("kpo.airflow._log.time", SimpleNamespace(monotonic=lambda: 7.0))
    log = TaskLog(SimpleNamespace(log=lambda *said: None))
    for event in Burst(lines)._events:
        log.tell(event)
    assert log.on_its_way() == pytest.approx(seconds)


def test_a_trigger_ends_when_its_lines_are_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's supervisor closes its file when it has ended."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("kpo.airflow.trigger._sleep", sleep)
    monkeypatch.setattr(TaskLog, "on_its_way", lambda self: 1.25)
    with kpo.lab("quiet") as lab:
        begun(lab, "echo hello")
        event = asyncio.run(first(trigger(lab)))
    assert event["status"] == "success"
    assert waited[0] == 1.25


def test_a_burst_of_lines_leaves_other_triggers_their_turn() -> None:
    turns = 0
    told: list[int] = []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def follow() -> None:
        beside = asyncio.ensure_future(others())
        log: Any = SimpleNamespace(log=lambda *said: told.append(turns))
        of = KpoPodTrigger(task="juice", namespace="default", pod="juice-1")
        burst: Any = Burst(1_000)
        await of._outcome(burst, TaskLog(log))
        await cancelled(beside)

    asyncio.run(follow())
    assert len(told) == 1_000
    assert max(told.count(turn) for turn in set(told)) <= 20
