"""The pytest plugin: a cluster for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kpo import Lab


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "kpo_lab(script): what happens in the test's kpo_lab: quiet, preemption, a script's text, or its path",
    )


@pytest.fixture
def kpo_lab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """An embedded cluster, with KUBECONFIG set to it."""
    import kpo

    marker = request.node.get_closest_marker("kpo_lab")
    with kpo.lab(*marker.args if marker else ()) as lab:
        monkeypatch.setenv("KUBECONFIG", lab.kubeconfig_path)
        yield lab
