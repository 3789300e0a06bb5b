"""A worker that stops: runs go back at the end of the step they are in."""

from __future__ import annotations

import signal
import threading

import pytest

import runs
from runs import Step, cancel, job
from runs.engine.worker import WorkerProcess, register
from runs.models import Run
from runs.registry import registry
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, kinds, messages, reload

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def process() -> WorkerProcess:
    return WorkerProcess(register(2))


def work_off(process: WorkerProcess) -> None:
    process.jobs = tuple(registry.names())
    process.drain()


def test_a_stopping_worker_finishes_the_step_and_hands_the_run_back(
    process: WorkerProcess, calls: list[str]
) -> None:
    def body(step: Step, name: str) -> str:
        calls.append(name)
        if len(calls) == 2:
            process.begin_stop()
            step.log.info("the last words")
        return name

    @job
    def work(step: Step) -> str:
        return "".join(step.run(name, body, step, name) for name in ("a", "b", "c"))

    run, waiting = work.trigger(concurrency_key="c", priority=3), work.trigger()
    work_off(process)
    stored = reload(run)
    assert calls == ["a", "b"]
    assert (stored.status, stored.lease_owner, stored.lease_expires_at) == ("running", None, None)
    assert (stored.held_key, stored.due_at) == ("c", stored.queued_at)
    assert [step.name for step in run.steps.all()] == ["a", "b"]
    assert messages(run) == ["the last words"]
    assert reload(waiting).status == "pending"  # it took no other run
    drain(limit=1)
    assert calls == ["a", "b", "c"]
    stored = reload(run)
    assert (stored.output, stored.attempt, stored.recoveries) == ("abc", 1, 0)
    assert kinds(run) == ["triggered", "started", "handed_back", "started", "completed"]
    check_invariants()


def test_swallowing_the_hand_over_changes_nothing(process: WorkerProcess, calls: list[str]) -> None:
    @job
    def stubborn(step: Step) -> str:
        process.begin_stop()
        for name in ("a", "b"):
            try:
                step.run(name, calls.append, name)
            except BaseException:
                pass
        return "made it"

    run = stubborn.trigger()
    work_off(process)
    assert calls == []
    assert (reload(run).status, reload(run).output) == ("running", None)
    assert kinds(run)[-1] == "handed_back"


def test_a_nested_step_is_no_boundary_the_outermost_is(
    process: WorkerProcess, calls: list[str]
) -> None:
    @job
    def work(step: Step) -> str:
        step.run("outer", outer, step)
        return step.run("next", lambda: "done")

    def outer(step: Step) -> None:
        process.begin_stop()
        step.run("inner 1", calls.append, "inner 1")
        step.raise_if_cancelled()
        step.run("inner 2", calls.append, "inner 2")

    run = work.trigger()
    work_off(process)
    assert calls == ["inner 1", "inner 2"]
    assert {step.name for step in run.steps.all()} == {"inner 1", "inner 2", "outer"}
    assert kinds(run)[-1] == "handed_back"
    drain()
    assert reload(run).output == "done"
    assert calls == ["inner 1", "inner 2"]


def test_a_handler_that_has_no_step_left_completes(process: WorkerProcess) -> None:
    @job
    def work(step: Step) -> str:
        step.run("a", process.begin_stop)
        return "done"

    def last(step: Step) -> str:
        process.begin_stop()
        return "done"

    run = job(name="last")(last).trigger()
    work_off(process)
    assert reload(run).output == "done"
    process.stopping.clear()
    run = work.trigger()
    work_off(process)
    assert kinds(run)[-1] == "handed_back"  # the end of a step is a boundary
    drain()
    assert reload(run).output == "done"


def test_a_failure_of_a_stopping_worker_s_run_is_a_failure(process: WorkerProcess) -> None:
    @job
    def fail(step: Step) -> None:
        process.begin_stop()
        raise LookupError

    run = fail.trigger()
    work_off(process)
    assert reload(run).status == "failed"


def test_a_cancelled_run_is_not_handed_back(process: WorkerProcess) -> None:
    @job
    def work(step: Step) -> None:
        cancel(step.run_id)
        process.begin_stop()
        step.run("a", lambda: None)

    run = work.trigger(concurrency_key="c")
    work_off(process)
    stored = reload(run)
    assert (stored.status, stored.lease_owner, stored.held_key) == ("cancelled", None, None)
    assert "handed_back" not in kinds(run)


@pytest.mark.django_db(transaction=True)
def test_what_has_not_reached_a_boundary_in_time_is_handed_back_all_the_same(
    process: WorkerProcess, calls: list[str]
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def body(step: Step) -> str:
        calls.append("body")
        step.log.info("before")
        inside.set()
        assert go_on.wait(10)
        step.log.info("after")
        return "late"

    @job
    def slow(step: Step) -> str:
        step.run("a", lambda: calls.append("a"))
        return step.run("b", body, step)

    run = slow.trigger()
    process.jobs = tuple(registry.names())
    thread = threading.Thread(target=process.drain)
    thread.start()
    assert inside.wait(10)
    process.begin_stop()
    process.hand_back_rest()
    stored = reload(run)
    assert (stored.status, stored.lease_owner) == ("running", None)
    assert messages(run) == ["before"]

    successor = HandWorker().take(run)  # claimable at once, while the old body still runs
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    assert [step.name for step in run.steps.all()] == ["a"]  # its late result was refused
    assert reload(run).lease_generation == 2
    successor.execute()
    assert calls == ["a", "body", "body"]
    assert reload(run).output == "late"
    check_invariants()


def test_handing_back_a_run_that_is_not_held_any_more_does_nothing(
    worker: HandWorker, other_worker: HandWorker
) -> None:
    @job
    def work(step: Step) -> None:
        pass

    run = work.trigger()
    held = worker.take(run)
    assert held.hand_over()
    assert not held.hand_over()
    other_worker.take(run)
    assert not held.hand_over()
    assert reload(run).lease_owner == other_worker.id
    assert kinds(run) == ["triggered", "started", "handed_back", "started"]


def test_the_step_of_a_run_that_was_handed_back_stops(worker: HandWorker) -> None:
    from runs.engine.control import HandOver

    @job
    def work(step: Step) -> None:
        pass

    held = worker.take(work.trigger())
    held.hand_over()
    with pytest.raises(HandOver):
        held.step.run("a", lambda: 1)
    assert not held.step.cancelled
    assert not runs.models.Step.objects.exists()
    assert Run.objects.get().status == "running"


def test_sigterm_and_sigint_are_what_a_worker_stops_for() -> None:
    from runs.engine.worker import StopSignal

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        stop = StopSignal()
        stop.install()
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
        again = StopSignal()
        again.install()
        signal.raise_signal(signal.SIGINT)
        assert again.is_set()
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
