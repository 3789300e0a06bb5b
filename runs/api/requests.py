"""What callers send, as schemas: bodies and the parameters of lists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest, QueryDict
from ninja import Path
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)

from runs.engine.triggers import MAX_KEY, MAX_LABEL_KEY, MAX_LABELS, BatchItem
from runs.errors import FieldError, ValidationError
from runs.filters import RunFilters, parse_filters
from runs.models import RunStatus
from runs.payloads import clean_text

MAX_BATCH = 1_000
MAX_REASON = 1_000
MAX_LIMIT = 200
DEFAULT_LIMIT = 50
MAX_LINES = 1_000

#: Ids in the database are signed 64-bit integers.
_MAX_ID = 2**63 - 1


def _storable(text: str) -> str:
    if clean_text(text) != text:
        raise ValueError("holds a character that can't be stored")
    return text


def _iso_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 text with a time zone")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies beyond the years that can be stored") from None


Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY), AfterValidator(_storable)]
LabelKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_LABEL_KEY, pattern=r"^[A-Za-z0-9._/-]+$"),
]
LabelValue = Annotated[str, Field(max_length=MAX_KEY), AfterValidator(_storable)]
Moment = Annotated[AwareDatetime, BeforeValidator(_iso_text), AfterValidator(_in_utc)]

RunId = Annotated[
    str, WithJsonSchema({"type": "string", "format": "uuid"}), Path(description="The run's `id`.")
]
JobName = Annotated[str, Path(description="The job's `name`.")]

#: Of a parameter that is there; left out, it is empty.
_Given = Annotated[str, Field(min_length=1)]
_RowId = Annotated[int, Field(ge=0, le=_MAX_ID)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TriggerBody(_Body):
    """A run to be made. Every field may be left out."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "input": {"order_id": "order_123"},
                    "labels": {"customer": "c04711"},
                    "idempotency_key": "order_123-paid",
                }
            ]
        },
    )

    input: Any = Field(
        None, description="The job's input, by its `input_schema`. Left out, it is `null`."
    )
    labels: dict[LabelKey, LabelValue] | None = Field(
        None,
        max_length=MAX_LABELS,
        description="Text to text, to find runs by. Fixed once the run is made.",
    )
    idempotency_key: Key | None = Field(
        None, description="If a run of this job has this key already, that one is the answer."
    )
    concurrency_key: Key | None = Field(
        None, description="Of all runs with this key, over all jobs, at most one is running."
    )
    coalesce: Literal["skip"] | None = Field(
        None,
        description="`skip`: if a run of this job with this `concurrency_key` is pending, that one "
        "is the answer. Otherwise that is a conflict.",
    )
    priority: Annotated[StrictInt, Field(ge=-32768, le=32767)] | None = Field(
        None, description="Higher runs first. Left out, it is the job's own."
    )
    run_at: Moment | None = Field(
        None, description="Not before this time, which must have an offset or be in UTC (`Z`)."
    )

    def item(self) -> BatchItem:
        """As the engine takes it."""
        return BatchItem(
            input=self.input,
            labels=self.labels,
            idempotency_key=self.idempotency_key,
            concurrency_key=self.concurrency_key,
            coalesce=self.coalesce,
            priority=self.priority,
            run_at=self.run_at,
        )


class BatchBody(_Body):
    """Runs to be made together: all of them, or none."""

    items: list[TriggerBody] = Field(max_length=MAX_BATCH, description="In this order.")


class ReasonBody(_Body):
    """Why it is done."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "the bank is back"}]}
    )

    reason: Annotated[str, AfterValidator(_storable)] = Field(
        "", max_length=MAX_REASON, description="Kept in the run's history, for people."
    )


class EmptyBody(_Body):
    """Nothing to say; the body may be left out."""


class FilterQuery(BaseModel):
    """The filters of the run list."""

    status: list[RunStatus] = Field([], description="Runs in one of these states. Repeatable.")
    job: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        [], description="Runs of one of these jobs. Repeatable."
    )
    label: list[Annotated[str, Field(min_length=1)]] = Field(
        [],
        description="Runs with this label, `key:value`. Repeatable: a run needs all of them.",
        json_schema_extra={"example": ["customer:c04711"]},
    )
    q: str = Field(
        "",
        max_length=200,
        description="Runs with this text in their id, keys, labels, error, input or output.",
    )
    since: _Given = Field(
        default_factory=str,
        description="Runs made at this time or later: a date, a time, or an age such as `24h`.",
        json_schema_extra={"example": "2026-11-22T14:30:00Z"},
    )
    until: _Given = Field(
        default_factory=str,
        description="Runs made at this time or earlier: a date, a time, or an age.",
        json_schema_extra={"example": "2026-11-23"},
    )
    failure: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] = Field(
        default_factory=str,
        description="Failed runs of one kind, by the id in the address of its page.",
    )


class RunQuery(FilterQuery):
    """The filters of the run list, and which page of it."""

    cursor: _Given = Field(
        default_factory=str, description="`next_cursor` of the page before. None: the newest runs."
    )
    limit: int = Field(
        DEFAULT_LIMIT,
        ge=1,
        le=MAX_LIMIT,
        description="At most so many runs. A page may hold fewer; `next_cursor` says if there "
        "may be more.",
    )


class EventsQuery(FilterQuery):
    """Which runs to follow, and from where."""

    after: str = Field(
        "", description="The `id` of a message, to go on after it. `0`: from the beginning."
    )


class RunEventsQuery(BaseModel):
    """From where to follow a run."""

    after: str = Field(
        "", description="The `id` of a message, to go on after it. `0`: from the beginning."
    )


class LinesQuery(BaseModel):
    """Which lines of a log or a history."""

    after: _RowId = Field(0, description="Only lines with a higher `id`; `next_after`, to go on.")
    limit: int = Field(MAX_LIMIT, ge=1, le=MAX_LINES, description="At most so many lines.")


class StepsQuery(BaseModel):
    """Which steps of a run."""

    cursor: _RowId = Field(0, description="`next_cursor` of the page before.")
    limit: int = Field(MAX_LINES, ge=1, le=MAX_LINES, description="At most so many steps.")


def filters_of(request: HttpRequest) -> RunFilters:
    """The filters. Raises ValidationError that names each parameter that makes no sense."""
    found = []
    for name in request.GET:
        alone = QueryDict(mutable=True)
        alone.setlist(name, request.GET.getlist(name))
        found += [FieldError(name, problem) for problem in parse_filters(alone).problems]
    if found:
        raise ValidationError.from_fields("The query", tuple(found))
    return parse_filters(request.GET)
