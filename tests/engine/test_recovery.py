"""Dead workers: their runs continue after the last completed step, and not for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from pytest_django import Settings

import runs
from runs import Step, cancel, job
from runs.engine import checkpoints, claims, database, endings, leases, liveness, recovery
from runs.engine.heartbeat import Heartbeat
from runs.engine.worker import WorkerProcess, register
from runs.models import Run, Worker
from runs.registry import registry
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, kinds, reload

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def work(calls: list[str]) -> runs.JobDefinition:
    @job
    def work(step: Step) -> str:
        for name in ("a", "b", "c"):
            step.run(name, calls.append, name)
        return "done"

    return work


@pytest.fixture
def process(work: runs.JobDefinition) -> WorkerProcess:
    return WorkerProcess(register(1))


def test_a_run_whose_worker_died_continues_after_its_last_completed_step(
    work: runs.JobDefinition, worker: HandWorker, calls: list[str]
) -> None:
    run = work.trigger()
    held = worker.take(run)
    held.step.run("a", calls.append, "a")
    worker.die()
    drain()
    assert calls == ["a", "b", "c"]
    stored = reload(run)
    assert (stored.status, stored.output, stored.attempt) == ("completed", "done", 1)
    assert kinds(run) == ["triggered", "started", "taken_over", "completed"]
    event = run.events.get(kind="taken_over")
    assert event.data == {"attempt": 1, "from": str(worker.id)}
    check_invariants()


def test_a_run_may_lose_its_worker_again_and_again_as_long_as_steps_complete(
    settings: Settings,
) -> None:
    settings.MAX_RECOVERIES = 2

    @job
    def long(step: Step) -> str:
        for number in range(6):
            step.run(f"s{number}", lambda: None)
        return "done"

    run = long.trigger()
    for number in range(6):
        worker = HandWorker()
        held = worker.take(run)
        for done in range(number + 1):
            held.step.run(f"s{done}", lambda: None)
        worker.die()
    drain()
    assert reload(run).output == "done"


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_run_that_kills_its_worker_so_often_in_a_row_is_failed_with_an_error_that_says_so(
    limit: int, work: runs.JobDefinition, settings: Settings, calls: list[str]
) -> None:
    settings.MAX_RECOVERIES = limit
    run = work.trigger()
    for _ in range(limit):
        worker = HandWorker()
        worker.take(run)
        assert reload(run).status == "running"
        worker.die()
    drain()
    stored = reload(run)
    assert stored.status == "failed"
    assert stored.error_type == "TooManyRecoveriesError"
    assert stored.error is not None
    assert f"died {limit} times in a row" in stored.error
    assert "MAX_RECOVERIES" in stored.error
    assert calls == []


def test_the_default_limit_is_five() -> None:
    from runs import conf

    assert conf.SETTINGS["MAX_RECOVERIES"].default == 5


def test_a_completed_step_starts_the_count_anew(
    work: runs.JobDefinition, settings: Settings
) -> None:
    settings.MAX_RECOVERIES = 2
    run = work.trigger()
    HandWorker().take(run)
    leases_end(run)
    held = HandWorker().take(run)
    assert reload(run).recoveries == 1
    held.step.run("a", lambda: None)
    assert reload(run).recoveries == 0


def leases_end(run: Run) -> None:
    owner = reload(run).lease_owner
    assert owner is not None
    leases.expire_owned_by(owner)


def test_a_failed_step_does_not_start_the_count_anew(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    run = work.trigger()
    HandWorker().take(run)
    leases_end(run)
    held = worker.take(run)
    with pytest.raises(ZeroDivisionError):
        held.step.run("a", lambda: 1 / 0)
    assert reload(run).recoveries == 1


def test_a_hand_over_does_not_count(work: runs.JobDefinition) -> None:
    run = work.trigger()
    for _ in range(10):
        HandWorker().take(run).hand_over()
    assert reload(run).recoveries == 0
    drain()
    assert reload(run).status == "completed"


def test_a_failed_run_of_that_kind_can_be_retried(
    work: runs.JobDefinition, settings: Settings
) -> None:
    settings.MAX_RECOVERIES = 1
    run = work.trigger()
    HandWorker().take(run)
    leases_end(run)
    drain()
    assert reload(run).status == "failed"
    runs.retry(run)
    drain()
    assert reload(run).status == "completed"


# On the same host


def test_the_runs_of_a_dead_process_are_taken_back_at_once(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    row = register(1)
    worker.id = row.pk
    run, cancelled = work.trigger(), work.trigger(concurrency_key="c")
    worker.take(run)
    worker.take(cancelled)
    cancel(cancelled)
    waiting = work.trigger(concurrency_key="c")
    lock = liveness.hold(row.pk)
    assert recovery.take_back_from_dead_workers() == 0
    assert other_worker.claim() is None
    lock._file.close()  # what the kernel does when the process dies
    assert recovery.take_back_from_dead_workers() == 2
    leases.sweep()
    other_worker.take(run)
    other_worker.take(waiting)
    assert Worker.objects.get(pk=row.pk).stopped_at is not None
    assert recovery.take_back_from_dead_workers() == 0


def test_a_worker_that_left_in_order_is_not_dead(work: runs.JobDefinition) -> None:
    row = register(1)
    lock = liveness.hold(row.pk)
    lock.release()
    assert row.pk not in liveness.dead_workers()


def test_a_worker_of_another_host_is_left_to_its_lease(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    worker.id = register(1).pk  # and no lock file here
    worker.take(work.trigger())
    recovery.take_back_from_dead_workers()
    assert other_worker.claim() is None


def test_a_file_that_is_not_a_worker_s_does_not_matter(settings: Settings, tmp_path: Any) -> None:
    settings.VAR_DIR = tmp_path
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "notes.lock").write_text("x")
    assert liveness.dead_workers() == []


# A database that fails at the wrong moment


def test_a_claim_whose_answer_was_lost_does_not_leave_its_run_behind(
    process: WorkerProcess, monkeypatch: pytest.MonkeyPatch, work: runs.JobDefinition
) -> None:
    """The run is this worker's, which lives and renews; but nothing executes it."""
    run = work.trigger()
    real = claims.claim_next

    def claim_and_lose(*args: Any) -> Any:
        assert real(*args) is not None
        process.stopping.set()  # ends the loop
        raise OperationalError("the server went away after the commit")

    with monkeypatch.context() as patch:
        patch.setattr(claims, "claim_next", claim_and_lose)
        process.drain()
    process.stopping.clear()
    assert reload(run).lease_owner == process.id
    assert process.executions() == []
    lease_runs_out(run)
    Heartbeat(process).renew()
    drain()
    assert reload(run).status == "completed"


