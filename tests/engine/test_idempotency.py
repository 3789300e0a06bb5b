"""One run for an idempotency key, whoever else triggers with it."""

from __future__ import annotations

import pytest

import runs
from runs import Step, cancel, delete_run, job
from runs.models import Label, Run
from tests.support.engine import HandWorker, execute, kinds, race, reload
from tests.support.processes import trigger_in_processes

pytestmark = pytest.mark.django_db


@pytest.fixture
def pay() -> runs.JobDefinition:
    @job(name="pay")
    def pay(step: Step, payload: int) -> int:
        if payload < 0:
            raise ArithmeticError("negative")
        return payload

    return pay


def test_a_second_trigger_with_the_key_returns_the_first_run_unchanged(
    pay: runs.JobDefinition,
) -> None:
    first = pay.trigger(1, idempotency_key="k", labels={"a": "b"}, priority=3)
    second = pay.trigger(2, idempotency_key="k", labels={"c": "d"}, priority=9)
    assert second.pk == first.pk
    assert second.disposition == "idempotent"
    stored = reload(first)
    assert (stored.input, stored.labels, stored.priority) == (1, {"a": "b"}, 3)
    assert kinds(stored) == ["triggered"]
    assert Label.objects.count() == 1


@pytest.mark.parametrize("value", [1, -1])
def test_the_key_holds_as_long_as_the_run_exists_whatever_its_status(
    pay: runs.JobDefinition, value: int, worker: HandWorker
) -> None:
    run = pay.trigger(value, idempotency_key="k")
    held = worker.take(run)
    assert pay.trigger(5, idempotency_key="k").status == "running"
    held.execute()
    again = pay.trigger(5, idempotency_key="k")
    assert again.pk == run.pk
    assert again.status == ("completed" if value == 1 else "failed")


def test_a_cancelled_run_keeps_its_key(pay: runs.JobDefinition) -> None:
    run = pay.trigger(1, idempotency_key="k")
    cancel(run)
    again = pay.trigger(1, idempotency_key="k")
    assert (again.pk, again.disposition, again.status) == (run.pk, "idempotent", "cancelled")


def test_deleting_the_run_frees_its_key(pay: runs.JobDefinition) -> None:
    run = execute(pay, 1, idempotency_key="k")
    delete_run(run)
    again = pay.trigger(2, idempotency_key="k")
    assert again.disposition == "created"
    assert again.pk != run.pk


def test_the_key_is_unique_per_job_only(pay: runs.JobDefinition) -> None:
    @job
    def refund(step: Step) -> None:
        pass

    pay.trigger(1, idempotency_key="k")
    assert refund.trigger(idempotency_key="k").disposition == "created"


def test_it_wins_over_a_concurrency_conflict(pay: runs.JobDefinition) -> None:
    first = pay.trigger(1, idempotency_key="k", concurrency_key="c")
    again = pay.trigger(1, idempotency_key="k", concurrency_key="c")
    assert (again.pk, again.disposition) == (first.pk, "idempotent")


def test_it_wins_over_coalescing(pay: runs.JobDefinition) -> None:
    with_key = pay.trigger(1, idempotency_key="k")
    pending = pay.trigger(2, concurrency_key="c")
    again = pay.trigger(3, idempotency_key="k", concurrency_key="c", coalesce="skip")
    assert (again.pk, again.disposition) == (with_key.pk, "idempotent")
    assert kinds(pending) == ["triggered"]


@pytest.mark.django_db(transaction=True)
def test_sixteen_threads_with_one_key_make_one_run(pay: runs.JobDefinition) -> None:
    found = race(*[lambda: pay.trigger(1, idempotency_key="k")] * 16)
    assert {run.pk for run in found} == {Run.objects.get().pk}
    assert sorted(run.disposition for run in found) == ["created"] + ["idempotent"] * 15


@pytest.mark.django_db(transaction=True)
def test_threads_that_race_for_both_keys_meet_the_idempotent_run(
    pay: runs.JobDefinition,
) -> None:
    found = race(*[lambda: pay.trigger(1, idempotency_key="k", concurrency_key="c")] * 8)
    assert {run.pk for run in found} == {Run.objects.get().pk}


@pytest.mark.django_db(transaction=True)
def test_processes_with_one_key_make_one_run() -> None:
    found = trigger_in_processes(3, 8, job="slow-report", idempotency_key="k")
    assert len(found) == 24
    assert {id for id, _ in found} == {str(Run.objects.get().pk)}
    assert sorted(disposition for _, disposition in found) == ["created"] + ["idempotent"] * 23
