"""What callers get, as schemas. ``runs.representation`` makes the values; tests compare both."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from runs.models import EventKind, LogLevel, RunStatus, StepStatus

_RUN_ID = "0199f2a4-7c1e-7b52-9d0a-3f6c1e8b7a90"
_MOMENT = "2026-11-22T14:30:00.123456+00:00"

_RECEIPT_EXAMPLE: dict[str, Any] = {
    "id": _RUN_ID,
    "job": "process-order",
    "status": "pending",
    "attempt": 1,
    "created_at": _MOMENT,
}
_RUN_EXAMPLE: dict[str, Any] = _RECEIPT_EXAMPLE | {
    "status": "failed",
    "input": {"order_id": "order_124"},
    "output": None,
    "error": {
        "type": "PaymentDeclinedError",
        "message": "The bank declined the payment for order_124",
        "traceback": "Traceback (most recent call last):\n  …",
        "step": "process-payment",
    },
    "labels": {"customer": "c04711"},
    "progress": {"current": 1, "total": 3, "message": "Fetched"},
    "current_step": None,
    "step_count": 1,
    "priority": 0,
    "run_at": None,
    "idempotency_key": None,
    "concurrency_key": None,
    "started_at": _MOMENT,
    "finished_at": _MOMENT,
    "duration_ms": 184,
    "triggered_by": "token:ci",
    "parent_id": None,
    "source_id": None,
}


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class FieldProblem(BaseModel):
    """One thing wrong with what was sent."""

    path: str = Field(description="Which field, such as `input.lines[0].count`.")
    message: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="Always `about:blank`: `code` says more.")
    title: str = Field(description="The status in words.")
    status: int
    code: str = Field(description="What went wrong, for programs, such as `invalid-input`.")
    detail: str = Field(description="What went wrong, for people.")
    errors: list[FieldProblem] = Field(
        default=[], description="Single fields that are wrong, if it is about fields."
    )


class StepError(BaseModel):
    """Why a step failed."""

    type: str = Field(description="The exception's class.")
    message: str | None
    traceback: str | None


class RunError(StepError):
    """Why a run failed."""

    step: str | None = Field(description="The step that raised it, if one did.")


class Progress(BaseModel):
    """What the run last said of how far it is."""

    current: float | str = Field(description="A text if the job gave something else.")
    total: float | str | None
    message: str | None


class Receipt(BaseModel):
    """What is said of a run to those who may not see runs."""

    model_config = _example(_RECEIPT_EXAMPLE)

    id: UUID
    job: str
    status: RunStatus
    attempt: int = Field(description="Counts retries, from 1.")
    created_at: datetime


class Run(Receipt):
    """One execution of a job."""

    model_config = _example(_RUN_EXAMPLE)

    input: Any = Field(description="As the job's `input_schema` made it.")
    output: Any = Field(description="What the job returned, once the run is completed.")
    error: RunError | None
    labels: dict[str, str]
    progress: Progress | None
    current_step: str | None = Field(description="The step that is being executed.")
    step_count: int = Field(description="Completed steps.")
    priority: int
    run_at: datetime | None = Field(description="Not before this time.")
    idempotency_key: str | None
    concurrency_key: str | None
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    triggered_by: str = Field(description="A user's name, `token:` and its name, or `code`.")
    parent_id: UUID | None = Field(description="The run whose step invoked this one.")
    source_id: UUID | None = Field(description="The run that this one repeats.")


class Disposition(BaseModel):
    """What came of a trigger."""

    disposition: Literal["created", "idempotent", "coalesced"] = Field(
        description="`created`; `idempotent`: the run that has the `idempotency_key`; "
        "`coalesced`: the pending run that has the `concurrency_key`."
    )


class TriggeredRun(Run, Disposition):
    """The run of a trigger."""

    model_config = _example(
        _RUN_EXAMPLE
        | {"status": "pending", "error": None, "started_at": None, "finished_at": None}
        | {"duration_ms": None, "progress": None, "step_count": 0, "disposition": "created"}
    )


class TriggerReceipt(Receipt, Disposition):
    """What is said of a trigger's run to those who may not see runs."""

    model_config = _example(_RECEIPT_EXAMPLE | {"disposition": "created"})


class BatchResult(BaseModel):
    """The runs of a batch, in the order of its items."""

    items: list[TriggeredRun | TriggerReceipt]


class RunPage(BaseModel):
    """Runs, newest first."""

    items: list[Run]
    next_cursor: str | None = Field(
        description="`cursor` of the next page; null if there are no more runs. A page may hold "
        "fewer runs than `limit`, even none, and still have a next one: when a search took its "
        "time, or the payloads of the runs are large."
    )


