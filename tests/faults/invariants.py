"""What holds for the stored runs at every moment, whatever has happened: a table of promises.

``check_invariants()`` looks at the database as it is. Every suite that disturbs the engine ends
with it, and most look in between. To add a promise, add a function and a row to ``PROMISES``, and
what breaks it to ``test_invariants``.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from runs.engine import database
from runs.models import (
    TERMINAL,
    BulkAction,
    BulkItem,
    Job,
    Label,
    LogEntry,
    Run,
    RunEvent,
    RunStatus,
    Step,
)

_Rows = dict[uuid.UUID, list[dict[str, Any]]]

#: Which events may come in which state of a run, and the state after them.
_TRANSITIONS: dict[str, tuple[frozenset[str | None], str | None]] = {
    "triggered": (frozenset({None}), "pending"),
    "coalesced": (frozenset({"pending"}), "pending"),
    "started": (frozenset({"pending", "running"}), "running"),
    "taken_over": (frozenset({"running"}), "running"),
    "handed_back": (frozenset({"running"}), "running"),
    "completed": (frozenset({"running"}), "completed"),
    "failed": (frozenset({"running"}), "failed"),
    "cancelled": (frozenset({"pending", "running", "waiting"}), "cancelled"),
    "retried": (frozenset({"failed", "cancelled"}), "pending"),
    "retriggered": (frozenset(TERMINAL), None),  # which leaves the state as it is
}


class Stored:
    """Everything that is stored of runs, read once.

    As it is at one moment: the server may still end what a worker that is dead has begun, such as
    a purge. Another database than the default one is a copy, to which nobody writes.
    """

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        self._using = using
        with database.snapshot() if using == DEFAULT_DB_ALIAS else nullcontext():
            self.runs: dict[uuid.UUID, Run] = Run.objects.using(using).in_bulk()
            self.steps = self._by_run(Step, "seq")
            self.logs = self._by_run(LogEntry, "id")
            self.events = self._by_run(RunEvent, "id")
            self.labels = self._by_run(Label, "id")

    def _by_run(self, model: Any, order: str) -> _Rows:
        found: _Rows = defaultdict(list)
        for row in model.objects.using(self._using).order_by(order).values():
            found[row["run_id"]].append(row)
        return found

    @cached_property
    def paused(self) -> set[str]:
        """The names of paused jobs."""
        jobs = Job.objects.using(self._using).filter(paused_at__isnull=False)
        return set(jobs.values_list("name", flat=True))

    @cached_property
    def bulk(self) -> list[tuple[BulkAction, list[BulkItem]]]:
        """Bulk actions with their outcomes."""
        actions = BulkAction.objects.using(self._using).prefetch_related("items")
        return [(action, list(action.items.all())) for action in actions]


def _every_row_has_its_run(stored: Stored) -> Iterator[str]:
    for name in ("steps", "logs", "events", "labels"):
        for run_id in getattr(stored, name).keys() - stored.runs.keys():
            yield f"{name} of run {run_id}, which is not there"


def _numbers_are_given_once(stored: Stored) -> Iterator[str]:
    for run_id, run in stored.runs.items():
        rows = [*stored.steps[run_id], *stored.logs[run_id], *stored.events[run_id]]
        given = sorted(row["seq"] for row in rows)
        # A failed step that is tried again has one row still, and takes a new number for it.
        replaced = sum(step["attempts"] - 1 for step in stored.steps[run_id])
        if len(set(given)) != len(given):
            yield f"{run}: a number was given twice: {given}"
        elif not given or (given[0], given[-1]) != (1, run.seq):
            yield f"{run}: numbers {given}, last given {run.seq}"
        elif len(given) + replaced != run.seq:
            yield f"{run}: {run.seq} numbers given, {replaced} to replaced steps: {given}"


def _rows_are_in_order(stored: Stored) -> Iterator[str]:
    for rows in (stored.logs, stored.events):
        for run_id, found in rows.items():
            numbers = [row["seq"] for row in found]
            if numbers != sorted(numbers):
                yield f"run {run_id}: by id, the numbers are {numbers}"


def _steps_are_counted(stored: Stored) -> Iterator[str]:
    for run_id, run in stored.runs.items():
        steps = stored.steps[run_id]
        completed = [step["index"] for step in steps if step["status"] == "completed"]
        if sorted(completed) != list(range(run.step_count)):
            yield f"{run}: indexes {completed}, {run.step_count} counted"
        names = [step["name"] for step in steps]
        if len(set(names)) != len(names):
            yield f"{run}: two steps of one name: {names}"
        for step in steps:
            if (step["error_type"] is None) is not (step["status"] == "completed"):
                yield f"{run}: step {step['name']} is {step['status']}: {step['error_type']}"


def _the_state_is_whole(stored: Stored) -> Iterator[str]:
    for run in stored.runs.values():
        about = f"{run} is {run.status}"
        if run.is_terminal is not (run.finished_at is not None):
            yield f"{about} and was finished at {run.finished_at}"
        if run.is_terminal and run.due_at is not None:
            yield f"{about} and due at {run.due_at}"
        if run.is_terminal and run.current_step is not None:
            yield f"{about} and in step {run.current_step}"
        if (run.status == RunStatus.FAILED) is not (run.error_type is not None):
            yield f"{about} and its error is {run.error}"
        if run.status == RunStatus.RUNNING and run.due_at is None:
            yield f"{about} and nobody would ever take it over"


def _a_run_has_one_holder(stored: Stored) -> Iterator[str]:
    for run in stored.runs.values():
        about = f"{run} is {run.status}, owned by {run.lease_owner}"
        if (run.lease_owner is None) is not (run.lease_expires_at is None):
            yield f"{about} until {run.lease_expires_at}"
        if run.status in (RunStatus.COMPLETED, RunStatus.FAILED) and run.lease_owner is not None:
            yield f"{about}: it has ended itself, and let go"
        claims = sum(row["kind"] in ("started", "taken_over") for row in stored.events[run.pk])
        if claims != run.lease_generation:
            yield f"{about}: generation {run.lease_generation} after {claims} claims"


def _a_key_has_one_holder(stored: Stored) -> Iterator[str]:
    running: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for run in stored.runs.values():
        # From its first claim to its end, and as long as a body may still be at work.
        holds = run.status == RunStatus.RUNNING or run.lease_owner is not None
        if run.held_key != (run.concurrency_key if holds else None):
            yield f"{run} is {run.status}, owned by {run.lease_owner}, holds {run.held_key!r}"
        if run.held_key is not None:
            held[run.held_key] += 1
        if run.status == RunStatus.RUNNING and run.concurrency_key is not None:
            running[run.concurrency_key] += 1
    yield from (f"{count} runs hold key {key!r}" for key, count in held.items() if count > 1)
    yield from (f"{count} run with key {key!r}" for key, count in running.items() if count > 1)


def _one_pending_a_job_and_key(stored: Stored) -> Iterator[str]:
    pending = Counter(
        (run.job, run.concurrency_key)
        for run in stored.runs.values()
        if run.status == RunStatus.PENDING and run.concurrency_key is not None
    )
    yield from (f"{count} pending of {key}" for key, count in pending.items() if count > 1)


def _one_run_an_idempotency_key(stored: Stored) -> Iterator[str]:
    known = Counter(
        (run.job, run.idempotency_key)
        for run in stored.runs.values()
        if run.idempotency_key is not None
    )
    yield from (f"{count} runs of {key}" for key, count in known.items() if count > 1)


def _history_tells_the_state(stored: Stored) -> Iterator[str]:
    for run_id, run in stored.runs.items():
        kinds = [row["kind"] for row in stored.events[run_id]]
        state: str | None = None
        for kind in kinds:
            allowed, then = _TRANSITIONS[kind]
            if state not in allowed:
                yield f"{run}: {kind} while {state}: {kinds}"
            state = then or state
        if state != run.status:
            yield f"{run} is {run.status}: {kinds}"
        if kinds.count("retried") != run.attempt - 1:
            yield f"{run}: attempt {run.attempt}: {kinds}"


def _labels_are_found(stored: Stored) -> Iterator[str]:
    for run_id, run in stored.runs.items():
        rows = {row["key"]: row["value"] for row in stored.labels[run_id]}
        if rows != run.labels:
            yield f"{run}: labels {run.labels}, found by {rows}"


def _a_bulk_action_does_each_run_once(stored: Stored) -> Iterator[str]:
    for action, items in stored.bulk:
        counted = (sum(item.done for item in items), sum(not item.done for item in items))
        if counted != (action.done, action.refused):
            yield f"bulk action {action.pk}: {counted}, said {action.done}, {action.refused}"
        runs = [item.run_id for item in items]
        if len(set(runs)) != len(runs):
            yield f"bulk action {action.pk}: a run twice in {runs}"


def _who_waits_waits_for_somebody(stored: Stored) -> Iterator[str]:
    held = {run.held_key for run in stored.runs.values()} - {None}
    for run in stored.runs.values():
        is_parked = run.status == RunStatus.PENDING and run.due_at is None
        waits = run.concurrency_key in held or run.job in stored.paused or run.lease_owner
        if is_parked and not waits:
            yield f"{run} is parked, and nothing will put it back into the queue"


@dataclass(frozen=True)
class Promise:
    """Something that must hold, and what in the database breaks it."""

    says: str
    violations: Callable[[Stored], Iterable[str]]
    #: It may be untrue for up to a second, until a worker's sweep has repaired it.
    is_swept: bool = False


PROMISES = (
    Promise("a row belongs to a run", _every_row_has_its_run),
    Promise("a run's numbers are given once, without gaps", _numbers_are_given_once),
    Promise("log lines and events are in order of their ids", _rows_are_in_order),
    Promise("completed steps are counted 0, 1, 2, … and have one row each", _steps_are_counted),
    Promise("state, end and error of a run agree", _the_state_is_whole),
    Promise("a run has at most one holder, and its history tells each", _a_run_has_one_holder),
    Promise("a concurrency key has at most one holder", _a_key_has_one_holder),
    Promise("at most one run is pending per job and key", _one_pending_a_job_and_key),
    Promise("one run per job and idempotency key", _one_run_an_idempotency_key),
    Promise("the history leads to the state", _history_tells_the_state),
    Promise("a run is found by its labels", _labels_are_found),
    Promise("a bulk action does each run once", _a_bulk_action_does_each_run_once),
    Promise("a parked run waits for somebody", _who_waits_waits_for_somebody, is_swept=True),
)


def violations(
    *, using: str = DEFAULT_DB_ALIAS, runs: Iterable[uuid.UUID] | None = None, swept: bool = True
) -> list[str]:
    """What breaks a promise in that database, in words.

    ``runs`` are those that must be there, and no others. Without ``swept``, what a worker's
    sweep has to repair is left out.
    """
    stored = Stored(using)
    found = [
        f"{promise.says}: {violation}"
        for promise in PROMISES
        if swept or not promise.is_swept
        for violation in promise.violations(stored)
    ]
    if runs is not None:
        expected = set(runs)
        found += [f"no run is lost: {run}" for run in expected - stored.runs.keys()]
        found += [f"no run appears: {run}" for run in stored.runs.keys() - expected]
    return found


def check_invariants(
    *, using: str = DEFAULT_DB_ALIAS, runs: Iterable[uuid.UUID] | None = None, swept: bool = True
) -> None:
    """Fail with all broken promises; see ``violations``."""
    found = violations(using=using, runs=runs, swept=swept)
    assert not found, "Broken promises:\n" + "\n".join(found)
