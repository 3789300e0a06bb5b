"""A process that dies at its n-th statement, without any hook in the code that it executes.

``Mortals`` keeps a process that has everything loaded and forks a child for each life. The child
does a list of calls (see ``actions``) and is killed with SIGKILL before or after a statement:

- On SQLite by the driver's own trace, which calls before each statement is executed.
- On PostgreSQL by a proxy between child and server, which reads the protocol. There it can die
  before a statement arrives, or after it has taken effect but before the answer came.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db import connection

from tests import processes
from tests.faults.crowd import Call


class Mortals:
    """Lives, one after the other."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.has_died = False
        self._proxy: Proxy | None = None
        found = connection.settings_dict
        if connection.vendor == "postgresql":
            self._proxy = Proxy(str(found["HOST"] or "127.0.0.1"), int(found["PORT"] or 5432))
            there, _, database = processes.database_url().rpartition("/")
            login = there.rpartition("@")[0]
            environment["DATABASE_URL"] = f"{login}@127.0.0.1:{self._proxy.port}/{database}"
        env = processes.environment(
            DJANGO_SETTINGS_MODULE="tests.faults.settings",
            HUEY_URL=f"sqlite:///{folder}/queue.sqlite3",
            PGSSLMODE="disable",  # the proxy has to understand what it hears
            PGGSSENCMODE="disable",
            **environment,
        )
        self.log = folder / "mortals.log"
        with self.log.open("ab") as log:
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.crash_points"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
                text=True,
            )
        assert self._read() == "ready"

    @property
    def may_die_after(self) -> bool:
        """Whether a life can also end after a statement, and before its answer."""
        return self._proxy is not None

    def live(self, calls: Sequence[Call], *, die_at: int = 0, after: bool = False) -> list[str]:
        """Do the calls; the statements that were begun. It dies at the ``die_at``-th, or never.

        It may also come to its end before that, as a wait for a lock makes a life longer that
        the next one does not have to wait for: ``has_died`` says.
        """
        order = {"calls": [(each.action, each.arguments) for each in calls]}
        self._write({**order, "die_at": 0 if self._proxy else die_at})
        pid = self._read()
        if self._proxy is not None:
            self._proxy.watch(pid, die_at, after)
        self._write("go")
        status, statements = self._read()
        self.has_died = os.WIFSIGNALED(status)
        is_expected = status == 0 or (self.has_died and die_at > 0)
        assert is_expected, f"exit status {status}:\n{self.log.read_text()}"
        return statements if self._proxy is None else self._proxy.statements

    def _write(self, value: Any) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(json.dumps(value) + "\n")
        self._nursery.stdin.flush()

    def _read(self) -> Any:
        assert self._nursery.stdout is not None
        line = self._nursery.stdout.readline()
        assert line, f"it has ended:\n{self.log.read_text()}"
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        self._nursery.kill()
        self._nursery.communicate()
        if self._proxy is not None:
            self._proxy.close()


class Proxy:
    """Stands between one client and the server, and counts the statements."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.statements: list[str] = []
        self._parsed = b""
        self._victim = self._die_at = 0
        self._after = self._has_client = False
        threading.Thread(target=self._accept, daemon=True).start()

    def watch(self, victim: int, die_at: int, after: bool) -> None:
        """Kill this process at its n-th statement."""
        self.statements = []
        self._victim, self._die_at, self._after = victim, die_at, after
        self._has_client = False

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._has_client:
                    client.close()  # of the thread that rings for workers
                    continue
                self._has_client = True
                server = socket.create_connection(self._server)
                with client, server, suppress(OSError, EOFError):
                    self._serve(client, server)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        size = _exactly(client, 4)  # the first message has no type
        server.sendall(size + _exactly(client, struct.unpack("!I", size)[0] - 4))
        is_last = False
        while True:
            readable, _, _ = select.select([client, server], [], [])
            if server in readable:
                data = server.recv(65536)
                if not data:
                    return
                if is_last and _is_ready(data):  # it has taken effect
                    os.kill(self._victim, signal.SIGKILL)
                    return
                if not is_last:
                    client.sendall(data)
            elif client in readable:
                is_last = self._pass_on(client, server) or is_last

    def _pass_on(self, client: socket.socket, server: socket.socket) -> bool:
        """One message to the server; whether the client dies when that is answered."""
        kind = _exactly(client, 1)
        size = _exactly(client, 4)
        body = _exactly(client, struct.unpack("!I", size)[0] - 4)
        if kind == b"P":  # what a later message executes: a name, and the text
            self._parsed = body.split(b"\0")[1]
        is_due = False
        if kind in b"QE":
            text = body.strip(b"\0") if kind == b"Q" else self._parsed
            self.statements.append(text.decode())
            is_due = len(self.statements) == self._die_at
        if is_due and not self._after:
            os.kill(self._victim, signal.SIGKILL)
            raise EOFError
        server.sendall(kind + size + body)
        return is_due


def _is_ready(data: bytes) -> bool:
    """Whether this ends with the server's word that it waits for the next statement."""
    return data[-6:-1] == b"Z\0\0\0\5"


def _exactly(source: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = source.recv(count - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def main() -> None:
    """Fork a child for each order, a line of JSON; answer with its id, and how it ended."""
    import django

    django.setup()
    importlib.import_module("tests.faults.actions")  # once, for all children
    _say("ready")
    while line := sys.stdin.readline():
        order = json.loads(line)
        begin, told = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(begin[0], 1)
            _live(order["calls"], order["die_at"], told[1])
        _say(pid)
        sys.stdin.readline()
        os.write(begin[1], b"!")
        os.close(told[1])
        with os.fdopen(told[0]) as heard:
            statements = [json.loads(each) for each in heard]
        _, status = os.waitpid(pid, 0)
        os.close(begin[0])
        os.close(begin[1])
        _say([status, statements])


def _live(calls: Sequence[tuple[str, dict[str, Any]]], die_at: int, tell: int) -> None:
    """In the child: do it all, and die on the way if that is what was ordered."""
    from django.db import connection
    from django.db.backends.signals import connection_created

    from tests.faults.actions import ACTIONS

    count = 0

    def witness(statement: str) -> None:
        nonlocal count
        if threading.current_thread() is not threading.main_thread():
            return  # it rings for workers, sooner or later
        count += 1
        os.write(tell, json.dumps(statement).encode() + b"\n")
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def trace(connection: Any, **_: Any) -> None:
        if connection.vendor == "sqlite":
            connection.connection.set_trace_callback(witness)

    connection_created.connect(trace)
    try:
        for action, arguments in calls:
            ACTIONS[action](**arguments)
        connection.close()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
