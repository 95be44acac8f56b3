"""The operator's callbacks, each at its documented moment, in both modes. What one raises is reported, and loses no pod."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.cncf.kubernetes.callbacks import ExecutionMode

if TYPE_CHECKING:
    from kpo.airflow.operator import KubernetesPodOperator


class Callbacks:
    """Those of an operator, in one run of it."""

    def __init__(self, operator: KubernetesPodOperator, context: Any) -> None:
        self._operator, self._context = operator, context

    def __bool__(self) -> bool:
        return bool(self._operator.callbacks)

    def tell(self, moment: str, **more: Any) -> None:
        """Calls that method of all of them."""
        for callback in self._operator.callbacks:
            self._call(moment, partial(self._tell_one, callback, moment, more))

    def _tell_one(self, callback: Any, moment: str, more: dict[str, Any]) -> None:
        operator = self._operator
        getattr(callback, moment)(
            client=operator.client, mode=ExecutionMode.SYNC, operator=operator, context=self._context, **more
        )

    def tell_of_pod(self, moment: str, **more: Any) -> None:
        """The same, with the pod as it is now."""
        if self:
            self.tell(moment, pod=self._operator.current_pod(self._context), **more)

    def line(self, line: str, container: str, timestamp: datetime) -> None:
        """A line of a container's log, before it is written."""
        operator = self._operator
        if operator._progress_callback is not None:
            self._call("progress_callback", partial(operator._progress_callback, line))
        for callback in operator.callbacks:
            self._call("progress_callback", partial(self._progress, callback, line, container, timestamp))

    def _progress(self, callback: Any, line: str, container: str, timestamp: datetime) -> None:
        callback.progress_callback(
            line=line,
            client=self._operator.client,
            mode=ExecutionMode.SYNC,
            container_name=container,
            timestamp=pendulum.instance(timestamp),
            pod=self._operator.pod,
        )

    def _call(self, moment: str, call: Callable[[], object]) -> None:
        """All that a callback is given is got within it, too: an error of the connection is none of the task's."""
        try:
            call()
        except Exception:
            if self._operator.callback_errors == "raise":
                raise
            self._operator.log.exception("The callback %s failed; the task goes on", moment)


def wants_lines(operator: Any) -> bool:
    """Whether lines are told to code that only a worker has."""
    own = [callback for callback in operator.callbacks if "progress_callback" in vars(callback)]
    return bool(own) or operator._progress_callback is not None
