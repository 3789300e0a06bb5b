"""A client that is cut off again and again, in the middle of whatever it reads."""

from __future__ import annotations

import random
import socket
import threading
from collections import defaultdict
from typing import Any

from runs.models import LogEntry, Run, RunEvent, Step
from tests.support.sse import Event, Parser

#: What a run's message tells, to be told from any other of that run.
Thing = tuple[Any, ...]

_STATUS = {
    "triggered": "pending",
    "started": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "retried": "pending",
}


class CutOff:
    """Reads a stream, and comes back with the last id after each cut, until it is over."""

    def __init__(self, port: int, path: str, secret: str, seed: int, longest: int) -> None:
        self._port, self._path, self._secret = port, path, secret
        self._random = random.Random(seed)
        self._longest = longest
        self.cuts = 0
        #: What was told of each run, progress left out, and the ids that came with it.
        self.told: dict[str, list[Thing]] = defaultdict(list)
        self.ids: list[str] = []
        self._last_id = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether the server has said that nothing more will come."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Hang up for good."""
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                if not self._connect():
                    return
            except OSError:  # the server is away
                self._stop.wait(0.1)

    def _connect(self) -> bool:
        """Read up to the next cut; False if the server says that there is no more."""
        left = self._random.randrange(self._longest)
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as wire:
            # Of HTTP/1.0 the bytes of the body come as they are.
            lines = [f"GET {self._path} HTTP/1.0", f"Authorization: Bearer {self._secret}"]
            if self._last_id:
                lines.append(f"Last-Event-ID: {self._last_id}")
            wire.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            head, body = self._head(wire)
            status = int(head.split()[1])
            if status != 200:
                assert status in (204, 503), head
                return status != 204
            self._body(wire, body, left)
        return True

    def _head(self, wire: socket.socket) -> tuple[bytes, bytes]:
        text = b""
        while b"\r\n\r\n" not in text:
            part = wire.recv(4096)
            if not part:
                raise ConnectionResetError
            text += part
        head, _, body = text.partition(b"\r\n\r\n")
        return head, body

    def _body(self, wire: socket.socket, part: bytes, left: int) -> None:
        parser = Parser()
        wire.settimeout(0.5)
        while not self._stop.is_set():
            for event in parser.feed(part[:left]):
                if event.event != "progress":
                    self.told[event.data["run_id"]].append(_thing(event))
                    self.ids.append(event.id)
            self._last_id = parser.last_id or self._last_id
            left -= len(part)
            if left <= 0:
                self.cuts += 1
                return
            try:
                part = wire.recv(self._random.randrange(1, 20_000))
            except TimeoutError:
                part = b""
                continue
            if not part:
                return


def _thing(event: Event) -> Thing:
    data = event.data
    if event.event == "run":
        return "run", data["status"], data["attempt"]
    if event.event == "step":
        return "step", data["name"], data["status"], data["attempts"]
    return "log", data["id"], data["message"]


def stored(run: Run) -> list[Thing]:
    """What a run's stream has to tell, by what is in the database."""
    rows: list[tuple[int, Thing]] = []
    attempt = 0
    for event in RunEvent.objects.filter(run=run).order_by("id"):
        attempt += event.kind in ("triggered", "retried")
        if event.kind in _STATUS:
            rows.append((event.seq, ("run", _STATUS[event.kind], attempt)))
    rows += [
        (step.seq, ("step", step.name, step.status, step.attempts))
        for step in Step.objects.filter(run=run)
    ]
    lines = LogEntry.objects.filter(run=run)
    rows += [(line.seq, ("log", line.pk, line.message)) for line in lines]
    return [thing for _, thing in sorted(rows)]


def without_tried_again(things: list[Thing]) -> list[Thing]:
    """The same without ends of steps that were tried again, which only who was quick has seen."""
    last = {thing[1]: number for number, thing in enumerate(things) if thing[0] == "step"}
    return [
        thing
        for number, thing in enumerate(things)
        if thing[0] != "step" or last[thing[1]] == number
    ]
