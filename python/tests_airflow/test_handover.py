"""A triggerer that is stopped: the next one goes on with the log behind its last line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness import begun, pods, wait_until

import kpo
from kpo import events
from kpo.airflow._log import TaskLog
from kpo.airflow.trigger import KpoPodTrigger


@pytest.fixture(autouse=True)
def shared_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KPO__SHARED_LOGS", "True")
    monkeypatch.setattr("kpo.airflow.trigger._HAS_ON_KILL", True)


LINES = [f"line {number}" for number in range(1, 401)]


class Heard(KpoPodTrigger):
    """Keeps what it writes."""

    log: Any = None

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.said: list[str] = []
        self.warned: list[str] = []
        self.log = SimpleNamespace(
            log=lambda level, text, *words: self.said.append(text % words),
            warning=lambda text, *words: self.warned.append(text % words),
            info=lambda text, *words: None,
        )

    async def get_task_state(self) -> Any:
        return "deferred"

    def lines(self) -> list[str]:
        return [line.removeprefix("[base] ") for line in self.said if line.startswith("[base] ")]

    async def follow(self) -> None:
        async for _ in self.run():
            pass

    async def be_cancelled_after(self, line: str) -> None:
        running = asyncio.ensure_future(self.follow())
        await asyncio.to_thread(wait_until, lambda: line in self.lines())
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    async def leave_after(self, line: str) -> None:
        """Is stopped with its triggerer, some time after that line."""
        await self.be_cancelled_after(line)
        await self.cleanup()


@contextmanager
def in_parts(folder: Path) -> Iterator[kpo.Lab]:
    """A task that writes its lines in two halves, each when it may, and ends when it may."""
    half = len(LINES) // 2
    waits = "while [ ! -e /parts/{} ]; do sleep 0.02; done"
    script = [
        f"seq -f 'line %g' {half}",
        waits.format("second"),
        f"seq -f 'line %g' {half + 1} {len(LINES)}",
        waits.format("end"),
    ]
    with kpo.lab("quiet") as lab:
        begun(lab, "; ".join(script), pod=_with(folder))
        yield lab


def _with(folder: Path) -> dict[str, Any]:
    """A pod that sees it."""
    mount = {"name": "parts", "mountPath": "/parts"}
    volume = {"name": "parts", "hostPath": {"path": str(folder)}}
    return {
        "kind": "Pod",
        "metadata": {"name": "juice"},
        "spec": {"containers": [{"name": "base", "image": "busybox", "volumeMounts": [mount]}], "volumes": [volume]},
    }


def go_on(folder: Path, *parts: str) -> None:
    for part in parts:
        (folder / part).touch()


def heard(lab: kpo.Lab, **more: Any) -> Heard:
    arguments = {"task": "juice", "namespace": "default", "pod": "juice-1", "config_file": lab.kubeconfig_path}
    return Heard(**{**arguments, "logs": True, "try_number": 1, **more})


def test_the_next_one_goes_on_behind_the_last_line(tmp_path: Path) -> None:
    async def one_after_another(lab: kpo.Lab) -> list[list[str]]:
        first, second, third = (heard(lab) for _ in range(3))
        await first.leave_after(LINES[199])
        go_on(tmp_path, "second")
        await second.leave_after(LINES[399])
        go_on(tmp_path, "end")
        await third.follow()
        return [first.lines(), second.lines(), third.lines()]

    with in_parts(tmp_path) as lab:
        told = asyncio.run(one_after_another(lab))
    assert told == [LINES[:200], LINES[200:], []]


async def both_halves(lab: kpo.Lab, folder: Path, **second: Any) -> list[str]:
    """What the second trigger writes, when the first was stopped after the first half."""
    await heard(lab).leave_after(LINES[199])
    go_on(folder, "second", "end")
    of = heard(lab, **second)
    await of.follow()
    return of.lines()


def test_another_trys_log_begins_anew(tmp_path: Path) -> None:
    with in_parts(tmp_path) as lab:
        assert asyncio.run(both_halves(lab, tmp_path, try_number=2)) == LINES


@pytest.mark.parametrize("is_airflow_3", [True, False])
def test_where_logs_are_not_kept_together_each_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_airflow_3: bool
) -> None:
    """Airflow shows the file of the current triggerer; before 3.3 nothing of this is done."""
    monkeypatch.setattr("kpo.airflow.trigger._HAS_ON_KILL", is_airflow_3)
    monkeypatch.setenv("AIRFLOW__KPO__SHARED_LOGS", str(not is_airflow_3))
    with in_parts(tmp_path) as lab:
        assert asyncio.run(both_halves(lab, tmp_path)) == LINES
        assert all("kpo.rs/read" not in pod.metadata.annotations for pod in pods(lab))


def test_a_user_who_stops_a_task_has_nothing_noted(tmp_path: Path) -> None:
    """With ``cancels=False`` the pod stays; who goes on with it writes another log."""

    async def stopped(lab: kpo.Lab) -> None:
        first = heard(lab, cancels=False)
        await first.be_cancelled_after(LINES[199])
        await first.on_kill()
        await first.cleanup()

    with in_parts(tmp_path) as lab:
        asyncio.run(stopped(lab))
        assert all("kpo.rs/read" not in pod.metadata.annotations for pod in pods(lab))


def test_a_pod_of_the_same_name_has_a_log_of_its_own() -> None:
    of = KpoPodTrigger(task="juice", namespace="default", pod="juice")
    log: Any = TaskLog(SimpleNamespace())
    found: Any = SimpleNamespace(pod="juice", uid="first")
    of._at_attempt(found, log)
    log.cursors["juice"] = {"base": (1, 1, 1)}
    of._at_attempt(found, log)
    assert log.cursors == {"juice": {"base": (1, 1, 1)}}
    of._at_attempt(SimpleNamespace(pod="juice", uid="second"), log)  # type: ignore[arg-type]
    assert log.cursors == {}


def test_one_that_cannot_note_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(self: Any, *words: Any, **more: Any) -> None:
        raise kpo.ForbiddenError("pods may not be patched")

    async def one_after_another(lab: kpo.Lab) -> list[str]:
        first, second = heard(lab), heard(lab)
        await first.leave_after(LINES[199])
        assert first.warned == ["[kpo] the log of juice may begin anew: pods may not be patched"]
        go_on(tmp_path, "second", "end")
        await second.follow()
        return second.lines()

    monkeypatch.setattr(kpo.Client, "note_read_async", refused)
    with in_parts(tmp_path) as lab:
        assert asyncio.run(one_after_another(lab)) == LINES
        assert [pod.status.phase for pod in pods(lab)] == ["Succeeded"]


def test_one_that_is_stopped_within_a_burst_writes_it_whole() -> None:
    said: list[str] = []
    log: Any = SimpleNamespace(log=lambda level, text, *words: said.append(text % words))
    lines = tuple(events.LogLine(0, line.encode(), False, False) for line in LINES)
    burst = events.Log(at=None, lines=(), pod="juice-1", container="base", log=lines, cursor=(0, 400, 7))  # type: ignore[arg-type]

    async def stopped() -> TaskLog:
        written = TaskLog(log, prefix=False)
        telling = asyncio.ensure_future(written.tell_async(burst))
        await asyncio.sleep(0)
        assert 0 < len(said) < len(LINES)
        telling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await telling
        return written

    written = asyncio.run(stopped())
    assert said == LINES
    assert written.cursors == {"juice-1": {"base": (0, 400, 7)}}
