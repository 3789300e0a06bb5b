"""Runs without a sign of life: what their present steps usually take is asked for at once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.dashboard import rates, stalled
from runs.models import Run
from tests.pages import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh() -> None:
    stalled.watch.forget()
    rates.times_by_job()


def silent(job: str, step: str | None) -> Run:
    start = timezone.now() - timedelta(minutes=10)
    return factories.run("running", job=job, current_step=step, created_at=start, started_at=start)


def took(job: str, step: str, *seconds: float, status: str = "completed", attempt: int = 1) -> None:
    """Runs of the job whose step took so long."""
    for each in seconds:
        run = factories.run(status, job=job, attempt=attempt)
        start = run.created_at - timedelta(seconds=each)
        factories.step(run, step, started_at=start, finished_at=run.created_at)


def test_a_step_is_known_by_its_job_and_its_name() -> None:
    took("slow", "load", 1, 400, 500)
    took("quick", "load", 30)
    took("quick", "send", 400)
    kinds = [("slow", "load"), ("quick", "load"), ("quick", "send"), ("quick", "new"), ("x", None)]
    runs = [silent(*kind) for kind in kinds]
    assert [each.run.pk for each in stalled.find_stalled()] == [
        run.pk for run in (runs[1], runs[3], runs[4])
    ]


def test_only_the_last_good_runs_count() -> None:
    took("example", "load", *[400] * 20)
    took("example", "load", 1, status="failed")
    took("example", "load", 1, attempt=2)
    silent("example", "load")
    assert stalled.find_stalled() == []
    took("example", "load", *[1] * 11)  # of the last twenty now the most
    assert len(stalled.find_stalled()) == 1


def test_it_is_asked_for_at_once() -> None:
    def ask() -> int:
        with CaptureQueriesContext(connection) as captured:
            stalled.find_stalled()
        return len(captured)

    silent("example", "step-0")
    assert ask() == 3
    for number in range(12):
        silent(f"job-{number % 2}", f"step-{number}")
    assert ask() == 3
