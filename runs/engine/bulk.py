"""Bulk actions: one operation on many runs, done by the workers.

A row says what to do and how far it has got. Each run is one transaction of the operation,
its outcome and the progress, so a worker that dies in the middle has done every run once,
and the next worker goes on after the last one. No statement looks at more than ``WINDOW``
runs, however few of them match.

Whoever orders one lends it their rights: it counts and finds the runs that they see, and they
are asked about again for each run, as they are when it is done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any
from uuid import UUID

from django.db import Error
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce, Now

from runs import access
from runs.access import Actor, denied
from runs.engine import database, history, inserts, leases, lookups, operations, targets
from runs.engine.database import Statement
from runs.errors import ConflictError, NotFoundError, RunsError, ValidationError
from runs.models import (
    TERMINAL,
    BulkAction,
    BulkItem,
    BulkKind,
    BulkStatus,
    Run,
    RunStatus,
)
from runs.payloads import clean_text

logger = logging.getLogger(__name__)

_BATCH = 100

#: Asked all the time by every worker: so by hand, and cheap.
_IS_ANY_OPEN = Statement(
    "SELECT 1 FROM runs_bulkaction WHERE status IN ('pending', 'running') LIMIT 1"
)
_OPEN = (BulkStatus.PENDING, BulkStatus.RUNNING)

_OPERATIONS: dict[str, Callable[..., Run | None]] = {
    BulkKind.RETRY: operations.retry,
    BulkKind.RETRIGGER: operations.retrigger,
    BulkKind.CANCEL: operations.cancel,
    BulkKind.DELETE: operations.delete_run,
}

#: The states in which a run may be operated on; in others it is refused.
STATUSES: dict[str, frozenset[RunStatus]] = {
    BulkKind.RETRY: frozenset(operations.RETRYABLE),
    BulkKind.RETRIGGER: TERMINAL,
    BulkKind.CANCEL: frozenset(operations.CANCELLABLE),
    BulkKind.DELETE: TERMINAL,
}


class _LeaseGone(Exception):
    """The action was aborted, or another worker does it now."""


class _ActorGone(Exception):
    """Whoever ordered the action is no longer there, or their token is dead."""


def count(
    *,
    filters: str = "",
    run_ids: Sequence[UUID | str] | None = None,
    bound: UUID | None = None,
    actor: Any = None,
    kind: str = "",
) -> targets.Scope:
    """Count the selected runs, or all that the filters match, up to a limit.

    Of an actor's, those that they see, and if few enough only those that they may do
    ``kind`` to. ``filters`` is a query string of the run list. Raises ValidationError.
    """
    who = access.as_actor(actor)
    action = targets.draft(filters, run_ids, bound, who)
    action.kind = kind
    return targets.count(action, who)


def create(
    kind: str,
    *,
    filters: str = "",
    run_ids: Sequence[UUID | str] | None = None,
    actor: Any = None,
    reason: str = "",
    bound: UUID | None = None,
    id: UUID | None = None,
) -> BulkAction:
    """Order an operation on the selected runs, or on all that the filters match now.

    ``filters`` is a query string of the run list, ``bound`` the newest run that somebody was
    asked about; later ones are left alone. With an ``id`` it is ordered only once; the second
    time returns the first action. An ``actor`` that is a user or an Actor lends it their rights;
    without one, or with a text, it has code's. Raises ValidationError.
    """
    if kind not in BulkKind.values:
        raise ValidationError(f"kind: {kind!r} is none of {', '.join(BulkKind.values)}")
    who = access.as_actor(actor)
    action = targets.draft(filters, run_ids, bound, who)
    action.kind = kind
    scope = targets.count(action, who)
    action.pk = id or action.pk
    action.actor = history.describe_actor(actor)
    action.actor_reference = None if who is None else who.reference
    action.reason = clean_text(reason)
    action.expected = scope.total
    action.expected_is_exact = scope.is_exact
    action.created_at = database.utc_now()
    with database.write():
        inserted = inserts.insert_unless_conflict(action)
    return action if inserted else get(action.pk)


def abort(action: BulkAction, *, actor: Any = None) -> BulkAction:
    """Stop an action; what is done stays done. Raises ConflictError if it is over."""
    with database.write():
        stopped = BulkAction.objects.filter(pk=action.pk, status__in=_OPEN).update(
            status=BulkStatus.ABORTED,
            aborted_by=history.describe_actor(actor),
            finished_at=Now(),
            lease_owner=None,
        )
    action = BulkAction.objects.get(pk=action.pk)
    if not stopped:
        raise ConflictError(f"The bulk action is {action.status} already")
    return action


def get(id: UUID | str) -> BulkAction:
    """The action of that id. Raises NotFoundError."""
    action = BulkAction.objects.filter(pk=lookups.as_id(id)).first()
    if action is None:
        raise NotFoundError(f"There is no bulk action {id}")
    return action


def advance(owner: UUID, seconds: float) -> bool:
    """Work on the oldest open action for about so long; whether there was one."""
    action = _take(owner)
    if action is None:
        return False
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if not _do_batch(action, owner, deadline):
                _finish(action, owner)
                return True
        with database.write():
            BulkAction.objects.filter(pk=action.pk, lease_owner=owner).update(lease_owner=None)
    except _LeaseGone:
        pass
    except _ActorGone:
        _give_up(action, owner)
    return True


def _take(owner: UUID) -> BulkAction | None:
    if not database.query(_IS_ANY_OPEN, ()):
        return None
    free = BulkAction.objects.filter(leases.free_for(owner))
    waiting = free.filter(status__in=_OPEN).order_by("id")
    while (id := waiting.values_list("pk", flat=True).first()) is not None:
        with database.write():
            taken = waiting.filter(pk=id).update(
                status=BulkStatus.RUNNING,
                started_at=Coalesce("started_at", Now()),
                lease_owner=owner,
                lease_expires_at=leases.from_now(),
            )
        if taken:
            return BulkAction.objects.get(pk=id)
    return None


def _do_batch(action: BulkAction, owner: UUID, deadline: float) -> bool:
    """Do up to a batch of runs; False if there are none left. Raises _LeaseGone, _ActorGone."""
    actor = _actor_of(action)
    floor = targets.floor_of(action)
    runs = targets.matching(action, actor).newest_first().values_list("pk", flat=True)
    ids = list((runs.filter(pk__gte=floor) if floor else runs)[:_BATCH])
    forbidden = ""
    for id in ids:
        forbidden = _do_one(action, owner, id, actor) or forbidden
        action.cursor = id
        if time.monotonic() >= deadline:
            break
    if actor is not None and forbidden:
        denied.record(actor, f"bulk {action.kind}", str(action.pk), forbidden)
    if ids and action.cursor != ids[-1]:
        return True
    if len(ids) == _BATCH:
        return True
    if floor is None:
        return False
    with database.write():
        _keep(action, owner, cursor=floor)
    action.cursor = floor
    return True


def _actor_of(action: BulkAction) -> Actor | None:
    """Whose rights it has, as they are now; None: code's."""
    if action.actor_reference is None:
        return None
    actor = access.actor_by_reference(action.actor_reference)
    if actor is None:
        raise _ActorGone
    return actor


