"""Database connections that steps open in threads of the handler's own."""

from __future__ import annotations

import threading

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper


class BorrowedConnections:
    """Remembers them: Django gives each thread its own, and closes none when the thread ends."""

    def __init__(self) -> None:
        self._worker = threading.current_thread()
        self._borrowed: list[tuple[threading.Thread, BaseDatabaseWrapper]] = []
        self._lock = threading.Lock()

    def note(self) -> None:
        """Remember the calling thread's connection, unless it is the worker's."""
        thread = threading.current_thread()
        if thread is self._worker:
            return
        wrapper = connections[DEFAULT_DB_ALIAS]
        with self._lock:
            if not any(known is wrapper for _, known in self._borrowed):
                wrapper.inc_thread_sharing()
                self._borrowed.append((thread, wrapper))

    def close(self) -> None:
        """Close those whose thread has ended.

        Not of one that lives on, as in a pool that several runs share: another run may be
        in the middle of a transaction there.
        """
        with self._lock:
            for thread, borrowed in self._borrowed:
                if not thread.is_alive():
                    borrowed.close()
            self._borrowed.clear()
