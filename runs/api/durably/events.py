"""What happens to runs, as the client hears of it.

In two forms. Whoever listens to one run gets the ``whole`` of it. The stream of all runs says
little more than what changed, as its listeners then ask for the list. Neither tells what the
requests beside it keep to themselves, such as who holds a lease.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.utils import timezone

from runs.api.durably.shapes import iso, progress_shape
from runs.live import Gone, Move, News, Record
from runs.models import EventKind, LogEntry, Run, RunEvent, RunStatus, Step, StepStatus

Message = dict[str, Any]

#: To the lists of clients, a run that is retried has come anew.
_TYPES = {
    EventKind.TRIGGERED: "run:trigger",
    EventKind.RETRIED: "run:trigger",
    EventKind.COALESCED: "run:coalesced",
    EventKind.STARTED: "run:leased",
    EventKind.TAKEN_OVER: "run:leased",
    EventKind.COMPLETED: "run:complete",
    EventKind.FAILED: "run:fail",
    EventKind.CANCELLED: "run:cancel",
}

#: Who listens to one run knows of it already.
_OF_LISTS_ALONE = ("run:trigger", "run:coalesced")

#: What brought a run to where it is.
_CAME_BY = {
    RunStatus.PENDING: "run:trigger",
    RunStatus.RUNNING: "run:leased",
    RunStatus.WAITING: "run:leased",
    RunStatus.COMPLETED: "run:complete",
    RunStatus.FAILED: "run:fail",
    RunStatus.CANCELLED: "run:cancel",
}


def of_news(news: News, *, whole: bool) -> Iterator[tuple[int | None, Message]]:
    """Messages, those of rows with their ``seq``. A run's last progress comes before its end."""
    moves = {move.run.pk: move for move in news.moves}
    for record in news.records:
        if record.is_end and not record.is_superseded and record.run.pk in moves:
            yield from ((None, each) for each in _of_move(moves.pop(record.run.pk), whole=whole))
        message = _of_record(record, whole=whole)
        if message is not None:
            yield record.seq, message
    for move in moves.values():
        yield from ((None, each) for each in _of_move(move, whole=whole))


def _of_record(record: Record, *, whole: bool) -> Message | None:
    """A row of a run's stream; None for what the client has no word for."""
    row = record.row
    if isinstance(row, LogEntry):
        return log_line(row, record.run, whole=whole)
    if isinstance(row, Step):
        return _step(row, record.run, whole=whole)
    return _event(row, record, whole=whole)


def _of_move(move: Move, *, whole: bool) -> Iterator[Message]:
    run = move.run
    if move.progress and run.progress is not None:
        yield progress(run, whole=whole)
    if move.step and run.current_step is not None:
        step: Message = {"stepName": run.current_step, "stepIndex": run.step_count}
        yield _message("step:start", run, whole=whole, **step)


def of_gone(gone: Gone, *, whole: bool) -> Message:
    """A run that was deleted. Its job and labels may not be known any more."""
    run = Run(pk=gone.run, job=gone.job or "", labels=gone.labels or {})
    return _message("run:delete", run, whole=whole)


def leased(run: Run) -> Message:
    """That the run has been claimed."""
    return _message("run:leased", run, whole=True, input=run.input)


def ending(run: Run) -> Message:
    """How the run, which is over, has ended."""
    type = _CAME_BY[RunStatus(run.status)]
    return _message(type, run, run.seq, run.finished_at, whole=True, **_outcome(run))


def state(run: Run) -> Message:
    """How the run is, as the last that happened to it, for lists."""
    return _message(_CAME_BY[RunStatus(run.status)], run, whole=False)


def progress(run: Run, *, whole: bool) -> Message:
    """The run's progress, which it must have."""
    return _message("run:progress", run, whole=whole, progress=progress_shape(run.progress))


def log_line(line: LogEntry, run: Run, *, whole: bool) -> Message:
    """A line of the run's log."""
    shape = {
        "stepName": line.step,
        "level": line.level,
        "message": line.message,
        "data": line.data,
    }
    return _message("log:write", run, line.seq, line.created_at, whole=whole, **shape)


def _step(step: Step, run: Run, *, whole: bool) -> Message:
    completed = step.status == StepStatus.COMPLETED
    shape: Message = {
        "stepName": step.name,
        # A failed step has none: that of the step which would have come next.
        "stepIndex": run.step_count if step.index is None else step.index,
    }
    if not completed:
        shape["error"] = step.error
    elif whole:
        shape["output"] = step.output
        shape["duration"] = _milliseconds(step.started_at, step.finished_at)
    type = "step:complete" if completed else "step:fail"
    return _message(type, run, step.seq, step.finished_at, whole=whole, **shape)


def _event(event: RunEvent, record: Record, *, whole: bool) -> Message | None:
    type = _TYPES.get(EventKind(event.kind))
    if type is None or (whole and type in _OF_LISTS_ALONE):
        return None
    run = record.run
    shape: Message = {}
    if type == "run:coalesced":
        shape["skippedLabels"] = (event.data or {}).get("skipped_labels", {})
    elif whole and record.status == RunStatus.RUNNING:
        shape["input"] = run.input
    elif whole and record.is_end:
        shape = _past_failure(event) if record.is_superseded else _outcome(run)
    return _message(type, run, event.seq, event.created_at, whole=whole, **shape)


def _outcome(run: Run) -> Message:
    if run.status == RunStatus.COMPLETED:
        return {"output": run.output, "duration": _milliseconds(run.started_at, run.finished_at)}
    if run.status == RunStatus.FAILED:
        return {"error": run.error, "failedStepName": run.error_step or "unknown"}
    return {}


def _past_failure(event: RunEvent) -> Message:
    """Of a run that has been retried since: what its history keeps of it."""
    if event.kind != EventKind.FAILED:
        return {}
    data = event.data or {}
    return {"error": data.get("error", ""), "failedStepName": data.get("step") or "unknown"}


def _message(
    type: str,
    run: Run,
    sequence: int = 0,
    moment: datetime | None = None,
    *,
    whole: bool,
    **shape: Any,
) -> Message:
    """What all messages have, and what this one has. Without a moment it is of now."""
    message: Message = {"type": type, "runId": str(run.pk), "jobName": run.job}
    message |= {"labels": run.labels, **shape}
    if whole:
        message |= {"timestamp": iso(moment or timezone.now()), "sequence": sequence}
    return message


def _milliseconds(start: datetime | None, end: datetime | None) -> int:
    return round((end - start).total_seconds() * 1000) if start and end else 0
