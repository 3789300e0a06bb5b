"""A run's progress for show. What a job reported may be anything; nothing here raises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from runs.dashboard.format import number
from runs.payloads import dumps


@dataclass(frozen=True)
class Progress:
    """``maximum`` and ``value`` of a progress element (None: indeterminate), and words."""

    value: float | None
    maximum: float | None
    percent: int | None
    count: str
    message: str


def read_progress(stored: Any) -> Progress | None:
    """Progress as it is stored, or None if there is none to show."""
    if stored is None:
        return None
    if not isinstance(stored, dict):
        return Progress(None, None, None, "", _text(stored))
    current, total = _finite(stored.get("current")), _finite(stored.get("total"))
    shown, of = stored.get("current"), stored.get("total")
    count = "" if shown is None else _text(shown if current is None else current)
    if of is not None and count:
        count = f"{count} of {_text(of if total is None else total)}"
    message = "" if stored.get("message") is None else _text(stored["message"])
    if current is None or total is None or total <= 0:
        return Progress(None, None, None, count, message)
    value = min(max(current, 0), total)
    # 100 % is for what is done: rounding never gets there.
    percent = 100 if value == total else math.floor(value / total * 100)
    return Progress(value, total, percent, count, message)


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value[:500]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value) if abs(value) < 1e15 else str(value)[:40]
    return dumps(value)[:500]
