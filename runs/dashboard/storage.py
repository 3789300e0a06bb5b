"""What the database holds, what grows, and what a retention rule would delete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from runs import conf
from runs.access import VIEW
from runs.dashboard.access import page, require_for_all
from runs.dashboard.charts import draw
from runs.dashboard.query import whole, whole_of
from runs.dashboard.rates import Range, load_slots
from runs.dashboard.shell import Kept
from runs.engine import database, wal
from runs.models import Activity, Chore, Span, Worker
from runs.storage import (
    BUDGET,
    OF_RUNS,
    JobShare,
    Preview,
    Storage,
    Table,
    measure,
    preview,
    shares,
)

MAX_JOBS = 50
MAX_DAYS = 36_500
KEEP_SECONDS = 30.0

_MONTH = Range("month", "Month", "Last 30 days", "day", Span.HOUR, timedelta(days=1), 30)
_GROWTH_DAYS = 7

_measured = Kept(measure, KEEP_SECONDS)
_by_job = Kept(lambda: shares(_measured()), KEEP_SECONDS)
_month = Kept(lambda: load_slots(_MONTH), KEEP_SECONDS)


@page
@require_safe
def storage_page(request: HttpRequest) -> HttpResponse:
    """Rows and bytes by table and by job, growth, and retention."""
    require_for_all(request, VIEW, "storage")
    now, found = timezone.now(), _measured()
    context = {"nav": "storage", "storage": found, "retention": _retention(request, found, now)}
    if "fragment" in request.GET:
        return render(request, "dashboard/storage_retention.html", context)
    asked = _Question.of(request, found, now)
    context |= (
        _growth(found, now)
        | _jobs()
        | {
            "tables": _shown(found),
            "is_exact": all(table.is_exact for table in found.tables),
            "is_sqlite": database.is_sqlite(),
            "long_log": (found.log or 0) > wal.LONG,
            "dead": sum(table.dead or 0 for table in found.tables),
            "asked": asked,
            "budget": BUDGET,
        }
    )
    status = 400 if asked.problem else 200
    return render(request, "dashboard/storage.html", context, status=status)


def _shown(storage: Storage) -> list[Table]:
    """The tables of runs, those that have become large beside them, and one line for the rest."""
    of_runs = {model._meta.db_table for model in OF_RUNS}
    large = max(storage.total / 100, 1_000_000)
    own = [each for each in storage.tables if each.name in of_runs or each.size > large]
    rest = [each for each in storage.tables if each not in own]
    others = Table(
        "",
        f"{len(rest)} other tables",
        sum(table.rows for table in rest),
        sum(table.data for table in rest),
        sum(table.indexes for table in rest),
        all(table.is_exact for table in rest),
        sum(table.dead or 0 for table in rest),
    )
    return [*own, others] if rest else own


def _jobs() -> dict[str, Any]:
    found: tuple[list[JobShare], bool] = _by_job()
    jobs, is_whole = found
    return {
        "jobs": jobs[:MAX_JOBS],
        "more_jobs": max(0, len(jobs) - MAX_JOBS),
        "jobs_are_whole": is_whole,
    }


def _growth(storage: Storage, now: datetime) -> dict[str, Any]:
    """How many runs ended a day lately, and what that comes to."""
    hours = Activity.objects.filter(span=Span.HOUR, at__gte=now - timedelta(days=_GROWTH_DAYS))
    first = hours.order_by("at").values_list("at", flat=True).first()
    sums = hours.aggregate(*map(Sum, ("completed", "failed", "cancelled")))
    ended = sum(value or 0 for value in sums.values())
    days = max(1.0, (now - first) / timedelta(days=1)) if first else 1.0
    per_day = ended / min(days, _GROWTH_DAYS)
    return {
        "per_day": per_day,
        "bytes_per_day": None if storage.per_run is None else per_day * storage.per_run,
        "chart": draw(_month()),
    }


@dataclass(frozen=True)
class _Question:
    """The number of days that somebody has typed, and what a rule of that would delete."""

    text: str
    preview: Preview | None = None
    problem: str = ""

    @classmethod
    def of(cls, request: HttpRequest, storage: Storage, now: datetime) -> _Question:
        text = request.GET.get("days", "").strip()
        if not text:
            return cls("")
        days = whole(text)
        if days is None or not 1 <= days <= MAX_DAYS:
            return cls(text[:20], problem=f"A whole number of days, from 1 to {MAX_DAYS:,}.")
        return cls(text, preview(now - timedelta(days=days), storage))


@dataclass(frozen=True)
class _Opening:
    """What was left to delete when the page was opened; what it asks to be told tells of it."""

    count: int = 0  # 0 if there were more than could be counted
    oldest: int = 0  # when the oldest of them ended, in milliseconds

    @classmethod
    def of(cls, request: HttpRequest, left: Preview) -> _Opening:
        oldest = _millis(left.oldest) if left.oldest else 0
        if "of" not in request.GET:
            return cls(left.count if left.is_whole else 0, oldest)
        return cls(whole_of(request.GET, "of") or 0, whole_of(request.GET, "from") or oldest)


@dataclass(frozen=True)
class _Retention:
    """The rule that is set, what is left to delete by it, and who is at it."""

    rule: str
    preview: Preview | None = None
    worker: str = ""
    due_at: datetime | None = None
    opening: _Opening = _Opening()

    @property
    def done(self) -> int:
        """How many were deleted since then; 0 also where they can't be counted."""
        is_counted = self.preview and self.preview.is_whole
        return self.opening.count - self.preview.count if self.preview and is_counted else 0

    @property
    def way(self) -> float:
        """How far it has come since then on its way through time, from 0 to 1."""
        left = self.preview
        if left is None or left.oldest is None or not self.opening.oldest:
            return 0
        whole_way = _millis(left.before) - self.opening.oldest
        gone = _millis(left.oldest) - self.opening.oldest
        return max(0.0, gone / whole_way) if whole_way > 0 else 0


def _millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _retention(request: HttpRequest, storage: Storage, now: datetime) -> _Retention:
    age = conf.retain_runs()
    if age is None:
        return _Retention("")
    left = preview(now - age, storage)
    chore = Chore.objects.filter(name="retention").first()
    worker = ""
    if chore and chore.lease_owner and chore.lease_expires_at and chore.lease_expires_at > now:
        worker = str(Worker.objects.filter(pk=chore.lease_owner).first() or "a worker")
    due_at = chore.due_at if chore else None
    return _Retention(_words(age), left, worker, due_at, _Opening.of(request, left))


def _words(age: timedelta) -> str:
    """``30 days``, ``12 hours``, ``90 minutes``: in the unit that it is a whole number of."""
    minutes = round(age.total_seconds() / 60)
    size, unit = next(
        each for each in ((1440, "day"), (60, "hour"), (1, "minute")) if minutes % each[0] == 0
    )
    count = minutes // size
    return f"{count:,} {unit}{'' if count == 1 else 's'}"
