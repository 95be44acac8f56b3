"""The command line that comes with the package."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import until_gone

import kpo

SCRIPT = str(Path(sys.executable).parent / "kpo")
MODULE = [sys.executable, "-m", "kpo"]


@pytest.mark.parametrize("command", [[SCRIPT], MODULE], ids=["script", "module"])
def test_it_is_the_command_line(command: list[str], kpo_lab: kpo.Lab) -> None:
    run = [*command, "run", "--image", "busybox", "--", "sh", "-c", "echo hello; exit 3"]
    ran = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (3, "hello\n") and "failed: the program exited 3" in ran.stderr
    version = subprocess.run([*command, "version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"kpo {kpo.__version__}\n"


def test_a_process_may_end_with_a_task_under_way(kpo_lab: kpo.Lab) -> None:
    code = "import kpo; task = kpo.Task(image='b', name='t', args=['sleep', '1000']); print(next(task).pod); import builtins; builtins.kept = task"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "t-1\n", "")
    assert kpo_lab.client().find("t") == ["t-1"]


def test_wrong_usage_is_two() -> None:
    ran = subprocess.run([*MODULE, "run", "--image", "b", "echo", "hello"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "What is to run stands behind --" in ran.stderr and "Traceback" not in ran.stderr


def test_ctrl_c_cancels(kpo_lab: kpo.Lab) -> None:
    run = [
        *MODULE,
        "run",
        "--image",
        "busybox",
        "--name",
        "juice",
        "--",
        "sh",
        "-c",
        "trap exit TERM; echo hello; while true; do sleep 0.1; done",
    ]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "hello\n"
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130 and "Traceback" not in said
    until_gone(kpo_lab.client())
