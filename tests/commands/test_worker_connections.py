"""A worker's connections to PostgreSQL: how many, and how they are set up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from runs import get_job
from runs.engine import wakeups
from runs.models import RunStatus, Worker
from tests import processes
from tests.processes import until

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

NAME = "counted_worker"
SLOTS = 6

#: Heartbeat, caretaker, and Huey's two: one that listens and one that takes messages.
OTHERS = 4


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Path]:
    """A worker whose connections bear a name; its log."""
    log = tmp_path / "log"
    process = processes.start(
        "worker",
        "--concurrency",
        str(SLOTS),
        log=log,
        DATABASE_URL=f"{processes.database_url()}?application_name={NAME}",
    )
    try:
        until(Worker.objects.filter(pid=process.pid).exists, "the worker")
        yield log
    finally:
        processes.end(process)


def count() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [NAME])
        return int(cursor.fetchone()[0])


def test_one_for_each_thread_and_four(worker: Path) -> None:
    report = get_job("slow-report")
    runs = report.batch_trigger([{"sections": 2, "seconds": 1.5}] * SLOTS)
    most = 0
    while any(run.status != RunStatus.COMPLETED for run in runs):
        most = max(most, count())
        for run in runs:
            run.refresh_from_db()
            assert run.status != RunStatus.FAILED, run.error
    assert SLOTS < most <= SLOTS + OTHERS


def test_both_ends_notice_the_loss_of_a_connection() -> None:
    if not urlsplit(processes.database_url()).hostname:
        pytest.skip("a Unix socket has no such settings")
    idle = max(1, int(settings.LEASE_SECONDS / 3))
    with connection.cursor() as cursor:
        cursor.execute("SHOW tcp_keepalives_idle")
        assert cursor.fetchone() == (str(idle),)
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)
    assert f"keepalives_idle={idle}" in connection.connection.info.dsn


@pytest.mark.parametrize("explicit", [False, True])
def test_messages_are_not_worth_a_wait_for_the_disk(explicit: bool) -> None:
    """Also over a URL of their own."""
    name = str(connection.settings_dict["NAME"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "HUEY_URL", processes.database_url() if explicit else "")
        storage = wakeups._make_huey(name).storage
    try:
        huey: psycopg.Connection = storage.conn
        assert huey.execute("SHOW synchronous_commit").fetchone() == ("off",)
        assert "tcp_keepalives_idle" in huey.info.dsn
    finally:
        storage.close()
