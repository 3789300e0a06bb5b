"""Clients of streams, in the process of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from django.test import AsyncClient

from runs import live
from tests.processes import until
from tests.support.sse import Event, Parser


class Listener:
    """An open stream, or the answer that there is none."""

    def __init__(self, answer: Any) -> None:
        self.status: int = answer.status_code
        self.headers = answer.headers
        self.body = b"" if answer.streaming else answer.content
        self.parser = Parser()
        self.waiting: list[Event] = []
        self._parts = aiter(answer.streaming_content) if answer.streaming else None

    async def next(self, seconds: float = 10) -> Event:
        """The next message. Raises TimeoutError, or StopAsyncIteration at the end."""
        async with asyncio.timeout(seconds):
            while not self.waiting:
                await self.part()
        return self.waiting.pop(0)

    async def take(self, count: int) -> list[Event]:
        """So many messages."""
        return [await self.next() for _ in range(count)]

    async def part(self) -> bytes:
        """What comes next over the wire."""
        assert self._parts is not None, (self.status, self.body)
        part = await anext(self._parts)
        self.waiting += self.parser.feed(part)
        return bytes(part)

    async def rest(self, seconds: float = 10) -> list[Event]:
        """All messages until the server ends the stream."""
        async with asyncio.timeout(seconds):
            try:
                while True:
                    await self.part()
            except StopAsyncIteration:
                pass
        rest, self.waiting = self.waiting, []
        return rest

    async def close(self) -> None:
        """Hang up."""
        if self._parts is not None:
            await self._parts.aclose()


@asynccontextmanager
async def listening(
    path: str, secret: str = "", *, cookie: str = "", **headers: str
) -> AsyncIterator[Listener]:
    """A client that asks for a stream. Headers are named with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if secret:
        named["authorization"] = f"Bearer {secret}"
    client = AsyncClient()
    if cookie:
        client.cookies["sessionid"] = cookie
    listener = Listener(await client.get(f"/api{path}", headers=named))
    try:
        yield listener
    finally:
        await listener.close()


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Play a scenario to its end, and that of all reading."""

    async def whole() -> None:
        try:
            await scenario()
        finally:
            live.close()
        await asyncio.to_thread(until, lambda: not live.feeds.is_polling, "the end of reading")

    asyncio.run(whole())
