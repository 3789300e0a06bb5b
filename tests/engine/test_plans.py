"""SQLite plans without knowing the tables: what must not read them whole follows an index."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.engine import bulk, database, leases, operations
from runs.filters import RunFilters
from runs.listing import load_page
from runs.models import Run
from tests.pages import factories

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL knows its tables"),
]


def _plans(work: Callable[[], Any]) -> list[str]:
    """How SQLite finds the rows of each query of runs."""
    with CaptureQueriesContext(connection) as captured:
        work()
    found = []
    with connection.cursor() as cursor:
        for query in captured.captured_queries:
            if query["sql"].startswith("SELECT") and 'FROM "runs_run"' in query["sql"]:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
                found.append("; ".join(str(row[3]) for row in cursor.fetchall()))
    return found


def test_a_purge_starts_at_the_oldest_end() -> None:
    run = factories.run("completed", finished_at=timezone.now() - timedelta(days=9))
    plan = _plans(lambda: operations.purge_runs(timedelta(days=1)))[0]
    assert "run_finished" in plan
    assert "TEMP B-TREE" not in plan
    assert not Run.objects.filter(pk=run.pk).exists()


def test_failed_runs_of_a_job_have_an_index() -> None:
    factories.failed_run(job="parcel")
    filters = RunFilters(status=("failed",), jobs=("parcel",))
    assert any("run_failed_by_job" in plan for plan in _plans(lambda: load_page(filters)))


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("status=failed", "run_by_status"),
        ("job=parcel", "run_by_job"),
        ("job=parcel&status=failed", "run_failed_by_job"),
        ("job=parcel&status=completed", "run_by_job"),
    ],
)
def test_a_bulk_action_walks_along_an_index(query: str, index: str) -> None:
    factories.failed_run(job="parcel")
    plans = _plans(lambda: bulk.count(filters=query))
    window, counted = plans[-2:]
    assert index in window
    assert "TEMP B-TREE FOR ORDER BY" not in window
    assert "SCAN runs_run" not in counted.replace("SCAN runs_run USING", "")


def _plan_of(statement: database.Statement, *params: str) -> str:
    rows = connection.connection.execute(f"EXPLAIN QUERY PLAN {statement.sqlite}", params)
    return "; ".join(str(row[3]) for row in rows)


def test_what_is_parked_is_found_without_a_look_at_what_is_due_later() -> None:
    connection.ensure_connection()
    assert "run_parked (concurrency_key=?)" in _plan_of(leases._UNPARK, "key")
    assert "r USING INDEX run_parked_by_job" in _plan_of(leases._FORGOTTEN)
    with CaptureQueriesContext(connection) as captured:
        leases.restore_parked(["a", "b"])
        leases.sweep()
    assert not [q for q in captured.captured_queries if "concurrency_key" in q["sql"]]
