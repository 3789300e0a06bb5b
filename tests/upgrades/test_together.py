"""Several hosts of one deploy migrate the same database at one moment."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from django.db import connection

from runs.upgrades import one_at_a_time
from tests import processes
from tests.processes import manage, until


def test_all_of_them_succeed(empty_database: str) -> None:
    env = processes.environment(DATABASE_URL=empty_database)
    with ThreadPoolExecutor(3) as pool:
        # The checks may warn of what that server is set to.
        done = [pool.submit(manage, "migrate", "--skip-checks", env=env) for _ in range(3)]
        found = [each.result() for each in done]
    assert [(code, errors) for code, _, errors in found] == [(0, "")] * 3
    says = [output for _, output, _ in found]
    assert sum("Applying runs.0001_initial... OK" in output for output in says) == 1
    assert sum("No migrations to apply" in output for output in says) == 2


def allow_little(url: str) -> None:
    """What servers may be told, by which a lock was lost, and an index never built."""
    name = urlsplit(url).path[1:]
    with psycopg.connect(url, autocommit=True) as server:
        for setting, value in (
            ("idle_in_transaction_session_timeout", "1s"),
            ("default_transaction_isolation", "repeatable read"),
        ):
            server.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    connection.close()


def test_who_waits_begins_when_the_first_is_done(empty_database: str, tmp_path: Path) -> None:
    if connection.vendor == "postgresql":
        allow_little(empty_database)
    log = tmp_path / "log"
    said: list[str] = []
    with one_at_a_time("default", say=said.append):
        second = processes.start("migrate", log=log, DATABASE_URL=empty_database)
        until(lambda: "Another migrate is at work" in log.read_text(), "the second one waits")
        time.sleep(2)  # longer than that server lets a transaction rest
        assert second.poll() is None
    assert second.wait(60) == 0
    assert "Applying runs.0001_initial... OK" in log.read_text()
    assert said == []
