"""What a run of three steps takes of the disk, and of the server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.db import connection

from runs.bench.measuring import Bench
from runs.bench.results import Row
from runs.bench.throughput import complete

#: The server's statistics are late by about a second.
_STATISTICS_SECONDS = 2.0


@dataclass(frozen=True)
class _Taken:
    """So far: bytes, whole pages in the WAL, transactions; only of a server all of them."""

    disk: int
    indexes: int = 0
    wal: int = 0
    pages: int = 0
    commits: int = 0


def footprint(bench: Bench) -> Iterator[Row]:
    """Bytes of tables and indexes; on PostgreSQL also bytes of WAL, and transactions."""
    count = bench.sizes.sustained
    complete(bench, count // 10)  # warm-up
    before = _taken()
    complete(bench, count)
    after = _taken()

    def row(name: str, what: str, unit: str, note: str = "") -> Row:
        taken = getattr(after, name) - getattr(before, name)
        of_a_run = f"{what} of a run of three steps"
        return bench.row(f"footprint-{name}", of_a_run, unit, taken / count, note=note)

    if not bench.is_server:
        yield row("disk", "tables and indexes", "bytes")
        return
    indexes = (after.indexes - before.indexes) / count
    yield row("disk", "tables and indexes", "bytes", f"{indexes:,.0f} of them indexes")
    pages = (after.pages - before.pages) / count
    note = f"{pages:.2f} whole pages in it, of up to 8 KB: more of them soon after a checkpoint"
    yield row("wal", "WAL", "bytes", note)
    yield row("commits", "transactions", "")


def _taken() -> _Taken:
    if connection.vendor == "sqlite":
        statement = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        return _Taken(_number(statement))
    time.sleep(_STATISTICS_SECONDS)
    tables = [model._meta.db_table for model in apps.get_app_config("runs").get_models()]
    commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return _Taken(
        disk=sum(_number(f"SELECT pg_total_relation_size('{table}')") for table in tables),
        indexes=sum(_number(f"SELECT pg_indexes_size('{table}')") for table in tables),
        wal=_number("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"),
        pages=_number("SELECT wal_fpi FROM pg_stat_wal"),
        commits=_number(commits),
    )


def _number(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])
