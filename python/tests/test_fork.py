"""A process that forks: its child has none of its threads."""

from __future__ import annotations

import gc
import os
import sys
import traceback
import warnings
from collections.abc import Callable

import pytest
from conftest import ENDLESS, pod, until_running

import kpo


def in_child(check: Callable[[], None]) -> None:
    """Runs it in a child, and demands that it comes to its end there."""
    with warnings.catch_warnings():
        # Python warns of forks of processes with threads: that is what is tried.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            check()
            gc.collect()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_runs_tasks_of_its_own(client: kpo.Client) -> None:
    def run() -> None:
        assert kpo.run(pod("true", name="child"), client=client).succeeded

    # The parent's connection is open, and its thread runs.
    client.find("juice")
    with kpo.Task(ENDLESS, client=client) as task:
        until_running(task)
        in_child(run)
        task.cancel()
        assert task.outcome().verdict == "cancelled"


def test_what_the_parent_made_is_of_no_use_there(client: kpo.Client, kpo_lab: kpo.Lab) -> None:
    with kpo.Task(ENDLESS, client=client) as task:
        until_running(task)

        def use() -> None:
            for what in (task.outcome, task.cancel, lambda: next(task), kpo_lab.requests):
                with pytest.raises(kpo.ForkedError):
                    what()
            assert repr(task) == "Task(another process's)"
            # Nor does it harm the parent.
            task.close()
            kpo_lab.close()

        in_child(use)
        assert kpo_lab.requests()
        task.cancel()
        assert task.outcome().verdict == "cancelled"


def test_a_child_of_a_parent_that_has_closed_all(kpo_lab: kpo.Lab) -> None:
    def run() -> None:
        assert kpo.run(pod("echo hello", name="child")).succeeded

    assert kpo.run(pod("true")).succeeded
    in_child(run)
