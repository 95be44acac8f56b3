"""The operator: upstream's in all but its lifecycle, which is the engine's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.cncf.kubernetes.operators import pod as upstream
from kubernetes.client import models as k8s

import kpo
from kpo import events
from kpo.airflow import (
    _connection,
    _deferral,
    _earlier,
    _event,
    _failure,
    _hooks,
    _log,
    _options,
    _params,
    _pod,
    _read,
    _resume,
    _stop,
    _written,
    exceptions,
    link,
)
from kpo.airflow._callbacks import Callbacks
from kpo.airflow._compat import AirflowSkipException, AirflowTaskTerminated, AirflowTaskTimeout
from kpo.airflow.pod_manager import PodManager

if TYPE_CHECKING:
    from kubernetes.client.models.v1_pod import V1Pod

Rerun = Literal["never", "if-not-started", "until-commit", "idempotent"]

#: How long an event is waited for before it is looked whether somebody stops the task, in seconds.
_STEP = 0.2

#: From these on a task has a pod.
_IS_THERE = (events.Created, events.Adopted)


class KubernetesPodOperator(upstream.KubernetesPodOperator):
    """Runs a task as a pod, and does not lose it. Takes all that upstream's takes, and:

    Args:
        rerun: when a task whose pod was taken away runs again, apart from Airflow's ``retries``: ``never``; ``if-not-started`` (with proof that
            nothing ran); ``until-commit`` (until it has written ``committed`` to its termination message); ``idempotent``. None:
            ``if-not-started``, but ``never`` where a pod is kept under a fixed name.
        rerun_budget: how often at most, for never-started and started losses each. None: 8 and 3.
        protect: whether its pods carry a finalizer of kpo's, so that their last state cannot vanish. None: while it is deferred, where its
            pod's name may vary.
        results: how the result (``do_xcom_push``) leaves the pod: ``sidecar`` (a native sidecar), ``message`` (the termination message of the task's
            own container), ``exec``.
        on_unsigned_delete: what a deletion means that nobody signed: ``end`` or ``recreate``.
        strict: whether the loss of a program that ran, or may have run, is not retried by Airflow either (``AirflowFailException``).
        queue_timeout, run_timeout, total_timeout: clocks of the engine in seconds, beside upstream's ``schedule_timeout_seconds`` and
            ``startup_timeout_seconds``: held back by a queue; running; all of it. None: no limit.
        callback_errors: ``report`` what a callback raises and go on, or ``raise`` it, which fails the task, as upstream does.

    Raises:
        AirflowException: when the DAG is parsed: arguments that cannot be honoured.
    """

    def __init__(
        self,
        *,
        rerun: Rerun | None = None,
        rerun_budget: int | None = None,
        protect: bool | None = None,
        results: Literal["sidecar", "message", "exec"] = "sidecar",
        on_unsigned_delete: Literal["end", "recreate"] = "end",
        strict: bool = False,
        queue_timeout: float | None = None,
        run_timeout: float | None = None,
        total_timeout: float | None = None,
        callback_errors: Literal["report", "raise"] = "report",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._begin_life()
        self.rerun = rerun
        self.rerun_budget = rerun_budget
        self.protect = protect
        self.results = results
        self.on_unsigned_delete = on_unsigned_delete
        self.strict = strict
        self.queue_timeout = queue_timeout
        self.run_timeout = run_timeout
        self.total_timeout = total_timeout
        self.callback_errors = callback_errors
        self._given = {name for name in _pod.FALSY if name in kwargs}
        _params.check(self, kwargs)

    def _begin_life(self) -> None:
        """What it knows of its task in the beginning: nothing."""
        #: Arguments that were given, and whose falsy value wins over a template's.
        self._given = set()
        self._task: kpo.Task | None = None
        self._outcome: kpo.Outcome | None = None
        #: What tells the task from namesakes.
        self._nonce: str | None = None
        #: The pod of the attempt under way.
        self._current: str | None = None
        #: Whether upstream's lifecycle follows the pod.
        self._is_upstreams = False
        #: Whether this process knows of an attempt already.
        self._was_created = False
        #: Whether this process knows that its program ran.
        self._was_started = False
        #: Whether a trigger has told of the task before.
        self._is_resumed = False
        #: Whether its execution_timeout was over in the trigger.
        self._is_late = False

    operator_extra_links = (link.EvidenceLink(),)

    #: Methods of upstream's that are never called by this operator: a subclass that overrides one is refused, unless it names it here.
    kpo_ignores: ClassVar[frozenset[str]] = frozenset()

    # A subclass with a hook of its own that is deferrable says by ``kpo_trigger_hook() -> tuple[str, dict[str, Any]]`` how a trigger makes it: the path of
    # a class with ``get_conn``, and its arguments, which Airflow's database will have: names and ids, and no secret. Called when the task begins.

    # --- what upstream's methods are here ------------------------------------------------------------------------------------------------

    @cached_property
    def pod_manager(self) -> PodManager:
        return PodManager(kube_client=self.client, callbacks=self.callbacks)

    def build_pod_request_obj(self, context: Any = None, **kwargs: Any) -> V1Pod:
        with _pod.as_asked(self, self._given):
            pod = super().build_pod_request_obj(context, **kwargs)
        _pod.set_falsy(self, pod, self._given)
        _pod.check(pod)
        return pod

    def find_pod(self, namespace: str, context: Any, *, exclude_checked: bool = True) -> V1Pod | None:
        """The newest pod of this task instance: a task may have several at a time, one of each attempt."""
        selector = self._build_find_pod_label_selector(context, exclude_checked=exclude_checked)
        return _earlier.newest_of(_earlier.listed(self, namespace, selector))

    def current_pod(self, context: Any) -> V1Pod | None:
        """The pod of the attempt under way, as it is now; as it was seen last where it is gone, or cannot be read: what the task comes to does not
        depend on it."""
        found = None
        try:
            if self.pod is not None:
                found = self.find_pod(self.pod.metadata.namespace, context, exclude_checked=False)
        except Exception as error:
            self.log.warning("[kpo] the pod of the task cannot be read (%s)", _read.brief(error))
        if found is not None and self._nonce in (None, _earlier.nonce_of(found)):
            self.remote_pod = found
        return self.remote_pod

    def extract_xcom(self, pod: V1Pod, **kwargs: Any) -> Any:
        """The result. None: the program left none, or an empty file."""
        if self._outcome is None:
            # A pod that upstream's operator began.
            return super().extract_xcom(pod, **kwargs)
        text = self._outcome.result_text
        return None if text is None else json.loads(text)

    @cached_property
    def _trigger_hook(self) -> tuple[str, dict[str, Any]] | None:
        """What a trigger connects by instead of upstream's hook."""
        return _hooks.of(self)

    @property
    def _requested(self) -> V1Pod:
        """The pod as it was asked for: built before anything else is done."""
        assert self.pod_request_obj is not None
        return self.pod_request_obj

    # --- running -------------------------------------------------------------------------------------------------------------------------

    def execute(self, context: Any) -> Any:
        self.name = self._set_name(self.name)
        return self.execute_async(context) if self.deferrable else self.execute_sync(context)

    def execute_sync(self, context: Any) -> Any:
        return self._execute(context, super().execute_sync, self._run)

    def execute_async(self, context: Any) -> Any:
        # Whether a trigger can be told how to connect is known before there is a pod.
        _ = self._trigger_hook
        return self._execute(context, super().execute_async, self._begin)

    def _execute(self, context: Any, upstreams: Callable[[Any], Any], run: Callable[..., Any]) -> Any:
        callbacks = self._prepare(context)
        found = self._predecessor(context)
        if found is not None and not _earlier.is_ours(found):
            self.log.warning("[kpo] pod %s was begun by upstream's operator, which ends it, too", found.metadata.name)
            self._is_upstreams = True
            return upstreams(context)
        with _connection.of(self) as client:
            if found is None:
                _earlier.demand_permission(self, context)
                return run(self._new_task(client), context, callbacks)
            return _resume.go_on(self, found, client, context, callbacks, run)

    def _run(self, task: kpo.Task, context: Any, callbacks: Callbacks, *, only_living: bool = False) -> Any:
        with self._under_way(task, context, callbacks):
            outcome = self._follow(task, context, callbacks, only_living=only_living)
            return self._end(outcome, context, callbacks)

    def _begin(self, task: kpo.Task, context: Any, callbacks: Callbacks, *, only_living: bool = False) -> Any:
        """The same in a worker that hands it over to a trigger as soon as nothing is lost by that."""
        # Unprotected its pod could vanish between worker and triggerer, and nobody would know what of it had run.
        until = _IS_THERE if _options.protects(self) else (events.Running,)
        with self._under_way(task, context, callbacks):
            outcome = self._follow(task, context, callbacks, until=until, only_living=only_living)
            if outcome is not None:
                return self._end(outcome, context, callbacks)
            known = _earlier.Known(task.name, task.namespace, task.nonce)
            task.detach()
        return self._defer(known, context)

    def _predecessor(self, context: Any) -> V1Pod | None:
        """The pod of an earlier try, whose worker is gone. One of upstream's only where this try may go on with it."""
        found = _earlier.find(self, context)
        return found if found is None or _earlier.is_ours(found) or self.reattach_on_restart else None

    def _prepare(self, context: Any) -> Callbacks:
        """Builds the pod, once a try."""
        callbacks = Callbacks(self, context)
        if self.pod_request_obj is None:
            self.pod_request_obj = self.build_pod_request_obj(context)
        callbacks.tell("on_pod_manifest_created", pod_request=self.pod_request_obj)
        return callbacks

    def _new_task(self, client: kpo.Client) -> kpo.Task:
        options = _options.of(self, self.pod_request_obj)
        return kpo.Task(self.pod_request_obj, client=client, on_interrupt="detach", **options)

    @contextmanager
    def _under_way(self, task: kpo.Task, context: Any, callbacks: Callbacks) -> Iterator[kpo.Task]:
        """For as long as this process observes the task: when its time is up, or a user stops it, its pod goes."""
        self._task = task
        try:
            with task:
                try:
                    yield task
                except AirflowTaskTimeout:
                    self._expire(task, context)
                    raise
                except AirflowTaskTerminated:
                    self._end_terminated(task, context, callbacks)
                    raise
        finally:
            self._task = None

    def _events(self, task: kpo.Task, context: Any) -> Iterator[events.Event]:
        """What happens to it, until nothing comes any more. Whoever stops this worker is heard in between."""
        while True:
            event = task.next_event(_STEP)
            if self._killed:
                self._stop(task, context)
            if event is not None:
                yield event
            elif task.ended:
                return

    def _follow(
        self,
        task: kpo.Task,
        context: Any,
        callbacks: Callbacks,
        *,
        until: tuple[type[events.Event], ...] = (),
        only_living: bool = False,
    ) -> Any:
        """Tells what happens, until the outcome is there, or one of those events.

        Raises:
            _resume.NotLivingError: with ``only_living``, of a task that was found as anything else.
        """
        log = self._task_log(callbacks)
        for event in self._events(task, context):
            if only_living and isinstance(event, events.Adopted) and event.found != "living":
                raise _resume.NotLivingError(is_over=event.found == "over")
            log.tell(event)
            if isinstance(event, _IS_THERE):
                self._at_attempt(event, task, context, callbacks)
            elif isinstance(event, events.Running):
                self._at_start(callbacks)
            elif isinstance(event, events.OutcomeReady):
                return event.outcome
            if isinstance(event, until):
                return None
        return task.outcome()

    def _task_log(self, callbacks: Callbacks) -> _log.TaskLog:
        return _log.TaskLog(
            self.log,
            prefix=self.container_name_log_prefix_enabled,
            formatter=self.log_formatter,
            on_line=callbacks.line,
            is_quiet=self._is_resumed,
        )

    def _at_attempt(
        self, event: events.Created | events.Adopted, task: kpo.Task, context: Any, callbacks: Callbacks
    ) -> None:
        is_first, self._was_created = not self._was_created, True
        self._current, self._nonce = event.pod, task.nonce
        if self.pod_request_obj is not None:
            self.pod = _pod.named(self.pod_request_obj, event.pod)
            self.pod.metadata.namespace = task.namespace
        context["ti"].xcom_push(key="pod_name", value=event.pod)
        context["ti"].xcom_push(key="pod_namespace", value=task.namespace)
        if self.reattach_on_restart:
            _earlier.write_down(self, context, event, task)
        if is_first:
            callbacks.tell_of_pod("on_pod_creation")

    def _at_start(self, callbacks: Callbacks) -> None:
        """Its program runs: told once a task, whichever attempt it is."""
        if not self._was_started:
            self._was_started = True
            callbacks.tell_of_pod("on_pod_starting")

    # --- deferred ------------------------------------------------------------------------------------------------------------------------

    def _defer(self, known: _earlier.Known, context: Any, again: int = 0) -> None:
        trigger, within = _deferral.trigger(self, known, context, again)
        self.defer(trigger=trigger, method_name="trigger_reentry", timeout=within)

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
        if _event.KEY not in event:
            # Of a trigger of upstream's, from before an upgrade.
            self._is_upstreams = True
            return super().trigger_reentry(context, event)
        known, callbacks = _event.task_of(event), Callbacks(self, context)
        again = event.get("_redefer_count", 0)
        self._resume(event)
        if event["status"] == "error" and again < _deferral.REDEFERRALS:
            self.log.warning(
                "[kpo] the trigger has lost sight of %s (%s); another one goes on", known.task, event["message"]
            )
            return self._defer(known, context, again + 1)
        self._is_resumed = event["status"] != "error"
        self._is_late = event["status"] == "timeout"
        callbacks.tell_of_pod("on_operator_resuming", event=event)
        if _event.has_started(event):
            self._at_start(callbacks)
        has_log = _event.has_log(event, otherwise=not _deferral.logs_when_resumed(self))
        is_followed = not has_log or event["status"] == "error"
        logs = _deferral.followed(self) if is_followed else []
        with _connection.of(self) as client:
            try:
                # What the trigger has seen happen stands: nothing is run again because of what is left of it.
                is_over = _event.outcome_of(event) is not None
                read = _written.before(context["ti"], self.log) if is_followed else {}
                task = _earlier.attach(known, client, logs, over=is_over, read=read)
                with self._under_way(task, context, callbacks):
                    outcome = _event.told(event, self._follow(task, context, callbacks))
                    return self._end(outcome, context, callbacks)
            except kpo.NotFoundError:
                return self._end_without_pod(event, context, callbacks)

    def _resume(self, event: dict[str, Any]) -> None:
        """What this process knows of the task."""
        self._current, self.remote_pod = event["name"], None
        self._was_created = True
        self.pod = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name=event["name"], namespace=event["namespace"]))
        self._nonce = _event.task_of(event).nonce
        try:
            found = _earlier.read(self, event["name"], event["namespace"])
        except Exception as error:
            # The engine asks for it until it is answered.
            self.log.warning("[kpo] pod %s cannot be read (%s)", event["name"], _read.brief(error))
            return
        if found is not None and self._nonce in (None, _earlier.nonce_of(found)):
            self.pod = self.remote_pod = found

    def _end_without_pod(self, event: dict[str, Any], context: Any, callbacks: Callbacks) -> Any:
        """The pod is gone: the event says what it came to."""
        outcome = _event.outcome_of(event)
        _earlier.forget(self, context)
        if outcome is None:
            raise exceptions.unseen(strict=self.strict)(event["message"])
        if outcome.succeeded and self.do_xcom_push:
            raise exceptions.PodResultMissing(
                f"{outcome.message}; but its pod {event['name']} was gone before its result was read"
            )
        return self._end(outcome, context, callbacks)

    # --- being stopped -------------------------------------------------------------------------------------------------------------------

    def on_kill(self) -> None:
        """Only asks: who follows the task finds out who stops it, and what that means. A pod that upstream's lifecycle follows it deletes itself."""
        if self._is_upstreams:
            super().on_kill()
        self._killed = True

    def _stop(self, task: kpo.Task, context: Any) -> None:
        """Somebody stops this worker: a user the task, or its machine only the worker."""
        self._killed = False
        is_kept = self.on_kill_action.value == "keep_pod"
        if not is_kept and _stop.is_by_user(context):
            # Of one that was not heard of, and has no retry left, Airflow says the same.
            self.log.info("[kpo] Airflow says that the task was stopped: its pod is deleted")
            task.cancel()
            return
        task.detach()
        why = "its on_kill_action is keep_pod" if is_kept else "no user has stopped the task"
        raise exceptions.PodLeft(
            f"the worker is being stopped, and {why}: pod {self._current} is left as it is, for the next try to go on with"
        )

    def _end_terminated(self, task: kpo.Task, context: Any, callbacks: Callbacks) -> None:
        """Airflow 2 raises that wherever the task is, right after ``on_kill``, and ends the process when it is told: what becomes of the pod is seen to
        before."""
        self._stop(task, context)
        if self._outcome is None:
            self._end(self._follow(task, context, callbacks), context, callbacks)
        else:
            # Its program had ended before, and the user wants none of it.
            self._take()

    def _expire(self, task: kpo.Task, context: Any) -> None:
        """The task's execution_timeout is over. What has ended before stays, with its result: nobody has it."""
        if task.ended or self._outcome is not None:
            return
        log = _log.TaskLog(self.log, prefix=self.container_name_log_prefix_enabled, formatter=self.log_formatter)
        task.expire()
        for event in task:
            log.tell(event)
        _earlier.forget(self, context)

    # --- the end -------------------------------------------------------------------------------------------------------------------------

    def _end(self, outcome: kpo.Outcome, context: Any, callbacks: Callbacks) -> Any:
        self._outcome = outcome
        link.push(self, outcome, context)
        with self._consumed(context):
            callbacks.tell_of_pod("on_pod_completion")
            callbacks.tell_of_pod("on_pod_teardown")
            if self.remote_pod is None and not callbacks:
                self.remote_pod = self.current_pod(context) if self._needs_remote_pod() else None
            result = self.extract_xcom(pod=self.pod) if self.do_xcom_push else None
        self.post_complete_action(pod=self.pod, remote_pod=self.remote_pod, context=context, result=result)
        return result if self.do_xcom_push else None

    @contextmanager
    def _consumed(self, context: Any, errors: type[Exception] = Exception) -> Iterator[None]:
        """What code of the user's, or the result itself, makes fail would fail so again: the outcome is this try's, and the next one runs anew. (Where
        Airflow's database does not take a result, the next try does.)"""
        try:
            yield
        except errors:
            _earlier.forget(self, context)
            self._take()
            raise

    def _needs_remote_pod(self) -> bool:
        return self.log_pod_spec_on_failure and not self._succeeded()

    def _succeeded(self) -> bool:
        return self._outcome is not None and self._outcome.succeeded

    def post_complete_action(
        self, *, pod: V1Pod, remote_pod: V1Pod, context: Any, result: Any = None, **kwargs: Any
    ) -> None:
        try:
            self.cleanup(pod=pod, remote_pod=remote_pod, xcom_result=result, context=context)
        finally:
            Callbacks(self, context).tell("on_pod_cleanup", pod=remote_pod or pod)

    def cleanup(self, pod: V1Pod, remote_pod: V1Pod, xcom_result: Any = None, context: Any = None) -> None:
        """Makes the result safe, then has the engine clean up, then raises what the task came to."""
        outcome = self._outcome
        if outcome is None:
            # A pod that upstream's operator began.
            super().cleanup(pod, remote_pod, xcom_result, context)
            return
        if self.do_xcom_push and context is not None:
            with self._consumed(context, TypeError):
                self._push_xcom_with_fan_out(context["ti"], xcom_result)
        self._mark_kept(outcome)
        if context is not None:
            _earlier.forget(self, context)
        self._take()
        last = outcome.attempts[-1].verdict if outcome.attempts else None
        # Of what was taken away the code is no word of the program's.
        if last is not None and last.kind in ("succeeded", "failed") and last.exit_code in self.skip_on_exit_code:
            raise AirflowSkipException(f"Pod {self._current} returned exit code {last.exit_code}. Skipping.")
        if self._is_late:
            raise AirflowTaskTimeout(outcome.message)
        if not outcome.succeeded:
            raise _failure.of(self, outcome, remote_pod)

    def _mark_kept(self, outcome: kpo.Outcome) -> None:
        """For upstream's, after a rollback: a pod that stays is not one to go on with. Here the verdict says so that the engine writes on it."""
        if _options.keeps(self, succeeded=outcome.succeeded) and self.pod is not None:
            self.patch_already_checked(self.pod, reraise=False)

    def _take(self) -> None:
        """The outcome is safe: what is left of the task is cleaned up."""
        task = self._task
        if task is None:
            return
        task.taken()
        log = _log.TaskLog(self.log)
        while not task.ended:
            event = task.next_event(_STEP)
            if event is not None:
                log.tell(event)
            if self._killed:
                # It is told already what the task came to.
                task.detach()
                return
