"""What the tests share. Nothing of them may be left running: see `nothing_left`."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import kpo

pytest_plugins = ["pytester"]

# A shell's job in the background ignores it, and so would all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pod(*script: str, name: str = "juice", **spec: Any) -> dict[str, Any]:
    """A pod whose program is that shell script."""
    container = {"name": "base", "image": "busybox", "command": ["sh", "-c", "\n".join(script)]}
    return {"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], **spec}}


ENDLESS = pod("trap 'exit 0' TERM", "echo begun", "while true; do sleep 0.1; done", terminationGracePeriodSeconds=5)


def native_threads() -> list[str]:
    """The names of kpo's threads in this process."""
    names = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/comm") as comm:
                names.append(comm.read().strip())
        except FileNotFoundError:
            # It has ended since.
            continue
    return sorted(name for name in names if name.startswith("kpo"))


def sockets() -> int:
    return sum(
        os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        for fd in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{fd}")
    )


@pytest.fixture(scope="session")
def once() -> None:
    """What a process makes once, and keeps: tokio's pair of sockets for signals."""
    with kpo.lab():
        pass


@pytest.fixture(autouse=True)
def nothing_left(once: None) -> Iterator[None]:
    """Every test leaves the process as it was: without a thread of kpo's, without a connection."""
    before = (native_threads(), threading.active_count())
    open_before = sockets()
    yield
    gc.collect()
    assert (native_threads(), threading.active_count()) == before
    assert sockets() <= open_before


@pytest.fixture
def client(kpo_lab: kpo.Lab) -> kpo.Client:
    """A connection to the test's lab."""
    return kpo_lab.client()


@pytest.fixture
def log() -> Log:
    return Log()


def until_gone(client: kpo.Client, task: str = "juice") -> None:
    """Waits until a task has no pod any more: a kubelet takes one that was deleted away a moment after its end. The test's time is the limit."""
    while client.find(task):
        pass


class Log:
    """Gathers what it is told: the program's lines, and kpo's."""

    def __init__(self) -> None:
        self.events: list[kpo.events.Event] = []

    def __call__(self, event: kpo.events.Event) -> None:
        self.events.append(event)

    def printed(self, container: str = "base") -> list[str]:
        logs = [event for event in self.events if isinstance(event, kpo.events.Log) and event.container == container]
        return [line.text for event in logs for line in event.log]

    def of(self, kind: type[kpo.events.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def until_running(task: kpo.Task) -> None:
    """Passes over a task's events until its program has printed something."""
    for event in task:
        if isinstance(event, kpo.events.Log):
            return
    raise AssertionError("it never ran")
