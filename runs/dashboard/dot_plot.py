"""A job's last runs as dots: when they started, and how long they took."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from runs.dashboard.format import duration
from runs.job_stats import Sampled
from runs.models import RunStatus

HEIGHT = 148
_TOP, _BOTTOM = 16, 116
_TICKS = 4
#: Beyond this many times the median, a linear axis would press all others to the ground.
_WIDE = 20

_STEPS = (
    *(m * 10**e for e in range(-3, 2) for m in (1, 2, 5) if m * 10**e < 60),
    *(60 * m for m in (1, 2, 5, 10, 20, 30)),
    *(3600 * h for h in (1, 2, 4, 8, 12)),
    *(86400 * d for d in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
)
_DECADES = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36_000, 86_400, 864_000, 8_640_000)


@dataclass(frozen=True)
class Dot:
    """One run on the plot."""

    run: Sampled
    x: str
    y: str
    title: str


@dataclass(frozen=True)
class Tick:
    """A line or a time with its label; ``place`` is the class of a label's alignment."""

    at: str
    text: str
    place: str = ""


@dataclass(frozen=True)
class Plot:
    """The plot, ready to be drawn."""

    dots: list[Dot]
    lines: list[Tick]
    times: list[Tick]
    statuses: list[str]
    title: str
    summary: str
    height: int = HEIGHT
    axis: int = HEIGHT - 6


class _Scale:
    """Maps seconds to a height."""

    def __init__(self, values: Sequence[float]) -> None:
        top = max(*values, 0.001)
        low = max(min(values), 0.001)
        self._log = top > _WIDE * max(statistics.median(values), 0.001)
        if self._log:
            self.marks = [mark for mark in _DECADES if low <= mark <= top][-5:]
            self._low, self._top = math.log(low / 1.5), math.log(top * 1.1)
        else:
            step = next((step for step in _STEPS if top / step <= _TICKS), _STEPS[-1])
            self.marks = [step * n for n in range(1, math.ceil(top / step) + 1)]
            self._low, self._top = 0.0, max(self.marks)

    def y(self, seconds: float) -> float:
        value = math.log(max(seconds, 0.001)) if self._log else seconds
        share = (value - self._low) / (self._top - self._low)
        return _BOTTOM - min(max(share, 0.0), 1.0) * (_BOTTOM - _TOP)


def draw(runs: Sequence[Sampled]) -> Plot | None:
    """The runs that have started; None if none has."""
    shown = [(run, run.started, run.seconds) for run in runs if run.started is not None]
    begun = [(run, start, seconds) for run, start, seconds in shown if seconds is not None]
    if not begun:
        return None
    scale = _Scale([seconds for _, _, seconds in begun])
    now = timezone.now()
    first = min(start for _, start, _ in begun)
    width = max((now - first).total_seconds(), 1.0)
    dots = [
        Dot(
            run,
            f"{min(100.0, (start - first).total_seconds() / width * 100):.2f}%",
            f"{scale.y(seconds):.1f}",
            f"{RunStatus(run.status).label}, {duration(seconds)}, {_stamp(start)}, …{run.tail}",
        )
        for run, start, seconds in reversed(begun)
    ]
    title = f"Duration of the last {f'{len(begun)} runs' if len(begun) > 1 else 'run'}"
    statuses = {run.status for run, _, _ in begun}
    return Plot(
        dots,
        [Tick(f"{scale.y(mark):.1f}", _short(mark)) for mark in scale.marks],
        _times(first, now),
        [status for status in _DRAWN if status in statuses],
        title,
        f"{title}: " + _summary([run for run, _, _ in begun]),
    )


_DRAWN = (
    RunStatus.COMPLETED,
    RunStatus.FAILED,
    RunStatus.CANCELLED,
    RunStatus.RUNNING,
    RunStatus.WAITING,
    RunStatus.PENDING,
)


def _summary(runs: Sequence[Sampled]) -> str:
    counts = [
        f"{count} {status.label.lower()}"
        for status in _DRAWN
        if (count := sum(run.status == status for run in runs))
    ]
    return ", ".join(counts)


def _times(first: datetime, now: datetime) -> list[Tick]:
    """Where it begins, two moments between, and now."""
    span = now - first
    between = [
        Tick(f"{third * 100 / 3:.1f}%", _moment(first + span * third / 3, span), "mid")
        for third in (1, 2)
    ]
    return [Tick("0%", _moment(first, span)), *between, Tick("100%", "now", "end")]


def _moment(value: datetime, span: timedelta) -> str:
    local = timezone.localtime(value)
    if span > timedelta(days=2):
        return f"{local.day} {local:%b}"
    return local.strftime("%H:%M" if span > timedelta(minutes=5) else "%H:%M:%S")


def _stamp(value: datetime) -> str:
    local = timezone.localtime(value)
    return f"{local.day} {local:%b %H:%M:%S}"


def _short(seconds: float) -> str:
    """``500 ms``, ``100 s``, ``10 m``, ``2 h``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
