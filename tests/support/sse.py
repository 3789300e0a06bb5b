"""Server-sent events, as a client that follows the standard reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """A message as a client dispatches it."""

    id: str
    event: str
    text: str

    @property
    def data(self) -> Any:
        return json.loads(self.text)

    @property
    def short(self) -> tuple[str, str]:
        """What it is: the event, and of a run its status, of others their name or text."""
        data = self.data
        for name in ("status", "name", "current", "message"):
            if name in data and (self.event, name) != ("step", "status"):
                return self.event, str(data[name])
        raise AssertionError(self)


@dataclass
class Parser:
    """Takes bytes as they come, cut anywhere; messages are whole or not there."""

    last_id: str = ""
    retry: int | None = None
    comments: int = 0
    _text: bytes = b""
    _fields: dict[str, str] = field(default_factory=dict)
    _id: str = ""

    def feed(self, part: bytes) -> list[Event]:
        """The messages that are complete with these bytes."""
        *lines, self._text = (self._text + part).split(b"\n")
        return [event for line in lines if (event := self._line(line.decode()))]

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "id":
            self._id = value
        elif name == "retry":
            self.retry = int(value)
        else:
            assert name in ("event", "data"), line
            assert name not in self._fields, line
            self._fields[name] = value
        return None

    def _dispatch(self) -> Event | None:
        fields, self._fields = self._fields, {}
        self.last_id = self._id
        if "data" not in fields:
            return None
        return Event(self.last_id, fields.get("event", "message"), fields["data"])
