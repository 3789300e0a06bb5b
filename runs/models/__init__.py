"""The tables: fields, constraints, indexes and read-only querysets.

What must never happen is forbidden here, by a constraint. Rows are written only by
``runs.engine``.
"""

from __future__ import annotations

from runs.models.access import ApiToken, DeniedAttempt
from runs.models.bulk import BulkAction, BulkItem, BulkKind, BulkStatus
from runs.models.job_events import JobEvent, JobEventKind
from runs.models.runs import (
    TERMINAL,
    EventKind,
    Job,
    Label,
    LogEntry,
    LogLevel,
    Run,
    RunEvent,
    RunQuerySet,
    RunStatus,
    Step,
    StepStatus,
    new_id,
)
from runs.models.statistics import Activity, Chore, FailureActivity, FailureGroup, Span
from runs.models.workers import Worker, WorkerQuerySet, reports_since

__all__ = [
    "TERMINAL",
    "Activity",
    "ApiToken",
    "BulkAction",
    "BulkItem",
    "BulkKind",
    "BulkStatus",
    "Chore",
    "DeniedAttempt",
    "EventKind",
    "FailureActivity",
    "FailureGroup",
    "Job",
    "JobEvent",
    "JobEventKind",
    "Label",
    "LogEntry",
    "LogLevel",
    "Run",
    "RunEvent",
    "RunQuerySet",
    "RunStatus",
    "Span",
    "Step",
    "StepStatus",
    "Worker",
    "WorkerQuerySet",
    "new_id",
    "reports_since",
]
