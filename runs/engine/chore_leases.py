"""Leases of periodic work: one worker at a time does a chore, and another one if it dies.

As with runs, the lease is a row's, the time the database's, and a holder that was believed dead
and comes back can store nothing: what it writes ends with ``keep()``, in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from runs.engine import database, inserts, leases
from runs.engine.database import Statement
from runs.models import Chore

#: When a new chore was due: no clock is asked, so none can say that it isn't yet.
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


#: Which chores the owner may take; ``leases.free_for()`` by hand, since every worker asks this all
#: the time, and by the ORM it takes a millisecond.
_DUE = Statement("""
    SELECT c.name, c.due_at <= {now} AND (
        c.lease_owner IS NULL OR c.lease_expires_at <= {now} OR c.lease_owner = %s
        OR EXISTS (SELECT 1 FROM runs_worker w
                   WHERE w.id = c.lease_owner AND w.stopped_at IS NOT NULL))
    FROM runs_chore c
""")


class LeaseGone(Exception):
    """Another worker does this chore now."""


class ChoreLease:
    """The right to do a chore now; of nobody's, for one that is done by hand."""

    def __init__(self, name: str, owner: UUID | None = None) -> None:
        self._mine = Chore.objects.filter(name=name)
        self._end: Combinable | None = None
        if owner is not None:
            self._mine = self._mine.filter(lease_owner=owner)
            self._end = leases.from_now()

    def keep(self, **changes: Any) -> None:
        """Extend it, with changes of the chore's row. Raises LeaseGone.

        Last in a transaction, where it takes the row's lock only as long as a commit takes.
        """
        with database.write():
            if not self._mine.update(lease_expires_at=self._end, **changes):
                raise LeaseGone

    def finish(self, pause: timedelta) -> None:
        """Give it back; the chore is due again after a pause, which may be none."""
        # A sum has digits that SQLite's own clock has not, and would lie in this millisecond's end.
        due_at = leases.from_now(pause) if pause else Now()
        with database.write():
            self._mine.update(due_at=due_at, lease_owner=None, lease_expires_at=None)


def due(names: Collection[str], owner: UUID) -> list[str]:
    """Which of these chores the owner may take now; one that is new is due from the next call."""
    found = dict(database.query(_DUE, (database.id_param(owner),)))
    for name in names:
        if name not in found:
            with database.write():
                inserts.insert_unless_conflict(Chore(name=name, due_at=_LONG_AGO))
    return [name for name in names if found.get(name)]


def take(name: str, owner: UUID) -> ChoreLease | None:
    """Become the holder of a chore that is due; None if it isn't, or another worker has it."""
    mine = Chore.objects.filter(leases.free_for(owner), name=name, due_at__lte=Now())
    # All workers see it due in the same second: those that come second must not wait for the first.
    mine = database.in_order(mine, skip_locked=True)
    with database.write():
        taken = mine.update(lease_owner=owner, lease_expires_at=leases.from_now())
    return ChoreLease(name, owner) if taken else None


def renew(owner: UUID) -> None:
    """Extend the leases of what this owner is at, however long one statement of it takes."""
    held = Chore.objects.filter(lease_owner=owner)
    if held.exists():
        with database.write():
            held.update(lease_expires_at=leases.from_now())
