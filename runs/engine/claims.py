"""A worker takes a run: the claim.

The claim is flat: it costs the same with a hundred thousand runs scheduled for later or a
million finished ones. See ``queue`` for how it finds the next run. Runs whose key is held or
whose job is paused are taken out of the queue ("parked") when a claim meets them, and put back
by whoever frees the key or resumes the job.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import IntegrityError

from runs import conf
from runs.engine import database, queue
from runs.engine.database import Hot, Statement
from runs.engine.history import record_hot
from runs.models import EventKind
from runs.payloads import JSONText


@dataclass(slots=True)
class StoredStep:
    """What an earlier execution left of a step."""

    completed: bool
    output: str | None
    attempts: int


@dataclass(frozen=True, slots=True)
class Claimer:
    """Who claims: the jobs that it knows, the owner of its leases, its name for people, and when.

    ``asked_at`` is before the claim, by this machine's clock in seconds.
    """

    jobs: tuple[str, ...]
    owner: UUID
    name: str
    asked_at: float = field(default_factory=time.time)


@dataclass(slots=True)
class Claim:
    """A run that this worker holds now, with all that executing it needs."""

    run_id: UUID
    job: str
    input: JSONText
    labels: JSONText
    attempt: int
    generation: int
    recoveries: int
    key: str | None
    owner: UUID
    asked_at: float
    steps: dict[str, StoredStep]

    @property
    def lease(self) -> tuple[UUID, int, UUID]:
        """Run, generation and owner: what every write of the holder has to name."""
        return self.run_id, self.generation, self.owner


class Parked:
    """The next run can't be taken now, and has left the queue."""


_STEPS = Statement("SELECT name, status, output, attempts FROM runs_step WHERE run_id = %s")


def claim_next(jobs: Sequence[str], owner: UUID, owner_name: str) -> Claim | None:
    """Take the next run of these jobs, or None if none is due.

    Runs whose lease has run out come first, then by priority and place in the queue.
    """
    if not jobs:
        return None
    claimer = Claimer(tuple(jobs), owner, owner_name)
    while True:
        try:
            with database.hot_write(alone=True) as hot:
                taken = _take(hot, claimer)
        except IntegrityError:
            continue  # another claimer took a run of the same key at the same moment
        # One parked run a transaction: on PostgreSQL each keeps the holder of its key locked.
        if not isinstance(taken, Parked):
            return taken


def anything_due(jobs: Sequence[str]) -> bool:
    """Whether a run of these jobs is due; also true for one that is about to be parked."""
    if not jobs:
        return False
    if database.is_sqlite():
        return _look(database.directly, tuple(jobs)) is not None
    return bool(database.query(queue.IS_DUE, (list(jobs), list(jobs))))


def _take(hot: Hot, claimer: Claimer) -> Claim | Parked | None:
    if database.is_sqlite():
        return take_here(hot, claimer)
    jobs = list(claimer.jobs)
    rows = hot.rows(queue.CLAIM, (jobs, jobs, *taking_params(claimer)))
    return claim_of(rows[0], claimer) or Parked() if rows else None


def taking_params(claimer: Claimer) -> tuple[Any, ...]:
    """The parameters of PostgreSQL's statements for the one who takes the candidate."""
    lease = conf.lease_seconds()
    return claimer.owner, lease, lease, claimer.name, database.utc_now()


def take_here(hot: Hot, claimer: Claimer) -> Claim | Parked | None:
    """Take the next run, within a transaction on SQLite."""
    found = _look(hot, claimer.jobs)
    if found is None:
        return None
    id, status, previous_owner, key, is_paused, *values, seq = found
    # A run that is under way goes on although its job is paused.
    if (is_paused and status == "pending") or (key and hot.rows(queue.KEY_IS_HELD, (key, id))):
        hot.count(queue.PARK, (id,))
        return Parked()
    job, input, labels, attempt, generation, recoveries = values
    has_died = status == "running" and previous_owner is not None
    lease = conf.lease_seconds()
    hot.count(queue.TAKE, (database.id_param(claimer.owner), lease, lease, int(has_died), id))
    data: dict[str, Any] = {"attempt": attempt}
    if has_died:
        data["from"] = str(database.read_id(previous_owner))
    kind = EventKind.TAKEN_OVER if has_died else EventKind.STARTED
    record_hot(hot, id, kind, claimer.name, seq + 1, data)
    row = (id, job, input, labels, attempt, generation + 1, recoveries + has_died, key)
    return claim_of(row, claimer)


def _look(hot: Hot, jobs: tuple[str, ...]) -> tuple[Any, ...] | None:
    for look in queue.looks(len(jobs)):
        rows = hot.rows(look, jobs)
        if rows:
            return rows[0]
    return None


def claim_of(row: tuple[Any, ...], claimer: Claimer) -> Claim | None:
    """The claim that a row of PostgreSQL's statements tells of; None for an empty one."""
    id, job, input, labels, attempt, generation, recoveries, key = row
    if id is None:
        return None
    return Claim(
        run_id=database.read_id(id),
        job=job,
        input=JSONText(input if input is not None else "null"),
        labels=JSONText(labels),
        attempt=attempt,
        generation=generation,
        recoveries=recoveries,
        key=key,
        owner=claimer.owner,
        asked_at=claimer.asked_at,
        # A first claim finds no steps: there has been nobody to store one.
        steps=_load_steps(id) if generation > 1 else {},
    )


def _load_steps(id: Any) -> dict[str, StoredStep]:
    return {
        name: StoredStep(status == "completed", output, attempts)
        for name, status, output, attempts in database.query(_STEPS, (id,))
    }
