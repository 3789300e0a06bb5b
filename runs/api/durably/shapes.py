"""Runs and steps as the client reads them: its names, its status words, its times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from runs.models import Run, RunStatus, Step, StepStatus

#: A waiting run was claimed, keeps its key and isn't over: to this client it is still leased.
STATUS_WORDS = {
    RunStatus.PENDING: "pending",
    RunStatus.RUNNING: "leased",
    RunStatus.WAITING: "leased",
    RunStatus.COMPLETED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "cancelled",
}


def run_shape(run: Run, *, payloads: bool = True) -> dict[str, Any]:
    """A run; without ``payloads`` its input and output are null."""
    return {
        "id": str(run.pk),
        "jobName": run.job,
        "input": run.input if payloads else None,
        "status": STATUS_WORDS[RunStatus(run.status)],
        "currentStepIndex": run.step_count,
        "completedStepCount": run.step_count,
        "progress": progress_shape(run.progress),
        "output": run.output if payloads else None,
        "error": run.error,
        "labels": run.labels,
        "startedAt": iso(run.started_at),
        "completedAt": iso(run.finished_at),
        "createdAt": iso(run.created_at),
        "isTerminal": run.is_terminal,
        "isActive": not run.is_terminal,
    }


def step_shape(step: Step, index: int, *, payloads: bool = True) -> dict[str, Any]:
    """A step; without ``payloads`` its output is null."""
    return {
        "id": str(step.pk),
        "runId": str(step.run_id),
        "name": step.name,
        "index": index,
        "status": step.status,
        "output": step.output if payloads else None,
        "error": step.error,
        "startedAt": iso(step.started_at),
        "completedAt": iso(step.finished_at),
    }


def indexes(statuses: Iterable[str]) -> Iterator[int]:
    """The index of each step of a run, in order of their end.

    A failed one has none stored: it gets that of the step which would have come next.
    """
    completed = 0
    for status in statuses:
        yield completed
        completed += status == StepStatus.COMPLETED


def progress_shape(progress: dict[str, Any] | None) -> dict[str, Any] | None:
    """Progress; ``total`` and ``message`` only if there are any."""
    if progress is None:
        return None
    names = ("current", "total", "message")
    return {name: progress[name] for name in names if progress.get(name) is not None}


def iso(moment: datetime | None) -> str | None:
    """UTC with milliseconds and Z, as JavaScript writes it."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
