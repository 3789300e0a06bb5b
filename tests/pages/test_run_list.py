"""The run list: filters, search, pages both ways, counts."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.http import QueryDict
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from runs import listing, scan
from runs.dashboard import tabs
from runs.filters import parse_filters
from runs.models import Run
from tests.pages import factories
from tests.pages.run_list import get, ids, link, shown

pytestmark = pytest.mark.django_db


def id_of(moment: datetime) -> uuid.UUID:
    """An id of that time, as a UUIDv7 has it."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80 | 7 << 76 | uuid.uuid4().int >> 66)


def test_runs_are_newest_first(operator: Client) -> None:
    old, new = factories.run(), factories.run()
    assert shown(get(operator)) == ids(new, old)


def test_filters_combine(operator: Client) -> None:
    labels = {"tenant": "acme", "env": "prod"}
    wanted = factories.failed_run(job="a", labels=labels)
    factories.run("completed", job="a", labels=labels)
    factories.failed_run(job="b", labels=labels)
    factories.failed_run(job="a", labels={"tenant": "acme"})
    query = "status=failed&status=cancelled&job=a&job=c&label=tenant:acme&label=env:prod"
    assert shown(get(operator, query)) == ids(wanted)


def test_a_label_value_may_contain_a_colon(operator: Client) -> None:
    run = factories.run(labels={"at": "10:30"})
    assert shown(get(operator, "label=at:10:30")) == ids(run)


def test_since_and_until_take_times_and_ages(operator: Client) -> None:
    now = timezone.now()
    before = now - timedelta(days=2)
    old = factories.run(created_at=before, id=id_of(before))
    new = factories.run(created_at=now)
    assert shown(get(operator, "since=24h")) == ids(new)
    assert shown(get(operator, "until=24h")) == ids(old)
    day = (now - timedelta(days=1)).strftime("%Y-%m-%d")
    assert shown(get(operator, f"until={day}")) == ids(old)


@pytest.mark.parametrize(
    "how", ["id", "head", "tail", "key", "lock", "label", "error", "type", "input", "output"]
)
def test_search_finds_a_run_by(operator: Client, how: str) -> None:
    run = factories.failed_run(
        idempotency_key="order-77",
        concurrency_key="till:9",
        labels={"tenant": "Umbrella"},
        input={"order": {"number": "A-4711", "note": 'a "quoted" ü'}},
        output=["parcel 99"],
    )
    factories.run()
    text = {
        "id": str(run.id),
        "head": str(run.id)[:20],
        "tail": str(run.id)[-6:],
        "key": "order-77",
        "lock": "till:9",
        "label": "umbrella",
        "error": "no fun",
        "type": "carderror",
        "input": 'a "quoted" ü',
        "output": "parcel 99",
    }[how]
    assert str(run.id) in shown(get(operator, f"q={text}"))


def test_a_search_says_how_far_it_looked_and_goes_on(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SEARCH_BUDGET", 0)
    monkeypatch.setattr(scan, "_FIRST", 5)
    monkeypatch.setattr(scan, "_LEAST", 0)
    wanted = factories.run(idempotency_key="needle")
    for _ in range(8):
        factories.run()
    page = get(operator, "q=needle")
    assert shown(page) == []
    assert "Searched 5 runs back to" in page
    assert "Search older" in page
    page = get(operator, link(page, "next"))
    assert shown(page) == ids(wanted)
    assert "Searched the last 4" in page
    assert not link(page, "next")
    monkeypatch.setattr(listing, "SEARCH_BUDGET", 5)
    page = get(operator, "q=needle")
    assert shown(page) == ids(wanted)
    assert "All 9 searched" in page


def test_a_whole_id_is_found_however_old(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SEARCH_BUDGET", 0)
    monkeypatch.setattr(scan, "_FIRST", 1)
    monkeypatch.setattr(scan, "_LEAST", 0)
    wanted = factories.run()
    for _ in range(3):
        factories.run()
    assert shown(get(operator, f"q={wanted.id}")) == ids(wanted)
    assert shown(get(operator, f"q={wanted.id}&status=failed")) == []


@pytest.mark.parametrize("first", [1, 3, 51])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "status=failed",
        "status=failed&status=completed&job=a",
        "job=b&label=k:1",
        "label=k:1&label=z:0&status=completed&status=failed",
        "q=needle&job=a",
        "since=1h&q=needle",
    ],
)
def test_slices_leave_nothing_out(
    operator: Client, monkeypatch: pytest.MonkeyPatch, query: str, first: int
) -> None:
    """Whatever the slices and the index, walking there and back shows what one query shows."""
    monkeypatch.setattr(scan, "_FIRST", first)
    monkeypatch.setattr(scan, "_LEAST", 0)
    monkeypatch.setattr(scan, "_SAMPLE", 2)
    monkeypatch.setattr(listing, "LIST_BUDGET", 0.0 if first == 3 else 5)
    monkeypatch.setattr(listing, "SEARCH_BUDGET", 5)
    monkeypatch.setattr(
        "runs.dashboard.runs.load_page", lambda f, **k: listing.load_page(f, 4, **k)
    )
    for number in range(24):
        factories.run(
            ("completed", "failed", "running")[number % 3],
            job="ab"[number % 2],
            labels={"k": str(number % 2), "z": str(number % 4)},
            input="needle" if number % 5 else "hay",
        )
    filters = parse_filters(QueryDict(query))
    wanted = ids(*filters.apply(Run.objects.all()).newest_first())
    found, turn = [], query
    for _ in range(40):
        page = get(operator, turn)
        found += shown(page)
        if not (turn := link(page, "next")):
            break
    assert found == wanted
    if listing.LIST_BUDGET == 0:
        return  # the way back ends on the newest page, which may show runs again
    back = shown(page)
    for _ in range(40):
        if not (turn := link(page, "prev")):
            break
        page = get(operator, turn)
        back = shown(page) + back
    assert back == wanted


