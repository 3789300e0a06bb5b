"""Leases and fencing: who holds a run may write to it, and nobody else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

import runs
from runs import Step, cancel, delete_run, job, retry
from runs.engine import control, database, leases
from runs.errors import ConflictError
from runs.models import LogEntry, Run
from runs.models import Step as StepRow
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, kinds, messages, reload

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def work(calls: list[str]) -> runs.JobDefinition:
    @job
    def work(step: Step) -> str:
        step.run("a", calls.append, "a")
        step.run("b", calls.append, "b")
        return "done"

    return work


def test_a_renewal_extends_every_lease_of_the_owner_and_no_other(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker, settings: Settings
) -> None:
    mine, cancelled, theirs, lapsed = (work.trigger() for _ in range(4))
    for run in (mine, cancelled):
        worker.take(run)
    cancel(cancelled)
    other_worker.take(theirs)
    worker.take(lapsed)  # while the worker was frozen, and nobody has taken it
    ended = datetime.now(UTC) - timedelta(seconds=1)
    Run.objects.filter(pk=lapsed.pk).update(lease_expires_at=ended)
    before = {run.pk: run.lease_expires_at for run in Run.objects.all()}
    settings.LEASE_SECONDS = 300
    leases.renew(worker.id, [mine.pk, cancelled.pk, lapsed.pk])
    after = {run.pk: run for run in Run.objects.all()}
    for run in (mine, cancelled, lapsed):
        old, new = before[run.pk], after[run.pk].lease_expires_at
        assert old is not None
        assert new is not None
        assert new - old > timedelta(seconds=200)
    assert after[theirs.pk].lease_expires_at == before[theirs.pk]
    assert after[mine.pk].due_at == after[mine.pk].lease_expires_at
    assert after[cancelled.pk].due_at is None


def test_the_database_s_clock_decides_about_leases_not_the_worker_s(
    work: runs.JobDefinition,
    worker: HandWorker,
    other_worker: HandWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = work.trigger()
    wrong = datetime.now(UTC) + timedelta(days=1)
    monkeypatch.setattr(database, "utc_now", lambda: wrong)
    worker.take(run)
    expires = reload(run).lease_expires_at
    assert expires is not None
    assert expires < wrong - timedelta(hours=23)
    assert other_worker.claim() is None
    assert leases.reap() == 0


def test_a_lapsed_lease_that_nobody_took_can_still_be_completed(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    run = work.trigger()
    held = worker.take(run)
    worker.die()
    held.execute()
    assert reload(run).status == "completed"
    assert reload(run).output == "done"


def test_the_holder_who_was_replaced_can_write_nothing(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    run = work.trigger()
    old = worker.take(run)
    worker.die()
    new = other_worker.take(run)
    before = Run.objects.values().get()

    old.step.progress(5, 10)
    old.step.log.info("late")
    old.execution.flush()
    with pytest.raises(control.LeaseLost):
        old.step.run("late", lambda: 1)
    assert not old.hand_over()
    old.release()
    leases.renew(worker.id, [run.pk])
    old.execute()

    assert Run.objects.values().get() == before
    assert not StepRow.objects.exists()
    assert not LogEntry.objects.exists()
    assert kinds(run) == ["triggered", "started", "taken_over"]
    new.execute()
    assert reload(run).status == "completed"


def test_after_a_lost_lease_no_later_step_runs_its_body(
    worker: HandWorker, other_worker: HandWorker
) -> None:
    calls: list[str] = []
    swallowed: list[BaseException] = []

    @job
    def stubborn(step: Step) -> str:
        for name in ("a", "b", "c"):
            try:
                step.run(name, body, name)
            except BaseException as error:
                swallowed.append(error)
        return "made it"

    def body(name: str) -> None:
        calls.append(name)
        if name == "a":
            worker.die()
            other_worker.take()

    run = stubborn.trigger()
    worker.take(run).execute()
    assert calls == ["a"]
    assert [type(error) for error in swallowed] == [control.LeaseLost] * 3
    stored = reload(run)
    assert (stored.status, stored.lease_owner, stored.output) == ("running", other_worker.id, None)
    assert stored.error is None


def test_a_late_failure_of_the_replaced_holder_changes_nothing(
    worker: HandWorker, other_worker: HandWorker
) -> None:
    @job
    def fail(step: Step) -> None:
        raise LookupError

    run = fail.trigger()
    old = worker.take(run)
    worker.die()
    other_worker.take(run)
    old.execute()
    assert reload(run).status == "running"
    assert reload(run).error is None


def test_the_generation_counts_not_the_owner(
    work: runs.JobDefinition, worker: HandWorker, calls: list[str]
) -> None:
    run = work.trigger()
    old = worker.take(run)
    worker.die()
    new = worker.take(run)
    old.execute()
    assert calls == ["a"]  # its body ran, since nothing had told this thread; its result is dropped
    assert not StepRow.objects.exists()
    new.execute()
    assert reload(run).status == "completed"


def test_a_released_lease_is_gone(work: runs.JobDefinition, worker: HandWorker) -> None:
    run = work.trigger()
    held = worker.take(run)
    cancel(run)
    assert reload(run).lease_owner == worker.id
    held.release()
    stored = reload(run)
    assert (stored.lease_owner, stored.lease_expires_at, stored.held_key) == (None, None, None)


def test_a_running_run_can_not_be_released(work: runs.JobDefinition, worker: HandWorker) -> None:
    run = work.trigger()
    worker.take(run).release()
    assert reload(run).lease_owner == worker.id


@pytest.mark.parametrize("end", ["release", "reap"])
def test_a_retry_waits_until_the_old_body_has_stopped_or_its_lease_has_run_out(
    end: str, work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    run = work.trigger()
    held = worker.take(run)
    cancel(run)
    retry(run)
    assert reload(run).status == "pending"
    assert other_worker.claim() is None
    if end == "release":
        held.release()
    else:
        worker.die()
        leases.reap()
    new = other_worker.take(run)
    assert (new.step.attempt, new.claim.generation) == (2, 2)
    held.execute()
    assert reload(run).status == "running"
    check_invariants()


def test_the_old_body_of_a_retried_run_writes_nothing(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    run = work.trigger()
    held = worker.take(run)
    cancel(run)
    retry(run)
    held.execute()
    assert not StepRow.objects.exists()
    stored = reload(run)
    assert (stored.status, stored.output, stored.lease_owner) == ("pending", None, None)
    drain()
    assert reload(run).status == "completed"


def test_a_cancelled_run_can_not_be_deleted_while_its_old_body_may_work(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    run = work.trigger()
    held = worker.take(run)
    cancel(run)
    with pytest.raises(ConflictError, match=str(run.pk)):
        delete_run(run)
    held.release()
    delete_run(run)
    assert not Run.objects.exists()


def test_it_can_be_deleted_once_the_lease_has_run_out(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    run = work.trigger(concurrency_key="c")
    held = worker.take(run)
    cancel(run)
    waiting = work.trigger(concurrency_key="c")
    assert worker.claim() is None
    worker.die()
    delete_run(run)
    held.step.log.info("late")
    held.execution.flush()
    assert not LogEntry.objects.exists()
    worker.take(waiting)


def test_a_holder_whose_run_was_deleted_stops(
    work: runs.JobDefinition, worker: HandWorker, calls: list[str]
) -> None:
    run = work.trigger()
    held = worker.take(run)
    cancel(run)
    worker.die()
    delete_run(run)
    held.execute()
    assert calls == ["a"]
    assert not Run.objects.exists()
    assert not StepRow.objects.exists()


def test_log_lines_written_just_before_a_cancel_survive(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    run = work.trigger()
    held = worker.take(run)
    held.step.log.info("before")
    held.step.progress(1, 2)
    cancel(run)
    held.execute()
    assert messages(run) == ["before"]
    assert reload(run).progress is None
    check_invariants()


def test_a_cancelled_body_that_still_works_is_renewed_and_can_log(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    run = work.trigger()
    held = worker.take(run)
    cancel(run)
    leases.renew(worker.id, [run.pk])
    assert leases.reap() == 0
    held.step.log.info("cleaning up")
    held.execution.flush()
    assert messages(run) == ["cleaning up"]


def test_only_an_owner_with_a_lease_can_be_stored(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    from django.db import IntegrityError, transaction

    run = work.trigger()
    worker.take(run)
    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(lease_expires_at=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(status="completed")


def test_reaping_leaves_running_runs_to_the_claim(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    run = work.trigger()
    worker.take(run)
    worker.die()
    assert leases.reap() == 0
    stored: Any = reload(run)
    assert (stored.status, stored.lease_owner) == ("running", worker.id)
    assert other_worker.take(run).claim.recoveries == 1


def test_a_claim_that_nothing_executes_is_not_renewed(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    run, lost = work.trigger(), work.trigger()
    worker.take(run)
    worker.take(lost)
    before = reload(lost).lease_expires_at
    leases.renew(worker.id, [run.pk])
    assert reload(lost).lease_expires_at == before
