"""docs/python.md says what there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import kpo
from kpo import _options

TEXT = (Path(__file__).parents[2] / "docs/python.md").read_text()


def test_every_option_is_there_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \| .+ \|$", TEXT, re.MULTILINE)
    options = {name: ast.literal_eval(default) for name, default in rows if name in _options.DEFAULTS}
    assert options == _options.DEFAULTS
    assert set(kpo.Options.__annotations__) == set(_options.DEFAULTS)


def test_every_option_is_a_flag_of_the_command_line() -> None:
    """By the same name and with the same default, but for what Python says otherwise."""
    reference = (Path(__file__).parents[2] / "docs/cli.md").read_text()
    flags = dict(re.findall(r"^\| `(?:-\w, )?--([a-z-]+)[^`]*` \| (.+) \|$", reference, re.MULTILINE))
    otherwise = {"args", "logs", "keep_failed_for", "fixed_name", "results_absent"}
    assert {option.replace("_", "-") for option in set(_options.DEFAULTS) - otherwise} <= set(flags)
    defaults = {
        flag.replace("-", "_"): found[1]
        for flag, text in flags.items()
        if (found := re.search("Default: `(.+?)`$", text))
    }
    compared = set(defaults) & set(_options.DEFAULTS)
    ours = {option: str(value).lower() for option, value in _options.DEFAULTS.items() if option in compared}
    assert ours == {option: defaults[option] for option in compared}
    assert compared >= {
        "rerun",
        "rerun_never_started",
        "rerun_started",
        "retries",
        "on_finish",
        "on_unsigned_delete",
        "results",
    }


def test_the_examples_are_python() -> None:
    for example in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        compile(example, "docs/python.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
