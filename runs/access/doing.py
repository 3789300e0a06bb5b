"""Triggering and operating in an actor's name: permission and policy first, then the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from runs.access import denied
from runs.access.actors import Actor
from runs.access.guard import deny, get_run, is_visible, require, sees_all_runs
from runs.access.permissions import TRIGGER
from runs.access.policy import allows_trigger
from runs.engine import database, operations, triggers
from runs.engine.triggers import BatchItem
from runs.errors import ConflictError, ValidationError
from runs.models import Run
from runs.registry import JobDefinition, get_job

_OPERATIONS: dict[str, Callable[..., Run | None]] = {
    "retry": operations.retry,
    "retrigger": operations.retrigger,
    "cancel": operations.cancel,
    "delete": operations.delete_run,
}


def trigger(actor: Actor, job: str, item: BatchItem, *, source_id: UUID | None = None) -> Run:
    """Trigger a run; see ``runs.trigger``.

    Raises what that raises, and PermissionDeniedError. A key that stands for a run which the
    policy hides from the actor is a ConflictError that doesn't name the run.
    """
    definition = _definition(actor, job)
    _check_policy(actor, job, item)
    with _recording(actor, job), database.write():
        run = triggers.trigger(
            definition,
            item.input,
            labels=item.labels,
            idempotency_key=item.idempotency_key,
            concurrency_key=item.concurrency_key,
            coalesce=item.coalesce,
            priority=item.priority,
            run_at=item.run_at,
            actor=actor,
            source_id=source_id,
        )
        _refuse_hidden(actor, run)
    return run


def batch_trigger(actor: Actor, job: str, items: Sequence[BatchItem]) -> list[Run]:
    """Trigger many runs, all or nothing. Raises what ``trigger`` raises."""
    definition = _definition(actor, job)
    for number, item in enumerate(items):
        try:
            _check_policy(actor, job, item)
        except ValidationError as error:
            raise ValidationError(f"Item {number}: {error}", error.errors) from error
    with _recording(actor, job), database.write():
        runs = triggers.batch_trigger(definition, items, actor=actor)
        for run in runs:
            _refuse_hidden(actor, run)
    return runs


def operate(actor: Actor, run: UUID | str, operation: str, *, reason: str = "") -> Run | None:
    """Retry, retrigger, cancel or delete a run; the run as it is then, or the new one.

    Raises what ``get_run`` and the operation raise.
    """
    found = get_run(actor, run, operation)
    with _recording(actor, found.job):
        return _OPERATIONS[operation](found, actor=actor, reason=reason)


class HiddenRunError(ConflictError):
    """A run that the policy hides from the actor stands in the way."""


@contextmanager
def naming_no_hidden_run(actor: Actor, job: str) -> Iterator[None]:
    """Turn a ConflictError about a run that the policy hides into one that doesn't name it."""
    try:
        yield
    except ConflictError as error:
        if error.run_id is None or sees_all_runs(actor):
            raise
        other = Run.objects.filter(pk=error.run_id).first()
        if other is not None and is_visible(actor, other):
            raise
        raise HiddenRunError(f"A run of {job} that you can't see has this key.") from None


@contextmanager
def _recording(actor: Actor, job: str) -> Iterator[None]:
    try:
        with naming_no_hidden_run(actor, job):
            yield
    except HiddenRunError as error:
        denied.record(actor, "trigger", job, str(error))
        raise


def _definition(actor: Actor, job: str) -> JobDefinition:
    """The permission first: without it nobody learns which jobs there are."""
    require(actor, TRIGGER, target=job)
    return get_job(job)


def _check_policy(actor: Actor, job: str, item: BatchItem) -> None:
    labels = triggers.check_labels({} if item.labels is None else item.labels)
    if not allows_trigger(actor, job, labels):
        deny(actor, "trigger", job, f"{actor.name} may not trigger {job} with these labels.")


def _refuse_hidden(actor: Actor, run: Run) -> None:
    """Raise, so that the transaction is undone, if a key led to a hidden run."""
    if run.disposition != "created" and not is_visible(actor, run):
        raise ConflictError(f"Run {run.pk} has this key.", run_id=run.pk)
