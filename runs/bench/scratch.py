"""Databases to measure in: made for one target, and removed after it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from runs import conf
from runs.startup import first_line

#: Settings of the installation that must not reach a scratch one.
_NOT_INHERITED = ("HUEY_URL", "RETAIN_RUNS", "DATABASE_URL", "SQLITE_SYNCHRONOUS")


class NoScratch(Exception):
    """There is nothing to measure in; the message says why."""


@dataclass(frozen=True)
class Target:
    """A database with its settings; of PostgreSQL the URL of the server is known."""

    title: str
    synchronous: str = ""
    server: str = ""


def sqlite(synchronous: str) -> Target:
    """A scratch file, with this setting of SQLITE_SYNCHRONOUS."""
    return Target(f"SQLite, synchronous={synchronous.upper()}", synchronous=synchronous.upper())


def postgresql(server: str) -> Target:
    """A scratch database on the server of this URL."""
    return Target("PostgreSQL", server=server)


@contextmanager
def environment(target: Target) -> Iterator[dict[str, str]]:
    """The environment of a process that measures the target; all it wrote is removed after it.

    The files lie under ``VAR_DIR``: on the disk that the installation uses.
    """
    conf.var_dir().mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=conf.var_dir())).resolve()
    found = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
    found |= {"VAR_DIR": str(folder), "DEBUG": "0"}
    try:
        if target.server:
            with _scratch_database(target.server) as url:
                yield {**found, "DATABASE_URL": url}
        else:
            url = f"sqlite:///{folder / 'db.sqlite3'}"
            yield {**found, "DATABASE_URL": url, "SQLITE_SYNCHRONOUS": target.synchronous}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _scratch_database(server: str) -> Iterator[str]:
    import psycopg
    from psycopg import sql

    name = f"runs_bench_{os.getpid()}"
    try:
        connection = psycopg.connect(server, autocommit=True)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        where = server.rpartition("@")[2]
        raise NoScratch(
            f"Can't make a scratch database on {where}: {first_line(error)}."
        ) from error
    with connection:
        try:
            yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            connection.execute(drop)
