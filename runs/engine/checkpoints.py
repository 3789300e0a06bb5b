"""The fenced writes of a run's holder: steps, progress and log lines.

Each is one short transaction that begins with an update of the run under the fence
(``leases.HOLDS``), which also hands out the run's next ``seq``. A write that the fence
refuses changes nothing. In ORM terms a checkpoint is::

    Run.objects.filter(<fence>).update(seq=F("seq") + 1, step_count=F("step_count") + 1, …)
    Step.objects.update_or_create(run=…, name=…, defaults={…})
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError

from runs.engine import database, leases
from runs.engine.database import Statement
from runs.engine.failures import Failure
from runs.engine.runwrites import LogLine, RunWrite, put_lines
from runs.models import Step
from runs.payloads import JSONText


class AlreadyStored(Exception):
    """The step is stored; the whole write was rolled back."""


@dataclass(slots=True)
class Pending:
    """What an execution has buffered since its last write."""

    lines: Sequence[LogLine] = ()
    progress: JSONText | None = None
    current_step: str | None = None
    #: So many of the lines may be stored already: an attempt to write them got no answer.
    unsure: int = 0


@dataclass(slots=True)
class StepRecord:
    """A step as it ended."""

    name: str
    attempts: int
    started_at: datetime
    finished_at: datetime
    output: JSONText | None = None
    failure: Failure | None = None


_STEP_DONE = f"""
    UPDATE runs_run SET
        seq = seq + %s, step_count = step_count + 1, recoveries = 0,
        current_step = %s, progress = COALESCE(%s, progress)
    WHERE {leases.HOLDS}
"""

_STEP_FAILED = f"""
    UPDATE runs_run SET seq = seq + %s, current_step = %s, progress = COALESCE(%s, progress)
    WHERE {leases.HOLDS}
"""

_STEP = """
    INSERT INTO runs_step (run_id, name, status, attempts, started_at, finished_at,
        output, error_type, error_message, error_traceback, seq, "index")
    SELECT id, %s, %s, %s, %s, %s, %s, %s, %s, %s, seq, {index} FROM {{run}}
"""

# A step that is tried again gets a new id: whoever reads new rows by id finds it once more.
_INSTEAD_OF_A_FAILURE = """
    ON CONFLICT (run_id, name) DO UPDATE SET
        id = excluded.id, "index" = excluded."index", status = excluded.status,
        attempts = excluded.attempts, seq = excluded.seq, started_at = excluded.started_at,
        finished_at = excluded.finished_at, output = excluded.output,
        error_type = excluded.error_type, error_message = excluded.error_message,
        error_traceback = excluded.error_traceback
    WHERE runs_step.status <> 'completed' AND runs_step.attempts < excluded.attempts
"""

_DONE, _FAILED = _STEP.format(index="step_count - 1"), _STEP.format(index="NULL")

#: By whether the step failed, and whether it did before.
_PUT_STEP = {
    (False, False): RunWrite(_STEP_DONE, _DONE),
    (False, True): RunWrite(_STEP_DONE, _DONE + _INSTEAD_OF_A_FAILURE),
    (True, False): RunWrite(_STEP_FAILED, _FAILED),
    (True, True): RunWrite(_STEP_FAILED, _FAILED + _INSTEAD_OF_A_FAILURE),
}

_FLUSH = Statement(f"""
    UPDATE runs_run SET current_step = %s, progress = COALESCE(%s, progress)
    WHERE {leases.HOLDS}
""")

# Log lines are fenced by generation alone: what was written just before a cancel survives.
_NUMBER_LINES = Statement(
    "UPDATE runs_run SET seq = seq + %s WHERE id = %s AND lease_generation = %s RETURNING seq"
)

# Who waits for the run's row waits for an earlier attempt that is under way in the server still:
# that has locked the row before its commit was asked for.
_LOCK_RUN = Statement("SELECT 1 FROM runs_run WHERE id = %s {in_order}")

_IS_NEWEST_LINE = Statement("""
    SELECT 1 FROM (
        SELECT level, message, created_at FROM runs_logentry
        WHERE run_id = %s ORDER BY id DESC LIMIT 1
    ) AS newest
    WHERE level = %s AND message = %s AND created_at = %s
""")


def be_sure(run_id: Any, pending: Pending) -> None:
    """Before lines are written: leave out those that are stored, by a commit without an answer.

    One look is enough: lines are stored together or not at all, and by one write at a time.
    """
    if pending.unsure:
        _, level, message, _, moment = pending.lines[pending.unsure - 1]
        last = (run_id, level, message, database.time_param(moment))
        with database.hot_write() as hot:
            hot.rows(_LOCK_RUN, (run_id,))
            if hot.rows(_IS_NEWEST_LINE, last):
                pending.lines = pending.lines[pending.unsure :]
    pending.unsure = len(pending.lines)


def put_step(fence: tuple[Any, ...], record: StepRecord, pending: Pending) -> None:
    """Store a step's end with all that is buffered.

    Raises FenceRefused; AlreadyStored if the step is stored, by a commit whose answer was lost.
    """
    be_sure(fence[0], pending)
    failure = record.failure
    is_again = record.attempts > 1
    write = _PUT_STEP[failure is not None, is_again]
    update = (len(pending.lines) + 1, pending.current_step, pending.progress, *fence)
    insert = (
        record.name,
        "completed" if failure is None else "failed",
        record.attempts,
        database.time_param(record.started_at),
        database.time_param(record.finished_at),
        record.output,
        *((failure.type, failure.message, failure.traceback) if failure else (None,) * 3),
    )
    try:
        with database.hot_write(alone=not is_again) as hot:
            if not write.apply(hot, update, pending.lines, insert, fence[0]):
                raise AlreadyStored
    except IntegrityError as error:
        raise AlreadyStored from error


def stored_index(run_id: UUID, name: str) -> int | None:
    """The place of a stored step among the completed ones; None for one that failed."""
    return Step.objects.values_list("index", flat=True).get(run_id=run_id, name=name)


def flush(fence: tuple[Any, ...], pending: Pending, *, with_state: bool) -> None:
    """Store what is buffered; ``with_state`` says that progress or current step changed."""
    be_sure(fence[0], pending)
    with database.hot_write(alone=not pending.lines) as hot:
        if with_state:
            hot.rows(_FLUSH, (pending.current_step, pending.progress, *fence))
        if pending.lines:
            count = len(pending.lines)
            rows = hot.rows(_NUMBER_LINES, (count, *fence[:2]))
            if rows:
                put_lines(fence[0], rows[0][0] - count, pending.lines)
