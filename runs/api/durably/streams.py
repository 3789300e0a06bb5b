"""The stream of one run, and that of all."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

from django.http import HttpRequest

from runs import access
from runs.api.durably import events
from runs.api.durably.events import Message
from runs.api.durably.listing import parse_jobs, parse_labels
from runs.api.durably.sse import BEAT, FAREWELL, WELCOME, encoded
from runs.api.durably.views import get_run
from runs.api.watching import Watcher, followed
from runs.engine import database
from runs.engine.lookups import as_id
from runs.errors import NotFoundError
from runs.filters import RunFilters
from runs.live import Gone, News, Place, RunsFeed, Selection, feeds
from runs.live.moves import last_moves
from runs.live.reading import RunReader, in_reader
from runs.models import LogEntry, Run, RunEvent, RunStatus

#: Log lines that a browser is told when it comes for the first time: the last ones.
MAX_REPLAYED = 1_000

#: The client asks for its list and for the stream at the same moment. What happened from so long
#: before the stream was asked for may not be in the list yet. Of that, so much is looked at.
_BEFORE = timedelta(seconds=1)
_MAX_BEFORE = 200

_SEQ = re.compile(r"[0-9]{1,18}")


def of_run(request: HttpRequest, watcher: Watcher) -> AsyncGenerator[str]:
    """One run: how it is and its log so far, then what happens to it, until it is over.

    To a browser that comes back, what it has missed alone.
    """
    last_id = request.headers.get("Last-Event-ID", "")
    after = int(last_id) if _SEQ.fullmatch(last_id) else None
    try:
        run = get_run(request, watcher.actor)
    except NotFoundError:
        if after is None:
            raise
        return _of_gone(Gone(as_id(request.GET["runId"])))
    if after is None or after > run.seq:
        return _RunStream(run, watcher, run.seq, list(_replayed(run))).parts()
    return _RunStream(run, watcher, after).parts()


async def _of_gone(gone: Gone) -> AsyncGenerator[str]:
    """To a browser that knows a run: that it is gone, or hidden from its user by now."""
    yield FAREWELL + encoded(_whole(News(gone=(gone,))))


def _replayed(run: Run) -> Iterator[tuple[int | None, Message]]:
    """How a run is, and the end of its log, in the order that a witness would have heard it."""
    if run.status in (RunStatus.RUNNING, RunStatus.WAITING):
        yield None, events.leased(run)
    if run.progress is not None:
        yield None, events.progress(run, whole=True)
    lines = LogEntry.objects.filter(run=run, seq__lte=run.seq).order_by("-id")[:MAX_REPLAYED]
    for line in reversed(lines):
        yield line.seq, events.log_line(line, run, whole=True)
    if run.is_terminal:
        yield run.seq, events.ending(run)


@dataclass
class _RunStream:
    """The stream of a run, told up to a ``seq`` when ``replayed`` is."""

    run: Run
    watcher: Watcher
    after: int
    replayed: list[tuple[int | None, Message]] = field(default_factory=list)

    async def parts(self) -> AsyncGenerator[str]:
        """The texts of the stream."""
        if self.run.is_terminal:
            async for text in self._missed():
                yield text
            return
        yield f"{WELCOME}{encoded(self.replayed)}id: {self.after}\n\n"
        feed = feeds.follow_run(self.run.pk, self.after)
        is_over = False
        async with aclosing(followed(feed, self._still_may)) as every:
            async for is_time, news in every:
                for record in news.records:
                    is_over = is_over if record.status is None else record.is_end
                ending = FAREWELL if news.gone or (is_over and not feed.is_behind) else ""
                if text := ending + BEAT * is_time + encoded(_whole(news)):
                    yield text
                if ending:
                    return

    async def _missed(self) -> AsyncGenerator[str]:
        """All that there was after the browser's last message. Nothing more will come."""
        yield FAREWELL + encoded(self.replayed)
        reader, is_last = RunReader(self.run.pk, self.after), False
        while not is_last:
            records, is_last = await in_reader(reader.read)
            if text := encoded(_whole(News(tuple(records), tuple(last_moves(records))))):
                yield text

    def _still_may(self) -> bool:
        return self.watcher.still_may_see_runs() and access.is_visible(self.watcher.actor, self.run)


def of_runs(request: HttpRequest, watcher: Watcher) -> AsyncGenerator[str]:
    """All runs, or those of some jobs or with some labels: what happens from a moment ago on.

    To a browser that comes back, also what happened meanwhile.
    """
    access.require(watcher.actor, access.VIEW)
    filters = RunFilters(jobs=parse_jobs(request.GET), labels=parse_labels(request.GET))
    after = Place.parse(request.headers.get("Last-Event-ID", ""))
    if after is not None and not after.is_past():
        after = None  # of another database, as after it was restored from a backup
    return _RunsStream(filters, watcher).parts(after)


class _RunsStream:
    """The stream of the runs that pass the filters and that the watcher may see."""

    def __init__(self, filters: RunFilters, watcher: Watcher) -> None:
        self._since = database.utc_now() - _BEFORE
        self._filters = filters
        self._watcher = watcher
        self._selection = self._select()

    async def parts(self, after: Place | None) -> AsyncGenerator[str]:
        """The texts of the stream."""
        feed = feeds.follow_runs(self._selection, after)
        is_first = True
        async with aclosing(followed(feed, self._still_may)) as every:
            async for is_time, news in every:
                feed.select(self._selection)
                text = BEAT * is_time + self._text(news)
                if is_first:
                    recent = await in_reader(self._recent) if after is None else ""
                    text = WELCOME + recent + text
                    is_first = False
                if text:
                    yield text + _id(feed)

    def _recent(self) -> str:
        """How one of the runs is to which something has just happened: the newest under way.

        One lets the client ask for its list again; and each would let it ask once more.
        """
        just = RunEvent.objects.filter(created_at__gte=self._since).order_by("-id")
        ids = set(just.values_list("run_id", flat=True)[:_MAX_BEFORE])
        runs = list(self._selection.runs.summaries().filter(pk__in=ids).order_by("pk"))
        active = [run for run in runs if not run.is_terminal]
        return encoded((None, events.state(run)) for run in (active or runs)[-1:])

    def _text(self, news: News) -> str:
        records: str = news.once(("durably", news.records), lambda: encoded(_short(news)))
        gone = [events.of_gone(each, whole=False) for each in news.gone if self._passes(each)]
        return records + encoded((None, message) for message in gone)

    def _select(self) -> Selection:
        actor = self._watcher.actor
        runs = self._filters.apply(access.visible_runs(actor))
        return Selection.of(runs, hides_none=access.sees_all_runs(actor))

    def _still_may(self) -> bool:
        if not self._watcher.still_may_see_runs():
            return False
        self._selection = self._select()
        return True

    def _passes(self, gone: Gone) -> bool:
        labels = gone.labels or {}
        return (not self._filters.jobs or gone.job in self._filters.jobs) and all(
            labels.get(key) == value for key, value in self._filters.labels
        )


def _id(feed: RunsFeed) -> str:
    """How far a browser is. An id alone is no message, and is kept by it all the same."""
    return f"id: {feed.place}\n\n" if feed.place is not None and feed.place.fits else ""


def _whole(news: News) -> Iterator[tuple[int | None, Message]]:
    yield from events.of_news(news, whole=True)
    for gone in news.gone:
        yield None, events.of_gone(gone, whole=True)


def _short(news: News) -> Iterator[tuple[int | None, Message]]:
    """Without ids: a browser comes back to the end of news, never into the middle."""
    return ((None, message) for _, message in events.of_news(news, whole=False))
