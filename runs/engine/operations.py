"""What people and programs do to a run: retry, run again, cancel, delete, purge.

Each is one function for the API, the pages, the admin, the commands and code. It checks
the state with a guarded update, so that of two racing callers one wins and the other gets
a ConflictError, and writes the history in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now
from django.utils import timezone

from runs import signals
from runs.engine import database, history, leases, triggers, wakeups
from runs.engine.lookups import as_id, get_run
from runs.errors import ConflictError, ValidationError
from runs.models import TERMINAL, EventKind, Label, LogEntry, Run, RunEvent, RunStatus, Step
from runs.registry import get_job

RETRYABLE = (RunStatus.FAILED, RunStatus.CANCELLED)
CANCELLABLE = (RunStatus.PENDING, RunStatus.WAITING, RunStatus.RUNNING)

#: Rows that hang on runs and are deleted in one transaction, about.
_MAX_DELETED_ROWS = 5_000

_RunOrId = Run | UUID | str


def retry(run: _RunOrId, *, actor: Any = None, reason: str = "") -> Run:
    """Make a failed or cancelled run pending again, as its next attempt.

    It keeps its id, its place in the queue and its completed steps, which don't run again.
    If the body of a cancelled attempt is still working, the retry waits for it.

    Raises NotFoundError, ConflictError, ValidationError if its input does not fit today's
    schema.
    """
    current = get_run(run)
    _refuse_unless(current, RETRYABLE, "retried")
    definition = get_job(current.job)
    definition.parse_input(current.input)
    who = history.describe_actor(actor)
    with _one_pending_per_key(current), database.write():
        changed = Run.objects.filter(pk=current.pk, status__in=RETRYABLE).update(
            status=RunStatus.PENDING,
            attempt=F("attempt") + 1,
            recoveries=0,
            seq=F("seq") + 1,
            # A live lease: the old body still works. Its end, or its lease's, makes this due.
            due_at=Case(When(lease_owner__isnull=True, then=F("queued_at")), default=None),
            finished_at=None,
            error_type=None,
            error_message=None,
            error_traceback=None,
            error_step=None,
            error_fingerprint=None,
            code_version=definition.code_version,
        )
        current = _after(current, changed, RETRYABLE, "retried")
        history.record(
            current, EventKind.RETRIED, who, reason=reason, data={"attempt": current.attempt}
        )
        wakeups.ring()
    _announce(signals.run_retried, current, attempt=current.attempt, actor=who)
    return current


def retrigger(run: _RunOrId, *, actor: Any = None, reason: str = "") -> Run:
    """Make a new run like a terminal one: same job, input, labels and concurrency key.

    The new run has no idempotency key and is linked to the original, which stays as it is.
    Raises NotFoundError, ConflictError, ValidationError if the input does not fit today's
    schema.
    """
    source = get_run(run)
    _refuse_unless(source, TERMINAL, "run again")
    definition = get_job(source.job)
    who = history.describe_actor(actor)
    with database.write():
        changed = Run.objects.filter(pk=source.pk, status__in=TERMINAL).update(seq=F("seq") + 1)
        source = _after(source, changed, TERMINAL, "run again")
        copy = triggers.repeat(source, definition, who, reason)
        history.record(
            source, EventKind.RETRIGGERED, who, reason=reason, data={"run": str(copy.pk)}
        )
    return copy


def cancel(run: _RunOrId, *, actor: Any = None, reason: str = "") -> Run:
    """Cancel a pending, waiting or running run at once.

    A running body may finish, but its result is dropped and no later step starts; its
    concurrency key is freed when it has stopped. Raises NotFoundError, ConflictError.
    """
    current = get_run(run)
    _refuse_unless(current, CANCELLABLE, "cancelled")
    who = history.describe_actor(actor)
    with database.write():
        changed = Run.objects.filter(pk=current.pk, status__in=CANCELLABLE).update(
            status=RunStatus.CANCELLED,
            finished_at=Now(),
            due_at=None,
            current_step=None,
            seq=F("seq") + 1,
            # Without an owner no body works on it: the key is free.
            held_key=Case(When(lease_owner__isnull=True, then=Value(None)), default=F("held_key")),
        )
        current = _after(current, changed, CANCELLABLE, "cancelled")
        history.record(current, EventKind.CANCELLED, who, reason=reason)
        if current.lease_owner is None and current.concurrency_key is not None:
            leases.restore_parked([current.concurrency_key])
            wakeups.ring()
    transaction.on_commit(lambda: _tell_this_process(current.pk), robust=True)
    _announce(signals.run_cancelled, current, actor=who)
    return current


def delete_run(run: _RunOrId, *, actor: Any = None, reason: str = "") -> None:
    """Delete a terminal run with everything that hangs on it.

    Raises NotFoundError; ConflictError for a run that isn't over, or whose old body may
    still be working.
    """
    current = get_run(run)
    _refuse_unless(current, TERMINAL, "deleted")
    who = history.describe_actor(actor)
    with database.write():
        while not _delete([current.pk]):
            current = get_run(current.pk)
            _refuse_unless(current, TERMINAL, "deleted")
            if current.lease_expires_at is not None:
                raise ConflictError(
                    f"Run {current.pk} can't be deleted yet: its old body may still be working. "
                    f"Its lease ends at {current.lease_expires_at:%Y-%m-%d %H:%M:%S} UTC."
                )
            # The body has stopped since: now it can.
    _announce(signals.run_deleted, current, actor=who, reason=reason)


def purge_runs(older_than: datetime | timedelta, limit: int = 500, *, actor: Any = None) -> int:
    """Delete up to ``limit`` terminal runs that ended before a time, oldest first.

    ``older_than`` is an aware datetime, or an age. Returns how many were deleted.
    """
    return sum(purge_in_parts(older_than, limit, actor=actor))


def purge_in_parts(
    older_than: datetime | timedelta, limit: int, *, actor: Any = None
) -> Iterator[int]:
    """The same in transactions that are short; yields after each how many it has deleted."""
    if isinstance(older_than, timedelta):
        older_than = database.utc_now() - older_than
    if not isinstance(older_than, datetime) or timezone.is_naive(older_than):
        raise ValidationError("older_than must be a datetime with a time zone, or a timedelta")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValidationError(f"limit must be a whole number of at least 1, not {limit!r}")
    who = history.describe_actor(actor)
    # Not by status: SQLite would take that index, and sort all runs that are over.
    over = Run.objects.filter(finished_at__lt=older_than, lease_owner__isnull=True)
    doomed = list(over.summaries().order_by("finished_at")[:limit])
    for part in _slices(doomed):
        with database.write():
            deleted = _delete([run.pk for run in part])
        for run in part:
            if run.pk in deleted:
                _announce(signals.run_deleted, run, actor=who, reason="")
        yield len(deleted)


def _slices(runs: list[Run]) -> Iterator[list[Run]]:
    """Runs to delete together: so few that their rows don't hold up the workers for long."""
    part: list[Run] = []
    rows = 0
    for run in runs:
        part.append(run)
        rows += run.seq  # a number for each step, log line and event
        if rows >= _MAX_DELETED_ROWS:
            yield part
            part, rows = [], 0
    if part:
        yield part


