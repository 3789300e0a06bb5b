"""The measurements behind their names, and what each should reach."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from runs.bench import (
    buffered,
    crowd,
    flat,
    footprint,
    jobs,
    latency,
    long_run,
    pages,
    purge,
    steps,
    streams,
    throughput,
    worker,
)
from runs.bench.measuring import Bench, Sizes
from runs.bench.orders import ENGINE
from runs.bench.results import Goal, Row
from runs.bench.scratch import Target

Measurement = Callable[[Bench], Iterator[Row]]

#: Without a worker, which would execute what they trigger.
ALONE: dict[str, Measurement] = {"trigger": throughput.trigger, "resume": latency.resume}

WITH_WORKER: dict[str, Measurement] = {
    "steps": steps.steps,
    "runs": throughput.runs,
    "sustained": throughput.sustained,
    "pickup": latency.pickup,
    "progress": buffered.progress,
    "log": buffered.log,
    "footprint": footprint.footprint,
}

SERVED: dict[str, Measurement] = {"streams": streams.streams, "workers": crowd.workers}

LARGE: dict[str, Measurement] = {
    "flat": flat.flat,
    "pages": pages.pages,
    "purge": purge.purge,  # of what the others need
    "long": long_run.long,  # which the others would meet
}

_EVERYWHERE = {
    "resume": Goal(40, at_most=True),
    "progress": Goal(100_000),
    "log": Goal(30_000),
    "stream-lag": Goal(1, at_most=True),
    "stream-memory": Goal(1.1, of_ratio=True, at_most=True),
}


def goals_of(target: Target) -> dict[str, Goal]:
    """What this target should reach, by name of the measurement."""
    if target.server:
        return {**_EVERYWHERE, "stream-trigger": Goal(50, at_most=True)}
    is_full = target.synchronous == "FULL"
    runs = Goal(300 if is_full else 1_000)
    return {
        **_EVERYWHERE,
        "steps": Goal(0.4 if is_full else 0.25, of_ratio=True),
        "runs": runs,
        "sustained": runs,
        "pickup": Goal(40, at_most=True),
    }


def measure(target: Target, sizes: Sizes, names: Sequence[str]) -> Generator[Row, None, None]:
    """Make these measurements in this process, whose database is a scratch one."""
    title = target.title
    if not set(LARGE).isdisjoint(names):
        title += f", {sizes.seeded:,} runs"
    bench = Bench(title, sizes, goals_of(target))
    if not set(ENGINE).isdisjoint(names):
        bench.baseline.rate()  # warm-up
    for name, measurement in ALONE.items():
        if name in names:
            yield from measurement(bench)
    if not set(WITH_WORKER).isdisjoint(names):
        with worker.running() as bench.worker:
            bench.worker.wait_until_done(jobs.three.name)  # what `trigger` has left
            for name, measurement in WITH_WORKER.items():
                if name in names:
                    yield from measurement(bench)
    for name, measurement in (SERVED | LARGE).items():
        if name in names:
            yield from measurement(bench)
