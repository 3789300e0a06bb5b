"""Whether a run that has done very many steps, and logged very much, is slower than others."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from uuid import UUID, uuid4

from runs.bench import jobs, loading
from runs.bench.flat import PRIORITY, timed
from runs.bench.loading import Rows
from runs.bench.measuring import Bench
from runs.bench.results import Goal, Row
from runs.bench.seed import fill
from runs.engine import claims, database, executor
from runs.engine.execution import Execution
from runs.engine.step import Step
from runs.models import Run

_BATCH = 1_000
#: Of the ratio to a run that has just begun.
_GOAL = Goal(1.5, of_ratio=True, at_most=True)
#: Its steps are read then, all of them: as `resume`, of which each step may take as long.
_CLAIM_GOAL = Goal(200, at_most=True)
_LINES_A_FLUSH = 100


def long(bench: Bench) -> Iterator[Row]:
    """Milliseconds in a run that has just begun (the baseline), and in one that is very long."""
    fill(bench.sizes.seeded)
    steps, lines = bench.sizes.long_steps, bench.sizes.long_lines
    just_begun, _ = _claim(jobs.three.trigger(1, priority=PRIORITY).pk)
    before = _measure(just_begun, bench.sizes.flat)
    executor.execute(just_begun)  # or it would be claimed again once its lease has run out
    run = jobs.three.trigger(1, priority=PRIORITY)
    _lengthen(run.pk, steps, lines)
    execution, claimed = _claim(run.pk)
    after = _measure(execution, bench.sizes.flat)
    size = f"{steps:,} steps and {lines:,} log lines"
    yield Row.judged(
        target=bench.target,
        name="long-claim",
        what=f"claim of a run of {steps:,} steps",
        unit="ms",
        figure=claimed,
        goal=_CLAIM_GOAL,
        note=f"once; {len(execution.claim.steps):,} steps were read",
    )
    for name, what in (("checkpoint", "checkpoint"), ("log", f"{_LINES_A_FLUSH} log lines")):
        yield Row.judged(
            target=bench.target,
            name=f"long-{name}",
            what=f"{what}, after {size}",
            unit="ms",
            figure=after[name],
            baseline=before[name],
            goal=_GOAL,
        )


def _claim(id: UUID) -> tuple[Execution, float]:
    """Begin to execute this run, the only one of its job that waits."""
    took, claim = timed(lambda: claims.claim_next((jobs.three.name,), uuid4(), "bench"))
    assert claim.run_id == id
    return Execution(claim, "bench"), took


def _measure(execution: Execution, count: int) -> dict[str, float]:
    """The median of each."""
    step = Step(execution)
    stored, flushed = [], []
    for number in range(-(count // 4), count):  # with a warm-up
        took, _ = timed(partial(step.run, f"one-more-{number}", str))
        for line in range(_LINES_A_FLUSH):
            step.log.info(f"line {line}")  # noqa: G004 (a line of the run's log)
        stored.append(took)
        flushed.append(timed(execution.flush)[0])
    return {
        "checkpoint": statistics.median(stored[-count:]),
        "log": statistics.median(flushed[-count:]),
    }


def _lengthen(id: UUID, steps: int, lines: int) -> None:
    """Have the run look as if it had done so many steps, and logged so many lines in them."""
    loading.prepare()
    seq = Run.objects.get(pk=id).seq
    moment = database.utc_now().isoformat(" ", "microseconds")[:26]
    for first in range(0, steps, _BATCH):
        rows: Rows = {"runs_step": [], "runs_logentry": []}
        for index in range(first, min(first + _BATCH, steps)):
            name = f"step-{index:05}"
            for _ in range(lines // steps):
                seq += 1
                line = (id.hex, name, "info", f"Row {seq} was read", None, moment, seq)
                rows["runs_logentry"].append(line)
            seq += 1
            times = (moment, moment)
            done = (id.hex, name, index, "completed", 1, seq, *times, None, None, None, "1")
            rows["runs_step"].append(done)
        loading.load(rows)
    # By somebody who has claimed it, or nobody would look for its steps.
    Run.objects.filter(pk=id).update(seq=seq, step_count=steps, lease_generation=1)
    loading.settle()
