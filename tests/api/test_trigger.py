"""Triggering runs over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from runs import access, testing
from runs.models import Run
from tests.api.callers import Caller

TRIGGER = "/jobs/parcel/trigger"
BATCH = "/jobs/parcel/trigger-batch"


def test_a_trigger_makes_a_run_and_says_where_it_is(api: Caller) -> None:
    body = {"input": {"name": "book"}, "labels": {"customer": "c1"}, "priority": 5}
    answer = api.post(TRIGGER, body)
    assert answer.status == 201
    found = answer.json
    assert found["disposition"] == "created"
    assert (found["status"], found["job"], found["priority"]) == ("pending", "parcel", 5)
    assert found["input"] == {"name": "book", "count": 2, "lines": []}
    assert found["labels"] == {"customer": "c1"}
    assert found["triggered_by"].startswith("token:program-")
    assert answer.headers["Location"] == f"http://localhost/api/runs/{found['id']}"
    assert api.run(found["id"]) == {k: v for k, v in found.items() if k != "disposition"}


def test_an_idempotency_key_stands_for_one_run(api: Caller) -> None:
    first = api.post(TRIGGER, {"input": {"name": "book"}, "idempotency_key": "k"})
    again = api.post(TRIGGER, {"input": {"name": "pen"}, "idempotency_key": "k"})
    assert (first.status, again.status) == (201, 200)
    assert again.json["disposition"] == "idempotent"
    assert again.json["id"] == first.json["id"]
    assert "Location" not in again.headers


def test_the_header_is_the_same_as_the_field(api: Caller) -> None:
    body = {"input": {"name": "book"}}
    first = api.post(TRIGGER, body, idempotency_key="k")
    assert first.json["idempotency_key"] == "k"
    both = api.post(TRIGGER, body | {"idempotency_key": "k"}, idempotency_key="k")
    assert (both.status, both.json["id"]) == (200, first.json["id"])
    differ = api.post(TRIGGER, body | {"idempotency_key": "other"}, idempotency_key="k")
    assert (differ.status, differ.code) == (400, "invalid-input")
    assert "idempotency_key" in differ.errors
    assert Run.objects.count() == 1


def test_a_concurrency_key_has_one_pending_run(api: Caller) -> None:
    body = {"input": {"name": "book"}, "concurrency_key": "till:9"}
    first = api.post(TRIGGER, body)
    refused = api.post(TRIGGER, body)
    assert (refused.status, refused.code) == (409, "conflict")
    skipped = api.post(TRIGGER, body | {"coalesce": "skip"})
    assert (skipped.status, skipped.json["disposition"]) == (200, "coalesced")
    assert skipped.json["id"] == first.json["id"]


def test_a_run_can_be_put_off(api: Caller) -> None:
    at = timezone.now() + timedelta(hours=1)
    found = api.post(TRIGGER, {"input": {"name": "book"}, "run_at": at.isoformat()}).json
    assert datetime.fromisoformat(found["run_at"]) == at
    assert testing.drain() == []


@pytest.mark.parametrize("body", [None, {}, {"input": None}, {"labels": None, "run_at": None}])
def test_what_is_left_out_is_as_in_python(api: Caller, body: Any) -> None:
    found = api.post("/jobs/anything/trigger", body).json
    assert (found["input"], found["labels"], found["priority"]) == (None, {}, 0)


@pytest.mark.parametrize(
    "input", [0, False, "", [], {}, "\x00", "ü😀", 2**70, 1e300, -0.5, {"a": {"b": [None, {}]}}]
)
def test_any_json_comes_back_as_it_was_sent(api: Caller, input: Any) -> None:
    id = api.trigger("anything", input)
    testing.drain()
    found = api.run(id)
    assert (found["input"], found["output"]) == (input, input)


def test_a_deep_input_comes_back(api: Caller) -> None:
    deep: Any = 1
    for _ in range(190):
        deep = [deep]
    id = api.trigger("anything", deep)
    assert api.run(id)["input"] == deep
    assert api.get("/runs").json["items"][0]["input"] == deep


def test_an_input_that_does_not_fit_names_its_fields(api: Caller) -> None:
    answer = api.post(TRIGGER, {"input": {"name": "", "count": 0, "lines": [1, "x"]}})
    assert (answer.status, answer.code) == (400, "invalid-input")
    assert answer.errors.keys() == {"input.name", "input.count", "input.lines[1]"}
    assert "parcel" in answer.json["detail"]
    assert api.post(TRIGGER).errors.keys() == {"input"}
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"imput": 1}, "imput"),
        ({"labels": {"a b": "x"}}, "labels.a b"),
        ({"labels": {"": "x"}}, "labels."),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"labels": {"a": "x" * 256}}, "labels.a"),
        ({"labels": {"a": "\x00"}}, "labels.a"),
        ({"labels": {str(n): "" for n in range(51)}}, "labels"),
        ({"labels": []}, "labels"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "x" * 256}, "idempotency_key"),
        ({"concurrency_key": "a\x00b"}, "concurrency_key"),
        ({"concurrency_key": 7}, "concurrency_key"),
        ({"coalesce": "merge", "concurrency_key": "k"}, "coalesce"),
        ({"priority": 32768}, "priority"),
        ({"priority": 10**400}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"run_at": "2026-11-22T14:30:00"}, "run_at"),
        ({"run_at": 1_800_000_000}, "run_at"),
        ({"run_at": "soon"}, "run_at"),
        ({"run_at": "9999-12-31T23:59:59-10:00"}, "run_at"),
        ({"run_at": "0001-01-01T00:00:00+10:00"}, "run_at"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(api: Caller, body: Any, path: str) -> None:
    answer = api.post("/jobs/anything/trigger", body)
    assert (answer.status, answer.code) == (400, "invalid-input")
    assert list(answer.errors) == [path]
    batch = api.post("/jobs/anything/trigger-batch", {"items": [{}, body]})
    assert list(batch.errors) == [f"items[1].{path}"]
    assert not Run.objects.exists()


def test_coalescing_needs_a_key(api: Caller) -> None:
    answer = api.post("/jobs/anything/trigger", {"coalesce": "skip"})
    assert (answer.status, answer.code) == (400, "invalid-input")
    assert "concurrency_key" in answer.json["detail"]


@pytest.mark.parametrize("key", ["", "ü", "a b", "x" * 256])
def test_a_header_that_is_no_key_is_refused(api: Caller, key: str) -> None:
    answer = api.post("/jobs/anything/trigger", {}, idempotency_key=key)
    assert (answer.status, list(answer.errors)) == (400, ["Idempotency-Key"])


def test_a_batch_is_answered_in_order(api: Caller) -> None:
    taken = api.post(TRIGGER, {"input": {"name": "old"}, "idempotency_key": "k"}).json["id"]
    items: list[Any] = [{"input": {"name": name}, "labels": {"n": name}} for name in "ab"]
    items.insert(1, {"input": {"name": "x"}, "idempotency_key": "k"})
    answer = api.post(BATCH, {"items": items})
    assert answer.status == 201
    assert [each["disposition"] for each in answer.json["items"]] == [
        "created",
        "idempotent",
        "created",
    ]
    assert [each["input"]["name"] for each in answer.json["items"]] == ["a", "old", "b"]
    assert answer.ids[1] == taken
    assert api.post(BATCH, {"items": []}).json == {"items": []}


def test_a_batch_with_one_wrong_item_stores_none(api: Caller) -> None:
    items = [{"input": {"name": "a"}}, {"input": {"name": ""}}, {"input": 7}]
    answer = api.post(BATCH, {"items": items})
    assert (answer.status, answer.code) == (400, "invalid-input")
    assert answer.errors.keys() == {"items[1].input.name", "items[2].input"}
    pair = [{"input": {"name": "a"}, "concurrency_key": "k"}] * 2
    assert api.post(BATCH, {"items": pair}).status == 409
    too_many = api.post(BATCH, {"items": [{"input": {"name": "a"}}] * 1001})
    assert (too_many.status, list(too_many.errors)) == (400, ["items"])
    assert not Run.objects.exists()


def test_a_batch_has_no_key_of_its_own(api: Caller) -> None:
    assert api.post(BATCH, {"items": []}, idempotency_key="k").status == 400


@pytest.mark.parametrize("path", [TRIGGER, BATCH, "/jobs/no-such-job/trigger"])
def test_triggering_needs_its_permission(program: Callable[..., Caller], path: str) -> None:
    other = program(access.VIEW, access.OPERATE, access.DELETE)
    answer = other.post(path, {"items": []} if path == BATCH else {})
    assert (answer.status, answer.code) == (403, "forbidden")
    assert "process-order" not in answer.text  # nor does it say which jobs there are


def test_who_may_not_see_runs_is_told_little(program: Callable[..., Caller]) -> None:
    blind = program(access.TRIGGER)
    little = {"id", "job", "status", "attempt", "created_at", "disposition"}
    body = {"input": {"name": "book"}, "idempotency_key": "k"}
    first = blind.post(TRIGGER, body)
    assert (first.status, first.json.keys()) == (201, little)
    assert blind.post(TRIGGER, body).json == first.json | {"disposition": "idempotent"}
    [item] = blind.post(BATCH, {"items": [body]}).json["items"]
    assert item.keys() == little
    assert blind.get(f"/runs/{item['id']}").status == 403


def test_a_job_that_is_not_there_is_not_found(api: Caller) -> None:
    for name in ("no-such-job", "a%00b", "%F0%9F%98%80", "x" * 300):
        answer = api.post(f"/jobs/{name}/trigger", {})
        assert (answer.status, answer.code) == (404, "not-found")
    assert api.post("/jobs/no-such-job/trigger-batch", {"items": []}).status == 404
