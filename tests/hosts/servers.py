"""PostgreSQL and Redis on the server host, for the other hosts to reach."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis
from django.conf import settings
from django.db import connections

from runs.engine import wakeups
from tests.hosts.network import SERVER, Host
from tests.services import Missing

_START_SECONDS = 30.0
_NAME = "durably"


class Postgres:
    """A server of its own, in a folder that goes with the test."""

    #: Where the hosts reach it.
    url = f"postgres://postgres@{SERVER}:5432/{_NAME}"

    def __init__(self, host: Host, folder: Path) -> None:
        self._programs = _programs()
        self.folder = folder
        self._data = folder / "data"
        self._as_postgres("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-D")
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {SERVER}/24 trust\n")
        # Power never fails here, so nothing has to be on the disk.
        options = f"-h {SERVER} -k {folder} -c fsync=off"
        command = ["start", "-w", "-l", str(folder / "log"), "-o", options, "-D"]
        self._as_postgres("pg_ctl", *command, prefix=host.prefix)
        with psycopg.connect(host=str(folder), user="postgres", autocommit=True) as server:
            server.execute(f"CREATE DATABASE {_NAME}")

    def stop(self) -> None:
        """End it at once."""
        self._as_postgres("pg_ctl", "stop", "-m", "immediate", "-D")

    @contextmanager
    def for_this_process(self) -> Iterator[None]:
        """Let Django here use it, by its socket: this process is on none of the hosts."""
        before = connections.settings["default"]
        own = connections["default"]
        where = {"HOST": str(self.folder), "PORT": "", "NAME": _NAME, "USER": "postgres"}
        connections.settings["default"] = {**before, **where, "PASSWORD": ""}
        connections["default"] = connections.create_connection("default")
        huey_url, settings.HUEY_URL = settings.HUEY_URL, ""
        try:
            yield
        finally:
            wakeups.get_huey().storage.close()
            settings.HUEY_URL = huey_url
            connections["default"].close()
            connections.settings["default"] = before
            connections["default"] = own

    def _as_postgres(self, program: str, *words: str, prefix: list[str] | None = None) -> None:
        # It refuses to run as root.
        user = ["runuser", "-u", "postgres", "--"]
        command = [*(prefix or []), *user, str(self._programs / program), *words, str(self._data)]
        # Not captured: the server, which goes on, would hold the pipe.
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False, timeout=60)
        assert done.returncode == 0, f"{program} ended with {done.returncode}"


def _programs() -> Path:
    """Where PostgreSQL's own programs are; Debian has them by version, and not on PATH."""
    by_version = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = by_version[-1] if by_version else shutil.which("initdb")
    if found is None:
        raise Missing("no initdb, of PostgreSQL's server")
    return Path(found).parent


def start_redis(host: Host, folder: Path) -> str:
    """Start a server, which ends with its host; the URL where the hosts reach it."""
    program = shutil.which("redis-server")
    if program is None:
        raise Missing("no redis-server on PATH")
    socket = folder / "redis.sock"
    memory_only = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    where = ["--bind", SERVER, "--protected-mode", "no", "--unixsocket", str(socket)]
    command = [*host.prefix, program, *memory_only, *where]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    client = redis.Redis(unix_socket_path=str(socket))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    client.close()
    return f"redis://{SERVER}:6379/0"
