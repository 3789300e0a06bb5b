"""Whatever a caller sends, the answer is a problem that says what is wrong; never a 500."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError
from django.test import Client

from runs import access
from runs.api.problems import CONTENT_TYPE
from runs.models import Run
from tests.api.callers import Caller
from tests.pages import factories

TRIGGER = "/jobs/anything/trigger"
BATCH = "/jobs/anything/trigger-batch"

#: Every route that takes a body.
POSTS = (
    TRIGGER,
    BATCH,
    "/jobs/anything/pause",
    "/jobs/anything/resume",
    "/runs/{id}/retry",
    "/runs/{id}/retrigger",
    "/runs/{id}/cancel",
)


_FORM = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'


def least(path: str) -> dict[str, Any]:
    """The smallest body that a route takes."""
    return {"items": []} if path == BATCH else {}


@pytest.fixture
def run(db: None) -> str:
    return str(factories.run("pending", job="anything").pk)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "EOF"),
        (b"nope", "JSON"),
        (b"{'input': 1}", "JSON"),
        (b'{"input": 1,}', "trailing comma"),
        (b'{"input": NaN}', "JSON"),
        (b'{"input": -Infinity}', "JSON"),
        (b'{"input": "\\ud800"}', "hex escape"),
        (b'{"reason": "\\udfff"}', "surrogate"),
        (b'{"input": "\xff"}', "unicode"),
        (b'\xef\xbb\xbf{"input": 1}', "JSON"),
        (b"\x00", "JSON"),
        (b" ", "EOF"),
        (b'{"input": ' + b"9" * 5000 + b"}", "number"),
        (b'{"input": ' + b"[" * 300 + b"]" * 300 + b"}", "recursion"),
        (b"[" * 100_000, "recursion"),
        (b"null", "body"),
        (b"[]", "body"),
        (b'"text"', "body"),
        (b"7", "body"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    api: Caller, run: str, body: bytes, word: str
) -> None:
    for path in POSTS:
        answer = api.send("POST", path.format(id=run), body, "application/json")
        assert (answer.status, answer.code) == (400, "invalid-input"), path
        assert word in answer.json["detail"]
    assert Run.objects.get().status == "pending"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b"{}"),
        ("", b"{}"),
        ("application/x-www-form-urlencoded", b"input=1"),
        ("application/x-www-form-urlencoded", b'{"input": 1}'),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
        ),
        ("application/xml", b"<a/>"),
        ("application/jsonx", b"{}"),
        ("\x00", b"{}"),
    ],
)
def test_a_body_that_is_not_json_by_its_type_is_refused(
    api: Caller, run: str, kind: str, body: bytes
) -> None:
    for path in POSTS:
        answer = api.send("POST", path.format(id=run), body, kind)
        assert (answer.status, answer.code) == (415, "unsupported-media-type"), path
    assert Run.objects.get().status == "pending"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b""),
        ("application/json; charset=utf-8", b"{}"),
        ("APPLICATION/JSON", b"{}"),
        ("application/vnd.api+json", b"{}"),
        ("", b""),
        ("text/plain", b""),
        ("application/x-www-form-urlencoded", b""),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
    ],
)
def test_no_body_and_json_of_any_name_are_taken(api: Caller, kind: str, body: bytes) -> None:
    assert api.send("POST", TRIGGER, body, kind).status == 201


@pytest.mark.parametrize("path", [path for path in POSTS if path not in (TRIGGER, BATCH)])
def test_a_field_that_there_is_not_is_named(api: Caller, run: str, path: str) -> None:
    answer = api.post(path.format(id=run), {"raeson": "x"})
    assert (answer.status, answer.errors) == (400, {"raeson": "is no field here"})


@pytest.mark.parametrize("reason", ["x" * 1001, "a\x00b", 7, None, ["x"]])
def test_a_reason_is_a_text_that_can_be_stored(api: Caller, run: str, reason: Any) -> None:
    for path in (f"/runs/{run}/cancel", "/jobs/anything/pause"):
        answer = api.post(path, {"reason": reason})
        assert (answer.status, list(answer.errors)) == (400, ["reason"])


def test_a_body_that_is_too_large_is_refused(api: Caller, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000
    answer = api.post(TRIGGER, {"input": "x" * 1_000})
    assert (answer.status, answer.code) == (413, "too-large")
    assert api.post(TRIGGER, {"input": "x" * 900}).status == 201


def test_an_input_that_is_too_large_is_refused(api: Caller, settings: Any) -> None:
    settings.MAX_INPUT_BYTES = 100
    for path, body in ((TRIGGER, {"input": "x" * 99}), (BATCH, {"items": [{"input": "x" * 99}]})):
        answer = api.post(path, body)
        assert (answer.status, answer.code) == (413, "too-large")
        assert "100" in answer.json["detail"]
    assert not Run.objects.exists()


def test_a_large_input_is_taken_however_it_is_escaped(api: Caller, settings: Any) -> None:
    text = "ü" * 499_000  # json.dumps makes six bytes of each
    id = api.trigger("anything", text)
    assert api.run(id)["input"] == text


@pytest.mark.parametrize("limit", ["1e400", "-1e999"])
def test_numbers_that_json_has_no_form_for_are_refused(api: Caller, limit: str) -> None:
    for path, body in (
        (TRIGGER, '{"input": %s}'),
        ("/jobs/parcel/trigger", '{"input": {"name": "a", "lines": [%s]}}'),
    ):
        answer = api.send("POST", path, (body % limit).encode(), "application/json")
        assert (answer.status, answer.code) == (400, "invalid-input")


def test_very_many_mistakes_make_a_short_answer(api: Caller) -> None:
    body = {"input": {"name": "a", "lines": ["x"] * 5_000}}
    answer = api.post("/jobs/parcel/trigger", body)
    assert answer.status == 400
    assert len(answer.json["errors"]) == 100
    assert len(answer.text) < 20_000


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/nothing",
        "/runs/",
        "//runs",
        "/jobs/anything/",
        "/jobs/anything/trigger/",
        "/jobs/a/b/c",
        "/runs/{id}/nothing",
        "/runs/{id}/steps/",
        "/docs/",
        "/openapi.json/",
        "/%00",
        "/%ff",
        "/.well-known/x",
    ],
)
def test_an_address_that_there_is_not(api: Caller, run: str, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = api.client.generic(method, f"/api{path.format(id=run)}")
        assert answer.status_code == 404, method
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        if method != "HEAD":
            assert answer.json()["code"] == "not-found"


ALLOWED = {
    "/runs": "GET, HEAD, OPTIONS",
    "/runs/{id}": "DELETE, GET, HEAD, OPTIONS",
    "/runs/{id}/steps": "GET, HEAD, OPTIONS",
    "/runs/{id}/logs": "GET, HEAD, OPTIONS",
    "/runs/{id}/history": "GET, HEAD, OPTIONS",
    "/runs/{id}/retry": "OPTIONS, POST",
    "/runs/{id}/retrigger": "OPTIONS, POST",
    "/runs/{id}/cancel": "OPTIONS, POST",
    "/jobs": "GET, HEAD, OPTIONS",
    "/jobs/anything": "GET, HEAD, OPTIONS",
    TRIGGER: "OPTIONS, POST",
    BATCH: "OPTIONS, POST",
    "/jobs/anything/pause": "OPTIONS, POST",
    "/jobs/anything/resume": "OPTIONS, POST",
    "/openapi.json": "GET, HEAD, OPTIONS",
    "/docs": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("path", ALLOWED)
def test_a_method_that_an_address_does_not_take(api: Caller, run: str, path: str) -> None:
    allowed = ALLOWED[path].split(", ")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW"):
        if method not in allowed:
            answer = api.send(method, path.format(id=run))
            assert (answer.status, answer.code) == (405, "method-not-allowed"), method
            assert answer.headers["Allow"] == ALLOWED[path]
    asked = api.send("OPTIONS", path.format(id=run))
    assert (asked.status, asked.text, asked.headers["Allow"]) == (204, "", ALLOWED[path])
    if "HEAD" in allowed:
        wanted = api.client.get(f"/api{path.format(id=run)}")
        head = api.client.head(f"/api{path.format(id=run)}")
        assert (head.status_code, head.content) == (wanted.status_code, b"")
        assert head.headers["Content-Type"] == wanted.headers["Content-Type"]


@pytest.mark.parametrize(
    ("part", "query", "name"),
    [
        ("", "fields=id", "fields"),
        ("/steps", "after=1", "after"),
        ("/steps", "cursor=-1", "cursor"),
        ("/steps", "limit=1001", "limit"),
        ("/logs", "after=-1", "after"),
        ("/logs", f"after={2**63}", "after"),
        ("/logs", "after=x", "after"),
        ("/logs", "after=", "after"),
        ("/logs", "cursor=1", "cursor"),
        ("/history", "limit=0", "limit"),
        ("/history", "limit=1&limit=1", "limit"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(
    api: Caller, run: str, part: str, query: str, name: str
) -> None:
    answer = api.get(f"/runs/{run}{part}?{query}")
    assert (answer.status, list(answer.errors)) == (400, [name])


def test_posts_take_no_parameters(api: Caller, run: str) -> None:
    for path in POSTS:
        answer = api.post(
            f"{path.format(id=run)}?dry_run=1", {"items": []} if path == BATCH else {}
        )
        assert (answer.status, list(answer.errors)) == (400, ["dry_run"])
    assert api.delete(f"/runs/{run}?force=1").status == 400
    assert api.get("/jobs?x=1").status == 400


def test_too_many_parameters_are_refused(api: Caller) -> None:
    answer = api.get("/runs?" + "&".join("status=failed" for _ in range(1_001)))
    assert (answer.status, answer.code) == (400, "invalid-input")


def test_a_foreign_host_is_refused_in_json() -> None:
    client = Client(headers={"host": "evil.example"})
    for path in ("/api/runs", "/api/jobs/x/trigger", "/healthz"):
        answer = client.post(path)
        assert answer.status_code == 400
        assert answer.headers["Content-Type"] == CONTENT_TYPE
    assert "text/html" in client.get("/runs/").headers["Content-Type"]


def test_an_error_of_ours_is_a_problem_too(program: Callable[..., Caller]) -> None:
    api = program()
    api.client.raise_request_exception = False
    with mock.patch("runs.api.runs.load_page", side_effect=ZeroDivisionError("secret")):
        answer = api.client.get("/api/runs")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    assert answer.json()["code"] == "internal-error"
    assert b"secret" not in answer.content


def test_a_database_that_is_away_is_no_fault_of_the_caller(api: Caller) -> None:
    with mock.patch("runs.api.runs.load_page", side_effect=OperationalError("gone: at host x")):
        answer = api.get("/runs")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert "host" not in answer.text


def test_answers_are_kept_by_nobody(api: Caller, run: str) -> None:
    for path in ("/runs", f"/runs/{run}", "/jobs", f"/runs/{uuid.uuid4()}", "/nothing"):
        answer = api.get(path)
        assert answer.headers["Cache-Control"] == "no-store", path
        assert {"Cookie", "Authorization"} <= set(answer.headers["Vary"].split(", "))


def test_who_may_do_nothing_is_told_so_before_anything_else(
    program: Callable[..., Caller], run: str
) -> None:
    nobody = program(access.DELETE)
    for path in POSTS:
        assert nobody.post(path.format(id=run), least(path)).status == 403