def lease_runs_out(run: Run) -> None:
    past = database.utc_now() - timedelta(seconds=1)
    Run.objects.filter(pk=run.pk).update(lease_expires_at=past, due_at=past)


def test_a_run_that_is_being_executed_is_renewed_also_after_a_freeze(
    process: WorkerProcess, other_worker: HandWorker
) -> None:
    beat = Heartbeat(process)

    @job
    def slow(step: Step) -> str:
        lease_runs_out(run)
        beat.renew()
        beat.notice_changes()
        assert other_worker.claim() is None
        return "done"

    run = slow.trigger()
    process.jobs = tuple(registry.names())
    process.drain()
    assert reload(run).output == "done"
    assert kinds(run) == ["triggered", "started", "completed"]


def test_a_worker_looks_for_missed_runs_only_while_a_thread_of_it_rests(
    process: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that ends a run looks for the next one anyway."""
    woken: list[bool] = []
    process.wake = lambda: woken.append(process.is_full())
    beat = Heartbeat(process)

    @job
    def slow(step: Step) -> None:
        slow.trigger()
        beat.sweep()
        monkeypatch.setattr(process, "_slots", 2)
        beat.sweep()
        process.stopping.set()

    slow.trigger()
    process.jobs = tuple(registry.names())
    process.drain()
    assert woken == [False]


def test_a_claim_that_fails_is_tried_again_with_growing_pauses(
    process: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def fail(*args: Any) -> None:
        raise OperationalError("away")

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 10:
            process.stopping.set()
        return True

    monkeypatch.setattr(claims, "claim_next", fail)
    monkeypatch.setattr(process.stopping, "wait", wait)
    process.drain()
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert pauses[-1] == 10.0


def test_a_checkpoint_waits_for_a_database_that_is_away(
    work: runs.JobDefinition,
    worker: HandWorker,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, failures = checkpoints.put_step, [OperationalError("away")] * 3
    monkeypatch.setattr("runs.engine.persistence.time.sleep", lambda seconds: None)

    def put_step(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*args)

    monkeypatch.setattr(checkpoints, "put_step", put_step)
    run = work.trigger()
    worker.take(run).execute()
    assert reload(run).output == "done"
    assert calls == ["a", "b", "c"]  # no body twice


def test_a_run_whose_end_can_not_be_stored_is_not_kept_for_ever(
    work: runs.JobDefinition, worker: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a bug")

    run = work.trigger()
    with monkeypatch.context() as patch:
        patch.setattr(endings, "end_run", fail)
        worker.take(run).execute()
    stored = reload(run)
    assert (stored.status, stored.lease_owner, stored.recoveries) == ("running", None, 1)
    drain()
    assert reload(run).output == "done"


def test_times_of_leases_are_comparable_whoever_wrote_them(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    """The ORM and the raw statements must store one format, or comparisons as text miss."""
    run = work.trigger()
    worker.take(run)
    if connection.vendor == "sqlite":
        columns = ("lease_expires_at", "due_at", "started_at", "queued_at", "created_at")
        lengths = ", ".join(f"length({column})" for column in columns)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {lengths} FROM runs_run")
            assert set(cursor.fetchone()) <= {19, 26}
    now = database.utc_now()
    assert Run.objects.filter(lease_expires_at__gt=now + timedelta(seconds=20)).exists()
    assert not Run.objects.filter(lease_expires_at__gt=now + timedelta(seconds=40)).exists()
