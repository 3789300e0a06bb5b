"""A worker that is told to stop finishes the step it is in, hands its runs back, and leaves."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import pytest
from huey import Huey

from runs.engine import worker as engine
from runs.models import EventKind, Run, RunEvent, RunStatus, Step
from tests.support.crash import Cluster, drain_in_thread, locked_tables, now, plan, state, trigger
from tests.support.crashapp.jobs import StepPlan, crash_plan

#: What a worker may take to leave beyond SHUTDOWN_SECONDS, on a busy machine.
LEEWAY = 2.5


def test_runs_are_handed_back(cluster: Cluster) -> None:
    first = cluster.start(SHUTDOWN_SECONDS="1.5")
    stepping = trigger(0, 0.7, 0.05, concurrency_key="k")
    endless = trigger(StepPlan(seconds=60, first_only=True), 0)
    cluster.body(stepping, 1)
    cluster.body(endless, 0)
    behind = trigger(0, concurrency_key="k")

    code, took = first.stop()

    assert code == 0
    assert 1 < took < 1.5 + LEEWAY
    evidence = cluster.evidence()
    assert evidence.of(stepping, 1)[0].ended  # it was not cut short
    assert not evidence.of(stepping, 2)
    assert [handler.how for handler in evidence.handlers_of(stepping)] == ["HandOver"]
    assert names_of_completed(stepping) == ["step-0", "step-1"]
    assert names_of_completed(endless) == []
    for run in (stepping, endless):
        check_claimable_at_once(run)
    stepping.refresh_from_db()
    assert stepping.held_key == "k"

    second = cluster.start()
    begun = now()
    cluster.completed(stepping, endless, behind, timeout=10)

    evidence = cluster.evidence()
    assert evidence.handlers_of(stepping)[1].entered < begun + 2  # no lease was waited for
    assert [len(evidence.of(stepping, step)) for step in range(3)] == [1, 1, 1]
    assert [body.ended is None for body in evidence.of(endless, 0)] == [True, False]
    [kept] = evidence.handlers_of(behind)
    assert kept.entered >= evidence.handlers_of(stepping)[1].left  # the key was kept meanwhile
    for run in (stepping, endless):
        run.refresh_from_db()
        assert (run.attempt, run.recoveries) == (1, 0)
        kinds = list(RunEvent.objects.filter(run=run).values_list("kind", flat=True))
        assert kinds.count(EventKind.HANDED_BACK) == 1
        assert EventKind.TAKEN_OVER not in kinds

    # Ctrl-C does the same; and a thread that a job has left behind keeps no worker.
    cluster.completed(trigger(StepPlan(leaves_thread=60)))
    code, took = second.stop(signal.SIGINT)
    assert code == 0
    assert took < LEEWAY


@pytest.mark.parametrize(
    "rounds", [1, pytest.param(20, marks=pytest.mark.soak, id="soak")], ids=["short", None]
)
def test_no_run_is_left_behind_by_a_worker_stopped_amid_many(
    storage: Huey, cluster: Cluster, rounds: int
) -> None:
    """The signal may come between a claim and the first step, or at a run's very end."""
    for _ in range(rounds):
        runs = crash_plan.batch_trigger([plan(0, 0)] * 200)
        worker = cluster.start()
        some = random.randint(1, 100)
        cluster.until(lambda some=some: len(cluster.evidence().handlers) > some, "some runs")  # type: ignore[misc]
        code, _ = worker.stop()
        assert code == 0
        left = Run.objects.filter(lease_owner__isnull=False)
        assert not left, [state(run) for run in left]
        assert not Run.objects.filter(recoveries__gt=0).exists()
        assert not list((cluster.folder / "var" / "workers").iterdir())
        last = cluster.start()
        cluster.completed(*runs)
        cluster.until(lambda: storage.pending_count() == 0, "all messages are taken")
        last.stop()
        assert cluster.check_durable(runs) == 0
        cluster.evidence_file.unlink()


def test_locked_database_keeps_no_worker(cluster: Cluster) -> None:
    """It leaves in time, and what it could not hand back is taken over at once."""
    worker = cluster.start(SHUTDOWN_SECONDS="1")
    run = trigger(0, StepPlan(seconds=0.5, first_only=True), 0)
    cluster.body(run, 1)
    with locked_tables():
        code, took = worker.stop()
        assert code == 0
        assert took < 1 + LEEWAY + 2  # the farewell gets some time
    cluster.start()
    begun = now()
    cluster.completed(run)
    assert cluster.evidence().handlers_of(run)[-1].entered < begun + 3
    assert len(cluster.evidence().of(run, 0)) == 1


def test_late_result_of_a_body_that_was_handed_back_is_refused(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, where the body can be kept alive after the hand-over."""
    monkeypatch.setenv("CRASH_EVIDENCE", str(cluster.evidence_file))
    gate = tmp_path / "gate"
    run = trigger(0, StepPlan(waits_for=str(gate), first_only=True), 0)
    process = engine.WorkerProcess(engine.register(1))
    thread = threading.Thread(target=drain_in_thread, args=[process])
    thread.start()
    try:
        cluster.body(run, 1)
        process.begin_stop()
        process.hand_back_rest()
        check_claimable_at_once(run)
    finally:
        gate.touch()
        thread.join(10)
    assert names_of_completed(run) == ["step-0"]
    check_claimable_at_once(run)
    [handler] = cluster.evidence().handlers_of(run)
    assert handler.how == "HandOver"

    engine.WorkerProcess(engine.register(1)).drain()
    run.refresh_from_db()
    assert run.status == RunStatus.COMPLETED
    bodies = cluster.evidence().of(run, 1)
    assert len(bodies) == 2
    assert run.output[1] == bodies[1].token


def test_signal_is_noticed_whatever_it_interrupts() -> None:
    """In a handler, ``threading.Event.set()`` can deadlock with ``wait()``, on its lock."""
    before = signal.getsignal(signal.SIGUSR1)
    try:
        for _ in range(200):
            stop = engine.StopSignal()
            signal.signal(signal.SIGUSR1, stop.set)
            delay = random.uniform(0, 0.002)
            timer = threading.Timer(delay, os.kill, [os.getpid(), signal.SIGUSR1])
            timer.start()
            while not stop.wait(0.0001):
                pass
            timer.join()
            os.close(stop._reader)
            os.close(stop._writer)
    finally:
        signal.signal(signal.SIGUSR1, before)


def names_of_completed(run: Run) -> list[str]:
    return list(Step.objects.filter(run=run).order_by("index").values_list("name", flat=True))


def check_claimable_at_once(run: Run) -> None:
    run.refresh_from_db()
    about = state(run)
    assert run.status == RunStatus.RUNNING, about
    assert run.lease_owner is None, about
    assert run.due_at == run.queued_at, about
    assert (run.attempt, run.recoveries) == (1, 0), about
