"""Progress and log lines in a tight loop."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from runs.bench import jobs
from runs.bench.measuring import Bench
from runs.bench.results import Row
from runs.bench.worker import BenchError
from runs.engine.lookups import get_run
from runs.models import LogEntry
from runs.registry import JobDefinition


def progress(bench: Bench) -> Iterator[Row]:
    """``step.progress()``; the last value has to be the one that is kept."""
    count = bench.sizes.calls
    rates, run_id = _call(bench, jobs.progress)
    kept = get_run(run_id).progress
    if kept["current"] != count:
        raise BenchError(f"The progress kept is {kept}, not {count}")
    figure = statistics.median(rates)
    yield bench.row("progress", f"{count:,} calls of step.progress()", "calls/s", figure)


def log(bench: Bench) -> Iterator[Row]:
    """``step.log.info()``; afterwards the log is complete and in order."""
    count = bench.sizes.calls
    rates, run_id = _call(bench, jobs.log)
    lines = LogEntry.objects.filter(run=run_id).values_list("message", flat=True)
    found = sum(line == f"line {number}" for number, line in enumerate(lines))
    note = f"{found:,} of {count:,} lines in the log, in order"
    figure = statistics.median(rates)
    yield bench.row("log", f"{count:,} calls of step.log.info()", "calls/s", figure, note=note)


def _call(bench: Bench, job: JobDefinition) -> tuple[list[float], UUID]:
    """Calls a second, several times, and the id of the last run."""
    count = bench.sizes.calls
    run_id: Any = bench.output_of(job, count // 10)[0]  # warm-up
    rates = []
    for _ in range(min(bench.sizes.repetitions, 3)):
        run_id, seconds = bench.output_of(job, count)
        rates.append(count / seconds)
    return rates, run_id
