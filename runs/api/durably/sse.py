"""What both event streams are made of: how they open, what goes over the wire, how they end.

Messages have no ``event``, as the client hears unnamed ones only; with the ``id`` of the last
one a browser comes back to where it was. It comes back whenever a stream ends. So a stream
with nothing more to tell asks it to stay away for a minute first: an open connection would be
one of its six, and any status but 200 an error in the client's hooks.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from runs.api.durably.door import MethodError, caller, refusal
from runs.api.watching import Watcher, disconnect, require_asgi

#: How soon a browser comes back after a break.
WELCOME = "retry: 2000\n\n"
#: And after the end.
FAREWELL = "retry: 60000\n\n"

#: That the stream is there, if there is nothing else to say.
BEAT = ": still here\n\n"

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
        disconnect()
    require_asgi(request)
    return parts


async def _joined(first: str, rest: AsyncGenerator[str]) -> AsyncGenerator[str]:
    async with aclosing(rest):
        yield first
        async for text in rest:
            yield text


def encoded(messages: Iterable[tuple[object, dict[str, Any]]]) -> str:
    """Messages with their ids, which may be None, as they go over the wire."""
    texts = []
    for id, message in messages:
        head = "" if id is None else f"id: {id}\n"
        texts.append(f"{head}data: {json.dumps(message, allow_nan=False)}\n\n")
    return "".join(texts)
