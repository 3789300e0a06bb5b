"""Feeds in the hands of a test: scenarios with feeds of their own, and runs made by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from asgiref.sync import sync_to_async

from runs.live import Feeds, News, Record, RunFeed, RunsFeed
from runs.models import LogEntry, Run, RunEvent, Step
from tests.pages import factories
from tests.processes import until

T = TypeVar("T", RunEvent, Step, LogEntry)
Scenario = Callable[[Feeds], Coroutine[Any, Any, None]]


@pytest.fixture
def follow() -> Callable[[Scenario], None]:
    """Runs a scenario with feeds of its own, which must stop reading afterwards."""

    def run(scenario: Scenario) -> None:
        async def whole() -> None:
            feeds = Feeds()
            try:
                await scenario(feeds)
            finally:
                feeds.close()
            await asyncio.to_thread(until, lambda: not feeds.is_polling, "the end of reading")

        asyncio.run(whole())

    return run


def make(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function that uses the database."""
    return sync_to_async(function)(*arguments, **options)


def event(run: Run, kind: str, **attributes: Any) -> RunEvent:
    """A line of the history, with the run's next number."""
    return _numbered(run, factories.event(run, kind, seq=run.seq + 1, **attributes))


def step(run: Run, name: str, **attributes: Any) -> Step:
    """A completed step, with the run's next number."""
    return _numbered(run, factories.step(run, name, **attributes))


def log(run: Run, message: str, **attributes: Any) -> LogEntry:
    """A line of the log, with the run's next number."""
    return _numbered(run, factories.log(run, message, **attributes))


def _numbered(run: Run, row: T) -> T:
    run.seq = row.seq
    Run.objects.filter(pk=run.pk).update(seq=run.seq)
    return row


def begun(**attributes: Any) -> Run:
    """A run that was triggered and started."""
    run = factories.run("running", **attributes)
    event(run, "triggered")
    event(run, "started")
    return run


def told(record: Record) -> tuple[int, str]:
    """A record, short: its number, and what it is."""
    row: Any = record.row
    for name in ("kind", "name", "message"):
        if hasattr(row, name):
            return record.seq, getattr(row, name)
    raise AssertionError(row)


async def heard(feed: RunFeed | RunsFeed, count: int) -> list[Record]:
    """The next records, exactly so many."""
    found: list[Record] = []
    while len(found) < count:
        news = await feed.next(5)
        assert news is not None, f"heard only {[told(record) for record in found]}"
        found += news.records
    assert len(found) == count, [told(record) for record in found]
    return found


async def news_of(feed: RunFeed | RunsFeed, seconds: float = 5) -> News:
    """The next news that tell of something."""
    while True:
        news = await feed.next(seconds)
        assert news is not None, "no news"
        if news:
            return news


async def silence(feed: RunFeed | RunsFeed, seconds: float = 0.6) -> None:
    """Nothing is told in this time."""
    news = await feed.next(seconds)
    while news is not None:
        assert not news, news
        news = await feed.next(seconds)
