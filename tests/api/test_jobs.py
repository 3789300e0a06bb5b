"""Jobs over HTTP: their schemas and numbers, pausing and resuming them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from runs import access, testing
from runs.engine import jobsync, statistics
from runs.models import DeniedAttempt, Job, RunEvent
from tests.api.callers import Caller
from tests.pages import factories


def test_jobs_are_listed_with_their_schemas(api: Caller) -> None:
    found = {each["name"]: each for each in api.get("/jobs").json["items"]}
    assert {"parcel", "anything", "process-order"} <= found.keys()
    parcel = found["parcel"]
    assert (parcel["title"], parcel["description"]) == ("Parcel", "Send a parcel.")
    assert (parcel["tags"], parcel["registered"], parcel["paused_at"]) == (["mail"], True, None)
    assert parcel["input_schema"]["properties"].keys() == {"name", "count", "lines"}
    assert parcel["output_schema"] == {"type": "string"}
    assert parcel["source"].startswith("tests/api/conftest.py:")
    assert parcel == api.get("/jobs/parcel").json


def test_a_job_tells_how_it_does(api: Caller) -> None:
    for name in ("book", "pen", "lost"):
        api.trigger("parcel", {"name": name})
    testing.drain()
    api.trigger("parcel", {"name": "late"})
    RunEvent.objects.update(created_at=F("created_at") - timedelta(hours=2))
    statistics.advance()  # it counts minutes that are over
    found = api.get("/jobs/parcel").json["statistics"]
    assert (found["completed"], found["failed"]) == (2, 1)
    assert found["success_rate"] == pytest.approx(2 / 3)
    assert (found["ended_last_day"], found["running"], found["pending"]) == (3, 0, 1)
    assert found["duration_ms_p95"] >= found["duration_ms_median"] >= 0
    assert found["start_delay_ms_p95"] >= 0


def test_a_job_that_has_done_nothing_has_no_rate(api: Caller) -> None:
    found = api.get("/jobs/anything").json["statistics"]
    assert (found["completed"], found["success_rate"], found["duration_ms_median"]) == (
        0,
        None,
        None,
    )


def test_a_job_that_is_gone_from_the_code_is_still_known(api: Caller) -> None:
    factories.run(job="long-gone")
    found = api.get("/jobs/long-gone").json
    assert (found["name"], found["registered"], found["input_schema"]) == ("long-gone", False, None)


@pytest.mark.parametrize("name", ["no-such-job", "a%00b", "x" * 300, "%F0%9F%98%80", ".."])
def test_a_job_that_there_is_not(api: Caller, name: str) -> None:
    for answer in (api.get(f"/jobs/{name}"), api.post(f"/jobs/{name}/pause")):
        assert (answer.status, answer.code) == (404, "not-found")


def test_a_paused_job_is_not_started_until_it_is_resumed(api: Caller) -> None:
    api.trigger("parcel", {"name": "book"})
    paused = api.post("/jobs/parcel/pause", {"reason": "strike"})
    assert paused.status == 200
    assert (paused.json["pause_reason"], paused.json["paused_at"] is None) == ("strike", False)
    assert paused.json["paused_by"].startswith("token:")
    assert testing.drain() == []
    again = api.post("/jobs/parcel/pause")
    assert (again.status, again.code) == (409, "conflict")
    resumed = api.post("/jobs/parcel/resume")
    assert (resumed.status, resumed.json["paused_at"]) == (200, None)
    assert len(testing.drain()) == 1
    assert api.post("/jobs/parcel/resume", {}).status == 409
    assert api.post("/jobs/parcel/resume", {"reason": "over"}).errors.keys() == {"reason"}


def test_pausing_needs_its_permission(program: Callable[..., Caller]) -> None:
    others = program(access.VIEW, access.TRIGGER, access.DELETE)
    for operation in ("pause", "resume"):
        answer = others.post(f"/jobs/parcel/{operation}")
        assert (answer.status, answer.code) == (403, "forbidden")


def test_who_may_pause_but_not_see_is_told_no_numbers(program: Callable[..., Caller]) -> None:
    answer = program(access.OPERATE).post("/jobs/parcel/pause")
    assert (answer.status, answer.json["statistics"]) == (200, None)


def test_jobs_are_for_those_who_may_see_runs(program: Callable[..., Caller]) -> None:
    others = program(access.TRIGGER)
    for path in ("/jobs", "/jobs/parcel", "/jobs/no-such-job"):
        assert others.get(path).status == 403


def test_who_may_see_some_runs_sees_no_numbers_of_all(
    program: Callable[..., Caller], settings: Any
) -> None:
    settings.ACCESS_POLICY = "tests.access.people.OwnRuns"
    some = program()
    assert some.get("/jobs/parcel").json["statistics"] is None
    assert all(each["statistics"] is None for each in some.get("/jobs").json["items"])
    jobsync.sync_jobs()
    answer = some.post("/jobs/parcel/pause")
    assert (answer.status, answer.code) == (403, "forbidden")
    assert Job.objects.get(pk="parcel").paused_at is None
    assert DeniedAttempt.objects.get().target == "parcel"


def test_more_runs_need_no_more_queries(api: Caller) -> None:
    counts = []
    for _ in range(2):
        for name in ("parcel", "anything", "gone"):
            for status in ("completed", "pending", "running"):
                factories.run(status, job=name)
        with CaptureQueriesContext(connection) as captured:
            api.get("/jobs")
        counts.append(len(captured))
    assert counts[1] <= counts[0] <= 13
