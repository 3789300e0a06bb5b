"""What it costs those who work that retention deletes at the same time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from datetime import timedelta

from runs import BatchItem
from runs.bench import jobs, worker
from runs.bench.measuring import Bench
from runs.bench.results import Goal, Row
from runs.bench.seed import fill
from runs.engine import database
from runs.models import Chore, Run

_AGE = timedelta(hours=1)
_GOAL = Goal(0.8, of_ratio=True)
#: Ahead of the invented runs that wait.
_PRIORITY = 100
#: Runs of a repetition, as a multiple of the usual number: longer than a turn of retention.
_TIMES = 3


def purge(bench: Bench) -> Iterator[Row]:
    """Runs a second of a worker while it deletes old ones, and while it does not (the baseline)."""
    fill(bench.sizes.seeded)
    count = bench.sizes.runs * _TIMES
    pairs: list[tuple[float, float]] = []
    deleted, seconds = 0, 0.0
    with worker.running(RETAIN_RUNS=f"{_AGE // timedelta(minutes=1)}m") as bench.worker:
        _halt()
        _drain(bench, count // 3)  # warm-up
        for _ in range(bench.sizes.repetitions):
            alone = _drain(bench, count)
            old, began = _old(), time.perf_counter()
            _begin()
            pairs.append((alone, _drain(bench, count)))
            _halt()
            deleted += old - _old()
            seconds += time.perf_counter() - began
    without = statistics.median(alone for alone, _ in pairs)
    beside = statistics.median(beside for _, beside in pairs)
    yield Row.judged(
        target=bench.target,
        name="purge",
        what="runs of three steps while old ones are deleted",
        unit="runs/s",
        figure=beside,
        baseline=without,
        ratio=statistics.median(beside / alone for alone, beside in pairs),
        goal=_GOAL,
        note=(
            f"{deleted / seconds:,.0f} runs deleted a second beside {beside:,.0f} executed; "
            f"{without:,.0f} executed while none are deleted; {_old():,} old ones are left"
        ),
    )


def _drain(bench: Bench, count: int) -> float:
    """Trigger runs at once and wait for the last; runs a second."""
    jobs.three.batch_trigger([BatchItem(n, priority=_PRIORITY) for n in range(count)])
    began = time.perf_counter()
    bench.the_worker.wait_until_done(jobs.three.name)
    return count / (time.perf_counter() - began)


def _old() -> int:
    return Run.objects.filter(finished_at__lt=database.utc_now() - _AGE).count()


def _begin() -> None:
    """Let retention begin; its next turn follows each as long as there is anything to delete."""
    Chore.objects.filter(name="retention").update(due_at=database.utc_now())


def _halt() -> None:
    """Keep retention from its next turn, as soon as it is between two."""
    chore = Chore.objects.filter(name="retention", lease_owner=None)
    while not chore.update(due_at=database.utc_now() + timedelta(days=1)):
        time.sleep(0.01)
