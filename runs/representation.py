"""Runs, steps, log lines, events and jobs as JSON-ready dicts, for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from runs.job_stats import JobStats
from runs.job_views import JobView
from runs.models import LogEntry, Run, RunEvent, Step


def run_summary(run: Run) -> dict[str, Any]:
    """A run without its payloads and traceback, as lists give it."""
    return {
        "id": str(run.pk),
        "job": run.job,
        "status": run.status,
        "error": _error(run, step=run.error_step),
        "labels": run.labels,
        "progress": run.progress,
        "attempt": run.attempt,
        "current_step": run.current_step,
        "step_count": run.step_count,
        "priority": run.priority,
        "run_at": iso(run.run_at),
        "idempotency_key": run.idempotency_key,
        "concurrency_key": run.concurrency_key,
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at),
        "finished_at": iso(run.finished_at),
        "duration_ms": _milliseconds(run.started_at, run.finished_at),
        "triggered_by": run.triggered_by,
        "parent_id": _text(run.parent_id),
        "source_id": _text(run.source_id),
    }


def run_detail(run: Run) -> dict[str, Any]:
    """A run with its payloads and traceback."""
    found = run_summary(run) | {"input": run.input, "output": run.output}
    if found["error"] is not None:
        found["error"]["traceback"] = run.error_traceback
    return found


def run_receipt(run: Run) -> dict[str, Any]:
    """What is said of a run to somebody who acted on it but may not see runs."""
    return {
        "id": str(run.pk),
        "job": run.job,
        "status": run.status,
        "attempt": run.attempt,
        "created_at": iso(run.created_at),
    }


def job_detail(job: JobView, stats: JobStats | None) -> dict[str, Any]:
    """A job with its schemas; with its numbers, unless they may not be shown."""
    return {
        "name": job.name,
        "title": job.title,
        "description": job.description,
        "tags": job.tags,
        "priority": job.priority,
        "input_schema": job.input_schema,
        "output_schema": job.output_schema,
        "source": job.source,
        "registered": job.registered,
        "paused_at": iso(job.paused_at),
        "paused_by": job.paused_by or None,
        "pause_reason": job.pause_reason or None,
        "statistics": None if stats is None else _statistics(stats),
    }


def step_detail(step: Step) -> dict[str, Any]:
    """A step with its result and traceback."""
    error = _error(step)
    if error is not None:
        error["traceback"] = step.error_traceback
    return {
        "name": step.name,
        "index": step.index,
        "status": step.status,
        "attempts": step.attempts,
        "output": step.output,
        "error": error,
        "started_at": iso(step.started_at),
        "finished_at": iso(step.finished_at),
        "duration_ms": _milliseconds(step.started_at, step.finished_at),
    }


def log_detail(entry: LogEntry) -> dict[str, Any]:
    """A log line."""
    return {
        "id": entry.pk,
        "step": entry.step,
        "level": entry.level,
        "message": entry.message,
        "data": entry.data,
        "created_at": iso(entry.created_at),
    }


def event_detail(event: RunEvent) -> dict[str, Any]:
    """Something that happened to a run."""
    return {
        "id": event.pk,
        "kind": event.kind,
        "actor": event.actor,
        "reason": event.reason,
        "data": event.data,
        "created_at": iso(event.created_at),
    }


def iso(moment: datetime | None) -> str | None:
    """ISO 8601, or None."""
    return None if moment is None else moment.isoformat()


def _statistics(stats: JobStats) -> dict[str, Any]:
    return {
        "completed": stats.completed,
        "failed": stats.failed,
        "success_rate": stats.completed / stats.ended if stats.ended else None,
        "ended_last_day": stats.last_day,
        "running": stats.running,
        "pending": stats.pending,
        "pending_is_all": stats.pending_is_all,
        "duration_ms_median": _in_milliseconds(stats.median),
        "duration_ms_p95": _in_milliseconds(stats.p95),
        "start_delay_ms_p95": _in_milliseconds(stats.delay_p95),
    }


def _error(of: Run | Step, **more: Any) -> dict[str, Any] | None:
    if of.error_type is None:
        return None
    return {"type": of.error_type, "message": of.error_message, **more}


def _milliseconds(start: datetime | None, end: datetime | None) -> int | None:
    if start is None or end is None:
        return None
    return _in_milliseconds((end - start).total_seconds())


def _in_milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
