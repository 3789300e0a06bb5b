"""Counts for the dashboard, by minute and hour, so that no page counts a big table.

Counted from the runs' events. The last minutes are counted again each time and their
counts replaced, so late commits and a crash in between do no harm.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Sum
from django.db.models.functions import TruncHour, TruncMinute

from runs.engine import database, inserts
from runs.engine.chore_leases import ChoreLease
from runs.models import (
    Activity,
    Chore,
    EventKind,
    FailureActivity,
    FailureGroup,
    RunEvent,
    Span,
)

#: Counted again each time: a commit may come this late.
OVERLAP = timedelta(minutes=2)
KEEP_MINUTES = timedelta(hours=26)
KEEP_HOURS = timedelta(days=32)

_BACKFILL = timedelta(days=7)
_CHUNK = timedelta(minutes=30)
_BUDGET_SECONDS = 5.0

_COLUMNS = {
    EventKind.TRIGGERED: "triggered",
    EventKind.STARTED: "started",
    EventKind.COMPLETED: "completed",
    EventKind.FAILED: "failed",
    EventKind.CANCELLED: "cancelled",
}


@dataclass
class _Failures:
    """One group's failures in the window that is being counted."""

    job: str
    step: str | None
    error: str
    first_seen: datetime
    last_seen: datetime
    run_id: UUID
    minutes: dict[datetime, int]


def advance(lease: ChoreLease | None = None) -> None:
    """Count what happened since the last time, within a few seconds; then drop old minutes.

    Raises LeaseGone, with nothing more stored, if another worker has taken over the lease.
    """
    lease = lease or ChoreLease("statistics")
    deadline = time.monotonic() + _BUDGET_SECONDS
    chore, _ = Chore.objects.get_or_create(
        name="statistics", defaults={"due_at": database.utc_now()}
    )
    now = database.utc_now()
    position = chore.position or now - _BACKFILL
    while position < now and time.monotonic() < deadline:
        start = _minute(position - OVERLAP)
        end = min(position + _CHUNK, now)
        since = RunEvent.objects.filter(created_at__gte=start).order_by("created_at")
        first = since.values_list("created_at", flat=True).first()
        if first is None or first >= end:
            position = now if first is None else first  # nothing happened until then
            continue
        count_window(start, end, lease)
        position = end
    lease.keep(position=position)
    # As seen from there: an hour that is not counted to its end still needs its minutes.
    _drop_old(position)


def count_window(start: datetime, end: datetime, lease: ChoreLease) -> None:
    """Count the minutes that begin in ``start`` to ``end``, and the hours they lie in."""
    events = RunEvent.objects.filter(created_at__gte=start, created_at__lt=end)
    counts: dict[tuple[str, datetime], dict[str, int]] = defaultdict(dict)
    rows = (
        events.filter(kind__in=_COLUMNS)
        .order_by()
        .values_list("run__job", TruncMinute("created_at", tzinfo=UTC), "kind")
        .annotate(Count("id"))
    )
    for job, minute, kind, count in rows:
        counts[job, minute][_COLUMNS[EventKind(kind)]] = count
    failures = _failures(events)
    with database.write():
        _store_activity(
            Activity(job=job, span=Span.MINUTE, at=minute, **values)
            for (job, minute), values in counts.items()
        )
        _store_failures(failures)
        hour = start.replace(minute=0, second=0, microsecond=0)
        _sum_hours(hour, end)
        lease.keep(position=end)


def _failures(events: Any) -> dict[str, _Failures]:
    groups: dict[str, _Failures] = {}
    failed = events.filter(kind=EventKind.FAILED).order_by("created_at")
    for job, run_id, at, data in failed.values_list(
        "run__job", "run_id", "created_at", "data"
    ).iterator():
        fingerprint = (data or {}).get("fingerprint")
        if not fingerprint:
            continue
        group = groups.get(fingerprint)
        if group is None:
            group = groups[fingerprint] = _Failures(
                job, data.get("step"), data.get("error", ""), at, at, run_id, defaultdict(int)
            )
        group.last_seen, group.run_id = at, run_id
        group.minutes[_minute(at)] += 1
    return groups


def _store_activity(rows: Iterable[Activity]) -> None:
    Activity.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["span", "at", "job"],
        update_fields=list(_COLUMNS.values()),
        batch_size=500,
    )


def _store_failures(groups: dict[str, _Failures]) -> None:
    known = FailureGroup.objects.in_bulk(groups)
    for fingerprint, found in groups.items():
        type_, _, message = found.error.partition(": ")
        if fingerprint not in known:
            known[fingerprint] = FailureGroup(
                fingerprint=fingerprint,
                job=found.job,
                step=found.step,
                error_type=type_,
                message=message,
                first_seen=found.first_seen,
                last_seen=found.last_seen,
                last_run_id=found.run_id,
            )
            inserts.insert_unless_conflict(known[fingerprint])
        elif known[fingerprint].last_seen < found.last_seen:
            FailureGroup.objects.filter(pk=fingerprint).update(
                last_seen=found.last_seen, last_run_id=found.run_id, message=message
            )
    _store_failure_counts(
        FailureActivity(group_id=fingerprint, span=Span.MINUTE, at=minute, failed=count)
        for fingerprint, found in groups.items()
        for minute, count in found.minutes.items()
    )


def _store_failure_counts(rows: Iterable[FailureActivity]) -> None:
    FailureActivity.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["span", "at", "group"],
        update_fields=["failed"],
        batch_size=500,
    )


def _sum_hours(start: datetime, end: datetime) -> None:
    """Hours are the sums of their minutes."""
    window = {"span": Span.MINUTE, "at__gte": start, "at__lt": end}
    sums = [Sum(name) for name in _COLUMNS.values()]
    hours = (
        Activity.objects.filter(**window)
        .annotate(hour=TruncHour("at", tzinfo=UTC))
        .values_list("job", "hour")
        .annotate(*sums)
        .order_by()
    )
    _store_activity(
        Activity(
            job=job, span=Span.HOUR, at=hour, **dict(zip(_COLUMNS.values(), totals, strict=True))
        )
        for job, hour, *totals in hours
    )
    failed = (
        FailureActivity.objects.filter(**window)
        .annotate(hour=TruncHour("at", tzinfo=UTC))
        .values_list("group_id", "hour")
        .annotate(Sum("failed"))
        .order_by()
    )
    _store_failure_counts(
        FailureActivity(group_id=group, span=Span.HOUR, at=hour, failed=total)
        for group, hour, total in failed
    )


def _drop_old(position: datetime) -> None:
    for span, age in ((Span.MINUTE, KEEP_MINUTES), (Span.HOUR, KEEP_HOURS)):
        old = {"span": span, "at__lt": position - age}
        for model in (Activity, FailureActivity):
            if model.objects.filter(**old).exists():
                with database.write():
                    model.objects.filter(**old).delete()


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
