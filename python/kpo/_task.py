"""A task under way."""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from kpo import _kpo, _options, _pod, _wait, events
from kpo._client import Client
from kpo.errors import BugError, ClosedError, LeftError
from kpo.outcome import Outcome

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from kpo._options import Options
    from kpo._pod import PodLike
    from kpo.events import LogsRead

OnInterrupt = Literal["cancel", "detach"]

#: How long who leaves a task waits for that to be taken note of, in seconds: the API server may have yet to answer a create.
_LEAVING = 10.0


class Task:
    """A task: a pod that is run to completion and not lost. It begins when it is first waited for.

    A context manager, and an iterator of its events, for threads (``with``, ``for``) and for event loops (``async with``, ``async for``)
    alike; ``await task`` gives its outcome.

    Nothing is deleted before the outcome counts as taken: when the event after ``OutcomeReady`` is asked for, or the ``with`` block is left
    without an exception. A block that is left before that leaves the pod as it is (``kpo.attach`` goes on with it) — but for Ctrl-C and the
    cancellation of the awaiting asyncio task, which cancel it, unless ``on_interrupt`` is ``"detach"``. When a block is left, nothing of the task runs
    in this process any more.

    Args:
        pod: a Pod, PodTemplate, Job or CronJob: a dict, YAML or JSON text, or an object (``kubernetes.client.V1Pod``). None: one is made from
            ``image``.
        client: the connection. None: one of its own, as kubectl finds it.
        on_interrupt: what Ctrl-C and asyncio's cancellation mean.
        **options: the command line's flags; see ``kpo.Options``.

    Raises:
        InputError: when it begins: the manifest or an option cannot be taken.
        TaskExistsError: when it begins: a task of that name is there.
        ConnectError, ForbiddenError, RefusedError: when it begins: the cluster's answer.
    """

    def __init__(
        self,
        pod: PodLike | None = None,
        *,
        client: Client | None = None,
        on_interrupt: OnInterrupt = "cancel",
        **options: Unpack[Options],
    ) -> None:
        asked = _options.asked(None if pod is None else _pod.manifest(pod), options)
        self._prepare(client, on_interrupt, lambda native, namespace: _kpo.start(native, asked, namespace))

    def _prepare(
        self, client: Client | None, on_interrupt: OnInterrupt, begin: Callable[[_kpo.Client, str | None], _kpo.Job]
    ) -> None:
        if on_interrupt not in ("cancel", "detach"):
            raise ValueError("on_interrupt is 'cancel' or 'detach'")
        self._client = Client() if client is None else client
        self._owns_client = client is None
        self._on_interrupt = on_interrupt
        self._begin = begin
        self._native: _kpo.Followed | None = None
        self._waiter: _wait.Waiter | None = None
        self._outcome: Outcome | None = None
        self._is_taken = False
        self._is_left = False
        self._is_closed = False
        self._process = os.getpid()

    @classmethod
    def _attaching(
        cls,
        task: str,
        client: Client | None,
        on_interrupt: OnInterrupt,
        namespace: str | None,
        take_over: bool,
        pod: PodLike | None,
        logs: Any,
        nonce: str | None,
        over: bool,
        read: LogsRead | None,
    ) -> Self:
        self = cls.__new__(cls)
        manifest = None if pod is None else _pod.manifest(pod)
        wanted = _options.containers(logs)

        def begin(native: _kpo.Client, default: str | None) -> _kpo.Job:
            return _kpo.attach(
                native,
                task,
                namespace=namespace or default,
                take_over=take_over,
                manifest=manifest,
                logs=wanted,
                nonce=nonce,
                over=over,
                read={uid: dict(logs) for uid, logs in (read or {}).items()},
            )

        self._prepare(client, on_interrupt, begin)
        return self

    def __repr__(self) -> str:
        if self._native is None or self._is_closed:
            return f"Task({'closed' if self._is_closed else 'not begun'})"
        if self._process != os.getpid():
            return "Task(another process's)"
        return f"Task({self._native.task!r}, namespace={self._native.namespace!r})"

    # --- what it is -------------------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The task's id. Known once it has begun."""
        return self._followed().task

    @property
    def namespace(self) -> str:
        """Known once it has begun."""
        return self._followed().namespace

    @property
    def container(self) -> str:
        """The task's own container. Known once it has begun."""
        return self._followed().container

    @property
    def nonce(self) -> str:
        """What tells it from other tasks of the same id: ``attach`` takes it. Known once it has begun."""
        return self._followed().nonce

    def _followed(self) -> _kpo.Followed:
        if self._native is None:
            raise ClosedError("the task has not begun, or was closed")
        return self._native

    # --- stopping ---------------------------------------------------------------------------------------------------------------------

    def cancel(self, why: Literal["user", "deadline"] = "user") -> None:
        """Asks it to stop: its pod is deleted, with its grace. The events go on to the outcome.

        Args:
            why: ``"deadline"`` where its time is up: the outcome says so. A user's cancel is the stronger of both.
        """
        self._followed().stop(why)

    def expire(self) -> None:
        """Says that its time is up: as ``cancel``, and the outcome says so."""
        self._followed().stop("deadline")

    def detach(self) -> None:
        """Leaves it: the pod stays, nobody watches over it, and ``kpo.attach`` goes on with it. The events end."""
        self._is_left = True
        self._followed().stop("detach")

    def taken(self) -> None:
        """Says that the outcome is safe: what is left of the task may be cleaned up."""
        if self._outcome is not None and not self._is_taken:
            self._is_taken = True
            self._followed().taken()

    # --- in a thread ------------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._start()
        return self

    def _start(self) -> _kpo.Followed:
        self._demand_open()
        if self._native is None:
            self._native = _wait.done(self._begin(self._client._open(), self._client._namespace))
        return self._native

    def __iter__(self) -> Iterator[events.Event]:
        return self

    def __next__(self) -> events.Event:
        event = self._next(self._start())
        if event is None:
            raise StopIteration
        return event

    def _next(self, native: _kpo.Followed, until: float | None = None) -> events.Event | None:
        before = self._outcome
        self.taken()
        while True:
            item = native.take()
            if item is not None:
                return self._note(item)
            if native.is_over() or self._has_come(before):
                return None
            if until is not None and time.monotonic() >= until:
                return None
            native.wait(_wait.STEP)

    def next_event(self, within: float) -> events.Event | None:
        """The next event. None: none came within so many seconds, or none comes any more (``ended``)."""
        return self._next(self._start(), time.monotonic() + within)

    @property
    def ended(self) -> bool:
        """Whether no event comes any more, and all were taken."""
        return self._native is None or self._native.is_over()

    def outcome(self) -> Outcome:
        """Waits for the outcome; events that come before it are passed over. It does not count as taken by that.

        Raises:
            LeftError: the task was left.
            BugError: kpo failed.
        """
        while self._outcome is None:
            if self._next(self._start()) is None and self._outcome is None:
                raise self._without_outcome()
        return self._outcome

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._native is not None and not self._is_closed:
                until = self._leave(self._native, error)
                while self._next_when_leaving(self._native, until) is not None:
                    pass
        finally:
            self.close()

    def _next_when_leaving(self, native: _kpo.Followed, until: float | None) -> events.Event | None:
        if self._outcome is not None and not self._is_taken:
            return None
        event = self._next(native, until)
        self._take_if_cancelled()
        return event

    # --- in an event loop -------------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._start_async()
        return self

    async def _start_async(self) -> _kpo.Followed:
        self._demand_open()
        if self._native is None:
            native = await self._client._open_async()
            self._native = await _wait.done_async(self._begin(native, self._client._namespace))
        return self._native

    def __aiter__(self) -> AsyncIterator[events.Event]:
        return self

    async def __anext__(self) -> events.Event:
        event = await self._next_async(await self._start_async())
        if event is None:
            raise StopAsyncIteration
        return event

    async def _next_async(self, native: _kpo.Followed) -> events.Event | None:
        before = self._outcome
        self.taken()
        # Events that are there already must not keep others from the loop. Before one is taken: this may be cancelled.
        await asyncio.sleep(0)
        if self._waiter is None:
            self._waiter = _wait.Waiter(native)
        while True:
            item = native.take()
            if item is not None:
                return self._note(item)
            if native.is_over() or self._has_come(before):
                return None
            await self._waiter.wait()

    def __await__(self) -> Generator[Any, None, Outcome]:
        return self._outcome_async().__await__()

    async def _outcome_async(self) -> Outcome:
        while self._outcome is None:
            if await self._next_async(await self._start_async()) is None and self._outcome is None:
                raise self._without_outcome()
        return self._outcome

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._native is not None and not self._is_closed:
                until = self._leave(self._native, error)
                draining = self._drain_async(self._native)
                if until is None:
                    await draining
                else:
                    await asyncio.wait_for(draining, max(0.0, until - time.monotonic()))
        except asyncio.TimeoutError:
            pass
        finally:
            self.close()

    async def _drain_async(self, native: _kpo.Followed) -> None:
        while self._outcome is None or self._is_taken:
            if await self._next_async(native) is None:
                return
            self._take_if_cancelled()

    # --- both -------------------------------------------------------------------------------------------------------------------------

    def _has_come(self, before: Outcome | None) -> bool:
        """Whether somebody else, who waits for the same task, was given the outcome: nothing comes before that is taken."""
        return before is None and self._outcome is not None

    def _note(self, item: Any) -> events.Event:
        event = events.decode(item)
        if isinstance(event, events.OutcomeReady):
            self._outcome = event.outcome
        if isinstance(event, events.Crashed):
            raise BugError(" ".join(event.lines))
        return event

    def _leave(self, native: _kpo.Followed, error: BaseException | None) -> float | None:
        """What leaving means. Until when it is waited for: None is until its end."""
        self._is_cancelled = False
        if self._outcome is not None:
            if error is None:
                self.taken()
            return None
        interrupted = isinstance(error, (KeyboardInterrupt, asyncio.CancelledError))
        if interrupted and self._on_interrupt == "cancel" and not self._is_left:
            self._is_cancelled = True
            native.stop("user")
            return None
        self.detach()
        return time.monotonic() + _LEAVING

    def _take_if_cancelled(self) -> None:
        """Who cancels wants it gone, and no outcome of it."""
        if self._is_cancelled:
            self.taken()

    def _without_outcome(self) -> Exception:
        if self._is_left:
            return LeftError(f"task {self._followed().task} was left; kpo.attach goes on with it")
        return BugError("the events ended without an outcome")

    def _demand_open(self) -> None:
        if self._is_closed:
            raise ClosedError("the task was closed")

    def close(self) -> None:
        """Leaves it at once, and the pod as it is."""
        self._is_closed = True
        native, self._native = self._native, None
        if native is not None and self._process == os.getpid():
            native.close()
        if self._owns_client:
            self._client.close()

    def __del__(self) -> None:
        if getattr(self, "_native", None) is not None and self._process == os.getpid():
            warnings.warn(
                f"{self!r} was never left: use it as a context manager", ResourceWarning, stacklevel=2, source=self
            )
            self.close()


