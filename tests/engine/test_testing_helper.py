"""runs.testing.drain, for tests of code that triggers runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

import runs
from runs import Step, cancel, delete_run, job
from runs.testing import drain
from tests.support.engine import HandWorker


@pytest.fixture
def count_down() -> runs.JobDefinition:
    @job
    def count_down(step: Step, payload: int) -> int:
        if payload > 0:
            step.run("next", lambda: str(runs.trigger("count-down", payload - 1).pk))
        if payload == 13:
            raise LookupError
        return payload

    return count_down


@pytest.mark.django_db
def test_it_executes_what_is_due_inside_a_test_case_s_transaction(
    count_down: runs.JobDefinition,
) -> None:
    run = count_down.trigger(0)
    assert [found.pk for found in drain()] == [run.pk]
    assert drain() == []


@pytest.mark.django_db(transaction=True)
def test_it_works_in_tests_with_real_transactions(count_down: runs.JobDefinition) -> None:
    with transaction.atomic():
        count_down.trigger(2)
    assert [run.output for run in drain()] == [2, 1, 0]


@pytest.mark.django_db
def test_it_returns_the_runs_as_they_ended_in_the_order_of_execution(
    count_down: runs.JobDefinition,
) -> None:
    count_down.trigger(2)
    count_down.trigger(13, priority=5)
    found = drain(limit=4)
    assert [(run.input, run.status) for run in found] == [
        (13, "failed"), (2, "completed"), (12, "completed"), (1, "completed"),
    ]  # fmt: skip


@pytest.mark.django_db
def test_what_a_run_triggers_is_executed_too(count_down: runs.JobDefinition) -> None:
    count_down.trigger(5)
    assert [run.output for run in drain()] == [5, 4, 3, 2, 1, 0]


@pytest.mark.django_db
def test_it_stops_after_limit(count_down: runs.JobDefinition) -> None:
    for _ in range(3):
        count_down.trigger(0)
    assert drain(limit=0) == []
    assert len(drain(limit=2)) == 2
    assert len(drain(limit=2)) == 1


@pytest.mark.django_db
def test_what_is_not_due_stays(count_down: runs.JobDefinition) -> None:
    count_down.trigger(0, run_at=datetime.now(UTC) + timedelta(hours=1))
    cancel(count_down.trigger(0))
    count_down.trigger(0)
    HandWorker().take()
    assert drain() == []


@pytest.mark.django_db
def test_a_run_that_is_gone_afterwards_is_left_out(count_down: runs.JobDefinition) -> None:
    @job
    def vanish(step: Step) -> None:
        cancel(step.run_id)
        from runs.engine import leases
        from runs.models import Run

        owner = Run.objects.get(pk=step.run_id).lease_owner
        assert owner is not None
        leases.expire_owned_by(owner)
        delete_run(step.run_id)

    vanish.trigger()
    run = count_down.trigger(0)
    assert [found.pk for found in drain()] == [run.pk]
