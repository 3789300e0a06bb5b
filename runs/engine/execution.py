"""One claimed run while this process executes it: its steps, its buffer, its reason to stop."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from runs import conf, signals
from runs.engine import checkpoints, control, database, endings, forks, leases, persistence
from runs.engine.borrowed import BorrowedConnections
from runs.engine.buffer import Buffer, in_callers_way, progress_text, storable
from runs.engine.checkpoints import AlreadyStored, StepRecord
from runs.engine.claims import Claim, Claimer, StoredStep
from runs.engine.endings import Ending
from runs.engine.failures import Failure, causes_of
from runs.engine.hold import Hold
from runs.engine.open_step import OpenStep, check_step_name
from runs.engine.runwrites import FenceRefused
from runs.errors import DuplicateStepError, OpenTransactionError, StepResultError
from runs.models import Run, RunStatus
from runs.payloads import (
    JSONText,
    Unstorable,
    byte_size,
    codec_for_result,
    cut_bytes,
    safe_str,
    why_unfit,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: The step whose body the current thread or task is in.
current_step: ContextVar[str | None] = ContextVar("current_step", default=None)

#: A step is told of once it has taken this long, in seconds: most are over before, and each would
#: cost a write.
SHOWN_AFTER = 0.2

#: So many failed steps are remembered, to name the one that a run failed in.
_REMEMBERED_FAILURES = 1_000


class Execution:
    """The state of one execution. Methods may be called from any thread of the handler's."""

    def __init__(self, claim: Claim, owner_name: str) -> None:
        self.claim = claim
        self.run_id = claim.run_id
        self.owner_name = owner_name
        self.fence = leases.fence_params(*claim.lease)
        self.hold = Hold(claim)
        self.labels: dict[str, str] = json.loads(claim.labels)
        self.stop: control.ControlFlow | None = None
        self.handing_over = False
        self.closed = False
        self._forks = forks.depth
        self._failed_steps: list[tuple[BaseException, str]] = []
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._running: dict[str, float] = {}  # since when each step has been under way
        self.buffer = Buffer(self.fence, self._shown_step)
        self.connections = BorrowedConnections()
        self._max_log = conf.max_log_bytes()
        self.max_result = conf.max_result_bytes()

    # Stopping

    def halt(self, reason: control.ControlFlow) -> None:
        """Record why this execution has to stop; the first reason stays."""
        with self._lock:
            if self.stop is not None:
                return
            self.stop = reason
        if isinstance(reason, control.LeaseLost):
            self.announce(signals.lease_lost, worker=self.owner_name)

    def check(self) -> None:
        """Raise the reason to stop, if there is one."""
        self._refuse_child()
        if self.closed:
            raise control.LeaseLost(f"run {self.run_id} is over; a thread of it still worked")
        if self.handing_over and self.stop is None and current_step.get() is None:
            self.halt(control.HandOver(f"the worker of run {self.run_id} is stopping"))
        if self.stop is not None:
            raise self._reason(self.stop)

    def be_sure(self) -> None:
        """Look whether the run is still ours, before a body starts. Raises the reason to stop."""
        if not self.persist(self.hold.renew):
            self.halt(self.why_refused())
        self.check()

    @property
    def is_in_child(self) -> bool:
        """Whether this is a copy, in a process that the job has forked off."""
        return forks.depth != self._forks

    def _refuse_child(self) -> None:
        if self.is_in_child:
            raise control.LeaseLost(
                f"run {self.run_id} is executed by the process that has forked this one off"
            )

    def _reason(self, stop: control.ControlFlow) -> control.ControlFlow:
        # A new one each time: threads may raise it at once, each with its own traceback.
        return type(stop)(*stop.args)

    # Steps

    def open_step(self, name: str, fn: Callable[..., Any]) -> OpenStep:
        """Begin a step: its name is taken, and it may have a stored result.

        Raises the reason to stop; DuplicateStepError; OpenTransactionError;
        ValidationError for a name that can't be one.
        """
        self.check()
        check_step_name(name)
        if database.in_callers_transaction():
            raise OpenTransactionError(
                f"Step {name!r} was started inside a transaction that the handler opened. Its "
                "checkpoint could be rolled back with it. Move the transaction into the step."
            )
        with self._lock:
            if name in self._names:
                raise DuplicateStepError(
                    f"Step {name!r} was already used in this attempt of run {self.run_id}. "
                    "Give each step a name of its own, such as one with the item's id."
                )
            self._names.add(name)
        step = OpenStep(name, codec_for_result(fn), 0, database.utc_now())
        stored = self.claim.steps.get(name)
        if stored is not None:
            step.attempts = stored.attempts
            if stored.completed:
                step.replayed, step.stored_output = True, stored.output
                return step
        with self._lock:
            self._running[name] = time.monotonic()
        return step

    def replay(self, step: OpenStep) -> Any:
        """The stored result. Raises StepResultError if it no longer fits the type."""
        return self._decode(step, step.stored_output or "null")

    def complete_step(self, step: OpenStep, value: Any) -> Any:
        """Checkpoint a result and return it as it will come back on replay.

        Raises StepResultError for a value that can't be stored, which fails the step, and
        the reason to stop if the run isn't ours any more.
        """
        try:
            self._refuse_open_transaction(step)
            output, decoded = self._encode(step, value)
        except (OpenTransactionError, StepResultError) as error:
            self.fail_step(step, error)
            raise
        self._put(self._record(step, output=output))
        if signals.step_completed.receivers:
            index = self.persist(lambda: checkpoints.stored_index(self.run_id, step.name))
            self.announce(signals.step_completed, step=step.name, index=index, output=decoded)
        self.check()
        return decoded

    def fail_step(self, step: OpenStep, error: BaseException) -> None:
        """Store that the body raised; its name may be tried again.

        Raises the reason to stop if there is one: then ``error`` only tells of it.
        """
        if isinstance(error, control.ControlFlow) or self.stop is not None:
            self._close(step)
            self.announce(signals.step_cancelled, step=step.name)
            if self.stop is None:  # the job's own code raised one
                return
            raise self._reason(self.stop) from error
        if database.reset_connection():
            logger.warning("Step %r of run %s left a transaction open", step.name, self.run_id)
        failure = Failure.of(error)
        self._put(self._record(step, failure=failure))
        with self._lock:
            self._failed_steps.append((error, step.name))
            del self._failed_steps[:-_REMEMBERED_FAILURES]
            self._names.discard(step.name)
        self.announce(signals.step_failed, step=step.name, error=str(failure))

    def _record(
        self, step: OpenStep, *, output: JSONText | None = None, failure: Failure | None = None
    ) -> StepRecord:
        self._close(step)
        attempts = step.attempts + 1
        if failure is not None:
            self.claim.steps[step.name] = StoredStep(False, None, attempts)
        return StepRecord(step.name, attempts, step.started_at, database.utc_now(), output, failure)

    def _close(self, step: OpenStep) -> None:
        with self._lock:
            self._running.pop(step.name, None)

    def _put(self, record: StepRecord) -> None:
        try:
            with self.buffer.taken() as pending:
                try:
                    self.persist(lambda: checkpoints.put_step(self.fence, record, pending))
                except AlreadyStored:  # with all that is pending, by a commit without an answer
                    self.persist(lambda: checkpoints.stored_index(self.run_id, record.name))
            return
        except FenceRefused:
            self.halt(self.why_refused())
        self.announce(signals.step_cancelled, step=record.name)
        self.check()
        raise AssertionError("unreachable: check() raises the reason")

    def _refuse_open_transaction(self, step: OpenStep) -> None:
        if database.in_callers_transaction():
            database.reset_connection()
            raise OpenTransactionError(
                f"Step {step.name!r} left a transaction open; what it wrote was rolled back. "
                "Commit inside the step, best with `with transaction.atomic():`."
            )

    def _encode(self, step: OpenStep, value: Any) -> tuple[JSONText, Any]:
        try:
            output, decoded = step.codec.encode(value)
        except Unstorable as error:
            raise StepResultError(
                f"The result of step {step.name!r}, a {type(value).__name__}, can't be stored: "
                f"{error}. Return JSON values, or annotate the function's return type with "
                "something that pydantic can write and read."
            ) from error
        size = byte_size(output)
        if size > self.max_result:
            raise StepResultError(
                f"The result of step {step.name!r}, a {type(value).__name__}, is {size:,} bytes; "
                f"MAX_RESULT_BYTES allows {self.max_result:,}. Store it elsewhere and return "
                "where it is."
            )
        return output, decoded

    def _decode(self, step: OpenStep, text: str) -> Any:
        try:
            return step.codec.decode(text)
        except ValueError as error:
            raise StepResultError(
                f"The stored result of step {step.name!r} does not fit the type that its "
                f"function returns today: {why_unfit(error)}. Give the changed step a "
                "new name, or make the type accept the old value."
            ) from error

    # Progress and log

    def log(self, level: str, message: object, data: object) -> None:
        """Buffer one log line."""
        text = message if type(message) is str else safe_str(message)
        line = (
            current_step.get(),
            level,
            cut_bytes(text, self._max_log),
            None if data is None else storable(data, self._max_log),
            database.utc_now(),
        )
        self.buffer.add_line(line)
        self.announce(signals.log_written, step=line[0], level=level, message=line[2], data=data)
        if (self.buffer.is_full or self.closed) and not in_callers_way():
            self.make_room()

    def report(self, current: Any, total: Any, message: Any) -> None:
        """Buffer the run's progress; the last value wins."""
        self.buffer.set_progress(current, total, message)
        if signals.run_progressed.receivers:
            progress = json.loads(progress_text(current, total, message))
            self.announce(signals.run_progressed, progress=progress)

    def flush(self, *, wait: bool = True) -> None:
        """Write what is buffered. If the database is away it stays buffered.

        Without ``wait`` a write that is under way already will do.
        """
        if self.is_in_child:
            return
        try:
            self.buffer.flush(with_state=self.stop is None, wait=wait)
        except database.UNAVAILABLE as error:
            database.drop_broken_connection()
            logger.warning("Log lines of run %s wait for the database: %s", self.run_id, error)

    def make_room(self) -> None:
        """Write what is buffered; while the database is away, wait for it.

        A worker that stops keeps nobody waiting: then it stays buffered, beyond the limit.
        """
        if self.is_in_child:
            return

        def write() -> None:
            self.buffer.flush(with_state=self.stop is None)

        with suppress(control.HandOver):
            persistence.persist(write, self.run_id, self._keep_nobody)

    def _keep_nobody(self) -> None:
        if self.handing_over:
            raise control.HandOver("the worker stops while a full log waits for the database")

    def _shown_step(self) -> str | None:
        long_ago = time.monotonic() - SHOWN_AFTER
        with self._lock:
            newest_first = reversed(self._running.items())
            return next((name for name, since in newest_first if since <= long_ago), None)

    # The end

    def finish(self, ending: Ending, claimer: Claimer | None = None) -> Claim | None:
        """Store the outcome; with a ``claimer`` also take the next run, and return that.

        Raises FenceRefused if the run isn't ours any more.
        """
        self._running.clear()

        def end() -> Claim | None:
            nonlocal claimer
            now, claimer = claimer, None  # if the database is away, a second try only ends
            return endings.end_run(self.claim, self.owner_name, pending, ending, now)

        with self.buffer.taken() as pending:
            try:
                return self.persist(end)
            except FenceRefused:
                if not self.persist(self._is_finished):
                    raise
        return None

    def step_behind(self, error: BaseException) -> str | None:
        """The step whose failure ``error`` is, or was raised because of; the earliest of them.

        Rather one that failed by itself than one that an event loop cancelled for another's
        failure.
        """
        told = causes_of(error)
        steps = [
            (isinstance(step_error, asyncio.CancelledError), number, step)
            for number, (step_error, step) in enumerate(self._failed_steps)
            if id(step_error) in told
        ]
        return min(steps)[2] if steps else None

    def _is_finished(self) -> bool:
        """Whether the end is stored already, by a commit whose answer was lost."""
        return Run.objects.filter(
            pk=self.run_id,
            lease_generation=self.claim.generation,
            status__in=(RunStatus.COMPLETED, RunStatus.FAILED),
        ).exists()

    def persist(self, write: Callable[[], T]) -> T:
        """Do a write, and wait for a database that is away.

        The fence decides about a write that comes late. Raises HandOver if the worker
        stops meanwhile.
        """
        self._refuse_child()
        self.connections.note()
        return persistence.persist(write, self.run_id, self._stop_waiting)

    def _stop_waiting(self) -> None:
        if self.handing_over:
            self.halt(control.HandOver("the worker stops while the database is away"))
            self.check()

    def why_refused(self) -> control.ControlFlow:
        """The reason behind a refused write, from the run's row."""
        row = self.persist(
            lambda: (
                Run.objects.filter(pk=self.run_id)
                .values_list("status", "lease_generation", "lease_owner")
                .first()
            )
        )
        about = f"run {self.run_id}"
        if row is None or row[1] != self.claim.generation:
            return control.LeaseLost(f"{about} was taken over by another worker, or deleted")
        if row[0] in (RunStatus.COMPLETED, RunStatus.FAILED):
            return control.LeaseLost(f"{about} is over")
        if row[0] == RunStatus.RUNNING:
            return control.HandOver(f"{about} was handed back to the queue")
        return control.Cancelled(f"{about} was cancelled")

    def announce(self, signal: Any, **kwargs: Any) -> None:
        """Send a signal about this run."""
        if signal.receivers:
            signals.send(
                signal, run_id=self.run_id, job=self.claim.job, labels=self.labels, **kwargs
            )
