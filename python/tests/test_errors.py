"""The exceptions are those of one table."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import kpo
from kpo import _kpo, errors

ROOT = Path(__file__).parents[2]


def test_each_row_has_its_class() -> None:
    rows = _kpo.error_table()
    for name, bases, meaning, verdict in rows:
        cls = getattr(errors, name)
        assert [base.__name__ for base in cls.__bases__] == bases, name
        assert inspect.getdoc(cls) == meaning, name
        assert errors.BY_VERDICT.get(verdict or "") is (cls if verdict else None), name
        assert getattr(kpo, name) is cls
    assert {name for name, *_ in rows} | {"KpoError", "TaskError"} == set(errors.__all__)


def test_the_docs_have_the_table() -> None:
    text = (ROOT / "docs/python.md").read_text()
    documented = re.findall(r"^\| `kpo\.(\w+)` \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    wanted = [
        (name, ", ".join(f"`{base}`" for base in bases), meaning) for name, bases, meaning, _ in _kpo.error_table()
    ]
    lines = "\n".join(f"| `kpo.{name}` | {bases} | {meaning} |" for name, bases, meaning in wanted)
    assert documented == wanted, f"docs/python.md should have:\n{lines}"


def test_an_outcome_and_its_exception_travel() -> None:
    outcome = kpo.Outcome(
        task="t", namespace="n", verdict="failed", exit_code=3, message="failed: …", result_text='{"a": 1}'
    )
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    error = pickle.loads(pickle.dumps(kpo.TaskFailed(outcome)))
    assert isinstance(error, kpo.TaskFailed) and error.outcome == outcome and str(error) == "failed: …"
