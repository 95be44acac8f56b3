"""Runs a task as a Kubernetes pod to completion and does not lose it."""

from kpo._kpo import VERSION as __version__

__all__ = ["__version__"]
