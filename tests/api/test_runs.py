"""Reading one run over HTTP, and what is done to it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs import access, testing
from runs.api import paging
from runs.models import Run, RunEvent
from tests.api.callers import Answer, Caller
from tests.pages import factories


@pytest.fixture
def failed(api: Caller) -> str:
    """A run that failed after two steps."""
    id = api.trigger("parcel", {"name": "lost"}, labels={"customer": "c1"})
    testing.drain()
    return id


def test_a_run_tells_everything(api: Caller, failed: str) -> None:
    found = api.run(failed)
    assert found["status"] == "failed"
    assert found["error"]["type"] == "LookupError"
    assert found["error"]["message"] == "There is no such address"
    assert found["error"]["step"] == "send"
    assert "Traceback" in found["error"]["traceback"]
    assert found["progress"] == {"current": 0, "total": 2, "message": None}
    assert (found["step_count"], found["attempt"], found["output"]) == (2, 1, None)
    assert found["duration_ms"] >= 0


def test_its_steps_are_in_order_with_their_results(api: Caller, failed: str) -> None:
    steps = api.get(f"/runs/{failed}/steps").json
    told = [(each["name"], each["index"], each["status"]) for each in steps["items"]]
    assert told == [
        ("pack-0", 0, "completed"),
        ("pack-1", 1, "completed"),
        ("send", None, "failed"),
    ]
    assert [each["output"] for each in steps["items"]] == [0, 1, None]
    assert steps["items"][2]["error"]["message"] == "There is no such address"
    assert steps["next_cursor"] is None


def test_steps_log_and_history_come_in_pages(api: Caller) -> None:
    run = factories.run()
    for number in range(7):
        factories.step(run, f"s{number}", number)
        factories.log(run, f"line {number}")
        factories.event(run, "retried", reason=str(number))
    for part, given, asked, field in (
        ("steps", "next_cursor", "cursor", "name"),
        ("logs", "next_after", "after", "message"),
        ("history", "next_after", "after", "reason"),
    ):
        found, turn, pages = [], "", 0
        while True:
            answer = api.get(f"/runs/{run.pk}/{part}?limit=3{turn}").json
            found += [each[field][-1] for each in answer["items"]]
            pages += 1
            if answer[given] is None:
                break
            turn = f"&{asked}={answer[given]}"
        assert (found, pages) == ([*"0123456"], 3), part


def test_the_log_goes_on_after_a_line(api: Caller, failed: str) -> None:
    run = Run.objects.get(pk=failed)
    first = api.get(f"/runs/{failed}/logs").json
    assert [(each["message"], each["data"]) for each in first["items"]] == [
        ("Packed", {"count": 2})
    ]
    last = first["items"][-1]["id"]
    assert api.get(f"/runs/{failed}/logs?after={last}").json["items"] == []
    factories.log(run, "late", level="warn", step="send", data=[1])
    [late] = api.get(f"/runs/{failed}/logs?after={last}").json["items"]
    assert (late["message"], late["level"], late["step"], late["data"]) == (
        "late",
        "warn",
        "send",
        [1],
    )


def test_large_results_make_small_pages(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGE", 1_000)
    run = factories.run()
    for number, size in enumerate((400, 400, 5_000, 10)):
        factories.step(run, f"s{number}", number, output="x" * size)
    pages, turn = [], ""
    while True:
        answer = api.get(f"/runs/{run.pk}/steps?{turn}").json
        pages.append([each["name"] for each in answer["items"]])
        if answer["next_cursor"] is None:
            break
        turn = f"cursor={answer['next_cursor']}"
    assert pages == [["s0", "s1"], ["s2"], ["s3"]]


def test_history_says_who_did_what(api: Caller, failed: str) -> None:
    api.post(f"/runs/{failed}/retry", {"reason": "found it"})
    events = api.get(f"/runs/{failed}/history").json["items"]
    assert [each["kind"] for each in events] == ["triggered", "started", "failed", "retried"]
    assert events[-1]["reason"] == "found it"
    assert events[-1]["actor"] == events[0]["actor"]
    assert events[0]["actor"].startswith("token:")


def test_retry_makes_a_failed_run_pending_again(api: Caller, failed: str) -> None:
    answer = api.post(f"/runs/{failed}/retry")
    assert answer.status == 200
    found = answer.json
    assert (found["id"], found["status"], found["attempt"]) == (failed, "pending", 2)
    assert (found["error"], found["finished_at"]) == (None, None)
    again = api.post(f"/runs/{failed}/retry")
    assert (again.status, again.code) == (409, "conflict")


def test_retrigger_makes_a_new_run(api: Caller, failed: str) -> None:
    answer = api.post(f"/runs/{failed}/retrigger", {"reason": "once more"})
    assert answer.status == 201
    found = answer.json
    assert found["id"] != failed
    assert (found["source_id"], found["status"], found["attempt"]) == (failed, "pending", 1)
    assert found["labels"] == {"customer": "c1"}
    assert answer.headers["Location"].endswith(f"/api/runs/{found['id']}")


def test_cancel_and_delete(api: Caller) -> None:
    id = api.trigger()
    assert api.delete(f"/runs/{id}").status == 409
    assert api.post(f"/runs/{id}/cancel", {}).json["status"] == "cancelled"
    assert api.post(f"/runs/{id}/cancel").status == 409
    gone = api.delete(f"/runs/{id}")
    assert (gone.status, gone.text) == (204, "")
    assert api.get(f"/runs/{id}").status == 404
    assert api.delete(f"/runs/{id}").status == 404


def test_a_run_whose_input_no_longer_fits_is_not_retried(api: Caller) -> None:
    run = factories.failed_run(job="parcel", input={"name": ""})
    for operation in ("retry", "retrigger"):
        answer = api.post(f"/runs/{run.pk}/{operation}")
        assert (answer.status, answer.code) == (400, "invalid-input")
        assert list(answer.errors) == ["input.name"]


@pytest.mark.parametrize("id", [str(uuid.UUID(int=7)), "7", "x" * 500, "%00", "..", "%F0%9F%98%80"])
def test_a_run_that_is_not_there_is_not_found(api: Caller, id: str) -> None:
    for part in ("", "/steps", "/logs", "/history"):
        answer = api.get(f"/runs/{id}{part}")
        assert (answer.status, answer.code) == (404, "not-found")


# Conditional requests


def test_a_run_that_has_not_changed_is_not_sent_again(api: Caller, failed: str) -> None:
    tag = api.get(f"/runs/{failed}").headers["ETag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = api.get(f"/runs/{failed}", if_none_match=given)
        assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", tag)
        assert "Content-Type" not in answer.headers
    for given in ('"other"', "nonsense", ""):
        assert api.get(f"/runs/{failed}", if_none_match=given).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"progress": {"current": 1, "total": 2, "message": None}},
        {"current_step": "send"},
        {"status": "cancelled"},
        {"seq": 99},
        {"step_count": 9},
    ],
)
def test_whatever_changes_gives_another_tag(
    api: Caller, failed: str, change: dict[str, Any]
) -> None:
    tag = api.get(f"/runs/{failed}").headers["ETag"]
    Run.objects.filter(pk=failed).update(**change)
    answer = api.get(f"/runs/{failed}", if_none_match=tag)
    assert answer.status == 200
    assert answer.headers["ETag"] != tag


def test_every_change_by_the_engine_gives_another_tag(api: Caller) -> None:
    id = api.trigger("parcel", {"name": "lost"})
    tags = [api.get(f"/runs/{id}").headers["ETag"]]
    for change in (
        testing.drain,
        lambda: api.post(f"/runs/{id}/retry"),
        lambda: api.post(f"/runs/{id}/cancel"),
        lambda: api.post(f"/runs/{id}/retrigger"),
    ):
        change()
        tags.append(api.get(f"/runs/{id}").headers["ETag"])
    assert len(set(tags)) == len(tags)


def test_an_unchanged_run_is_told_without_its_payloads(api: Caller, failed: str) -> None:
    tag = api.get(f"/runs/{failed}").headers["ETag"]
    with CaptureQueriesContext(connection) as captured:
        assert api.get(f"/runs/{failed}", if_none_match=tag).status == 304
    asked = [each["sql"] for each in captured if 'FROM "runs_run"' in each["sql"]]
    assert len(asked) == 1
    assert '"output"' not in asked[0]


@pytest.mark.parametrize("operation", ["retry", "retrigger", "delete"])
def test_only_the_version_that_was_seen_is_acted_on(
    api: Caller, failed: str, operation: str
) -> None:
    def act(tag: str) -> Answer:
        if operation == "delete":
            return api.delete(f"/runs/{failed}", if_match=tag)
        return api.post(f"/runs/{failed}/{operation}", if_match=tag)

    tag = api.get(f"/runs/{failed}").headers["ETag"]
    Run.objects.filter(pk=failed).update(current_step="other")
    answer = act(tag)
    assert (answer.status, answer.code) == (412, "precondition-failed")
    assert Run.objects.get().status == "failed"
    assert act(api.get(f"/runs/{failed}").headers["ETag"]).status < 300


# Who may what


@pytest.mark.parametrize("operation", ["retry", "retrigger"])
def test_who_may_operate_but_not_see_is_told_little(
    program: Callable[..., Caller], failed: str, operation: str
) -> None:
    answer = program(access.OPERATE).post(f"/runs/{failed}/{operation}")
    assert answer.status < 300
    assert answer.json.keys() == {"id", "job", "status", "attempt", "created_at"}


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("GET ", access.VIEW),
        ("GET /steps", access.VIEW),
        ("GET /logs", access.VIEW),
        ("GET /history", access.VIEW),
        ("POST /retry", access.OPERATE),
        ("POST /retrigger", access.OPERATE),
        ("POST /cancel", access.OPERATE),
        ("DELETE ", access.DELETE),
    ],
)
def test_each_needs_its_permission(
    program: Callable[..., Caller], failed: str, path: str, permission: str
) -> None:
    method, _, part = path.partition(" ")
    events = RunEvent.objects.count()
    others = program(*(each for each in access.ALL if each != permission))
    for id in (failed, str(uuid.uuid4())):
        answer = others.send(method, f"/runs/{id}{part}")
        assert (answer.status, answer.code) == (403, "forbidden")
    assert RunEvent.objects.count() == events
    assert program(permission).send(method, f"/runs/{failed}{part}").status != 403


def test_a_run_that_the_policy_hides_is_not_found(
    program: Callable[..., Caller], settings: Any
) -> None:
    settings.ACCESS_POLICY = "tests.access.people.OwnRuns"
    mine, other = program(), program()
    id = mine.trigger("parcel", {"name": "lost"}, idempotency_key="k")
    testing.drain()
    for method, part in (
        *(("GET", part) for part in ("", "/steps", "/logs", "/history")),
        *(("POST", f"/{part}") for part in ("retry", "retrigger", "cancel")),
        ("DELETE", ""),
    ):
        hidden = other.send(method, f"/runs/{id}{part}")
        assert (hidden.status, hidden.code) == (404, "not-found")
        missing = other.send(method, f"/runs/{uuid.UUID(int=0)}{part}")
        assert hidden.json["detail"].replace(id, "") == missing.json["detail"].replace(
            str(uuid.UUID(int=0)), ""
        )
    taken = other.post("/jobs/parcel/trigger", {"input": {"name": "a"}, "idempotency_key": "k"})
    assert taken.status == 409
    assert id not in taken.text
    refused = mine.delete(f"/runs/{id}")  # shown, but not to be deleted by this policy
    assert (refused.status, refused.code) == (403, "forbidden")
    assert mine.get(f"/runs/{id}").status == 200
