from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from runs import storage
from runs.dashboard.shell import Kept
from runs.models import Activity, Chore, LogEntry, Run, Span, Step
from runs.storage import by_job, rules, trees
from runs.vacuum import Neglect
from tests.pages import factories

pytestmark = pytest.mark.django_db

on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="of SQLite's file")
LONG = "x" * 2_000


@pytest.fixture(autouse=True)
def fresh(db: None, settings: Settings) -> Iterator[None]:
    settings.RETAIN_RUNS = None
    Kept.forget()
    yield
    Kept.forget()


def ended(days: float, **attributes: Any) -> Run:
    return factories.run(finished_at=timezone.now() - timedelta(days=days), **attributes)


def analyze() -> None:
    """What autovacuum does now and then; SQLite needs none of it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    Kept.forget()


def markup(client: Client, query: str = "", status: int = 200) -> str:
    analyze()
    response = client.get(f"/storage/?{query}")
    assert response.status_code == status
    return str(response.content.decode())


def get(client: Client, query: str = "", status: int = 200) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", markup(client, query, status)).split())


def test_it_says_what_tables_and_jobs_take(operator: Client) -> None:
    for number in range(6):
        run = ended(1, job="mail" if number < 4 else "report")
        factories.step(run, "one", output=LONG)
        factories.log(run, "hello")
    text = get(operator)
    tables = text.partition("By table")[2].partition("By job")[0]
    assert re.search(r"Runs (~ )?6 \d", tables)
    assert re.search(r"Log entries (~ )?6 \d", tables)
    jobs = text.partition("By job")[2]
    assert re.search(r"mail 4 ~ [\d.]+ [kM]B 6\d %", jobs)
    assert re.search(r"report 2 ~ [\d.]+ [kM]B 3\d %", jobs)


def test_an_empty_database_has_a_page_too(operator: Client) -> None:
    text = get(operator, "days=1")
    assert "No run yet." in text
    assert "A rule of 1 days would delete nothing now." in text
    assert "Nothing has been counted yet." in text


def test_a_job_whose_runs_hold_more_has_a_larger_share() -> None:
    for number in range(10):
        factories.step(ended(1, job="large" if number % 2 else "small"), "s", output=LONG * 5)
        factories.step(ended(1, job="small"), "s", output=1)
    analyze()
    found, is_whole = storage.shares(storage.measure())
    assert is_whole
    assert {each.job: each.runs for each in found} == {"large": 5, "small": 15}
    assert abs(sum(each.share for each in found) - 1) < 0.001


@on_sqlite
def test_a_sample_is_spread_over_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_job, "SAMPLE", 20)
    Run.objects.bulk_create(
        Run(job="old" if number < 300 else "new", status="completed", triggered_by="ann",
            created_at=timezone.now(), queued_at=timezone.now(), finished_at=timezone.now())
        for number in range(400)
    )  # fmt: skip
    analyze()
    found, is_whole = storage.shares(storage.measure())
    assert not is_whole
    runs = {each.job: each.runs for each in found}
    assert runs == {"old": 200, "new": 200}, "ten rows from each of two places"


@on_sqlite
def test_a_large_tree_is_told_from_some_of_its_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    run = factories.run()
    lines = (
        LogEntry(run=run, message="a line " * 20, level="info", seq=n, created_at=timezone.now())
        for n in range(3_000)
    )
    LogEntry.objects.bulk_create(lines)
    exact = storage.measure().of(LogEntry)
    monkeypatch.setattr(trees, "PAGES", 30)
    guessed = storage.measure().of(LogEntry)
    assert exact
    assert guessed
    assert (exact.rows, exact.is_exact) == (3_000, True)
    assert not guessed.is_exact
    assert guessed.rows == pytest.approx(3_000, rel=0.2)
    assert guessed.size == pytest.approx(exact.size, rel=0.2)


@on_sqlite
def test_without_dbstat_it_says_what_it_does_not_know(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_has_dbstat", lambda _: False)
    for _ in range(3):
        ended(2)
    text = get(operator, "days=1")
    assert "was built without dbstat" in text
    assert re.search(r"Runs ~ 3 ", text.partition("By table")[2])
    assert re.search(r"example 3 ", text.partition("By job")[2])
    assert "would delete 3 runs / " in text


def test_a_rule_of_some_days_says_what_it_would_delete(operator: Client) -> None:
    for days in (1, 5, 31, 40):
        ended(days)
    factories.run("running")
    assert re.search(r"would delete 2 runs / [\d.]+ [kM]?B", get(operator, "days=30"))
    assert "would delete 4 runs / " in get(operator, "days=1")
    assert "would delete nothing now" in get(operator, "days=90")


@pytest.mark.parametrize("days", ["0", "x", "-3", "1.5", "99999", "9" * 40])
def test_a_number_of_days_that_makes_no_sense_is_named(operator: Client, days: str) -> None:
    assert "A whole number of days, from 1 to 36,500." in get(operator, f"days={days}", 400)


def test_counting_stops_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_SLICE", 3)
    for days in range(10, 20):
        ended(days)
    now = timezone.now()
    found = storage.preview(now, storage.measure(), budget=0)
    assert (found.count, found.is_whole) == (3, False)
    assert found.reached
    assert now - found.reached < timedelta(days=17)
    assert storage.preview(now, storage.measure()).count == 10


def test_runs_that_ended_at_one_moment_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_SLICE", 2)
    moment = timezone.now() - timedelta(days=3)
    for _ in range(7):
        factories.run(finished_at=moment)
    for days in (1, 2, 4, 5, 6):
        ended(days)
    found = storage.preview(timezone.now(), storage.measure())
    assert (found.count, found.is_whole) == (12, True)


def test_it_says_what_retention_has_left_and_who_is_at_it(
    operator: Client, settings: Settings
) -> None:
    assert "RETAIN_RUNS is not set" in get(operator)
    settings.RETAIN_RUNS = "48h"
    ended(1)
    assert "more than 2 days ago" in get(operator)
    assert "Nothing is left to delete." in get(operator)
    assert "No worker is alive to do it." in get(operator)
    for _ in range(2):
        ended(3)
    worker = factories.worker("example")
    soon = timezone.now() + timedelta(seconds=20)
    chore = Chore.objects.create(name="retention", due_at=soon)
    assert re.search(r"2 runs, about [\d.]+ [kM]?B, are left to delete\.", get(operator))
    assert "The next turn is due" in get(operator)
    Chore.objects.filter(pk=chore.pk).update(lease_owner=worker.pk, lease_expires_at=soon)
    assert "host:7 is at it now." in get(operator)
    part = get(operator, "fragment=1&of=8")
    assert part.startswith("Runs that ended more than")
    assert "6 of 8 deleted since this page was opened" in part


def test_where_too_many_are_left_to_count_progress_is_told_by_time(
    operator: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two counts that stopped at different runs say nothing about what was deleted."""
    settings.RETAIN_RUNS = "10d"
    runs = [ended(days) for days in (30, 20, 12)]
    page = markup(operator)
    opening = re.search(r"fragment=1&amp;(of=3&amp;from=\d+)", page)
    assert opening
    monkeypatch.setattr(rules, "_SLICE", 1)
    monkeypatch.setattr("runs.dashboard.storage.preview", partial(storage.preview, budget=0))
    again = f"fragment=1&{opening[1].replace('&amp;', '&')}"
    part = markup(operator, again)
    assert "At least 1 run" in part
    assert "since this page was opened" not in part, "nothing was deleted"
    runs[0].delete()
    part = markup(operator, again)
    assert "Deleted since this page was opened: all that ended before" in part
    [way] = re.findall(r'max="1" value="([\d.]+)"', part)
    assert 0.45 < float(way) < 0.55


