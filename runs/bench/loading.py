"""Many rows at once: COPY on PostgreSQL, ``executemany`` on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection

from runs.engine import database

#: Columns of the tables, as the rows have them. Times and ids are text that both databases take.
COLUMNS = {
    "runs_run": (
        *("id", "job", "status", "priority", "labels", "concurrency_key", "attempt", "run_at"),
        *("created_at", "queued_at", "started_at", "finished_at", "due_at", "lease_owner"),
        *("lease_expires_at", "lease_generation", "recoveries", "seq", "step_count"),
        *("current_step", "progress", "error_type", "error_message", "error_step"),
        *("error_fingerprint", "error_traceback", "triggered_by", "code_version", "release"),
        *("input", "output"),
    ),
    "runs_step": (
        *("run_id", "name", "index", "status", "attempts", "seq", "started_at", "finished_at"),
        *("error_type", "error_message", "error_traceback", "output"),
    ),
    "runs_logentry": ("run_id", "step", "level", "message", "data", "created_at", "seq"),
    "runs_runevent": ("run_id", "kind", "actor", "reason", "data", "created_at", "seq"),
    "runs_label": ("run_id", "key", "value"),
}

Rows = dict[str, list[tuple[Any, ...]]]


def load(rows: Rows) -> None:
    """Insert the rows of each table, in one transaction."""
    with database.write(), connection.cursor() as cursor:
        for table, found in rows.items():
            if not found:
                continue
            if database.is_sqlite():
                marks = ", ".join(["%s"] * len(COLUMNS[table]))
                insert = f"INSERT INTO {table} ({_names(table)}) VALUES ({marks})"  # noqa: S608
                cursor.executemany(insert, found)
            else:
                _copy(cursor, table, found)


def _copy(cursor: Any, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    with cursor.copy(f"COPY {table} ({_names(table)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _names(table: str) -> str:
    return ", ".join(connection.ops.quote_name(name) for name in COLUMNS[table])


def prepare() -> None:
    """Make this connection fit for so much.

    SQLite's own log may grow meanwhile. PostgreSQL would spend more time on the foreign keys
    than on all else, but only a superuser may tell it not to look.
    """
    with connection.cursor() as cursor:
        if database.is_sqlite():
            cursor.execute("PRAGMA cache_size = -200000")
            cursor.execute("PRAGMA wal_autocheckpoint = 40000")
            return
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone() == (True,):
            cursor.execute("SET session_replication_role = replica")


def settle() -> None:
    """Leave the connection and its settings; do what autovacuum would, for PostgreSQL's planner."""
    connection.close()
    if not database.is_sqlite():
        with connection.cursor() as cursor:
            for table in COLUMNS:
                cursor.execute(f"VACUUM (ANALYZE) {table}")
