"""Server-sent events: what happens to one run, and to all that pass filters."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router

from runs import access
from runs.api import messages
from runs.api.openapi import EVENTS, RUN_EVENTS, problems
from runs.api.problems import UnavailableError
from runs.api.requests import EventsQuery, RunEventsQuery, RunId, filters_of
from runs.api.watching import Watcher, disconnect, followed, require_asgi
from runs.errors import FieldError, NotFoundError, ValidationError
from runs.filters import RunFilters
from runs.live import Ended, News, Place, RunFeed, RunsFeed, Selection, feeds
from runs.live.moves import last_moves
from runs.live.reading import RunReader
from runs.models import Run

router = Router(tags=["events"])

T = TypeVar("T")

#: Seconds in which the database must say where "now" is.
_PATIENCE = 10.0
_BEAT = b": still here\n\n"
_HEADER = "Last-Event-ID"

_SEQ = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


@router.get(
    "/runs/{id}/events",
    operation_id="stream_run",
    summary="Follow a run",
    openapi_extra=problems(400, 401, 403, 404, 501, also=RUN_EVENTS),
)
async def stream_run(request: HttpRequest, id: RunId, query: Query[RunEventsQuery]) -> Any:
    """The run as it is; then each change of its status, step, log line and progress, to its end.

    With `after=0`, everything from its beginning instead. With the `id` of a message, what came
    after that. When the run is over, and nothing is left to tell, the answer is 204.
    """
    require_asgi(request)

    def open_stream() -> _RunStream | None:
        watcher = Watcher.of(request)
        run = access.get_run(watcher.actor, id)
        after = _seq(request, query.after, run)
        if after is not None and run.is_terminal and not _has_news(run, after):
            return None
        return _RunStream(watcher, run, after)

    stream = await _reading(open_stream)
    return HttpResponse(status=204) if stream is None else _response(stream)


@router.get(
    "/events",
    operation_id="stream_runs",
    summary="Follow runs",
    openapi_extra=problems(400, 401, 403, 501, also=EVENTS),
)
async def stream_runs(request: HttpRequest, query: Query[EventsQuery]) -> Any:
    """What happens from now on to the runs that pass all filters, as they are then.

    `status` is that of each message: steps, log lines and progress belong to `running`. With the
    `id` of a message, what came after that; with `after=0`, everything.
    """
    require_asgi(request)

    def open_stream() -> _RunsStream:
        watcher = Watcher.of(request)
        access.require(watcher.actor, access.VIEW)
        return _RunsStream(watcher, filters_of(request), _place(request, query.after))

    stream = await _reading(open_stream)
    await stream.begin()
    return _response(stream)


class _Stream(ABC):
    """The messages to one client. Ends when they may not see them any more."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._feed: RunFeed | RunsFeed | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts()

    def close(self) -> None:
        """Tell no more; also if it was never begun."""
        if self._feed is not None:
            self._feed.close()

    @abstractmethod
    def _parts(self) -> AsyncIterator[bytes]:
        """The text of the stream, in parts."""

    @abstractmethod
    def _still_may(self) -> bool:
        """Whether the client may see it still. In a thread that may read."""


class _RunStream(_Stream):
    """One run, from a ``seq`` on, or from now."""

    def __init__(self, watcher: Watcher, run: Run, after: int | None) -> None:
        super().__init__(watcher)
        self._run = run
        self._after = after
        self._is_over = run.is_terminal

    async def _parts(self) -> AsyncIterator[bytes]:
        if self._after is None:
            yield messages.snapshot(self._run)
            if self._is_over:
                return
        else:
            yield messages.RETRY_SOON + b"\n"
        seq = self._run.seq if self._after is None else self._after
        self._feed = feed = feeds.follow_run(self._run.pk, seq)
        async for is_time, news in followed(feed, self._still_may):
            text = messages.of_run(news, seq)
            if is_time or text:
                yield _BEAT * is_time + text
            seq = feed.seq
            for record in news.records:
                if record.status is not None:
                    self._is_over = record.is_end
            if news.gone or (self._is_over and not feed.is_behind):
                return

    def _still_may(self) -> bool:
        if not self._watcher.still_may_see_runs():
            return False
        try:
            access.get_run(self._watcher.actor, self._run.pk, runs=Run.objects.summaries())
        except NotFoundError:
            return False
        return True


