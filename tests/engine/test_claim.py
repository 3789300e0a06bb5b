"""The claim: which run is next, and that one worker gets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

import runs
from runs import Step, cancel, job, retry
from runs.engine import claims, queue
from runs.engine.database import Statement
from runs.models import Run
from runs.registry import registry
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, execute, kinds, race, reload

pytestmark = pytest.mark.django_db


@pytest.fixture
def work() -> runs.JobDefinition:
    @job
    def work(step: Step) -> None:
        step.run("a", lambda: None)

    return work


def test_with_nothing_due_a_claim_returns_none(worker: HandWorker) -> None:
    assert worker.claim() is None
    assert worker.claim([]) is None


def test_a_claim_sets_owner_lease_and_generation(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    before = datetime.now(UTC)
    held = worker.take(work.trigger())
    run = Run.objects.get()
    assert (run.status, run.lease_owner, run.lease_generation) == ("running", worker.id, 1)
    assert run.lease_expires_at is not None
    length = run.lease_expires_at - before
    assert timedelta(seconds=29) < length < timedelta(seconds=40)
    assert run.due_at == run.lease_expires_at
    assert run.started_at is not None
    assert held.claim.generation == 1
    assert kinds(run) == ["triggered", "started"]
    assert run.events.last().actor == "worker"  # type: ignore[union-attr]


def test_started_at_stays_from_the_first_claim(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    run = work.trigger()
    worker.take(run)
    started = reload(run).started_at
    worker.die()
    other_worker.take(run)
    assert reload(run).started_at == started


def test_the_oldest_of_one_priority_is_first(work: runs.JobDefinition, worker: HandWorker) -> None:
    triggered = [work.trigger() for _ in range(5)]
    for run in triggered:
        worker.take(run)


def test_a_higher_priority_goes_first(work: runs.JobDefinition, worker: HandWorker) -> None:
    low, none, high, also_high = (work.trigger(priority=p) for p in (-3, 0, 8, 8))
    for run in (high, also_high, none, low):
        worker.take(run)


def test_an_expired_lease_goes_before_everything_pending(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    lost = work.trigger(priority=-5)
    worker.take(lost)
    urgent = work.trigger(priority=9)
    worker.die()
    other_worker.take(lost)
    other_worker.take(urgent)


def test_a_delayed_run_of_high_priority_blocks_nobody(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    later = datetime.now(UTC) + timedelta(minutes=1)
    for number in range(20):
        work.trigger(priority=number, run_at=later)
    due = work.trigger(priority=3)
    worker.take(due)
    assert worker.claim() is None


def test_a_worker_takes_only_runs_of_jobs_that_it_knows(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    @job
    def gone(step: Step) -> None:
        pass

    unknown = gone.trigger(priority=9)
    registry.remove("gone")
    known = work.trigger()
    worker.take(known)
    assert worker.claim() is None
    assert reload(unknown).status == "pending"
    assert worker.claim(["gone"]) is not None


def test_an_expired_run_of_an_unknown_job_is_left_alone(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    run = work.trigger()
    worker.take(run)
    worker.die()
    registry.remove("work")
    assert other_worker.claim() is None
    assert reload(run).lease_generation == 1


def test_terminal_runs_are_never_claimed(work: runs.JobDefinition, worker: HandWorker) -> None:
    @job
    def fail(step: Step) -> None:
        raise LookupError

    execute(work)
    execute(fail)
    cancel(work.trigger())
    assert worker.claim() is None


def test_a_retried_run_keeps_its_place_in_the_queue(worker: HandWorker) -> None:
    @job
    def fail(step: Step) -> None:
        raise LookupError

    first = execute(fail)
    second = fail.trigger()
    retry(first)
    worker.take(first)
    worker.take(second)


def test_a_handed_back_run_keeps_its_place_in_the_queue(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    first = work.trigger()
    held = worker.take(first)
    second = work.trigger()
    assert held.hand_over()
    other_worker.take(first)
    other_worker.take(second)


def test_anything_due_tells_what_a_claim_would_find(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    assert not claims.anything_due(["work"])
    work.trigger(run_at=datetime.now(UTC) + timedelta(hours=1))
    assert not claims.anything_due(["work"])
    work.trigger()
    assert claims.anything_due(["work"])
    assert not claims.anything_due(["other"])
    assert not claims.anything_due([])
    worker.take()
    assert not claims.anything_due(["work"])
    worker.die()
    assert claims.anything_due(["work"])


def _plan(statement: Statement, params: list[Any]) -> str:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # so few rows need no index
            cursor.execute("EXPLAIN " + statement.postgresql, params)
            return "\n".join(str(row) for row in cursor.fetchall())
    rows = connection.connection.execute("EXPLAIN QUERY PLAN " + statement.sqlite, params)
    return "\n".join(str(row) for row in rows)


def test_the_queue_is_read_by_its_indexes(work: runs.JobDefinition) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    work.batch_trigger([runs.BatchItem(run_at=later) for _ in range(300)])
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE runs_run")
        plans = [_plan(queue.IS_DUE, [["work"], ["work"]])]
    else:
        plans = [_plan(look, ["work"]) for look in queue.looks(1)]
    together = "\n".join(plans)
    assert "run_lease_end" in together
    assert "run_queue" in together
    for unwanted in ("TEMP B-TREE", "Sort", "SCAN runs_run", "SCAN r ", "Seq Scan on runs_run"):
        assert unwanted not in together


@pytest.mark.django_db(transaction=True)
def test_any_number_of_claimers_get_distinct_runs(work: runs.JobDefinition) -> None:
    triggered = work.batch_trigger([None] * 11)

    def claim_all() -> list[UUID]:
        worker, found = HandWorker(), []
        while (held := worker.claim()) is not None:
            found.append(held.claim.run_id)
        return found

    results = race(*[claim_all] * 8)
    taken = [id for result in results for id in result]
    assert len(taken) == len(set(taken)) == 11
    assert set(taken) == {run.pk for run in triggered}
    assert set(Run.objects.values_list("lease_generation", flat=True)) == {1}
    check_invariants()


@pytest.mark.django_db(transaction=True)
def test_one_expired_run_is_taken_over_once(work: runs.JobDefinition) -> None:
    run = work.trigger()
    dead = HandWorker()
    dead.take(run)
    dead.die()
    results = race(*[HandWorker(f"w{n}").claim for n in range(8)])
    assert sum(held is not None for held in results) == 1
    assert reload(run).lease_generation == 2
