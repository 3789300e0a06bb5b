"""Kills its own process between two statements of the transaction that ends a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from runs.engine import database


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


def install_if_told() -> None:
    """By the environment variable CRASH_AT_STATEMENT."""
    if number := os.environ.get("CRASH_AT_STATEMENT"):
        Killer(int(number)).install()
