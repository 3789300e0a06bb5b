"""How many rows each table has, and how much room it takes with its indexes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.apps import apps
from django.db import connection, models

from runs import vacuum
from runs.engine import database, wal
from runs.models import Label, LogEntry, Run, RunEvent, Step
from runs.storage import trees

#: What belongs to runs and grows with them; the rest is small.
OF_RUNS: tuple[type[models.Model], ...] = (Run, Step, LogEntry, RunEvent, Label)

_POSTGRESQL = """
    SELECT c.relname,
        CASE WHEN s.n_live_tup > 0 THEN s.n_live_tup ELSE GREATEST(c.reltuples, 0)::bigint END,
        pg_table_size(c.oid), pg_indexes_size(c.oid), s.n_dead_tup,
        GREATEST(s.last_vacuum, s.last_autovacuum)
    FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
    WHERE s.schemaname = current_schema()
"""


@dataclass(frozen=True)
class Table:
    """A table. ``dead`` rows are those that PostgreSQL has not vacuumed yet."""

    name: str
    title: str
    rows: int
    data: int  # bytes, as the next
    indexes: int
    is_exact: bool
    dead: int | None = None
    vacuumed_at: datetime | None = None

    @property
    def size(self) -> int:
        return self.data + self.indexes


@dataclass(frozen=True)
class Storage:
    """The whole database, in bytes.

    ``free`` pages, ``log`` and ``auto_vacuum`` are SQLite's, ``neglect`` is PostgreSQL's.
    """

    total: int
    tables: list[Table]
    has_sizes: bool = True
    free: int = 0
    log: int | None = None
    auto_vacuum: int | None = None
    neglect: vacuum.Neglect | None = None

    @cached_property
    def by_name(self) -> dict[str, Table]:
        return {table.name: table for table in self.tables}

    def of(self, model: type[models.Model]) -> Table | None:
        """The table of a model."""
        return self.by_name.get(model._meta.db_table)

    @property
    def runs(self) -> int:
        """How many runs there are, about."""
        table = self.of(Run)
        return table.rows if table else 0

    @property
    def of_runs(self) -> int:
        """What runs take with everything that hangs on them."""
        if not self.has_sizes:
            return self.total - self.free
        return sum(table.size for model in OF_RUNS if (table := self.of(model)))

    @property
    def per_run(self) -> float | None:
        """What a run takes on average; None without runs."""
        return self.of_runs / self.runs if self.runs else None


def measure() -> Storage:
    """All tables, the largest first. What is not exact is an estimate."""
    found = _measure_sqlite() if database.is_sqlite() else _measure_postgresql()
    found.tables.sort(key=lambda table: (-table.size, -table.rows, table.title))
    return found


def _titles() -> dict[str, str]:
    return {
        model._meta.db_table: str(model._meta.verbose_name_plural).capitalize()
        for model in apps.get_app_config("runs").get_models()
    }


def _measure_postgresql() -> Storage:
    titles, tables = _titles(), []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        total = int(cursor.fetchone()[0])
        cursor.execute(_POSTGRESQL)
        for name, rows, data, indexes, dead, vacuumed_at in cursor.fetchall():
            title = titles.get(name, name)
            tables.append(Table(name, title, rows, data, indexes, False, dead, vacuumed_at))
    return Storage(total, tables, neglect=vacuum.neglect())


def _measure_sqlite() -> Storage:
    file = trees.read()
    titles, tables = _titles(), []
    for tree in file.trees:
        if tree.name != tree.table:
            continue
        own = [other for other in file.trees if other.table == tree.table and other is not tree]
        # A small tree tells more exactly how many rows there are.
        complete = [tree, *(index for index in own if index.has_all)]
        smallest = min(complete, key=lambda each: each.pages)
        tables.append(
            Table(
                tree.name,
                titles.get(tree.name, tree.name),
                round(smallest.rows),
                round(tree.pages * file.page_size),
                round(sum(index.pages for index in own) * file.page_size),
                all(each.is_exact for each in [tree, *own]),
            )
        )
    return Storage(
        file.pages * file.page_size,
        tables or _counted_by_ids(titles),
        bool(file.trees),
        file.free * file.page_size,
        wal.size(),
        file.auto_vacuum,
    )


def _counted_by_ids(titles: dict[str, str]) -> list[Table]:
    """What the row numbers say, which is too much where rows between others were deleted."""
    found = []
    with connection.cursor() as cursor:
        for name, title in titles.items():
            quoted = connection.ops.quote_name(name)
            ends = f"(SELECT max(rowid) FROM {quoted}) - (SELECT min(rowid) FROM {quoted}) + 1"  # noqa: S608 (names of our tables)
            cursor.execute(f"SELECT {ends}")
            rows = cursor.fetchone()[0] or 0
            found.append(Table(name, title, rows, 0, 0, rows == 0))
    return found
