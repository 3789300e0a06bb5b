"""A web process on the database of the test that starts it."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from tests import processes
from tests.processes import until


class Web:
    """``manage.py web`` on the test's database, which PostgreSQL knows by its ``name``.

    Without a pool, so that it has as many connections as it needs at a time.
    """

    name = "web-of-a-test"

    def __init__(self, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = int(found.getsockname()[1])
        self.log = log
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = processes.start(
            "web",
            *("--port", str(self.port)),
            log=self.log,
            PGAPPNAME=self.name,
            DATABASE_POOL_SIZE="0",
        )
        until(self._answers, "an answer of the web process")
        return process

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def restart(self) -> None:
        """Stop it and start it again on the same port."""
        processes.end(self.process)
        self.process = self._start()
