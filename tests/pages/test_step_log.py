"""The log of a step in a very long log: looked for only where it can be, and found whole."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.dashboard import logs
from runs.dashboard.logs import LogFilter, load_log
from runs.dashboard.steps import load_step
from runs.models import Run, RunEvent
from tests.pages import factories

STEPS, LINES = 60, 4

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A step a minute, with some lines each, in the middle of other runs' lines."""
    monkeypatch.setattr(logs, "_WINDOW", 20)
    monkeypatch.setattr(logs, "_BATCH", 4)
    start = timezone.now() - timedelta(hours=2)
    made = factories.run("completed", started_at=start)
    other = factories.run("completed", started_at=start)
    factories.event(made, "started", created_at=start)
    for number in range(STEPS):
        began = start + timedelta(minutes=number)
        for line in range(LINES):
            at = began + timedelta(seconds=line)
            factories.log(made, f"line {line}", step=f"step-{number}", created_at=at)
            factories.log(other, "not mine", step=f"step-{number}", created_at=at)
        ended = began + timedelta(seconds=LINES)
        factories.step(made, f"step-{number}", number, started_at=began, finished_at=ended)
    return made


def _events(run: Run) -> list[RunEvent]:
    return list(RunEvent.objects.filter(run=run).order_by("-id"))


@pytest.mark.parametrize("number", [0, 1, 17, 30, 58, 59])
def test_all_its_lines_are_there(run: Run, number: int) -> None:
    detail = load_step(run, f"step-{number}", _events(run))
    assert detail is not None
    found = [line.entry.id for line in detail.log.lines]
    all_of_it = load_log(run, only=LogFilter(step=f"step-{number}"))
    assert found == [line.entry.id for line in all_of_it.lines]
    assert len(found) == LINES
    assert detail.log.earlier is None


def test_the_rest_of_the_log_is_not_read(run: Run) -> None:
    with CaptureQueriesContext(connection) as captured:
        load_step(run, "step-5", _events(run))
    searches = [query for query in captured.captured_queries if "step-5" in query["sql"]]
    assert len([query for query in searches if "runs_logentry" in query["sql"]]) == 1


def test_lines_of_earlier_executions_are_found_too(run: Run) -> None:
    first = run.started_at
    assert first is not None
    factories.log(run, "before its worker died", step="step-59", created_at=first)
    factories.event(run, "taken_over", created_at=first + timedelta(minutes=1))
    detail = load_step(run, "step-59", _events(run))
    assert detail is not None
    assert len(detail.log.lines) == LINES + 1
