"""The streams in a real browser's EventSource: how they are heard, and how they end."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from runs.models import Run
from tests.live.following import begun, event, log
from tests.pages import factories
from tests.processes import until
from tests.support.streams import session_of
from tests.support.web import Web

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LISTEN = """
path => {
    window.heard = [];
    window.errors = [];
    const source = window.source = new EventSource(path);
    for (const kind of ["run", "step", "log", "progress"])
        source.addEventListener(kind, message => {
            const data = JSON.parse(message.data);
            window.heard.push([message.lastEventId, kind, data.status || data.message]);
        });
    source.onerror = () => window.errors.push(source.readyState);
}
"""
CONNECTING, CLOSED = 0, 2


@pytest.fixture
def asked(web: Web, context: BrowserContext, page: Page) -> list[Any]:
    """The requests for streams that the browser of a signed-in person makes."""
    base = f"http://127.0.0.1:{web.port}"
    session = session_of(factories.user("ann", "view_run"))
    context.add_cookies([{"name": "sessionid", "value": session, "url": base}])
    found: list[Any] = []
    page.on("response", lambda answer: found.append(answer) if "/events" in answer.url else None)
    page.goto(f"{base}/runs/")
    return found


def finish(run: Run) -> None:
    event(run, "completed")
    Run.objects.filter(pk=run.pk).update(
        status="completed", due_at=None, finished_at=run.created_at, lease_owner=None
    )


def wait(page: Page, condition: Callable[[], Any], what: str) -> Any:
    """Wait, and let the browser's news in meanwhile."""

    def pumped() -> Any:
        page.wait_for_timeout(20)
        return condition()

    return until(pumped, what)


def heard(page: Page, count: int) -> list[list[str]]:
    """What was heard so far, at least so much."""
    found: list[list[str]] = wait(
        page,
        lambda: len(now := page.evaluate("window.heard")) >= count and now,
        f"{count} messages",
    )
    return found


def test_a_browser_hears_a_run_to_its_end_and_does_not_come_back(
    page: Page, asked: list[Any]
) -> None:
    run = begun()
    page.evaluate(LISTEN, f"/api/runs/{run.pk}/events")
    heard(page, 1)
    log(run, "hello")
    heard(page, 2)
    finish(run)
    assert heard(page, 3) == [
        ["2", "run", "running"],
        ["3", "log", "hello"],
        ["4", "run", "completed"],
    ]
    page.wait_for_timeout(5_000)  # browsers come back after 3 s, unless they are told otherwise
    assert len(asked) == 1
    assert page.evaluate("window.errors") == [CONNECTING]


def test_a_browser_that_comes_back_to_the_end_is_told_to_stay_away(
    page: Page, asked: list[Any]
) -> None:
    """As after a night's sleep, or in a page that was made anew."""
    run = begun()
    finish(run)
    page.evaluate(LISTEN, f"/api/runs/{run.pk}/events?after={run.seq}")
    wait(page, lambda: page.evaluate("window.source.readyState") == CLOSED, "the end")
    assert [answer.status for answer in asked] == [204]
    page.wait_for_timeout(3_500)
    assert len(asked) == 1


def test_a_browser_comes_back_after_a_break_and_misses_nothing(
    page: Page, asked: list[Any], web: Web
) -> None:
    run = begun()
    page.evaluate(LISTEN, "/api/events?job=example")
    wait(page, lambda: len(asked) == 1, "an open stream")
    log(run, "one")
    heard(page, 1)
    web.restart()
    log(run, "two")
    finish(run)
    found = heard(page, 3)
    assert [each[2] for each in found] == ["one", "two", "completed"]
    assert re.fullmatch(r"[0-9._~a-f-]+", found[-1][0])
