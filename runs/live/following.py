"""Following one run, or many, record by record, without loss."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from dataclasses import replace
from typing import Any

from runs import signals
from runs.live.look import Look, Told
from runs.live.moves import last_moves
from runs.live.poller import Ended, Poller
from runs.live.position import Place, Position
from runs.live.reading import RunReader, StretchReader, in_reader
from runs.live.records import Gone, News
from runs.live.selection import Selection, nothing

#: A follower that has not collected more than this goes on from the database.
_MAX_QUEUED = 200
_MAX_QUEUED_BYTES = 16_000_000

#: Deleted runs that are remembered until the next look.
_MAX_DELETED = 1_000


class Feeds(Poller["_Feed"]):
    """Tells followers each new record once; one thread reads for all of them."""

    pause = 0.25

    def __init__(self) -> None:
        super().__init__()
        self._deleted: deque[Gone] = deque(maxlen=_MAX_DELETED)

    def new_look(self) -> Look:
        self._deleted.clear()
        signals.run_deleted.connect(self._note_deleted)
        return Look(self._deleted)

    def follow_run(self, run: uuid.UUID, after: int) -> RunFeed:
        """Follow one run from this ``seq`` on; 0 is its beginning. Call in an event loop.

        Whether the run exists is the caller's question; one that is gone is told as such.
        """
        feed = RunFeed(self, run, after)
        self.join(feed)
        return feed

    def follow_runs(self, selection: Selection, after: Place | None = None) -> RunsFeed:
        """Follow the runs of a selection from a place on, or from now. Call in an event loop."""
        feed = RunsFeed(self, selection, after)
        self.join(feed)
        return feed

    def _note_deleted(
        self, *, run_id: uuid.UUID, job: str, labels: dict[str, str], **_: Any
    ) -> None:
        self._deleted.append(Gone(run_id, job, labels))


class _Feed:
    """What one follower has not collected yet. Belongs to the event loop that it was made in."""

    run: uuid.UUID | None = None

    def __init__(self, feeds: Feeds, selection: Selection) -> None:
        self.selection = selection
        self.loop = asyncio.get_running_loop()
        self.joined = False  # the poller's mark
        self._feeds = feeds
        self._ready = asyncio.Event()
        self._queue: deque[Told] = deque()
        self._overflowed = False
        self._ended = False

    def close(self) -> None:
        """Follow no more."""
        self._feeds.leave(self)

    def deliver(self, news: Told) -> None:
        """Put news behind those not collected yet. In the event loop only."""
        self._queue.append(news)
        size = sum(told.size for told in self._queue)
        if len(self._queue) > _MAX_QUEUED or (size > _MAX_QUEUED_BYTES and len(self._queue) > 1):
            # What is left out here is in the database.
            self._queue.clear()
            self._queue.append(news)
            self._overflowed = True
        self._ready.set()

    def end(self) -> None:
        """Let ``next`` raise Ended. In the event loop only."""
        self._ended = True
        self._ready.set()

    async def _collect(self, deadline: float) -> Told | None:
        """The oldest news; None if there are none in time. Raises Ended."""
        while not self._queue and not self._ended:
            self._ready.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._ready.wait()
            except TimeoutError:
                return None
        if self._ended:
            raise Ended
        return self._queue.popleft()


class RunFeed(_Feed):
    """One run. ``seq`` is the number of the last record told."""

    def __init__(self, feeds: Feeds, run: uuid.UUID, after: int) -> None:
        super().__init__(feeds, nothing())
        self.run: uuid.UUID = run
        self.seq = after
        self._reader: RunReader | None = None
        self._held: News | None = None
        self._overflowed = True  # it has yet to read what there was before
        self._ended_at = 0  # ``seq`` of the end that was told last

    @property
    def is_behind(self) -> bool:
        """Whether there may be more to tell at once."""
        return self._overflowed or self._reader is not None or self._held is not None

    async def next(self, within: float) -> News | None:
        """What is new; None if nothing is within so many seconds.

        Raises Ended when the process stops. Once the run is gone, nothing more comes.
        """
        deadline = self.loop.time() + within
        while True:
            if self._reader is not None:
                news = await self._read(self._reader)
            elif self._held is not None:
                news, self._held = self._held, None
                self._advance(news)
            else:
                told = await self._collect(deadline)
                if told is None:
                    return None
                if told.skipped or self._overflowed:
                    self._overflowed = False
                    self._reader = RunReader(self.run, self.seq)
                self._hold(told.news)
                continue
            if news:
                return news

    async def _read(self, reader: RunReader) -> News:
        records, is_last = await in_reader(reader.read)
        news = News(tuple(records), tuple(last_moves(records)))
        self._advance(news)
        if is_last:
            self._reader = None
            if self._held is not None:
                self._hold(self._held)
        return news

    def _advance(self, news: News) -> None:
        if news.records:
            self.seq = news.records[-1].seq
        for record in news.records:
            if record.is_end:
                self._ended_at = record.seq

    def _hold(self, news: News) -> None:
        """Keep for later what has not been told, nor is older than the end that was."""
        if any(move.run.seq < self._ended_at for move in news.moves):
            moves = tuple(move for move in news.moves if move.run.seq >= self._ended_at)
            news = replace(news, moves=moves)
        if news.records and news.records[0].seq <= self.seq:
            news = replace(news, records=tuple(r for r in news.records if r.seq > self.seq))
        self._held = news if news or self._reader is not None else None


class RunsFeed(_Feed):
    """The runs of a selection. ``place`` is how far they have been told; None before the first."""

    def __init__(self, feeds: Feeds, selection: Selection, after: Place | None) -> None:
        super().__init__(feeds, selection)
        self.place = after
        self._reader: StretchReader | None = None
        self._target: Place | None = None
        self._held: Told | None = None
        if after is not None and after.end is not None:
            self._read_to(after.end)

    def select(self, selection: Selection) -> None:
        """Follow these runs from now on."""
        self.selection = selection
        if self._reader is not None:
            self._reader.selection = selection

    async def next(self, within: float) -> News | None:
        """What is new, possibly only that ``end`` is further; None if nothing is in time.

        Raises Ended when the process stops.
        """
        deadline = self.loop.time() + within
        while True:
            if self._reader is not None:
                page = await self._read(self._reader)
                if page or self._reader is None:
                    return page
                continue
            told = self._held or await self._collect(deadline)
            if told is None:
                return None
            if (news := self._take(told)) is not None:
                return news

    def _take(self, told: Told) -> News | None:
        """These news, if they begin where the last ended; else begin to read what is between."""
        self._held = None
        start, end = told.news.start, told.news.end
        assert start is not None
        assert end is not None
        if self.place is None or (self.place == start and not told.skipped):
            self.place = end
            return told.news
        if self.place == end:
            return replace(told.news, records=(), start=end)
        if start.fits and not told.skipped:
            self._held = told
            self._read_to(start.start)
        elif end.fits:
            self._held = told
            self._read_to(end.start)
        return None

    def _read_to(self, position: Position) -> None:
        assert self.place is not None
        self._target = Place(position)
        self._reader = StretchReader(self.place, position, self.selection)

    async def _read(self, reader: StretchReader) -> News:
        start = self.place
        records, is_last = await in_reader(reader.read)
        self.place = self._target if is_last else reader.place
        if is_last:
            self._reader = None
        return News(tuple(records), tuple(last_moves(records)), (), start, self.place)
