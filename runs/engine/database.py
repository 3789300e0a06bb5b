"""Transactions and hot statements, on SQLite and PostgreSQL.

Everything that is not on the hot path is plain ORM inside ``write()``. The hot path (claim,
checkpoint, end of a run, log flush) runs a few ``Statement``s inside ``hot_write()``: on SQLite
straight on Python's connection, since Django's cursor and ``atomic()`` cost more than the
statements themselves (6,800 against 16,600 checkpoints a second, measured).
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, TypeVar
from uuid import UUID

from django.db import (
    DEFAULT_DB_ALIAS,
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
    connections,
    models,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

M = TypeVar("M", bound=models.Model)


class Hot(Protocol):
    """Runs statements inside ``hot_write()``."""

    def rows(self, statement: Statement, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""

    def count(self, statement: Statement, params: Sequence[Any]) -> int:
        """Run a statement and return how many rows it wrote."""


#: What a database that is away, restarting, locked or read-only for now raises.
UNAVAILABLE = (OperationalError, InterfaceError, InternalError)

#: What PostgreSQL's driver says of a connection in a transaction; of a lost one it says unknown.
_IN_USE = ("ACTIVE", "INTRANS", "INERROR")

#: SQLite has one writer at a time. Threads that queue here instead of polling for its lock
#: get 1.5 times the throughput.
_sqlite_writer = threading.Lock()
_last_write = 0.0

_FRAGMENTS = {
    "sqlite": {
        "now": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
        "lease_end": "strftime('%Y-%m-%d %H:%M:%f000', 'now', '+' || %s || ' seconds')",
        "for_update": "",
        "for_share": "",
        "in_order": "",
        # Left to itself it would read every pending run, also those that are due later.
        "parked_by_key": "INDEXED BY run_parked",
        "parked_by_job": "INDEXED BY run_parked_by_job",
    },
    "postgresql": {
        "now": "statement_timestamp()",
        "lease_end": "statement_timestamp() + make_interval(secs => %s)",
        "for_update": "FOR UPDATE SKIP LOCKED",
        "for_share": "FOR SHARE",
        "in_order": "ORDER BY id FOR NO KEY UPDATE",
        "parked_by_key": "",
        "parked_by_job": "",
    },
}


@functools.cache
def is_sqlite() -> bool:
    """Whether the database is SQLite; otherwise it is PostgreSQL."""
    return connection.vendor == "sqlite"


class Statement:
    """A hot statement, written once for both databases.

    ``{now}`` and ``{lease_end}`` (which takes the seconds as a parameter) are the
    database's time; ``{for_update}`` skips rows that another claimer looks at, ``{in_order}``
    locks rows as ``in_order()`` does. ``{parked_by_key}`` and ``{parked_by_job}`` stand behind
    the table, to go along an index of parked runs.
    """

    __slots__ = ("postgresql", "sqlite")

    def __init__(self, text: str, **fragments: str) -> None:
        self.sqlite = text.format(**{**_FRAGMENTS["sqlite"], **fragments}).replace("%s", "?")
        self.postgresql = text.format(**{**_FRAGMENTS["postgresql"], **fragments})


#: Locks for ``take_turns``: the first number is this program's, the second one's of so many.
_TURNSTILES = 64
_TAKE_TURNS = Statement(
    "SELECT pg_advisory_xact_lock(1400204, number) FROM unnest(%s::int[]) AS number"
)


def id_param(id: UUID) -> str | UUID:
    """A UUID as the database in use stores it."""
    return id.hex if is_sqlite() else id


def read_id(value: Any) -> UUID:
    """A UUID as a hot statement returns it."""
    return value if isinstance(value, UUID) else UUID(hex=value)


def time_param(moment: datetime) -> str | datetime:
    """A UTC time as the database in use stores it, comparable with what the ORM writes."""
    if is_sqlite():
        return moment.isoformat(" ", "microseconds")[:26]  # without the zone, which is UTC
    return moment


def utc_now() -> datetime:
    """This machine's clock. Leases go by the database's instead."""
    return datetime.now(UTC)


def in_callers_transaction() -> bool:
    """Whether the calling thread has a transaction open that isn't a test case's.

    The driver is asked too, since a plain ``BEGIN`` passes Django by.
    """
    here = connections[DEFAULT_DB_ALIAS]
    if here.in_atomic_block:
        return not getattr(here.atomic_blocks[-1], "_from_testcase", False)
    raw = here.connection
    if raw is None:
        return False
    if not here.autocommit:
        return True
    try:
        return bool(
            raw.in_transaction if is_sqlite() else raw.info.transaction_status.name in _IN_USE
        )
    except sqlite3.ProgrammingError:  # the job's code has closed it underneath
        return False


def in_event_loop() -> bool:
    """Whether this thread is in one, where Django's ORM refuses to work."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def write(*, alone: bool = False) -> Iterator[None]:
    """A transaction for ORM writes; inside the caller's transaction, a part of that.

    ``alone`` promises that on PostgreSQL each of its statements may be committed by itself, which
    saves the round trips of BEGIN and COMMIT.
    """
    if alone and not is_sqlite() and not connection.in_atomic_block and connection.get_autocommit():
        yield
        return
    if connection.in_atomic_block or not is_sqlite():
        with transaction.atomic():
            yield
        return
    with _sqlite_writer, transaction.atomic():
        yield
        hooks, connection.run_on_commit = connection.run_on_commit, []
    # Only now that the lock is free: a hook may write in its turn, or wait for who does.
    connection.run_on_commit = hooks
    connection.run_and_clear_commit_hooks()


