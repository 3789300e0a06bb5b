"""Thousands of queries and forms for every page: no 500, and nothing of them becomes markup.

The short form sends a few to each; ``make soak`` sends 10,000 to each, or ``FUZZ_INPUTS``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from django.http import QueryDict
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runs.access import denied
from runs.live import Cursor, Topics
from runs.registry import JobDefinition
from tests.pages import factories
from tests.security.hostile import LONG, encoded, multipart, report, values, what_is_wrong
from tests.security.surfaces import (
    ADMIN_FORMS,
    ADMIN_LISTS,
    FILTERS,
    FORMS,
    PAGES,
    Things,
    make_things,
    routes,
)

FORM = "application/x-www-form-urlencoded"
SHORT = 6

#: What means something to one page or the other.
_KNOWN = (
    "failed", "parcel", "tenant:acme", "one", "pay", "table", "show", "all", "txt", "jsonl",
    "error", "refused", "retry", "retrigger", "cancel", "delete", "pause", "resume", "json", "form",
    "last", "day", "week", "7d", "runs.view_run", "30", "1", "dark", "UTC", "root", "pass", "skip",
    "lines", "lines[0]", '{"name": "x"}', "name", "small", "2", "revoke", "on", "runs", "workers",
)  # fmt: skip

Send = Callable[[str, list[tuple[str, str]], dict[str, str], int], Any]


@pytest.fixture
def things(db: None, parcel_job: JobDefinition) -> Iterator[Things]:
    yield make_things()
    denied.memory.forget()


@pytest.fixture(autouse=True)
def keep_no_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client would copy the context of each part of a page, which takes as long as the rest."""
    monkeypatch.setattr("django.test.client.store_rendered_templates", lambda *_, **__: None)


@pytest.fixture
def root(things: Things) -> Client:
    """Somebody who may do everything, also in the admin."""
    client = Client(headers={"host": "localhost"})
    client.force_login(factories.user("root", is_staff=True, is_superuser=True))
    return client


