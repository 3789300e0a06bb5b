"""The doorbell: waking workers through Huey.

A message says only "there is work". The database holds the truth, so a lost message costs
latency and a doubled one nothing.
"""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.db import connection, transaction
from huey import Huey, PostgresHuey, RedisHuey, SqliteHuey
from huey.api import TaskWrapper
from huey.storage import PostgresStorage

from runs import conf, tasks
from runs.connections import noticing_loss
from runs.engine.database import is_sqlite, utc_now
from runs.models import Worker

logger = logging.getLogger(__name__)

#: How long the bell rests after it has rung: what is triggered meanwhile shares the next.
_REST_SECONDS = 0.002

#: How long PostgreSQL lets who rings or answers wait for a lock on Huey's tables, in milliseconds.
_LOCK_TIMEOUT = 2_000

#: How long the number of slots to wake is remembered, in seconds.
_SLOTS_TTL = 5.0
_slots: tuple[float, int] = (-_SLOTS_TTL, 1)


def get_huey() -> Huey:
    """The Huey of this installation, as ``HUEY_URL`` says."""
    return _doorbell(str(connection.settings_dict["NAME"])).huey


@functools.cache
def _doorbell(database_name: str) -> TaskWrapper:
    """The task that wakes a worker; one for each database, so that tests have their own."""
    wrapper: TaskWrapper = _make_huey(database_name).task(name="work")(tasks.work)
    return wrapper


def _make_huey(database_name: str) -> Huey:
    url = conf.huey_url()
    parts = urlsplit(url)
    common: dict[str, Any] = {"name": "runs", "results": False, "immediate": False}
    if parts.scheme in ("redis", "rediss"):
        from redis import ConnectionPool

        # A server that is away must not hold up who rings.
        pool = ConnectionPool.from_url(url, socket_connect_timeout=2, socket_timeout=5)
        return RedisHuey(connection_pool=pool, **common)
    if parts.scheme in ("postgres", "postgresql"):
        return _LatePostgresHuey(connection=functools.partial(_connect, _parse(url)), **common)
    if parts.scheme == "sqlite" or is_sqlite():
        # Never the database's own file: enqueueing would wait for the caller's transaction.
        default = Path(database_name).with_suffix(".huey.sqlite3")
        path = Path(parts.path) if parts.scheme == "sqlite" else default
        path.parent.mkdir(parents=True, exist_ok=True)
        return _open_sqlite(path, common)
    return _LatePostgresHuey(connection=functools.partial(_connect, _like_django()), **common)


class _LatePostgresStorage(PostgresStorage):  # type: ignore[misc]
    """Makes its tables once it is connected: no worker waits for a server that is away."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, create_tables=False, **options)

    def _create_connection(self) -> Any:
        made = super()._create_connection()
        try:
            [[last_table]] = made.execute("SELECT to_regclass(%s)", [self.table_counter])
            if last_table is None:
                with made.transaction():
                    for statement in self.ddl:
                        made.execute(statement)
        except BaseException:
            made.close()
            raise
        return made


class _LatePostgresHuey(PostgresHuey):  # type: ignore[misc]
    storage_class = _LatePostgresStorage


def _open_sqlite(path: Path, common: dict[str, Any]) -> Huey:
    try:
        return SqliteHuey(filename=str(path), fsync=False, **common)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        # It isn't synced, so a power loss may break it; and nothing in it is needed.
        logger.warning("%s is broken (%s); it is made anew", path, error)
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return SqliteHuey(filename=str(path), fsync=False, **common)


def _send(doorbell: TaskWrapper, count: int) -> None:
    """So many messages, which are all the same."""
    huey, storage = doorbell.huey, doorbell.huey.storage
    if not isinstance(storage, PostgresStorage):
        for _ in range(count):
            doorbell()
    elif count > 0:
        # In one statement, or each idle worker would hear of each of them.
        with storage.db() as cursor:
            cursor.execute(
                f"WITH sent AS (INSERT INTO {storage.table_task} (queue, data, priority) "
                "SELECT %s, %s, 0 FROM generate_series(1, %s)) SELECT pg_notify(%s, '')",
                (storage.name, huey.serialize_task(doorbell.s()), count, storage.channel),
            )


def ring(runs: int = 1) -> None:
    """Wake workers for so many runs once the current transaction is committed; never raises.

    Rings only while fewer messages wait than there are slots to wake: each of them looks
    for work until there is none.
    """
    transaction.on_commit(functools.partial(_ring_soon, runs), robust=True)


def _ring_soon(runs: int) -> None:
    _bell.ring(str(connection.settings_dict["NAME"]), runs)


class _Bell:
    """A thread that rings, so that whoever triggers waits neither for a queue nor its server.

    What is asked for while it rings is rung for together.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: dict[str, int] = {}
        # Its thread ends with the process, but not before it has rung.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bell")

    def ring(self, database_name: str, runs: int) -> None:
        """Ring for so many runs, soon."""
        with self._lock:
            will_ring = database_name in self._wanted
            self._wanted[database_name] = self._wanted.get(database_name, 0) + runs
        if will_ring:
            return
        try:
            self._thread.submit(self._ring, database_name)
        except RuntimeError:  # the process ends, and takes no more work
            self._ring(database_name)

    def _ring(self, database_name: str) -> None:
        with self._lock:
            runs = self._wanted.pop(database_name)
        try:
            doorbell = _doorbell(database_name)
            _send(doorbell, min(runs, _slots_to_wake() - doorbell.huey.pending_count()))
        except Exception as error:
            logger.warning("Could not ring for a worker (it will look by itself): %s", error)
        time.sleep(_REST_SECONDS)


_bell = _Bell()


def _renew_bell() -> None:
    """A child of a fork has no thread of its parent's."""
    global _bell
    _bell = _Bell()


os.register_at_fork(after_in_child=_renew_bell)


def _slots_to_wake() -> int:
    global _slots
    now = time.monotonic()
    if now - _slots[0] > _SLOTS_TTL:
        since = utc_now() - timedelta(seconds=3 * conf.lease_seconds())
        alive = Worker.objects.filter(stopped_at__isnull=True, heartbeat_at__gt=since).values_list(
            "concurrency", flat=True
        )
        try:
            _slots = (now, max(sum(alive[:1000]), conf.worker_concurrency()))
        finally:
            connection.close()  # not needed again for a while
    return _slots[1]


def _parse(url: str) -> dict[str, Any]:
    from psycopg.conninfo import conninfo_to_dict

    return dict(conninfo_to_dict(url))


def _like_django() -> dict[str, Any]:
    params = connection.get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        params.pop(name, None)
    return params


def _connect(params: dict[str, Any]) -> Any:
    """Connect to PostgreSQL for messages, of which none has to survive the server's crash."""
    import psycopg

    params = noticing_loss(conf.lease_seconds(), params)
    params["options"] += f" -c synchronous_commit=off -c lock_timeout={_LOCK_TIMEOUT}"
    return psycopg.connect(**params, autocommit=True)
