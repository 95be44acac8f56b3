"""Waiting for the native half: in a thread, or in an event loop. The same calls serve both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol

#: Python runs its signal handlers between two waits: Ctrl-C and SIGALRM are heard after so many seconds at most.
STEP = 0.05


class Waitable(Protocol):
    """Something of the native half that becomes ready."""

    def wait(self, seconds: float) -> bool: ...
    def when_ready(self, waker: Callable[[], object]) -> None: ...


class Doing(Waitable, Protocol):
    """Something that is being done, and is taken once."""

    def take(self) -> Any: ...
    def cancel(self) -> None: ...


def wait(for_: Waitable) -> None:
    """Waits in this thread; what a signal's handler raises ends it."""
    while not for_.wait(STEP):
        pass


class Waiter:
    """Waits in event loops, for any number of tasks at a time. A wait that is cancelled has taken nothing."""

    def __init__(self, for_: Waitable) -> None:
        self._for = for_
        self._ready: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        loop = asyncio.get_running_loop()
        ready = self._ready
        if ready is None or ready.done() or ready.get_loop() is not loop:
            ready = self._ready = loop.create_future()
            self._for.when_ready(_waker(loop, ready))
        await asyncio.shield(ready)


def _waker(loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> Callable[[], None]:
    def settle() -> None:
        if not ready.done():
            ready.set_result(None)

    def wake() -> None:
        # Where the loop is closed nobody waits in it any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)

    return wake


def done(doing: Doing) -> Any:
    """What comes of it; given up where the wait ends otherwise."""
    try:
        wait(doing)
    except BaseException:
        doing.cancel()
        raise
    return doing.take()


async def done_async(doing: Doing) -> Any:
    """The same in the running event loop."""
    try:
        await Waiter(doing).wait()
    except BaseException:
        doing.cancel()
        raise
    return doing.take()
