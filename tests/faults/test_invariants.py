"""The checks of ``invariants`` see what they are there to see."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from runs import Step, job
from runs.models import BulkAction, BulkItem, Run, RunEvent
from runs.registry import registry
from tests.faults import invariants
from tests.faults.invariants import PROMISES, Stored, check_invariants
from tests.pages import factories
from tests.support.engine import HandWorker

pytestmark = pytest.mark.django_db

Sabotage = Callable[[Stored, Run], Any]


def _set(**values: Any) -> Sabotage:
    def apply(stored: Stored, run: Run) -> None:
        for name, value in values.items():
            setattr(run, name, value)

    return apply


def _twin(**values: Any) -> Sabotage:
    """A second run like it."""

    def apply(stored: Stored, run: Run) -> None:
        twin = Run(pk=uuid.uuid4(), job=run.job, **{"status": run.status, **values})
        _set(**values)(stored, run)
        stored.runs[twin.pk] = twin

    return apply


def _bulk_item_twice(stored: Stored, run: Run) -> None:
    item = BulkItem(run_id=run.pk, done=True)
    stored.bulk = [(BulkAction(done=2), [item, item])]


#: Each promise, with ways in which it may be broken in a database that forbids nothing.
SABOTAGE: dict[str, list[Sabotage]] = {
    "a row belongs to a run": [lambda stored, run: stored.runs.clear()],
    "a run's numbers are given once, without gaps": [
        _set(seq=99),
        lambda stored, run: stored.steps[run.pk].pop(),
        lambda stored, run: stored.logs[run.pk][0].update(seq=1),
    ],
    "log lines and events are in order of their ids": [
        lambda stored, run: stored.events[run.pk].reverse(),
        lambda stored, run: stored.logs[run.pk].reverse(),
    ],
    "completed steps are counted 0, 1, 2, … and have one row each": [
        _set(step_count=3),
        lambda stored, run: stored.steps[run.pk][0].update(index=7),
        lambda stored, run: stored.steps[run.pk][0].update(name="b"),
        lambda stored, run: stored.steps[run.pk][0].update(error_type="ValueError"),
    ],
    "state, end and error of a run agree": [
        _set(finished_at=timezone.now()),
        _set(status="failed", due_at=None),
        _set(status="cancelled", finished_at=timezone.now()),
        _set(error_type="ValueError"),
        _set(due_at=None),
    ],
    "a run has at most one holder, and its history tells each": [
        _set(lease_expires_at=None),
        _set(lease_owner=None),
        _set(lease_generation=2),
        _set(status="completed"),
    ],
    "a concurrency key has at most one holder": [
        _set(held_key=None),
        _twin(concurrency_key="k", held_key="k"),
    ],
    "at most one run is pending per job and key": [_twin(concurrency_key="k", status="pending")],
    "one run per job and idempotency key": [_twin(idempotency_key="k")],
    "the history leads to the state": [
        _set(status="completed"),
        _set(attempt=2),
        lambda stored, run: stored.events[run.pk].clear(),
        lambda stored, run: stored.events[run.pk][0].update(kind="completed"),
        lambda stored, run: stored.events[run.pk][-1].update(kind="retried"),
    ],
    "a run is found by its labels": [lambda stored, run: stored.labels[run.pk].clear()],
    "a bulk action does each run once": [_bulk_item_twice],
    "a parked run waits for somebody": [
        _set(status="pending", due_at=None, lease_owner=None, held_key=None)
    ],
}


@pytest.fixture
def run(worker: HandWorker) -> Run:
    """A run that executes, with two steps and two log lines."""

    @job(name="saboteur")
    def saboteur(step: Step) -> None: ...

    try:
        run = saboteur.trigger(concurrency_key="k", labels={"a": "b"})
        held = worker.take(run)
        for name in "ab":
            held.step.log.info(name)
            held.step.run(name, int)
        return run
    finally:
        registry.remove("saboteur")


@pytest.fixture
def worker() -> HandWorker:
    return HandWorker()


def test_an_undisturbed_run_breaks_no_promise(run: Run) -> None:
    check_invariants(runs=[run.pk])


def test_every_promise_has_its_sabotage() -> None:
    assert SABOTAGE.keys() == {promise.says for promise in PROMISES}


@pytest.mark.parametrize(
    ("says", "number"),
    [(says, number) for says, ways in SABOTAGE.items() for number in range(len(ways))],
)
def test_a_broken_promise_is_seen(
    run: Run, says: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored()
    SABOTAGE[says][number](stored, stored.runs[run.pk])
    monkeypatch.setattr(invariants, "Stored", lambda using: stored)
    with pytest.raises(AssertionError, match=f"Broken promises:(.|\n)*{says}"):
        check_invariants()


def test_a_lost_run_and_an_invented_one_are_seen(run: Run) -> None:
    with pytest.raises(AssertionError, match="no run is lost"):
        check_invariants(runs=[run.pk, uuid.uuid4()])
    with pytest.raises(AssertionError, match="no run appears"):
        check_invariants(runs=[])


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_purge_that_ends_while_it_is_read_is_no_broken_promise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factories.run("completed")
    RunEvent.objects.create(
        run=Run.objects.get(), seq=1, kind="triggered", actor="ann", created_at=timezone.now()
    )
    read = Stored._by_run

    def after_a_purge(stored: Stored, model: Any, order: str) -> Any:
        if model is RunEvent:
            with ThreadPoolExecutor(1) as other:
                other.submit(_purge_all).result()
        return read(stored, model, order)

    monkeypatch.setattr(Stored, "_by_run", after_a_purge)
    stored = Stored()
    assert not Run.objects.exists()
    assert len(stored.events) == len(stored.runs) == 1


def _purge_all() -> None:
    try:
        RunEvent.objects.all().delete()
        Run.objects.all().delete()
    finally:
        connection.close()
