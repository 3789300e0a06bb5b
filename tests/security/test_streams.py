"""Thousands of requests for streams: messages are the site's own, and nobody silences the others.

What is told is hostile too: it tries to end its message and begin another. The short form asks
for a few streams of each kind; ``make soak`` for 10,000, or ``FUZZ_INPUTS``.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runs.api import watching
from runs.dashboard import live
from runs.live import Selection, Topics, feeds, hub
from runs.models import Run
from runs.registry import JobDefinition
from tests.api.listening import play
from tests.pages import factories
from tests.security.hostile import LONG, MARK, encoded, report, values, what_is_wrong
from tests.security.surfaces import Things
from tests.security.world import make_world
from tests.support.streams import session_of

pytestmark = pytest.mark.django_db(transaction=True)

SHORT = 80
#: So many streams are open at a time.
AT_ONCE = 40

#: What would be a message of its own, if it were not told as data.
TEXT = f"{MARK}\n\nevent: made-up\ndata: {{}}\r\n\rid: 7\r"

#: The streams, with the parameters that they read.
STREAMS = {
    "/live/": ("topic", "after"),
    "/api/events": ("status", "job", "label", "after"),
    "/api/runs/{id}/events": ("after",),
    "/api/durably/subscribe": ("runId",),
    "/api/durably/runs/subscribe": ("jobName", "label.tenant", "status"),
}

_LINE = re.compile(
    r"""|: [ ] [\w ]+ | retry: [ ] \d+ | id: [ ] [\w.~,-]+ | event: [ ] [\w.-]+ | data: [ ] \{\}""",
    re.VERBOSE | re.ASCII,
)

#: Parameters and the id of the last message.
Asked = tuple[list[tuple[str, str]], str]


@pytest.fixture
def world(transactional_db: None, parcel_job: JobDefinition) -> Things:
    """Hostile everywhere, and where a line may end, so too."""
    made = make_world(MARK)
    factories.step(made.run, TEXT, output={TEXT: TEXT})
    factories.step(made.run, f"{TEXT} 2", None, error_type=TEXT, error_message=TEXT)
    factories.log(made.run, TEXT, step=TEXT, data={TEXT: TEXT})
    factories.event(made.run, "retried", actor=TEXT, reason=TEXT, data={TEXT: TEXT})
    Run.objects.update(error_message=TEXT, progress={"current": 1, "total": 3, "message": TEXT})
    return made


@pytest.fixture
def session(world: Things) -> str:
    return session_of(factories.user("root", is_superuser=True))


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_HEARTBEAT", 0.3)
    monkeypatch.setattr(watching, "_BEAT_AFTER", 0.3)


def made_up(count: int, names: tuple[str, ...], run: Run) -> list[Asked]:
    """So many requests; about half of them make sense."""
    own = (f"run:{run.pk}", str(run.pk))
    good = ("runs", "workers", "job:parcel", "parcel", "tenant:acme", "failed", "0", "1", "5.2",
            "5.4-2", "1~1,2~2", "job:a\x00b")  # fmt: skip
    name = st.sampled_from(names)
    sound = st.lists(st.tuples(name, st.sampled_from((*good, *own * 3))), max_size=3)
    found = values(*own, *good, f"job:{TEXT}", "run:")
    pairs = st.one_of(sound, st.lists(st.tuples(name, found), max_size=5))
    asked: list[Asked] = []

    @settings(
        max_examples=count,
        derandomize=count == SHORT,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(pairs, st.one_of(st.just(""), found))
    def collect(pairs: list[tuple[str, str]], last_id: str) -> None:
        asked.append((pairs, "".join(c for c in last_id if c.isprintable() and c.isascii())))

    collect()
    return asked


class Open:
    """A stream, or the answer that there is none."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.text = ""
        self._parts: Any = None

    @classmethod
    async def at(cls, path: str, session: str, asked: Asked) -> Open:
        pairs, last_id = asked
        client = AsyncClient(headers={"host": "localhost"})
        client.cookies["sessionid"] = session
        headers = {"Last-Event-ID": last_id} if last_id else {}
        return cls(await client.get(f"{path}?{encoded(pairs)}", headers=headers))

    async def begin(self) -> None:
        """Read its first part, by which time it listens."""
        if self.answer.streaming:
            self._parts = aiter(self.answer.streaming_content)
            await self._read()

    async def wrongs(self) -> list[str]:
        """Read another part, and hang up; what is wrong with it."""
        if not self.answer.streaming:
            return what_is_wrong(self.answer)
        await self._read()
        await self.answer.streaming_content.aclose()
        found = [f"line {line!r}" for line in _lines(self.text) if not _LINE.fullmatch(line)]
        if self.answer.headers["Content-Type"].partition(";")[0] != "text/event-stream":
            found.append("a browser may take it for something else")
        return found + what_is_wrong(self.answer)

    async def _read(self) -> None:
        async with asyncio.timeout(20):
            self.text += (await anext(self._parts, b"")).decode()


def _lines(text: str) -> Iterator[str]:
    """As browsers part them; of data, what is valid JSON counts as one word."""
    for line in re.split("\r\n|\r|\n", text):
        name, _, value = line.partition(": ")
        yield f"{name}: {{}}" if name == "data" and isinstance(json.loads(value), dict) else line


def attack(count: int, path: str, world: Things, session: str) -> Counter[int]:
    """Ask for so many streams; the statuses that came."""
    statuses: Counter[int] = Counter()
    place = path.format(id=world.run.pk)
    asked = made_up(count, STREAMS[path], world.run)

    async def scenario() -> None:
        for start in range(0, len(asked), AT_ONCE):
            some = asked[start : start + AT_ONCE]
            opened = [await Open.at(place, session, each) for each in some]
            await asyncio.gather(*(each.begin() for each in opened))
            await the_others_hear_all(world.run)
            found = await asyncio.gather(*(each.wrongs() for each in opened))
            for each, stream, wrong in zip(some, opened, found, strict=True):
                assert not wrong, (each, wrong, stream.text)
                statuses[stream.answer.status_code] += 1

    play(scenario)
    return statuses


async def the_others_hear_all(run: Run) -> None:
    """Who watches the same run honestly is told of what happens to it at once."""
    page = hub.subscribe(Topics(runs=frozenset({run.pk})))
    program = feeds.follow_runs(Selection.of(Run.objects.filter(pk=run.pk)))
    page_heard = program_heard = False
    try:
        async with asyncio.timeout(10):
            while not (page_heard and program_heard):
                await sync_to_async(factories.event)(run, "coalesced")
                changes, news = await asyncio.gather(page.next(1), program.next(1))
                page_heard = page_heard or bool(changes and changes.events)
                program_heard = program_heard or bool(news and news.records)
    finally:
        page.close()
        program.close()


@pytest.mark.parametrize("path", STREAMS)
def test_any_request_for_a_stream(world: Things, session: str, path: str) -> None:
    statuses = attack(SHORT, path, world, session)
    assert set(statuses) <= {200, 204, 400, 404}
    assert statuses[200], statuses


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("path", STREAMS)
def test_thousands_of_requests_for_a_stream(world: Things, session: str, path: str) -> None:
    report(path, attack(LONG, path, world, session))
