"""The embedded cluster, and its fixture."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from conftest import ENDLESS, pod, until_running

import kpo


def test_a_lab_ends_with_its_block() -> None:
    with kpo.lab() as lab:
        path = lab.kubeconfig_path
        assert os.stat(path).st_mode & 0o777 == 0o600 and Path(path).read_text() == lab.kubeconfig
        assert kpo.run(pod("true"), client=kpo.Client(path)).succeeded
        assert repr(lab) == f"Lab({lab.url})" and lab.token not in repr(lab)
    assert not Path(path).exists()
    with pytest.raises(kpo.ClosedError):
        lab.requests()


def test_and_in_an_event_loop() -> None:
    async def run() -> kpo.Outcome:
        async with kpo.lab() as lab, lab.client() as client:
            return await kpo.run_async(pod("true"), client=client)

    assert asyncio.run(run()).succeeded


def test_its_containers_end_with_it(tmp_path: Path) -> None:
    with kpo.lab() as lab, pytest.raises(ZeroDivisionError), kpo.Task(ENDLESS, client=lab.client()) as task:
        until_running(task)
        raise ZeroDivisionError
    # Its processes are this process's children: there are none left.
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    assert not children.exists() or children.read_text() == ""


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("hectic", "there is no script 'hectic': quiet, preemption"),
        ("node\nbad", "the script:"),
        ("node node-1\nnode node-1", "refuses what the script says: node node-1 is there already"),
    ],
)
def test_a_script_that_cannot_be_played_is_refused(script: str, said: str) -> None:
    with pytest.raises(kpo.InputError, match=said), kpo.lab(script):
        pass


def test_a_script_is_a_file_too() -> None:
    examples = Path(__file__).parents[2] / "examples/lab"
    with kpo.lab(examples / "evicted-by-drain.lab") as lab:
        outcome = kpo.run(pod("true"), client=lab.client())
        assert (outcome.verdict, outcome.reason, lab.refusals()) == ("disrupted", "evicted", [])


def test_things_happen_when_they_are_told_to(client: kpo.Client, kpo_lab: kpo.Lab) -> None:
    with kpo.Task(ENDLESS, client=client) as task:
        until_running(task)
        kpo_lab.play("at 0s: evict pod juice-1 by karpenter")
        outcome = task.outcome()
    [attempt] = outcome.attempts
    # The program trapped TERM and ended with 0: a success, and it is said so.
    assert outcome.succeeded and attempt.verdict is not None and attempt.verdict.reason == "succeededWhileTerminating"


def test_the_fixture_and_its_marker(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import kpo, os, pytest

        POD = {"kind": "Pod", "metadata": {"name": "t"}, "spec": {"containers": [
            {"name": "base", "image": "b", "command": ["true"]}]}}

        def test_quiet(kpo_lab):
            assert os.environ["KUBECONFIG"] == kpo_lab.kubeconfig_path
            assert len(kpo.run(POD).attempts) == 1

        @pytest.mark.kpo_lab("preemption")
        def test_preemption(kpo_lab):
            assert [attempt.verdict.kind for attempt in kpo.run(POD).attempts] == ["disrupted", "succeeded"]
        """
    )
    result = pytester.runpytest_subprocess("--strict-markers", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
