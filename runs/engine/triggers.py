"""Making runs: trigger and batch trigger."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import F
from django.utils import timezone

from runs import conf, signals
from runs.engine import database, history, inserts, wakeups
from runs.errors import ConflictError, ValidationError
from runs.models import EventKind, Label, Run, RunStatus, new_id
from runs.payloads import JSONText, clean_text, dumps, loads
from runs.registry import JobDefinition, check_priority, get_job

MAX_KEY = 255
MAX_LABELS = 50
MAX_LABEL_KEY = 100
_LABEL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./")

_LABELS_AND_HISTORY = """
    labels AS (
        INSERT INTO runs_label (run_id, key, value)
        SELECT id, label.key, label.value
        FROM inserted, unnest(%s::text[], %s::text[]) AS label(key, value)
    ),
    told AS (
        INSERT INTO runs_runevent (run_id, kind, actor, reason, data, created_at, seq)
        SELECT id, %s, %s, %s, %s, %s, seq FROM inserted
    )
"""

#: A racing claim can take the pending run between the refused insert and the look for it.
_INSERT_TRIES = 5


@dataclass(frozen=True)
class BatchItem:
    """One item of a batch: an input with options of its own; see ``trigger``."""

    input: Any = None
    labels: Mapping[str, str] | None = None
    idempotency_key: str | None = None
    concurrency_key: str | None = None
    coalesce: str | None = None
    priority: int | None = None
    run_at: datetime | None = None


@dataclass(frozen=True)
class _Order:
    """A validated trigger."""

    definition: JobDefinition
    item: BatchItem
    input: JSONText
    labels: dict[str, str]


def trigger(  # noqa: PLR0913 (the options of a run)
    job: JobDefinition | str,
    input: Any = None,
    *,
    labels: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
    concurrency_key: str | None = None,
    coalesce: str | None = None,
    priority: int | None = None,
    run_at: datetime | None = None,
    actor: Any = None,
    source_id: UUID | None = None,
) -> Run:
    """Store a pending run and return at once; it belongs to the caller's transaction.

    ``run.disposition`` says what came of it: ``created``; ``idempotent`` if a run of this
    job has the ``idempotency_key``; ``coalesced`` if ``coalesce="skip"`` and a pending run
    of this job has the ``concurrency_key``. ``run_at`` is an aware datetime; ``actor`` is
    a user or a text for the history; ``source_id`` is the run that this one repeats.

    Raises NotFoundError, ValidationError with field paths, ConflictError for a second
    pending run of one job and concurrency key.
    """
    definition = get_job(job) if isinstance(job, str) else job
    item = BatchItem(input, labels, idempotency_key, concurrency_key, coalesce, priority, run_at)
    order = _validate(definition, item)
    who = history.describe_actor(actor)
    with database.write(alone=True):
        run = _store(order, who, source_id=source_id)
        wakeups.ring()
    _announce([run], who, [order])
    return run


def batch_trigger(
    job: JobDefinition | str, items: Iterable[Any | BatchItem], *, actor: Any = None
) -> list[Run]:
    """Trigger many runs of one job, all or nothing; the runs in the order of the items.

    All inputs are validated before any run is stored; the error names the item's number.
    Raises what ``trigger`` raises.
    """
    definition = get_job(job) if isinstance(job, str) else job
    orders = []
    for number, item in enumerate(items):
        try:
            wrapped = item if isinstance(item, BatchItem) else BatchItem(item)
            orders.append(_validate(definition, wrapped))
        except ValidationError as error:
            raise type(error)(f"Item {number}: {error}", error.errors) from error
    who = history.describe_actor(actor)
    with database.write():
        # Another batch may have the same keys in another order.
        database.take_turns(name for order in orders for name in _unique_names(order))
        runs = [_store(order, who) for order in orders]
        wakeups.ring(len(runs))
    _announce(runs, who, orders)
    return runs


def repeat(run: Run, definition: JobDefinition, actor: str, reason: str) -> Run:
    """Store a new run like ``run``: same job, input, labels, key and priority; linked to it.

    Raises ConflictError if a pending run has its key, ValidationError if the input does
    not fit today's schema. Call inside a transaction.
    """
    item = BatchItem(
        input=run.input,
        labels=run.labels,
        concurrency_key=run.concurrency_key,
        priority=run.priority,
    )
    order = _validate(definition, item)
    copy = _store(order, actor, source_id=run.pk, reason=reason)
    wakeups.ring()
    _announce([copy], actor, [order])
    return copy


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels, if they are text to text with keys of letters, digits and ``-_./``.

    Raises ValidationError that names the key.
    """
    if not isinstance(labels, Mapping):
        raise ValidationError("labels must be a mapping of text to text")
    if len(labels) > MAX_LABELS:
        raise ValidationError(f"labels: at most {MAX_LABELS}, not {len(labels)}")
    for key, value in labels.items():
        if not isinstance(key, str) or not 0 < len(key) <= MAX_LABEL_KEY:
            raise ValidationError(f"labels: key {key!r} must be 1 to {MAX_LABEL_KEY} characters")
        if not _LABEL_CHARACTERS.issuperset(key):
            raise ValidationError(
                f"labels: key {key!r} may have only letters, digits, '-', '_', '.' and '/'"
            )
        if not isinstance(value, str) or len(value) > MAX_KEY or clean_text(value) != value:
            raise ValidationError(
                f"labels.{key}: must be a text of at most {MAX_KEY} storable characters, "
                f"not {value!r}"
            )
    return dict(labels)


