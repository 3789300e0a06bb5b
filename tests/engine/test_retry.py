"""Retrying: the same run, its next attempt, its completed steps kept."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

import runs
from runs import Step, cancel, job, retry
from runs.errors import ConflictError, NotFoundError, ValidationError
from runs.models import Run
from runs.registry import registry
from runs.testing import drain
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, execute, kinds, race, reload

pytestmark = pytest.mark.django_db


class Order(BaseModel):
    order_id: str


class StricterOrder(BaseModel):
    order_id: str
    currency: str


class WiderOrder(BaseModel):
    order_id: str
    currency: str = "EUR"


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def flaky(calls: list[str]) -> runs.JobDefinition:
    """Its step ``b`` fails in the first attempt, ``c`` in the second."""

    @job
    def flaky(step: Step, payload: Any = None) -> str:
        for name, failing in (("a", 0), ("b", 1), ("c", 2), ("d", 0)):
            step.run(name, body, name, step.attempt == failing)
        return "done"

    def body(name: str, fails: bool) -> str:
        calls.append(name)
        if fails:
            raise LookupError(name)
        return name

    return flaky


def test_completed_steps_are_kept_and_the_failed_one_and_later_ones_run(
    flaky: runs.JobDefinition, calls: list[str]
) -> None:
    run = execute(flaky)
    assert (run.status, run.error_step) == ("failed", "b")
    retried = retry(run)
    assert (retried.pk, retried.status, retried.attempt) == (run.pk, "pending", 2)
    drain()
    assert calls == ["a", "b", "b", "c"]
    assert reload(run).error == "LookupError: c (in step c)"
    retry(run)
    drain()
    assert calls == ["a", "b", "b", "c", "c", "d"]
    stored = reload(run)
    assert (stored.status, stored.output, stored.attempt, stored.error) == (
        "completed", "done", 3, None,
    )  # fmt: skip
    steps = {s.name: (s.index, s.status, s.attempts, s.error) for s in stored.steps.all()}
    assert steps == {
        "a": (0, "completed", 1, None),
        "b": (1, "completed", 2, None),
        "c": (2, "completed", 2, None),
        "d": (3, "completed", 1, None),
    }
    assert kinds(run) == [
        "triggered", "started", "failed", "retried", "started", "failed", "retried", "started",
        "completed",
    ]  # fmt: skip
    check_invariants()


def test_the_error_and_the_end_are_cleared_and_the_rest_stays(
    flaky: runs.JobDefinition,
) -> None:
    run = execute(
        flaky, {"a": 1}, labels={"k": "v"}, idempotency_key="i", concurrency_key="c", priority=4
    )
    retry(run)
    stored = reload(run)
    for name in (
        "error", "error_type", "error_message", "error_traceback", "error_step",
        "error_fingerprint", "finished_at", "output", "held_key", "lease_owner",
    ):  # fmt: skip
        assert getattr(stored, name) is None, name
    for name in (
        "input", "labels", "idempotency_key", "concurrency_key", "priority", "created_at",
        "queued_at", "started_at", "triggered_by", "step_count",
    ):  # fmt: skip
        assert getattr(stored, name) == getattr(run, name), name
    assert stored.due_at == run.queued_at


def test_a_run_cancelled_while_pending_starts_over(
    flaky: runs.JobDefinition, calls: list[str]
) -> None:
    run = flaky.trigger()
    cancel(run)
    assert retry(run).attempt == 2
    drain()
    assert calls == ["a", "b", "c"]


def test_a_run_cancelled_in_the_middle_continues_after_its_completed_steps(
    calls: list[str], worker: HandWorker
) -> None:
    @job
    def work(step: Step) -> str:
        return step.run("a", body, "a") + step.run("b", body, "b")

    def body(name: str) -> str:
        calls.append(name)
        return name

    run = work.trigger()
    held = worker.take(run)
    held.step.run("a", body, "a")
    cancel(run)
    held.release()
    retry(run)
    drain()
    assert calls == ["a", "b"]
    assert reload(run).output == "ab"


def test_who_retried_is_kept(flaky: runs.JobDefinition) -> None:
    run = execute(flaky)
    retry(run, actor="ann", reason="the shop is open again")
    event = run.events.get(kind="retried")
    assert (event.actor, event.reason) == ("ann", "the shop is open again")


@pytest.mark.parametrize("status", ["pending", "running", "completed"])
def test_only_failed_and_cancelled_runs_can_be_retried(status: str, worker: HandWorker) -> None:
    @job
    def work(step: Step) -> None:
        pass

    run = work.trigger()
    if status != "pending":
        held = worker.take(run)
        if status == "completed":
            held.execute()
    before = Run.objects.values().get()
    with pytest.raises(ConflictError) as caught:
        retry(run)
    assert str(run.pk) in str(caught.value)
    assert status in str(caught.value)
    assert Run.objects.values().get() == before


def test_a_retry_of_a_job_that_is_gone_is_not_found(flaky: runs.JobDefinition) -> None:
    run = execute(flaky)
    registry.remove("flaky")
    with pytest.raises(NotFoundError, match="flaky"):
        retry(run)
    assert reload(run).status == "failed"


def test_the_input_is_validated_against_today_s_schema_first() -> None:
    def fail(step: Step, payload: Any) -> None:
        raise LookupError

    run = execute(job(name="order", input=Order)(fail), {"order_id": "o1"})
    registry.remove("order")
    job(name="order", input=StricterOrder)(fail)
    with pytest.raises(ValidationError, match="currency"):
        retry(run)
    assert reload(run).status == "failed"
    assert reload(run).attempt == 1


def test_a_schema_that_grew_a_default_takes_the_old_input() -> None:
    seen: list[Any] = []

    def fail(step: Step, payload: Any) -> None:
        seen.append(payload)
        raise LookupError

    run = execute(job(name="order", input=Order)(fail), {"order_id": "o1"})
    registry.remove("order")
    job(name="order", input=WiderOrder)(fail)
    retry(run)
    drain()
    assert seen == [Order(order_id="o1"), WiderOrder(order_id="o1", currency="EUR")]


def test_a_retry_of_a_delayed_run_that_was_cancelled_waits_for_its_time_again(
    flaky: runs.JobDefinition, worker: HandWorker
) -> None:
    from datetime import UTC, datetime, timedelta

    later = datetime.now(UTC) + timedelta(hours=1)
    run = flaky.trigger(run_at=later)
    cancel(run)
    retry(run)
    assert worker.claim() is None
    assert reload(run).due_at == later


def test_a_retry_forgets_earlier_recoveries(flaky: runs.JobDefinition) -> None:
    run = execute(flaky)
    Run.objects.filter(pk=run.pk).update(recoveries=4)
    retry(run)
    assert reload(run).recoveries == 0


def test_any_number_of_retries_is_allowed_and_none_happens_by_itself(
    worker: HandWorker,
) -> None:
    @job
    def fail(step: Step) -> None:
        raise LookupError

    run = execute(fail)
    for attempt in range(2, 9):
        assert worker.claim() is None
        retry(run)
        drain()
        assert reload(run).attempt == attempt


@pytest.mark.django_db(transaction=True)
def test_of_many_retries_one_wins(flaky: runs.JobDefinition) -> None:
    run = execute(flaky)
    found = race(*[lambda: retry(run)] * 8)
    assert sum(isinstance(result, Run) for result in found) == 1
    assert sum(isinstance(result, ConflictError) for result in found) == 7
    assert reload(run).attempt == 2
    assert kinds(run).count("retried") == 1
    check_invariants()


@pytest.mark.django_db(transaction=True)
def test_of_a_retry_and_a_delete_one_wins(flaky: runs.JobDefinition) -> None:
    for _ in range(3):
        run = execute(flaky)
        retried, deleted = race(lambda run=run: retry(run), lambda run=run: runs.delete_run(run))  # type: ignore[misc]
        if Run.objects.filter(pk=run.pk).exists():
            assert isinstance(deleted, ConflictError)
            assert reload(run).status == "pending"
        else:
            assert isinstance(retried, NotFoundError | ConflictError)
        Run.objects.all().delete()


@pytest.mark.django_db(transaction=True)
def test_a_retry_inside_a_transaction_belongs_to_it(flaky: runs.JobDefinition) -> None:
    from django.db import transaction

    run = execute(flaky)
    with transaction.atomic():
        retry(run)
        transaction.set_rollback(True)
    assert reload(run).status == "failed"
    assert kinds(run)[-1] == "failed"
