from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.dashboard import charts, rates, stalled
from runs.dashboard.shell import Kept
from runs.engine import statistics
from runs.models import Activity, Job, Run, Span, Worker
from tests.pages import factories

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing that an earlier test has counted."""
    Kept.forget()
    stalled.watch.forget()
    yield
    Kept.forget()


def get(client: Client, query: str = "") -> str:
    Kept.forget()
    response = client.get(f"/?{query}")
    assert response.status_code == 200
    return str(response.content.decode())


def tiles(page: str) -> dict[str, tuple[str, str]]:
    """What the tiles say, as number and link, by label."""
    found = re.findall(
        r'<li><a href="([^"]*)"><span class="label">.*?</span>([^<]*)</span><span><b[^>]*>([^<]*)',
        page,
    )
    return {label: (number, unescape(link)) for link, label, number in found}


def attention(page: str) -> list[str]:
    """The titles of what needs a person."""
    section = page[page.index('id="attention"') : page.index('id="activity"')]
    return [unescape(title) for title in re.findall(r"<b>(.*?)</b>", section)]


def job(name: str, **attributes: Any) -> Job:
    return Job.objects.create(
        name=name, title=name, source="jobs.py", synced_at=timezone.now(), **attributes
    )


def minute(ago: timedelta, job: str = "mail", **counts: int) -> None:
    at = (timezone.now() - ago).replace(second=0, microsecond=0)
    Activity.objects.create(job=job, span=Span.MINUTE, at=at, **counts)
    hour = at.replace(minute=0)
    total, _ = Activity.objects.get_or_create(job=job, span=Span.HOUR, at=hour)
    for name, count in counts.items():
        setattr(total, name, getattr(total, name) + count)
    total.save()


def running(**attributes: Any) -> Run:
    started = timezone.now() - timedelta(minutes=30)
    return factories.run("running", **{"created_at": started, "started_at": started} | attributes)


def failure(client: Client, error: str = "CardError", **attributes: Any) -> Run:
    fingerprint = uuid.uuid5(uuid.NAMESPACE_OID, error).hex
    run = factories.failed_run(
        error_type=error, error_fingerprint=fingerprint, job="pay", **attributes
    )
    data = {"step": "pay", "error": f"{error}: no funds", "fingerprint": fingerprint}
    factories.event(run, "failed", data=data, created_at=run.finished_at)
    return run


def test_runs_that_are_not_over_are_counted_and_linked(operator: Client) -> None:
    factories.worker("example")
    factories.run("running")
    factories.run("pending")
    factories.run("pending")
    found = tiles(get(operator))
    assert found["Running"] == ("1", "/runs/?status=running")
    assert found["Pending"] == ("2", "/runs/?status=pending")
    assert found["Waiting"] == ("0", "/runs/?status=waiting")


def test_what_ended_in_the_last_day_is_counted_to_the_minute(operator: Client) -> None:
    factories.run()
    minute(timedelta(minutes=3), completed=5, failed=2)
    minute(timedelta(hours=23, minutes=59), completed=30, cancelled=4)
    minute(timedelta(hours=24, minutes=2), completed=100, failed=100)
    found = tiles(get(operator))
    assert found["Completed, 24 h"] == ("35", "/runs/?status=completed&since=24h")
    assert found["Failed, 24 h"] == ("2", "/runs/?status=failed&since=24h")
    assert found["Cancelled, 24 h"][0] == "4"


def test_failures_are_compared_with_the_days_before(operator: Client) -> None:
    factories.run()
    for day in range(1, 7):
        minute(timedelta(days=day, hours=5), failed=12)
    minute(HOUR, failed=71)
    assert "usually 12" in get(operator)


@pytest.mark.parametrize(("range", "slots"), [("hour", 60), ("day", 48), ("week", 56)])
def test_the_chart_shows_an_hour_a_day_or_a_week(operator: Client, range: str, slots: int) -> None:
    factories.run()
    minute(timedelta(minutes=2), completed=3, failed=1, started=4)
    page = get(operator, f"range={range}")
    assert len(rates.slots_of[range]()) == slots
    for kind, count in (("completed", 3), ("failed", 1), ("started", 4)):
        assert re.search(rf"<a [^>]*>{count}</a> {kind}", page)
    bars = re.findall(r'<a href="([^"]*)" tabindex="-1"><rect class="f-bad"', page)
    assert len(bars) == 1
    assert re.match(r"/runs/\?since=20.*&status=failed$", unescape(bars[0]))


def test_every_number_of_the_chart_stands_in_a_table_too(operator: Client) -> None:
    factories.run()
    minute(timedelta(minutes=2), completed=3, failed=1, started=4)
    table = get(operator, "range=hour").partition('id="activity-table"')[2]
    numbers = re.findall(r'<td class="num"><a href="[^"]*">(\d+)</a>', table)
    assert numbers[:3] == ["4", "3", "1"]


def test_a_bar_leads_to_the_runs_of_its_time(operator: Client) -> None:
    inside = factories.run(created_at=timezone.now() - timedelta(minutes=2))
    factories.run(created_at=timezone.now() - HOUR)
    minute(timedelta(minutes=2), completed=1)
    page = get(operator, "range=hour")
    link = re.search(r'<a href="([^"]*)" tabindex="-1"><rect class="f-soft"', page)
    assert link
    rows = operator.get(unescape(link[1])).content.decode()
    assert re.findall(r'<tr id="run-([0-9a-f-]{36})"', rows) == [str(inside.id)]


def test_it_says_up_to_when_everything_is_counted(operator: Client) -> None:
    factories.run()
    assert "Nothing is counted yet" in get(operator)
    statistics.advance()
    assert "Counted as of" in get(operator)


def test_nothing_needs_a_person_when_all_is_well(operator: Client) -> None:
    factories.worker("example")
    factories.run()
    factories.run("running")
    assert attention(get(operator)) == []


def test_without_a_worker_it_says_since_when(operator: Client) -> None:
    factories.run()
    assert attention(get(operator)) == ["No worker is alive"]
    worker = factories.worker("example")
    Worker.objects.update(heartbeat_at=worker.heartbeat_at - HOUR)
    assert attention(get(operator))[0].startswith("No worker alive since ")


def test_a_silent_worker_is_named(operator: Client) -> None:
    factories.worker("example")
    lost = factories.worker("example")
    silent = lost.heartbeat_at - timedelta(minutes=4)
    Worker.objects.filter(pk=lost.pk).update(pid=99, heartbeat_at=silent)
    factories.run()
    assert attention(get(operator)) == ["Worker host:99 does not report"]


def test_failures_of_the_last_day_come_loudest_first(operator: Client) -> None:
    factories.worker("pay")
    for _ in range(3):
        failure(operator, "LoudError")
    for error in ("AError", "BError", "CError", "DError"):
        failure(operator, error)
    statistics.advance()
    titles = attention(get(operator))
    assert titles[0] == "3 runs of pay failed with LoudError"
    assert len(titles) == 4
    assert titles[3] == "2 other errors"


def test_a_run_without_a_sign_of_life_is_stalled(operator: Client) -> None:
    factories.worker("example")
    silent = running(current_step="match")
    working = running()
    factories.log(working, "still here")
    done = running()
    factories.step(done, "just now")
    running(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert attention(get(operator)) == [f"example …{str(silent.id)[-4:]} has stalled"]


def test_progress_must_have_been_seen_not_to_move(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.worker("example")
    run = running(progress={"current": 1, "total": 9, "message": None})
    assert attention(get(operator)) == []
    monkeypatch.setattr(stalled, "_SAME_PROGRESS", 0.0)
    assert len(attention(get(operator))) == 1
    monkeypatch.setattr(stalled, "_SAME_PROGRESS", 20.0)
    Run.objects.filter(pk=run.pk).update(progress={"current": 2, "total": 9, "message": None})
    assert attention(get(operator)) == []


def test_a_job_that_is_usually_slow_may_be_silent_for_longer(operator: Client) -> None:
    factories.worker("example")
    job("example")
    now = timezone.now()
    for _ in range(3):
        factories.run(started_at=now - 2 * HOUR, finished_at=now - HOUR)
    minute(HOUR, "example", completed=3)
    running()
    assert attention(get(operator)) == []


def test_a_backlog_shows_its_age_whatever_the_priority(operator: Client) -> None:
    factories.worker("example")
    now = timezone.now()
    factories.run("pending", priority=5)
    old = factories.run("pending", priority=-1, job="slow", due_at=now - timedelta(minutes=19))
    factories.run("pending", run_at=now + HOUR, due_at=now + HOUR, created_at=now - 9 * HOUR)
    page = get(operator)
    assert attention(page)[0].startswith("A run of slow has been waiting for 19 m")
    assert f'href="/runs/{old.id}/">See why it waits' in page
    assert "oldest 19 m" in page


def test_a_paused_job_says_by_whom_and_why(operator: Client) -> None:
    factories.worker("example")
    factories.run()
    job("backup", paused_at=timezone.now(), paused_by="anna", pause_reason="disk <full>")
    page = get(operator)
    assert attention(page) == ["backup is paused"]
    assert "disk &lt;full&gt;" in page


def test_failing_and_slow_jobs_are_linked_to_their_runs(operator: Client) -> None:
    now = timezone.now()
    for name, seconds in (("slow", 600), ("quick", 1)):
        job(name)
        minute(timedelta(minutes=5), name, completed=3, failed=1)
        for _ in range(3):
            factories.run(job=name, started_at=now - timedelta(seconds=seconds), finished_at=now)
    page = get(operator)
    assert re.findall(r'href="/jobs/([a-z]+)/">', page.partition("Slowest jobs")[2])[:2] == [
        "slow",
        "quick",
    ]
    assert '<a href="/runs/?status=failed&amp;job=slow&amp;since=24h">1</a>' in page
    assert '<a href="/runs/?status=completed&amp;job=slow">10 m 00 s</a>' in page
    assert "25 %" in page


def test_a_slow_job_is_known_although_its_newest_runs_have_not_run(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_SAMPLE", 2)
    job("slow")
    minute(timedelta(minutes=5), "slow", completed=1)
    now = timezone.now()
    factories.run(job="slow", started_at=now - timedelta(seconds=90), finished_at=now)
    for _ in range(3):
        factories.run("pending", job="slow")
    assert ">1 m 30 s</a>" in get(operator)


def test_the_fragment_is_the_part_that_changes(operator: Client) -> None:
    factories.run()
    fragment = get(operator, "range=week&fragment=1")
    assert fragment.lstrip().startswith('<div id="overview"')
    assert "<html" not in fragment
    assert 'hx-get="/?range=week&amp;fragment=1"' in fragment


def test_the_number_of_queries_does_not_grow(operator: Client) -> None:
    def queries() -> int:
        Kept.forget()
        with CaptureQueriesContext(connection) as found:
            operator.get("/")
        return len(found)

    def more() -> None:
        for n in range(4):
            failure(operator, f"Error{uuid.uuid4()}")
            running()
            factories.run("pending", due_at=timezone.now() - HOUR, priority=n)
            factories.worker("example")
            job(f"job-{uuid.uuid4()}", paused_at=timezone.now())
        statistics.advance()

    more()
    before = queries()
    more()
    assert queries() <= before <= 21


def test_who_may_not_see_runs_is_refused(db: None) -> None:
    client = Client()
    assert client.get("/").status_code == 302
    client.force_login(factories.user("nobody"))
    assert client.get("/").status_code == 403


def test_the_navigation_counts(operator: Client) -> None:
    factories.worker("example")
    lost = factories.worker("example")
    silent = lost.heartbeat_at - timedelta(minutes=4)
    Worker.objects.filter(pk=lost.pk).update(heartbeat_at=silent)
    factories.run("running")
    failure(operator)
    statistics.advance()
    Kept.forget()
    page = operator.get("/jobs/").content.decode()
    nav = page[page.index('<nav class="nav"') : page.index("</nav>")]
    assert re.findall(r">([^<]+)</span>", nav) == ["1", "1", "1/2"]


@pytest.mark.parametrize(
    ("value", "ceiling"), [(0, 2), (2, 2), (3, 4), (10, 10), (11, 12), (105, 120), (999, 1000)]
)
def test_axes_end_at_even_numbers(value: int, ceiling: int) -> None:
    assert charts.nice_ceiling(value) == ceiling


def test_a_single_failure_among_thousands_is_drawn() -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    [bar] = charts.draw([charts.Slot(at, at + HOUR, completed=5000, failed=1)]).bars
    assert bar.failed
    assert float(bar.failed.height) >= 2
