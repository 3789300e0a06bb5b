"""Runs of three steps: triggered here, executed by the worker."""

from __future__ import annotations

import time
from collections.abc import Iterator

from runs.bench import jobs
from runs.bench.measuring import Bench
from runs.bench.results import Row


def trigger(bench: Bench) -> Iterator[Row]:
    """Triggers a second, one by one, with no worker about."""
    count = bench.sizes.runs
    _trigger(count // 5)  # warm-up
    yield bench.in_turn(
        "trigger", f"{count:,} triggers", "triggers/s", lambda: count / _trigger(count)
    )


def runs(bench: Bench) -> Iterator[Row]:
    """From the first trigger to the last completion."""
    count = bench.sizes.runs
    complete(bench, count // 5)  # warm-up
    yield bench.in_turn(
        "runs", f"{count:,} runs of three steps", "runs/s", lambda: complete(bench, count)
    )


def sustained(bench: Bench) -> Iterator[Row]:
    """The same for longer, with the worker's memory before and after."""
    count = bench.sizes.sustained
    complete(bench, count // 10)  # warm-up
    before = bench.the_worker.megabytes()
    base = bench.baseline.rate()
    figure = complete(bench, count)
    base = (base + bench.baseline.rate()) / 2
    after = bench.the_worker.megabytes()
    note = ""
    if before is not None and after is not None:
        note = f"memory of the worker {before:.1f} MB before, {after:.1f} MB after"
    what = f"{count:,} runs of three steps"
    yield bench.row("sustained", what, "runs/s", figure, baseline=base, note=note)


def _trigger(count: int) -> float:
    """Trigger runs; the seconds that it took."""
    began = time.perf_counter()
    for number in range(count):
        jobs.three.trigger(number)
    return time.perf_counter() - began


def complete(bench: Bench, count: int) -> float:
    """Trigger runs of three steps and wait for the last; runs a second."""
    began = time.perf_counter()
    _trigger(count)
    bench.the_worker.wait_until_done(jobs.three.name)
    return count / (time.perf_counter() - began)
