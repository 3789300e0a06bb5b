"""Steps on a line of time. Long stretches in which nothing ran are folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

Span = tuple[float, float]

_FOLDED = 5.0  # per cent of the width for each folded stretch
_LONG = 0.25  # a stretch longer than this share of the busy time is folded
_THINNEST = 0.6
_LABEL = 18.0  # per cent that a label takes


@dataclass(frozen=True)
class Gap:
    """A folded stretch, in per cent of the width, and how long it was."""

    x: float
    width: float
    seconds: float
    labelled: bool = True

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


class Timeline:
    """Maps times to per cent of the width."""

    def __init__(self, spans: Iterable[tuple[datetime, datetime]], *, fold: bool = True) -> None:
        stamps = [(start.timestamp(), end.timestamp()) for start, end in spans]
        busy = _merge(stamps)
        active = sum(end - start for start, end in busy) or 1.0
        gaps = [(one[1], two[0]) for one, two in pairwise(busy)]
        long = [(a, b) for a, b in gaps if b - a > max(active * _LONG, 1.0)][:8]
        self._start = busy[0][0] if busy else 0.0
        self._end = busy[-1][1] if busy else 1.0
        self.has_idle_time = bool(long)
        self._long = long = long if fold else []
        real = (self._end - self._start) - sum(b - a for a, b in long)
        self._scale = (100 - _FOLDED * len(long)) / (real or 1.0)

    @property
    def gaps(self) -> list[Gap]:
        """Those that lie too close together share one label."""
        found: list[Gap] = []
        last = -_LABEL
        for a, b in self._long:
            x = self._at(a)
            labelled = x - last >= _LABEL and _LABEL <= x + _FOLDED / 2 <= 100 - _LABEL
            last = x if labelled else last
            found.append(Gap(x, _FOLDED, b - a, labelled))
        return found

    def bar(self, start: datetime, end: datetime) -> tuple[str, str]:
        """``x`` and ``width`` as SVG attributes."""
        x = self._at(start.timestamp())
        width = max(self._at(end.timestamp()) - x, _THINNEST)
        return f"{min(x, 100 - width):.2f}%", f"{width:.2f}%"

    def place(self, moment: datetime) -> str:
        """A moment as an SVG attribute."""
        return f"{self._at(moment.timestamp()):.2f}%"

    def _at(self, stamp: float) -> float:
        x, left = 0.0, self._start
        for a, b in self._long:
            if stamp <= a:
                break
            x += (a - left) * self._scale
            x += _FOLDED * min((stamp - a) / (b - a), 1.0)
            left = b
        return min(x + max(stamp - left, 0.0) * self._scale, 100.0)


def _merge(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, max(start, end)))
    return merged
