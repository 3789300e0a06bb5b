"""A SIGKILL between any two statements that end a run and claim the next: both or neither."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from django.db import connection

from runs.models import RunStatus
from tests import processes
from tests.support.crash import Cluster, now, trigger
from tests.support.crashapp.jobs import StepPlan

#: SQLite: the run, its event, two looks for the next, that, its event, COMMIT; then the next step.
#: PostgreSQL: a statement for all of it.
_COMMIT = {"sqlite": 6, "postgresql": 0}


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(number, marks=() if number in (0, 5, 7) else pytest.mark.soak)
        for number in range(8)
    ],
)
def test_kill_between_the_statements_of_an_end(cluster: Cluster, statement: int) -> None:
    last = _COMMIT[connection.vendor]
    statement = min(statement, last + 1)
    first, second = trigger(0, 0), trigger(0, 0)
    doomed = cluster.start("--concurrency", "1", ready=False, CRASH_AT_STATEMENT=str(statement))
    assert doomed.exit_code() == -9, cluster.logs()
    cluster.killed[doomed.pid].append(now())
    first.refresh_from_db()
    second.refresh_from_db()
    was_committed = statement > last
    assert (first.status == RunStatus.COMPLETED) is was_committed
    assert (second.status == RunStatus.RUNNING) is was_committed
    assert (first.lease_owner is None) is was_committed
    assert (second.lease_owner is None) is not was_committed

    cluster.start("--concurrency", "1")
    cluster.completed(first, second)
    # Not a body was in progress, but for that of the run which was claimed.
    assert cluster.check_durable([first, second]) <= was_committed
    second.refresh_from_db()
    assert second.lease_generation == (2 if was_committed else 1)


@pytest.mark.postgres
def test_kill_while_the_server_ends_the_run(cluster: Cluster, tmp_path: Path) -> None:
    """PostgreSQL finishes the statement of a client that is gone."""
    gate = tmp_path / "gate"
    first, second = trigger(StepPlan(waits_for=str(gate))), trigger(0)
    doomed = cluster.start("--concurrency", "1")
    cluster.body(first, 0)
    with psycopg.connect(processes.database_url()) as server:
        server.execute("LOCK TABLE runs_runevent IN SHARE MODE")  # nobody inserts
        gate.touch()
        cluster.until(lambda: is_executed("Lock"), "the end waits for the lock")
        doomed.kill()
        server.rollback()
    cluster.until(lambda: not is_executed(), "the server is done with it")
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == (RunStatus.COMPLETED, RunStatus.RUNNING)

    cluster.start("--concurrency", "1")
    cluster.completed(first, second)
    assert cluster.check_durable([first, second]) == 0


def is_executed(*waits_for: str) -> bool:
    """Whether a server process is at the statement that ends a run, and perhaps waits there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT wait_event_type FROM pg_stat_activity WHERE state = 'active' "
            "AND query LIKE %s AND pid <> pg_backend_pid()",
            ["%finished_at = %"],
        )
        found = [row[0] for row in cursor.fetchall()]
    return any(not waits_for or event in waits_for for event in found)
