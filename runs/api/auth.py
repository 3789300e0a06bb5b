"""Who asks: the holder of a token, or the person whose session it is."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf

from runs.access import Actor, actor_of, attempts, tokens
from runs.access.actors import address_of
from runs.api.problems import CsrfError, TooManyAttemptsError, UnauthenticatedError


class TokenAuth(HttpBearer):
    """``Authorization: Bearer <token>``. A bad token is refused, whoever is signed in."""

    def authenticate(self, request: HttpRequest, token: str) -> Actor:
        """The token's holder. Raises UnauthenticatedError, TooManyAttemptsError."""
        address = address_of(request)
        actor = tokens.authenticate(token.strip(), address)
        if actor is None:
            stranger = Actor("anonymous", address=address)
            if seconds := attempts.failed(stranger, attempts.TOKEN, "Unknown, expired or revoked."):
                raise TooManyAttemptsError(seconds)
            raise UnauthenticatedError("The token is unknown, expired or revoked")
        request.actor = actor  # type: ignore[attr-defined]
        return actor


class SessionAuth(APIKeyCookie):
    """The session of a signed-in person, with the CSRF token for what changes something."""

    param_name = settings.SESSION_COOKIE_NAME

    def _get_key(self, request: HttpRequest) -> str | None:
        """The session alone: whoever has none is told so, and not of CSRF."""
        return request.COOKIES.get(self.param_name)

    def authenticate(self, request: HttpRequest, key: str | None) -> Actor | None:
        """The person; None without a session. Raises CsrfError."""
        if not key or not request.user.is_authenticated:
            return None
        if check_csrf(request) is not None:
            raise CsrfError("A session needs the CSRF token in X-CSRFToken; a program, a token")
        actor = actor_of(request)
        request.actor = actor  # type: ignore[attr-defined]
        return actor


#: In this order: a cookie first would ask programs with a token for the CSRF token.
credentials: list[Any] = [TokenAuth(), SessionAuth()]


def actor(request: HttpRequest) -> Actor:
    """Who was let in."""
    found: Actor = request.actor  # type: ignore[attr-defined]
    return found
