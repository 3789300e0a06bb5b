"""SQLite's write-ahead log does not stay long."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection

from runs.engine import chores, wal
from runs.models import Chore, Job
from tests.pages import factories

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the log of SQLite"),
]

LONG = 400_000


@pytest.fixture(autouse=True)
def grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred kB are long already."""
    monkeypatch.setattr(wal, "LONG", LONG)
    monkeypatch.setattr(wal, "_FEW_PAGES", 10)


@contextmanager
def reader() -> Iterator[None]:
    """Somebody who has begun to read, and does not end."""
    with closing(sqlite3.connect(settings.DATABASES["default"]["NAME"])) as raw:
        raw.execute("BEGIN")
        raw.execute("SELECT count(*) FROM runs_run").fetchone()
        yield


def grow() -> None:
    for _ in range(8):
        factories.run(input="x" * 100_000)
    assert wal.size() > LONG


def test_a_long_log_is_cut_off() -> None:
    grow()
    wal.shorten()
    assert wal.size() == 0


def test_a_short_log_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    grow()
    monkeypatch.setattr(wal, "LONG", 10**9)
    wal.shorten()
    assert wal.size() > LONG


def test_while_somebody_reads_nobody_waits_and_the_log_tells(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with reader():
        grow()
        began = time.monotonic()
        with caplog.at_level(logging.WARNING):
            wal.shorten()
        assert time.monotonic() - began < 2
        assert "something that has been reading for long" in caplog.text
        Job.objects.update(title="as ever")
    wal.shorten()
    assert wal.size() == 0


def test_a_worker_does_it_as_a_chore() -> None:
    grow()
    Chore.objects.create(name="write-ahead log", due_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert "write-ahead log" in chores.do_due(chores.SLOW, uuid4())
    assert wal.size() < LONG
