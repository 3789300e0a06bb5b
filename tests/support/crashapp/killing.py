"""Sends its own process a signal before the n-th of its statements, as the environment says."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from runs.engine import database

#: How long the thread whose statement it is waits for the stop to begin, in seconds.
_HEAD_START = 0.02


class Killer:
    """Counts from the statement that ends a run, which is 0, and kills before the n-th."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._counts = False

    def install(self) -> None:
        """Look at all that the hot path sends to the database, SQLite's COMMIT included."""
        sqlite, other = database._SqliteWrite, database._Directly
        for name in ("rows", "count"):
            setattr(sqlite, name, self._watched(getattr(sqlite, name)))
            setattr(other, name, staticmethod(self._watched(getattr(other, name))))
        sqlite.__exit__ = self._before_commit(sqlite.__exit__)  # type: ignore[method-assign]

    def _watched(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def send(*args: Any) -> Any:
            self._before(is_end=any("finished_at = " in getattr(a, "sqlite", "") for a in args))
            return real(*args)

        return send

    def _before_commit(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def leave(*args: Any) -> Any:
            self._before(is_end=False)
            return real(*args)

        return leave

    def _before(self, *, is_end: bool) -> None:
        self._counts = self._counts or is_end
        if not self._counts:
            return
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


class Stopper:
    """Counts all statements of all threads from the first, which is 0: SIGTERM before the n-th."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._count = itertools.count()

    def install(self) -> None:
        """Look at what each connection sends: on SQLite all, on PostgreSQL all but COMMIT."""
        connection_created.connect(self._watch, weak=False)

    def _watch(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        if connection.vendor == "sqlite":
            connection.connection.set_trace_callback(self._before)
        elif self._execute not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._execute)

    def _execute(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        self._before(sql)
        return execute(sql, *rest)

    def _before(self, statement: str) -> None:
        if next(self._count) == self._number:
            sys.stdout.write(f"SIGTERM before: {' '.join(statement.split())[:200]}\n")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(_HEAD_START)


def install_if_told() -> None:
    """By the environment variables CRASH_AT_STATEMENT and STOP_AT_STATEMENT."""
    if number := os.environ.get("CRASH_AT_STATEMENT"):
        Killer(int(number)).install()
    if number := os.environ.get("STOP_AT_STATEMENT"):
        Stopper(int(number)).install()
