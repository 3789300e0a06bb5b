"""Event streams of a real web process: what they hold while they are open, and how they end."""

from __future__ import annotations

import http.client
import threading

import pytest

from runs.access import VIEW
from tests import processes
from tests.access import people
from tests.live.following import begun, log
from tests.live.test_stream import connections_of
from tests.processes import until
from tests.support.sse import Event, Parser
from tests.support.web import Web

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


class Client:
    """An open stream, read by a thread of its own."""

    def __init__(self, port: int, path: str, secret: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path, headers={"Authorization": f"Bearer {secret}"})
        self._answer = connection.getresponse()
        assert self._answer.status == 200
        self.events: list[Event] = []
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        parser = Parser()
        while part := self._answer.read1(65_536):
            self.events += parser.feed(part)
        self.ended.set()


def test_open_streams_share_few_connections_and_end_at_once_with_the_server(web: Web) -> None:
    secret = people.token("viewer", VIEW)[1]
    run = begun()
    paths = ["/api/events", f"/api/runs/{run.pk}/events", "/api/events?job=example"] * 8
    clients = [Client(web.port, path, secret) for path in paths]
    log(run, "hello")
    until(lambda: all(client.events for client in clients), "a message to each")
    # A pool keeps some of those that are not in use; SQLite keeps files open for the next.
    assert connections_of(web) <= 11
    assert processes.end(web.process) == 0
    assert all(client.ended.wait(5) for client in clients)
    assert "Cancel" not in web.log.read_text(), "it would, of those that go on for two seconds"
