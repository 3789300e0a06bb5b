"""The clock's part: dead workers, leases that ran out, missed wake-ups, retention.

Recovery only makes runs claimable; the claim alone decides who takes one.
"""

from __future__ import annotations

import logging
import time

from django.db import connection

from runs import conf
from runs.engine import database, leases, liveness, operations, wakeups
from runs.engine.chore_leases import ChoreLease
from runs.models import Worker

logger = logging.getLogger(__name__)

#: Retention looks for this many runs at a time, and deletes for so many seconds a turn.
PURGE_BATCH = 100
PURGE_SECONDS = 2.0

#: After each transaction it rests this many times as long as that took: the claims of all
#: workers share one disk with it, and on SQLite the one lock that there is for writers.
PURGE_REST = {"postgresql": 4, "sqlite": 8}


def take_back_from_dead_workers() -> int:
    """Make the runs of this host's dead workers claimable at once. Returns how many."""
    count = 0
    for worker_id in liveness.dead_workers():
        held = leases.expire_owned_by(worker_id)
        with database.write():
            Worker.objects.filter(pk=worker_id, stopped_at__isnull=True).update(
                stopped_at=database.utc_now()
            )
        liveness.forget(worker_id)
        count += held
        if held:
            logger.warning("Worker %s is dead; %s runs of it are taken back", worker_id, held)
    if count:
        wakeups.ring()
    return count


def apply_retention(lease: ChoreLease | None = None) -> bool:
    """Delete runs older than ``RETAIN_RUNS`` for a few seconds; whether there are more."""
    age = conf.retain_runs()
    if age is None:
        return False
    deadline = time.monotonic() + PURGE_SECONDS
    while time.monotonic() < deadline:
        rest = PURGE_REST[connection.vendor]
        count, began = 0, time.monotonic()
        for deleted in operations.purge_in_parts(age, PURGE_BATCH, actor="retention"):
            count += deleted
            time.sleep((time.monotonic() - began) * rest)
            began = time.monotonic()
        if lease is not None:
            lease.keep()
        if count < PURGE_BATCH:
            return False
    return True