class _RunsStream(_Stream):
    """The runs that pass filters and that the client may see, from a place on, or from now."""

    def __init__(self, watcher: Watcher, filters: RunFilters, after: Place | None) -> None:
        super().__init__(watcher)
        self._statuses = frozenset(filters.status)
        # The status that counts is that of each message.
        self._filters = replace(filters, status=())
        self._after = after
        self._selection = self._select()

    async def begin(self) -> None:
        """Find where "now" is, so that all that happens from here on is told.

        Raises UnavailableError if the database keeps silent, or if this process stops.
        """
        self._feed = feed = feeds.follow_runs(self._selection, self._after)
        try:
            if feed.place is None and await feed.next(_PATIENCE) is None:
                raise UnavailableError("The database can't be reached at the moment")
        except Ended:
            raise UnavailableError("This server is stopping") from None
        except BaseException:
            feed.close()
            raise

    async def _parts(self) -> AsyncIterator[bytes]:
        feed = self._feed
        assert isinstance(feed, RunsFeed)
        yield messages.RETRY_SOON + _id(feed) + b"\n"
        async for is_time, news in followed(feed, self._still_may):
            text = messages.of_runs(news, self._statuses) if news else b""
            if is_time and not text:
                yield _id(feed) + _BEAT
            elif text:
                yield _BEAT * is_time + text

    def _still_may(self) -> bool:
        if not self._watcher.still_may_see_runs():
            return False
        assert isinstance(self._feed, RunsFeed)
        self._feed.select(self._select())
        return True

    def _select(self) -> Selection:
        actor = self._watcher.actor
        runs = self._filters.apply(access.visible_runs(actor))
        return Selection.of(runs, hides_none=access.sees_all_runs(actor))


def _id(feed: RunsFeed) -> bytes:
    """Where the client is, though there is no message to say it with; it dispatches none."""
    return b"id: %s\n" % str(feed.place).encode() if feed.place and feed.place.fits else b""


async def _reading(read: Callable[[], T]) -> T:
    """Call a function that reads, where the credentials were read too, and disconnect there."""

    def call() -> T:
        try:
            return read()
        finally:
            disconnect()

    return await sync_to_async(call)()


def _response(stream: _Stream) -> HttpResponseBase:
    response = StreamingHttpResponse(stream, content_type="text/event-stream")
    response["X-Accel-Buffering"] = "no"
    return response


def _resume_id(request: HttpRequest, after: str) -> tuple[str, str]:
    """The id to go on after, and where it was given; a browser that comes back gives both."""
    header = request.headers.get(_HEADER, "")
    return (header, _HEADER) if header else (after, "after")


def _seq(request: HttpRequest, after: str, run: Run) -> int | None:
    """The number to go on after. Raises ValidationError for one that this run can't have."""
    text, source = _resume_id(request, after)
    if not text:
        return None
    if not _SEQ.fullmatch(text) or int(text) > run.seq:
        raise _no_id(source)
    return int(text)


def _place(request: HttpRequest, after: str) -> Place | None:
    """The place to go on from. Raises ValidationError for one that there can't be."""
    text, source = _resume_id(request, after)
    if not text:
        return None
    place = Place.parse(text)
    if place is None or not place.is_past():
        raise _no_id(source)
    return place


def _no_id(source: str) -> ValidationError:
    error = FieldError(source, "is not the id of a message of this stream")
    return ValidationError.from_fields("The request", (error,))


def _has_news(run: Run, after: int) -> bool:
    """Whether anything is left to tell of a run that is over."""
    reader, is_last = RunReader(run.pk, after), False
    while not is_last:
        records, is_last = reader.read()
        if messages.of_run(News(tuple(records), tuple(last_moves(records))), after):
            return True
    return False
