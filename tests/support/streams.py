"""Event streams, read as a browser reads them."""

from __future__ import annotations

import http.client
import json
import queue
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore


def session_of(user: User) -> str:
    """The key of a new session in which ``user`` is signed in."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


@dataclass(frozen=True)
class Message:
    """A message with its id and what it tells."""

    id: str
    data: dict[str, Any]

    @property
    def events(self) -> list[tuple[int, str, str]]:
        """Id, run and kind of each event."""
        return [(id, run, kind) for id, run, kind in self.data.get("events", ())]


class Stream:
    """An open stream, read by a thread of its own until it ends."""

    def __init__(self, port: int, session: str, query: str, last_id: str = "") -> None:
        headers = {"Cookie": f"sessionid={session}", "Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.request("GET", f"/live/?{query}", headers=headers)
        self._answer = self._connection.getresponse()
        self._socket = self._connection.sock or self._answer.fp.raw._sock  # type: ignore[attr-defined]
        self.status = self._answer.status
        self.lines: list[str] = []
        self.ended = threading.Event()
        self._messages: queue.Queue[Message] = queue.Queue()
        if self.status == 200:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        id, data, kind = "", "", ""
        with suppress(OSError, http.client.HTTPException, ValueError):
            while line := self._answer.readline().decode():
                self.lines.append(line.rstrip("\n"))
                name, _, value = line.rstrip("\n").partition(": ")
                if name == "id":
                    id = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data = value
                elif not line.strip():
                    if kind == "changes":
                        self._messages.put(Message(id, json.loads(data)))
                    data, kind = "", ""
        self.ended.set()

    def next(self, timeout: float = 10) -> Message:
        """The next message. Raises queue.Empty if none comes in time."""
        return self._messages.get(timeout=timeout)

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._socket.shutdown(2)
