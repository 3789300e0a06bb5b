"""Cancelling: at once in the database, final, and noticed by the body."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import runs
from runs import Step, cancel, job
from runs.engine import control
from runs.engine import worker as worker_module
from runs.engine.heartbeat import Heartbeat
from runs.engine.worker import WorkerProcess, register
from runs.errors import ConflictError, NotFoundError
from runs.models import Run
from runs.models import Step as StepRow
from runs.registry import registry
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, execute, kinds, race, reload

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def work(calls: list[str]) -> runs.JobDefinition:
    @job
    def work(step: Step) -> str:
        for name in ("a", "b"):
            step.run(name, calls.append, name)
        return "done"

    return work


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> WorkerProcess:
    """This process as a worker, without its threads."""
    process = WorkerProcess(register(1))
    monkeypatch.setattr(worker_module, "_current", process)
    return process


def work_off(process: WorkerProcess) -> None:
    """Execute what is due, also of jobs that the test has defined meanwhile."""
    process.jobs = tuple(registry.names())
    process.drain()


def test_a_pending_run_is_cancelled_at_once(work: runs.JobDefinition, calls: list[str]) -> None:
    run = work.trigger()
    cancelled = cancel(run, actor="ann", reason="no longer needed")
    stored = reload(run)
    assert cancelled.status == stored.status == "cancelled"
    assert stored.finished_at is not None
    assert (stored.started_at, stored.due_at, stored.error, stored.output) == (None,) * 4
    event = stored.events.last()
    assert event is not None
    assert (event.kind, event.actor, event.reason) == ("cancelled", "ann", "no longer needed")
    assert drain() == []
    assert calls == []
    check_invariants()


def test_a_running_run_is_cancelled_at_once_and_its_generation_stays(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    run = work.trigger()
    worker.take(run)
    cancel(run)
    stored = reload(run)
    assert (stored.status, stored.lease_generation) == ("cancelled", 1)
    assert stored.finished_at is not None
    check_invariants()


def test_a_run_is_named_by_itself_its_id_or_the_id_s_text(work: runs.JobDefinition) -> None:
    for name in (lambda run: run, lambda run: run.pk, lambda run: str(run.pk)):
        assert cancel(name(work.trigger())).status == "cancelled"


def test_the_result_of_a_body_that_finishes_is_dropped_and_no_later_step_starts(
    calls: list[str],
) -> None:
    def body(step: Step, name: str) -> str:
        calls.append(name)
        if name == "b":
            cancel(step.run_id)
        return name

    @job
    def work(step: Step) -> str:
        for name in ("a", "b", "c"):
            step.run(name, body, step, name)
        return "done"

    run = execute(work)
    assert calls == ["a", "b"]
    assert (run.status, run.output, run.error) == ("cancelled", None, None)
    assert [step.name for step in run.steps.all()] == ["a"]
    assert kinds(run) == ["triggered", "started", "cancelled"]
    check_invariants()


def test_a_cancel_between_two_steps_starts_no_later_one(calls: list[str]) -> None:
    @job
    def work(step: Step) -> None:
        step.run("a", calls.append, "a")
        cancel(step.run_id)
        step.run("b", calls.append, "b")

    run = execute(work)
    assert calls == ["a"]
    assert run.status == "cancelled"


def test_a_handler_that_returns_normally_leaves_the_run_cancelled(worker: HandWorker) -> None:
    @job
    def work(step: Step) -> str:
        cancel(step.run_id)
        return "done"

    run = execute(work)
    assert (run.status, run.output) == ("cancelled", None)
    assert (run.lease_owner, run.lease_expires_at) == (None, None)


def test_a_handler_that_fails_after_a_cancel_leaves_the_run_cancelled() -> None:
    @job
    def work(step: Step) -> None:
        cancel(step.run_id)
        raise LookupError("because of it")

    run = execute(work)
    assert (run.status, run.error) == ("cancelled", None)


def test_a_body_that_raises_because_of_the_cancel_leaves_no_failed_step(
    process: WorkerProcess,
) -> None:
    def body(step: Step) -> None:
        cancel(step.run_id)
        process.notice_cancel(step.run_id)  # what the commit does
        step.raise_if_cancelled()

    @job
    def work(step: Step) -> None:
        step.run("a", body, step)

    run = work.trigger()
    work_off(process)
    assert reload(run).status == "cancelled"
    assert not StepRow.objects.exists()


def test_cancellation_is_no_exception_and_swallowing_it_changes_nothing(
    calls: list[str],
) -> None:
    assert not issubclass(control.ControlFlow, Exception)
    caught: list[BaseException] = []

    @job
    def stubborn(step: Step) -> str:
        step.run("a", calls.append, "a")
        cancel(step.run_id)
        for name in ("b", "c", "d"):
            try:
                step.run(name, calls.append, name)
            except Exception:
                raise AssertionError("a job's `except Exception` can't catch it") from None
            except BaseException as error:
                caught.append(error)
        try:
            step.raise_if_cancelled()
        except BaseException as error:
            caught.append(error)
        return "made it"

    run = execute(stubborn)
    assert calls == ["a"]
    assert [type(error) for error in caught] == [control.Cancelled] * 4
    assert (run.status, run.output) == ("cancelled", None)


@pytest.mark.django_db(transaction=True)
def test_the_worker_s_own_process_notices_at_once(process: WorkerProcess, calls: list[str]) -> None:
    @job
    def loop(step: Step) -> None:
        step.run("loop", body, step)

    def body(step: Step) -> None:
        for number in range(100):
            if step.cancelled:
                calls.append(f"stopped at {number}")
                step.raise_if_cancelled()
            if number == 3:
                cancel(step.run_id)

    run = loop.trigger()
    work_off(process)
    assert calls == ["stopped at 4"]
    assert reload(run).status == "cancelled"
    assert reload(run).lease_owner is None


@pytest.mark.django_db(transaction=True)
def test_another_process_notices_with_its_next_look(
    process: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runs.engine import heartbeat

    assert heartbeat.SWEEP_SECONDS <= 1.0  # promised: two seconds
    beat = Heartbeat(process)
    seen: list[bool] = []

    def body(step: Step) -> None:
        monkeypatch.setattr(worker_module, "_current", None)
        cancel(step.run_id)
        seen.append(step.cancelled)
        beat.notice_changes()
        seen.append(step.cancelled)
        step.raise_if_cancelled()

    @job
    def work(step: Step) -> None:
        step.run("a", body, step)

    run = work.trigger()
    work_off(process)
    assert seen == [False, True]
    assert reload(run).status == "cancelled"


def test_the_heartbeat_notices_a_run_that_is_another_worker_s_now(
    work: runs.JobDefinition, process: WorkerProcess, other_worker: HandWorker
) -> None:
    @job
    def lose(step: Step) -> None:
        runs.engine.leases.expire_owned_by(process.id)
        other_worker.take()
        Heartbeat(process).notice_changes()
        found.append(step.cancelled)
        step.raise_if_cancelled()

    found: list[bool] = []
    run = lose.trigger()
    work_off(process)
    assert found == [False]  # it was not cancelled
    assert reload(run).lease_owner == other_worker.id


# Refusals


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled"])
def test_a_terminal_run_can_not_be_cancelled(outcome: str) -> None:
    @job
    def end(step: Step) -> None:
        if outcome == "failed":
            raise LookupError
        if outcome == "cancelled":
            cancel(step.run_id)

    run = execute(end)
    before = Run.objects.values().get()
    with pytest.raises(ConflictError) as caught:
        cancel(run)
    assert str(run.pk) in str(caught.value)
    assert outcome in str(caught.value)
    assert Run.objects.values().get() == before


@pytest.mark.parametrize("id", ["01a203a5-d4e4-722d-b8fb-6b536952653f", "nonsense", ""])
def test_a_missing_run_is_not_found(id: str) -> None:
    for operation in (cancel, runs.retry, runs.retrigger, runs.delete_run, runs.wait_for_run):
        with pytest.raises(NotFoundError, match=id or "''"):
            operation(id)


# Races


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("delay", range(4))
def test_of_a_cancel_and_a_completion_one_wins(
    work: runs.JobDefinition, worker: HandWorker, delay: int
) -> None:
    run = work.trigger(concurrency_key="c")
    held = worker.take(run)

    def cancel_soon() -> Any:
        threading.Event().wait(delay * 0.002)
        return cancel(run)

    cancelled, _ = race(cancel_soon, held.execute)
    stored = reload(run)
    if isinstance(cancelled, ConflictError):
        assert (stored.status, stored.output) == ("completed", "done")
        assert "completed" in str(cancelled)
    else:
        assert (stored.status, stored.output) == ("cancelled", None)
    assert (stored.lease_owner, stored.held_key) == (None, None)
    check_invariants()


@pytest.mark.django_db(transaction=True)
def test_of_many_cancels_one_wins(work: runs.JobDefinition) -> None:
    run = work.trigger()
    found = race(*[lambda: cancel(run)] * 8)
    assert sum(isinstance(result, Run) for result in found) == 1
    assert sum(isinstance(result, ConflictError) for result in found) == 7
    assert kinds(run).count("cancelled") == 1


@pytest.mark.django_db(transaction=True)
def test_a_cancel_that_is_rolled_back_changes_nothing(
    work: runs.JobDefinition, process: WorkerProcess, calls: list[str]
) -> None:
    from django.db import transaction

    @job
    def undecided(step: Step) -> str:
        with transaction.atomic():
            cancel(step.run_id)
            transaction.set_rollback(True)
        step.run("a", calls.append, "a")
        return "done"

    run = undecided.trigger()
    work_off(process)
    assert (reload(run).status, reload(run).output) == ("completed", "done")
    assert kinds(run) == ["triggered", "started", "completed"]
