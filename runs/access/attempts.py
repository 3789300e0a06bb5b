"""Limits for guessing: of passwords, of tokens, of one-time links.

Passwords are limited by django-axes, which asks ``SignInAttempts``. The rest are long random
texts that nobody guesses; they are limited so that trying costs the installation little.
"""

from __future__ import annotations

import math
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max, Min, Sum
from django.http import HttpRequest

from runs.access import denied
from runs.access.actors import Actor, address_of
from runs.engine import database
from runs.models import DeniedAttempt

#: Sign-ins that fail under whatever name count for their address too, but so much less.
_NAMES_OF_AN_ADDRESS = 10

#: What is tried, as the record of refusals names it.
SIGN_IN = "sign-in"
LINK = "sign-in link"
PASSWORD = "password change"  # nosec B105 # noqa: S105 (a name)
TOKEN = "token"  # nosec B105 # noqa: S105 (a name)

#: So many failures from one address, within so long a time, are too many.
LIMIT = 30
WINDOW = timedelta(minutes=5)


class SignInAttempts(AxesDatabaseHandler):  # type: ignore[misc]  # it has no types
    """Counts by name and address; and by address alone, against one password for many names."""

    def get_failures(self, request: Any, credentials: dict[str, Any] | None = None) -> int:
        """How many failures weigh against this attempt."""
        named: int = super().get_failures(request, credentials)
        found = _of_address(request).aggregate(total=Sum("failures_since_start"))
        return max(named, (found["total"] or 0) // _NAMES_OF_AN_ADDRESS)


def sign_in_wait(request: Any) -> int:
    """Seconds until the name and address of a request that was locked out may try again."""
    # django-axes keeps what it found out on the request.
    credentials, now = request.axes_credentials, request.axes_attempt_time
    handler = SignInAttempts()
    [weighing] = handler.get_user_attempts(request, credentials)
    last = weighing.aggregate(count=Sum("failures_since_start"), time=Max("attempt_time"))
    if (last["count"] or 0) < settings.AXES_FAILURE_LIMIT:
        last = _of_address(request).aggregate(time=Max("attempt_time"))
    return _seconds((last["time"] or now) + settings.AXES_COOLOFF_TIME - now)


def wait(operation: str, address: str | None) -> int:
    """Seconds until an address that failed too often may try this again; 0 if it may now."""
    now = database.utc_now()
    found = DeniedAttempt.objects.filter(
        operation=operation, address=address, created_at__gt=now - WINDOW
    ).aggregate(count=Sum("count"), first=Min("created_at"))
    if (found["count"] or 0) < LIMIT:
        return 0
    return _seconds(found["first"] + WINDOW - now)


def failed(actor: Actor, operation: str, detail: str) -> int:
    """Record that an actor failed to prove who they are; as ``wait`` is, afterwards.

    What comes from an address that has to wait is not recorded: a flood is not written down.
    """
    seconds = wait(operation, actor.address)
    if not seconds:
        denied.record(actor, operation, detail=detail)
    return seconds


def client_address(request: HttpRequest) -> str | None:
    """By what sign-ins are counted: the address, of IPv6 the network that one client has."""
    address = address_of(request)
    if address is None or ":" not in address:
        return address
    return str(ip_network(f"{address}/64", strict=False).network_address)


def _of_address(request: Any) -> Any:
    """The failed sign-ins of the request's address that still weigh."""
    return AccessAttempt.objects.filter(
        ip_address=request.axes_ip_address, attempt_time__gte=get_cool_off_threshold(request)
    )


def _seconds(left: timedelta) -> int:
    return max(1, math.ceil(left.total_seconds()))
