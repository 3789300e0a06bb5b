"""Steps a second within one run."""

from __future__ import annotations

from collections.abc import Iterator

from runs.bench import jobs
from runs.bench.measuring import Bench
from runs.bench.results import Row


def steps(bench: Bench) -> Iterator[Row]:
    """Trivial steps in a row, executed by the worker and timed inside the handler."""
    count = bench.sizes.steps
    bench.output_of(jobs.steps, max(count // 4, 1))  # warm-up

    def measure() -> float:
        return float(count / bench.output_of(jobs.steps, count)[1])

    yield bench.in_turn("steps", f"{count:,} steps of one run", "steps/s", measure)
