"""Servers of the tests' own, to be stopped, killed and starved; the machine's are left alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import redis

from tests.processes import until
from tests.services import Missing, skip_or_fail


def free_port() -> int:
    """A TCP port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def program(name: str) -> str:
    """One of PostgreSQL's programs. Raises Missing."""
    if found := shutil.which(name):
        return found
    for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True):
        return str(path)
    raise Missing(f"no {name} on PATH or below /usr/lib/postgresql")


def unprivileged() -> dict[str, Any]:
    """For a program that refuses to be run by root, as PostgreSQL's do: another user to run it."""
    if os.getuid():
        return {}
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        raise Missing("no user postgres, as whom root would start a server") from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class PostgresServer:
    """A server with a data directory of its own, at a port that it keeps."""

    def __init__(self, *, copy_of: PostgresServer | None = None, **settings: str) -> None:
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        self._settings = settings
        self._as = unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="durably-postgres-"))
        if self._as:
            os.chown(self._folder, self._as["user"], self._as["group"])
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._make(copy_of)
        except BaseException:
            self.remove()
            raise

    def _make(self, source: PostgresServer | None) -> None:
        data = str(self._folder / "data")
        if source is None:
            self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
        else:  # which it follows, until it is promoted
            self._run("pg_basebackup", "-D", data, "-R", "-d", source.url, "--checkpoint=fast")

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [program(name), *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=self._folder,
            **self._as,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
            "fsync": "off",
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [program("postgres"), "-D", "data", *options],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                **self._as,
            )
        until(self._answers, f"an answer of {self.url}")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            with psycopg.connect(self.url, connect_timeout=2) as server:
                return bool(server.execute("SELECT 1").fetchone())
        except psycopg.OperationalError:
            return False

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it: in order, and at once with SIGQUIT, as by a crash."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def promote(self) -> None:
        """Let a server that follows another take writes."""
        self._run("pg_ctl", "-D", "data", "promote", "-W")

    def execute(self, statement: str, *values: Any) -> list[Any]:
        """Do it as the administrator."""
        with psycopg.connect(self.url, autocommit=True) as server:
            cursor = server.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def cut_connections(self) -> int:
        """Terminate every session but this one. Returns how many."""
        found = self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return len(found)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def remove(self) -> None:
        """End it, and leave nothing of it."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)


class RedisServer:
    """A server without a file, at a port that it keeps."""

    def __init__(self) -> None:
        if shutil.which("redis-server") is None:
            raise Missing("no redis-server on PATH")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it empty, and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/")
        until(self._answers, f"an answer of {self.url}")

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=2)

    def stop(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Relay:
    """Passes connections on to a server that may change, as an address that moves with it does."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target), timeout=2)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                self._open |= {client, server}
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def move(self, target: int) -> None:
        """Pass new connections on to another port, and cut those that there are."""
        self.target = target
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def close(self) -> None:
        self._listener.close()
        self.move(self.target)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system with room for so much, such as ``8m``. Raises Missing if one can't be made."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"mounting is not allowed: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def new_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of its own with few connections, as long as it is needed."""
    try:
        found = PostgresServer(max_connections="30")
    except Missing as missing:
        skip_or_fail(missing)
        raise
    try:
        found.start()
        yield found
    finally:
        found.remove()
