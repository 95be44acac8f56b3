"""The trigger: the engine in the triggerer's event loop, with all that a task may need there: recovery, other attempts, logs. It deletes no pod that has
ended: the task does, when its result is safe."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.cncf.kubernetes.triggers import pod as upstream
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

import kpo
from kpo import events
from kpo.airflow import _connection, _earlier, _event, _hooks, _log, _shared, _written
from kpo.airflow._compat import AirflowException

if TYPE_CHECKING:
    from kpo.events import LogsRead

#: Whether the triggerer tells of a user's stop: Airflow 3.3 and later.
_HAS_ON_KILL = hasattr(BaseTrigger, "on_kill")

#: How long a pod is asked for of which it is to be known whose it is, in seconds: Airflow waits half a minute for ``on_kill``.
_PATIENCE = 10.0

#: How long Airflow is asked again who has stopped a task, when it answers with an error, and what lies in between, in seconds.
_ASKS_FOR, _ASKS_AGAIN = 15.0, 1.0

#: What becomes of a deferred task that goes on: what handed it back first, or a user's clear.
_RESUMED = ("scheduled", "queued", "running")

#: How long what triggers before have written is read, in seconds: for so long nobody observes the task.
_READS_FOR = 30.0

#: The reason of a task that was stopped because its time was up.
_TIME_IS_UP = "timeout"

#: How long a trigger lives at least, in seconds: a scheduler that learns that the worker has deferred the task only when it was resumed already marks it
#: failed (airflow#67287, #72716). A trigger that polls is slower by itself.
SETTLES = 5.0

#: How long the task is looked for that is to be stopped, in seconds: it may be a newer try's by then.
_HOLDS_FOR = 30.0

#: Ours to replace.
_sleep = asyncio.sleep

#: Stops under way. Airflow 3.3 cancels who waits for them again with each look at its database, about once a second, and a stop takes as long as the
#: program's grace.
_stops: set[asyncio.Future[None]] = set()

#: Upstream's hook goes by a configuration that the whole process has, and Amazon's sets its environment: two that are made at once, in two threads, could
#: have each other's cluster. A thread of its own: one that hangs holds up no other's.
_making = threading.Lock()
_maker = ThreadPoolExecutor(1, "kpo-connects")


class _Held(NamedTuple):
    """The task that was followed when the trigger was cancelled, and what keeps it."""

    task: kpo.Task
    log: _log.TaskLog
    opened: AsyncExitStack


class KpoPodTrigger(BaseTrigger):
    """Follows a task to its end, as its observer.

    Args:
        task: the task's id; its pods carry everything else.
        namespace: of its pods.
        pod: the attempt under way.
        nonce: what tells the task from others of that id. None: not known.
        kubernetes_conn_id, in_cluster, cluster_context, config_file: the connection, resolved here.
        hook_path, hook_arguments: the class of a hook that connects instead, and what it is made of, here. None: upstream's, of that connection.
        logs: the containers whose logs are written here; True: all.
        prefix: whether a line begins with its container's name.
        deadline: when the task's time is up, in seconds since 1970. None: never.
        cancels: whether a user's stop deletes the pod.
        trigger_kwargs: handed on in the event.
        try_number: the try that has deferred it. None: not known.
    """

    def __init__(
        self,
        *,
        task: str,
        namespace: str,
        pod: str,
        nonce: str | None = None,
        kubernetes_conn_id: str | None = None,
        in_cluster: bool | None = None,
        cluster_context: str | None = None,
        config_file: str | None = None,
        hook_path: str | None = None,
        hook_arguments: dict[str, Any] | None = None,
        logs: list[str] | bool | None = None,
        prefix: bool = True,
        deadline: float | None = None,
        cancels: bool = True,
        trigger_kwargs: dict[str, Any] | None = None,
        try_number: int | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # BaseTrigger has a property ``task``.
        self.task_name = task
        self.namespace = namespace
        self.pod = pod
        self.nonce = nonce
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.cluster_context = cluster_context
        self.config_file = config_file
        self.hook_path = hook_path
        self.hook_arguments = dict(hook_arguments or {})
        self.logs = logs if isinstance(logs, bool) else list(logs or [])
        self.prefix = prefix
        self.deadline = deadline
        self.cancels = cancels
        self.trigger_kwargs = dict(trigger_kwargs or {})
        self.try_number = try_number
        self._has_ended = False
        self._held: _Held | None = None
        self._stopping: asyncio.Future[None] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "kpo.airflow.trigger.KpoPodTrigger",
            {
                "task": self.task_name,
                "namespace": self.namespace,
                "pod": self.pod,
                "nonce": self.nonce,
                "kubernetes_conn_id": self.kubernetes_conn_id,
                "in_cluster": self.in_cluster,
                "cluster_context": self.cluster_context,
                "config_file": self.config_file,
                "logs": self.logs,
                "prefix": self.prefix,
                "deadline": self.deadline,
                "cancels": self.cancels,
                "trigger_kwargs": self.trigger_kwargs,
                "try_number": self.try_number,
                # An older triggerer does not know them.
                **({"hook_path": self.hook_path, "hook_arguments": self.hook_arguments} if self.hook_path else {}),
            },
        )

    def __repr__(self) -> str:
        return f"KpoPodTrigger({self.namespace}/{self.task_name})"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        began = time.monotonic()
        try:
            event = await self._follow()
        except kpo.NotFoundError as error:
            event = self._error(f"{error}", status="failed")
        except Exception as error:
            # Losing sight is no failure: whoever goes on looks again.
            self.log.warning("[kpo] %s cannot be followed here: %s", self.task_name, _one_line(error))
            event = self._error(_one_line(error))
        event[_event.KEY]["hasLog"] = bool(self.logs)
        await _sleep(max(0.0, began + SETTLES - time.monotonic()))
        self._has_ended = True
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    def _error(self, message: str, status: str = "error") -> dict[str, Any]:
        event = _event.of_error(self._known(), self.pod, message, more=self.trigger_kwargs)
        return event | {"status": status}

    async def _follow(self) -> dict[str, Any]:
        async with AsyncExitStack() as opened:
            client = await opened.enter_async_context(_shared.client(self._key(), self._client))
            read = await self._read_before()
            log = self._task_log(read)
            task = _earlier.attach(self._known(), client, self.logs, read=read)
            # Left as it is: the outcome is not taken here.
            opened.callback(task.close)
            await task.__aenter__()
            try:
                with _Deadline(self.deadline, task) as deadline:
                    outcome = await self._outcome(task, log)
                    is_late = deadline.has_passed and outcome.reason == _TIME_IS_UP
                    if is_late:
                        await self._give_up(task, log)
                # Airflow's supervisor closes a trigger's file as soon as it has ended: lines that come after that are nobody's.
                await _sleep(log.on_its_way())
            except asyncio.CancelledError:
                # Whether by a user is told next, if at all: until then it is observed.
                self._held = _Held(task, log, opened.pop_all())
                raise
        return _event.of(outcome, self._known(), is_late=is_late, more=self.trigger_kwargs)

    def _known(self) -> _earlier.Known:
        return _earlier.Known(self.task_name, self.namespace, self.nonce)

    def _task_log(self, read: LogsRead | None = None) -> _log.TaskLog:
        """``read``: how far it was written before."""
        goes_on_behind = (read or {}) if _written.is_shared(self.task_instance) else None
        return _log.TaskLog(self.log, prefix=self.prefix, goes_on_behind=goes_on_behind, has_terminal=False)

    async def _read_before(self) -> LogsRead:
        if not _written.is_shared(self.task_instance):
            return {}
        reading = asyncio.to_thread(_written.before, self.task_instance, self.log)
        try:
            return await asyncio.wait_for(reading, _READS_FOR)
        except asyncio.TimeoutError:
            self.log.warning("[kpo] the log of %s begins anew: it took too long to be read", self.task_name)
            return {}

    async def _outcome(self, task: kpo.Task, log: _log.TaskLog) -> kpo.Outcome:
        async for event in task:
            await log.tell_async(event)
            if isinstance(event, (events.Created, events.Adopted)):
                self.pod = event.pod
            elif isinstance(event, events.OutcomeReady):
                return event.outcome
        return await task

    async def _give_up(self, task: kpo.Task, log: _log.TaskLog) -> None:
        """A task whose time is up has no result to wait for, and Airflow 2 does not resume it: what is left of it goes now."""
        task.taken()
        async for event in task:
            await log.tell_async(event)

    async def on_kill(self) -> None:
        """A user has stopped the task while it was deferred (Airflow 3.3 and later). The pod of a newer try, which has taken it over, stays. It is called
        as well where a triggerer that nobody had heard of is back, and another one has its triggers."""
        if self._is_stoppable():
            await self._stop_unbroken()

    def _is_stoppable(self) -> bool:
        return self.cancels and not self._has_ended

    async def _stop_unbroken(self) -> None:
        """Waits for what goes on when whoever waits is cancelled."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop_if_by_user())
            _stops.add(self._stopping)
            self._stopping.add_done_callback(_stops.discard)
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        try:
            if self._held is None:
                await asyncio.wait_for(self._hold(), _HOLDS_FOR)
            if self._held is not None:
                await self._cancel(self._held)
        except kpo.NotFoundError:
            # It is gone already.
            return
        except Exception as error:
            self.log.warning("[kpo] %s could not be stopped: %s", self.task_name, _one_line(error))
        finally:
            await self._let_go()

    async def _stop_if_by_user(self) -> None:
        """Airflow is asked whether a user has stopped the task, and not only somebody the triggerer, or taken its triggers away."""
        state = await self._state()
        # Whoever has not observed it takes it over from nobody who goes on with it.
        goes_on = state == "deferred" or (self._held is None and state in _RESUMED)
        await (self._let_go() if goes_on else self._stop())

    async def _state(self) -> Any:
        """The task's. One of which no answer comes is deferred still. (Triggers ask in turn: how long that takes says nothing.)"""
        end = time.monotonic() + _ASKS_FOR
        while True:
            try:
                return await self.get_task_state()
            except AirflowException:
                # Upstream's word for a task instance that there is no more.
                return None
            except Exception:
                if time.monotonic() > end:
                    self.log.warning("[kpo] it is not known whether task %s was stopped: its pod stays", self.task_name)
                    return "deferred"
            await _sleep(_ASKS_AGAIN)

    async def _hold(self) -> None:
        """Becomes the observer, where the trigger was cancelled before it was."""
        async with AsyncExitStack() as opened:
            client = await opened.enter_async_context(_shared.client(("kill", self._key()), self._client))
            if await self._is_newer_trys(client):
                return
            task = _earlier.attach(self._known(), client, [])
            opened.callback(task.close)
            await task.__aenter__()
            self._held = _Held(task, self._task_log(), opened.pop_all())

    async def _cancel(self, held: _Held) -> None:
        """As the observer that it is. One that was taken over only leaves by that."""
        held.task.cancel()
        async for event in held.task:
            if isinstance(event, events.TakenOver):
                self.log.info("[kpo] %s is a newer try's by now: its pod stays", self.task_name)
            else:
                await held.log.tell_async(event)
        await _sleep(held.log.on_its_way())

    async def _is_newer_trys(self, client: kpo.Client) -> bool:
        """By the label which whoever goes on with a pod puts there before."""
        names = await client.find_async(self.task_name, namespace=self.namespace)
        if self.try_number is None or not names:
            return False
        pod = await client.read_pod_async(names[-1], namespace=self.namespace, within=_PATIENCE)
        label = pod["metadata"]["labels"].get("try_number", "")
        return label.isdigit() and int(label) > self.try_number

    async def cleanup(self) -> None:
        """The last that is called, whatever has happened. Airflow waits half a minute for ``on_kill``, which is what a program has by default that does
        not heed SIGTERM: here its end is waited for, without which its pod would be held by kpo's finalizer."""
        if self._stopping is not None or (not _HAS_ON_KILL and self._is_stoppable()):
            await self._stop_unbroken()
        else:
            await self._let_go()

    async def _let_go(self) -> None:
        """Another triggerer may go on."""
        if self._held is not None:
            await self._held.opened.aclose()
            self._held = None

    async def get_task_state(self) -> Any:
        """As upstream asks it."""
        ask: Any = upstream.KubernetesPodTrigger.get_task_state
        return await ask(self)

    if hasattr(upstream.KubernetesPodTrigger, "get_task_instance"):
        get_task_instance = upstream.KubernetesPodTrigger.get_task_instance

    # --- the connection ------------------------------------------------------------------------------------------------------------------

    def _key(self) -> tuple[Any, ...]:
        hook = (self.hook_path, json.dumps(self.hook_arguments, sort_keys=True))
        return (self.kubernetes_conn_id, self.in_cluster, self.cluster_context, self.config_file, *hook)

    async def _client(self) -> kpo.Client:
        made = partial(_one_at_a_time, self._made())
        # It reads files and may ask the supervisor: never in the event loop.
        configuration = await sync_to_async(made, thread_sensitive=False, executor=_maker)()
        return _connection.client(configuration, made, shared_watch=True)

    def _made(self) -> Callable[[], Any]:
        """What makes the Python client's configuration, each time anew."""
        if self.hook_path is not None:
            return partial(_hooks.configuration, self.hook_path, self.hook_arguments)
        # A new one each time: it keeps what it has read of the connection.
        hook = partial(
            KubernetesHook,
            conn_id=self.kubernetes_conn_id,
            in_cluster=self.in_cluster,
            cluster_context=self.cluster_context,
            config_file=self.config_file,
        )
        return lambda: hook().get_conn().configuration


class _Deadline:
    """Says when the task's time is up."""

    def __init__(self, at: float | None, task: kpo.Task) -> None:
        self._at, self._task = at, task
        self.has_passed = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> _Deadline:
        if self._at is not None:
            left = max(0.0, self._at - time.time())
            self._timer = asyncio.get_running_loop().call_later(left, self._pass)
        return self

    def _pass(self) -> None:
        self.has_passed = True
        self._task.expire()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _one_at_a_time(made: Callable[[], Any]) -> Any:
    with _making:
        return made()


def _one_line(error: BaseException) -> str:
    """An error of kpo's has one line and no secret; of others only the class is told."""
    return str(error) if isinstance(error, kpo.KpoError) else type(error).__name__
