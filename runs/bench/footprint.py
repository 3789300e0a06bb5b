"""What a run of three steps takes of the disk, and of the server."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.apps import apps
from django.db import connection

from runs.bench.measuring import Bench
from runs.bench.results import Row
from runs.bench.throughput import complete

#: The server's statistics are late by about a second.
_STATISTICS_SECONDS = 2.0


def footprint(bench: Bench) -> Iterator[Row]:
    """Bytes of tables and indexes; on PostgreSQL also bytes of WAL, and transactions."""
    count = bench.sizes.sustained
    complete(bench, count // 10)  # warm-up
    disk = _bytes()
    wal, commits = (_wal(), _commits()) if bench.is_server else (0, 0)
    complete(bench, count)
    for name, what, unit, before, after in _differences(bench, disk, wal, commits):
        yield bench.row(name, f"{what} of a run of three steps", unit, (after - before) / count)


def _differences(
    bench: Bench, disk: int, wal: int, commits: int
) -> Iterator[tuple[str, str, str, int, int]]:
    yield "footprint-disk", "tables and indexes", "bytes", disk, _bytes()
    if bench.is_server:
        yield "footprint-wal", "WAL", "bytes", wal, _wal()
        yield "footprint-commits", "transactions", "", commits, _commits()


def _bytes() -> int:
    """The size of the engine's tables and their indexes; on SQLite that of the database."""
    if connection.vendor == "sqlite":
        return _number("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    tables = [model._meta.db_table for model in apps.get_app_config("runs").get_models()]
    sizes = [_number(f"SELECT pg_total_relation_size('{table}')") for table in tables]
    return sum(sizes)


def _wal() -> int:
    return _number("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")


def _commits() -> int:
    time.sleep(_STATISTICS_SECONDS)
    return _number("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")


def _number(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])
