"""Who watches pages' topics, and what they are told."""

from __future__ import annotations

import asyncio

from runs.live.changes import Changes, Topics
from runs.live.cursor import Cursor
from runs.live.poller import Ended, Poller
from runs.live.tail import EventTail, RunTail, WorkerTail


class Subscription:
    """What one watcher has not collected yet. Belongs to the event loop that it was made in."""

    def __init__(self, hub: Hub, topics: Topics, after: Cursor | None) -> None:
        self.topics = topics
        self.after = after
        self.loop = asyncio.get_running_loop()
        self.joined = False  # the poller's mark
        self._hub = hub
        self._ready = asyncio.Event()
        self._pending: Changes | None = None
        self._ended = False

    async def next(self, within: float) -> Changes | None:
        """The next changes, possibly empty, with the cursor after them; None if none in time.

        Raises Ended once the hub is closed.
        """
        try:
            async with asyncio.timeout(within):
                await self._ready.wait()
        except TimeoutError:
            return None
        if self._ended:
            raise Ended
        self._ready.clear()
        changes, self._pending = self._pending, None
        return changes

    def close(self) -> None:
        """Tell this watcher nothing more."""
        self._hub.leave(self)

    def deliver(self, news: Changes) -> None:
        """Put changes with those not collected yet. In the event loop only."""
        self._pending = news if self._pending is None else self._pending.then(news)
        self._ready.set()

    def end(self) -> None:
        """Let ``next`` raise Ended. In the event loop only."""
        self._ended = True
        self._ready.set()


class Hub(Poller[Subscription]):
    """Tells pages which of the things that they show have changed."""

    def subscribe(self, topics: Topics, after: Cursor | None = None) -> Subscription:
        """Watch topics from ``after`` on, or from now. Call in a running event loop."""
        subscription = Subscription(self, topics, after)
        self.join(subscription)
        return subscription

    def new_look(self) -> _Look:
        return _Look()


class _Look:
    """One poller's reading, from its first watcher to its last."""

    def __init__(self) -> None:
        self._events: EventTail | None = None
        self._runs = RunTail()
        self._workers = WorkerTail()
        self._workers_changed = False
        self.has_more = False

    def at(self, watchers: list[Subscription]) -> list[tuple[Subscription, Changes]]:
        """What each is to be told now. If it raises, the next call tells it instead."""
        self._events = self._events or EventTail(Cursor.now())
        before = self._events.cursor
        try:
            told = self._read(self._events, watchers)
        except Exception:
            self._events, self._runs = EventTail(before), RunTail()
            raise
        self.has_more = self._events.has_more
        self._workers_changed = False
        for each, _ in told:
            each.joined = True
        return told

    def _read(
        self, tail: EventTail, subscriptions: list[Subscription]
    ) -> list[tuple[Subscription, Changes]]:
        topics = Topics.union(each.topics for each in subscriptions)
        events, moved = tail.read(), self._runs.read(topics)
        if topics.workers and self._workers.read():
            self._workers_changed = True
        changes = Changes(tail.cursor, events, moved, self._workers_changed)
        told: list[tuple[Subscription, Changes]] = []
        parts: dict[Topics, Changes] = {}  # the many pages of one kind share one answer
        for each in subscriptions:
            if not each.joined:
                told.append((each, self._welcome(tail, each)))
            elif changes:
                if each.topics not in parts:
                    parts[each.topics] = changes.of(each.topics)
                if parts[each.topics]:
                    told.append((each, parts[each.topics]))
        return told

    def _welcome(self, events: EventTail, newcomer: Subscription) -> Changes:
        """What a newcomer has missed, and the runs whose progress it can't know."""
        now = events.cursor
        missed = Changes(now)
        if newcomer.after is not None:
            missed = events.missed(newcomer.after, newcomer.topics)
        return missed.then(Changes(now, moved=self._runs.known(newcomer.topics)))
