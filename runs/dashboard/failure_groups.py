"""Failures that look alike, with how often they happened."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from runs.dashboard import charts, part, rates
from runs.filters import RunFilters
from runs.job_stats import DAY, WEEK, exact_window, next_hour
from runs.models import FailureActivity, FailureGroup, Run, RunQuerySet, RunStatus, Span

_HOUR = timedelta(hours=1)
AGES = {"1h": _HOUR, "24h": DAY, "7d": WEEK}

_FAILED = RunStatus.FAILED
_SPARK_SLOTS = 14
_MAX_MESSAGES = 200


@dataclass(frozen=True)
class Count:
    """How often a failure happened in that time, and the runs behind it."""

    age: str
    value: int
    link: str

    @property
    def label(self) -> str:
        return f"{self.age[:-1]} {self.age[-1]}"

    @property
    def words(self) -> str:
        return {"1h": "hour", "24h": "24 hours", "7d": "7 days"}[self.age]


@dataclass(frozen=True)
class Group:
    """A group of failures as it is shown."""

    row: FailureGroup
    counts: list[Count]
    spark: charts.Spark

    @property
    def headline(self) -> str:
        """The first line of the message."""
        return self.row.message.strip().partition("\n")[0]

    def count(self, age: str) -> int:
        return next(count.value for count in self.counts if count.age == age)

    @property
    def order(self) -> tuple[int, ...]:
        """Loudest first."""
        return tuple(-count.value for count in self.counts)


def load_groups(rows: Iterable[FailureGroup]) -> list[Group]:
    """The groups with their counts, in one query, in the order given."""
    rows = list(rows)
    buckets = _buckets([row.pk for row in rows])
    return [_group(row, buckets[row.pk]) for row in rows]


Buckets = list[tuple[int, datetime, int]]


def _buckets(fingerprints: Sequence[str]) -> dict[str, Buckets]:
    """What was counted of each: the hours of a week, and the minutes at the edges."""
    found: dict[str, Buckets] = defaultdict(list)
    if not fingerprints:
        return found
    now = timezone.now()
    window = exact_window(now, WEEK)
    for age in (_HOUR, DAY):
        window |= exact_window(now, age)
    rows = FailureActivity.objects.filter(window, group_id__in=fingerprints)
    for fingerprint, span, at, failed in rows.values_list("group_id", "span", "at", "failed"):
        found[fingerprint].append((span, at, failed))
    return found


def _group(row: FailureGroup, buckets: Buckets) -> Group:
    now = timezone.now()
    counts = []
    for age, length in AGES.items():
        counts.append(_count(row.pk, age, _sum(buckets, now, length)))
    hours = [(at, failed) for span, at, failed in buckets if span == Span.HOUR]
    return Group(row, counts, charts.spark(_spread(hours, now)))


def _count(fingerprint: str, age: str, value: int) -> Count:
    return Count(age, value, charts.runs_link(failure=fingerprint, since=age))


def _sum(buckets: Buckets, now: datetime, age: timedelta) -> int:
    start = (now - age).replace(second=0, microsecond=0)
    if age > DAY:
        first = start.replace(minute=0)
        return sum(failed for span, at, failed in buckets if span == Span.HOUR and at >= first)
    hour = next_hour(start)
    return sum(
        failed
        for span, at, failed in buckets
        if (span == Span.HOUR and at >= hour) or (span == Span.MINUTE and start <= at < hour)
    )


def _spread(hours: Iterable[tuple[datetime, int]], now: datetime) -> list[int]:
    """Failures of the last week in equal slots, oldest first."""
    values = [0] * _SPARK_SLOTS
    for at, failed in hours:
        slot = _SPARK_SLOTS - 1 - math.floor((now - at) / WEEK * _SPARK_SLOTS)
        values[max(0, slot)] += failed
    return values


def slots_of(hours: Iterable[tuple[datetime, int]]) -> list[charts.Slot]:
    """Failures of the last week, for a chart."""
    shown = rates.RANGES["week"]
    first = shown.first(timezone.now())
    counts = [0] * shown.count
    for at, failed in hours:
        if at >= first:
            counts[min(shown.count - 1, int((at - first) / shown.step))] += failed
    return [
        charts.Slot(first + shown.step * n, first + shown.step * (n + 1), failed=count)
        for n, count in enumerate(counts)
    ]


def hours_of(fingerprint: str) -> list[tuple[datetime, int]]:
    """How often it happened in each hour of the last week."""
    first = rates.RANGES["week"].first(timezone.now())
    hours = FailureActivity.objects.filter(span=Span.HOUR, at__gte=first, group_id=fingerprint)
    return list(hours.values_list("at", "failed"))


@dataclass(frozen=True)
class Own:
    """A group as somebody sees it who sees a part of the runs: of those that are failed now."""

    group: Group
    ends: list[datetime]  # newest run first

    @property
    def hours(self) -> list[tuple[datetime, int]]:
        return [(end, 1) for end in self.ends]


def own_groups(within: RunQuerySet, fingerprint: str = "") -> list[Own]:
    """The groups of the newest failed runs, or one of them; the loudest first."""
    failed = RunFilters(failure=fingerprint) if fingerprint else RunFilters(status=(_FAILED,))
    columns = ("error_fingerprint", "id", "job", "error_step", "error_type", "finished_at")
    rows, _ = part.newest_rows(failed, within, *columns)
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        if row[0]:
            found[row[0]].append(row)
    newest = [rows[0][1] for rows in found.values()][:_MAX_MESSAGES]
    messages = dict(Run.objects.filter(pk__in=newest).values_list("pk", "error_message"))
    own = [_own(rows, messages.get(rows[0][1]) or "") for rows in found.values()]
    return sorted(own, key=lambda each: each.group.order)


def _own(rows: list[tuple[Any, ...]], message: str) -> Own:
    fingerprint, id, job, step, kind, _ = rows[0]
    ends = [row[5] for row in rows]
    row = FailureGroup(
        fingerprint=fingerprint,
        job=job,
        step=step,
        error_type=kind or "",
        message=message,
        first_seen=min(ends),
        last_seen=max(ends),
        last_run_id=id,
    )
    now = timezone.now()
    counts = [
        _count(fingerprint, age, sum(1 for end in ends if end >= now - length))
        for age, length in AGES.items()
    ]
    week = [(end, 1) for end in ends if end >= now - WEEK]
    return Own(Group(row, counts, charts.spark(_spread(week, now))), ends)
