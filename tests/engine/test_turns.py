"""Threads of one worker take short runs in turns, and long ones at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from runs.engine import database, turns
from runs.engine.turns import Turns


@pytest.fixture(autouse=True)
def sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "is_sqlite", lambda: True)


@contextmanager
def _in_thread(body: Callable[[], object]) -> Iterator[threading.Event]:
    done = threading.Event()

    def run() -> None:
        body()
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    yield done
    thread.join(5)
    assert not thread.is_alive()


def test_the_next_waits_while_the_holders_run_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    writes = True
    monkeypatch.setattr(database, "is_writing", lambda within: writes)
    monkeypatch.setattr(turns, "_PATIENCE", 60)
    found = Turns()
    found.take()
    with _in_thread(found.take) as went:
        assert not went.wait(0.1)
        found.take()  # the holder goes on at once
        assert not went.wait(0.1)
        writes = False
        assert went.wait(5)


def test_a_run_that_writes_for_long_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "is_writing", lambda within: True)
    found = Turns()
    found.take()
    with _in_thread(found.take) as went:
        assert went.wait(5)


def test_who_finds_nothing_lets_the_next_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "is_writing", lambda within: True)
    monkeypatch.setattr(turns, "_PATIENCE", 60)
    found = Turns()
    found.take()
    with _in_thread(found.take) as went:
        assert not went.wait(0.05)
        found.leave()
        assert went.wait(5)


def test_who_has_lost_the_turn_takes_it_from_nobody_by_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "is_writing", lambda within: False)
    found = Turns()
    found.take()
    with _in_thread(found.take) as went:
        assert went.wait(5)
    monkeypatch.setattr(database, "is_writing", lambda within: True)
    monkeypatch.setattr(turns, "_PATIENCE", 60)
    found.leave()  # the other thread's turn
    with _in_thread(found.take) as went:
        assert not went.wait(0.05)
        monkeypatch.setattr(database, "is_writing", lambda within: False)


def test_on_postgresql_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "is_sqlite", lambda: False)
    monkeypatch.setattr(database, "is_writing", lambda within: True)
    monkeypatch.setattr(turns, "_PATIENCE", 60)
    found = Turns()
    found.take()
    began = time.monotonic()
    with _in_thread(found.take) as went:
        assert went.wait(5)
    assert time.monotonic() - began < 5


def test_a_write_counts_while_it_waits_and_is_made() -> None:
    with database._sqlite_writer:
        assert database.is_writing(within=0)
    assert not database.is_writing(within=0)
