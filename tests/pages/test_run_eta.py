"""Time left, what is usual, and what is stalled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from runs.dashboard.eta import Samples, about
from runs.dashboard.shell import Kept
from runs.dashboard.stalled import allowed_silence, find_silence, watch
from runs.dashboard.usual import Spread, is_slow
from runs.models import Run
from tests.pages import factories

NOW = datetime(2026, 11, 22, 3, 14, tzinfo=UTC)


def get(client: Client, run: Run, query: str = "") -> str:
    response = client.get(f"/runs/{run.id}/?{query}")
    assert response.status_code == 200
    return str(response.content.decode())


def past_run(seconds: float, steps: dict[str, float] | None = None, **attributes: Any) -> Run:
    """A completed run of this many seconds, with steps that ended so many seconds in."""
    start = timezone.now() - timedelta(hours=1)
    run = factories.run(
        started_at=start, finished_at=start + timedelta(seconds=seconds), **attributes
    )
    before = start
    for index, (name, end) in enumerate((steps or {}).items()):
        finished = start + timedelta(seconds=end)
        factories.step(run, name, index, started_at=before, finished_at=finished)
        before = finished
    return run


def running_run(seconds: float, **attributes: Any) -> Run:
    """A run that a live worker began this many seconds ago."""
    owner = factories.worker("example")
    start = timezone.now() - timedelta(seconds=seconds)
    run = factories.run("running", started_at=start, lease_owner=owner.id, **attributes)
    factories.event(run, "started", created_at=start)
    return run


def test_time_left_is_said_roughly() -> None:
    said = [about(seconds) for seconds in (2, 41, 100, 290, 7_900, 200_000)]
    assert said == [
        "a few seconds",
        "about 40 s",
        "about 2 min",
        "about 5 min",
        "about 2 h 10 min",
        "about 2 d",
    ]


def test_samples_keep_when_progress_changed_and_forget_what_is_old() -> None:
    samples = Samples()
    for second in range(0, 400, 5):
        samples.see(NOW + timedelta(seconds=second), second // 20)
    assert samples.found[-1].value == 19
    assert samples.changed_at == NOW + timedelta(seconds=380)
    assert 180 <= samples.found[-1].at - samples.found[0].at <= 200
    assert len(samples.text) < 400
    again = Samples.parse(samples.text, NOW + timedelta(seconds=400))
    assert [sample.value for sample in again.found] == [sample.value for sample in samples.found]
    again.see(NOW + timedelta(seconds=401), 3)
    assert [sample.value for sample in again.found] == [3]


@pytest.mark.parametrize("text", ["", "x", "1~2", "1e400~1", "9e9~1", "1~nan", "~,~", "a~b" * 999])
def test_samples_that_are_not_ours_are_nothing(text: str) -> None:
    assert Samples.parse(text, NOW).found == []


@pytest.mark.django_db
def test_time_left_follows_from_the_slope_of_the_runs_own_progress(operator: Client) -> None:
    run = running_run(100, progress={"current": 25, "total": 100, "message": None})
    page = get(operator, run)
    assert "about 5 min left" in page
    assert "From the 2 min so far: 15 a minute." in page
    assert "Done about" in page


@pytest.mark.django_db
def test_the_slope_is_that_of_the_last_minutes_once_a_page_has_watched(operator: Client) -> None:
    run = running_run(1_000, progress={"current": 60, "total": 100, "message": None})
    now = timezone.now().timestamp()
    seen = f"{now - 60:.1f}~20.0,{now - 40:.1f}~30.0,{now - 20:.1f}~45.0"
    page = operator.get(f"/runs/{run.id}/live/", {"seen": seen}).content.decode()
    assert "From the last 40 s: 45 a minute." in page
    assert "about 55 s left" in page


@pytest.mark.django_db
def test_a_resumed_run_has_no_slope_until_somebody_has_watched_it(operator: Client) -> None:
    run = running_run(100, progress={"current": 25, "total": 100, "message": None})
    factories.event(run, "taken_over", created_at=timezone.now() - timedelta(seconds=50))
    assert 'class="eta">about' not in get(operator, run)


@pytest.mark.django_db
def test_without_progress_time_left_follows_from_the_jobs_history(operator: Client) -> None:
    for seconds in (180, 190, 200):
        past_run(seconds)
    page = get(operator, running_run(70))
    assert "about 2 min left" in page
    assert "From the last 3 completed runs: usually 3 m 10 s." in page
    assert "longer than usual" in get(operator, running_run(300))


@pytest.mark.django_db
def test_retried_and_failed_runs_do_not_tell_what_is_usual(operator: Client) -> None:
    past_run(10, attempt=2)
    past_run(10, job="other")
    factories.failed_run()
    assert "Is this usual?" not in get(operator, running_run(30))


@pytest.mark.django_db
def test_a_run_behind_the_usual_at_the_same_step_is_marked_slower(operator: Client) -> None:
    for _ in range(3):
        past_run(60, {"load": 10, "write": 50})
    run = running_run(40, step_count=1)
    done = timezone.now() - timedelta(seconds=5)
    factories.step(run, "load", 0, started_at=run.started_at, finished_at=done)
    page = get(operator, run)
    assert "When load was done, the last 3 completed runs had taken 10 s; this one 35 s." in page
    assert '<span class="tag warn">Slower</span> When load' in page
    assert "usually next, 40 s" in page


@pytest.mark.django_db
def test_a_completed_run_is_compared_with_those_before_it(operator: Client) -> None:
    first = past_run(10)
    slow = past_run(100)
    assert "Is this usual?" not in get(operator, first)
    page = get(operator, slow)
    assert "It took 1 m 40 s; the last completed run took 10 s." in page
    assert "Slower" in page


def stalled_pages(client: Client, run: Run) -> tuple[bool, bool]:
    """Whether the page of the run says that it has stalled, and whether the overview does."""
    Kept.forget()
    watch.forget()
    named = f"…{str(run.pk)[-4:]} has stalled"
    return "Stalled" in get(client, run), named in client.get("/").content.decode()


@pytest.mark.django_db
def test_a_run_from_which_nothing_comes_has_stalled_on_all_pages(operator: Client) -> None:
    run = running_run(310)
    assert stalled_pages(operator, run) == (True, True)
    factories.log(run, "still here")
    assert stalled_pages(operator, run) == (False, False)
    assert stalled_pages(operator, running_run(290)) == (False, False)


@pytest.mark.django_db
def test_how_long_its_step_usually_takes_decides_on_all_pages(operator: Client) -> None:
    past_run(100, {"load": 90, "send": 91})
    assert stalled_pages(operator, running_run(260, current_step="load")) == (False, False)
    slow = running_run(280, current_step="load")
    assert stalled_pages(operator, slow) == (True, True)
    assert "load usually takes 1 m 30 s" in get(operator, slow)
    assert stalled_pages(operator, running_run(50, current_step="send")) == (False, False)
    assert stalled_pages(operator, running_run(65, current_step="send")) == (True, True)


@pytest.mark.django_db
def test_too_long_is_three_times_the_usual_but_a_minute_at_least() -> None:
    Kept.forget()
    assert [allowed_silence("x", usually) for usually in (None, 1, 19, 21)] == [300, 60, 60, 63]


def test_silence_counts_from_the_newest_sign() -> None:
    signs = [None, NOW - timedelta(seconds=40), NOW - timedelta(seconds=61)]
    silence = find_silence(signs, 39, NOW)
    assert silence is not None
    assert (silence.seconds, silence.is_stalled) == (40, True)
    assert find_silence([None], 39, NOW) is None


def test_slow_is_only_what_is_plainly_slow() -> None:
    spread = Spread.of([10.0] * 9 + [20.0])
    assert spread is not None
    assert (spread.median, spread.p90, spread.longest) == (10, 10, 20)
    assert not is_slow(12, spread)
    assert is_slow(13, spread)
    quick = Spread.of([0.001] * 10)
    assert quick is not None
    assert not is_slow(0.5, quick)
