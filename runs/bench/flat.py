"""Whether the engine stays as fast as it is when the database has grown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

from runs.bench import jobs
from runs.bench.crowded import crowd
from runs.bench.measuring import Bench
from runs.bench.results import Goal, Row
from runs.bench.seed import fill
from runs.engine import claims, executor, leases, operations
from runs.engine.execution import Execution

_FEW = 1_000
_GOAL = Goal(1.5, of_ratio=True, at_most=True)
_SWEEP_GOAL = Goal(100, at_most=True)
#: Ahead of the invented runs that wait.
_PRIORITY = 100


def flat(bench: Bench) -> Iterator[Row]:
    """Milliseconds with few runs in the database (the baseline) and with very many."""
    fill(_FEW)
    _measure(bench.sizes.flat // 4)  # warm-up
    before = _measure(bench.sizes.flat)
    fill(bench.sizes.seeded)
    _measure(bench.sizes.flat // 4)
    after = _measure(bench.sizes.flat)
    later, blocked = min(100_000, 5 * bench.sizes.seeded), min(10_000, bench.sizes.seeded // 2)
    with crowd(later, blocked):
        _measure(bench.sizes.flat // 4)
        crowded = _measure(bench.sizes.flat)
        swept = statistics.median(_timed(leases.sweep)[0] for _ in range(5))
    for name, what in _WHAT.items():
        yield Row.judged(
            target=bench.target,
            name=f"flat-{name}",
            what=what,
            unit="ms",
            figure=after[name],
            baseline=before[name],
            goal=_GOAL,
        )
    waiting = f"{later:,} scheduled, {blocked:,} blocked by keys, {blocked:,} paused"
    for name in ("trigger", "claim", "execute"):
        yield Row.judged(
            target=bench.target,
            name=f"flat-{name}-crowded",
            what=f"{_WHAT[name].partition(' (')[0]}, past those",
            unit="ms",
            figure=crowded[name],
            baseline=before[name],
            goal=_GOAL,
            note=waiting if name == "trigger" else "",
        )
    yield Row.judged(
        target=bench.target,
        name="flat-sweep-crowded",
        what="sweep, once a second, past those",
        unit="ms",
        figure=swept,
        goal=_SWEEP_GOAL,
    )


_WHAT = {
    "trigger": f"trigger (baseline: {_FEW:,} runs)",
    "claim": "claim",
    "execute": "execute three steps",
    "purge": "purge a run",
}


def _measure(count: int) -> dict[str, float]:
    """The median of each."""
    triggered = [_timed(lambda: jobs.three.trigger(1, priority=_PRIORITY)) for _ in range(count)]
    claimed, executed = [], []
    for _ in range(count):
        took, claim = _timed(lambda: claims.claim_next((jobs.three.name,), uuid4(), "bench"))
        claimed.append(took)
        executed.append(_timed(lambda claim=claim: executor.execute(Execution(claim, "bench")))[0])  # type: ignore[misc]
    purged = [_timed(lambda: operations.purge_runs(timedelta(0), limit=1)) for _ in range(count)]
    return {
        "trigger": statistics.median(took for took, _ in triggered),
        "claim": statistics.median(claimed),
        "execute": statistics.median(executed),
        "purge": statistics.median(took for took, _ in purged),
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return (time.perf_counter() - began) * 1000, result
