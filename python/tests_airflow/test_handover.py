"""A triggerer that ends, however it does: the next one goes on with the log behind the last line that was written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from airflow.utils import helpers
from harness import begun, wait_until

import kpo
from kpo import events
from kpo.airflow import _written
from kpo.airflow._log import TaskLog
from kpo.airflow.trigger import KpoPodTrigger

#: Of triggerers.
JOBS = count(1)


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where all logs are kept."""
    monkeypatch.setenv("AIRFLOW__KPO__SHARED_LOGS", "True")
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path / "logs"))
    # Airflow 3 keeps the one that it has made; Airflow 2 has none, and the rest is played all the same.
    template = jinja2.Template("{{ ti.dag_id }}/[{{ ti.run_id }}]/{{ ti.try_number }}.log")
    monkeypatch.setattr(helpers, "log_filename_template_renderer", lambda: template.render, raising=False)
    monkeypatch.setattr("kpo.airflow._written.BaseTrigger", SimpleNamespace(on_kill=None))
    return tmp_path / "logs" / "dag" / "[run]"


LINES = [f"line {number}" for number in range(1, 401)]


def writer(file: Path) -> Any:
    """Writes to a log as a triggerer's supervisor does it, which begins the file anew."""
    try:
        import structlog
        from airflow.sdk.log import logging_processors
    except ImportError:
        # Airflow 2: as Airflow 3 does it.
        file.write_text("")

        def write(level: int, event: str, **more: str) -> None:
            with file.open("a") as log:
                print(json.dumps({"event": event, **more}, separators=(",", ":")), file=log)

        return write
    else:
        return structlog.wrap_logger(
            structlog.BytesLogger(file.open("wb")), processors=logging_processors(json_output=True)
        ).log


class Heard(KpoPodTrigger):
    """Keeps what it writes, in a file as a triggerer does it."""

    log: Any = None
    task_instance: Any = None

    def __init__(self, of: Heard | None = None, **arguments: Any) -> None:
        """``of``: whose triggerer's it is; None: another's."""
        super().__init__(**arguments)
        self.said: list[str] = []
        self.warned: list[str] = []
        self.job = of.job if of else f"{next(JOBS)}"
        self.task_instance = SimpleNamespace(dag_id="dag", run_id="run", task_id="task", try_number=self.try_number)
        file = self.file()
        file.parent.mkdir(parents=True, exist_ok=True)
        self._writes = writer(file)
        self.log = SimpleNamespace(
            log=self.write,
            warning=lambda text, *words: self.warned.append(text % words),
            info=lambda text, *words: None,
        )

    def write(self, level: int, text: str, *words: Any, **more: str) -> None:
        self.said.append(text % words)
        self._writes(level, text % words, **more)

    def file(self) -> Path:
        folder = Path(_written.conf.get("logging", "base_log_folder")) / "dag" / "[run]"
        return folder / f"{self.try_number}.log.trigger.{self.job}.log"

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


@pytest.mark.parametrize(
    "setting",
    [("AIRFLOW__KPO__SHARED_LOGS", "False"), ("AIRFLOW__LOGGING__REMOTE_LOGGING", "True"), None],
)
def test_where_logs_are_not_kept_together_each_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Path, setting: tuple[str, str] | None
) -> None:
    """Airflow shows the file of the current triggerer; before 3.3 nothing of this is done."""
    if setting is not None:
        monkeypatch.setenv(*setting)
    else:
        monkeypatch.setattr("kpo.airflow._written.BaseTrigger", SimpleNamespace())
    with in_parts(tmp_path) as lab:
        assert asyncio.run(both_halves(lab, tmp_path)) == LINES
    assert all('"loc"' not in file.read_text() for file in logs.iterdir())


def test_one_that_was_killed_has_written_what_its_file_has(tmp_path: Path) -> None:
    """Its last line was cut within, and some before it were on their way."""

    async def one_after_another(lab: kpo.Lab) -> list[str]:
        first, second = heard(lab), heard(lab)
        await first.leave_after(LINES[199])
        file, written = first.file(), first.file().read_bytes()
        file.write_bytes(written[: written.index(b"line 151") + 4])
        go_on(tmp_path, "second", "end")
        await second.follow()
        return second.lines()

    with in_parts(tmp_path) as lab:
        assert asyncio.run(one_after_another(lab)) == LINES[150:]


def test_one_that_has_it_again_begins_anew_as_airflow_begins_its_file(tmp_path: Path) -> None:
    """The first triggerer has it again, when another one had it in between: what it had written itself is nowhere any more."""

    async def again(lab: kpo.Lab) -> list[list[str]]:
        first, second = heard(lab), heard(lab)
        await first.leave_after(LINES[199])
        go_on(tmp_path, "second")
        await second.leave_after(LINES[399])
        third = heard(lab, of=first)
        go_on(tmp_path, "end")
        await third.follow()
        return [second.lines(), third.lines()]

    with in_parts(tmp_path) as lab:
        assert asyncio.run(again(lab)) == [LINES[200:], LINES]


