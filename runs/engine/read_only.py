"""Whether the database can be read, but not written: what reads from it succeeds all the same.

So it is with an SQLite file, or its file system, that is read-only, with a PostgreSQL server that
still follows another one, and with one that was told ``default_transaction_read_only``, as hosts
of databases do when a disk is full.
"""

from __future__ import annotations

import os
from pathlib import Path

from django.db import connection

from runs.engine import database

#: Beside SQLite's file: its log, and the index of that. A write needs all three.
_SUFFIXES = ("", "-wal", "-shm")


def is_read_only() -> bool:
    """Whether every write would fail. Takes no lock, and so waits for no writer."""
    if database.is_sqlite():
        name = str(connection.settings_dict["NAME"])
        return any(_is_protected(Path(name + suffix)) for suffix in _SUFFIXES)
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        return bool(cursor.fetchone() == ("on",))


def _is_protected(path: Path) -> bool:
    """Whether this process may not write a file that there is.

    The kernel is asked, about file system, mount, flags and mode: SQLite begins a transaction for
    writing also on a read-only file, and may still hold a descriptor from before.
    """
    return not os.access(path, os.W_OK) and path.exists()
