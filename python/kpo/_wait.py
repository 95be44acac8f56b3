"""Waiting for the native half: in a thread, or in an event loop. The same calls serve both."""

from __future__ import annotations

import asyncio
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


async def wait_async(for_: Waitable) -> None:
    """Waits in the running event loop. Cancelled, it has taken nothing."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not ready.done():
            ready.set_result(None)

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            # The loop is closed, and nobody waits in it any more.
            pass

    for_.when_ready(wake)
    await ready


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
        await wait_async(doing)
    except BaseException:
        doing.cancel()
        raise
    return doing.take()
