"""Runs as text, for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone

from runs.management.following import compact, log_line, printable, progress_line
from runs.models import Run

_LOG_TAIL = 20
_ERROR_WIDTH = 60


def table(runs: Iterable[Run]) -> Iterator[str]:
    """A line for each run, under a heading."""
    rows = [("ID", "STATUS", "JOB", "TRY", "CREATED", "TOOK", "")]
    rows += [
        (
            str(run.pk),
            run.status,
            run.job,
            str(run.attempt),
            clock(run.created_at),
            took(run),
            _remark(run),
        )
        for run in runs
    ]
    yield from columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines, their cells below each other; the last one is as long as it is."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        yield printable("  ".join([*cells, row[-1]]).rstrip())


def describe(run: Run) -> Iterator[str]:
    """All of a run that fits a screen: facts, steps, history, the end of the log, the error."""
    for name, value in _facts(run):
        yield printable(f"{name + ':':<17}{value}")
    yield from _section("Steps", _steps(run))
    yield from _section("History", _history(run))
    newest = list(run.logs.order_by("-id")[:_LOG_TAIL])
    yield from _section(f"Log (the last {_LOG_TAIL} lines)", map(log_line, reversed(newest)))
    if run.error_traceback:
        yield from _section("Traceback", map(printable, run.error_traceback.splitlines()))


def clock(moment: datetime) -> str:
    """A time in TIME_ZONE, to the second."""
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")


def took(run: Run) -> str:
    """How long a run took, or empty if it is not over."""
    if run.started_at is None or run.finished_at is None:
        return ""
    return f"{(run.finished_at - run.started_at).total_seconds():,.1f} s"


def _facts(run: Run) -> Iterator[tuple[str, Any]]:
    labels = ", ".join(f"{key}={value}" for key, value in run.labels.items())
    yield "Run", run.pk
    yield "Job", run.job
    yield "Status", run.status
    optional = {
        "Error": run.error,
        "Progress": progress_line(run.progress) if run.progress else None,
        "Current step": run.current_step,
        "Labels": labels,
        "Idempotency key": run.idempotency_key,
        "Concurrency key": run.concurrency_key,
        "Priority": run.priority or None,
        "Not before": run.run_at and clock(run.run_at),
        "Repeats": run.source_id,
        "Started": run.started_at and clock(run.started_at),
        "Finished": run.finished_at and clock(run.finished_at),
        "Took": took(run),
    }
    yield "Attempt", run.attempt
    yield "Created", f"{clock(run.created_at)} by {run.triggered_by}"
    yield from ((name, value) for name, value in optional.items() if value not in (None, ""))
    yield "Input", compact(run.input)
    if run.output is not None:
        yield "Output", compact(run.output)


def _steps(run: Run) -> Iterator[str]:
    for step in run.steps.order_by("seq"):
        seconds = (step.finished_at - step.started_at).total_seconds()
        number = "-" if step.index is None else str(step.index)
        ending = step.error or compact(step.output, 80)
        yield printable(f"{number:>4}  {step.status:<9}  {seconds:8.2f} s  {step.name}  {ending}")


def _history(run: Run) -> Iterator[str]:
    for event in run.events.order_by("id"):
        reason = f": {event.reason}" if event.reason else ""
        happened = f"{event.get_kind_display()} by {event.actor}{reason}"
        yield printable(f"{clock(event.created_at)}  {happened}")


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in found)


def _remark(run: Run) -> str:
    remark = run.error or run.current_step or ""
    if run.error is None and run.progress:
        remark = progress_line(run.progress)
    first = remark.splitlines()[0] if remark else ""
    return first if len(first) <= _ERROR_WIDTH else first[: _ERROR_WIDTH - 1] + "…"