def _validate(definition: JobDefinition, item: BatchItem) -> _Order:
    if item.coalesce not in (None, "skip"):
        raise ValidationError(f"coalesce must be 'skip' or nothing, not {item.coalesce!r}")
    if item.coalesce and item.concurrency_key is None:
        raise ValidationError("coalesce needs a concurrency_key")
    _check_key("idempotency_key", item.idempotency_key)
    _check_key("concurrency_key", item.concurrency_key)
    if item.priority is not None:
        try:
            check_priority(item.priority)
        except ValueError as error:
            raise ValidationError(str(error)) from error
    if item.run_at is not None and (
        not isinstance(item.run_at, datetime) or timezone.is_naive(item.run_at)
    ):
        raise ValidationError(f"run_at must be a datetime with a time zone, not {item.run_at!r}")
    labels = check_labels({} if item.labels is None else item.labels)
    return _Order(definition, item, definition.parse_input(item.input), labels)


def _unique_names(order: _Order) -> Iterator[str]:
    """What no two runs may have: the job's name with either key."""
    for key in (order.item.idempotency_key, order.item.concurrency_key):
        if key is not None:
            yield f"{order.definition.name} {key}"


def _check_key(name: str, key: object) -> None:
    if key is None:
        return
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY or clean_text(key) != key:
        raise ValidationError(
            f"{name} must be a text of 1 to {MAX_KEY} storable characters, not {key!r}"
        )


def _store(order: _Order, actor: str, *, source_id: UUID | None = None, reason: str = "") -> Run:
    for _ in range(_INSERT_TRIES):
        run = _new_run(order, actor, source_id)
        if _insert(run, order.labels, actor, reason):
            run.disposition = "created"
            run.input, run.labels = loads(order.input), order.labels
            return run
        existing = _existing(order, actor)
        if existing is not None:
            return existing
    raise ConflictError(
        f"Runs of {order.definition.name} with key {order.item.concurrency_key!r} start and end "
        "too fast to queue another one behind them; try again."
    )


