"""Who takes a run over, when, and what becomes of the one that had it."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from runs import cancel
from runs.engine import endings
from runs.engine import worker as engine
from runs.models import EventKind, Run, RunEvent, RunStatus, Step, Worker
from tests.support.crash import Body, Cluster, Process, drain_in_thread, now, trigger
from tests.support.crashapp.jobs import StepPlan

#: The shortest lease that the settings allow, in seconds.
SHORT_LEASE = "3"

#: What a heartbeat writes to a run.
HEARTBEAT = {"lease_expires_at", "due_at", "current_step", "progress"}


def test_on_the_same_host_nobody_waits_for_the_lease(cluster: Cluster) -> None:
    """It is 30 s here; the kernel tells at once that a worker is dead."""
    first = cluster.start()
    long = trigger(0, StepPlan(seconds=60, first_only=True), 0)
    cancelled = trigger(0, StepPlan(seconds=60, first_only=True), concurrency_key="k")
    cluster.body(long, 1)
    cluster.body(cancelled, 1)
    cancel(cancelled)
    behind = trigger(0, concurrency_key="k")
    cluster.start()
    first.kill()
    begun = now()
    cluster.completed(long, behind)  # the key of a cancelled run whose body died is free too
    evidence = cluster.evidence()
    assert evidence.of(long, 1)[1].started < begun + 3
    assert evidence.of(behind)[0].started < begun + 3
    cluster.check_durable([long, behind])
    long.refresh_from_db()
    assert (long.attempt, long.recoveries) == (1, 0)
    kinds = list(RunEvent.objects.filter(run=long).values_list("kind", flat=True))
    assert kinds.count(EventKind.TAKEN_OVER) == 1
    cancelled.refresh_from_db()
    assert cancelled.status == RunStatus.CANCELLED
    assert cancelled.lease_owner is None


def test_on_another_host_the_lease_has_to_run_out(cluster: Cluster, tmp_path: Path) -> None:
    first = cluster.start(LEASE_SECONDS=SHORT_LEASE)
    run = trigger(0, StepPlan(seconds=60, first_only=True), 0)
    cluster.body(run, 1)
    # Another host has another directory, and sees no lock files of this one.
    elsewhere = str(tmp_path / "elsewhere")
    cluster.start(ready=False, LEASE_SECONDS=SHORT_LEASE, VAR_DIR=elsewhere)
    cluster.until(
        lambda: Worker.objects.filter(stopped_at__isnull=True).count() == 2,
        "the other host's worker",
    )
    first.kill()
    run.refresh_from_db()
    assert run.lease_expires_at is not None
    lease_end = run.lease_expires_at.timestamp()
    cluster.completed(run)
    took_over = cluster.evidence().of(run, 1)[1].started_clock
    assert lease_end - 0.1 < took_over < lease_end + 2.5
    cluster.check_durable([run])


def test_worker_frozen_beyond_its_lease_writes_nothing_more(
    cluster: Cluster, tmp_path: Path
) -> None:
    """As a suspended virtual machine is: it wakes and believes that the run is its own."""
    late, gate = tmp_path / "late", tmp_path / "gate"
    workers = [cluster.start(ready=False, LEASE_SECONDS=SHORT_LEASE) for _ in range(2)]
    await_all(workers)
    run = trigger(0, StepPlan(waits_for=str(late), first_only=True), StepPlan(waits_for=str(gate)))
    frozen = process_of(cluster.body(run, 1), *workers)
    frozen.send(signal.SIGSTOP)
    cluster.body(run, 2)  # the other one is past the step now, and in the next
    before = without_the_lease(run)

    late.touch()
    frozen.send(signal.SIGCONT)
    check_lease_lost(cluster, run)
    assert without_the_lease(run) == before  # nothing of the late one is there

    gate.touch()
    cluster.completed(run)
    check_completed_once_by_the_other(cluster, run, frozen)
    # It is a good worker again.
    for worker in workers:
        if worker is not frozen:
            worker.kill()
    cluster.completed(trigger(0))


def test_body_that_holds_the_interpreter_beyond_its_lease_writes_nothing_more(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Then no heartbeat renews it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    workers = [cluster.start(ready=False, LEASE_SECONDS=SHORT_LEASE) for _ in range(2)]
    await_all(workers)
    run = trigger(0, StepPlan(holds_gil=str(fifo), first_only=True), float(SHORT_LEASE) + 1)
    hog = process_of(cluster.body(run, 1), *workers)
    cluster.body(run, 2)
    os.close(os.open(fifo, os.O_WRONLY))
    check_lease_lost(cluster, run)
    # And in turn: a body longer than its lease is not taken over while its worker renews it.
    cluster.completed(run)
    check_completed_once_by_the_other(cluster, run, hog)


@pytest.mark.soak
def test_lone_worker_keeps_a_run_through_its_own_freeze(cluster: Cluster) -> None:
    """Nobody took the run: it goes on where it was, and no second body joins the first."""
    worker = cluster.start(LEASE_SECONDS=SHORT_LEASE)
    run = trigger(0, StepPlan(seconds=6), 0.5, 0)
    cluster.body(run, 1)
    worker.send(signal.SIGSTOP)
    expired = Run.objects.filter(pk=run.pk, lease_expires_at__lt=Now())
    cluster.until(expired.exists, "the lease has run out")
    worker.send(signal.SIGCONT)
    cluster.completed(run)
    assert len(cluster.evidence().handlers_of(run)) == 1
    cluster.check_durable([run])


def test_worker_does_not_take_its_own_run_again(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same in short, in this process: a lease that ran out while it could not renew it."""
    monkeypatch.setenv("CRASH_EVIDENCE", str(cluster.evidence_file))
    gate = tmp_path / "gate"
    run = trigger(0, StepPlan(waits_for=str(gate)), 0)
    process = engine.WorkerProcess(engine.register(2))
    thread = threading.Thread(target=drain_in_thread, args=[process])
    thread.start()
    try:
        cluster.body(run, 1)
        past = datetime.now(UTC) - timedelta(seconds=1)
        Run.objects.filter(pk=run.pk).update(lease_expires_at=past, due_at=past)
        with monkeypatch.context() as later:
            later.setattr(time, "time", lambda now=time.time: now() + 100)
            process.drain()  # its other thread looks for runs
    finally:
        gate.touch()
        thread.join(10)
    cluster.completed(run)
    assert cluster.check_durable([run]) == 0
    assert len(cluster.evidence().handlers_of(run)) == 1


