"""In Airflow's log the engine's flags are the operator's arguments."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from kpo.airflow import KubernetesPodOperator, _words

ROOT = Path(__file__).parents[2]

#: Of commands that a line names as a whole, kubectl's and the kubelet's among them.
OF_COMMANDS = {
    "--context",
    "--dry-run",
    "--fail-fast-images",
    "--kube-reserved",
    "--name",
    "--output-watch-events",
    "--previous",
    "--show-labels",
    "--system-reserved",
    "--take-over",
}


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ("(it is under --rerun=if-not-started)", '(it is under rerun="if-not-started")'),
        ("(--rerun-never-started=8)", "(rerun_budget=8)"),
        ("more time (--timeout; without", "more time (total_timeout; without"),
        ("--replace-unreachable-after=10m would", "kpo run's --replace-unreachable-after=10m would"),
        ("kpo attach juice --take-over", "kpo attach juice --take-over"),
        ("a program's own --flag, a--b, 1 -- 2", "a program's own --flag, a--b, 1 -- 2"),
    ],
)
def test_a_flag_is_an_argument(flags: str, arguments: str) -> None:
    assert _words.of_operator(flags) == arguments


def test_each_argument_is_one() -> None:
    known = {name for cls in KubernetesPodOperator.__mro__ for name in inspect.signature(cls.__init__).parameters}
    assert {name for name in _words.ARGUMENTS.values() if name} <= known


def test_each_flag_that_is_advised_is_known() -> None:
    sources = [*ROOT.glob("crates/kpo-cli/src/render/*.rs"), *ROOT.glob("crates/kpo-core/src/reason.rs")]
    texts = (line for path in sources for line in path.read_text().splitlines() if not line.strip().startswith("//"))
    said = {
        flag for line in texts for text in re.findall(r'"[^"]*"', line) for flag in re.findall(r"--[a-z][a-z-]+", text)
    }
    assert len(said) > 10
    assert said - set(_words.ARGUMENTS) - OF_COMMANDS == set()