@pytest.mark.parametrize("query", ["of=x&from=y", "of=-1&from=-1", f"of=3&from={'9' * 18}"])
def test_nonsense_about_the_opening_is_no_progress(
    operator: Client, settings: Settings, query: str
) -> None:
    settings.RETAIN_RUNS = "10d"
    ended(30)
    assert "all that ended before" not in get(operator, f"fragment=1&{query}")


def test_growth_is_what_ended_a_day(operator: Client) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for days in range(1, 8):
        at = hour - timedelta(days=days) + timedelta(hours=1)
        Activity.objects.create(job="mail", span=Span.HOUR, at=at, completed=900, failed=100)
    text = get(operator)
    assert re.search(r"Ended a day 1,0\d\d ", text)
    assert "900" in text.partition("The same as a table")[2]


@on_sqlite
def test_a_log_that_grew_is_told(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.engine.wal.size", lambda: 300_000_000)
    assert "log has grown to 300.0 MB." in get(operator)


@pytest.mark.postgres
def test_tables_that_are_never_vacuumed_are_told_with_the_remedy(operator: Client) -> None:
    said = "autovacuum is switched off for runs_run"
    assert said not in get(operator)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE runs_run SET (autovacuum_enabled = off)")
    text = get(operator)
    assert said in text
    assert "ALTER TABLE &quot;runs_run&quot; RESET (autovacuum_enabled, " in text


@pytest.mark.parametrize("found", [None, Neglect(("autovacuum",))])
def test_a_server_that_never_vacuums_is_told_with_the_remedy(
    operator: Client, monkeypatch: pytest.MonkeyPatch, found: Neglect | None
) -> None:
    measured = replace(storage.measure(), neglect=found)
    monkeypatch.setattr("runs.dashboard.storage._measured", lambda: measured)
    text = get(operator)
    assert ("does not vacuum by itself: autovacuum is off." in text) is bool(found)
    assert ("ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf();" in text) is bool(found)


def test_who_sees_a_part_of_the_runs_is_not_told(client: Client, settings: Settings) -> None:
    settings.ACCESS_POLICY = "runs.access.tenants.TenantPolicy"
    client.force_login(factories.user("vic", "view_run"))
    assert client.get("/storage/").status_code == 403
    assert 'href="/storage/"' not in client.get("/workers/").content.decode()


def test_the_number_of_queries_does_not_grow(operator: Client) -> None:
    def more() -> int:
        run = ended(9, job=f"job-{uuid.uuid4().hex[:6]}")
        factories.step(run, "one")
        factories.log(run, "hello")
        Kept.forget()
        with CaptureQueriesContext(connection) as found:
            operator.get("/storage/?days=3")
        return len(found)

    before = more()
    for _ in range(3):
        last = more()
    assert last == before
    assert Step.objects.count() == 4
