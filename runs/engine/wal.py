"""Keeping SQLite's write-ahead log short.

A commit that finds 16 MB in the log moves what it can into the database, but only what no reader
needs any more, and the file never becomes shorter. While something reads without an end, such as
a backup or a forgotten transaction, the log grows, and it stays as long as it was when that ends.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from django.conf import settings

from runs.engine import database

logger = logging.getLogger(__name__)

#: Of these bytes on, the log is moved into the database and cut off.
LONG = 64_000_000

#: Seconds that writers may have to wait for it, and pages that may be moved meanwhile.
_WAIT = 0.1
_FEW_PAGES = 1_000


def shorten() -> None:
    """Cut off a log that has grown long, unless somebody still reads what is in it."""
    if size() < LONG:
        return
    # On a connection of its own, which soon gives up: writers wait as long as it does.
    name = settings.DATABASES["default"]["NAME"]
    with closing(sqlite3.connect(name, timeout=_WAIT, isolation_level=None)) as raw:
        _, pages, moved = raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if pages - moved <= _FEW_PAGES:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return
    logger.warning(
        "SQLite's log has grown to %s MB: something that has been reading for long keeps it from "
        "being moved into the database",
        size() // 1_000_000,
    )


def size() -> int:
    """The bytes of the log; none on PostgreSQL."""
    if not database.is_sqlite():
        return 0
    try:
        return Path(f"{settings.DATABASES['default']['NAME']}-wal").stat().st_size
    except OSError:
        return 0
