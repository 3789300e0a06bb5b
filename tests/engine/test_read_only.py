"""Whether the database can be written."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from runs.engine.read_only import is_read_only
from tests.faults.installation import default_database

NOBODY = 65534


@pytest.fixture
def file(transactional_db: None) -> Iterator[Path]:
    """An SQLite file with its log, in use; everybody may write it."""
    if connection.vendor != "sqlite":
        pytest.skip("about SQLite's file")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        found = Path(folder) / "db.sqlite3"
        with default_database(f"sqlite:///{found}", migrated=False):
            with connection.cursor() as cursor:
                cursor.execute("CREATE TABLE some (id)")
            for path in Path(folder).iterdir():
                path.chmod(0o666)
            assert len(list(Path(folder).iterdir())) == 3
            yield found


@contextmanager
def nobody() -> Iterator[None]:
    """Not as root, who may write everything whatever its mode."""
    if os.getuid():
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_a_file_that_may_be_written_is_not(file: Path) -> None:
    with nobody():
        assert not is_read_only()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_file_that_may_not_be_written_is(file: Path, suffix: str) -> None:
    file.with_name(file.name + suffix).chmod(0o444)
    with nobody():
        assert is_read_only()


def test_whoever_is_writing_is_not_waited_for(file: Path) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with connection.execute_wrapper(lambda *_: pytest.fail("it asked the database")):
        assert not is_read_only()
    other.close()


@pytest.mark.postgres
@pytest.mark.django_db
def test_a_server_that_takes_no_writes_is() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("about PostgreSQL")
    assert not is_read_only()
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")  # as all are on a standby
        assert is_read_only()
