"""How much the runs of each job take, from samples of the tables.

A job's part of a table is its part of a sample that is spread over all of it: a thousand rows,
weighed by the length of what they hold and ``_OVERHEAD`` for everything else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import connection, models

from runs.engine import database
from runs.models import LogEntry, Run, RunEvent, Step
from runs.storage.tables import Storage, Table

#: Rows that are looked at of each table; on SQLite so many at a time, at places far apart.
SAMPLE = 1_000
_AT_A_TIME = 10

#: Bytes of a row beside its texts, with its entries in indexes, about.
_OVERHEAD = 150

#: A row takes less, most of the time.
_LONG_ROW = 4_000

#: What a row's length depends on, by table.
_TEXTS: dict[type[models.Model], tuple[str, ...]] = {
    Run: ("input", "output", "error_traceback"),
    Step: ("output", "error_traceback"),
    LogEntry: ("message", "data"),
    RunEvent: ("data", "reason"),
}


@dataclass(frozen=True)
class JobShare:
    """A job: about how many runs it has, and what these take."""

    job: str
    runs: int
    size: int
    share: float  # of what all runs take

    @property
    def percent(self) -> str:
        return "< 1" if 0 < self.share < 0.005 else f"{self.share:.0%}"[:-1]


def shares(storage: Storage) -> tuple[list[JobShare], bool]:
    """The jobs, those that take most first, and whether every row was looked at.

    A job with very few runs among many others may not be found.
    """
    sizes: Counter[str] = Counter()
    runs: dict[str, int] = {}
    is_whole = True
    for model in _TEXTS:
        table = storage.of(model)
        if table is None:
            continue
        rows, is_all = _sample(model, table)
        counted = sum(count for _, count, _ in rows)
        weight = sum(each for _, _, each in rows)
        is_whole = is_whole and is_all
        for job, count, part in rows:
            sizes[job] += round(table.size * part / weight)
            if model is Run:
                runs[job] = count if is_all else round(table.rows * count / counted)
    total = sizes.total()
    found = [
        JobShare(job, runs.get(job, 0), size, size / total if total else 0.0)
        for job, size in sizes.items()
    ]
    return sorted(found, key=lambda each: (-each.size, -each.runs, each.job)), is_whole


def _sample(model: type[models.Model], of: Table) -> tuple[list[tuple[str, int, int]], bool]:
    """Of each job: the rows in the sample, and their weight. And whether it has all rows."""
    is_run = model is Run
    table = connection.ops.quote_name(of.name)
    join = "" if is_run else "JOIN runs_run r ON r.id = t.run_id"
    columns = f"{'t' if is_run else 'r'}.job, count(*), sum({_weight(model)})"
    with connection.cursor() as cursor:
        if database.is_sqlite():
            head, params, is_all = _points(cursor, table)
            source = f"points CROSS JOIN {table} t ON t.rowid BETWEEN p AND p + n - 1"
        else:
            rows = max(of.rows, of.data // _LONG_ROW, 1)  # PostgreSQL may know of none yet
            head, params, is_all = "", [min(100.0, 100.0 * SAMPLE / rows)], rows <= SAMPLE
            source = f"{table} t TABLESAMPLE SYSTEM (%s) REPEATABLE (1)"
        cursor.execute(f"{head} SELECT {columns} FROM {source} {join} GROUP BY 1", params)  # noqa: S608 (names of ours)
        found = [(job, count, int(weight)) for job, count, weight in cursor.fetchall()]
    return found, is_all


def _weight(model: type[models.Model]) -> str:
    length = "length" if database.is_sqlite() else "pg_column_size"  # the latter reads no text
    texts = [f"COALESCE({length}(t.{name}), 0)" for name in _TEXTS[model]]
    return " + ".join([str(_OVERHEAD), *texts])


def _points(cursor: Any, table: str) -> tuple[str, list[Any], bool]:
    """Places from which to read so many rows each, and whether these are all.

    As a common table expression with its parameters.
    """
    cursor.execute(f"SELECT (SELECT min(rowid) FROM {table}), (SELECT max(rowid) FROM {table})")  # noqa: S608 (names of ours)
    first, last = cursor.fetchone()
    span = 0 if first is None else last - first + 1
    if span <= SAMPLE:
        return "WITH points(p, n) AS (VALUES (%s, %s))", [first or 0, span], True
    count = SAMPLE // _AT_A_TIME
    params: list[Any] = []
    for number in range(count):
        params += [first + (span - _AT_A_TIME) * number // (count - 1), _AT_A_TIME]
    values = ", ".join(["(%s, %s)"] * count)
    return f"WITH points(p, n) AS (VALUES {values})", params, False
