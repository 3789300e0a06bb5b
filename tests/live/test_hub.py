from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, transaction

from runs.live import Changes, Cursor, Ended, Hub, Subscription, Topics
from runs.live.tail import EventTail
from runs.models import Run, RunEvent
from tests.pages import factories
from tests.processes import until

pytestmark = pytest.mark.django_db(transaction=True)

Scenario = Callable[[Hub], Coroutine[Any, Any, None]]


@pytest.fixture
def play() -> Callable[[Scenario], None]:
    """Runs a scenario with a hub of its own, which must stop polling afterwards."""

    def run(scenario: Scenario) -> None:
        async def whole() -> None:
            hub = Hub()
            try:
                await scenario(hub)
            finally:
                hub.close()
            await asyncio.to_thread(until, lambda: not hub.is_polling, "the end of polling")

        asyncio.run(whole())

    return run


def make(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return sync_to_async(function)(*arguments, **options)


async def heard(subscription: Subscription, count: int = 1) -> list[tuple[int, str]]:
    """The next events, at least ``count`` of them."""
    found: list[tuple[int, str]] = []
    while len(found) < count:
        changes = await subscription.next(5)
        assert changes is not None, f"heard only {found}"
        found += [(event.id, event.kind) for event in changes.events]
    return found


async def silence(subscription: Subscription, seconds: float = 0.8) -> None:
    changes = await subscription.next(seconds)
    assert changes is None, changes


async def welcome(hub: Hub, *topics: str, after: Cursor | None = None) -> Subscription:
    """A subscription that has been let in."""
    subscription = hub.subscribe(Topics.parse(topics), after)
    assert await subscription.next(5) is not None
    return subscription


def test_each_hears_what_it_watches(play: Callable[[Scenario], None]) -> None:
    async def scenario(hub: Hub) -> None:
        mine = await make(factories.run, job="a")
        other = await make(factories.run, job="b")
        everything = await welcome(hub, "runs")
        one = await welcome(hub, f"run:{mine.id}")
        job = await welcome(hub, "job:b")
        first = await make(factories.event, mine, "started")
        second = await make(factories.event, other, "started")
        assert await heard(everything, 2) == [(first.id, "started"), (second.id, "started")]
        assert await heard(one) == [(first.id, "started")]
        assert await heard(job) == [(second.id, "started")]
        await silence(one)

    play(scenario)


def test_one_thread_polls_however_many_watch_and_none_when_nobody_does(
    play: Callable[[Scenario], None],
) -> None:
    def pollers() -> int:
        return sum(thread.name == "live" for thread in threading.enumerate())

    async def scenario(hub: Hub) -> None:
        assert not hub.is_polling
        watchers = [await welcome(hub, "runs") for _ in range(20)]
        assert pollers() == 1
        for watcher in watchers:
            watcher.close()
        await asyncio.to_thread(until, lambda: not pollers(), "the end of the thread")
        assert not hub.is_polling
        again = await welcome(hub, "runs")
        event = await make(factories.event, await make(factories.run), "started")
        assert await heard(again) == [(event.id, "started")]

    play(scenario)


def test_who_comes_back_hears_what_was_missed_and_nothing_twice(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(hub: Hub) -> None:
        run, other = await make(factories.run), await make(factories.run)
        await make(factories.event, run, "triggered")
        cursor = await make(Cursor.now)
        missed = [await make(factories.event, each, "failed") for each in (run, other)]
        back = hub.subscribe(Topics.parse(["runs"]), cursor)
        assert [id for id, _ in await heard(back, 2)] == [event.id for event in missed]
        only = hub.subscribe(Topics.parse([f"run:{other.id}"]), cursor)
        assert await heard(only) == [(missed[1].id, "failed")]
        await silence(back)

    play(scenario)


def test_too_much_to_tell_is_told_as_such(
    play: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.live.tail.MAX_EVENTS", 3)

    async def scenario(hub: Hub) -> None:
        run = await make(factories.run)
        for _ in range(4):
            await make(factories.event, run, "started")
        back = hub.subscribe(Topics.parse(["runs"]), Cursor(0))
        changes = await back.next(5)
        assert changes is not None
        assert changes.reset
        assert changes.events == ()
        from_the_future = hub.subscribe(Topics.parse(["runs"]), Cursor(10**9))
        changes = await from_the_future.next(5)
        assert changes is not None
        assert changes.reset

    play(scenario)


def test_progress_and_deletion_are_noticed(play: Callable[[Scenario], None]) -> None:
    async def scenario(hub: Hub) -> None:
        run = await make(factories.run, "running")
        quiet = await make(factories.run, "completed")
        page = hub.subscribe(Topics.parse([f"run:{run.id}", f"run:{quiet.id}"]))
        changes = await page.next(5)
        assert changes is not None
        assert [move.run for move in changes.moved] == [run.id]  # nobody knows how far it is
        await make(Run.objects.filter(pk=run.pk).update, current_step="pay")
        changes = await page.next(5)
        assert changes is not None
        assert [(move.run, move.gone) for move in changes.moved] == [(run.id, False)]
        await make(run.delete)
        changes = await page.next(5)
        assert changes is not None
        assert [move.gone for move in changes.moved] == [True]

    play(scenario)


def test_a_worker_that_comes_is_noticed(
    play: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.live.tail._WORKER_PAUSE", 0.1)

    async def scenario(hub: Hub) -> None:
        page = await welcome(hub, "workers")
        await silence(page)
        await make(factories.worker, "example")
        changes = await page.next(5)
        assert changes is not None
        assert changes.workers

    play(scenario)


def test_a_database_that_fails_for_a_while_costs_nothing(
    play: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = EventTail.read
    failing = threading.Event()

    def read(tail: EventTail) -> Any:
        events = whole(tail)
        if failing.is_set():
            raise DatabaseError("gone")
        return events

    monkeypatch.setattr(EventTail, "read", read)

    async def scenario(hub: Hub) -> None:
        page = await welcome(hub, "runs")
        run = await make(factories.run)
        failing.set()
        first = await make(factories.event, run, "started")
        await silence(page)
        newcomer = hub.subscribe(Topics.parse(["runs"]), Cursor(first.id - 1))
        failing.clear()
        assert await heard(page) == [(first.id, "started")]
        assert await heard(newcomer) == [(first.id, "started")]
        second = await make(factories.event, run, "completed")
        assert await heard(page) == [(second.id, "completed")]

    play(scenario)


def test_closing_ends_every_subscription(play: Callable[[Scenario], None]) -> None:
    async def scenario(hub: Hub) -> None:
        watchers = [await welcome(hub, "runs") for _ in range(3)]
        hub.close()
        for watcher in watchers:
            with pytest.raises(Ended):
                await watcher.next(5)
        assert hub.watchers == 0

    play(scenario)


def test_what_is_not_collected_is_put_together() -> None:
    run = uuid.uuid4()
    event = Changes(Cursor(1)).then(Changes(Cursor(2), workers=True))
    assert event.cursor == Cursor(2)
    assert event.workers
    many = Changes(Cursor(3), reset=True).then(Changes(Cursor(4)))
    assert many.reset
    assert many.cursor == Cursor(4)
    assert Topics.parse([f"run:{run}"]).includes(run, "any")


@pytest.mark.postgres
def test_an_event_that_is_committed_late_is_told_late_and_once(
    play: Callable[[Scenario], None],
) -> None:
    run = factories.run()
    inserted, commit = threading.Event(), threading.Event()
    late: list[int] = []

    def slow_transaction() -> None:
        try:
            with transaction.atomic():
                late.append(factories.event(run, "started").id)
                inserted.set()
                commit.wait(10)
        finally:
            connection.close()

    def rolled_back() -> None:
        with transaction.atomic():
            factories.event(run, "started")
            transaction.set_rollback(True)

    async def scenario(hub: Hub) -> None:
        page = await welcome(hub, "runs")
        await make(rolled_back)
        thread = threading.Thread(target=slow_transaction)
        thread.start()
        assert await asyncio.to_thread(inserted.wait, 5)
        early = await make(factories.event, run, "completed")
        changes = await page.next(5)
        assert changes is not None
        assert [event.id for event in changes.events] == [early.id]
        cursor = Cursor.parse(str(changes.cursor))
        assert cursor is not None
        assert late[0] < early.id
        commit.set()
        await asyncio.to_thread(thread.join)
        assert await heard(page) == [(late[0], "started")]
        # Who left in between hears it too; and nobody hears anything twice.
        back = hub.subscribe(Topics.parse(["runs"]), cursor)
        assert await heard(back) == [(late[0], "started")]
        await silence(page)
        await silence(back)
        assert await make(RunEvent.objects.count) == 2

    play(scenario)


@pytest.mark.postgres
def test_a_hole_that_stays_empty_is_forgotten() -> None:
    run = factories.run()
    factories.event(run, "triggered")
    tail = EventTail(Cursor.now())
    with transaction.atomic():
        factories.event(run, "started")
        transaction.set_rollback(True)
    event = factories.event(run, "completed")
    assert [found.id for found in tail.read()] == [event.id]
    assert tail.cursor.holes == ((event.id - 1, event.id - 1),)

    def forgotten() -> bool:
        assert tail.read() == ()
        return tail.cursor == Cursor(event.id)

    until(forgotten, "the end of every transaction that could have filled the hole")
