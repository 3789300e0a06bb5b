"""Whose turn it is to execute short runs, among the threads of one worker on SQLite.

SQLite has one writer at a time and Python one interpreter. While a run does little but
checkpoint, a second thread adds nothing: the two hand lock and interpreter to and fro at
every statement, and together do a third less than one. So one thread works off the queue
alone; as soon as its run does something else, or takes long, the next one sets out.
"""

from __future__ import annotations

import threading
import time

from runs.engine import database

#: A run that has written nothing for this long, in seconds, leaves room for others.
_SILENCE = 0.001

#: And so does one that has taken this long, in seconds, however much it writes.
_PATIENCE = 0.02


class Turns:
    """Held from before a claim to the end of its run, unless it is passed on meanwhile."""

    def __init__(self) -> None:
        self._queue = threading.Lock()
        self._holder: threading.Thread | None = None
        self._since = 0.0

    def take(self) -> None:
        """Wait until this thread may claim a run."""
        me = threading.current_thread()
        if self._holder != me and database.is_sqlite():
            with self._queue:
                while self._holder is not None and self._is_busy():
                    time.sleep(_SILENCE)
                self._holder = me
        self._since = time.monotonic()

    def keep(self) -> bool:
        """Begin another run if it is this thread's turn still; whether it is."""
        if self._holder != threading.current_thread() and database.is_sqlite():
            return False
        self._since = time.monotonic()
        return True

    def leave(self) -> None:
        """Let the next thread go: there was nothing to claim."""
        if self._holder == threading.current_thread():
            self._holder = None

    def _is_busy(self) -> bool:
        is_young = time.monotonic() - self._since < _PATIENCE
        return is_young and database.is_writing(within=_SILENCE)
