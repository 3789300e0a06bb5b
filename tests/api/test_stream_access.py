"""Whom the event streams tell something, for how long, and what they refuse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import AsyncClient, Client
from django.utils import timezone
from pytest_django import Settings

from runs import live
from runs.access import ALL, VIEW, tokens
from runs.api import watching
from runs.models import ApiToken, Run
from tests.access import people
from tests.api.callers import PROBLEM, document
from tests.api.listening import listening, play
from tests.live.following import begun, event, make
from tests.pages import factories
from tests.support.streams import session_of

pytestmark = pytest.mark.django_db(transaction=True)


# Refusals


async def refusal(path: str, secret: str, **headers: str) -> Any:
    """The problem that is the answer."""
    async with listening(path, secret, **headers) as answer:
        assert answer.status == 400, (path, headers)
        assert answer.headers["Content-Type"] == PROBLEM
        problem = json.loads(answer.body)
        assert problem["code"] == "invalid-input"
        return [each["path"] for each in problem["errors"]]


def test_an_id_that_the_stream_never_gave_is_refused(secret: str) -> None:
    future = 10**17
    of_run = ["x", "-1", "1.5", "01", "9" * 30, "4", "²"]
    of_runs = ["x", "1", "1_2", f"0_0_{future}", "0_0_0~", "9" * 20_000]
    of_runs.append(f"0_0_0~0_0_{future}~{'a' * 32}.1")

    async def scenario() -> None:
        run = await make(begun)
        for path, ids in ((f"/runs/{run.pk}/events", of_run), ("/events", of_runs)):
            for id in ids:
                assert await refusal(path, secret, last_event_id=id) == ["Last-Event-ID"]
                assert await refusal(f"{path}?after={quote(id)}", secret) == ["after"]

    play(scenario)


def test_filters_that_make_no_sense_are_refused(secret: str) -> None:
    wrong = ["status=lost", "label=x", "since=soon", "cursor=older-1", "limit=5", "nonsense=1"]

    async def scenario() -> None:
        for query in wrong:
            [path] = await refusal(f"/events?{query}", secret)
            assert query.startswith(path.partition("[")[0])

    play(scenario)


def test_only_those_who_may_see_runs_are_told_of_them(transactional_db: None) -> None:
    blind = people.token("blind", *(set(ALL) - {VIEW}))[1]
    run = begun()

    async def scenario() -> None:
        for path in ("/events", f"/runs/{run.pk}/events"):
            async with listening(path) as answer:
                assert (answer.status, answer.headers["WWW-Authenticate"][:6]) == (401, "Bearer")
            async with listening(path, "durably_wrong") as answer:
                assert answer.status == 401
            async with listening(path, blind) as answer:
                assert answer.status == 403
                assert answer.headers["Content-Type"] == PROBLEM

    play(scenario)


def test_the_policy_s_runs_are_all_that_there_is(settings: Settings) -> None:
    settings.ACCESS_POLICY = "tests.access.people.OwnRuns"
    actor = people.program("mine", VIEW)
    secret = people.token("other", VIEW)[1]
    mine, foreign = begun(triggered_by="token:other"), begun(triggered_by=actor.name)

    async def scenario() -> None:
        async with listening("/events?after=0", secret) as stream:
            assert {each.data["run_id"] for each in await stream.take(2)} == {str(mine.pk)}
            await make(event, foreign, "failed")
            await make(event, mine, "failed")
            assert (await stream.next()).data["run_id"] == str(mine.pk)
        async with listening(f"/runs/{foreign.pk}/events", secret) as answer:
            assert answer.status == 404

    play(scenario)


def test_a_server_that_can_not_stream_says_so(secret: str) -> None:
    client = Client(headers={"host": "localhost", "authorization": f"Bearer {secret}"})
    for path in ("/api/events", f"/api/runs/{begun().pk}/events"):
        answer = client.get(path)
        assert answer.status_code == 501
        assert json.loads(answer.content)["code"] == "streaming-unavailable"


def test_head_is_answered_and_leaves_no_stream_behind(secret: str) -> None:
    async def scenario() -> None:
        named = {"authorization": f"Bearer {secret}"}
        answer = await AsyncClient().head("/api/events", headers=named)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert live.feeds.watchers == 0

    play(scenario)


# As long as they may


def test_a_stream_ends_once_its_client_may_not_see_runs(quick_checks: None) -> None:
    run = begun()

    def client(loss: str, name: str) -> tuple[Callable[[], object], dict[str, str]]:
        """How somebody loses this, and how they come in."""
        person = factories.user(name, "view_run")
        token, secret = tokens.create(name, permissions=[VIEW], user=person)
        rows, users = ApiToken.objects.filter(pk=token.pk), User.objects.filter(pk=person.pk)
        cookie = session_of(person)
        lose: dict[str, Callable[[], object]] = {
            "revoked": lambda: tokens.revoke(token),
            "expired": lambda: rows.update(expires_at=timezone.now() - timedelta(seconds=1)),
            "permission": person.user_permissions.clear,
            "inactive": lambda: users.update(is_active=False),
            "session": lambda: Session.objects.filter(pk=cookie).delete(),
            "nothing": lambda: None,
        }
        return lose[loss], {"cookie": cookie} if loss == "session" else {"secret": secret}

    async def watch(path: str, lose: Callable[[], object], who: dict[str, str]) -> bool:
        """Whether the stream ended by what was lost."""
        async with listening(path, **who) as stream:
            while stream.parser.comments < 6:  # it goes on, through checks
                await stream.part()
            await make(lose)
            try:
                await stream.rest(2)
            except TimeoutError:
                return False
            return True

    async def scenario() -> None:
        names = ["revoked", "expired", "permission", "inactive", "session", "nothing"]
        paths = ["/events", f"/runs/{run.pk}/events"]
        streams = [
            watch(path, *await make(client, name, f"{name}-{path[1:5]}"))
            for name in names
            for path in paths
        ]
        ended = await asyncio.gather(*streams)
        assert ended == [*[True] * 2 * (len(names) - 1), False, False]
        assert live.feeds.watchers == 0

    play(scenario)


def test_a_stream_ends_once_the_policy_hides_its_run(
    quick_checks: None, settings: Settings
) -> None:
    settings.ACCESS_POLICY = "tests.access.people.OwnRuns"
    secret = people.token("ci", VIEW)[1]
    run = begun(triggered_by="token:ci")

    async def scenario() -> None:
        async with (
            listening(f"/runs/{run.pk}/events", secret) as one,
            listening("/events", secret) as every,
        ):
            await one.next()
            await every.part()
            await make(Run.objects.filter(pk=run.pk).update, triggered_by="somebody else")
            assert await one.rest() == []
            await asyncio.sleep(0.5)
            await make(event, run, "failed")
            with pytest.raises(TimeoutError):
                await every.next(0.8)

    play(scenario)


def test_a_quiet_stream_says_that_it_is_there_and_where(quick_checks: None, secret: str) -> None:
    async def scenario() -> None:
        async with listening("/events?job=quiet", secret) as stream:
            await stream.part()
            began = stream.parser.last_id
            await make(begun, job="loud")
            async with asyncio.timeout(10):
                while stream.parser.last_id == began:
                    assert await stream.part()
            assert stream.waiting == []
            assert stream.parser.comments
            async with listening("/events", secret, last_event_id=stream.parser.last_id) as back:
                with pytest.raises(TimeoutError):
                    await back.next(0.5)

    play(scenario)


def test_the_beat_is_never_longer_than_promised() -> None:
    assert watching._BEAT_AFTER <= 15
    assert watching._BEAT_AFTER + watching._RECHECK_AFTER < 60


def test_streams_are_described() -> None:
    paths = document()["paths"]
    for path in ("/api/events", "/api/runs/{id}/events"):
        found = paths[path]["get"]
        assert list(found["responses"]["200"]["content"]) == ["text/event-stream"]
        names = {each["name"] for each in found["parameters"]}
        assert {"after", "Last-Event-ID"} <= names
    assert {"status", "job", "label", "q", "since", "until"} <= {
        each["name"] for each in paths["/api/events"]["get"]["parameters"]
    }
    assert "204" in paths["/api/runs/{id}/events"]["get"]["responses"]