def run(
    pod: PodLike | None = None,
    *,
    client: Client | None = None,
    on_event: Callable[[events.Event], object] | None = None,
    on_interrupt: OnInterrupt = "cancel",
    check: bool = False,
    **options: Unpack[Options],
) -> Outcome:
    """Runs a task to its end. See ``Task`` for the arguments, and for what Ctrl-C means.

    Args:
        on_event: called with each event. What it raises ends the call and leaves the pod as it is: an outcome that it could not put somewhere
            safe is not lost.
        check: whether a task that did not succeed is an exception.

    Raises:
        TaskError: with ``check``, of a task that did not succeed: the subclass for its verdict.
    """
    with Task(pod, client=client, on_interrupt=on_interrupt, **options) as task:
        for event in task:
            if on_event is not None:
                on_event(event)
        outcome = task.outcome()
    return outcome.check() if check else outcome


async def run_async(
    pod: PodLike | None = None,
    *,
    client: Client | None = None,
    on_event: Callable[[events.Event], object] | None = None,
    on_interrupt: OnInterrupt = "cancel",
    check: bool = False,
    **options: Unpack[Options],
) -> Outcome:
    """The same, for an event loop."""
    async with Task(pod, client=client, on_interrupt=on_interrupt, **options) as task:
        async for event in task:
            if on_event is not None:
                on_event(event)
        outcome = await task
    return outcome.check() if check else outcome


def attach(
    task: str,
    *,
    client: Client | None = None,
    namespace: str | None = None,
    take_over: bool = False,
    pod: PodLike | None = None,
    logs: bool | list[str] = True,
    on_interrupt: OnInterrupt = "detach",
    nonce: str | None = None,
    over: bool = False,
    read: LogsRead | None = None,
) -> Task:
    """Goes on with a task that was left, or whose process is gone: its log comes from the start, unless ``read`` says otherwise.

    Args:
        take_over: whether this process becomes the task's observer, which makes the next attempt where one is due, and cleans up. Else it only
            follows.
        pod: the manifest, where it was too large to travel with the pod.
        nonce: the task's (``Task.nonce``): pods of others of the same id are left alone. None: all pods of that id must be of one task.
        over: whether its outcome is known: it is only cleaned up, and no other attempt made, whatever is found of it.
        read: how far logs were read before (``events.LogLine.cursor``), by the pod's UID and the container: they go on behind that line. Others, and with
            None all, come from their start.

    Raises:
        NotFoundError: when it begins: there is no pod of it.
    """
    return Task._attaching(task, client, on_interrupt, namespace, take_over, pod, logs, nonce, over, read)