def fuzz(
    count: int, send: Send, things: Things, route: str, names: tuple[str, ...]
) -> Counter[int]:
    """Send so many inputs to a route; the statuses that came."""
    statuses: Counter[int] = Counter()
    ids = (str(things.run.pk), str(things.action.pk), f"older-{things.run.pk}")
    found = values(*_KNOWN, *ids)
    name = st.sampled_from(names) if names else st.just("x")
    pairs = st.lists(st.tuples(name, found), max_size=8)
    cookies = st.dictionaries(st.sampled_from(("zone", "theme", "other")), found, max_size=2)

    @settings(
        max_examples=count,
        derandomize=count == SHORT,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(pairs, cookies, st.integers(0, 300))
    def attack(pairs: list[tuple[str, str]], cookies: dict[str, str], choice: int) -> None:
        before = transaction.savepoint()
        try:
            answer = send(route, pairs * 60 if choice == 0 else pairs, cookies, choice)
            assert what_is_wrong(answer) == []
            statuses[answer.status_code] += 1
            assert not answer.streaming or b"".join(answer) is not None
        finally:
            transaction.savepoint_rollback(before)

    attack()
    return statuses


def _set(client: Client, cookies: dict[str, str], session: str) -> None:
    """Send this session, and these cookies as far as a browser could."""
    client.cookies.clear()
    client.cookies["sessionid"] = session
    for name, value in cookies.items():
        client.cookies[name] = "".join(c for c in value if c.isprintable() and c.isascii())


def _place(route: str, pairs: list[tuple[str, str]], choice: int) -> dict[str, str]:
    """Now and then, text for the part of the address that is text."""
    if choice % 5 or not pairs:
        return {}
    text = encoded([("", pairs[0][1])])[1:].replace("+", "%20") or "x"
    return {"<str:name>": text, "<str:uidb64>": text, "<str:token>": text}


def getting(client: Client, things: Things) -> Send:
    """Ask for a page, or for a part of it as htmx does."""
    session = client.cookies["sessionid"].value

    def get(route: str, pairs: list[tuple[str, str]], cookies: dict[str, str], choice: int) -> Any:
        _set(client, cookies, session)
        path = Things(things.run, things.action, _place(route, pairs, choice)).path(route)
        headers = {"HX-Request": "true", "HX-Current-URL": path} if choice % 2 else {}
        return client.get(f"{path}?{encoded(pairs)}", headers=headers)

    return get


def posting(client: Client, things: Things) -> Send:
    """Send a form, in either of the two ways that there are."""
    session = client.cookies["sessionid"].value
    stranger = Client(headers={"host": "localhost"})  # a new one takes as long as ten requests

    def post(route: str, pairs: list[tuple[str, str]], cookies: dict[str, str], choice: int) -> Any:
        _set(client, cookies, session)
        path = Things(things.run, things.action, _place(route, pairs, choice)).path(route)
        if route in ("login/", "logout/"):
            stranger.cookies.clear()
            return stranger.generic("POST", path, encoded(pairs).encode(), content_type=FORM)
        if choice % 4 == 0:
            name = pairs[0][1] if pairs else "x"
            body, kind = multipart(pairs, "upload.letter", name)
            return client.generic("POST", path, body, content_type=kind)
        return client.generic("POST", path, encoded(pairs).encode(), content_type=FORM)

    return post


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names that are looked for in queries and forms."""
    found: set[str] = set()
    for method in ("__getitem__", "getlist", "__contains__"):
        ordinary = getattr(QueryDict, method)

        def noting(self: Any, key: str, *rest: Any, _ordinary: Any = ordinary) -> Any:
            found.add(key)
            return _ordinary(self, key, *rest)

        monkeypatch.setattr(QueryDict, method, noting, raising=False)
    return found


@pytest.mark.parametrize("route", PAGES)
def test_any_query_of_a_page(root: Client, things: Things, route: str, asked: set[str]) -> None:
    fuzz(SHORT, getting(root, things), things, route, PAGES[route])
    known = {*PAGES[route], *FORMS.get(route, ()), *FILTERS, "csrfmiddlewaretoken"}
    assert asked <= known, "Add them to tests/security/surfaces.py"


@pytest.mark.parametrize("route", FORMS)
def test_any_post_of_a_form(root: Client, things: Things, route: str) -> None:
    fuzz(SHORT, posting(root, things), things, route, FORMS[route])


@pytest.mark.parametrize("value", ["a\x00b", "9" * 19])
def test_each_parameter_alone(root: Client, things: Things, value: str) -> None:
    """What PostgreSQL takes in no text, and in no number."""
    get, post = getting(root, things), posting(root, things)
    for route, names in {**PAGES, **ADMIN_LISTS}.items():
        for name in names:
            assert what_is_wrong(get(route, [(name, value)], {}, 0)) == [], (route, name)
    for route, names in {**FORMS, **ADMIN_FORMS}.items():
        for name in names:
            assert what_is_wrong(post(route, [(name, value)], {}, 1)) == [], (route, name)
    for route in PAGES:
        place = dict.fromkeys(
            ("<str:name>", "<str:uidb64>", "<str:token>"), encoded([("", value)])[1:]
        )
        path = Things(things.run, things.action, place).path(route)
        assert what_is_wrong(root.get(path)) == [], path
    for base in ADMIN_LISTS:
        path = f"/{base}{encoded([('', value)])[1:]}/change/"
        assert what_is_wrong(root.get(path)) == [], path


def test_every_page_is_in_the_table() -> None:
    others = re.compile(r"admin/|api|healthz|readyz")
    found = {route for route, _ in routes() if not others.match(route)}
    assert found - {*PAGES, *FORMS} == set(), "Add an entry to tests/security/surfaces.py for each"


@pytest.mark.parametrize("route", ADMIN_LISTS)
def test_any_query_of_an_admin_list(root: Client, things: Things, route: str) -> None:
    fuzz(2, getting(root, things), things, route, ADMIN_LISTS[route])


@pytest.mark.parametrize("route", ADMIN_FORMS)
def test_any_action_of_an_admin_list(root: Client, things: Things, route: str) -> None:
    fuzz(SHORT, posting(root, things), things, route, ADMIN_FORMS[route])


@pytest.mark.parametrize("key", ["x", "a\x00b", "9" * 19])
@pytest.mark.parametrize(
    ("route", "action"), [("admin/runs/run/", "cancel"), ("admin/runs/apitoken/", "revoke")]
)
def test_an_action_on_what_is_no_row(root: Client, route: str, action: str, key: str) -> None:
    answer = root.post(f"/{route}", {"action": action, "_selected_action": key})
    assert answer.status_code == 400
    assert what_is_wrong(answer) == []


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(values("runs", "run:", "job:x", "workers", "run:" + "0" * 32), max_size=5))
def test_any_topic_of_a_stream(texts: list[str]) -> None:
    """What an open page listens to: understood, or refused in words."""
    try:
        Topics.parse(texts)
    except ValueError:
        pass
    for text in texts:
        assert Cursor.parse(text) is None or text[0].isdigit()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("route", PAGES)
def test_thousands_of_queries_of_a_page(root: Client, things: Things, route: str) -> None:
    report(f"/{route}", fuzz(LONG, getting(root, things), things, route, PAGES[route]))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("route", FORMS)
def test_thousands_of_posts_of_a_form(root: Client, things: Things, route: str) -> None:
    report(f"POST /{route}", fuzz(LONG, posting(root, things), things, route, FORMS[route]))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("route", ADMIN_LISTS)
def test_thousands_of_queries_of_an_admin_list(root: Client, things: Things, route: str) -> None:
    report(f"/{route}", fuzz(LONG, getting(root, things), things, route, ADMIN_LISTS[route]))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("route", ADMIN_FORMS)
def test_thousands_of_actions_of_an_admin_list(root: Client, things: Things, route: str) -> None:
    report(f"POST /{route}", fuzz(LONG, posting(root, things), things, route, ADMIN_FORMS[route]))
