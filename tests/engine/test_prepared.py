"""PostgreSQL plans a hot statement once for a connection, and nothing breaks when its plan does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from django.db import connection

import runs
from runs import Step, job
from runs.engine import database
from runs.engine.database import Statement
from runs.engine.worker import WorkerProcess, register
from runs.models import Run, RunStatus
from tests.support.engine import HandWorker, race

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

_NUMBER = Statement("SELECT %s::int AS hot")


@pytest.fixture
def work() -> runs.JobDefinition:
    @job
    def work(step: Step) -> None:
        step.run("a", lambda: None)

    return work


@pytest.fixture(autouse=True)
def fresh_connection(db: None) -> Iterator[None]:
    """No statement is prepared yet, nor will be when the next test begins."""
    connection.close()
    yield
    connection.close()


def _prepared() -> list[str]:
    """The statements that the server keeps for this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [text for (text,) in cursor.fetchall()]


def test_a_hot_statement_is_prepared_at_its_second_execution() -> None:
    assert database.query(_NUMBER, (1,)) == [(1,)]
    assert _prepared() == []
    assert [database.query(_NUMBER, (number,)) for number in (2, 3)] == [[(2,)], [(3,)]]
    assert _prepared() == ["SELECT $1::int AS hot"]


def test_a_query_of_the_orm_is_never_prepared() -> None:
    for _ in range(3):
        Run.objects.filter(job="a").exists()
    assert _prepared() == []


def test_nothing_stays_with_a_session_behind_a_pooler(monkeypatch: pytest.MonkeyPatch) -> None:
    options = connection.settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "prepare_threshold", None)  # as the settings say then
    for number in range(3):
        database.query(_NUMBER, (number,))
    assert _prepared() == []


def test_a_run_is_executed_by_few_plans(work: runs.JobDefinition, worker: HandWorker) -> None:
    for _ in range(3):
        work.trigger()
    for _ in range(3):
        worker.take().execute()
    known = len(_prepared())
    for _ in range(9):
        work.trigger()
    for _ in range(9):
        worker.take().execute()
    assert 0 < len(_prepared()) <= known + 1, "each kind of statement once, not each execution"


def test_a_worker_outlives_a_migration_of_what_it_has_planned(work: runs.JobDefinition) -> None:
    """Else its connection answers "cached plan must not change result type" for ever."""
    process = WorkerProcess(register(1))
    try:
        for size in (200, 400):
            race(partial(_resize_job, size))
            for _ in range(4):
                work.trigger()
            process.drain()
    finally:
        connection.close()
        race(partial(_resize_job, 200))
    assert list(Run.objects.values_list("status", flat=True)) == [RunStatus.COMPLETED] * 8


def _resize_job(size: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE runs_run ALTER COLUMN job TYPE varchar({size})")
