"""How long a run will still take, and on what grounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from runs.dashboard.format import duration, number
from runs.dashboard.progress import Progress
from runs.dashboard.usual import History, Spread, last_runs
from runs.models import EventKind, Run, RunEvent

_WINDOW = 180.0  # the slope is that of the last three minutes
_SPACING = 10.0
_MAX_SAMPLES = 20
_SHORTEST = 8.0  # a slope needs so many seconds of progress
_DAY = 86_400.0
_BEGINNINGS = (EventKind.STARTED, EventKind.TAKEN_OVER)


@dataclass(frozen=True)
class Sample:
    """Progress, and when it was first seen, in seconds since the epoch."""

    at: float
    value: float


class Samples:
    """What an open page has seen of a run's progress. It travels in the page's own requests.

    Only the last value is stored with a run, so whoever watches remembers the earlier ones.
    """

    def __init__(self, found: Iterable[Sample] = ()) -> None:
        self.found = list(found)

    @classmethod
    def parse(cls, text: str, now: datetime) -> Samples:
        """What ``text`` says; nothing if it isn't ours."""
        found = []
        for part in text[:1000].split(",") if text else ():
            at, _, value = part.partition("~")
            try:
                sample = Sample(float(at), float(value))
            except ValueError:
                return cls()
            if not (math.isfinite(sample.value) and 0 <= now.timestamp() - sample.at < _DAY):
                return cls()
            found.append(sample)
        rising = all(a.at < b.at and a.value < b.value for a, b in pairwise(found))
        return cls(found if rising else ())

    def see(self, now: datetime, value: float | None) -> None:
        """Remember the value of now, if it is a new one."""
        found = self.found
        if value is None or (found and value < found[-1].value):
            found.clear()
        if value is None or (found and value == found[-1].value):
            return
        at = now.timestamp()
        if len(found) > 1 and at - found[-2].at < _SPACING:
            found.pop()
        found.append(Sample(at, value))
        while len(found) > _MAX_SAMPLES or (len(found) > 2 and at - found[1].at > _WINDOW):
            found.pop(0)

    @property
    def text(self) -> str:
        return ",".join(f"{sample.at:.1f}~{sample.value!r}" for sample in self.found)

    @property
    def changed_at(self) -> datetime | None:
        """When the last value was first seen."""
        return datetime.fromtimestamp(self.found[-1].at, UTC) if self.found else None


@dataclass(frozen=True)
class Start:
    """When the present execution began, and whether the run has always been at it since."""

    at: datetime
    fresh: bool  # not retried, taken over or handed back: its progress began at nothing


def find_start(run: Run, events: Sequence[RunEvent]) -> Start | None:
    """From the run's events, newest first."""
    begun = [event for event in events if event.kind in _BEGINNINGS]
    if not begun:
        return Start(run.started_at, fresh=False) if run.started_at else None
    return Start(begun[0].created_at, fresh=len(begun) == 1 and run.attempt == 1)


@dataclass(frozen=True)
class Eta:
    """Time left in words, what that is computed from, and when it will be done."""

    phrase: str
    basis: str
    left: float | None = None
    done_at: datetime | None = None

    @property
    def about(self) -> str:
        return about(self.left) if self.left is not None else ""


def estimate(
    progress: Progress | None, history: History, start: Start, samples: Samples, now: datetime
) -> Eta | None:
    """From the slope of its own progress if there is one, else from the job's history."""
    usually = f" Usually {duration(history.took.median)}." if history.took else ""
    slope = _slope(progress, start, samples, now)
    if slope is not None:
        left, basis = slope
        return Eta(f"{about(left)} left", basis + usually, left, now + timedelta(seconds=left))
    if history.took is None or not start.fresh:
        return Eta("", usually.strip()) if usually else None
    return _from_history(history.took, (now - start.at).total_seconds(), now)


def _slope(
    progress: Progress | None, start: Start, samples: Samples, now: datetime
) -> tuple[float, str] | None:
    if progress is None or progress.value is None or progress.maximum is None:
        return None
    # The first one is when somebody began to look, the others are when it changed.
    found = samples.found[1:] if len(samples.found) > 2 else samples.found
    begin, end = (found[0], found[-1]) if found else (None, None)
    since = "From the last {}"
    if begin is None or end is None or end.at - begin.at < _SHORTEST:
        if not start.fresh:
            return None
        begin, end = Sample(start.at.timestamp(), 0.0), Sample(now.timestamp(), progress.value)
        since = "From the {} so far"
    span = end.at - begin.at
    if span < _SHORTEST or end.value <= begin.value:
        return None
    rate = (end.value - begin.value) / span
    left = (progress.maximum - progress.value) / rate - (now.timestamp() - end.at)
    return max(0.0, left), f"{since.format(_roughly(span))}: {_pace(rate)}."


def _from_history(took: Spread, elapsed: float, now: datetime) -> Eta:
    usually = f"From {last_runs(took.count)}: usually {duration(took.median)}"
    if elapsed < took.median:
        left = took.median - elapsed
        return Eta(f"{about(left)} left", f"{usually}.", left, now + timedelta(seconds=left))
    if elapsed < took.p90:
        return Eta("any moment now", f"{usually}, 9 of 10 at most {duration(took.p90)}.")
    return Eta("longer than usual", f"{usually}, 9 of 10 at most {duration(took.p90)}.")


def about(seconds: float) -> str:
    """``a few seconds``, ``about 40 s``, ``about 5 min``, ``about 2 h 10 min``, ``about 3 d``."""
    if seconds < 8:
        return "a few seconds"
    return f"about {_roughly(seconds)}"


def _roughly(seconds: float) -> str:
    if seconds < 55:
        return f"{max(5, round(seconds / 5) * 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    tens = round(seconds / 600)
    if tens < 144:
        return f"{tens // 6} h" + (f" {tens % 6}0 min" if tens % 6 else "")
    return f"{round(seconds / _DAY)} d"


def _pace(rate: float) -> str:
    for per, unit in ((1, "a second"), (60, "a minute"), (3600, "an hour")):
        if rate * per >= 1:
            value = rate * per
            return f"{number(round(value, 1) if value < 10 else round(value))} {unit}"
    return f"{number(float(f'{rate * _DAY:.2g}'))} a day"
