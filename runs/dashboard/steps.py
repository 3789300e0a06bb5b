"""A run's steps as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.http import urlencode

from runs.dashboard.eta import find_start
from runs.dashboard.format import duration
from runs.dashboard.logs import LogFilter, Stretch, lines_around, load_log
from runs.dashboard.payload import Payload, load_payload
from runs.dashboard.query import text_of, whole_of
from runs.dashboard.timeline import Gap, Timeline
from runs.dashboard.usual import NextStep, Spread, is_slow
from runs.models import EventKind, Run, RunEvent, RunStatus, Step, StepStatus

Span = tuple[datetime, datetime]

PAGE_SIZE = 25
_LATEST = 12  # of more than a page, so that what comes below is in sight
_MAX_FAILED = 5
_MAX_NEXT = 3
_KEPT = ("steps", "idle", "frames", "steps_before", "steps_after")


@dataclass(frozen=True)
class StepView:
    """Which steps are asked for and how, from the address."""

    selected: str | None = None
    before: int | None = None
    after: int | None = None
    as_table: bool = False
    show_idle: bool = False
    kept: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, query: QueryDict) -> StepView:
        kept = {name: value for name in _KEPT if (value := query.get(name))}
        return cls(
            text_of(query, "step") or None,
            whole_of(query, "steps_before"),
            whole_of(query, "steps_after"),
            query.get("steps") == "table",
            query.get("idle") == "show",
            kept,
        )

    def link(self, **changed: str | int | None) -> str:
        """An address of this page that keeps the rest of the view."""
        found: dict[str, str | int | None] = {**self.kept, "step": self.selected, **changed}
        return "?" + urlencode({name: value for name, value in found.items() if value})

    def without_place(self, **changed: str | int | None) -> str:
        """A link to another stretch of the steps."""
        return self.link(**{"steps_before": None, "steps_after": None, **changed})

    @property
    def table_link(self) -> str:
        return self.link(steps=None if self.as_table else "table")

    @property
    def idle_link(self) -> str:
        return self.link(idle=None if self.show_idle else "show")

    @property
    def all_frames_link(self) -> str:
        return self.link(frames="all")

    @property
    def few_frames_link(self) -> str:
        return self.link(frames=None)

    @property
    def newest_link(self) -> str:
        return self.without_place()

    @property
    def close_link(self) -> str:
        return self.link(step=None)


@dataclass(frozen=True)
class Bar:
    """A place on the line of time, as SVG attributes."""

    x: str
    width: str
    end: str


@dataclass(frozen=True)
class StepRow:
    """A line of the step list."""

    name: str
    status: str
    took: str
    x: str
    width: str
    selected: bool
    link: str
    attempts: int = 1
    started_at: datetime | None = None
    seconds: float = 0.0
    failures: tuple[Bar, ...] = ()  # attempts that failed before
    usual: Spread | None = None

    @property
    def is_slow(self) -> bool:
        return self.usual is not None and is_slow(self.seconds, self.usual)


@dataclass(frozen=True)
class StepList:
    """A stretch of the steps, the time they span, and where the others are."""

    rows: list[StepRow]
    failed: list[StepRow]  # failed steps that lie before the stretch
    gaps: list[Gap]
    start: datetime | None
    end: datetime | None
    earlier: str | None  # links to the steps before and after
    later: str | None
    has_idle_time: bool
    next: list[NextStep] = field(default_factory=list)

    @property
    def shown(self) -> list[StepRow]:
        return self.failed + self.rows

    @property
    def more_next(self) -> int:
        return max(0, len(self.next) - _MAX_NEXT)

    @property
    def next_few(self) -> list[NextStep]:
        return self.next[:_MAX_NEXT]


def _steps(run: Run) -> QuerySet[Step]:
    return Step.objects.filter(run_id=run.id).defer("output", "error_message", "error_traceback")


def load_steps(run: Run, view: StepView, events: Sequence[RunEvent] = ()) -> StepList:
    """A stretch of steps in the order in which they ended, the running one last."""
    shown, earlier, later = _load_stretch(run, view)
    failed: list[Step] = []
    if earlier is not None and not view.before and not view.after:
        before = _steps(run).filter(status=StepStatus.FAILED, seq__lt=earlier)
        failed = list(before.order_by("-seq")[:_MAX_FAILED])[::-1]
    current = None if later is not None else _running_since(run, shown, events)
    now = timezone.now()
    spans = [(step.started_at, step.finished_at) for step in failed + shown]
    if current:
        spans.append((current[1], now))
    marks = _failures(events, failed + shown)
    start = min((begin for begin, _ in spans), default=None)
    end = max((end for _, end in spans), default=None)
    seen = [span for found in marks.values() for span in found]
    line = Timeline(spans + seen, fold=not view.show_idle)
    rows = [_row(step, line, view, marks.get(step.name, ())) for step in shown]
    if current:
        tried = next((row.attempts for row in rows if row.name == current[0]), 0)
        rows = [row for row in rows if row.name != current[0]]
        running = _running_row(*current, now, line, view, marks.get(current[0], ()))
        rows.append(replace(running, attempts=tried + 1))
    return StepList(
        rows,
        [_row(step, line, view, marks.get(step.name, ())) for step in failed],
        line.gaps,
        min([start, *(begin for begin, _ in seen)]) if start else None,
        end,
        view.without_place(steps_before=earlier) if earlier is not None else None,
        view.without_place(steps_after=later) if later is not None else None,
        line.has_idle_time,
    )


def _load_stretch(run: Run, view: StepView) -> tuple[list[Step], int | None, int | None]:
    """The steps, and the ``seq`` to go on from to earlier and to later ones."""
    rows = _steps(run)
    if view.after:
        found = list(rows.filter(seq__gt=view.after).order_by("seq")[: PAGE_SIZE + 1])
        shown = found[:PAGE_SIZE]
        later = shown[-1].seq if len(found) > PAGE_SIZE else None
        return shown, (shown[0].seq if shown else None), later
    if view.before:
        rows = rows.filter(seq__lt=view.before)
    found = list(rows.order_by("-seq")[: PAGE_SIZE + 1])
    size = _LATEST if len(found) > PAGE_SIZE and not view.before else PAGE_SIZE
    shown = found[:size][::-1]
    earlier = shown[0].seq if len(found) > PAGE_SIZE else None
    return shown, earlier, (shown[-1].seq if shown and view.before else None)


def _failures(events: Sequence[RunEvent], steps: Sequence[Step]) -> dict[str, list[Span]]:
    """When attempts of the run failed in these steps, before the try that is stored.

    Such a try began after its attempt did, and after the step that ended last before it.
    """
    starts = {step.name: step.started_at for step in steps}
    found: dict[str, list[Span]] = {}
    began = None
    for event in reversed(events):
        if event.kind in (EventKind.STARTED, EventKind.TAKEN_OVER):
            began = event.created_at
        name = event.data.get("step") if isinstance(event.data, dict) else None
        if event.kind != EventKind.FAILED or name not in starts:
            continue
        failed_at = event.created_at
        if failed_at < starts[name]:
            ends = [step.finished_at for step in steps if step.finished_at < failed_at]
            since = max([began or failed_at, *ends])
            found.setdefault(name, []).append((min(since, failed_at), failed_at))
    return found


def _bars(line: Timeline, failures: Sequence[Span]) -> tuple[Bar, ...]:
    return tuple(Bar(*line.bar(start, end), line.place(end)) for start, end in failures)


def _running_since(
    run: Run, steps: Sequence[Step], events: Sequence[RunEvent]
) -> tuple[str, datetime] | None:
    """The step that runs now and about when it began: when the last one ended."""
    if run.status != RunStatus.RUNNING or not run.current_step or run.lease_owner is None:
        return None
    ends = [step.finished_at for step in steps if step.name != run.current_step]
    start = find_start(run, events)
    since = max([*ends, start.at if start else run.created_at])
    return run.current_step, since


def _row(step: Step, line: Timeline, view: StepView, failures: Sequence[Span]) -> StepRow:
    x, width = line.bar(step.started_at, step.finished_at)
    seconds = (step.finished_at - step.started_at).total_seconds()
    return StepRow(
        step.name,
        step.status,
        duration(seconds),
        x,
        width,
        step.name == view.selected,
        view.link(step=step.name),
        step.attempts,
        step.started_at,
        seconds,
        _bars(line, failures),
    )


def _running_row(
    name: str,
    since: datetime,
    now: datetime,
    line: Timeline,
    view: StepView,
    failures: Sequence[Span],
) -> StepRow:
    x, width = line.bar(since, now)
    seconds = (now - since).total_seconds()
    return StepRow(
        name,
        "running",
        duration(seconds),
        x,
        width,
        name == view.selected,
        view.link(step=name),
        started_at=since,
        seconds=seconds,
        failures=_bars(line, failures),
    )


def with_usual(steps: StepList, usual: dict[str, Spread]) -> StepList:
    """The same list, with what is usual beside what it took."""
    rows = [replace(row, usual=usual.get(row.name)) for row in steps.rows]
    failed = [replace(row, usual=usual.get(row.name)) for row in steps.failed]
    return replace(steps, rows=rows, failed=failed)


@dataclass(frozen=True)
class StepDetail:
    """The selected step."""

    name: str
    step: Step | None  # None while it runs for the first time
    running: bool
    output: Payload | None
    log: Stretch
    failures: list[RunEvent]
    usual: Spread | None

    @property
    def seconds(self) -> float | None:
        if self.step is None:
            return None
        return (self.step.finished_at - self.step.started_at).total_seconds()

    @property
    def is_slow(self) -> bool:
        return bool(self.usual and self.seconds is not None and is_slow(self.seconds, self.usual))


def load_step(
    run: Run, name: str, events: Sequence[RunEvent] = (), usual: Spread | None = None
) -> StepDetail | None:
    """The step of that name with its result and log; None if there is none."""
    rows = Step.objects.filter(run_id=run.id, name=name)
    step = rows.defer("output").first()
    running = run.status == RunStatus.RUNNING and run.current_step == name
    if step is None and not running:
        return None
    output = load_payload(rows, "output") if step and step.error_type is None else None
    failures = [
        event
        for event in events
        if event.kind == EventKind.FAILED
        and isinstance(event.data, dict)
        and event.data.get("step") == name
    ]
    log = _load_log(run, step, name, events)
    return StepDetail(name, step, running, output, log, failures, usual)


def _load_log(run: Run, step: Step | None, name: str, events: Sequence[RunEvent]) -> Stretch:
    """The lines of a step, looked for only where they can be if it was executed once."""
    start = find_start(run, events)
    after = before = None
    if step and step.attempts == 1 and start and start.fresh:
        after, before = lines_around(run, step.started_at, step.finished_at)
    return load_log(run, after=after, before=before, only=LogFilter(step=name), limit=100)
