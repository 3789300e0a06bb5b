"""Web and worker on a database that a test may take away from them."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import dj_database_url
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections

from runs.access import tokens
from runs.engine import database
from tests import processes
from tests.faults.servers import free_port
from tests.processes import until
from tests.support.crash import Cluster
from tests.support.streams import session_of


@dataclass(frozen=True)
class Answer:
    """What the web process said, and how long that took."""

    status: int
    type: str
    text: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Web:
    """A web process."""

    process: subprocess.Popen[bytes]
    port: int


class Installation:
    """A worker and a web process, and somebody who may see everything."""

    def __init__(self, cluster: Cluster, **environment: str) -> None:
        self.cluster = cluster
        # The sessions that this process makes have to be good there.
        cluster.environment.update(SECRET_KEY=settings.SECRET_KEY, **environment)
        self.worker = cluster.start()
        self._others: list[subprocess.Popen[bytes]] = []
        self.port = free_port()
        self.web_log = cluster.folder / "web.log"
        self.web = self._start_web()
        user = User.objects.create_superuser("somebody", password=None)
        self._cookie = {"Cookie": f"sessionid={session_of(user)}"}
        _, secret = tokens.create("somebody's", permissions=["runs.view_run", "runs.trigger_run"])
        self.token = {"Authorization": f"Bearer {secret}"}
        self._await_web()

    def _start_web(self) -> subprocess.Popen[bytes]:
        return processes.start(
            "web", "--port", str(self.port), log=self.web_log, **self.cluster.environment
        )

    def _await_web(self, port: int = 0) -> None:
        until(lambda: self.get("/healthz", port).status == 200, "the web process answers")

    def another_web(self) -> Web:
        """A second web process, at an address of its own."""
        port = free_port()
        log = self.cluster.folder / "another-web.log"
        web = processes.start("web", "--port", str(port), log=log, **self.cluster.environment)
        self._others.append(web)
        self._await_web(port)
        return Web(web, port)

    def restart_web(self) -> None:
        """As in a deploy, at the same address."""
        processes.end(self.web)
        self.web = self._start_web()
        self._await_web()

    def get(self, path: str, port: int = 0) -> Answer:
        """Ask for a page with a session, and what is below ``/api/`` with a token.

        ``port`` is that of another web process.
        """
        headers = self.token if path.startswith("/api/") else self._cookie
        return self._ask("GET", path, headers, port=port)

    def get_all(self, *paths: str) -> dict[str, Answer]:
        """The same for several at once."""
        with ThreadPoolExecutor(len(paths)) as pool:
            return dict(zip(paths, pool.map(self.get, paths), strict=True))

    def post(self, path: str, body: Any) -> Answer:
        """Send JSON, with a token."""
        headers = {**self.token, "Content-Type": "application/json"}
        return self._ask("POST", path, headers, json.dumps(body))

    def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: str | None = None,
        port: int = 0,
    ) -> Answer:
        begun = time.monotonic()
        asked = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        try:
            asked.request(method, path, body, dict(headers))
            answer = asked.getresponse()
            text = answer.read().decode()
        except OSError as error:
            return Answer(0, "", str(error), time.monotonic() - begun)
        finally:
            asked.close()
        took = time.monotonic() - begun
        return Answer(answer.status, answer.headers.get_content_type(), text, took)

    def cpu(self) -> dict[str, float]:
        """What web and worker have used of the processor so far, in seconds."""
        return {
            name: _cpu_of(pid) for name, pid in (("web", self.web.pid), ("worker", self.worker.pid))
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the web processes; the workers are the cluster's."""
        for web in (self.web, *self._others):
            web.kill()
            web.wait()


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def default_database(url: str, *, migrated: bool = True) -> Iterator[None]:
    """Let this process work on another database, which is migrated, instead of the test's."""
    parsed: dict[str, Any] = dict(dj_database_url.parse(url))
    before = connections["default"]
    before.close()
    own = {**before.settings_dict, **parsed, "TEST": before.settings_dict["TEST"]}
    connections["default"] = before.__class__(own, "default")
    try:
        if migrated:
            call_command("migrate", interactive=False, verbosity=0)
        yield
    finally:
        connections["default"].close()
        connections["default"] = before
        assert database.is_sqlite() is (before.vendor == "sqlite")
