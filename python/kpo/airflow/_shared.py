"""One connection, and by it one watch a namespace, for all triggers of a process that use the same cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager

import kpo


class _Entry:
    def __init__(self, making: asyncio.Future[kpo.Client]) -> None:
        self.making = making
        self.users = 0


_entries: dict[Hashable, _Entry] = {}


@asynccontextmanager
async def client(key: Hashable, make: Callable[[], Awaitable[kpo.Client]]) -> AsyncIterator[kpo.Client]:
    """The connection of that key: made where there is none, ended with its last user. An event loop has its own."""
    key = (id(asyncio.get_running_loop()), key)
    entry = _entries.get(key)
    if entry is None:
        entry = _entries[key] = _Entry(asyncio.ensure_future(make()))
    entry.users += 1
    try:
        yield await asyncio.shield(entry.making)
    finally:
        entry.users -= 1
        if entry.users == 0:
            # Who comes now makes another: one that could not be made is not kept either.
            _entries.pop(key, None)
            _end(entry.making)


def _end(making: asyncio.Future[kpo.Client]) -> None:
    if not making.done():
        making.cancel()
    elif not making.cancelled() and making.exception() is None:
        making.result().close()
