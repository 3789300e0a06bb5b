"""Deleting one run, and purging old ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import runs
from runs import Step, cancel, delete_run, job, purge_runs
from runs.engine import operations
from runs.errors import ConflictError, NotFoundError, ValidationError
from runs.models import Label, LogEntry, Run, RunEvent
from runs.models import Step as StepRow
from tests.support.engine import HandWorker, execute, race

pytestmark = pytest.mark.django_db


@pytest.fixture
def work() -> runs.JobDefinition:
    @job
    def work(step: Step, payload: str = "") -> None:
        step.run("a", lambda: None)
        step.log.info("line")
        if payload == "fail":
            raise LookupError

    return work


def ended(work: runs.JobDefinition, ago: timedelta, **options: Any) -> Run:
    run = execute(work, "", **options)
    Run.objects.filter(pk=run.pk).update(finished_at=datetime.now(UTC) - ago)
    return run


def everything() -> list[int]:
    return [model.objects.count() for model in (Run, StepRow, LogEntry, RunEvent, Label)]


def test_a_deleted_run_takes_everything_that_hangs_on_it_and_nothing_else(
    work: runs.JobDefinition,
) -> None:
    other = execute(work, "", labels={"a": "b"})
    before = everything()
    for value in ("", "fail"):
        run = execute(work, value, labels={"a": "b"})
        delete_run(run)
        assert everything() == before
    assert Run.objects.get().pk == other.pk
    with pytest.raises(NotFoundError):
        delete_run(run)


def test_a_run_whose_body_stops_while_it_is_deleted_is_deleted(
    work: runs.JobDefinition, worker: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = work.trigger("")
    worker.take(run)
    cancel(run)
    delete = operations._delete

    def refuse_and_release(ids: list[Any]) -> Any:
        found = delete(ids)
        Run.objects.filter(pk=run.pk).update(lease_owner=None, lease_expires_at=None)
        return found

    monkeypatch.setattr(operations, "_delete", refuse_and_release)
    delete_run(run)
    assert not Run.objects.filter(pk=run.pk).exists()


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_run_that_is_not_over_can_not_be_deleted(
    status: str, work: runs.JobDefinition, worker: HandWorker
) -> None:
    run = work.trigger("")
    if status == "running":
        worker.take(run)
    with pytest.raises(ConflictError) as caught:
        delete_run(run)
    assert status in str(caught.value)
    assert str(run.pk) in str(caught.value)
    assert Run.objects.count() == 1


def test_a_cancelled_pending_run_can_be_deleted(work: runs.JobDefinition) -> None:
    run = work.trigger("")
    cancel(run)
    delete_run(str(run.pk), actor="ann")
    assert everything() == [0] * 5


def test_purge_deletes_what_ended_before_the_time_and_says_how_many(
    work: runs.JobDefinition,
) -> None:
    old = [ended(work, timedelta(days=days)) for days in (3, 2)]
    young = ended(work, timedelta(hours=1))
    assert purge_runs(datetime.now(UTC) - timedelta(days=1)) == len(old)
    assert [run.pk for run in Run.objects.all()] == [young.pk]
    assert purge_runs(datetime.now(UTC) - timedelta(days=1)) == 0


def test_purge_takes_an_age_too(work: runs.JobDefinition) -> None:
    ended(work, timedelta(days=3))
    assert purge_runs(timedelta(days=4)) == 0
    assert purge_runs(timedelta(days=2)) == 1


def test_purge_deletes_the_oldest_first_and_at_most_limit(work: runs.JobDefinition) -> None:
    kept = ended(work, timedelta(days=2))
    for days in (5, 9, 7):
        ended(work, timedelta(days=days))
    assert purge_runs(timedelta(days=1), limit=2) == 2
    assert purge_runs(timedelta(days=1), 1) == 1
    assert [run.pk for run in Run.objects.all()] == [kept.pk]


def test_a_run_that_ended_exactly_then_stays(work: runs.JobDefinition) -> None:
    run = execute(work, "")
    moment = datetime.now(UTC) - timedelta(days=1)
    Run.objects.filter(pk=run.pk).update(finished_at=moment)
    assert purge_runs(moment) == 0
    assert purge_runs(moment + timedelta(microseconds=1)) == 1


def test_purge_leaves_what_is_not_over_whatever_its_age(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    old = datetime.now(UTC) - timedelta(days=100)
    worker.take(work.trigger(""))
    work.trigger("")
    Run.objects.update(created_at=old)
    assert purge_runs(timedelta(days=1)) == 0


def test_purge_leaves_a_cancelled_run_whose_body_may_still_work(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    run = work.trigger("")
    held = worker.take(run)
    cancel(run)
    Run.objects.update(finished_at=datetime.now(UTC) - timedelta(days=100))
    assert purge_runs(timedelta(days=1)) == 0
    held.release()
    assert purge_runs(timedelta(days=1)) == 1


def test_purged_runs_take_everything_with_them(work: runs.JobDefinition) -> None:
    ended(work, timedelta(days=2), labels={"a": "b"})
    assert purge_runs(timedelta(days=1)) == 1
    assert everything() == [0] * 5


@pytest.mark.parametrize(
    ("older_than", "limit"),
    [
        (datetime(2026, 1, 1), 500),  # noqa: DTZ001
        ("30d", 500),
        (None, 500),
        (timedelta(days=1), 0),
        (timedelta(days=1), -1),
        (timedelta(days=1), 1.5),
        (timedelta(days=1), True),
    ],
)
def test_purge_refuses_what_it_can_not_mean(older_than: Any, limit: Any) -> None:
    with pytest.raises(ValidationError):
        purge_runs(older_than, limit)


@pytest.mark.django_db(transaction=True)
def test_racing_deletes_delete_once(work: runs.JobDefinition) -> None:
    run = execute(work, "")
    found = race(*[lambda: delete_run(run)] * 6)
    assert found.count(None) == 1
    assert sum(isinstance(result, NotFoundError | ConflictError) for result in found) == 5


@pytest.mark.django_db(transaction=True)
def test_racing_purges_count_each_run_once(work: runs.JobDefinition) -> None:
    for _ in range(12):
        ended(work, timedelta(days=2))
    found = race(*[lambda: purge_runs(timedelta(days=1))] * 4)
    assert sum(found) == 12
    assert everything() == [0] * 5