@pytest.mark.parametrize(
    "query",
    [
        "status=bogus",
        "cursor=x",
        "cursor=older-zz",
        "label=nocolon",
        "since=someday",
        "until=99999999d",
        f"q={'x' * 201}",
        "q=%00",
        "label=a:%00",
    ],
)
def test_a_filter_that_makes_no_sense_is_named(operator: Client, query: str) -> None:
    factories.run()
    response = operator.get(f"/runs/?{query}")
    assert response.status_code == 400
    assert 'role="alert"' in response.content.decode()
    assert shown(response.content.decode()) == []


def test_pages_go_both_ways_without_gap_or_duplicate_while_runs_come_and_go(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "runs.dashboard.runs.load_page", lambda f, **k: listing.load_page(f, 3, **k)
    )
    runs = [factories.run() for _ in range(8)][::-1]
    first = get(operator)
    assert shown(first) == ids(*runs[:3])
    added = factories.run()
    runs[2].delete()
    second = get(operator, link(first, "next"))
    assert shown(second) == ids(*runs[3:6])
    third = get(operator, link(second, "next"))
    assert shown(third) == ids(*runs[6:])
    assert not link(third, "next")
    assert shown(get(operator, link(third, "prev"))) == ids(*runs[3:6])
    back = get(operator, link(second, "prev"))
    assert shown(back) == ids(added, *runs[:2])
    assert not link(back, "prev")


def test_a_page_keeps_its_filters_when_it_is_turned(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "runs.dashboard.runs.load_page", lambda f, **k: listing.load_page(f, 1, **k)
    )
    for _ in range(2):
        factories.run(job="a", labels={"k": "v w"})
    query = link(get(operator, "job=a&label=k:v+w&since=2h"), "next")
    assert query.startswith("job=a&label=k%3Av+w&since=2h&cursor=older-")


def test_counts_stop(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabs, "MAX_COUNT", 3)
    for _ in range(5):
        factories.run()
    assert "All<span></span>" in get(operator)
    counts = operator.get("/runs/counts/").content.decode()
    assert "All<span>3+</span>" in counts
    assert "Failed<span>0</span>" in counts


@pytest.mark.parametrize("budget", [0, 5])
def test_counts_are_those_of_the_filters_and_say_if_they_are_not_all(
    operator: Client, monkeypatch: pytest.MonkeyPatch, budget: float
) -> None:
    monkeypatch.setattr(tabs, "COUNT_BUDGET", budget)
    monkeypatch.setattr(scan, "_FIRST", 4)
    monkeypatch.setattr(scan, "_LEAST", 0)
    for number in range(6):
        factories.run(("completed", "failed")[number % 2], job="a")
        factories.run(job="b")
    counts = operator.get("/runs/counts/?job=a&status=failed").content.decode()
    assert f"All<span>{'6' if budget else '4+'}</span>" in counts
    assert f"Failed<span>{'3' if budget else '2+'}</span>" in counts
    assert 'status=failed&amp;job=a" aria-current="true"' in counts


def test_the_number_of_queries_does_not_grow_with_the_rows(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(10):
        factories.run("pending", concurrency_key=str(uuid.uuid4()), labels={"a": "b"})
        factories.event(factories.run("cancelled"), "cancelled")
        factories.failed_run()
    with django_assert_max_num_queries(18) as captured:
        get(operator)
    assert not any('"output"' in query["sql"] for query in captured.captured_queries)


def test_rows_say_what_is_going_on(operator: Client) -> None:
    holder = factories.run("running", held_key="k", concurrency_key="k", current_step="load")
    factories.run("pending", concurrency_key="k")
    factories.run("pending", job="lonely")
    factories.event(factories.run("cancelled"), "cancelled", actor="jo", reason="wrong month")
    factories.failed_run(attempt=3)
    page = get(operator)
    assert "key k held by" in page
    assert f"…{str(holder.id)[-4:]}" in page
    assert "no worker has ever reported" in page
    assert "by jo: wrong month" in page
    assert "CardError: no funds" in page
    assert "attempt 3" in page
    factories.worker("example")
    assert "waits for a worker that knows this job" in get(operator)


def test_whatever_a_run_holds_is_escaped(operator: Client) -> None:
    evil = "<script>alert(1)</script>"
    factories.failed_run(error_message=evil, labels={"k": evil}, concurrency_key=evil)
    factories.run("running", current_step=evil, progress={"message": evil, "current": evil})
    assert "<script>alert" not in get(operator)


@pytest.mark.parametrize(
    "progress",
    [
        {"current": "three", "total": "ten", "message": 5, "unstorable": True},
        {"current": 1e308, "total": 0},
        {"current": -1, "total": 3},
        {"current": True, "total": None, "message": None},
        {"current": 10**400, "total": 1},
        {"current": [1], "total": {"a": 1}},
        ["odd"],
        "odd",
        {},
    ],
)
def test_odd_progress_breaks_nothing(operator: Client, progress: Any) -> None:
    run = factories.run("running", progress=progress)
    assert shown(get(operator)) == ids(run)
    assert operator.get(f"/runs/{run.id}/").status_code == 200
