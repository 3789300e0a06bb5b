"""The list of runs over HTTP: filters, and pages that neither repeat nor leave out a run."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import chain
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from runs import access, listing, scan
from runs.api import paging
from runs.filters import parse_filters
from runs.models import Run
from tests.api.callers import Caller
from tests.pages import factories


def pages(api: Caller, query: str = "") -> list[list[str]]:
    """The ids of each page, to the end."""
    found, turn = [], ""
    while True:
        answer = api.get(f"/runs?{query}{turn}")
        assert answer.status == 200, answer
        found.append(answer.ids)
        cursor = answer.json["next_cursor"]
        if cursor is None:
            return found
        turn = f"&cursor={cursor}"


def ids(*runs: Run) -> list[str]:
    return [str(run.pk) for run in runs]


def test_runs_come_newest_first_and_whole(api: Caller) -> None:
    runs = [factories.run(), factories.failed_run(), factories.run("pending", input={"n": 7})]
    answer = api.get("/runs")
    assert answer.ids == ids(*reversed(runs))
    assert answer.json["next_cursor"] is None
    assert answer.json["items"] == [api.run(id) for id in answer.ids]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "status=failed",
        "status=failed&status=completed&job=a",
        "job=a&job=b",
        "label=k:1",
        "label=k:1&label=z:1",
        "label=k:",
        "q=needle&status=running",
        "since=1h",
        "until=1h",
        "since=2026-01-01T00:00:00Z",
        "until=2099-01-01&q=",
        "job=no-such-job",
    ],
)
@pytest.mark.parametrize("limit", [1, 4, 200])
def test_a_filter_leaves_what_it_says(
    api: Caller, query: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LIST_BUDGET", 5)
    monkeypatch.setattr(listing, "SEARCH_BUDGET", 5)
    for number in range(12):
        factories.run(
            ("completed", "failed", "running")[number % 3],
            job="ab"[number % 2],
            labels={"k": str(number % 2), "z": str(number % 4)},
            input="needle" if number % 5 else "hay",
        )
    wanted = ids(*parse_filters(QueryDict(query)).apply(Run.objects.all()).newest_first())
    found = pages(api, f"{query}&limit={limit}")
    assert list(chain(*found)) == wanted
    assert all(len(page) == limit for page in found[:-1])


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("status=bogus", "status[0]"),
        ("status=failed&status=", "status[1]"),
        ("state=failed", "state"),
        ("Status=failed", "Status"),
        ("job=", "job[0]"),
        (f"job={'x' * 201}", "job[0]"),
        ("job=a%00b", "job"),
        ("label=nocolon", "label"),
        ("label=", "label[0]"),
        ("label=%00:1", "label"),
        (f"q={'x' * 201}", "q"),
        ("q=%00", "q"),
        ("since=someday", "since"),
        ("since=", "since"),
        ("until=99999999d", "until"),
        ("until=2026-13-01", "until"),
        ("failure=x", "failure"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=older-" + "z" * 36, "cursor"),
        ("cursor=older-%00" + "z" * 35, "cursor"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.5", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("q=a&q=b", "q"),
        ("x=1", "x"),
    ],
)
def test_a_filter_that_makes_no_sense_is_named(api: Caller, query: str, name: str) -> None:
    answer = api.get(f"/runs?{query}")
    assert (answer.status, answer.code) == (400, "invalid-input")
    assert list(answer.errors) == [name]


@pytest.mark.parametrize("time", ["9999-12-31", "0001-01-01", "9999-12-31T23:59:59-12:00"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_the_ends_of_time_are_times(api: Caller, name: str, time: str) -> None:
    factories.run()
    assert api.get(f"/runs?{urlencode({name: time})}").status in (200, 400)


def test_a_list_needs_the_permission_to_see_runs(program: Callable[..., Caller]) -> None:
    others = program(access.TRIGGER, access.OPERATE, access.DELETE)
    answer = others.get("/runs")
    assert (answer.status, answer.code) == (403, "forbidden")


def test_the_policy_narrows_the_list(program: Callable[..., Caller], settings: Any) -> None:
    settings.ACCESS_POLICY = "tests.access.people.OwnRuns"
    mine, other = program(), program()
    own = [mine.trigger() for _ in range(3)]
    theirs = [other.trigger() for _ in range(3)]
    assert list(chain(*pages(mine, "limit=2"))) == own[::-1]
    assert list(chain(*pages(other, "limit=2&status=pending"))) == theirs[::-1]
    assert pages(mine, f"q={theirs[0]}") == [[]]


def test_a_search_that_took_its_time_goes_on(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SEARCH_BUDGET", 0)
    monkeypatch.setattr(scan, "_FIRST", 3)
    monkeypatch.setattr(scan, "_LEAST", 0)
    wanted = factories.run(idempotency_key="needle")
    for _ in range(8):
        factories.run()
    assert pages(api, "q=needle") == [[], [], ids(wanted), []]


def test_large_payloads_make_small_pages(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGE", 1_000)
    runs = [factories.run(input="x" * size) for size in (10, 5_000, 400, 400)]
    found = pages(api)
    assert found == [ids(runs[3], runs[2]), ids(runs[1]), ids(runs[0])]


@pytest.mark.parametrize("query", ["", "status=completed", "q=x", "label=k:1"])
def test_more_runs_need_no_more_queries(api: Caller, query: str) -> None:
    counts = []
    for _ in range(2):
        for _ in range(20):
            factories.run(labels={"k": "1"}, input="x")
        with CaptureQueriesContext(connection) as captured:
            assert len(api.get(f"/runs?{query}&limit=200").ids) >= 20
        counts.append(len(captured))
    assert counts[1] <= counts[0]
    assert counts[0] <= 11


class TestPages(TestCase):
    """Whatever is made, deleted or changed while somebody turns pages."""

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        runs=st.integers(0, 12),
        limit=st.integers(1, 5),
        query=st.sampled_from(["", "status=failed", "job=a", "q=needle", "label=k:1"]),
        first=st.sampled_from([1, 2, 51]),
        seed=st.integers(),
    )
    def test_no_run_comes_twice_and_none_is_left_out(
        self, runs: int, limit: int, query: str, first: int, seed: int
    ) -> None:
        chance = random.Random(seed)
        api = Caller.with_token()
        for _ in range(runs):
            _make(chance)
        there_all_the_time = set(_matching(query))
        given_out: list[str] = []
        turn = ""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scan, "_FIRST", first)
            patch.setattr(scan, "_LEAST", 0)
            patch.setattr(listing, "LIST_BUDGET", chance.choice([0, 5]))
            while True:
                answer = api.get(f"/runs?{query}&limit={limit}{turn}")
                given_out += answer.ids
                if answer.json["next_cursor"] is None:
                    break
                turn = f"&cursor={answer.json['next_cursor']}"
                for _ in range(chance.randrange(3)):
                    _make(chance)
                there_all_the_time &= set(_matching(query))
                if chance.random() < 0.5 and (found := list(Run.objects.all())):
                    chance.choice(found).delete()
                    there_all_the_time &= set(_matching(query))
        assert len(given_out) == len(set(given_out))
        assert given_out == sorted(given_out, reverse=True)
        assert there_all_the_time <= set(given_out)


def _make(chance: random.Random) -> Run:
    return factories.run(
        chance.choice(["completed", "failed"]),
        job=chance.choice("ab"),
        labels={"k": chance.choice("12")},
        input=chance.choice(["needle", "hay"]),
    )


def _matching(query: str) -> list[str]:
    return ids(*parse_filters(QueryDict(query)).apply(Run.objects.all()))
