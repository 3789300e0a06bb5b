"""Concurrency keys: one holder over all jobs, one pending run a job."""

from __future__ import annotations

import threading

import pytest
from django.db import IntegrityError, transaction

import runs
from runs import Step, cancel, job, retry
from runs.engine import leases
from runs.errors import ConflictError
from runs.models import Run
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, execute, race, reload

pytestmark = pytest.mark.django_db


# Pending


def test_a_second_pending_run_of_the_job_and_key_is_a_conflict(
    sync_stock: runs.JobDefinition,
) -> None:
    first = sync_stock.trigger(concurrency_key="c")
    with pytest.raises(ConflictError) as caught:
        sync_stock.trigger(concurrency_key="c")
    assert str(first.pk) in str(caught.value)
    assert "'c'" in str(caught.value)
    assert Run.objects.count() == 1


def test_one_running_and_one_pending_is_the_most(
    sync_stock: runs.JobDefinition, worker: HandWorker
) -> None:
    sync_stock.trigger(concurrency_key="c")
    worker.take()
    sync_stock.trigger(concurrency_key="c")
    with pytest.raises(ConflictError):
        sync_stock.trigger(concurrency_key="c")


def test_other_jobs_and_other_keys_may_be_pending_beside_it(
    sync_stock: runs.JobDefinition, sync_prices: runs.JobDefinition
) -> None:
    sync_stock.trigger(concurrency_key="c")
    sync_stock.trigger(concurrency_key="d")
    sync_stock.trigger()
    sync_prices.trigger(concurrency_key="c")
    assert Run.objects.count() == 4


def test_the_database_itself_forbids_two_pending_runs_and_two_holders(
    sync_stock: runs.JobDefinition, sync_prices: runs.JobDefinition, worker: HandWorker
) -> None:
    run = sync_stock.trigger(concurrency_key="c")
    other = sync_stock.trigger(concurrency_key="d")
    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.filter(pk=other.pk).update(concurrency_key="c")
    worker.take(run)
    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.filter(pk=other.pk).update(held_key="c")


# Holding


def test_while_a_run_holds_the_key_no_other_run_with_it_starts_over_all_jobs(
    sync_stock: runs.JobDefinition,
    sync_prices: runs.JobDefinition,
    worker: HandWorker,
    other_worker: HandWorker,
) -> None:
    first = sync_stock.trigger(1, concurrency_key="c")
    held = worker.take(first)
    second = sync_stock.trigger(2, concurrency_key="c")
    third = sync_prices.trigger(3, concurrency_key="c")
    assert other_worker.claim() is None
    held.execute()
    assert reload(first).held_key is None
    taken = other_worker.take(second)
    assert worker.claim() is None
    taken.execute()
    worker.take(third)


def test_runs_without_a_key_and_of_other_keys_pass_a_blocked_one(
    sync_stock: runs.JobDefinition, worker: HandWorker
) -> None:
    sync_stock.trigger(concurrency_key="c")
    worker.take()
    sync_stock.trigger(concurrency_key="c", priority=9)
    other = sync_stock.trigger(concurrency_key="d")
    keyless = sync_stock.trigger()
    worker.take(other)
    worker.take(keyless)
    assert worker.claim() is None


def test_blocked_runs_keep_their_place_once_the_key_is_free(
    sync_stock: runs.JobDefinition, worker: HandWorker
) -> None:
    holder = sync_stock.trigger(concurrency_key="c")
    held = worker.take(holder)
    blocked = sync_stock.trigger(concurrency_key="c")
    assert worker.claim() is None  # looks at it, and puts it aside
    younger = sync_stock.trigger()
    held.execute()
    worker.take(blocked)
    worker.take(younger)


