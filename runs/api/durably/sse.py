"""What both event streams are made of: how they open, what goes over the wire, how they end.

Messages have no ``event``, as the client hears unnamed ones only; with the ``id`` of the last
one a browser comes back to where it was. It comes back whenever a stream ends. So a stream
with nothing more to tell asks it to stay away for a minute first: an open connection would be
one of its six, and any status but 200 an error in the client's hooks.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from runs.api.durably.door import MethodError, caller, refusal
from runs.api.problems import StreamingError
from runs.api.watching import Watcher
from runs.live import Ended, News, RunFeed, RunsFeed
from runs.live.reading import in_reader

#: How soon a browser comes back after a break.
WELCOME = "retry: 2000\n\n"
#: And after the end.
FAREWELL = "retry: 60000\n\n"

# Seconds. A comment comes at least every 15, rights count within 45.
_BEAT_AFTER = 10.0
_RECHECK_AFTER = 30.0
_BEAT = ": still here\n\n"

Open = Callable[[HttpRequest, Watcher], AsyncGenerator[str]]


def stream(open: Open) -> Callable[[HttpRequest], Any]:
    """An async view of the stream that ``open`` returns; it may read, and refuse by raising."""

    @csrf_exempt
    async def view(request: HttpRequest) -> HttpResponseBase:
        try:
            parts = await sync_to_async(_opened)(open, request)
        except Exception as error:
            return refusal(request, error, allowed="GET")
        response: HttpResponseBase = HttpResponse()
        if request.method == "GET":
            # Whoever sees that the stream is open hears all that happens from then on.
            response = StreamingHttpResponse(_joined(await anext(parts, ""), parts))
        response["Content-Type"] = "text/event-stream"
        response["Cache-Control"] = "no-cache"
        response["X-Accel-Buffering"] = "no"
        return response

    return view


def _opened(open: Open, request: HttpRequest) -> AsyncGenerator[str]:
    if request.method not in ("GET", "HEAD"):
        raise MethodError(f"{request.method} is none of GET")
    try:
        parts = open(request, Watcher(caller(request), request.session.session_key))
    finally:
        # Or each stream would keep its database connection for as long as it is open.
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block:
                connection.close()
    if not isinstance(request, ASGIRequest):
        raise StreamingError("A WSGI server can't stream: serve this site with ASGI")
    return parts


async def _joined(first: str, rest: AsyncGenerator[str]) -> AsyncGenerator[str]:
    async with aclosing(rest):
        yield first
        async for text in rest:
            yield text


async def followed(
    feed: RunFeed | RunsFeed, still_may: Callable[[], bool]
) -> AsyncGenerator[tuple[str, News]]:
    """News of the feed, possibly empty, each with a comment if it is time for one.

    Ends when ``still_may`` says no, which is called now and then in a thread that may read,
    and when this process stops.
    """
    clock = feed.loop.time
    beat_at = clock() + _BEAT_AFTER
    # Not all at one moment, after a restart has let all in at once.
    check_at = clock() + _RECHECK_AFTER * random.uniform(0.5, 1)  # noqa: S311 (no secret)
    try:
        while True:
            news = await feed.next(within=max(beat_at - clock(), 0))
            if clock() >= check_at:
                if not await in_reader(still_may):
                    return
                check_at = clock() + _RECHECK_AFTER
            beat = ""
            if clock() >= beat_at:
                beat, beat_at = _BEAT, clock() + _BEAT_AFTER
            yield beat, news or News()
    except Ended:
        return
    finally:
        feed.close()


def encoded(messages: Iterable[tuple[object, dict[str, Any]]]) -> str:
    """Messages with their ids, which may be None, as they go over the wire."""
    texts = []
    for id, message in messages:
        head = "" if id is None else f"id: {id}\n"
        texts.append(f"{head}data: {json.dumps(message, allow_nan=False)}\n\n")
    return "".join(texts)
