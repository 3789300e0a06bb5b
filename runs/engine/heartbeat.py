"""A worker's heartbeat: one thread a process.

It renews leases, notices cancellations, writes what executions have buffered, and sweeps.
A database that is away costs a log line and a pause, never the thread.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from django.db import Error, connection

from runs import conf
from runs.engine import chore_leases, chores, claims, control, database, recovery
from runs.models import Run, RunStatus, Worker

if TYPE_CHECKING:
    from runs.engine.worker import WorkerProcess

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25
SWEEP_SECONDS = 1.0


class Heartbeat:
    """Beats until it is stopped."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._renewal = conf.lease_seconds() / 3

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after its last write."""
        self._stop.set()
        self._thread.join(self._renewal)

    def _run(self) -> None:
        renew_at = sweep_at = time.monotonic()
        pause = FLUSH_SECONDS
        while not self._stop.wait(pause):
            now = time.monotonic()
            try:
                self._limit_lock_wait()
                if now >= renew_at:
                    self.renew()
                    renew_at = now + self._renewal
                for execution in self._process.executions():
                    execution.flush(wait=False)
                if now >= sweep_at:
                    self.notice_changes()
                    self.sweep()
                    sweep_at = now + SWEEP_SECONDS
                pause = FLUSH_SECONDS
            except Error as error:
                database.drop_broken_connection()
                pause = min(pause * 2, self._renewal / 2)
                logger.warning("Heartbeat: the database is away: %s", error)
            except Exception:
                logger.exception("Heartbeat: unexpected; it goes on")

    def sweep(self) -> None:
        """Find what nobody told: dead neighbours, what is to be repaired, runs that are due."""
        recovery.take_back_from_dead_workers()
        chores.do_due(chores.SWEEP, self._process.id)
        # A thread that ends a run looks for the next by itself: only one that rests has to be told.
        if not self._process.is_full() and claims.anything_due(self._process.jobs):
            self._process.wake()

    def renew(self) -> None:
        """Extend this process's leases and say that it is alive."""
        self._process.renew_leases()
        chore_leases.renew(self._process.id)
        with database.write():
            Worker.objects.filter(pk=self._process.id).update(heartbeat_at=database.utc_now())

    def notice_changes(self) -> None:
        """Stop executions whose run was cancelled, taken over or deleted."""
        executions = {execution.run_id: execution for execution in self._process.executions()}
        if not executions:
            return
        rows = Run.objects.filter(pk__in=executions).values_list(
            "pk", "status", "lease_generation", "lease_owner"
        )
        found = {row[0]: row for row in rows}
        for run_id, execution in executions.items():
            row = found.get(run_id)
            if row is None or row[2] != execution.claim.generation:
                execution.halt(control.LeaseLost(f"run {run_id} is another worker's now, or gone"))
            elif row[1] != RunStatus.RUNNING and row[3] == execution.claim.owner:
                execution.halt(control.Cancelled(f"run {run_id} was cancelled"))

    def _limit_lock_wait(self) -> None:
        """Wait less for SQLite's lock than a renewal may take."""
        if database.is_sqlite() and connection.connection is None:
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA busy_timeout = {int(self._renewal * 900)}")
