"""Very many runs in the tables of the first release, and a worker that goes on writing to them."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection, models

from tests.upgrades.first_release import Rows

#: Copied again and again; every twentieth time the latter.
PATTERNS = ("completed", "failed")
EVERY = 20

#: As of a UUIDv7, in front of 15 digits that count.
_ID_HEAD = "019b76da000070008"
_LATER_ID_HEAD = "019e80a1000070008"

_SQL = {
    "sqlite": {
        "series": "WITH RECURSIVE series(n) AS "
        "(SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count})",
        "id": f"'{_ID_HEAD}' || printf('%015x', n + 1000)",
        "time": "strftime('%Y-%m-%d %H:%M:%f000', t.{column}, '+' || n || ' seconds')",
        "pattern": "CASE n % {every} WHEN 0 THEN '{1}' ELSE '{0}' END",
    },
    "postgresql": {
        "series": "WITH series AS (SELECT n FROM generate_series(1, {count}) AS n)",
        "id": f"('{_ID_HEAD}' || lpad(to_hex(n + 1000), 15, '0'))::uuid",
        "time": "t.{column} + n * interval '1 second'",
        "pattern": "(CASE n % {every} WHEN 0 THEN '{1}' ELSE '{0}' END)::uuid",
    },
}


def fill_many(apps: Any, job: str, count: int) -> dict[str, int]:
    """Make so many runs by the models of that time; how many rows each table has then."""
    patterns = [Rows.of(job, name, number) for number, name in enumerate(PATTERNS)]
    for rows in patterns:
        rows.run["input"] = {"text": "x" * 200}
        rows.store(apps)
    ids = [rows.run["id"] for rows in patterns]
    found = [apps.get_model("runs", name) for name in _ROWS_OF]
    with connection.cursor() as cursor:
        for model in found:
            cursor.execute(_copies(model, [id.hex for id in ids], count))
        apps.get_model("runs", "Run").objects.filter(pk__in=ids).delete()  # and all their rows
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM (ANALYZE)")  # as it is after a while in use
    of = dict(zip(PATTERNS, patterns, strict=True))
    return {model._meta.db_table: _expected(model.__name__, of, count) for model in found}


_ROWS_OF: dict[str, Callable[[Rows], int]] = {
    "Run": lambda rows: 1,
    "Step": lambda rows: len(rows.steps),
    "LogEntry": lambda rows: len(rows.logs),
    "RunEvent": lambda rows: len(rows.events),
    "Label": lambda rows: len(rows.run.get("labels", {})),
}


def _expected(name: str, patterns: dict[str, Rows], count: int) -> int:
    completed, failed = (_ROWS_OF[name](rows) for rows in patterns.values())
    return completed * (count - count // EVERY) + failed * (count // EVERY)


def _copies(model: type[models.Model], ids: list[str], count: int) -> str:
    """A statement that inserts the rows of all runs, those of one run side by side."""
    sql = _SQL[connection.vendor]
    table, of = model._meta.db_table, "id" if model.__name__ == "Run" else "run_id"
    values = {}
    for field in model._meta.concrete_fields:
        column = str(field.column)
        if column == of:
            values[column] = sql["id"]
        elif isinstance(field, models.DateTimeField):
            values[column] = sql["time"].format(column=column)
        elif not field.primary_key:
            values[column] = f't."{column}"'
    columns = ", ".join(f'"{column}"' for column in values)
    # A cross join, which SQLite does in this order.
    return (
        f"INSERT INTO {table} ({columns}) {sql['series'].format(count=count)} "
        f"SELECT {', '.join(values.values())} FROM series CROSS JOIN {table} t "
        f"WHERE t.{of} = {sql['pattern'].format(*ids, every=EVERY)} ORDER BY n"
    )


#: As a worker of the first release writes; also what the indexes to come are about.
_TURN = (
    """
    UPDATE runs_run SET seq = seq + 1, status = 'failed', error_fingerprint = 'late'
    WHERE id = %(ended)s
    """,
    """
    INSERT INTO runs_step (run_id, name, "index", status, attempts, seq, started_at, finished_at)
    VALUES (%(ended)s, 'late', 9, 'completed', 1, 99, '2026-06-01 00:00:00', '2026-06-01 00:00:01')
    """,
    """
    INSERT INTO runs_runevent (run_id, kind, actor, reason, created_at, seq)
    VALUES (%(ended)s, 'failed', 'late', '', '2026-06-01 00:00:01', 100)
    """,
    """
    INSERT INTO runs_run (id, job, status, priority, labels, attempt, created_at, queued_at, due_at,
        lease_generation, recoveries, seq, step_count, triggered_by, code_version, release)
    VALUES (%(added)s, 'late', 'pending', 0, '{}', 1, '2026-06-01 00:00:00', '2026-06-01 00:00:00',
        '2026-06-01 00:00:00', 0, 0, 1, 0, 'late', '', '')
    """,
    # It is the only one that is due, as the others have ended or been claimed.
    """
    UPDATE runs_run SET seq = seq + 1, status = 'running', lease_generation = lease_generation + 1,
        lease_owner = %(added)s, lease_expires_at = '2026-06-01 00:01:00',
        due_at = '2026-06-01 00:01:00', started_at = '2026-06-01 00:00:00'
    WHERE id = (
        SELECT id FROM runs_run WHERE status IN ('pending', 'running')
        AND due_at <= '2026-06-01 00:00:00' ORDER BY priority DESC, due_at, id LIMIT 1
    )
    """,
)


def _ids(turn: int) -> dict[str, str]:
    """Of the run that ends in that turn, and of the one that is made."""
    return {"ended": f"{_ID_HEAD}{turn + 1001:015x}", "added": f"{_LATER_ID_HEAD}{turn:015x}"}


@dataclass
class Writer:
    """Counts its transactions, and the seconds of the one that took longest."""

    turns: int = 0
    longest: float = 0.0
    error: BaseException | None = None

    def write_until(self, ended: threading.Event, write: Callable[[int], None]) -> None:
        try:
            while not ended.wait(0.005):
                begun = time.monotonic()
                write(self.turns)
                self.turns += 1
                self.longest = max(self.longest, time.monotonic() - begun)
        except BaseException as error:
            self.error = error


@contextmanager
def writing(url: str) -> Iterator[Writer]:
    """Meanwhile a thread writes to one run after the other, as a worker does."""
    writer, ended = Writer(), threading.Event()
    with _connected(url) as write:
        thread = threading.Thread(target=writer.write_until, args=(ended, write))
        thread.start()
        try:
            yield writer
        finally:
            ended.set()
            thread.join()
    if writer.error is not None:
        raise writer.error


@contextmanager
def _connected(url: str) -> Iterator[Callable[[int], None]]:
    if connection.vendor == "postgresql":
        with psycopg.connect(url, autocommit=True) as server:

            def write(turn: int) -> None:
                with server.transaction():
                    for statement in _TURN:
                        server.execute(statement, _ids(turn))

            yield write
        return
    # With the patience of workers.
    patience = settings.DATABASES["default"]["OPTIONS"]["timeout"]
    path = connection.settings_dict["NAME"]
    with closing(
        sqlite3.connect(path, patience, isolation_level=None, check_same_thread=False)
    ) as file:
        file.execute("PRAGMA synchronous = FULL")

        def write(turn: int) -> None:
            file.execute("BEGIN IMMEDIATE")
            for statement in _TURN:
                file.execute(re.sub(r"%\((\w+)\)s", r":\1", statement), _ids(turn))
            file.execute("COMMIT")

        yield write
