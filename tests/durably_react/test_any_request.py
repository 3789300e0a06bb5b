"""Whatever a caller sends, the answer is JSON and no error of the server.

The short form sends a few; ``make soak`` 10,000 of each kind, or ``FUZZ_INPUTS``.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runs import JobDefinition
from tests.durably_react.conftest import SAME_ORIGIN, Caller
from tests.security.hostile import LONG, report

pytestmark = pytest.mark.django_db

SHORT = 40

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    ["jobName", "input", "idempotencyKey", "concurrencyKey", "coalesce", "labels", "other"]
)
parameters = st.sampled_from(
    ["jobName", "status", "limit", "offset", "label.a", "label.", "label.a/b", "runId", "other"]
)
paths = st.sampled_from(["trigger", "retrigger", "cancel", "run", "runs", "steps", "subscribe"])


CONTENT_TYPES = ["application/json", "text/plain"]


def check(response: Any) -> int:
    """Its status."""
    assert response.status_code < 500 or response.status_code == 501, response.content
    assert response["Content-Type"] == "application/json"
    found = json.loads(response.content)
    assert response.status_code == 200 or isinstance(found["error"], str)
    return int(response.status_code)


def profile(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate,) if count == LONG else tuple(Phase),
        suppress_health_check=list(HealthCheck),
    )


class Attack:
    """Sends so many inputs of one kind, and counts the statuses that come."""

    def __init__(self, caller: Caller, count: int) -> None:
        self.caller = caller
        self.profile = profile(count)
        self.statuses: Counter[int] = Counter()

    def send(self, method: str, address: str, *data: Any, **options: Any) -> None:
        """One, of which nothing stays."""
        before = transaction.savepoint()
        try:
            response = getattr(self.caller.client, method)(address, *data, **options)
            self.statuses[check(response)] += 1
        finally:
            transaction.savepoint_rollback(before)

    def bodies(self) -> Counter[int]:
        """JSON that a trigger may get."""

        @self.profile
        @given(body=st.dictionaries(names, values))
        def send(body: dict[str, Any]) -> None:
            whole = {"jobName": "import-table", "input": {"file": "a.csv"}, **body}
            self._trigger(json.dumps(whole), "application/json")

        send()
        return self.statuses

    def queries(self, method: str) -> Counter[int]:
        """To any address of the protocol."""
        options: dict[str, Any] = {} if method == "get" else {"headers": SAME_ORIGIN}
        data = ("", "") if method == "post" else ()

        @self.profile
        @given(path=paths, query=st.lists(st.tuples(parameters, st.text()), max_size=4))
        def send(path: str, query: list[tuple[str, str]]) -> None:
            text = "&".join(f"{name}={quote(value, errors='replace')}" for name, value in query)
            self.send(method, f"/api/durably/{path}?{text}", *data, **options)

        send()
        return self.statuses

    def bytes(self) -> Counter[int]:
        """That a trigger may get."""

        @self.profile
        @given(body=st.binary(), content_type=st.sampled_from(CONTENT_TYPES))
        def send(body: bytes, content_type: str) -> None:
            self._trigger(body, content_type)

        send()
        return self.statuses

    def _trigger(self, body: Any, content_type: str) -> None:
        self.send("post", "/api/durably/trigger", body, content_type, headers=SAME_ORIGIN)


def test_any_body_of_a_trigger(caller: Caller, importer: JobDefinition) -> None:
    assert Attack(caller, SHORT).bodies()[400]


@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_any_query(caller: Caller, method: str) -> None:
    assert Attack(caller, SHORT).queries(method)[400]


def test_any_bytes(caller: Caller) -> None:
    assert Attack(caller, SHORT).bytes()[400]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_thousands_of_bodies_of_a_trigger(caller: Caller, importer: JobDefinition) -> None:
    report("React: bodies", Attack(caller, LONG).bodies())


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_thousands_of_queries(caller: Caller, method: str) -> None:
    report(f"React: queries, {method}", Attack(caller, LONG).queries(method))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_thousands_of_bytes(caller: Caller) -> None:
    report("React: bytes", Attack(caller, LONG).bytes())
