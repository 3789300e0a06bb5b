"""How jobs do: from the counts by hour, and from a bounded number of their last runs."""

from __future__ import annotations

import math
import statistics
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Greatest
from django.utils import timezone

from runs.models import Activity, Job, Run, RunStatus, Span

DAY = timedelta(days=1)
WEEK = timedelta(days=7)

#: Of a job's last runs so many are looked at.
SAMPLE = 200

#: So many of the longest waiting runs are looked at for the backlog of all jobs.
_MAX_PENDING = 5_000
_JOBS_A_QUERY = 50


@dataclass(frozen=True)
class Sampled:
    """One of a job's last runs."""

    id: uuid.UUID
    status: str
    attempt: int
    came: datetime
    started: datetime | None
    ended: datetime | None

    @property
    def tail(self) -> str:
        return str(self.id)[-4:]

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken until now; None if it hasn't started."""
        if self.started is None:
            return None
        return max(0.0, ((self.ended or timezone.now()) - self.started).total_seconds())

    @property
    def delay(self) -> float | None:
        """From when it could start until it did."""
        if self.started is None:
            return None
        return max(0.0, (self.started - self.came).total_seconds())


@dataclass
class JobStats:
    """The numbers of one job."""

    completed: int = 0  # in the last 7 days, as is ``failed``
    failed: int = 0
    last_day: int = 0  # runs that ended in the last 24 hours
    running: int = 0
    pending: int = 0
    pending_is_all: bool = True
    runs: list[Sampled] = field(default_factory=list)  # newest first

    @property
    def ended(self) -> int:
        return self.completed + self.failed

    @property
    def rate(self) -> float | None:
        """Per cent that completed; 100 only if all did."""
        if not self.ended:
            return None
        share = self.completed / self.ended * 100
        return share if not self.failed else min(share, 99.9)

    @cached_property
    def took(self) -> list[float]:
        """Seconds of the completed runs of the sample."""
        return [
            run.seconds
            for run in self.runs
            if run.status == RunStatus.COMPLETED and run.attempt == 1 and run.seconds is not None
        ]

    @cached_property
    def median(self) -> float | None:
        return statistics.median(self.took) if self.took else None

    @cached_property
    def p95(self) -> float | None:
        return percentile(self.took, 95)

    @cached_property
    def delay_p95(self) -> float | None:
        return percentile([run.delay for run in self.runs if run.delay is not None], 95)

    @property
    def backlog(self) -> str:
        """How many wait; ``12+`` if not all waiting runs were looked at."""
        return f"{self.pending:,}{'' if self.pending_is_all else '+'}"


def exact_window(now: datetime, age: timedelta) -> Q:
    """Buckets from ``age`` ago until now: the minutes up to the next full hour, then hours.

    Minutes are kept for a little more than a day; a longer window begins with a full hour.
    """
    start = (now - age).replace(second=0, microsecond=0)
    if age > DAY:
        return Q(span=Span.HOUR, at__gte=start.replace(minute=0))
    hour = next_hour(start)
    minutes = Q(span=Span.MINUTE, at__gte=start, at__lt=hour)
    return minutes | Q(span=Span.HOUR, at__gte=hour)


def next_hour(moment: datetime) -> datetime:
    """The first full hour at or after it."""
    floor = moment.replace(minute=0, second=0, microsecond=0)
    return floor if floor == moment else floor + timedelta(hours=1)


def percentile(values: Iterable[float], percent: int) -> float | None:
    """The smallest value that so many per cent don't exceed; None if there are none."""
    found = sorted(values)
    return found[max(0, math.ceil(len(found) * percent / 100) - 1)] if found else None


def stats_of(names: Sequence[str]) -> dict[str, JobStats]:
    """The numbers of these jobs. A fixed number of queries for up to fifty of them."""
    found: dict[str, JobStats] = {name: JobStats() for name in names}
    now = timezone.now()
    week = Activity.objects.filter(span=Span.HOUR, at__gte=now - WEEK, job__in=names)
    sums = week.values_list("job").annotate(Sum("completed"), Sum("failed")).order_by()
    for name, completed, failed in sums:
        found[name].completed, found[name].failed = completed, failed
    day = Activity.objects.filter(exact_window(now, DAY), job__in=names).values_list("job")
    ended = Sum("completed") + Sum("failed") + Sum("cancelled")
    for name, count in day.annotate(ended=ended).order_by():
        found[name].last_day = count
    running = Run.objects.filter(status=RunStatus.RUNNING, job__in=names).order_by()
    for name, count in running.values_list("job").annotate(Count("id")):
        found[name].running = count
    waiting, is_all = _backlog(now)
    for name, stats in found.items():
        stats.pending, stats.pending_is_all = waiting[name], is_all
    for name, runs in _samples(names).items():
        found[name].runs = runs
    return found


def _backlog(now: datetime) -> tuple[Counter[str], bool]:
    """How many runs of each job could start but for a worker, a key or a pause."""
    pending = Run.objects.filter(status=RunStatus.PENDING).order_by("id").values("pk")
    oldest = Run.objects.filter(pk__in=pending[: _MAX_PENDING + 1]).order_by()
    due = Count("pk", filter=Q(run_at=None) | Q(run_at__lte=now))
    rows = list(oldest.values_list("job").annotate(due=due, all=Count("pk")))
    found: Counter[str] = Counter({name: count for name, count, _ in rows})
    return found, sum(looked_at for _, _, looked_at in rows) <= _MAX_PENDING


def _samples(names: Sequence[str]) -> dict[str, list[Sampled]]:
    """The last runs of each job, in two queries for fifty jobs."""
    last = Run.objects.filter(job=OuterRef("name")).order_by("-id").values("id")
    oldest = Job.objects.annotate(floor=Subquery(last[SAMPLE - 1 : SAMPLE]))
    floors = dict(oldest.filter(name__in=names).values_list("name", "floor"))
    found: dict[str, list[Sampled]] = defaultdict(list)
    for start in range(0, len(names), _JOBS_A_QUERY):
        wanted = Q()
        for name in names[start : start + _JOBS_A_QUERY]:
            floor = floors.get(name)
            wanted |= Q(job=name, id__gte=floor) if floor else Q(job=name)
        _read(Run.objects.filter(wanted).order_by("-id"), found)
    return found


def _read(runs: Iterable[Run], found: dict[str, list[Sampled]]) -> None:
    came_at = Greatest("created_at", "queued_at")
    columns = ("job", "id", "status", "attempt", came_at, "started_at", "finished_at")
    for job, id, status, attempt, came, started, finished in runs.values_list(*columns):  # type: ignore[attr-defined]
        if len(found[job]) < SAMPLE:
            found[job].append(Sampled(id, status, attempt, came, started, finished))