def _insert(run: Run, labels: dict[str, str], actor: str, reason: str) -> bool:
    """Store a run, its labels and the first of its history; False if there is another instead."""
    data = {"source": str(run.source_id)} if run.source_id else None
    if database.is_sqlite():
        if not inserts.insert_unless_conflict(run):
            return False
        Label.objects.bulk_create(Label(run=run, key=k, value=v) for k, v in labels.items())
        history.record(run, EventKind.TRIGGERED, actor, reason=reason, data=data)
        return True
    return inserts.insert_with(
        run,
        # Due at once by the database's clock: this machine's may be ahead of it.
        now=() if run.queued_at > run.created_at else ("queued_at", "due_at"),
        more=_LABELS_AND_HISTORY,
        params=(
            *(list(labels), list(labels.values())),
            *(EventKind.TRIGGERED.value, actor, clean_text(reason)),
            *(None if data is None else dumps(data), run.created_at),
        ),
    )


def _new_run(order: _Order, actor: str, source_id: UUID | None) -> Run:
    item, definition = order.item, order.definition
    now = database.utc_now()
    if item.run_at is not None and item.run_at > now:
        queued_at = item.run_at
    else:  # SQLite's clock has milliseconds: finer, and the run would not be due at once
        queued_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
    given = {
        "id": new_id(),
        "job": definition.name,
        "input": order.input,
        "labels": order.labels,
        "idempotency_key": item.idempotency_key,
        "concurrency_key": item.concurrency_key,
        "priority": definition.priority if item.priority is None else item.priority,
        "run_at": item.run_at,
        "created_at": now,
        "queued_at": queued_at,
        "due_at": queued_at,
        "seq": 1,
        "source_id": source_id,
        "triggered_by": actor,
        "code_version": definition.code_version,
        "release": conf.release(),
    }
    # In half the time of Run(...), which asks each field for its default.
    values = {**_blank_run(), **given}
    return Run.from_db(DEFAULT_DB_ALIAS, list(values), list(values.values()))


@functools.cache
def _blank_run() -> dict[str, Any]:
    return {field.attname: field.get_default() for field in Run._meta.concrete_fields}


def _existing(order: _Order, actor: str) -> Run | None:
    """The run that stood in the way; idempotency wins over everything."""
    item = order.item
    same_job = Run.objects.filter(job=order.definition.name)
    if item.idempotency_key is not None:
        run = same_job.filter(idempotency_key=item.idempotency_key).first()
        if run is not None:
            run.disposition = "idempotent"
            return run
    if item.concurrency_key is None:
        return None
    run = same_job.filter(concurrency_key=item.concurrency_key, status=RunStatus.PENDING).first()
    if run is None:
        return None
    if item.coalesce is None:
        raise ConflictError(
            f"Run {run.pk} of {run.job} is already pending with concurrency key "
            f"{item.concurrency_key!r}. Wait for it, or coalesce with it (coalesce='skip').",
            run_id=run.pk,
        )
    # On PostgreSQL a worker may take it just now, without what is skipped here. A refused update
    # locks the row all the same: the savepoint frees it for whoever waits to see its key freed.
    with transaction.atomic():
        is_pending = Run.objects.filter(pk=run.pk, status=RunStatus.PENDING)
        if not is_pending.update(seq=F("seq") + 1):
            transaction.set_rollback(True)
            return None
        run.refresh_from_db(fields=["seq"])
        history.record(run, EventKind.COALESCED, actor, data={"skipped_labels": order.labels})
    run.disposition = "coalesced"
    return run


def _announce(runs: list[Run], actor: str, orders: list[_Order]) -> None:
    """Send the signals once the transaction that the runs belong to is committed."""
    if not (signals.run_triggered.receivers or signals.run_coalesced.receivers):
        return
    for run, order in zip(runs, orders, strict=True):
        about = {"run_id": run.pk, "job": run.job, "labels": run.labels, "actor": actor}
        if run.disposition == "created":
            transaction.on_commit(
                lambda about=about, value=run.input: signals.send(  # type: ignore[misc]
                    signals.run_triggered, input=value, **about
                )
            )
        elif run.disposition == "coalesced":
            skipped = {"skipped_input": loads(order.input), "skipped_labels": order.labels}
            transaction.on_commit(
                lambda about=about, skipped=skipped: signals.send(  # type: ignore[misc]
                    signals.run_coalesced, **skipped, **about
                )
            )
