"""A task under way: its events, and the ways to leave it."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest
from conftest import ENDLESS, Log, pod, until_gone, until_running

import kpo


def kinds(events: list[kpo.events.Event]) -> list[str]:
    """What it is about. Logs come when they come, but for the outcome, before which they are out."""
    passed_over = (kpo.events.Waiting, kpo.events.Sight, kpo.events.Log)
    return [type(event).__name__ for event in events if not isinstance(event, passed_over)]


STORY = ["Created", "Assigned", "Running", "Ran", "Ended", "OutcomeReady", "Finished"]


def test_events_in_a_loop(client: kpo.Client) -> None:
    with kpo.Task(pod("echo hello"), client=client) as task:
        assert (task.name, task.namespace, task.container) == ("juice", "default", "base")
        assert kinds(list(task)) == STORY
        assert task.outcome().succeeded


def test_and_in_an_event_loop(client: kpo.Client) -> None:
    async def follow() -> list[str]:
        async with kpo.Task(pod("echo hello"), client=client) as task:
            seen = kinds([event async for event in task])
            assert (await task).succeeded
            return seen

    assert asyncio.run(follow()) == STORY


def test_a_task_that_was_not_begun_leaves_nothing(kpo_lab: kpo.Lab, client: kpo.Client) -> None:
    task = kpo.Task(pod("true"), client=client)
    assert repr(task) == "Task(not begun)"
    with pytest.raises(kpo.ClosedError):
        task.cancel()
    task.close()
    with pytest.raises(kpo.ClosedError):
        task.outcome()
    assert kpo_lab.requests() == {}


def test_the_outcome_counts_as_taken_when_the_block_is_left(client: kpo.Client) -> None:
    with kpo.Task(pod("true"), client=client) as task:
        assert task.outcome().succeeded
        # Until then nothing is deleted.
        assert client.find("juice") == ["juice-1"]
    until_gone(client)


def test_the_outcome_counts_as_taken_when_that_is_said(client: kpo.Client) -> None:
    with pytest.raises(ZeroDivisionError), kpo.Task(pod("true"), client=client) as task:
        task.outcome()
        task.taken()
        assert isinstance(list(task)[-1], kpo.events.Finished)
        raise ZeroDivisionError
    until_gone(client)


def test_an_exception_leaves_the_pod_as_it_is(client: kpo.Client, kpo_lab: kpo.Lab) -> None:
    with pytest.raises(ZeroDivisionError), kpo.Task(ENDLESS, client=client) as task:
        until_running(task)
        raise ZeroDivisionError
    assert client.find("juice") == ["juice-1"] and "delete pods" not in kpo_lab.requests()


def test_a_task_is_left_and_gone_on_with(client: kpo.Client, log: Log) -> None:
    with kpo.Task(pod("echo begun", "sleep 1", "echo done"), client=client) as task:
        until_running(task)
        task.detach()
        assert not [event for event in task if isinstance(event, kpo.events.OutcomeReady)]
        with pytest.raises(kpo.LeftError, match="goes on with it"):
            task.outcome()
    with kpo.attach("juice", client=client, take_over=True) as again:
        for event in again:
            log(event)
    assert log.printed() == ["begun", "done"] and again._outcome is not None and again._outcome.succeeded
    [adopted] = log.of(kpo.events.Adopted)
    assert (adopted.follows, adopted.recreates, adopted.found) == (False, True, "living")
    until_gone(client)


def test_a_namesake_is_left_alone(client: kpo.Client) -> None:
    with kpo.Task(ENDLESS, client=client) as task:
        until_running(task)
        nonce = task.nonce
        task.detach()
    with pytest.raises(kpo.NotFoundError), kpo.attach("juice", client=client, nonce="another's"):
        pass
    with kpo.attach("juice", client=client, nonce=nonce, take_over=True) as again:
        assert again.nonce == nonce
        again.cancel()
        assert again.outcome().verdict == "cancelled"
    until_gone(client)


def test_what_is_known_to_be_over_is_not_run_again(kpo_lab: kpo.Lab, client: kpo.Client) -> None:
    endless = pod("echo begun", "while true; do sleep 0.1; done")
    with kpo.Task(endless, client=client, rerun="idempotent", protect=True) as task:
        until_running(task)
        task.detach()
    kpo_lab.play("at 0s: evict pod juice-1 for memory")
    with kpo.attach("juice", client=client, over=True, take_over=True) as again:
        outcome = again.outcome()
        assert outcome.verdict == "disrupted"
    until_gone(client)
    assert kpo_lab.requests()["create pods"] == 1


def test_who_only_follows_deletes_nothing(client: kpo.Client) -> None:
    with kpo.Task(ENDLESS, client=client) as task:
        until_running(task)
        with kpo.attach("juice", client=client) as follower:
            until_running(follower)
        assert client.find("juice") == ["juice-1"]
        task.cancel()
        assert task.outcome().verdict == "cancelled"


def test_tasks_are_gone_on_with_by_one_watch(kpo_lab: kpo.Lab, client: kpo.Client) -> None:
    for name in ("apple", "pear"):
        with kpo.Task(ENDLESS, client=client, name=name) as task:
            until_running(task)
            task.detach()
    watches = kpo_lab.requests()["watch pods"]
    with kpo_lab.client(shared_watch=True) as shared:
        with (
            kpo.attach("apple", client=shared, take_over=True) as apple,
            kpo.attach("pear", client=shared, take_over=True) as pear,
        ):
            with (
                pytest.raises(kpo.TaskExistsError, match="task pear is watched over by this client already"),
                kpo.attach("pear", client=shared),
            ):
                pass
            for task in (apple, pear):
                task.cancel()
                assert task.outcome().verdict == "cancelled"
    assert kpo_lab.requests()["watch pods"] == watches + 1


def test_a_log_goes_on_behind_a_line_that_was_read(client: kpo.Client, log: Log) -> None:
    with kpo.Task(pod("echo one", "echo two", "echo three"), client=client) as task:
        for event in task:
            log(event)
            if isinstance(event, kpo.events.OutcomeReady):
                break
        task.detach()
    assert log.printed() == ["one", "two", "three"]
    lines = [line for batch in log.of(kpo.events.Log) for line in batch.log]
    uid = log.of(kpo.events.Created)[0].uid
    for read, expected in (
        ({}, ["one", "two", "three"]),
        ({uid: {"base": lines[0].cursor}}, ["two", "three"]),
        ({"another": {"base": lines[0].cursor}}, ["one", "two", "three"]),
    ):
        again = Log()
        with kpo.attach("juice", client=client, read=read) as task:
            for event in task:
                again(event)
                if isinstance(event, kpo.events.OutcomeReady):
                    break
        assert again.printed() == expected


def test_a_task_that_is_not_there_cannot_be_attached_to(client: kpo.Client) -> None:
    with pytest.raises(kpo.NotFoundError, match="no pod of task nobody"), kpo.attach("nobody", client=client):
        pass


def test_a_task_is_cancelled(client: kpo.Client) -> None:
    with kpo.Task(ENDLESS, client=client) as task:
        until_running(task)
        task.cancel()
        outcome = task.outcome()
        assert (outcome.verdict, outcome.exit_code) == ("cancelled", 130)
        with pytest.raises(kpo.TaskCancelled):
            outcome.check()
    until_gone(client)


def test_a_task_whose_time_is_up_is_stopped(client: kpo.Client) -> None:
    with kpo.Task(ENDLESS, client=client) as task:
        until_running(task)
        task.cancel("deadline")
        assert (task.outcome().verdict, task.outcome().exit_code) == ("cancelled", 124)
        with pytest.raises(kpo.InputError):
            task.cancel("never")  # type: ignore[arg-type]


def test_several_may_wait_for_one(client: kpo.Client) -> None:
    async def follow() -> None:
        async with kpo.Task(pod("sleep 0.3", "exit 3"), client=client) as task:

            async def outcome() -> int | None:
                return (await task).exit_code

            assert await asyncio.gather(*(outcome() for _ in range(50))) == [3] * 50

    asyncio.run(follow())


def test_a_busy_task_does_not_hold_up_the_loop(client: kpo.Client) -> None:
    async def follow() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.ensure_future(others())
        async with kpo.Task(pod("seq 10000"), client=client) as task:
            events = [event async for event in task]
        other.cancel()
        assert turns >= len(events)
        return len(events)

    assert asyncio.run(follow()) > 5


async def cancelled_when_it_runs(client: kpo.Client, **how: object) -> None:
    """Runs a task that never ends by itself, and cancels the asyncio task that awaits it when its program runs."""
    runs = asyncio.Event()

    def note(event: kpo.events.Event) -> None:
        if isinstance(event, kpo.events.Log):
            runs.set()

    awaiting = asyncio.ensure_future(kpo.run_async(ENDLESS, client=client, on_event=note, **how))  # type: ignore[arg-type]
    await runs.wait()
    awaiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await awaiting
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_cancelling_who_awaits_it_cancels_it(client: kpo.Client, kpo_lab: kpo.Lab) -> None:
    asyncio.run(cancelled_when_it_runs(client))
    until_gone(client)
    assert kpo_lab.requests()["delete pods"] == 1


def test_or_leaves_it(client: kpo.Client, kpo_lab: kpo.Lab) -> None:
    asyncio.run(cancelled_when_it_runs(client, on_interrupt="detach"))
    assert client.find("juice") == ["juice-1"] and "delete pods" not in kpo_lab.requests()


def test_a_cancelled_wait_has_taken_no_event(client: kpo.Client) -> None:
    async def follow() -> list[str]:
        async with kpo.Task(pod("echo hello"), client=client) as task:
            seen: list[kpo.events.Event] = []
            while True:
                try:
                    # So short that most waits are cut off, some of them when the event is on its way.
                    seen.append(await asyncio.wait_for(task.__anext__(), 0.0005))
                except asyncio.TimeoutError:
                    continue
                except StopAsyncIteration:
                    return kinds(seen)

    assert asyncio.run(follow()) == STORY


def test_a_task_that_was_forgotten_is_warned_of_and_leaves_its_pod(client: kpo.Client) -> None:
    task = kpo.Task(ENDLESS, client=client)
    until_running(task)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del task
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == [
        "Task('juice', namespace='default') was never left: use it as a context manager"
    ]
    assert client.find("juice") == ["juice-1"]


def test_a_slow_reader_loses_nothing(client: kpo.Client) -> None:
    lines = 20_000
    with kpo.Task(pod(f"seq {lines}"), client=client) as task:
        log = Log()
        # Nobody reads while the program writes all of it.
        for event in task:
            log(event)
            if isinstance(event, kpo.events.Running):
                while client.read_pod("juice-1")["status"]["phase"] == "Running":
                    pass
    assert log.printed() == [str(number) for number in range(1, lines + 1)]
    assert not log.of(kpo.events.Gap)
