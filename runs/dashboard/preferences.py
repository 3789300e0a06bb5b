"""What a person chose for this browser: theme and time zone, kept in cookies."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

THEMES = ("light", "dark", "auto")
_YEAR = 365 * 24 * 3600


def _zone(name: str) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return None


def zone_of(request: HttpRequest) -> zoneinfo.ZoneInfo:
    """The chosen zone, else UTC."""
    return _zone(request.COOKIES.get("zone", "")) or zoneinfo.ZoneInfo("UTC")


def theme_of(request: HttpRequest) -> str:
    """The chosen theme, else that of the system (``auto``)."""
    theme = request.COOKIES.get("theme", "auto")
    return theme if theme in THEMES else "auto"


def shell(request: HttpRequest) -> dict[str, Any]:
    """What the frame of every page shows: theme, zone and the zones to choose from."""
    zone = zone_of(request)
    names = dict.fromkeys(("UTC", settings.TIME_ZONE, zone.key))
    now = timezone.now()
    zones = [(name, now.astimezone(zoneinfo.ZoneInfo(name)).strftime("%H:%M")) for name in names]
    chosen = _zone(request.COOKIES.get("zone", "")) is not None
    return {
        "theme": theme_of(request),
        "zone": zone.key,
        "zone_chosen": chosen,
        "zones": zones,
    }


@require_POST
def save_preferences(request: HttpRequest) -> HttpResponse:
    """Keep the posted ``theme`` or ``zone`` and go back to where the form was."""
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(
        back, {request.get_host()}, require_https=request.is_secure()
    ):
        back = "/"
    response = HttpResponseRedirect(back)
    theme, zone = request.POST.get("theme", ""), request.POST.get("zone", "")
    if theme in THEMES:
        _keep(response, request, "theme", theme)
    if zone and _zone(zone) is not None:
        _keep(response, request, "zone", zone)
    return response


def _keep(response: HttpResponse, request: HttpRequest, name: str, value: str) -> None:
    response.set_cookie(
        name, value, max_age=_YEAR, secure=request.is_secure(), httponly=True, samesite="Lax"
    )
