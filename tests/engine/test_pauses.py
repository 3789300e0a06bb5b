"""A paused job's runs aren't claimed, and keep their place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

import runs
from runs import Step, cancel, job, retry
from runs.engine import claims, leases, pauses
from runs.errors import ConflictError, NotFoundError
from runs.models import Job, JobEvent, Run
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, race, reload

pytestmark = pytest.mark.django_db


@pytest.fixture
def work() -> runs.JobDefinition:
    @job
    def work(step: Step) -> None:
        step.run("a", lambda: None)

    return work


@pytest.fixture
def other() -> runs.JobDefinition:
    @job
    def other(step: Step) -> None:
        """Goes on."""

    return other


def test_pending_runs_of_a_paused_job_are_not_claimed_but_those_of_others_are(
    work: runs.JobDefinition, other: runs.JobDefinition, worker: HandWorker
) -> None:
    before = work.trigger()
    row = pauses.pause_job("work", actor="ann", reason="strike")
    after, free = work.trigger(), other.trigger()
    assert (row.paused_by, row.pause_reason) == ("ann", "strike")
    assert row.paused_at is not None
    worker.take(free)
    assert worker.claim() is None
    assert not claims.anything_due(["work", "other"])
    assert {reload(before).status, reload(after).status} == {"pending"}


def test_a_running_run_goes_on(work: runs.JobDefinition, worker: HandWorker) -> None:
    held = worker.take(work.trigger())
    pauses.pause_job("work")
    held.step.run("b", lambda: None)
    assert reload(Run.objects.get()).status == "running"
    assert held.hand_over()
    assert worker.claim() is not None, "it is under way, so it is claimed again"


def test_a_run_of_a_dead_worker_goes_on(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    run = work.trigger()
    worker.take(run)
    pauses.pause_job("work")
    worker.die()
    other_worker.take(run)


def test_resume_gives_each_run_its_old_place(
    work: runs.JobDefinition, other: runs.JobDefinition, worker: HandWorker
) -> None:
    first, second = work.trigger(), other.trigger()
    pauses.pause_job("work")
    third, urgent = work.trigger(), work.trigger(priority=5)
    row = pauses.resume_job("work", actor="bob")
    assert (row.paused_at, row.paused_by, row.pause_reason) == (None, "", "")
    for run in (urgent, first, second, third):
        worker.take(run)


def test_scheduled_runs_keep_their_time(work: runs.JobDefinition, worker: HandWorker) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    run = work.trigger(run_at=later)
    pauses.pause_job("work")
    assert reload(run).due_at is None
    pauses.resume_job("work")
    assert reload(run).due_at == later
    assert worker.claim() is None


def test_runs_behind_a_key_stay_behind_it(work: runs.JobDefinition, worker: HandWorker) -> None:
    held = worker.take(work.trigger(concurrency_key="k"))
    waiting = work.trigger(concurrency_key="k")
    assert worker.claim() is None
    pauses.pause_job("work")
    pauses.resume_job("work")
    assert worker.claim() is None
    cancel(held.claim.run_id)
    held.release()
    worker.take(waiting)


@pytest.mark.parametrize(
    "unpark",
    [
        lambda run: leases.restore_parked(),
        lambda run: leases.restore_parked(["k"]),
        lambda run: retry(cancel(run)),
    ],
)
def test_nothing_gets_round_a_pause(
    work: runs.JobDefinition, worker: HandWorker, unpark: Callable[[Run], object]
) -> None:
    run = work.trigger(concurrency_key="k")
    pauses.pause_job("work")
    unpark(run)
    assert worker.claim() is None
    pauses.resume_job("work")
    worker.take(run)


def test_a_paused_run_can_be_cancelled(work: runs.JobDefinition) -> None:
    run = work.trigger()
    pauses.pause_job("work")
    cancel(run)
    pauses.resume_job("work")
    assert reload(run).status == "cancelled"
    assert drain() == []
    check_invariants()


def test_pausing_twice_says_who_did_and_resuming_twice_is_refused(
    work: runs.JobDefinition,
) -> None:
    with pytest.raises(ConflictError, match="not paused"):
        pauses.resume_job("work")
    pauses.pause_job("work", actor="ann", reason="mine")
    with pytest.raises(ConflictError, match="paused already, by ann"):
        pauses.pause_job("work", actor="bob", reason="other")
    assert Job.objects.get(name="work").pause_reason == "mine"


def test_a_job_that_is_not_there_is_named() -> None:
    for call in (pauses.pause_job, pauses.resume_job):
        with pytest.raises(NotFoundError, match="nothing"):
            call("nothing")


def test_who_paused_and_resumed_a_job_stays_recorded(work: runs.JobDefinition) -> None:
    before = datetime.now(UTC)
    pauses.pause_job("work", actor="ann", reason="the bank\x00 is away")
    pauses.resume_job("work", actor="bob", reason="it is back")
    job = pauses.pause_job("work")
    assert list(job.events.values_list("kind", "actor", "reason")) == [
        ("paused", "ann", "the bank\ufffd is away"),
        ("resumed", "bob", "it is back"),
        ("paused", "code", ""),
    ]
    times = list(job.events.values_list("created_at", flat=True))
    assert before <= times[0] <= times[1] <= times[2]
    assert times[2] == job.paused_at


def test_what_is_refused_or_rolled_back_is_not_recorded(work: runs.JobDefinition) -> None:
    pauses.pause_job("work")
    with pytest.raises(ConflictError):
        pauses.pause_job("work")
    with transaction.atomic():
        pauses.resume_job("work")
        transaction.set_rollback(True)
    assert [event.kind for event in JobEvent.objects.all()] == ["paused"]
    pauses.resume_job("work")
    with pytest.raises(ConflictError):
        pauses.resume_job("work")
    assert JobEvent.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_two_that_pause_at_once_one_is_told(work: runs.JobDefinition) -> None:
    pauses.pause_job("work")
    pauses.resume_job("work")
    results = race(
        lambda: pauses.pause_job("work", actor="ann"),
        lambda: pauses.pause_job("work", actor="bob"),
    )
    assert sorted(type(result).__name__ for result in results) == ["ConflictError", "Job"]
    assert JobEvent.objects.filter(kind="paused").count() == 2


@pytest.mark.django_db(transaction=True)
def test_whatever_races_with_pause_and_resume_no_run_is_lost(work: runs.JobDefinition) -> None:
    workers = [HandWorker(str(number)) for number in range(2)]
    for _ in range(5):
        made = [work.trigger() for _ in range(4)]
        results = race(
            lambda: pauses.pause_job("work"),
            workers[0].claim,
            workers[1].claim,
            work.trigger,
        )
        made.append(results[3])
        results += race(lambda: pauses.resume_job("work"), workers[0].claim, workers[1].claim)
        assert not [result for result in results if isinstance(result, Exception)]
        leases.restore_parked()  # a worker does this every second
        while workers[0].claim():
            pass
        assert {reload(run).status for run in made} == {"running"}
    check_invariants()
