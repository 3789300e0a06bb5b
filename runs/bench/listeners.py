"""Clients of the API, many in one process: streams that are read, and triggers that are timed.

They do as little as they can with what they read, since the server has to share the machine.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from datetime import datetime

#: Of a message, when what it tells of was written; the first in a part is the oldest.
_MARK = b'"finished_at": "2'
_CREATED = b'"created_at": "2'


@dataclass
class Heard:
    """What all listeners have heard."""

    lags: list[float] = field(default_factory=list)
    bytes: int = 0
    ended: int = 0


@dataclass
class Server:
    """Where it is, and how to come in."""

    port: int
    secret: str

    def head(self, method: str, path: str, *more: str) -> bytes:
        """The lines of a request before its body."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *more]
        return "\r\n".join([*lines, f"Authorization: Bearer {self.secret}", "", ""]).encode()

    async def listen(self, path: str, heard: Heard, opened: asyncio.Semaphore) -> None:
        """Read a stream until it is cancelled, or until the server ends it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(self.head("GET", path))
            status = await reader.readuntil(b"\r\n\r\n")
            if not status.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(status.decode())
            opened.release()
            while part := await reader.read(1 << 20):
                heard.bytes += len(part)
                if (written := _oldest(part)) is not None:
                    heard.lags.append(time.time() - written)
            heard.ended += 1
        finally:
            writer.close()

    async def post(self, path: str, bodies: asyncio.Queue[tuple[float, bytes]]) -> list[float]:
        """Send each body when it is due; the seconds from then to the whole answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        times: list[float] = []
        while True:
            due, body = await bodies.get()
            if not body:
                writer.close()
                return times
            length = f"Content-Length: {len(body)}"
            writer.write(self.head("POST", path, "Content-Type: application/json", length) + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 201"):
                raise ConnectionError(answer.decode())
            fields = answer.lower()
            start = fields.index(b"content-length:") + len(b"content-length:")
            await reader.readexactly(int(fields[start : fields.index(b"\r", start)]))
            times.append(time.monotonic() - due)


def _oldest(part: bytes) -> float | None:
    """When the first thing that this tells of was written; None if it says nothing of that."""
    for mark in (_MARK, _CREATED):
        at = part.find(mark)
        if at >= 0:
            text = part[at + len(mark) - 1 :].split(b'"', 1)[0].decode()
            try:
                return datetime.fromisoformat(text).timestamp()
            except ValueError:  # cut in the middle
                return None
    return None


async def trigger_steadily(
    server: Server, path: str, rate: float, seconds: float, connections: int = 8
) -> list[float]:
    """Trigger at this rate, whatever the answers take; each one's seconds from when it was due."""
    bodies: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    senders = [asyncio.create_task(server.post(path, bodies)) for _ in range(connections)]
    began = time.monotonic()
    for number in range(round(rate * seconds)):
        due = began + number / rate
        await asyncio.sleep(max(due - time.monotonic(), 0))
        bodies.put_nowait((due, json.dumps({"input": number}).encode()))
        for sender in senders:
            if sender.done():
                sender.result()
    for _ in senders:
        bodies.put_nowait((0, b""))
    return [took for times in await asyncio.gather(*senders) for took in times]
