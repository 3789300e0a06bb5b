"""Whether the engine stays as fast as it is when the database has grown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from runs.bench import jobs
from runs.bench.crowded import crowd
from runs.bench.measuring import Bench
from runs.bench.results import Goal, Row
from runs.bench.seed import fill
from runs.engine import claims, executor, leases, operations
from runs.engine.execution import Execution
from runs.engine.step import Step

_FEW = 1_000
_GOAL = Goal(1.5, of_ratio=True, at_most=True)
_SWEEP_GOAL = Goal(100, at_most=True)
#: Ahead of the invented runs that wait.
PRIORITY = 100


def flat(bench: Bench) -> Iterator[Row]:
    """Milliseconds with few runs in the database (the baseline) and with ever more."""
    curve = {size: _grown(bench, size) for size in _sizes(bench.sizes.seeded)}
    before = curve[_FEW]
    later, blocked = min(100_000, 5 * bench.sizes.seeded), min(10_000, bench.sizes.seeded // 2)
    with crowd(later, blocked):
        _measure(bench.sizes.flat // 4)
        crowded = _measure(bench.sizes.flat)
        swept = statistics.median(timed(leases.sweep)[0] for _ in range(5))
    for name, what in _WHAT.items():
        for size in list(curve)[1:] or [_FEW]:
            is_last = size == bench.sizes.seeded
            yield Row.judged(
                target=bench.target,
                name=f"flat-{name}" if is_last else f"flat-{name}-{size}",
                what=f"{what}, {size:,} runs",
                unit="ms",
                figure=curve[size][name],
                baseline=before[name],
                goal=_GOAL,
            )
    waiting = f"{later:,} scheduled, {blocked:,} blocked by keys, {blocked:,} paused"
    for name in ("trigger", "claim", "checkpoint", "execute"):
        yield Row.judged(
            target=bench.target,
            name=f"flat-{name}-crowded",
            what=f"{_WHAT[name]}, past those that wait",
            unit="ms",
            figure=crowded[name],
            baseline=before[name],
            goal=_GOAL,
            note=waiting if name == "trigger" else "",
        )
    yield Row.judged(
        target=bench.target,
        name="flat-sweep-crowded",
        what="sweep, past those that wait",
        unit="ms",
        figure=swept,
        goal=_SWEEP_GOAL,
    )


_WHAT = {
    "trigger": "trigger",
    "claim": "claim",
    "checkpoint": "checkpoint",
    "execute": "execute three steps",
    "purge": "purge a run",
}


def _sizes(most: int) -> list[int]:
    """The baseline, its tenfold and so on, and the most."""
    found = [_FEW]
    while found[-1] * 10 < most:
        found.append(found[-1] * 10)
    return [*found, most]


def _grown(bench: Bench, size: int) -> dict[str, float]:
    fill(size)
    _measure(bench.sizes.flat // 4)  # warm-up
    return _measure(bench.sizes.flat)


def _measure(count: int) -> dict[str, float]:
    """The median of each."""
    triggered = [timed(lambda: jobs.three.trigger(1, priority=PRIORITY)) for _ in range(count)]
    claimed, stored, executed = [], [], []
    for _ in range(count):
        took, claim = timed(lambda: claims.claim_next((jobs.three.name,), uuid4(), "bench"))
        claimed.append(took)
        execution = Execution(claim, "bench")
        stored.append(timed(partial(Step(execution).run, "one-more", str))[0])
        executed.append(timed(partial(executor.execute, execution))[0])
    purged = [timed(lambda: operations.purge_runs(timedelta(0), limit=1)) for _ in range(count)]
    return {
        "trigger": statistics.median(took for took, _ in triggered),
        "claim": statistics.median(claimed),
        "checkpoint": statistics.median(stored),
        "execute": statistics.median(executed),
        "purge": statistics.median(took for took, _ in purged),
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The milliseconds that it took, and its result."""
    began = time.perf_counter()
    result = work()
    return (time.perf_counter() - began) * 1000, result
