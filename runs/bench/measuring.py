"""What the measurements of one target share: sizes, repetitions, the worker, the baseline."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from runs.bench.baseline import Baseline
from runs.bench.results import Goal, Row
from runs.bench.worker import WorkerUnderTest
from runs.engine.lookups import get_run
from runs.engine.waiting import wait_for_run
from runs.registry import JobDefinition

RUN_TIMEOUT = 600.0


@dataclass(frozen=True)
class Sizes:
    """How much of each thing is done."""

    repetitions: int = 5
    steps: int = 2_000
    runs: int = 500
    sustained: int = 3_000
    pickups: int = 60
    calls: int = 100_000
    seeded: int = 20_000  # runs in the large database
    flat: int = 200  # calls of each operation there
    rounds: int = 3  # of the same request, the fastest of which counts
    addresses: int | None = None  # of each kind of page; all, if it is None
    streams: int = 200
    stream_seconds: float = 60
    trigger_rate: float = 50  # a second, beside the streams
    workers: tuple[int, ...] = (1, 2, 4, 8, 16, 64)  # processes
    crowd: int = 2_500  # runs for them, at most
    idle: float = 3  # seconds in which they have nothing to do
    long_steps: int = 10_000  # in one run
    long_lines: int = 1_000_000  # in its log


QUICK = Sizes(
    repetitions=1,
    steps=100,
    runs=20,
    sustained=40,
    pickups=5,
    calls=2_000,
    seeded=1_500,
    flat=4,
    rounds=1,
    addresses=2,
    streams=10,
    stream_seconds=3,
    trigger_rate=10,
    workers=(1, 2),
    crowd=16,
    idle=0.5,
    long_steps=100,
    long_lines=1_000,
)


@dataclass
class Bench:
    """One target while it is measured. ``goals`` names those that hold for it."""

    target: str
    sizes: Sizes
    goals: dict[str, Goal]
    worker: WorkerUnderTest | None = None
    baseline: Baseline = field(init=False)

    def __post_init__(self) -> None:
        self.baseline = Baseline(self.sizes.steps)

    def row(self, name: str, what: str, unit: str, figure: float, **more: Any) -> Row:
        """A result, judged by the target's goal of that name."""
        return Row.judged(
            target=self.target,
            name=name,
            what=what,
            unit=unit,
            figure=figure,
            goal=self.goals.get(name),
            **more,
        )

    def in_turn(
        self, name: str, what: str, unit: str, measure: Callable[[], float], **more: Any
    ) -> Row:
        """Medians of repetitions that alternate with the baseline; the ratio is theirs, too."""
        pairs = [(self.baseline.rate(), measure()) for _ in range(self.sizes.repetitions)]
        return self.row(
            name,
            what,
            unit,
            statistics.median(figure for _, figure in pairs),
            baseline=statistics.median(base for base, _ in pairs),
            ratio=statistics.median(figure / base for base, figure in pairs),
            **more,
        )

    def output_of(self, job: JobDefinition, payload: Any) -> tuple[Any, Any]:
        """Have the worker execute a run; its id and output."""
        run = wait_for_run(job.trigger(payload), timeout=RUN_TIMEOUT)
        return run.pk, get_run(run).output

    @property
    def is_server(self) -> bool:
        """Whether it is measured on a database server, which others use too."""
        return connection.vendor == "postgresql"

    @property
    def the_worker(self) -> WorkerUnderTest:
        """The worker, which has been started for the measurements that need one."""
        assert self.worker is not None
        return self.worker


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them doesn't exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
