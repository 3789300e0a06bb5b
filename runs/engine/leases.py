"""Keeping a claimed run, and giving it up.

A lease has an owner, an end and a generation, the fencing token (Kleppmann, "How to do
distributed locking", 2016). Its columns stay until the body has stopped or the lease has
run out, whatever the run's status: a cancelled run keeps its key for as long as its old
body may still be working.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import (
    Case,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from runs import conf
from runs.engine import database, wakeups
from runs.engine.database import Hot, Statement
from runs.engine.history import record_hot
from runs.models import EventKind, Job, Run, RunStatus, Worker

#: The one predicate of every write by the holder of a lease. Parameters: ``fence_params``.
HOLDS = "id = %s AND lease_generation = %s AND lease_owner = %s AND status = 'running'"

_RENEW = """
    UPDATE runs_run SET
        lease_expires_at = {lease_end},
        due_at = CASE WHEN status = 'running' THEN {lease_end} ELSE due_at END
    WHERE id IN (SELECT id FROM runs_run WHERE lease_owner = %s AND id IN ({ids}) {in_order})
    RETURNING id
"""

_HAND_OVER = Statement(f"""
    UPDATE runs_run SET
        lease_owner = NULL, lease_expires_at = NULL, due_at = queued_at, seq = seq + 1
    WHERE {HOLDS} RETURNING seq
""")

_GIVE_UP = Statement(f"""
    UPDATE runs_run SET
        lease_owner = NULL, lease_expires_at = NULL, due_at = queued_at,
        recoveries = recoveries + 1
    WHERE {HOLDS} RETURNING id
""")

_RELEASE = Statement("""
    UPDATE runs_run SET
        lease_owner = NULL, lease_expires_at = NULL, held_key = NULL,
        due_at = CASE WHEN status = 'pending' THEN queued_at ELSE due_at END
    WHERE id = %s AND lease_generation = %s AND lease_owner = %s AND status <> 'running'
    RETURNING concurrency_key
""")

_UNPARK = Statement("""
    UPDATE runs_run {parked_by_key} SET due_at = queued_at
    WHERE status = 'pending' AND due_at IS NULL AND lease_owner IS NULL AND concurrency_key = %s
""")

_PARKED = "r.status = 'pending' AND r.due_at IS NULL"

# From one job with parked runs to the next, so that those of paused jobs are not looked at. A
# scalar subquery, since PostgreSQL would make a join of an EXISTS, and choose another index.
_FORGOTTEN = Statement(f"""
    WITH RECURSIVE jobs(job) AS (
        SELECT min(r.job) FROM runs_run r {{parked_by_job}} WHERE {_PARKED}
        UNION ALL
        SELECT (SELECT min(r.job) FROM runs_run r {{parked_by_job}}
                WHERE {_PARKED} AND r.job > jobs.job)
        FROM jobs WHERE jobs.job IS NOT NULL
    )
    SELECT 1 FROM jobs
    WHERE jobs.job IS NOT NULL
    AND jobs.job NOT IN (SELECT name FROM runs_job WHERE paused_at IS NOT NULL)
    AND (
        SELECT 1 FROM runs_run r {{parked_by_job}}
        WHERE {_PARKED} AND r.job = jobs.job AND r.lease_owner IS NULL
        AND NOT EXISTS (SELECT 1 FROM runs_run h WHERE h.held_key = r.concurrency_key)
        LIMIT 1
    ) IS NOT NULL
    LIMIT 1
""")


def fence_params(run_id: UUID, generation: int, owner: UUID) -> tuple[Any, ...]:
    """The parameters of ``HOLDS``."""
    return database.id_param(run_id), generation, database.id_param(owner)


def renew(owner: UUID, run_ids: Sequence[UUID]) -> set[UUID]:
    """Extend this owner's leases of these runs, cancelled bodies included; which it still has.

    Also one that has run out, as that of a process which was frozen: as long as the owner is
    in the row, nobody has taken the run, and its body goes on. But only those that really
    execute: a claim whose answer was lost runs out, and the run is taken again.
    """
    if not run_ids:
        return set()
    lease = conf.lease_seconds()
    ids = [database.id_param(id) for id in run_ids]
    with database.hot_write() as hot:
        rows = hot.rows(_renewal(len(ids)), (lease, lease, database.id_param(owner), *ids))
    return {database.read_id(id) for (id,) in rows}


@functools.lru_cache(maxsize=64)
def _renewal(count: int) -> Statement:
    return Statement(_RENEW, ids=", ".join(["%s"] * count))


def hand_over(run_id: UUID, generation: int, owner: UUID, owner_name: str) -> bool:
    """Give the run back, claimable at once at its old place; False if it isn't held."""
    with database.hot_write() as hot:
        rows = hot.rows(_HAND_OVER, fence_params(run_id, generation, owner))
        if rows:
            id = database.id_param(run_id)
            record_hot(hot, id, EventKind.HANDED_BACK, owner_name, rows[0][0])
    if rows:
        wakeups.ring()
    return bool(rows)