def _delete(ids: list[UUID]) -> set[UUID]:
    """Delete those of the runs that are over and have no live body; what hangs on them first."""
    free = Q(lease_owner__isnull=True) | Q(lease_expires_at__lte=Now())
    rows = Run.objects.select_for_update().filter(free, pk__in=ids, status__in=TERMINAL)
    rows = rows.order_by("pk")  # or two that delete the same runs might wait for each other
    found = set(rows.values_list("pk", flat=True))
    keys = list(
        Run.objects.filter(pk__in=found, held_key__isnull=False).values_list("held_key", flat=True)
    )
    for model in (Step, LogEntry, RunEvent, Label):
        model.objects.filter(run__in=found)._raw_delete(using="default")
    Run.objects.filter(pk__in=found)._raw_delete(using="default")
    if keys:
        leases.restore_parked(key for key in keys if key is not None)
        wakeups.ring()
    return found


def _refuse_unless(run: Run, statuses: Any, done: str) -> None:
    if run.status not in statuses:
        allowed = ", ".join(sorted(str(status) for status in statuses))
        raise ConflictError(
            f"Run {run.pk} is {run.status} and can't be {done}; only these can: {allowed}."
        )


@contextmanager
def _one_pending_per_key(run: Run) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise ConflictError(
            f"Run {run.pk} can't be retried now: another run of {run.job} is already pending "
            f"with its concurrency key {run.concurrency_key!r}."
        ) from error


def _after(run: Run, changed: int, statuses: Any, done: str) -> Run:
    """The run as the guarded update left it; refuses if the update met another state."""
    current = get_run(as_id(run))
    if not changed:
        _refuse_unless(current, statuses, done)
        raise ConflictError(f"Run {run.pk} changed at the same moment; look at it again.")
    return current


def _tell_this_process(run_id: UUID) -> None:
    from runs.engine import worker

    worker.notice_cancel(run_id)


def _announce(signal: Any, run: Run, **kwargs: Any) -> None:
    if signal.receivers:
        transaction.on_commit(
            lambda: signals.send(signal, run_id=run.pk, job=run.job, labels=run.labels, **kwargs)
        )
