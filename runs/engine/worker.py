"""The worker process: Huey's consumer as the pool, a heartbeat, and an orderly end."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from uuid import UUID

from django.db import Error, connection
from huey import Huey

from runs import conf
from runs.engine import claims, control, database, executor, jobsync, leases, liveness, wakeups
from runs.engine.chores import Caretaker
from runs.engine.claims import Claim, Claimer
from runs.engine.execution import Execution
from runs.engine.executor import Successor
from runs.engine.heartbeat import Heartbeat
from runs.engine.pool import Pool
from runs.engine.turns import Turns
from runs.models import Run, RunStatus, Worker
from runs.registry import registry

logger = logging.getLogger(__name__)

#: Pauses after a claim that failed, in seconds: from, to.
_CLAIM_RETRY_DELAYS = (0.1, 10.0)

#: How long a stopping worker tries to reach the database, in seconds.
_FAREWELL_SECONDS = 1.5


class WorkerProcess:
    """This process as an owner of leases. One of it exists while it works."""

    def __init__(self, row: Worker) -> None:
        self.id: UUID = row.pk
        self.name = str(row)
        self.jobs = tuple(registry.names())
        self._slots = row.concurrency
        self.stopping = threading.Event()
        self._turns = Turns()
        self._executions: dict[UUID, Execution] = {}
        self._lease = conf.lease_seconds()
        self._renewed_at = time.time()
        self._lock = threading.Lock()
        #: Lets free threads look for runs; what has a pool puts it in.
        self.wake: Callable[[], None] = lambda: None

    def drain(self) -> None:
        """Execute runs, one after the other, until none is due or the worker stops."""
        while (claim := self._claim()) is not None:
            execution: Execution | None = self._begin(claim)
            while execution is not None:
                execution = self._execute(execution)
        self._turns.leave()

    def _claim(self) -> Claim | None:
        """Take the next run when it is this thread's turn; None if none is due."""
        delay, longest = _CLAIM_RETRY_DELAYS
        while not self.stopping.is_set():
            self._turns.take()
            try:
                if self._has_missed_a_renewal():
                    self.renew_leases()
                return claims.claim_next(self.jobs, self.id, self.name)
            except Error as error:
                database.drop_broken_connection()
                logger.warning("Can't look for runs, again in %.1f s: %s", delay, error)
                self.stopping.wait(delay)
                delay = min(delay * 2, longest)
        return None

    def _claimer(self) -> Claimer | None:
        """Who may take the next run in the transaction that ends one; None if nobody."""
        if self.stopping.is_set() or self._has_missed_a_renewal() or not self._turns.keep():
            return None
        return Claimer(self.jobs, self.id, self.name)

    def _begin(self, claim: Claim) -> Execution:
        """From here on the heartbeat knows of the run."""
        execution = Execution(claim, self.name)
        with self._lock:
            replaced = self._executions.get(claim.run_id)
            self._executions[claim.run_id] = execution
            execution.handing_over = self.stopping.is_set()
        if replaced is not None:
            replaced.halt(control.LeaseLost(f"run {claim.run_id} was claimed again"))
        return execution

    def _execute(self, execution: Execution) -> Execution | None:
        """Execute a run; the one that was taken at its end, if there was one. Never raises."""
        following: list[Execution] = []
        successor = Successor(self._claimer, lambda claim: following.append(self._begin(claim)))
        try:
            executor.execute(execution, successor)
        finally:
            with self._lock:
                if self._executions.get(execution.run_id) is execution:
                    del self._executions[execution.run_id]
        return following[0] if following else None

    def renew_leases(self) -> None:
        """Extend the leases of all that runs here."""
        asked_at, executions = time.time(), self.executions()
        held = leases.renew(self.id, [execution.run_id for execution in executions])
        for execution in executions:
            if execution.run_id in held:
                execution.hold.renewed(asked_at)
        self._renewed_at = asked_at

    def _has_missed_a_renewal(self) -> bool:
        """As after a freeze: a claim must not take again what this process executes."""
        overdue = time.time() - self._renewed_at > self._lease
        return overdue and bool(self._executions)

    def executions(self) -> list[Execution]:
        """What runs now."""
        with self._lock:
            return list(self._executions.values())

    def is_full(self) -> bool:
        """Whether each of its threads executes a run."""
        return len(self._executions) >= self._slots

    def notice_cancel(self, run_id: UUID) -> None:
        """Stop a run of this process that was cancelled."""
        with self._lock:
            execution = self._executions.get(run_id)
        if execution is not None:
            execution.halt(control.Cancelled(f"run {run_id} was cancelled"))

    def begin_stop(self) -> None:
        """Take no more runs, and hand each back at its next step boundary."""
        with self._lock:
            self.stopping.set()
            for execution in self._executions.values():
                execution.handing_over = True

    def hand_back_rest(self) -> None:
        """Hand back what has not reached a boundary, while its body still runs."""
        for execution in self.executions():
            execution.halt(control.HandOver(f"the worker of run {execution.run_id} stopped"))
            execution.flush()
            if leases.hand_over(*execution.claim.lease, self.name):
                logger.warning("Run %s was handed back in the middle of a step", execution.run_id)
        # And what no execution answers for, such as a claim that got no answer.
        held = Run.objects.filter(lease_owner=self.id, status=RunStatus.RUNNING)
        for run_id, generation in held.values_list("pk", "lease_generation"):
            leases.hand_over(run_id, generation, self.id, self.name)


