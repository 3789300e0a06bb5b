"""What every event stream does: who listens, whether they still may, and how news are awaited."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest

from runs.access import VIEW, Actor, actor_by_reference, actor_of
from runs.api import auth
from runs.api.problems import StreamingError
from runs.live import Ended, News, RunFeed, RunsFeed
from runs.live.reading import in_reader

# Seconds. A comment comes at least every 15, so that no proxy hangs up; rights count within a
# minute.
_BEAT_AFTER = 10.0
_RECHECK_AFTER = 45.0


@dataclass
class Watcher:
    """Somebody who was let in once. ``actor`` is who they were when that was last asked."""

    actor: Actor
    session_key: str | None

    @classmethod
    def of(cls, request: HttpRequest) -> Watcher:
        """The caller of a request."""
        return cls(auth.actor(request), request.session.session_key)

    def still_may_see_runs(self) -> bool:
        """Ask again: False if they are gone, signed out or expired, or lack the permission."""
        actor = self._now()
        if actor is None or not actor.may(VIEW):
            return False
        self.actor = actor
        return True

    def _now(self) -> Actor | None:
        if self.actor.token is not None:
            return actor_by_reference(self.actor.reference)
        request = HttpRequest()
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(self.session_key)
        request.user = get_user(request)
        return actor_of(request) if request.user.is_authenticated else None


async def followed(
    feed: RunFeed | RunsFeed, still_may: Callable[[], bool]
) -> AsyncGenerator[tuple[bool, News]]:
    """News of the feed, possibly empty, and whether it is time to say that the stream is there.

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
            is_time = clock() >= beat_at
            if is_time:
                beat_at = clock() + _BEAT_AFTER
            yield is_time, news or News()
    except Ended:
        return
    finally:
        feed.close()


def disconnect() -> None:
    """Before a stream begins: or it would keep a database connection for as long as it is open."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def require_asgi(request: HttpRequest) -> None:
    """Raise StreamingError on a server that can't stream."""
    if not isinstance(request, ASGIRequest):
        raise StreamingError("A WSGI server can't stream: serve this site with ASGI")
