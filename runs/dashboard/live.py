"""The event stream that open pages listen to (``static/runs/live.js``).

``GET /live/?topic=runs&topic=run:<id>&topic=job:<name>&topic=workers&after=<cursor>``. Messages
say what changed, never how it is now; a page then asks for the fragments concerned::

    id: 4711
    event: changes
    data: {"events": [[4711, "<run>", "completed"]], "moved": ["<run>"], "workers": true}

``moved`` runs have new progress or log lines, ``gone`` ones are deleted, ``reset`` means that
too much happened to tell. Of runs that the access policy hides nothing is told. Sent back as
``Last-Event-ID`` or ``after``, an id continues the stream without gap.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from functools import lru_cache
from importlib import import_module

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_GET

from runs import access
from runs.access import Actor
from runs.access.actors import address_of
from runs.live import Changes, Cursor, Ended, Subscription, Topics, hub
from runs.models import Run

_HEARTBEAT = 15.0
_RECHECK = 30.0  # a look comes up to a heartbeat later
_RETRY_MILLISECONDS = 2000
_MAX_TOPICS = 100
_MAX_KNOWN = 10_000
# A comment keeps proxies from closing the connection; only an event is seen by the page.
_BEAT = ": still here\nevent: beat\ndata: {}\n\n"


@require_GET
async def live(request: HttpRequest) -> HttpResponseBase:
    """Stream changes to somebody who may see runs, until they leave or may not any more."""
    if not isinstance(request, ASGIRequest):
        return HttpResponse(status=204)  # a WSGI server can't stream: the page asks again and again
    watcher = _Watcher(request.session.session_key or "", address_of(request))
    if not await sync_to_async(watcher.check)():
        return HttpResponse("Sign in with an account that may see runs.", status=403)
    try:
        topics = Topics.parse(request.GET.getlist("topic")[:_MAX_TOPICS])
    except ValueError as error:
        return HttpResponse(str(error), status=400, content_type="text/plain")
    after = request.headers.get("Last-Event-ID") or request.GET.get("after", "")
    response = StreamingHttpResponse(
        _stream(topics, Cursor.parse(after), watcher), content_type="text/event-stream"
    )
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


async def _stream(topics: Topics, after: Cursor | None, watcher: _Watcher) -> AsyncIterator[str]:
    await sync_to_async(watcher.watch)(topics.runs)
    subscription = hub.subscribe(topics, after)
    try:
        yield f"retry: {_RETRY_MILLISECONDS}\n\n"
        async for text in _messages(subscription, watcher):
            yield text
    except Ended:
        return
    finally:
        subscription.close()


async def _messages(subscription: Subscription, watcher: _Watcher) -> AsyncIterator[str]:
    # Not all at one moment, after a restart has let all pages in at once.
    check_at = time.monotonic() + _RECHECK * random.uniform(0.5, 1)  # noqa: S311 (no secret)
    said_at = time.monotonic()
    while True:
        changes = await subscription.next(within=_HEARTBEAT)
        if time.monotonic() >= check_at:
            if not await sync_to_async(watcher.check)():
                return
            check_at = time.monotonic() + _RECHECK
        if changes is not None:
            changes = await _shown(changes, watcher)
        if changes is not None or time.monotonic() >= said_at + _HEARTBEAT:
            said_at = time.monotonic()
            yield _BEAT if changes is None else encode(changes)


async def _shown(changes: Changes, watcher: _Watcher) -> Changes | None:
    """What the watcher may know of; None if that is nothing of it."""
    if watcher.sees_all:
        return changes
    unknown = watcher.unknown_in(changes)
    if unknown:
        await sync_to_async(watcher.look)(unknown)
    left = watcher.part_of(changes)
    return left if left or not changes else None


class _Watcher:
    """The person at a stream, and which runs they see; read anew with each check."""

    def __init__(self, session_key: str, address: str | None) -> None:
        self._session_key = session_key
        self._address = address
        self._actor: Actor | None = None
        self._named: frozenset[uuid.UUID] = frozenset()
        self._seen: dict[uuid.UUID, bool] = {}
        self.sees_all = False

    def watch(self, runs: frozenset[uuid.UUID]) -> None:
        """Remember the runs that are asked for: of one that is deleted, nobody can ask later."""
        before, self._seen = self._seen, {}
        self._named = runs
        self.look(runs)
        lost = [id for id in runs if before.get(id) and not self._seen.get(id)]
        if lost:  # deleted, not hidden by now
            self._seen |= dict.fromkeys(set(lost).difference(_existing(lost)), True)

    def check(self) -> bool:
        """Whether the session's user, as stored now, may see runs."""
        request = HttpRequest()
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(self._session_key)
        try:
            user = get_user(request)
            self._actor = Actor(user.get_username(), user, address=self._address)
            self.sees_all = access.sees_all_runs(self._actor)
            self.watch(self._named)
            return self._actor.may(access.VIEW)
        finally:
            # Or each stream would keep its database connection for as long as it is open.
            connections.close_all()

    def look(self, ids: Iterable[uuid.UUID]) -> None:
        """Find out which of these runs the person sees."""
        if self.sees_all or self._actor is None:
            return
        try:
            seen = access.visible_ids(self._actor, ids)
        finally:
            connections.close_all()
        self._seen |= {id: id in seen for id in ids}

    def unknown_in(self, changes: Changes) -> list[uuid.UUID]:
        """The runs that are told of and have not been looked at."""
        if len(self._seen) > _MAX_KNOWN:
            self._seen = {id: seen for id, seen in self._seen.items() if id in self._named}
        runs = {event.run for event in changes.events} | {move.run for move in changes.moved}
        return [id for id in runs if id not in self._seen]

    def part_of(self, changes: Changes) -> Changes:
        """The changes without those of hidden runs."""
        return replace(
            changes,
            events=tuple(event for event in changes.events if self._seen.get(event.run)),
            moved=tuple(move for move in changes.moved if self._seen.get(move.run)),
        )


@lru_cache(maxsize=64)
def encode(changes: Changes) -> str:
    """Changes as a message. The many that hear the same share the text."""
    data: dict[str, object] = {}
    if changes.events:
        data["events"] = [[event.id, str(event.run), event.kind] for event in changes.events]
    if moved := [str(move.run) for move in changes.moved if not move.gone]:
        data["moved"] = moved
    if gone := [str(move.run) for move in changes.moved if move.gone]:
        data["gone"] = gone
    for flag in ("workers", "reset"):
        if getattr(changes, flag):
            data[flag] = True
    text = json.dumps(data, separators=(",", ":"))
    return f"id: {changes.cursor}\nevent: changes\ndata: {text}\n\n"


def _existing(ids: list[uuid.UUID]) -> list[uuid.UUID]:
    return list(Run.objects.filter(pk__in=ids).values_list("pk", flat=True))
