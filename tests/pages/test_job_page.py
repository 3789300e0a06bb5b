"""How jobs do, as their pages show it, and pausing them."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs import job_stats
from runs.dashboard import dot_plot
from runs.dashboard.shell import Kept
from runs.job_stats import Sampled, percentile, stats_of
from runs.models import Activity, Job, Run, RunStatus, Span, new_id
from runs.registry import JobDefinition
from tests.pages import factories

pytestmark = pytest.mark.django_db

PATH = "/jobs/parcel/"


@pytest.fixture(autouse=True)
def row(parcel_job: JobDefinition) -> Job:
    return Job.objects.create(
        name="parcel", title="Parcel", source="x.py:1", code_version="1", synced_at=timezone.now()
    )


def ran(seconds: float, status: str = "completed", delay: float = 0, **attributes: Any) -> Run:
    """A run that waited and took so long."""
    created = timezone.now() - timedelta(hours=1)
    started = created + timedelta(seconds=delay)
    times = {"created_at": created, "queued_at": created, "started_at": started}
    if status != RunStatus.RUNNING:
        times["finished_at"] = started + timedelta(seconds=seconds)
    return factories.run(status, **{"job": "parcel", **times, **attributes})


def hour(completed: int, failed: int, age: timedelta = timedelta(hours=3)) -> None:
    at = (timezone.now() - age).replace(minute=0, second=0, microsecond=0)
    Activity.objects.create(job="parcel", span=Span.HOUR, at=at, completed=completed, failed=failed)


# -- numbers


def test_success_is_that_of_seven_days_and_never_rounded_up_to_all() -> None:
    hour(9999, 1)
    hour(0, 500, timedelta(days=8))
    stats = stats_of(["parcel"])["parcel"]
    assert (stats.completed, stats.failed, stats.last_day) == (9999, 1, 10_000)
    assert stats.rate == 99.9


def test_durations_are_those_of_completed_first_attempts() -> None:
    for seconds in range(1, 21):
        ran(seconds)
    ran(500, "failed")
    ran(500, attempt=2)
    stats = stats_of(["parcel"])["parcel"]
    assert (stats.median, stats.p95) == (10.5, 19)


def test_the_start_delay_is_from_when_it_could_start() -> None:
    run = ran(1, delay=30)
    assert stats_of(["parcel"])["parcel"].delay_p95 == 30
    Run.objects.filter(pk=run.pk).update(queued_at=run.created_at + timedelta(seconds=28))
    assert stats_of(["parcel"])["parcel"].delay_p95 == 2


def test_waiting_runs_are_those_that_could_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        factories.run("pending", job="parcel")
    factories.run("pending", job="parcel", run_at=timezone.now() + timedelta(hours=1))
    factories.run("running", job="parcel")
    stats = stats_of(["parcel"])["parcel"]
    assert (stats.running, stats.backlog) == (1, "3")
    monkeypatch.setattr(job_stats, "_MAX_PENDING", 2)
    assert stats_of(["parcel"])["parcel"].backlog == "3+"


def test_only_the_last_runs_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_stats, "SAMPLE", 3)
    made = [ran(1) for _ in range(5)]
    ran(1, job="other")
    sample = stats_of(["parcel", "other"])
    assert [run.id for run in sample["parcel"].runs] == [run.pk for run in made[:1:-1]]
    assert len(sample["other"].runs) <= 3


@pytest.mark.parametrize(("values", "found"), [([], None), ([4], 4), (range(1, 101), 95)])
def test_a_percentile_is_one_of_the_values(values: Any, found: float | None) -> None:
    assert percentile(values, 95) == found


# -- the plot


def sampled(seconds: float, status: str = "completed", age: float = 60) -> Sampled:
    start = timezone.now() - timedelta(minutes=age)
    return Sampled(new_id(), status, 1, start, start, start + timedelta(seconds=seconds))


def test_dots_stand_at_start_and_duration() -> None:
    plot = dot_plot.draw([sampled(20, age=0), sampled(40, "failed", age=60)])
    assert plot
    failed, completed = plot.dots
    assert failed.x == "0.00%"
    assert float(completed.x.rstrip("%")) > 99
    assert float(failed.y) < float(completed.y)
    assert failed.title.startswith("Failed, 40 s, ")
    assert plot.title == "Duration of the last 2 runs"
    assert plot.summary.endswith("1 completed, 1 failed")
    assert [line.text for line in plot.lines] == ["10 s", "20 s", "30 s", "40 s"]


def test_one_long_run_does_not_press_the_others_to_the_ground() -> None:
    plot = dot_plot.draw([sampled(2), sampled(3), sampled(2.5), sampled(4000)])
    assert plot
    heights = [float(dot.y) for dot in plot.dots]
    assert max(heights) - sorted(heights)[1] > 3
    assert "10 m" in [line.text for line in plot.lines]


@pytest.mark.parametrize("seconds", [0, 0.004, 0.3, 7, 90, 1e4, 1e6, 1e8])
def test_any_duration_has_a_scale(seconds: float) -> None:
    plot = dot_plot.draw([sampled(seconds)])
    assert plot
    assert 1 <= len(plot.lines) <= 6
    assert 0 <= float(plot.dots[0].y) <= plot.height
    assert plot.title == "Duration of the last run"


def test_runs_that_have_not_started_have_no_dot() -> None:
    waiting = Sampled(new_id(), "pending", 1, timezone.now(), None, None)
    assert dot_plot.draw([waiting]) is None
    assert dot_plot.draw([]) is None


def test_each_dot_is_a_link_and_a_table_is_behind_it(viewer: Client) -> None:
    made = [ran(20), ran(30, "failed"), ran(5, "cancelled"), ran(0, "running")]
    page = viewer.get(PATH).content.decode()
    svg = page.split('<svg class="chart plot"')[1].split('id="plot-table"')[0]
    for run in made:
        assert f'<a href="/runs/{run.pk}/" tabindex="-1">' in svg
    table = page.split('id="plot-table"')[1].split("</table>")[0]
    assert all(f"/runs/{run.pk}/" in table for run in made)
    assert "1 completed, 1 failed, 1 cancelled, 1 running" in table


def test_the_live_part_has_plot_and_numbers(viewer: Client) -> None:
    ran(20)
    page = viewer.get(f"{PATH}live/").content.decode()
    assert 'id="job-runs"' in page
    assert 'id="job-stats" hx-swap-oob="morph"' in page
    assert viewer.get("/jobs/never/live/").status_code == 404


# -- the list


def test_the_list_shows_the_numbers(viewer: Client) -> None:
    hour(3, 1)
    ran(90)
    factories.run("pending", job="parcel")
    page = unescape(viewer.get("/jobs/").content.decode())
    line = page.split('href="/jobs/parcel/"')[1].split("</tr>")[0]
    assert "75 %" in line
    assert "1 m 30 s" in line
    assert '/runs/?job=parcel&since=24h">4</a>' in line
    assert '/runs/?job=parcel&status=pending">1</a>' in line


def test_queries_do_not_grow_with_jobs_or_runs(viewer: Client) -> None:
    def count(path: str) -> int:
        Kept.forget()
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(path).status_code == 200
        return len(queries)

    ran(1)
    few = count("/jobs/"), count(PATH)
    for number in range(12):
        Job.objects.create(
            name=f"old-{number}", title="Old", source="x", code_version="", synced_at=timezone.now()
        )
        ran(1, job=f"old-{number}")
        ran(1)
    assert (count("/jobs/"), count(PATH)) == few


# -- pause and resume


def test_pause_takes_a_reason_and_everybody_sees_it(operator: Client, viewer: Client) -> None:
    page = operator.post(PATH, {"do": "pause", "reason": "bank <down>"}, follow=True)
    text = page.content.decode()
    assert "Paused by <b>ann</b>" in text
    assert "bank &lt;down&gt;" in text
    assert ">Resume</button>" in text
    assert "Pause…" not in text
    seen = viewer.get(PATH).content.decode()
    assert "bank &lt;down&gt;" in seen
    assert ">Resume</button>" not in seen
    assert ">Paused</span>" in viewer.get("/jobs/").content.decode()


def test_resume_ends_it(operator: Client) -> None:
    operator.post(PATH, {"do": "pause"})
    assert "no reason was given" in operator.get(PATH).content.decode()
    page = operator.post(PATH, {"do": "resume"}, follow=True).content.decode()
    assert "Resumed" in page
    assert "Paused by" not in page
    assert "is not paused" in operator.post(PATH, {"do": "resume"}, follow=True).content.decode()


def test_the_page_lists_the_last_pauses(operator: Client, viewer: Client) -> None:
    assert "Pauses</h2>" not in viewer.get(PATH).content.decode()
    for number in range(3):
        operator.post(PATH, {"do": "pause", "reason": f"<reason {number}>"})
        operator.post(PATH, {"do": "resume"})
    text = viewer.get(PATH).content.decode().partition("Pauses</h2>")[2].partition("</table>")[0]
    assert re.findall(r"&lt;reason \d&gt;|>(?:Paused|Resumed)<", text) == [
        ">Resumed<", ">Paused<", "&lt;reason 2&gt;", ">Resumed<", ">Paused<", "&lt;reason 1&gt;",
        ">Resumed<",
    ]  # fmt: skip
    assert text.count("ann") == 5


def test_who_may_not_operate_can_neither_pause_nor_resume(viewer: Client) -> None:
    assert not re.search(r'name="do" value="pause"', viewer.get(PATH).content.decode())
    assert viewer.post(PATH, {"do": "pause"}).status_code == 403
    Job.objects.update(paused_at=timezone.now(), paused_by="ann")
    assert viewer.post(PATH, {"do": "resume"}).status_code == 403
    assert Job.objects.get(name="parcel").paused_at is not None


def test_a_job_without_a_row_cannot_be_paused(operator: Client) -> None:
    factories.run(job="gone")
    assert operator.get("/jobs/gone/").status_code == 200
    assert operator.post("/jobs/gone/", {"do": "pause"}).status_code == 404