def test_run_whose_end_can_not_be_stored_is_tried_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker lives and renews its leases: it has to let go of this one."""
    monkeypatch.setenv("CRASH_EVIDENCE", str(cluster.evidence_file))
    finish, failures = endings.end_run, iter(range(2))

    def fails_twice(*args: Any, **kwargs: Any) -> None:
        if next(failures, None) is not None:
            raise ValueError("the database refuses this value")
        finish(*args, **kwargs)

    monkeypatch.setattr(endings, "end_run", fails_twice)
    run = trigger(0, 0)
    engine.WorkerProcess(engine.register(1)).drain()
    run.refresh_from_db()
    assert run.status == RunStatus.COMPLETED
    assert run.recoveries == 2
    assert len(cluster.evidence().of(run)) == 2
    assert len(cluster.evidence().handlers_of(run)) == 3


@pytest.mark.parametrize("limit", [3, pytest.param(5, marks=pytest.mark.soak)])
def test_run_that_kills_its_workers_is_failed(cluster: Cluster, limit: int) -> None:
    """After MAX_RECOVERIES deaths; the runs beside it end well."""
    poison = trigger(0, StepPlan(exits=True))
    others = [trigger(0.05, 0.05, 0.05, 0.05) for _ in range(4)]
    environment = {} if limit == 5 else {"MAX_RECOVERIES": str(limit)}  # 5 is the default
    worker = cluster.start("--concurrency", "2", ready=False, **environment)
    deaths = 0

    def over() -> bool:
        nonlocal worker, deaths
        if worker.popen.poll() is not None:
            cluster.killed[worker.pid].append(0)  # by itself; when, nobody saw
            deaths += 1
            worker = cluster.start("--concurrency", "2", ready=False, **environment)
        poison.refresh_from_db()
        return poison.is_terminal

    cluster.until(over, "the end of the run that kills its workers", timeout=60)
    assert poison.status == RunStatus.FAILED
    assert poison.error_type == "TooManyRecoveriesError"
    assert f"{limit} times in a row" in str(poison.error)
    assert "MAX_RECOVERIES" in str(poison.error)
    assert deaths == limit
    assert len(cluster.evidence().of(poison, 0)) == 1
    assert len(cluster.evidence().of(poison, 1)) == limit
    cluster.completed(*others)
    cluster.check_durable(others)


def process_of(body: Body, *workers: Process) -> Process:
    """Which of the workers executes this body."""
    return next(worker for worker in workers if worker.pid == body.pid)


def await_all(workers: list[Process]) -> None:
    for worker in workers:
        worker.await_ready()


def check_lease_lost(cluster: Cluster, run: Run) -> None:
    """The first handler ends because the run is another worker's."""
    cluster.until(lambda: cluster.evidence().handlers_of(run)[0].how, "the end of the late handler")
    assert cluster.evidence().handlers_of(run)[0].how == "LeaseLost"


def without_the_lease(run: Run) -> dict[str, object]:
    """The row of a run, but for what its holder's heartbeat changes meanwhile."""
    row = Run.objects.filter(pk=run.pk).values().get()
    return {name: value for name, value in row.items() if name not in HEARTBEAT}


def check_completed_once_by_the_other(cluster: Cluster, run: Run, late: Process) -> None:
    run.refresh_from_db()
    assert RunEvent.objects.filter(run=run, kind=EventKind.COMPLETED).count() == 1
    steps = list(Step.objects.filter(run=run).order_by("index"))
    assert [step.output for step in steps] == run.output
    evidence = cluster.evidence()
    assert [handler.pid == late.pid for handler in evidence.handlers_of(run)] == [True, False]
    first, second = evidence.of(run, 1)
    assert first.pid == late.pid
    assert steps[1].output == second.token
    assert len(evidence.of(run, 0)) == 1
    for step in range(2, len(steps)):
        [only] = evidence.of(run, step)
        assert only.pid == second.pid
    run.refresh_from_db()
    assert (run.attempt, run.recoveries) == (1, 0)
