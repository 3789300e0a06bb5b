"""Who listens to a stream, and whether they still may."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from runs.access import VIEW, Actor, actor_by_reference, actor_of
from runs.api import auth


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