def test_one_that_cannot_read_what_was_written_says_so(tmp_path: Path) -> None:
    async def one_after_another(lab: kpo.Lab) -> list[str]:
        first, second = heard(lab), heard(lab)
        await first.leave_after(LINES[199])
        first.file().unlink()
        first.file().mkdir()
        go_on(tmp_path, "second", "end")
        await second.follow()
        assert second.warned == ["[kpo] the log of task begins anew: IsADirectoryError"]
        return second.lines()

    with in_parts(tmp_path) as lab:
        assert asyncio.run(one_after_another(lab)) == LINES


def entry(place: str) -> str:
    return json.dumps({"event": "a line", "loc": place}, separators=(",", ":"))


TI = SimpleNamespace(dag_id="dag", run_id="run", try_number=1)


def test_what_was_written_is_known_by_pod_and_container(logs: Path) -> None:
    logs.mkdir(parents=True)
    lines = [
        '{"event":"what happened"}',
        entry("juice/base first 10 1 7 0 0"),
        entry("juice/base first 10 2 8 0 0"),
        entry("juice/side first 30 1 9 0 0"),
        # A pod of the same name as one before.
        entry("juice/base second 40 1 6 0 0"),
        json.dumps({"event": '"loc":"juice/base second 90 1 6 0 0"'}),
        '{"event":"cut","loc":"juice/base second 50 1 6 0',
    ]
    (logs / "1.log.trigger.1.log").write_text("\n".join(lines))
    (logs / "1.log.trigger.2.log").write_text(entry("juice/base first 9 1 5 0 0"))
    (logs / "2.log.trigger.3.log").write_text(entry("juice/base first 99 1 5 0 0"))
    assert _written.read(TI) == {"first": {"base": (10, 2, 8), "side": (30, 1, 9)}, "second": {"base": (40, 1, 6)}}


@pytest.mark.parametrize(
    ("parts", "end"),
    [
        (["100 1 5 0 0", "200 1 5 100 1", "300 1 5 200 1"], (300, 1, 5)),
        # The second is not there, or was begun anew and is not as far again.
        (["100 1 5 0 0", "300 1 5 200 1"], (100, 1, 5)),
        (["300 1 5 100 1", "50 1 5 0 0"], (50, 1, 5)),
        # Of that time there is a line more.
        (["100 1 5 0 0", "200 1 5 100 2"], (100, 1, 5)),
        (["150 1 5 0 0", "200 1 5 100 2"], (200, 1, 5)),
        (["300 1 5 200 1"], None),
    ],
)
def test_what_was_written_counts_as_far_as_nothing_is_missing(logs: Path, parts: list[str], end: Any) -> None:
    logs.mkdir(parents=True)
    for number, part in enumerate(parts):
        (logs / f"1.log.trigger.{number}.log").write_text(entry(f"juice/base uid {part}"))
    assert _written.read(TI) == ({} if end is None else {"uid": {"base": end}})


def test_under_dag_test_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    of = KpoPodTrigger(task="juice", namespace="default", pod="juice-1")
    assert asyncio.run(of._read_before()) == {}
    assert of._task_log()._goes_on_behind is None


class Said:
    """A log that keeps what is written to it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, level: int, text: str, *words: Any, **more: str) -> None:
        self.lines.append(text % words)


def burst(*lines: str) -> events.Log:
    log = tuple(events.LogLine(0, line.encode(), False, False, 1, 7) for line in lines)
    return events.Log(at=None, lines=(), pod="juice-1", container="base", log=log)  # type: ignore[arg-type]


def test_what_is_left_of_a_burst_is_written_with_what_is_told_next() -> None:
    """A user who stops the task reads it."""
    said = Said()

    async def stopped() -> None:
        log = TaskLog(said, prefix=False)
        telling = asyncio.ensure_future(log.tell_async(burst(*LINES)))
        await asyncio.sleep(0)
        assert 0 < len(said.lines) < len(LINES)
        telling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await telling
        assert len(said.lines) < len(LINES)
        await log.tell_async(burst("the end"))

    asyncio.run(stopped())
    assert said.lines == [*LINES, "the end"]


@pytest.mark.parametrize(("read", "lines"), [({}, ["before"]), (None, ["before", "after"])])
def test_one_that_was_taken_over_writes_no_more_where_the_other_goes_on(read: Any, lines: list[str]) -> None:
    said = Said()
    log = TaskLog(said, prefix=False, goes_on_behind=read, is_quiet=True)
    taken: Any = object.__new__(events.TakenOver)
    for event in (burst("before"), taken, burst("after")):
        log.tell(event)
    assert said.lines == lines
