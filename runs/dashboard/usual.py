"""What is usual for a job: how long its runs and steps take and wait, from its last runs."""

from __future__ import annotations

import statistics
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from runs import access
from runs.access import Actor
from runs.dashboard.format import duration
from runs.models import Run, RunStatus, Step, StepStatus

#: Of a job's last runs so many are looked at, and so many completed ones are counted.
_LOOK_BACK = 200
_MAX_RUNS = 50
_MAX_STEP_RUNS = 20
_MAX_STEPS = 200


@dataclass(frozen=True)
class Spread:
    """How a number of durations, in seconds, are spread."""

    count: int
    low: float
    median: float
    p90: float
    longest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread | None:
        """None if there are none."""
        found = sorted(max(0.0, value) for value in seconds)
        if not found:
            return None
        return cls(
            len(found),
            found[len(found) // 10],
            statistics.median(found),
            found[max(0, -(-len(found) * 9 // 10) - 1)],
            found[-1],
        )


@dataclass(frozen=True)
class Past:
    """An earlier run of the job that completed at its first attempt."""

    id: uuid.UUID
    started_at: datetime
    finished_at: datetime

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class History:
    """The last runs of a job. ``runs`` are the completed ones, newest first."""

    runs: Sequence[Past]
    took: Spread | None
    waited: Spread | None
    same_code: int  # how many of the runs before this one, in a row, had the same code

    @property
    def last_good(self) -> Past | None:
        return self.runs[0] if self.runs else None

    @property
    def step_runs(self) -> list[uuid.UUID]:
        """The runs that step durations are taken from."""
        return [past.id for past in self.runs[:_MAX_STEP_RUNS]]


def load_history(run: Run, actor: Actor) -> History:
    """What the job's runs before this one were like, of those that the actor sees.

    One query, of a bounded number of rows, and one more for who doesn't see all runs.
    """
    rows = list(
        Run.objects.filter(job=run.job, id__lt=run.id)
        .order_by("-id")
        .values_list(
            "id",
            "status",
            "attempt",
            "created_at",
            "queued_at",
            "started_at",
            "finished_at",
            "code_version",
        )[:_LOOK_BACK]
    )
    seen = access.visible_ids(actor, [row[0] for row in rows])
    rows = [row for row in rows if row[0] in seen]
    good = [
        Past(row[0], row[5], row[6])
        for row in rows
        if row[1] == RunStatus.COMPLETED and row[2] == 1 and row[5] and row[6]
    ][:_MAX_RUNS]
    waits = [
        (started - max(created, queued)).total_seconds()
        for _, _, _, created, queued, started, _, _ in rows
        if started
    ][:_MAX_RUNS]
    same = 0
    for row in rows:
        if row[7] != run.code_version:
            break
        same += 1
    return History(good, Spread.of(past.seconds for past in good), Spread.of(waits), same)


def steps_took(history: History, names: Iterable[str]) -> dict[str, Spread]:
    """How long these steps usually take, from the last completed runs. One query."""
    if not history.runs:
        return {}
    rows = Step.objects.filter(
        run_id__in=history.step_runs, name__in=list(names), status=StepStatus.COMPLETED
    )
    took = defaultdict(list)
    for name, start, end in rows.values_list("name", "started_at", "finished_at"):
        took[name].append((end - start).total_seconds())
    return {name: spread for name, found in took.items() if (spread := Spread.of(found))}


def reached(history: History, step: str) -> Spread | None:
    """How long after their start the last completed runs had done this step. One query."""
    starts = {past.id: past.started_at for past in history.runs[:_MAX_STEP_RUNS]}
    rows = Step.objects.filter(run_id__in=starts, name=step, status=StepStatus.COMPLETED)
    return Spread.of(
        (end - starts[run_id]).total_seconds()
        for run_id, end in rows.values_list("run_id", "finished_at")
    )


@dataclass(frozen=True)
class NextStep:
    """A step that the last completed run had and this one has not reached."""

    name: str
    seconds: float


def missing_steps(run: Run, history: History) -> list[NextStep]:
    """The steps that probably come next, in order; none if the runs are not alike.

    Two queries, and none for runs of very many steps.
    """
    if history.last_good is None or run.step_count >= _MAX_STEPS:
        return []
    done = set(Step.objects.filter(run_id=run.id).values_list("name", flat=True)[:_MAX_STEPS])
    last = Step.objects.filter(run_id=history.last_good.id, status=StepStatus.COMPLETED)
    rows = last.order_by("index").values_list("name", "started_at", "finished_at")[:_MAX_STEPS]
    names = {name for name, _, _ in rows}
    if len(done & names) * 2 < len(done):
        return []
    here = done | {run.current_step}
    return [
        NextStep(name, (end - start).total_seconds())
        for name, start, end in rows
        if name not in here
    ]


@dataclass(frozen=True)
class Comparison:
    """Words and the places of a small chart, in per cent of its width."""

    slower: bool
    sentence: str
    spread: Spread
    now: float
    low: float
    median: float
    p90: float
    limit: float  # seconds at the right edge
    is_over: bool

    @property
    def band(self) -> float:
        return max(self.p90 - self.low, 1.0)

    @property
    def now_anchor(self) -> str:
        """The class that keeps the word above the dot inside the chart."""
        if self.now > 85:
            return "end"
        return "mid" if self.now > 15 else ""

    @property
    def shows_median(self) -> bool:
        """Whether there is room for it between both ends of the axis."""
        return 25 < self.median < 70

    @property
    def chart_label(self) -> str:
        usual = f"Usually {duration(self.spread.low)} to {duration(self.spread.p90)}"
        here = "took" if self.is_over else "is at"
        seconds = self.now * self.limit / 100
        middle = f"median {duration(self.spread.median)}"
        return f"{usual}, {middle}; this run {here} {duration(seconds)}"


def compare(
    run: Run, history: History, seconds: float, at_step: AtStep | None
) -> Comparison | None:
    """This run against the last completed ones; None without any."""
    took = history.took
    if took is None:
        return None
    over = run.status == RunStatus.COMPLETED
    slower = is_slow(seconds, took)
    runs = last_runs(took.count)
    usual = duration(took.median)
    if took.count > 1:
        usual += f", 9 of 10 at most {duration(took.p90)}"
    if at_step and not over:
        slower = slower or is_slow(at_step.seconds, at_step.usual)
        sentence = (
            f"When {at_step.name} was done, {last_runs(at_step.usual.count)} had taken "
            f"{duration(at_step.usual.median)}; this one {duration(at_step.seconds)}."
        )
    elif over:
        sentence = f"It took {duration(seconds)}; {runs} took {usual}."
    else:
        sentence = f"After {duration(seconds)} it still runs; {runs} took {usual}."
    limit = max(took.longest, took.p90, seconds, 0.001) * 1.08
    return Comparison(
        slower,
        sentence,
        took,
        now=seconds / limit * 100,
        low=took.low / limit * 100,
        median=took.median / limit * 100,
        p90=took.p90 / limit * 100,
        limit=limit,
        is_over=over,
    )


@dataclass(frozen=True)
class AtStep:
    """When this run and the last completed ones had done a step, in seconds from the start."""

    name: str
    seconds: float
    usual: Spread


def is_slow(seconds: float, usual: Spread) -> bool:
    """Whether a duration is plainly beyond the usual."""
    return seconds > usual.p90 and seconds > 1.25 * usual.median and seconds - usual.median > 1


def last_runs(count: int) -> str:
    """``the last 12 completed runs``."""
    return f"the last {count} completed runs" if count > 1 else "the last completed run"
