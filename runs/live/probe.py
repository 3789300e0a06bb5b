"""Whether anything was written since the last time, for next to nothing.

A look at the database reads three tables in a transaction, so a poller makes only a few a
second. What it asks in between is one number of SQLite's, or three of PostgreSQL's: the last ids
that the tables gave out.
"""

from __future__ import annotations

from django.db import connection

from runs.engine.database import is_sqlite
from runs.models import LogEntry, RunEvent, Step

#: SQLite: a number that other connections' commits change.
_DATA_VERSION = "PRAGMA data_version"

#: PostgreSQL: ids are given out a moment before the rows are committed.
_LAST_IDS = "SELECT {} FROM {}"


class Probe:
    """Asked from one thread, on its connection."""

    def __init__(self) -> None:
        self._statement = _DATA_VERSION if is_sqlite() else _last_ids()
        self._seen: tuple[int, ...] | None = None

    def has_changed(self) -> bool:
        """Whether there may be news since the last call."""
        before, self._seen = self._seen, self._read()
        return self._seen != before

    def _read(self) -> tuple[int, ...]:
        with connection.cursor() as cursor:
            cursor.execute(self._statement)
            found: tuple[int, ...] = cursor.fetchone()
        return found


def _last_ids() -> str:
    sequences = [f"{model._meta.db_table}_id_seq" for model in (RunEvent, Step, LogEntry)]
    columns = ", ".join(f"{name}.last_value" for name in sequences)
    return _LAST_IDS.format(columns, ", ".join(sequences))
