"""The list of runs, as the client asks for it."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.api.durably import arrays, listing
from runs.models import Run
from tests.durably_react.conftest import Caller, answer, error, ids
from tests.pages import factories

pytestmark = pytest.mark.django_db


def test_the_list_is_a_bare_array_newest_first(caller: Caller) -> None:
    runs = [factories.run(status) for status in ("completed", "running", "pending")]
    found = answer(caller.get("runs"))
    assert [run["id"] for run in found] == [str(run.pk) for run in reversed(runs)]
    assert all(set(run) == set(caller.run(run["id"])) for run in found)
    assert found[0]["input"] == {"n": 1}


def test_pages_as_the_client_asks_for_them(caller: Caller) -> None:
    runs = [str(factories.run().pk) for _ in range(7)]
    newest = runs[::-1]
    assert ids(caller.get("runs", limit=4, offset=0)) == newest[:4]  # a page of 3, and one more
    assert ids(caller.get("runs", limit=4, offset=3)) == newest[3:7]
    assert ids(caller.get("runs", limit=4, offset=6)) == newest[6:]
    assert ids(caller.get("runs", limit=4, offset=9)) == []
    assert ids(caller.get("runs", limit=0)) == []


def test_a_page_of_a_thousand_and_one_more(caller: Caller) -> None:
    assert ids(caller.get("runs", limit=1001)) == []
    assert "1,001" in error(caller.get("runs", limit=1002), 400)


def test_filters_are_or_within_and_and_between(caller: Caller) -> None:
    def run(status: str, job: str, **labels: str) -> str:
        return str(factories.run(status, job=job, labels=labels).pk)

    a = run("completed", "first", org="5", region="eu")
    b = run("failed", "first", org="5")
    c = run("running", "second", org="6")
    assert ids(caller.get("runs", status=["completed", "failed"])) == [b, a]
    assert ids(caller.get("runs", jobName=["first", "second"])) == [c, b, a]
    assert ids(caller.get("runs", jobName="first", status="failed")) == [b]
    assert ids(caller.get("runs", **{"label.org": "5"})) == [b, a]
    assert ids(caller.get("runs", **{"label.org": "5", "label.region": "eu"})) == [a]
    assert ids(caller.get("runs", **{"label.org": ["5", "6"]})) == []
    assert ids(caller.get("runs", jobName="")) == []
    assert ids(caller.get("runs", jobName="third")) == []


def test_a_label_key_may_hold_a_slash_and_dots(caller: Caller) -> None:
    run = factories.run(labels={"team/app.name": "x=y&z"})
    factories.run()
    response = caller.client.get("/api/durably/runs?label.team%2Fapp.name=x%3Dy%26z")
    assert ids(response) == [str(run.pk)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "query",
    [
        "status=running",
        "status=",
        "status=leased&status=nonsense",
        "limit=-1",
        "limit=2x",
        "limit=",
        "limit=1.5",
        "limit=%D9%A3",  # a digit, but no ASCII one
        "limit=1e9",
        "offset=-1",
        "offset=x",
        "offset=99999999999999999999",
        "label.=a",
        "label.a%20b=c",
        "label.a=%00",
        "jobName=%00",
        "&".join("jobName=a" for _ in range(101)),
        "&".join(f"n{number}=a" for number in range(1001)),
    ],
)
def test_a_query_that_makes_no_sense_is_a_400(caller: Caller, query: str) -> None:
    response = caller.client.get(f"/api/durably/runs?{query}")
    assert error(response, 400)  # type: ignore[arg-type]


def test_payloads_of_a_list_stop_where_it_grows_too_large(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "MAX_BYTES", 5_000)
    monkeypatch.setattr(arrays, "_PORTION", 2)
    for _ in range(9):
        factories.run(output="o" * 1_000)
    found = answer(caller.get("runs"))
    assert len(found) == 9
    assert [run["output"] is None for run in found] == [False] * 4 + [True] * 5
    assert [run["input"] is None for run in found] == [False] * 4 + [True] * 5
    run = factories.run()
    for number in range(9):
        factories.step(run, f"step-{number}", number, output="o" * 1_000)
    steps = answer(caller.get("steps", runId=run.pk))
    assert [step["index"] for step in steps] == list(range(9))
    assert [step["output"] is None for step in steps] == [False] * 6 + [True] * 3


def test_a_list_that_takes_too_long_says_so_instead_of_leaving_runs_out(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "BUDGET", 0)
    now = timezone.now()
    options = {"status": "completed", "created_at": now, "queued_at": now, "finished_at": now}
    jobs = ["old"] * 10 + ["new"] * 400
    Run.objects.bulk_create(Run(job=name, **options) for name in jobs)
    query = {"jobName": "old", "status": "completed", "limit": 10}
    assert "0 s" in error(caller.get("runs", **query), 503)
    assert len(ids(caller.get("runs", status="completed", limit=10))) == 10
    monkeypatch.setattr(listing, "BUDGET", 10)
    assert len(ids(caller.get("runs", **query))) == 10


def test_a_list_takes_few_queries(caller: Caller) -> None:
    for number in range(30):
        factories.run(labels={"n": str(number)})
    with CaptureQueriesContext(connection) as queries:
        answer(caller.get("runs", limit=11, offset=0))
    assert len(queries) <= 10