def give_up(run_id: UUID, generation: int, owner: UUID) -> None:
    """Let go of a run that could not be brought to an end; it counts as a death of its worker."""
    with database.hot_write() as hot:
        hot.rows(_GIVE_UP, fence_params(run_id, generation, owner))


def release(run_id: UUID, generation: int, owner: UUID) -> None:
    """Say that the body of a run that is no longer running has stopped: its key is free."""
    with database.hot_write() as hot:
        rows = hot.rows(_RELEASE, fence_params(run_id, generation, owner))
        if rows:
            unpark(hot, rows[0][0])
    if rows:
        wakeups.ring()


def unpark(hot: Hot, key: str | None) -> None:
    """Make pending runs that waited for this key claimable again."""
    if key is not None:
        hot.count(_UNPARK, (key,))


def expire_owned_by(owner: UUID) -> int:
    """End all leases of an owner known to be dead, now. Returns how many runs it held."""
    with database.write():
        return database.in_order(Run.objects.filter(lease_owner=owner)).update(
            lease_expires_at=Now(),
            due_at=Case(When(status=RunStatus.RUNNING, then=Now()), default=F("due_at")),
        )


def free_for(owner: UUID) -> Q:
    """A row other than a run's whose lease this owner may take: it is nobody's, over, or its own.

    Also that of a worker that is known to be dead or has left.
    """
    gone = Worker.objects.filter(stopped_at__isnull=False).values("pk")
    free = Q(lease_owner__isnull=True) | Q(lease_expires_at__lte=Now())
    return free | Q(lease_owner=owner) | Q(lease_owner__in=gone)


def from_now(duration: timedelta | None = None) -> Combinable:
    """The database's time after a duration; without one, the end of a lease that begins now."""
    if duration is None:
        duration = timedelta(seconds=conf.lease_seconds())
    return ExpressionWrapper(Now() + duration, output_field=DateTimeField())


def sweep() -> None:
    """Repair what nobody else has: leases that ran out, and parked runs that were forgotten."""
    reap()
    restore_parked()


def reap() -> int:
    """Clear leases that ran out on runs that aren't running; free what they held.

    Expired leases of running runs need nothing: the claim takes those. Returns how many.
    """
    expired = Q(lease_owner__isnull=False, lease_expires_at__lte=Now())
    rows = Run.objects.filter(expired).exclude(status=RunStatus.RUNNING)
    if not rows.exists():
        return 0
    with database.write():
        keys = list(rows.values_list("concurrency_key", flat=True))
        count = database.in_order(rows).update(
            lease_owner=None,
            lease_expires_at=None,
            held_key=None,
            due_at=Case(When(status=RunStatus.PENDING, then=F("queued_at")), default=F("due_at")),
        )
        restore_parked(key for key in keys if key is not None)
    return count


def restore_parked(keys: Iterable[str] | None = None) -> int:
    """Put parked runs that nothing holds back any more into the queue; of these keys, or all.

    Whoever frees a key does this for it; for all keys, it repairs a missed one.
    """
    parked = Run.objects.filter(
        status=RunStatus.PENDING, due_at__isnull=True, lease_owner__isnull=True
    )
    if keys is not None:
        if database.is_sqlite():
            with database.write():
                return sum(database.count(_UNPARK, (key,)) for key in keys)
        parked = parked.filter(concurrency_key__in=list(keys))
    elif not database.query(_FORGOTTEN, ()):
        return 0
    else:
        held = Run.objects.filter(held_key=OuterRef("concurrency_key"))
        paused = Job.objects.filter(paused_at__isnull=False).values("name")
        parked = parked.filter(~Exists(held)).exclude(job__in=paused)
    with database.write():
        return database.in_order(parked, skip_locked=True).update(due_at=F("queued_at"))
