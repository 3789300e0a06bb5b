"""Who asks: a person or a program, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest

from runs.models import ApiToken


@dataclass(frozen=True, eq=False)
class Actor:
    """A signed-in person, or a program with a token, with the rights of when it was made.

    Whatever goes on for longer, such as a stream, asks ``actor_by_reference`` for a new one.
    """

    name: str
    user: Any = None
    token: ApiToken | None = None
    address: str | None = None
    #: What a policy found out about the actor, and need not ask again.
    memory: dict[str, Any] = field(default_factory=dict, repr=False)

    def get_username(self) -> str:
        """As the history names them."""
        return self.name

    @property
    def reference(self) -> str:
        """By which ``actor_by_reference`` finds them again: ``user:7``, ``token:3``."""
        if self.token is not None:
            return f"token:{self.token.pk}"
        return f"user:{self.user.pk}" if getattr(self.user, "pk", None) is not None else ""

    @property
    def labels(self) -> Mapping[str, str]:
        """The token's labels, for policies; a person has none."""
        return self.token.labels if self.token is not None else {}

    def may(self, permission: str) -> bool:
        """Whether they hold a permission. Of a user's token both have to."""
        if self.token is not None and permission not in self.token.permissions:
            return False
        if self.user is not None:
            return bool(self.user.is_active and self.user.has_perm(permission))
        return self.token is not None


def actor_of(request: HttpRequest) -> Actor:
    """The person whose session it is. Holds nothing if nobody is signed in.

    The same object for the whole request.
    """
    user = getattr(request, "user", None) or AnonymousUser()
    found = getattr(request, "_person", None)
    if not isinstance(found, Actor) or found.user is not user:
        name = user.get_username() if user.is_authenticated else "anonymous"
        found = Actor(name, user, address=address_of(request))
        request._person = found  # type: ignore[attr-defined]
    return found


def as_actor(who: Any) -> Actor | None:
    """An actor as it is, a user as the person; None for a text or None: code acts itself."""
    if who is None or isinstance(who, Actor):
        return who
    if isinstance(who, get_user_model() | AnonymousUser):
        return Actor(who.get_username(), who)
    return None


def address_of(request: HttpRequest) -> str | None:
    """The client's address, as ``TRUSTED_PROXIES`` tell it; None if that is no IP address."""
    try:
        found = ip_address(str(request.META.get("REMOTE_ADDR", "")).partition("%")[0])
    except ValueError:
        return None
    return str(getattr(found, "ipv4_mapped", None) or found)


def actor_by_reference(reference: str) -> Actor | None:
    """The actor as stored now; None if they are gone, inactive, expired or revoked."""
    kind, _, key = reference.partition(":")
    if kind == "user" and key:
        try:
            user = get_user_model()._default_manager.filter(pk=key, is_active=True).first()
        except (ValueError, ValidationError):  # no key of this installation's users
            return None
        return None if user is None else Actor(user.get_username(), user)
    if kind == "token" and key.isdecimal():
        token = live_tokens().filter(pk=key).first()
        return None if token is None else actor_of_token(token)
    return None


def actor_of_token(token: ApiToken, address: str | None = None) -> Actor:
    """The program that holds it."""
    return Actor(f"token:{token.name}", token.user, token, address)


def live_tokens() -> Any:
    """Tokens that are neither revoked nor expired, nor those of an inactive user."""
    return ApiToken.objects.select_related("user").filter(
        Q(expires_at__isnull=True) | Q(expires_at__gt=Now()),
        Q(user__isnull=True) | Q(user__is_active=True),
        revoked_at__isnull=True,
    )
