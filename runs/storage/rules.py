"""What a retention rule would delete: counted along an index until the time is over."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from runs.models import Run
from runs.storage.tables import Storage

#: Seconds that counting may take.
BUDGET = 0.25

#: Runs that are counted with one query.
_SLICE = 10_000


@dataclass(frozen=True)
class Preview:
    """Runs that ended before a time; ``reached`` is where counting stopped, None if it did not."""

    before: datetime
    count: int
    reached: datetime | None
    oldest: datetime | None
    size: float | None  # bytes, as runs are on average

    @property
    def is_whole(self) -> bool:
        return self.reached is None


def preview(before: datetime, storage: Storage, budget: float = BUDGET) -> Preview:
    """Count the runs that a rule would delete now, the oldest first.

    Those are among them whose body may still be at work, which wait until it has stopped.
    """
    deadline = time.monotonic() + budget
    ended = Run.objects.filter(finished_at__lt=before).order_by("finished_at")
    times = ended.values_list("finished_at", flat=True)
    oldest = reached = times.first()
    count = 0
    while reached is not None:
        number, end = _count(times.filter(finished_at__gte=reached))
        count += number
        reached = end
        if time.monotonic() >= deadline:
            break
    size = None if storage.per_run is None else storage.per_run * count
    return Preview(before, count, reached, oldest, size)


def _count(times: QuerySet[Run, datetime | None]) -> tuple[int, datetime | None]:
    """How many of the first ended before the time that is next; None if there is no more."""
    end = next(iter(times[_SLICE : _SLICE + 1]), None)
    if end is None:
        return times.count(), None
    first = times.filter(finished_at__lt=end).count()
    if first:
        return first, end
    # More than a slice ended at one moment: all of them, and on with what came later.
    moment = times.filter(finished_at=end)
    return moment.count(), times.filter(finished_at__gt=end).first()
