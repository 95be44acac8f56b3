"""docs/airflow.md quotes lines: there are such."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/airflow.md").read_text()


def _sources() -> str:
    """What says something to users, a string that goes over several lines as one."""
    # What a reason's sentence may look like (`kpo_core::Reason`) is not what is said.
    render = ROOT / "crates/kpo-cli/src/render"
    places = [
        *ROOT.glob("python/kpo/airflow/*.py"),
        *render.rglob("*.rs"),
        *render.rglob("*.snap"),
        *ROOT.glob("crates/kpo-python/src/*.rs"),
    ]
    return re.sub(r'"\n\s*f?"', "", "\n".join(path.read_text() for path in places))


def test_each_line_of_the_troubleshooting_is_said() -> None:
    section = TEXT.split("## Troubleshooting")[1].split("\n## ")[0]
    rows = [
        row.split(" | ")[0] for row in section.splitlines() if row.startswith("| ") and not row.startswith("| Airflow")
    ]
    lines = [line for row in rows[1:] for line in re.findall(r"`([^`]+)`", row)]
    pieces = [piece.strip() for line in lines for piece in re.split(r"\(?…\)?", line)]
    sources = _sources()
    assert len(lines) > 15
    assert [piece for piece in pieces if len(piece) > 2 and piece not in sources] == []
