"""Numbers and times as people read them."""

from __future__ import annotations

import math
from datetime import datetime

from django.utils import timezone


def duration(seconds: float) -> str:
    """``0.2 s``, ``48 s``, ``17 m 58 s``, ``2 h 05 m``, ``3 d 04 h``."""
    seconds = max(0.0, seconds)
    if seconds < 0.0995:
        return f"{round(seconds * 1000)} ms" if seconds >= 0.0005 else "< 1 ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} m"
    return f"{whole // 86400:,} d {whole % 86400 // 3600:02} h"


def offset(seconds: float) -> str:
    """Time since the start, as a log shows it: ``+11:22.140``, ``+1:02:03.004``."""
    sign = "-" if seconds < 0 else "+"
    millis = round(abs(seconds) * 1000)
    rest, hours = millis % 3_600_000, millis // 3_600_000
    minutes, tail = rest // 60_000, rest % 60_000 / 1000
    if hours:
        return f"{sign}{hours}:{minutes:02}:{tail:06.3f}"
    return f"{sign}{minutes}:{tail:06.3f}" if minutes else f"{sign}{tail:.3f}"


def size(count: float) -> str:
    """``612 B``, ``1.2 kB``, ``3.4 MB``, ``2.3 GB``."""
    if count < 1000:
        return f"{round(count)} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:,.1f} TB"


def number(value: float) -> str:
    """With thousands separators, and no more digits than it has."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value)):
        return f"{int(value):,}"
    return f"{value:,.6g}"


def clock(value: datetime) -> str:
    """Short, in the active zone: the time today, with the day this year, else with the year."""
    local, now = timezone.localtime(value), timezone.localtime()
    if local.date() == now.date():
        return f"{local:%H:%M:%S}"
    day = f"{local.day} {local:%b}"
    return f"{day} {local:%H:%M}" if local.year == now.year else f"{day} {local:%Y %H:%M}"


def full_time(value: datetime) -> str:
    """All of it, with the zone: ``Sun 22 Nov 2026 03:14:11 UTC``."""
    local = timezone.localtime(value)
    return f"{local:%a} {local.day} {local:%b %Y %H:%M:%S} {local.tzname()}"
