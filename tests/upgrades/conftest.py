"""A database of its own for each test, without any table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from tests import processes
from tests.faults.installation import default_database
from tests.support import crash


@pytest.fixture
def empty_database(transactional_db: None, tmp_path: Path) -> Iterator[str]:
    """Its URL. This process works on it meanwhile."""
    if connection.vendor == "sqlite":
        url = f"sqlite:///{tmp_path / 'upgraded.sqlite3'}"
        with default_database(url, migrated=False):
            yield url
        return
    server, _, name = processes.database_url().rpartition("/")
    own = f"{name}_upgraded"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {own}")
        try:
            with default_database(f"{server}/{own}", migrated=False):
                yield f"{server}/{own}"
        finally:
            admin.execute(f"DROP DATABASE {own} WITH (FORCE)")


@pytest.fixture
def cluster(transactional_db: None, tmp_path: Path) -> Iterator[crash.Cluster]:
    """Workers on the test's database; none of them outlives the test."""
    crash.register_jobs()
    found = crash.Cluster(tmp_path)
    try:
        yield found
    finally:
        found.close()
        crash.forget_jobs()
