"""The web server's connections to PostgreSQL."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.db import connection

from tests import processes
from tests.processes import until

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

NAME = "pooled_web"
SIZE = 3


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A web server's address; its connections bear a name."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    web = processes.start(
        "web",
        log=tmp_path / "log",
        PORT=str(port),
        DATABASE_POOL_SIZE=str(SIZE),
        DATABASE_URL=f"{processes.database_url()}?application_name={NAME}",
    )
    try:
        until(lambda: is_ready(f"http://127.0.0.1:{port}"), "the web server")
        yield f"http://127.0.0.1:{port}"
    finally:
        processes.end(web)


def is_ready(address: str) -> bool:
    try:
        with urlopen(f"{address}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def pids() -> set[int]:
    """The server's processes behind the web server's connections."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", [NAME])
        return {pid for (pid,) in cursor.fetchall()}


def test_many_requests_share_a_few_connections(address: str) -> None:
    with ThreadPoolExecutor(20) as threads:
        assert all(threads.map(lambda _: is_ready(address), range(60)))
    before = pids()
    assert 1 <= len(before) <= SIZE
    assert is_ready(address)
    assert pids() <= before, "none is opened anew"


def test_connections_that_the_server_ended_are_replaced(address: str) -> None:
    with connection.cursor() as cursor:
        for pid in pids():
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    until(lambda: not pids(), "their end")
    assert is_ready(address)
