"""A large database: a month of invented runs, as the engine would have left them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from runs.bench import loading
from runs.bench.invented import KINDS
from runs.bench.month import Month
from runs.engine import database, jobsync
from runs.models import (
    Activity,
    Chore,
    FailureActivity,
    FailureGroup,
    Job,
    Run,
    Worker,
)

_BATCH = 4_000
_BIG_STEPS = 10_000
#: A step of that run logs so many lines; more, if so many runs are made at once, as of a million
#: whose growth `bench` measures.
_LINES, _MANY_RUNS, _MORE_LINES = 10, 500_000, 100

Progress = Callable[[int], None]


class HoldsRuns(Exception):
    """The database holds runs already."""


def seed(count: int, *, add: bool = False, progress: Progress = lambda _: None) -> None:
    """Fill the database with so many runs; ``progress`` hears how many there are.

    Raises HoldsRuns if there are some, unless told to ``add``.
    """
    if not add and Run.objects.exists():
        raise HoldsRuns("This database holds runs already.")
    loading.prepare()
    month = Month(count, time.time())
    for first in range(0, count, _BATCH):
        last = min(first + _BATCH, count)
        loading.load(month.rows(range(first, last)))
        progress(last)
    with database.write():  # one transaction, since what belongs to it comes before its row
        for rows in month.big_run(min(_BIG_STEPS, count), _lines_a_step(count)):
            loading.load(rows)
    with database.write():
        _store_jobs()
        _store_workers(month)
        _store_statistics(month)
        _store_failures(month)
    loading.settle()


def _lines_a_step(count: int) -> int:
    """Of the long run: with 10,000 steps, 100,000 lines in all, or 1,000,000."""
    return _MORE_LINES if count >= _MANY_RUNS else _LINES


def fill(count: int) -> None:
    """Have so many runs in the database."""
    missing = count - Run.objects.count()
    if missing > 0:
        seed(missing, add=True)


def _store_jobs() -> None:
    """Those of the code, and the invented ones as jobs that have left it."""
    jobsync.sync_jobs()
    Job.objects.bulk_create(
        (
            Job(
                name=kind.name,
                title=kind.name.replace("-", " ").capitalize(),
                source=f"jobs/{kind.name.replace('-', '_')}.py:40",
                code_version="7c1e0f",
                registered=False,
                synced_at=database.utc_now(),
            )
            for kind in KINDS
        ),
        ignore_conflicts=True,
    )


def _store_workers(month: Month) -> None:
    now = database.utc_now()
    Worker.objects.bulk_create(
        Worker(
            id=id,
            host=f"worker-{number}",
            pid=100 + number,
            concurrency=8,
            jobs=[kind.name for kind in KINDS],
            started_at=now,
            heartbeat_at=now,
        )
        for number, id in enumerate(month.workers, 1)
    )


def _store_statistics(month: Month) -> None:
    Activity.objects.bulk_create(
        (
            Activity(span=span, job=job, at=_moment(at), **counts)
            for (span, job, at), counts in month.activity.items()
        ),
        batch_size=1_000,
        ignore_conflicts=True,
    )
    # Nobody counts them again.
    Chore.objects.update_or_create(
        name="statistics", defaults={"due_at": database.utc_now(), "position": _moment(month.now)}
    )


def _store_failures(month: Month) -> None:
    FailureGroup.objects.bulk_create(
        (
            FailureGroup(
                fingerprint=fingerprint,
                job=group.mishap.kind.name,
                step=group.mishap.step,
                error_type=group.mishap.type,
                message=group.message,
                first_seen=_moment(group.first_seen),
                last_seen=_moment(group.last_seen),
                last_run_id=UUID(group.last_run),
            )
            for fingerprint, group in month.groups.items()
        ),
        ignore_conflicts=True,
    )
    FailureActivity.objects.bulk_create(
        (
            FailureActivity(span=span, group_id=fingerprint, at=_moment(at), failed=count)
            for (span, fingerprint, at), count in month.failures.items()
        ),
        batch_size=1_000,
        ignore_conflicts=True,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
