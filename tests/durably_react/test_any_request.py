"""Whatever a caller sends, the answer is JSON and no error of the server."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs import JobDefinition
from tests.durably_react.conftest import SAME_ORIGIN, Caller

pytestmark = pytest.mark.django_db

often = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

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


def check(response: Any) -> None:
    assert response.status_code < 500 or response.status_code == 501, response.content
    assert response["Content-Type"] == "application/json"
    found = json.loads(response.content)
    assert response.status_code == 200 or isinstance(found["error"], str)


@often
@given(body=st.dictionaries(names, values))
def test_any_body_of_a_trigger(
    caller: Caller, importer: JobDefinition, body: dict[str, Any]
) -> None:
    body.setdefault("jobName", "import-table")
    body.setdefault("input", {"file": "a.csv"})
    check(caller.post("trigger", json.dumps(body)))


@often
@given(path=paths, query=st.lists(st.tuples(parameters, st.text()), max_size=4))
def test_any_query(caller: Caller, path: str, query: list[tuple[str, str]]) -> None:
    text = "&".join(f"{name}={quote(value, errors='replace')}" for name, value in query)
    address = f"/api/durably/{path}?{text}"
    check(caller.client.get(address))
    check(caller.client.post(address, "", content_type="", headers=SAME_ORIGIN))
    check(caller.client.delete(address, headers=SAME_ORIGIN))


@often
@given(body=st.binary(), content_type=st.sampled_from(["application/json", "text/plain"]))
def test_any_bytes(caller: Caller, body: bytes, content_type: str) -> None:
    address = "/api/durably/trigger"
    check(caller.client.post(address, body, content_type=content_type, headers=SAME_ORIGIN))
