"""Figures for somebody who sees a part of the runs: counted from those runs, within a time.

The usual figures are counted from everything that happened, and would tell of hidden runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from runs.filters import RunFilters
from runs.job_stats import DAY, SAMPLE, WEEK, JobStats, Sampled
from runs.listing import load_page
from runs.models import Run, RunQuerySet, RunStatus
from runs.scan import walk

#: Seconds and runs that one figure may take.
BUDGET = 0.4
MAX_ROWS = 5_000

_COLUMNS = ("job", "id", "status", "attempt", "created_at", "queued_at", "started_at",
            "finished_at", "run_at")  # fmt: skip


def newest_runs(
    filters: RunFilters,
    within: RunQuerySet,
    size: int,
    unread: tuple[str, ...] = ("input", "output", "error_traceback"),
) -> list[Run]:
    """The newest runs that pass, ``unread`` columns left for later.

    Of a part of the runs those that are found in time.
    """
    if within.is_part:
        return load_page(filters, size, within=within).runs
    return list(filters.apply(within).defer(*unread).newest_first()[:size])


def newest_rows(
    filters: RunFilters, within: RunQuerySet, *columns: str
) -> tuple[list[tuple[Any, ...]], bool]:
    """Columns of the newest runs that pass, as many as are found in time; whether these are all."""
    rows: list[tuple[Any, ...]] = []
    whole = True
    for part in walk(filters, None, older=True, budget=BUDGET, within=within):
        found = part.runs.newest_first().values_list(*columns)[: MAX_ROWS + 1 - len(rows)]
        rows += found
        whole = part.is_last
        if len(rows) > MAX_ROWS:
            return rows[:MAX_ROWS], False
    return rows, whole


def stats_of(names: Sequence[str], within: RunQuerySet) -> dict[str, JobStats]:
    """The numbers of these jobs, from the newest of the runs."""
    found = {name: JobStats() for name in names}
    filters = RunFilters(jobs=(names[0],)) if len(names) == 1 else RunFilters()
    rows, whole = newest_rows(filters, within, *_COLUMNS)
    now = timezone.now()
    for row in rows:
        if row[0] in found:
            _add(found[row[0]], row, now)
    for stats in found.values():
        stats.pending_is_all = whole
    return found


def _add(stats: JobStats, row: tuple[Any, ...], now: datetime) -> None:
    _, id, status, attempt, created, queued, started, ended, run_at = row
    if len(stats.runs) < SAMPLE:
        stats.runs.append(Sampled(id, status, attempt, max(created, queued), started, ended))
    stats.running += status == RunStatus.RUNNING
    stats.pending += status == RunStatus.PENDING and (run_at is None or run_at <= now)
    if ended is None:
        return
    stats.last_day += ended >= now - DAY
    if ended >= now - WEEK:
        stats.completed += status == RunStatus.COMPLETED
        stats.failed += status == RunStatus.FAILED


def recent(age: timedelta) -> RunFilters:
    """The runs created in that time, whole hours, as a link to the list has it."""
    text = f"{int(age.total_seconds() // 3600)}h"
    return RunFilters(since=timezone.now() - age, texts={"since": text, "until": ""})
