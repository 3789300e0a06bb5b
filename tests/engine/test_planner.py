"""After a burst of triggers a claim costs what it did before, whatever the planner knew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from runs.engine import chores, claims, leases, planner, queue
from runs.models import Chore, Run
from tests.pages import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

MANY = 3_000


@pytest.fixture(autouse=True)
def fresh_connection(db: None) -> Iterator[None]:
    """No plan is kept yet, nor will be when the next test begins."""
    connection.close()
    yield
    connection.close()


def sql(text: str, *params: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute(text, params)
        rows = cursor.fetchall() if cursor.description else []
    return "\n".join(str(row[0]) for row in rows)


def burst(count: int = MANY) -> None:
    now = datetime.now(UTC)
    times = dict.fromkeys(("created_at", "queued_at", "due_at"), now)
    Run.objects.bulk_create(Run(job="example", triggered_by="x", **times) for _ in range(count))


def until(found: Callable[[], bool]) -> None:
    """The server counts changes with a delay."""
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def plan_of_claim() -> str:
    """That which this connection keeps."""
    name = sql("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%%expired AS%%'")
    jobs = "ARRAY['example'], ARRAY['example']"
    execute = f"EXECUTE \"{name}\"({jobs}, '{uuid4()}', 30, 30, 'x', now())"
    return sql(f"EXPLAIN (COSTS OFF) {execute}")


def test_a_plan_for_no_runs_is_not_kept_for_many() -> None:
    sql("TRUNCATE runs_run CASCADE")  # with the room that tests before took
    sql("ANALYZE runs_run")
    for _ in range(12):
        assert claims.claim_next(["example"], uuid4(), "x") is None
    burst()
    assert "Seq Scan on runs_run" in plan_of_claim()
    until(lambda: planner.keep_up() == ["runs_run"])
    assert "Seq Scan on runs_run" not in plan_of_claim()


def test_a_table_that_changed_little_is_not_analyzed(monkeypatch: pytest.MonkeyPatch) -> None:
    burst()
    sql("ANALYZE runs_run")
    burst(10)
    monkeypatch.setattr(planner, "_FEW", 0)
    time.sleep(1.5)
    assert "runs_run" not in planner.keep_up()  # other tests may have left others so


def test_runs_under_way_are_not_looked_for_in_the_whole_queue() -> None:
    factories.run("completed")
    sql("ANALYZE runs_run")
    burst(100)
    # Which index it takes is a matter of some costs; without the others it would take any it may.
    others = [index.name for index in Run._meta.indexes if index.name != "run_queue"]
    with transaction.atomic():
        sql(f"DROP INDEX {', '.join(others)}")
        sql("SET LOCAL enable_seqscan = off")
        plan = sql("EXPLAIN " + queue.IS_DUE.postgresql, ["new"], ["new"])
        transaction.set_rollback(True)
    assert "run_queue" in plan
    assert "run_queue" not in plan[plan.index("CTE expired") : plan.index("CTE levels")]


def test_the_sweep_looks_at_parked_runs_only() -> None:
    for _ in range(100):
        factories.run("completed")
    sql("ANALYZE runs_run")
    burst()
    plan = sql("EXPLAIN " + leases._FORGOTTEN.postgresql)
    assert "Index Scan using run_parked_by_job on runs_run r" in plan
    assert "run_by_status" not in plan
    assert "Seq Scan on runs_run" not in plan


def test_it_is_a_chore() -> None:
    Chore.objects.create(name="planner", due_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert "planner" in chores.do_due(chores.SLOW, uuid4())