def _do_one(action: BulkAction, owner: UUID, run_id: UUID, actor: Actor | None) -> str:
    """The operation on one run, with its outcome, in one transaction.

    Returns why the actor may not do it; empty if they may.
    """
    with database.write():
        run = Run.objects.summaries().filter(pk=run_id).first()
        item = BulkItem(
            action=action, run_id=run_id, job=run.job if run else "", created_at=database.utc_now()
        )
        forbidden = access.refusal(actor, run, action.kind) if actor and run else ""
        if forbidden:
            item.done, item.message = False, forbidden
        else:
            _operate(action, item, actor)
        item.save(force_insert=True)
        counter = "done" if item.done else "refused"
        _keep(action, owner, cursor=run_id, **{counter: F(counter) + 1})
    return forbidden


def _operate(action: BulkAction, item: BulkItem, actor: Actor | None) -> None:
    """Do it, and put down what came of it."""
    who = f"{action.actor} (bulk action {str(action.pk)[-4:]})"
    hiding = access.naming_no_hidden_run(actor, item.job) if actor else nullcontext()
    try:
        with hiding, database.write():
            result = _OPERATIONS[action.kind](item.run_id, actor=who, reason=action.reason)
        item.done = True
        if action.kind == BulkKind.RETRIGGER and result is not None:
            item.result_id = result.pk
    except RunsError as error:
        item.done, item.message = False, str(error)
    except Error:
        raise
    except Exception as error:  # a job's own validator; it must not stop all the others
        logger.exception("Bulk action %s: run %s", action.pk, item.run_id)
        item.done, item.message = False, clean_text(f"{type(error).__name__}: {error}")


def _keep(action: BulkAction, owner: UUID, **changes: Any) -> None:
    """Store how far it has got and extend the lease. Raises _LeaseGone."""
    mine = BulkAction.objects.filter(pk=action.pk, lease_owner=owner, status=BulkStatus.RUNNING)
    if not mine.update(lease_expires_at=leases.from_now(), **changes):
        raise _LeaseGone


def _finish(action: BulkAction, owner: UUID) -> None:
    with database.write():
        BulkAction.objects.filter(
            pk=action.pk, lease_owner=owner, status=BulkStatus.RUNNING
        ).update(status=BulkStatus.COMPLETED, finished_at=Now(), lease_owner=None)


def _give_up(action: BulkAction, owner: UUID) -> None:
    """End what nobody has the right to go on with: which runs they saw, nobody knows any more."""
    with database.write():
        BulkAction.objects.filter(
            pk=action.pk, lease_owner=owner, status=BulkStatus.RUNNING
        ).update(
            status=BulkStatus.ABORTED,
            aborted_by=f"the worker, as {action.actor} has no access any more"[:200],
            finished_at=Now(),
            lease_owner=None,
        )


def outcomes(action: BulkAction) -> QuerySet[BulkItem]:
    """What it did, run by run, newest outcome first: it goes from new runs to old ones."""
    return action.items.order_by("run_id")
