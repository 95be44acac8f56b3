"""What Python's signal handlers do while the native half is waited for. Each of these would wait for ever if they did not run."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest
from conftest import ENDLESS, until_gone, until_running

import kpo
from kpo import _wait


class Alarm(Exception):
    pass


def raise_alarm(number: int, frame: object) -> None:
    raise Alarm


def test_the_interpreter_is_returned_to_often_enough() -> None:
    assert _wait.STEP <= 0.1


def test_an_alarm_ends_the_wait_and_leaves_the_pod(client: kpo.Client, kpo_lab: kpo.Lab) -> None:
    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        with pytest.raises(Alarm), kpo.Task(ENDLESS, client=client) as task:
            until_running(task)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            task.outcome()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert client.find("juice") == ["juice-1"] and "delete pods" not in kpo_lab.requests()


def interrupt_when_it_runs(event: kpo.events.Event) -> None:
    """Ctrl-C, from another thread: so it comes while this one waits."""
    if isinstance(event, kpo.events.Log):
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()


def test_ctrl_c_cancels(client: kpo.Client) -> None:
    with pytest.raises(KeyboardInterrupt):
        kpo.run(ENDLESS, client=client, on_event=interrupt_when_it_runs)
    until_gone(client)


def test_or_leaves(client: kpo.Client, kpo_lab: kpo.Lab) -> None:
    with pytest.raises(KeyboardInterrupt):
        kpo.run(ENDLESS, client=client, on_event=interrupt_when_it_runs, on_interrupt="detach")
    assert client.find("juice") == ["juice-1"] and "delete pods" not in kpo_lab.requests()


def test_ctrl_c_in_an_event_loop_cancels(client: kpo.Client) -> None:
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(kpo.run_async(ENDLESS, client=client, on_event=interrupt_when_it_runs))
    until_gone(client)


@pytest.mark.kpo_lab("node node-1\nat 0s: api hangs list pods for 1h")
def test_ctrl_c_is_heard_before_anything_is_made(client: kpo.Client, kpo_lab: kpo.Lab) -> None:
    signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(KeyboardInterrupt):
        kpo.run(ENDLESS, client=client)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert "create pods" not in kpo_lab.requests()
