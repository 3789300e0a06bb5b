"""Event streams, heard in this process as a browser hears them."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from django.http import StreamingHttpResponse
from django.test import AsyncClient

from tests import processes


class Listener:
    """An open stream, read by a thread with an event loop of its own until it ends."""

    def __init__(self, client: AsyncClient, path: str, last_id: str = "", **headers: str) -> None:
        self._client = client
        self._path = f"/api/durably/{path}"
        self._headers = headers | ({"Last-Event-ID": last_id} if last_id else {})
        self.status = 0
        self.headers: dict[str, str] = {}
        self.last_id = last_id
        self.retry: int | None = None
        self.comments = 0
        self.ended = threading.Event()
        self.heard: list[dict[str, Any]] = []
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._opened = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)
        self._thread.start()
        assert self._opened.wait(10)

    async def _listen(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
        response = await self._client.get(self._path, headers=self._headers)
        self.status, self.headers = response.status_code, dict(response.headers)
        if self.status == 200:
            parts = cast("StreamingHttpResponse", response).streaming_content
            text = ""
            try:
                async for part in parts:  # type: ignore[union-attr]
                    self._opened.set()
                    *blocks, text = (text + part.decode()).split("\n\n")
                    for block in blocks:
                        self._take(block)
            except asyncio.CancelledError:
                await parts.aclose()  # type: ignore[union-attr]
            assert not text
        self._opened.set()
        self.ended.set()

    def _take(self, block: str) -> None:
        """What stands between two blank lines."""
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            assert name in ("", "id", "retry", "data"), f"the client would miss {line!r}"
            if line.startswith(":"):
                self.comments += 1
            elif name == "id":
                self.last_id = value
            elif name == "retry":
                self.retry = int(value)
            elif name == "data":
                self._messages.put(json.loads(value))

    def next(self) -> dict[str, Any]:
        """The next message."""
        self.heard.append(self._messages.get(timeout=10))
        return self.heard[-1]

    def until(self, type: str, count: int = 1) -> list[dict[str, Any]]:
        """All messages up to the ``count``th of that type."""
        found: list[dict[str, Any]] = []
        while [message["type"] for message in found].count(type) < count:
            found.append(self.next())
        return found

    def rest(self) -> list[dict[str, Any]]:
        """All messages up to the end of the stream."""
        assert self.ended.wait(10)
        found = []
        while not self._messages.empty():
            found.append(self.next())
        return found

    def await_comments(self, count: int) -> None:
        """Wait for so many more comments."""
        wanted = self.comments + count
        processes.until(lambda: self.comments >= wanted, f"{count} comments")

    def is_silent(self) -> bool:
        """Whether nothing has come that was not asked for."""
        return self._messages.empty()

    def close(self) -> None:
        """Hang up."""
        if not self.ended.is_set():
            with suppress(RuntimeError):  # it has just ended by itself
                self._stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


def types(messages: list[dict[str, Any]]) -> list[str]:
    """What kinds of messages these are."""
    return [message["type"] for message in messages]
