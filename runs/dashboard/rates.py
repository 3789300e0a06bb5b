"""What jobs did lately, from the counts by minute and hour, and how long their runs take."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import Min, OuterRef, Subquery, Sum, TextField
from django.utils import timezone

from runs.dashboard.charts import Slot
from runs.dashboard.shell import Kept
from runs.job_stats import DAY, WEEK, exact_window
from runs.models import Activity, Chore, Job, Run, RunStatus, Span

_MAX_JOBS = 100
_SAMPLE = 100
_RECENT = 500


@dataclass(frozen=True)
class Range:
    """What an activity chart shows: ``count`` slots of ``step``, of buckets of ``span``."""

    key: str
    name: str
    title: str
    per: str
    span: Span
    step: timedelta
    count: int

    def first(self, now: datetime) -> datetime:
        """Where the first slot begins; the last one is that of now."""
        seconds = self.step.total_seconds()
        current = datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)
        return current - self.step * (self.count - 1)


RANGES = {
    each.key: each
    for each in (
        Range("hour", "Hour", "Last hour", "minute", Span.MINUTE, timedelta(minutes=1), 60),
        Range("day", "Day", "Last 24 hours", "half hour", Span.MINUTE, timedelta(minutes=30), 48),
        Range("week", "Week", "Last 7 days", "3 hours", Span.HOUR, timedelta(hours=3), 56),
    )
}


def _load_position() -> datetime | None:
    return Chore.objects.filter(name="statistics").values_list("position", flat=True).first()


#: Up to when everything is counted.
counted_until = Kept(_load_position, 5)


def load_slots(shown: Range) -> list[Slot]:
    """All jobs' activity of that range, from its buckets, in one query."""
    first = shown.first(timezone.now())
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    buckets = Activity.objects.filter(span=shown.span, at__gte=first).values_list("at")
    for at, *counts in buckets.annotate(Sum("completed"), Sum("failed"), Sum("started")).order_by():
        slot = sums[int((at - first) / shown.step)]
        for n, count in enumerate(counts):
            slot[n] += count
    return [
        Slot(first + shown.step * n, first + shown.step * (n + 1), *sums[n])
        for n in range(shown.count)
    ]


slots_of = {key: Kept(partial(load_slots, shown), 5) for key, shown in RANGES.items()}


@dataclass
class JobDay:
    """A job's last 24 hours."""

    job: str
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    hours: list[int] = field(default_factory=lambda: [0] * 25)  # failures, oldest first

    @property
    def ended(self) -> int:
        return self.completed + self.failed

    @property
    def rate(self) -> float:
        return self.failed / self.ended if self.ended else 0.0


def _load_day() -> list[JobDay]:
    now = timezone.now()
    first = (now - DAY).replace(minute=0, second=0, microsecond=0)
    jobs: dict[str, JobDay] = {}
    rows = Activity.objects.filter(exact_window(now, DAY)).values_list(
        "job", "at", "completed", "failed", "cancelled"
    )
    for name, at, completed, failed, cancelled in rows:
        job = jobs.setdefault(name, JobDay(name))
        job.completed += completed
        job.failed += failed
        job.cancelled += cancelled
        job.hours[min(24, int((at - first).total_seconds() // 3600))] += failed
    return list(jobs.values())


#: What each job did in the last 24 hours.
day_by_job = Kept(_load_day, 5)


def _load_usual() -> float | None:
    """Failures a day in the six days before the last one; None if less than a day is known."""
    now = timezone.now()
    before = Activity.objects.filter(span=Span.HOUR, at__gte=now - WEEK, at__lt=now - DAY)
    found = before.aggregate(failed=Sum("failed"), first=Min("at"))
    if found["first"] is None:
        return None
    days = (now - DAY - found["first"]) / DAY
    return float(found["failed"] / math.ceil(days)) if days >= 1 else None


#: How many runs usually fail in a day.
usual_failures = Kept(_load_usual, 60)


@dataclass(frozen=True)
class JobTimes:
    """How long the last completed runs of a job took, in seconds, and how far apart their
    signs of life were: the time divided by the steps."""

    job: str
    count: int
    median: float
    p90: float
    gap: float

    @classmethod
    def of(cls, job: str, runs: Iterable[tuple[float, int]]) -> JobTimes | None:
        """From duration and number of steps; None if there are none."""
        pairs = [(max(0.0, seconds), steps) for seconds, steps in runs]
        if not pairs:
            return None
        took = sorted(seconds for seconds, _ in pairs)
        gaps = [seconds / (steps + 1) for seconds, steps in pairs]
        p90 = took[max(0, -(-len(took) * 9 // 10) - 1)]
        return cls(job, len(took), statistics.median(took), p90, statistics.median(gaps))


class _Durations(Subquery):
    """``seconds:steps`` of the runs of a subquery that completed at their first attempt."""

    output_field = TextField()
    _template = (
        "(SELECT {pairs} FROM (%(subquery)s) AS recent "
        "WHERE status = 'completed' AND attempt = 1 AND started_at IS NOT NULL)"
    )

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        seconds = "round((julianday(finished_at) - julianday(started_at)) * 86400, 3)"
        pairs = f"group_concat({seconds} || ':' || step_count)"
        return self._with(pairs, compiler, connection, context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        seconds = "round(extract(epoch FROM finished_at - started_at)::numeric, 3)"
        pairs = f"string_agg({seconds} || ':' || step_count, ',')"
        return self._with(pairs, compiler, connection, context)

    def _with(self, pairs: str, compiler: Any, connection: Any, context: dict[str, Any]) -> Any:
        template = self._template.replace("{pairs}", pairs)
        return self.as_sql(compiler, connection, template=template, **context)


def _load_times() -> dict[str, JobTimes]:
    """Of the jobs that did something in the last 24 hours. At most three queries."""
    active = [day.job for day in sorted(day_by_job(), key=lambda day: -day.ended)][:_MAX_JOBS]
    # The ids alone at first: asked for more, PostgreSQL looks for a job's runs among all runs.
    last = Run.objects.filter(job=OuterRef(OuterRef("name"))).order_by("-id").values("id")
    recent = Run.objects.filter(id__in=last[:_SAMPLE])
    sample = recent.values("status", "attempt", "started_at", "finished_at", "step_count")
    rows = Job.objects.filter(name__in=active).values_list("name", _Durations(sample))
    runs: dict[str, list[tuple[float, int]]] = {
        name: [_pair(text) for text in texts.split(",")] for name, texts in rows if texts
    }
    if missing := set(active) - runs.keys():
        # The newest runs of a job with a backlog have not run yet.
        for name, pair in _recently_completed():
            if name in missing:
                runs.setdefault(name, []).append(pair)
    return {name: times for name, found in runs.items() if (times := JobTimes.of(name, found))}


def _pair(text: str) -> tuple[float, int]:
    seconds, _, steps = text.partition(":")
    return float(seconds), int(steps)


def _recently_completed() -> Iterable[tuple[str, tuple[float, int]]]:
    newest = Run.objects.filter(finished_at__isnull=False).order_by("-finished_at")
    columns = ("job", "status", "attempt", "started_at", "finished_at", "step_count")
    for job, status, attempt, start, end, steps in newest.values_list(*columns)[:_RECENT]:
        if status == RunStatus.COMPLETED and attempt == 1 and start and end:
            yield job, ((end - start).total_seconds(), steps)


#: How long the runs of each active job take, by job.
times_by_job = Kept(_load_times, 30)