def hot_write(*, alone: bool = False) -> AbstractContextManager[Hot]:
    """A short durable transaction for ``Statement``s; yields what runs them.

    ``alone`` promises that on PostgreSQL it is a single statement, which needs neither BEGIN
    nor COMMIT. Raises RuntimeError inside the caller's own transaction, in which nothing is
    durable.
    """
    here = connections[DEFAULT_DB_ALIAS]
    if here.in_atomic_block:
        return _durable()
    if is_sqlite():
        return _SqliteWrite(here)
    return nullcontext(directly) if alone and here.get_autocommit() else _durable()


class _SqliteWrite:
    """``BEGIN IMMEDIATE`` to ``COMMIT`` on Python's own connection."""

    __slots__ = ("_errors", "_raw")

    def __init__(self, here: BaseDatabaseWrapper) -> None:
        if here.connection is None:
            here.connect()
        self._raw: sqlite3.Connection = here.connection
        self._errors = here.wrap_database_errors

    def __enter__(self) -> Hot:
        _sqlite_writer.acquire()
        try:
            with self._errors:
                self._raw.execute("BEGIN IMMEDIATE")
        except BaseException:
            _sqlite_writer.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _last_write
        try:
            if kind is None:
                with self._errors:
                    self._raw.execute("COMMIT")
        finally:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            _last_write = time.monotonic()
            _sqlite_writer.release()
        self._errors.__exit__(kind, error, trace)

    def rows(self, statement: Statement, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._raw.execute(statement.sqlite, params).fetchall()

    def count(self, statement: Statement, params: Sequence[Any]) -> int:
        return self._raw.execute(statement.sqlite, params).rowcount


@contextmanager
def _durable() -> Iterator[Hot]:
    with transaction.atomic(durable=True):
        yield directly


@contextmanager
def snapshot() -> Iterator[None]:
    """Let all reads in here see the database as it is at the first of them; for reading alone.

    Inside the caller's own transaction, and so in a test case's, each sees what it sees there.
    """
    here = connections[DEFAULT_DB_ALIAS]
    if here.in_atomic_block:
        yield
        return
    begin = "BEGIN DEFERRED" if is_sqlite() else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    # Not by atomic(): on SQLite that would take the lock that there is for writers.
    with here.cursor() as cursor:
        cursor.execute(begin)
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def is_writing(within: float) -> bool:
    """Whether this process writes to SQLite, waits to, or did in the last ``within`` seconds."""
    return _sqlite_writer.locked() or time.monotonic() - _last_write < within


def query(statement: Statement, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run one statement in whatever transaction there is, and return its rows."""
    here = connections[DEFAULT_DB_ALIAS]
    if is_sqlite():
        here.ensure_connection()
        with here.wrap_database_errors:
            rows: list[tuple[Any, ...]] = here.connection.execute(
                statement.sqlite, params
            ).fetchall()
            return rows
    with _preparing(here) as cursor:
        cursor.execute(statement.postgresql, params)
        return cursor.fetchall() if cursor.description else []


def count(statement: Statement, params: Sequence[Any]) -> int:
    """Run one statement in whatever transaction there is, and return how many rows it wrote."""
    here = connections[DEFAULT_DB_ALIAS]
    if is_sqlite():
        here.ensure_connection()
        with here.wrap_database_errors:
            return int(here.connection.execute(statement.sqlite, params).rowcount)
    with _preparing(here) as cursor:
        cursor.execute(statement.postgresql, params)
        return int(cursor.rowcount)


def _preparing(here: BaseDatabaseWrapper) -> CursorWrapper:
    """A cursor that sends a statement and its values apart, so that PostgreSQL can keep the plan.

    Planning a claim takes the server longer than executing it. From the second execution on a
    connection a statement is prepared, unless ``DATABASE_POOLER`` says that nothing may be left
    with a session. Django's own cursors put the values into the text, as its log shows it.
    """
    if here.queries_logged:
        return here.cursor()
    from psycopg import Cursor  # which an installation on SQLite does without

    here.close_if_health_check_failed()
    here.ensure_connection()
    return CursorWrapper(Cursor(here.connection), here)


class _Directly:
    rows = staticmethod(query)
    count = staticmethod(count)


#: Runs statements in whatever transaction the thread has.
directly: Hot = _Directly()


def in_order(rows: models.QuerySet[M], *, skip_locked: bool = False) -> models.QuerySet[M]:
    """The same rows for an ``update()``, which locks them in the order of their keys.

    So two that change many rows at once never wait for each other, of which PostgreSQL would
    let one fail. ``skip_locked`` leaves alone those that somebody else is changing.
    """
    locked = rows.select_for_update(no_key=True, skip_locked=skip_locked).order_by("pk")
    return rows.model._default_manager.filter(pk__in=locked.values("pk"))


def take_turns(names: Iterable[str]) -> None:
    """Let transactions that are about to insert rows of these unique names wait for each other.

    By locks that all take in one order, up to the end of the transaction. On SQLite, with one
    writer at a time, there is nothing to do.
    """
    if is_sqlite():
        return
    # Few locks, as a server has room for some thousands; names that share one just wait.
    numbers = {zlib.crc32(name.encode()) % _TURNSTILES for name in names}
    if numbers:
        query(_TAKE_TURNS, (sorted(numbers),))


def insert_many(statement: Statement, rows: Sequence[Sequence[Any]]) -> None:
    """Run an INSERT for each row inside ``hot_write()``."""
    if is_sqlite():
        with connection.wrap_database_errors:
            connection.connection.executemany(statement.sqlite, rows)
    else:
        with _preparing(connections[DEFAULT_DB_ALIAS]) as cursor:
            cursor.executemany(statement.postgresql, rows)


def reset_connection() -> bool:
    """Undo what code left open on this thread's connection; whether there was anything.

    A handler may leave a transaction open or switch autocommit off; the next run on this
    thread must not inherit that.
    """
    if not in_callers_transaction():
        return False
    connection.in_atomic_block = False
    connection.atomic_blocks.clear()
    connection.savepoint_ids.clear()
    connection.needs_rollback = False
    connection.run_on_commit.clear()
    try:
        connection.close()  # the server, or SQLite, rolls back
    except Error:
        connection.connection = None
    connection.closed_in_transaction = False
    return True


def drop_broken_connection() -> None:
    """After a database error: close this thread's connection, so that the next use reconnects."""
    if connection.in_atomic_block:
        return
    try:
        connection.close()
    except Error:
        connection.connection = None
