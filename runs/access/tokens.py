"""API tokens: made, shown once, looked up by digest, revoked."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import Error, IntegrityError
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from runs.access.actors import Actor, actor_of_token, live_tokens
from runs.access.permissions import ALL, MANAGE_TOKENS
from runs.access.policy import current_policy
from runs.engine import database, history
from runs.engine.triggers import check_labels
from runs.errors import ConflictError, ValidationError
from runs.models import ApiToken

logger = logging.getLogger(__name__)

#: By which scanners for leaked secrets, and people, recognise one.
PREFIX = "durably_"

MAX_NAME = 100
_USED_EVERY = timedelta(minutes=1)


@sensitive_variables("secret")
def create(
    name: str,
    *,
    permissions: Iterable[str],
    user: Any = None,
    expires_at: datetime | None = None,
    labels: Mapping[str, str] | None = None,
    actor: Any = None,
) -> tuple[ApiToken, str]:
    """Make a token; its row, and the secret, which is known only now.

    Raises ValidationError, and ConflictError for a name that is taken, also by a token that is
    revoked.
    """
    name = name.strip()
    _check(name, user, expires_at)
    secret = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(
        name=name,
        digest=digest(secret),
        hint=secret[-4:],
        user=user,
        permissions=_checked(permissions),
        labels=check_labels({} if labels is None else labels),
        created_at=database.utc_now(),
        created_by=history.describe_actor(actor),
        expires_at=expires_at,
    )
    try:
        with database.write():
            token.save(force_insert=True)
    except IntegrityError:
        raise ConflictError(f"There is a token {name!r} already; choose another name") from None
    return token, secret


def grantable() -> tuple[str, ...]:
    """The permissions that a token can have."""
    return (*ALL, *current_policy().permissions)


def _check(name: str, user: Any, expires_at: datetime | None) -> None:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise ValidationError(f"name must be 1 to {MAX_NAME} printable characters")
    if user is not None and not user.is_active:
        raise ValidationError(f"user: the account {user.get_username()} is not active")
    if expires_at is None:
        return
    if timezone.is_naive(expires_at):
        raise ValidationError("expires_at must be a datetime with a time zone")
    if expires_at <= database.utc_now():
        raise ValidationError("expires_at must lie in the future")


def _checked(permissions: Iterable[str]) -> list[str]:
    """The permissions in the usual order."""
    wanted, known = set(permissions), grantable()
    if unknown := sorted(wanted.difference(known)):
        raise ValidationError(f"permission {unknown[0]!r} is none of {', '.join(known)}")
    if not wanted:
        raise ValidationError(f"permissions: name at least one of {', '.join(known)}")
    return [each for each in known if each in wanted]


def tokens_of(actor: Actor) -> QuerySet[ApiToken]:
    """The tokens that a person may see and revoke: all, or those that act for them."""
    if actor.token is not None or getattr(actor.user, "pk", None) is None:
        return ApiToken.objects.none()
    found = ApiToken.objects.select_related("user")
    return found if actor.may(MANAGE_TOKENS) else found.filter(user=actor.user)


def state_of(token: ApiToken) -> str:
    """``active``, or why it lets nobody in: ``revoked``, ``expired`` or ``account closed``."""
    if token.revoked_at is not None:
        return "revoked"
    if token.user is not None and not token.user.is_active:
        return "account closed"
    ends = token.expires_at
    return "expired" if ends is not None and ends <= database.utc_now() else "active"


def revoke(token: ApiToken, *, actor: Any = None) -> None:
    """End a token for good. Raises ConflictError if it is revoked already."""
    with database.write():
        changed = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(
            revoked_at=database.utc_now(), revoked_by=history.describe_actor(actor)
        )
    if not changed:
        raise ConflictError(f"Token {token.name!r} is revoked already")


def authenticate(secret: str, address: str | None = None) -> Actor | None:
    """Who holds this secret; None for one that is unknown, expired or revoked.

    The secret has 256 random bits, so a plain digest can't be guessed back, and looking it up
    by an index says nothing useful about it by the time that takes.
    """
    if not secret.startswith(PREFIX) or len(secret) > 200:
        return None
    token = live_tokens().filter(digest=digest(secret)).first()
    if token is None:
        return None
    _note_use(token)
    return actor_of_token(token, address)


def digest(secret: str) -> str:
    """As it is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _note_use(token: ApiToken) -> None:
    """Write the time of use, at most once a minute: reading must not become writing."""
    now = database.utc_now()
    if token.last_used_at is not None and now - token.last_used_at < _USED_EVERY:
        return
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - _USED_EVERY)
    try:
        with database.write():
            ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    except Error:
        logger.exception("The use of token %s could not be noted", token.name)
