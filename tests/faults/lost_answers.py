"""A way to PostgreSQL on which the answer of a commit gets lost, and the connection with it."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import connection

from tests import processes
from tests.processes import until


class Way:
    """Passes everything on, but for the answers that it was told to lose."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._told = b""
        self._times = 0
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, statement: str, times: int = 1) -> None:
        """From now on, of transactions in which something with this text is executed."""
        with self._lock:
            self._told, self._times, self.lost = statement.encode(), times, 0

    def await_loss(self) -> None:
        """Until all that was to be lost is lost."""
        until(lambda: self._times == 0, f"the answer of {self._told.decode()!r} is lost")

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        is_told, held = False, b""
        with client, suppress(OSError), socket.create_connection(self._server) as server:
            while True:
                readable, _, _ = select.select([client, server], [], [])
                source = server if server in readable else client
                data = source.recv(65536)
                if not data:
                    return
                if source is client:
                    is_told = is_told or (self._times > 0 and self._told in data)
                    server.sendall(data)
                    continue
                held += data
                if is_told and not _is_ready(held):
                    continue
                if is_told and _is_committed(held):
                    is_told = False
                    if self._may_lose():
                        return
                client.sendall(held)
                held = b""

    def _may_lose(self) -> bool:
        with self._lock:
            if self._times == 0:
                return False
            self._times -= 1
            self.lost += 1
            return True


def _is_ready(answer: bytes) -> bool:
    """Whether this ends with the server's word that it waits for the next statement."""
    return answer[-6:-1] == b"Z\0\0\0\5"


def _is_committed(answer: bytes) -> bool:
    """And that there is no transaction any more."""
    return answer[-1:] == b"I"


@contextmanager
def losing_way() -> Iterator[tuple[Way, str]]:
    """Such a way to the test's database, and the URL that leads along it."""
    found = connection.settings_dict
    way = Way(str(found["HOST"] or "127.0.0.1"), int(found["PORT"] or 5432))
    there, _, name = processes.database_url().rpartition("/")
    login = there.rpartition("@")[0]
    # It has to understand what it hears.
    plain = "sslmode=disable&gssencmode=disable"
    try:
        yield way, f"{login}@127.0.0.1:{way.port}/{name}?{plain}"
    finally:
        way.close()
