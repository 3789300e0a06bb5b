"""Periodic work that one worker at a time does: the sweep, statistics, retention, bulk actions."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.db import Error

from runs.access import denied
from runs.engine import bulk, chore_leases, database, leases, planner, recovery, statistics, wal
from runs.engine.chore_leases import ChoreLease, LeaseGone
from runs.models import Worker

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5

#: So many workers look as often as that; of more, each the more rarely, but at least so often, in
#: seconds. All together then don't ask the database more often the more they are.
_CROWD = 8
_LONGEST_PAUSE = 5.0

#: So many make them look as rarely as they ever do, so nobody counts beyond: ten thousand workers
#: that count ten thousand each would read ten million entries of an index a second.
_ENOUGH = round(_CROWD * _LONGEST_PAUSE / PAUSE_SECONDS)

#: How often a worker counts the others, in seconds.
_COUNT_SECONDS = 10.0

#: A chore that took long is due again after so many times as long, but this much later at most:
#: it may have waited for a lock instead. Only the sweep has a pause that is shorter than that.
_RESTS = 20
_LONGEST_REST = timedelta(seconds=5)

#: How long one turn of a bulk action takes, in seconds.
BULK_SECONDS = 2.0

#: Returns True if there is more to do, so that it is due again at once.
_Work = Callable[[ChoreLease], object]
_Chores = dict[str, tuple[timedelta, _Work]]

#: Quick, and what runs wait for: done by heartbeats, which wait for nothing else.
SWEEP: _Chores = {"sweep": (timedelta(seconds=1), lambda _: leases.sweep())}

#: May take long: done by caretakers.
SLOW: _Chores = {
    "statistics": (timedelta(seconds=10), statistics.advance),
    "planner": (timedelta(seconds=5), lambda _: planner.keep_up()),
    "retention": (timedelta(seconds=60), recovery.apply_retention),
    "denied attempts": (timedelta(seconds=60), lambda _: denied.prune()),
    "write-ahead log": (timedelta(seconds=60), lambda _: wal.shorten()),
}


class Caretaker:
    """A worker's thread for chores, apart from its heartbeat, which must never wait for them."""

    def __init__(self, worker_id: UUID) -> None:
        self._id = worker_id
        self._workers, self._count_at = 1, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caretaker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin nothing more. What is cut off in the middle, another worker goes on with."""
        self._stop.set()

    def _rest(self) -> float:
        """How long to wait for the next look, in seconds."""
        now = time.monotonic()
        if now >= self._count_at:
            some = Worker.objects.reporting(database.utc_now()).order_by()[:_ENOUGH]
            self._workers = some.count()
            self._count_at = now + _COUNT_SECONDS
        return min(PAUSE_SECONDS * max(1.0, self._workers / _CROWD), _LONGEST_PAUSE)

    def _run(self) -> None:
        pause = PAUSE_SECONDS
        while not self._stop.wait(pause):
            try:
                busy = bulk.advance(self._id, BULK_SECONDS)
                do_due(SLOW, self._id)
                pause = 0 if busy else self._rest()
            except Error as error:
                database.drop_broken_connection()
                pause = min(max(pause, PAUSE_SECONDS) * 2, 10.0)
                logger.warning("Chores: the database is away: %s", error)
            except Exception:
                pause = 10.0
                logger.exception("Chores: unexpected; they go on")


def do_due(chores: _Chores, owner: UUID) -> list[str]:
    """Do those of these chores that are due and that nobody else is at; which were done."""
    return [
        name
        for name in chore_leases.due(chores, owner)
        if (lease := chore_leases.take(name, owner)) and _do(lease, *chores[name])
    ]


def _do(lease: ChoreLease, pause: timedelta, work: _Work) -> bool:
    """Whether it was done, and not taken over meanwhile."""
    began = time.monotonic()
    try:
        has_more = work(lease) is True
    except LeaseGone:
        return False
    except Error:
        raise  # the lease is still ours: it is tried again as soon as the database is back
    except Exception:
        lease.finish(pause)
        raise
    rest = _RESTS * timedelta(seconds=time.monotonic() - began)
    lease.finish(timedelta(0) if has_more else max(pause, min(rest, _LONGEST_REST)))
    return True