_current: WorkerProcess | None = None


def execute_due_runs() -> None:
    """What a doorbell message starts: execute runs until none is due."""
    if _current is not None:
        _current.drain()


def notice_cancel(run_id: UUID) -> None:
    """Tell this process's worker, if it is one, that a run was cancelled."""
    if _current is not None:
        _current.notice_cancel(run_id)


def run_worker(concurrency: int | None = None) -> int:
    """Be a worker until SIGTERM or SIGINT. Returns the exit code.

    On a signal each run is handed back at the end of the step it is in; what has not got
    there after ``SHUTDOWN_SECONDS`` is handed back all the same.
    """
    global _current
    stop = StopSignal()
    stop.install()
    slots = concurrency or conf.worker_concurrency()
    row = _await_database(stop, slots)
    if row is None:
        return 0
    huey = _await_queue(stop)
    if huey is None:
        with suppress(Error):  # then it passes for one that died
            _sign_off(row.pk)
        return 0
    connection.close()  # this thread needs it no more
    lock = liveness.hold(row.pk)
    process = _current = WorkerProcess(row)
    pool = Pool(huey, slots, process.drain)
    process.wake = pool.wake
    heartbeat = Heartbeat(process)
    heartbeat.start()
    caretaker = Caretaker(row.pk)
    caretaker.start()
    pool.start()
    pool.wake()
    logger.info("Worker %s is up: %s slots, jobs: %s", row, slots, ", ".join(process.jobs))
    while not stop.wait(1.0):
        pool.check_worker_health()
    caretaker.ask_to_stop()
    _stop(process, pool, heartbeat, lock)
    return 0


def _stop(process: WorkerProcess, pool: Pool, heartbeat: Heartbeat, lock: liveness.Lock) -> None:
    logger.info("Worker %s stops: finishing the steps in progress", process.name)
    deadline = time.monotonic() + conf.shutdown_seconds()
    process.begin_stop()
    pool.close()
    # Not only until nothing executes: a thread may be in the middle of a claim.
    own = threading.current_thread()
    threads = [thread for _, thread in pool.worker_threads]
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    # In a thread: a database that is locked or away must not keep the process.
    said = threading.Event()
    threading.Thread(target=_say_goodbye, args=[process, heartbeat, said], daemon=True).start()
    if not said.wait(_FAREWELL_SECONDS) or any(thread.is_alive() for thread in threads):
        logger.info("Worker %s leaves unfinished work behind", process.name)
        _leave()  # the lock file stays: the next worker here looks for what may be left
    lock.release()
    logger.info("Worker %s is down", process.name)
    if any(not thread.daemon for thread in threading.enumerate() if thread is not own):
        _leave()  # a thread that a job has left behind


def _say_goodbye(process: WorkerProcess, heartbeat: Heartbeat, said: threading.Event) -> None:
    try:
        process.hand_back_rest()
        heartbeat.stop()
        _sign_off(process.id)
        said.set()
    except Error as error:
        logger.warning("Could not say good-bye to the database: %s", error)
    finally:
        connection.close()


def _sign_off(worker_id: UUID) -> None:
    Worker.objects.filter(pk=worker_id).update(stopped_at=database.utc_now())


def _leave() -> None:
    """End the process, whatever its threads do."""
    logging.shutdown()
    os._exit(0)


class StopSignal:
    """Set by SIGTERM or SIGINT.

    Not a ``threading.Event``: a handler runs in the middle of what the main thread does, and
    if that is ``Event.wait()`` with its lock held, ``Event.set()`` waits for itself for ever.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._set = False

    def install(self) -> None:
        """Handle the signals; only the main thread can."""
        signal.signal(signal.SIGTERM, self.set)
        signal.signal(signal.SIGINT, self.set)

    def set(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Wake whoever waits."""
        self._set = True
        try:
            os.write(self._writer, b".")
        except BlockingIOError:
            pass  # thousands of signals wait in the pipe: one is enough

    def is_set(self) -> bool:
        """Whether a signal has come."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Wait for a signal, so long at most; whether one has come."""
        if not self._set:
            select.select([self._reader], [], [], seconds)
        return self._set


def _await_database(stop: StopSignal, slots: int) -> Worker | None:
    """Sync the jobs and register this worker; wait for a database that is away."""
    delay, longest = _CLAIM_RETRY_DELAYS
    while not stop.is_set():
        try:
            jobsync.sync_jobs()
            return register(slots)
        except Error as error:
            database.drop_broken_connection()
            logger.warning("The database is not ready, again in %.1f s: %s", delay, error)
            stop.wait(delay)
            delay = min(delay * 2, longest)
    return None


def _await_queue(stop: StopSignal) -> Huey | None:
    """Open Huey's storage; wait for a file that can't be opened."""
    delay, longest = _CLAIM_RETRY_DELAYS
    while not stop.is_set():
        try:
            return wakeups.get_huey()
        except Exception as error:  # each kind of storage has its own
            logger.warning("Huey's storage is not ready, again in %.1f s: %s", delay, error)
            stop.wait(delay)
            delay = min(delay * 2, longest)
    return None


def register(slots: int) -> Worker:
    """Make this process's Worker row."""
    now = database.utc_now()
    with database.write():
        return Worker.objects.create(
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            concurrency=slots,
            jobs=registry.names(),
            release=conf.release(),
            started_at=now,
            heartbeat_at=now,
        )
