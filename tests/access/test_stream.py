"""The stream of open pages tells nothing of hidden runs, and ends with its watcher's rights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from runs.access import Actor
from runs.dashboard import live
from runs.live import hub
from runs.models import Run
from tests.access.people import TENANTS, person
from tests.pages import factories
from tests.processes import until
from tests.support.streams import session_of

pytestmark = pytest.mark.django_db(transaction=True)

OWN, OTHER = {"tenant": "acme"}, {"tenant": "other"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    settings.ACCESS_POLICY = TENANTS
    monkeypatch.setattr(live, "_HEARTBEAT", 0.1)
    yield
    until(lambda: not hub.is_polling, "the poller has stopped")


@pytest.fixture
def ann() -> Actor:
    return person("ann", tenants=("acme",))


async def changes(actor: Actor, query: str) -> AsyncIterator[dict[str, Any]]:
    """What the stream tells; a beat is told as nothing."""
    client = AsyncClient()
    client.cookies["sessionid"] = await sync_to_async(session_of)(actor.user)
    answer = await client.get(f"/live/?{query}")
    assert answer.status_code == 200
    async with asyncio.timeout(20):
        async for part in answer.streaming_content:  # type: ignore[attr-defined]
            for line in part.decode().splitlines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


def told(found: list[dict[str, Any]]) -> set[str]:
    """The runs that are named."""
    ids = {id for each in found for name in ("moved", "gone") for id in each.get(name, ())}
    return ids | {event[1] for each in found for event in each.get("events", ())}


def listen(actor: Actor, query: str, *acts: Callable[[], Any]) -> list[dict[str, Any]]:
    """What is told while these acts are done one after the other, each before some beats."""

    async def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with aclosing(changes(actor, query)) as messages:  # type: ignore[type-var]
            for act in acts:
                await sync_to_async(act)()
                beats = 0
                while beats < 6:
                    message = await anext(messages)
                    found.append(message)
                    beats += not message
        return found

    return asyncio.run(read())


def test_only_what_happens_to_visible_runs_is_told(ann: Actor) -> None:
    own, other = factories.run("running", labels=OWN), factories.run("running", labels=OTHER)

    def happen() -> None:
        for run in (own, other):
            factories.event(run, "started")
            Run.objects.filter(pk=run.pk).update(seq=9, progress={"current": 2})

    queries = (
        "topic=runs&after=0",
        f"topic=run:{own.pk}&topic=run:{other.pk}&after=0",
        "topic=job:example&after=0",
    )
    for query in queries:
        found = listen(ann, query, happen)
        assert told(found) == {str(own.pk)}, query


def test_a_deletion_is_told_only_of_a_run_that_was_visible(
    ann: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_RECHECK", 0.2)  # which forgets what it knew
    own, other = factories.run("running", labels=OWN), factories.run("running", labels=OTHER)
    query = f"topic=run:{own.pk}&topic=run:{other.pk}"
    found = listen(ann, query, lambda: None, Run.objects.all().delete)
    assert [each["gone"] for each in found if "gone" in each] == [[str(own.pk)]]
    assert str(other.pk) not in told(found)


def test_who_leaves_a_tenant_hears_no_more_of_it(
    ann: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_RECHECK", 0.2)
    run = factories.run("running", labels=OWN)
    found = listen(ann, "topic=runs", lambda: factories.event(run, "started"))
    assert told(found) == {str(run.pk)}

    def leave() -> None:
        ann.user.groups.clear()

    def happen() -> None:
        factories.event(run, "taken_over")

    heard = listen(ann, "topic=runs", leave, happen)
    assert "taken_over" not in str(heard)


def test_the_stream_ends_when_the_permission_is_gone(
    ann: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_RECHECK", 0.2)

    async def read() -> int:
        count = 0
        async for _ in changes(ann, "topic=runs"):
            count += 1
            if count == 2:
                await sync_to_async(ann.user.user_permissions.clear)()
        return count

    assert asyncio.run(read()) >= 2


def test_rights_are_read_again_at_least_twice_a_minute() -> None:
    assert live._RECHECK <= 30


def test_who_knows_too_many_runs_looks_at_them_again(
    ann: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_MAX_KNOWN", 1)
    runs = [factories.run("running", labels=labels) for labels in (OWN, OTHER) * 3]

    def happen() -> None:
        for run in runs:
            factories.event(run, "started")

    found = listen(ann, "topic=runs", happen, happen)
    assert told(found) == {str(run.pk) for run in runs if run.labels == OWN}
