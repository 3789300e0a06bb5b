"""What a worker takes, when, and how many at a time; and what it needs to start."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection

from runs.engine import wakeups
from runs.models import RunStatus
from tests import processes
from tests.support.crash import Body, Cluster, locked_tables, now, plan, trigger
from tests.support.crashapp.jobs import StepPlan, crash_plan

#: What no storage can read.
GARBAGE = b"garbage" * 5000


def test_four_at_once_and_never_more(cluster: Cluster) -> None:
    cluster.start("--concurrency", "4")
    runs = crash_plan.batch_trigger([plan(0.4)] * 10)
    ring = wakeups._doorbell(str(connection.settings_dict["NAME"]))
    for _ in range(30):  # more messages than runs change nothing
        ring()
    cluster.completed(*runs)
    assert most_at_once(cluster.evidence().bodies) == 4
    assert cluster.check_durable(runs) == 0


def test_order_and_time(cluster: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    cluster.start("--concurrency", "1")
    cluster.body(trigger(StepPlan(waits_for=str(gate))), 0)
    later = datetime.now(UTC) + timedelta(seconds=1.5)
    scheduled = trigger(0, run_at=later, priority=100)
    runs = [trigger(0.01, priority=priority) for priority in (0, -5, 10, 0, 10)]
    gate.touch()
    cluster.completed(*runs)
    evidence = cluster.evidence()
    order = [runs.index(run) for body in evidence.bodies for run in runs if run.pk == body.run]
    assert order == [2, 4, 0, 3, 1]
    cluster.completed(scheduled)
    started = cluster.evidence().of(scheduled)[0].started_clock
    assert later.timestamp() <= started < later.timestamp() + 5, "not early, and soon"


def test_unknown_jobs_are_left_alone(cluster: Cluster) -> None:
    """Also by a worker that answers the doorbell before the one that knows them."""
    cluster.start(DJANGO_SETTINGS_MODULE="durably_site.settings")
    run = trigger(0)
    known = trigger_known()
    cluster.until(lambda: is_completed(known), "the run of a job that it knows")
    run.refresh_from_db()
    assert (run.status, run.lease_generation) == (RunStatus.PENDING, 0)
    cluster.start()
    cluster.completed(run)
    for _ in range(5):
        at = now()
        run = trigger(0)
        cluster.completed(run)
        assert cluster.evidence().of(run)[0].started < at + 2


def test_run_whose_message_is_lost_is_found(cluster: Cluster, tmp_path: Path) -> None:
    """A trigger rings in one queue, and this worker listens at another, which suffers much."""
    queue = tmp_path / "queue.sqlite3"
    queue.write_bytes(GARBAGE)
    worker = cluster.start(HUEY_URL=f"sqlite:///{queue}")
    check_found_in_time(cluster)
    for file in tmp_path.glob("queue.sqlite3*"):
        with file.open("r+b") as found:
            found.write(GARBAGE)
    check_found_in_time(cluster)
    for file in tmp_path.glob("queue.sqlite3*"):
        file.unlink()
    check_found_in_time(cluster)
    assert len(worker.log.read_text().splitlines()) < 20  # it says so once, not all the time


def test_run_is_found_without_the_queue_s_server(cluster: Cluster) -> None:
    worker = cluster.start(HUEY_URL="redis://127.0.0.1:1/0")
    check_found_in_time(cluster)
    assert len(worker.log.read_text().splitlines()) < 20


def check_found_in_time(cluster: Cluster) -> None:
    """Several at once, too."""
    at = now()
    runs = [trigger(0, 0.3) for _ in range(4)]
    cluster.completed(*runs)
    assert max(body.started for body in cluster.evidence().bodies) < at + 3


def test_database_that_goes_away_for_a_while(cluster: Cluster) -> None:
    cluster.start(CRASH_SQLITE_TIMEOUT="0.3")
    runs = [trigger(*[0.1] * 10, asynchronous=asynchronous) for asynchronous in (False, True)]
    for run in runs:
        cluster.body(run, 3)
    disturb(cluster)
    cluster.completed(*runs)
    assert cluster.check_durable(runs) == 0  # no step was repeated
    for run in runs:
        assert run.recoveries == 0


def test_worker_waits_for_its_database(cluster: Cluster, tmp_path: Path) -> None:
    with scratch_database(tmp_path) as url:
        worker = cluster.start(ready=False, DATABASE_URL=url, CRASH_SQLITE_TIMEOUT="0.3")
        cluster.until(lambda: b"not ready" in worker.log.read_bytes(), "it says that it waits")
        with appearing(url):
            said = worker.log.read_bytes().count(b"not ready")
            cluster.until(
                lambda: worker.log.read_bytes().count(b"not ready") > said, "it waits for the lock"
            )
            assert worker.popen.poll() is None
        cluster.until(
            lambda: one(url, f"SELECT count(*) FROM runs_worker WHERE pid = {worker.pid}"),
            "it has started by itself",
        )
        code, _ = worker.stop()
        assert code == 0
        assert one(url, "SELECT count(*) FROM runs_worker WHERE stopped_at IS NOT NULL") == 1


def most_at_once(bodies: list[Body]) -> int:
    """How many of the bodies were in progress at the same time, at most."""
    changes = [(body.started, 1) for body in bodies]
    changes += [(body.ended, -1) for body in bodies if body.ended]
    count = most = 0
    for _, change in sorted(changes):
        count += change
        most = max(most, count)
    return most


def trigger_known() -> Any:
    from jobs.process_order import process_order

    return process_order.trigger({"order_id": "order_123"})


def is_completed(run: Any) -> bool:
    run.refresh_from_db()
    return bool(run.status == RunStatus.COMPLETED)


def disturb(cluster: Cluster) -> None:
    """Make the database unusable, for longer than the worker waits for an answer."""
    if connection.vendor == "sqlite":
        with locked_tables():
            cluster.until(lambda: "waits for the database" in cluster.logs(), "the lock is noticed")
        return
    with connection.cursor() as cursor:
        for _ in range(3):
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            seen = len(cluster.evidence().bodies)
            cluster.until(lambda seen=seen: len(cluster.evidence().bodies) > seen, "it goes on")  # type: ignore[misc]


@contextmanager
def scratch_database(folder: Path) -> Iterator[str]:
    """The URL of a database that isn't there yet; it is removed again."""
    if connection.vendor == "sqlite":
        yield f"sqlite:///{folder / 'scratch.sqlite3'}"
        return
    server, _, name = processes.database_url().rpartition("/")
    scratch = f"{name}_scratch"
    yield f"{server}/{scratch}"
    with psycopg.connect(f"{server}/{name}", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {scratch} WITH (FORCE)")


@contextmanager
def appearing(url: str) -> Iterator[None]:
    """Make the database, like the test's own but locked; unlocked at the end."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
            )
            statements = [row[0] for row in cursor.fetchall()]
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)) as lite:
            lite.isolation_level = None
            lite.execute("BEGIN IMMEDIATE")
            for statement in statements:
                lite.execute(statement)
            yield
            lite.execute("COMMIT")
        return
    server, _, name = processes.database_url().rpartition("/")
    scratch = url.rpartition("/")[2]
    # A template must not be in use.
    connection.close()
    wakeups.get_huey().storage.close()
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {scratch} TEMPLATE {name} ALLOW_CONNECTIONS false")
        yield
        admin.execute(f"ALTER DATABASE {scratch} ALLOW_CONNECTIONS true")


def one(url: str, query: str) -> Any:
    """The first value that a query finds in a database other than the test's."""
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite:
            return lite.execute(query).fetchone()[0]
    with psycopg.connect(url) as server:
        row = server.execute(query).fetchone()
        assert row is not None
        return row[0]
