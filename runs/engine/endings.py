"""The end of a run, and in the same transaction the claim of the next.

Between two short runs there is then one commit, not two. Either both are stored or neither: a
process that dies in between leaves the first run unfinished and the second unclaimed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from django.db import Error

from runs.engine import checkpoints, claims, database, history, leases, queue, wakeups
from runs.engine.checkpoints import Pending
from runs.engine.claims import Claim, Claimer
from runs.engine.database import Statement
from runs.engine.failures import Failure
from runs.engine.runwrites import FenceRefused, RunWrite, lines_params
from runs.models import EventKind
from runs.payloads import JSONText, dumps

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends: completed with an output, or failed, perhaps in a step."""

    output: JSONText | None = None
    failure: Failure | None = None
    step: str | None = None


_FINISH = RunWrite(
    f"""
    UPDATE runs_run SET
        status = %s, output = %s, error_type = %s, error_message = %s, error_traceback = %s,
        error_step = %s, error_fingerprint = %s, seq = seq + %s,
        progress = COALESCE(%s, progress), current_step = NULL, finished_at = {{now}},
        due_at = NULL, lease_owner = NULL, lease_expires_at = NULL, held_key = NULL
    WHERE {leases.HOLDS}
    """,
    history.INSERT_FOR_RUN,
)


def end_run(
    claim: Claim, actor: str, pending: Pending, ending: Ending, claimer: Claimer | None = None
) -> Claim | None:
    """End the run and free its key; with a ``claimer`` take the next run, if one is due.

    Raises FenceRefused; then nothing is stored.
    """
    checkpoints.be_sure(database.id_param(claim.run_id), pending)
    if claimer is not None and (claim.key is None or database.is_sqlite()):
        try:
            return _end(claim, actor, pending, ending, claimer)
        except database.UNAVAILABLE:
            raise
        except Error as error:  # such as another claimer that took the same key just now
            logger.info("Run %s is ended without a claim: %s", claim.run_id, error)
    _end(claim, actor, pending, ending, None)
    return None


def _end(
    claim: Claim, actor: str, pending: Pending, ending: Ending, claimer: Claimer | None
) -> Claim | None:
    fence = leases.fence_params(*claim.lease)
    update, event = _params(claim.job, fence, actor, pending, ending)
    taken: Claim | claims.Parked | None = None
    with database.hot_write(alone=claim.key is None) as hot:
        if claimer is None or database.is_sqlite():
            _FINISH.apply(hot, update, pending.lines, event, fence[0])
            leases.unpark(hot, claim.key)
            if claimer is not None:
                taken = claims.take_here(hot, claimer)
        else:
            jobs = list(claimer.jobs)
            ours = (jobs, fence[0], jobs, fence[0], *claims.taking_params(claimer))
            params = (*update, *lines_params(pending.lines), *event, *ours)
            rows = hot.rows(_finish_and_claim(bool(pending.lines)), params)
            if not rows:
                raise FenceRefused
            taken = claims.claim_of(rows[0], claimer)
    if claim.key is not None:
        wakeups.ring()
    return taken if isinstance(taken, Claim) else None


def _finish_and_claim(has_lines: bool) -> Statement:
    return _FINISH.statement(has_lines, queue.CLAIM_AFTER, queue.RESULT_AFTER)


def _params(
    job: str, fence: tuple[Any, ...], actor: str, pending: Pending, ending: Ending
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Those of the update, and of the event."""
    failure, step = ending.failure, ending.step
    now = database.time_param(database.utc_now())
    rest = (len(pending.lines) + 1, pending.progress, *fence)
    if failure is None:
        update = ("completed", ending.output, None, None, None, None, None, *rest)
        return update, (EventKind.COMPLETED.value, actor, None, now)
    fingerprint = failure.fingerprint(job, step)
    error = (failure.type, failure.message, failure.traceback, step, fingerprint)
    data = dumps({"step": step, "error": str(failure)[:500], "fingerprint": fingerprint})
    return ("failed", None, *error, *rest), (EventKind.FAILED.value, actor, data, now)