def test_an_expired_holder_is_resumed_before_the_pending_run_of_its_key(
    sync_stock: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    first = sync_stock.trigger(concurrency_key="c")
    worker.take(first)
    sync_stock.trigger(concurrency_key="c")
    worker.die()
    other_worker.take(first)
    assert other_worker.claim() is None


def test_a_handed_back_run_still_holds_its_key(
    sync_stock: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    first = sync_stock.trigger(concurrency_key="c")
    held = worker.take(first)
    sync_stock.trigger(concurrency_key="c", priority=5)
    held.hand_over()
    assert reload(first).held_key == "c"
    other_worker.take(first)


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled"])
def test_every_ending_frees_the_key(
    outcome: str, sync_stock: runs.JobDefinition, worker: HandWorker
) -> None:
    @job
    def end(step: Step) -> None:
        if outcome == "failed":
            raise LookupError
        if outcome == "cancelled":
            cancel(step.run_id)

    first = end.trigger(concurrency_key="c")
    second = sync_stock.trigger(concurrency_key="c")
    drain(limit=1)
    assert reload(first).status == outcome
    worker.take(second)


def test_a_missed_unparking_is_repaired_by_the_sweep(
    sync_stock: runs.JobDefinition, worker: HandWorker
) -> None:
    held = worker.take(sync_stock.trigger(concurrency_key="c"))
    blocked = sync_stock.trigger(concurrency_key="c")
    assert worker.claim() is None
    assert leases.restore_parked() == 0  # the key is held
    held.execute()
    Run.objects.filter(pk=blocked.pk).update(due_at=None)
    assert leases.restore_parked() == 1
    worker.take(blocked)


@pytest.mark.django_db(transaction=True)
def test_bodies_of_one_key_never_overlap_and_those_of_different_keys_do() -> None:
    inside: dict[str, int] = {"a": 0, "b": 0}
    overlaps: list[str] = []
    together = threading.Event()
    lock = threading.Lock()

    @job
    def enter(step: Step, payload: str) -> None:
        with lock:
            inside[payload] += 1
            if inside[payload] > 1:
                overlaps.append(payload)
            if all(inside.values()):
                together.set()
        together.wait(0.05)
        with lock:
            inside[payload] -= 1

    @job
    def enter_too(step: Step, payload: str) -> None:
        enter.handler(step, payload)

    for key in ("a", "b"):
        enter.trigger(key, concurrency_key=key)
        enter_too.trigger(key, concurrency_key=key)

    def work() -> None:
        while Run.objects.exclude(status="completed").exists():
            drain()

    assert race(*[work] * 3) == [None] * 3
    assert overlaps == []
    assert together.is_set()


@pytest.mark.django_db(transaction=True)
def test_claimers_that_race_for_one_key_take_one_run_of_it(
    sync_stock: runs.JobDefinition,
) -> None:
    for number in range(6):

        def define(step: Step) -> None:
            pass

        job(name=f"job-{number}")(define).trigger(concurrency_key="c")
    found = race(*[HandWorker(f"w{number}").claim for number in range(6)])
    taken = [held for held in found if held is not None]
    assert not [held for held in taken if isinstance(held, BaseException)]
    assert len(taken) == 1
    assert Run.objects.filter(status="running").count() == 1
    check_invariants()


@pytest.mark.django_db(transaction=True)
def test_threads_that_race_with_one_key_make_one_pending_run(
    sync_stock: runs.JobDefinition,
) -> None:
    found = race(*[lambda: sync_stock.trigger(concurrency_key="c")] * 12)
    assert sum(isinstance(result, ConflictError) for result in found) == 11
    assert Run.objects.count() == 1


# With cancel and retry


def test_a_cancelled_run_keeps_the_key_until_its_body_has_stopped(
    sync_stock: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    first = sync_stock.trigger(concurrency_key="c")
    held = worker.take(first)
    cancel(first)
    second = sync_stock.trigger(concurrency_key="c")
    assert other_worker.claim() is None
    held.release()
    other_worker.take(second)


def test_a_cancelled_run_keeps_the_key_until_its_lease_has_run_out(
    sync_stock: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    first = sync_stock.trigger(concurrency_key="c")
    worker.take(first)
    cancel(first)
    second = sync_stock.trigger(concurrency_key="c")
    assert other_worker.claim() is None
    assert leases.reap() == 0
    worker.die()
    assert leases.reap() == 1
    assert reload(first).held_key is None
    other_worker.take(second)


def test_cancelling_a_run_that_nobody_works_on_frees_the_key_at_once(
    sync_stock: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    first = sync_stock.trigger(concurrency_key="c")
    held = worker.take(first)
    second = sync_stock.trigger(concurrency_key="c")
    assert other_worker.claim() is None
    held.hand_over()
    cancel(first)
    other_worker.take(second)


def test_a_retry_conflicts_with_a_pending_run_of_its_job_and_key(
    sync_stock: runs.JobDefinition,
) -> None:
    first = sync_stock.trigger(concurrency_key="c")
    cancel(first)
    sync_stock.trigger(concurrency_key="c")
    with pytest.raises(ConflictError, match="concurrency key 'c'"):
        retry(first)
    assert reload(first).status == "cancelled"
    check_invariants()


def test_a_retried_run_waits_for_its_key(
    sync_stock: runs.JobDefinition, worker: HandWorker
) -> None:
    @job
    def fail(step: Step) -> None:
        raise LookupError

    first = execute(fail, concurrency_key="c")
    held = worker.take(sync_stock.trigger(concurrency_key="c"))
    retry(first)
    assert worker.claim() is None
    held.execute()
    worker.take(first)