class Step(BaseModel):
    """A checkpoint."""

    model_config = _example(
        {
            "name": "fetch-order",
            "index": 0,
            "status": "completed",
            "attempts": 1,
            "output": {"id": "order_124", "total": 4200},
            "error": None,
            "started_at": _MOMENT,
            "finished_at": _MOMENT,
            "duration_ms": 52,
        }
    )

    name: str
    index: int | None = Field(description="Order of first completion; null if it has failed.")
    status: StepStatus
    attempts: int
    output: Any
    error: StepError | None
    started_at: datetime
    finished_at: datetime
    duration_ms: int


class StepPage(BaseModel):
    """Steps, in the order in which they ended."""

    items: list[Step]
    next_cursor: int | None = Field(description="`cursor` of the next page; null if this is all.")


class LogLine(BaseModel):
    """A line of a run's log."""

    model_config = _example(
        {
            "id": 4711,
            "step": None,
            "level": "info",
            "message": "Starting order processing",
            "data": {"order_id": "order_124"},
            "created_at": _MOMENT,
        }
    )

    id: int
    step: str | None = Field(description="The step that said it.")
    level: LogLevel
    message: str
    data: Any
    created_at: datetime


class LogPage(BaseModel):
    """Lines of a log, oldest first."""

    items: list[LogLine]
    next_after: int | None = Field(description="`after` of the next page; null if this is all.")


class HistoryEvent(BaseModel):
    """Something that happened to a run."""

    model_config = _example(
        {
            "id": 815,
            "kind": "retried",
            "actor": "ann",
            "reason": "the bank is back",
            "data": {"attempt": 2},
            "created_at": _MOMENT,
        }
    )

    id: int
    kind: EventKind
    actor: str = Field(description="Who did it: a user, a token, or `worker`.")
    reason: str
    data: Any
    created_at: datetime


class HistoryPage(BaseModel):
    """What happened to a run, oldest first."""

    items: list[HistoryEvent]
    next_after: int | None = Field(description="`after` of the next page; null if this is all.")


class JobStatistics(BaseModel):
    """How a job does."""

    completed: int = Field(description="Runs that completed in the last 7 days.")
    failed: int = Field(description="Runs that failed in the last 7 days.")
    success_rate: float | None = Field(description="Completed of both, from 0 to 1.")
    ended_last_day: int = Field(description="Runs that ended in the last 24 hours, in any way.")
    running: int
    pending: int = Field(description="Runs that could start now.")
    pending_is_all: bool = Field(description="False: at least so many; not all were counted.")
    duration_ms_median: int | None = Field(description="Of the last completed runs.")
    duration_ms_p95: int | None = Field(description="Of the last completed runs.")
    start_delay_ms_p95: int | None = Field(description="From when a run could start until it did.")


class Job(BaseModel):
    """A kind of run."""

    model_config = _example(
        {
            "name": "process-order",
            "title": "Process order",
            "description": "Charge an order and confirm it.",
            "tags": ["orders"],
            "priority": 0,
            "input_schema": {"type": "object", "properties": {"order_id": {"type": "string"}}},
            "output_schema": {"type": "object", "properties": {"success": {"type": "boolean"}}},
            "source": "jobs/process_order.py:42",
            "registered": True,
            "paused_at": None,
            "paused_by": None,
            "pause_reason": None,
            "statistics": {
                "completed": 981,
                "failed": 19,
                "success_rate": 0.981,
                "ended_last_day": 140,
                "running": 1,
                "pending": 0,
                "pending_is_all": True,
                "duration_ms_median": 180,
                "duration_ms_p95": 420,
                "start_delay_ms_p95": 15,
            },
        }
    )

    name: str
    title: str
    description: str
    tags: list[str]
    priority: int = Field(description="Of its runs, unless a trigger says otherwise.")
    input_schema: Any = Field(description="JSON schema of `input`; empty: any JSON.")
    output_schema: Any = Field(description="JSON schema of `output`; empty: any JSON.")
    source: str = Field(description="File and line of the handler.")
    registered: bool = Field(description="Still in the code, so that it can be triggered.")
    paused_at: datetime | None = Field(description="Since when its runs are not started.")
    paused_by: str | None
    pause_reason: str | None
    statistics: JobStatistics | None = Field(
        description="Null for callers who may see some runs only: it is about all of them."
    )


class JobList(BaseModel):
    """All jobs."""

    items: list[Job]


class Health(BaseModel):
    """All is well."""

    status: Literal["ok"]
