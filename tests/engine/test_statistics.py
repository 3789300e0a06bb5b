"""Counts by minute and hour: right, however often and late they are made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from runs.engine import database, statistics
from runs.engine.chore_leases import ChoreLease, LeaseGone
from runs.models import Activity, Chore, FailureActivity, FailureGroup, Run, Span
from tests.pages import factories

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FAILURE = {"fingerprint": "f" * 32, "step": "pay", "error": "CardError: no funds"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, datetime]:
    """The time, to be set."""
    hands = {"now": NOON}
    monkeypatch.setattr(database, "utc_now", lambda: hands["now"])
    return hands


def happen(kind: str, at: datetime, run: Run | None = None, **attributes: Any) -> Run:
    run = run or factories.run(job=attributes.pop("job", "work"))
    factories.event(run, kind, created_at=at, **attributes)
    return run


def buckets(span: Span, job: str = "work") -> dict[datetime, tuple[int, int, int]]:
    rows = Activity.objects.filter(span=span, job=job)
    return {row.at: (row.triggered, row.completed, row.failed) for row in rows}


def total(span: Span, column: str) -> int:
    return int(Activity.objects.filter(span=span).aggregate(sum=Sum(column))["sum"] or 0)


def test_events_are_counted_by_job_minute_and_hour() -> None:
    happen("triggered", NOON - timedelta(minutes=70))
    happen("triggered", NOON - timedelta(minutes=5, seconds=1))
    run = happen("triggered", NOON - timedelta(minutes=5))
    happen("completed", NOON - timedelta(minutes=4, seconds=30), run)
    happen("triggered", NOON - timedelta(minutes=5), job="other")
    happen("handed_back", NOON - timedelta(minutes=5))
    statistics.advance()
    assert buckets(Span.MINUTE) == {
        NOON - timedelta(minutes=70): (1, 0, 0),
        NOON - timedelta(minutes=6): (1, 0, 0),
        NOON - timedelta(minutes=5): (1, 1, 0),
    }
    assert buckets(Span.HOUR) == {
        NOON - timedelta(hours=2): (1, 0, 0),
        NOON - timedelta(hours=1): (2, 1, 0),
    }
    assert total(Span.HOUR, "triggered") == 4


def test_counting_again_changes_nothing() -> None:
    happen("triggered", NOON - timedelta(minutes=1))
    for _ in range(3):
        statistics.advance()
    Chore.objects.update(position=None)
    statistics.advance()
    assert total(Span.MINUTE, "triggered") == total(Span.HOUR, "triggered") == 1


def test_what_is_committed_late_is_counted(clock: dict[str, datetime]) -> None:
    happen("triggered", NOON - timedelta(seconds=90))
    statistics.advance()
    happen("triggered", NOON - timedelta(seconds=100))
    clock["now"] = NOON + timedelta(seconds=10)
    statistics.advance()
    assert total(Span.MINUTE, "triggered") == total(Span.HOUR, "triggered") == 2


def test_a_minute_that_was_cut_off_is_counted_to_its_end(clock: dict[str, datetime]) -> None:
    clock["now"] = NOON + timedelta(seconds=30)
    happen("triggered", NOON + timedelta(seconds=20))
    statistics.advance()
    happen("triggered", NOON + timedelta(seconds=40))
    clock["now"] = NOON + timedelta(minutes=1, seconds=5)
    statistics.advance()
    assert buckets(Span.MINUTE) == {NOON: (2, 0, 0)}
    assert buckets(Span.HOUR) == {NOON: (2, 0, 0)}


def test_a_week_is_filled_in_and_long_silence_is_skipped() -> None:
    happen("triggered", NOON - timedelta(days=8))
    happen("triggered", NOON - timedelta(days=6, minutes=10))
    happen("triggered", NOON - timedelta(minutes=10))
    with CaptureQueriesContext(connection) as queries:
        statistics.advance()
    assert len(queries) < 100
    assert total(Span.HOUR, "triggered") == 2
    assert Chore.objects.get(name="statistics").position == NOON


def test_out_of_time_it_goes_on_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for hours in (1, 2, 3):
        happen("triggered", NOON - timedelta(hours=hours))
    moments = iter(range(1000))
    fast_clock = SimpleNamespace(monotonic=lambda: next(moments) * 3.0)
    monkeypatch.setattr("runs.engine.statistics.time", fast_clock)
    statistics.advance()
    assert total(Span.HOUR, "triggered") < 3
    for _ in range(10):
        statistics.advance()
    assert total(Span.HOUR, "triggered") == 3


def test_old_buckets_are_dropped_minutes_before_hours(clock: dict[str, datetime]) -> None:
    happen("triggered", NOON - timedelta(minutes=5))
    statistics.advance()
    clock["now"] = NOON + timedelta(days=2)
    statistics.advance()
    assert buckets(Span.MINUTE) == {}
    assert list(buckets(Span.HOUR)) == [NOON - timedelta(hours=1)]
    clock["now"] = NOON + timedelta(days=33)
    statistics.advance()
    assert buckets(Span.HOUR) == {}


def test_counts_stay_when_the_runs_are_deleted(clock: dict[str, datetime]) -> None:
    happen("completed", NOON - timedelta(minutes=10))
    statistics.advance()
    Run.objects.all().delete()
    clock["now"] = NOON + timedelta(minutes=1)
    statistics.advance()
    assert total(Span.HOUR, "completed") == 1


def test_failures_are_grouped_by_what_they_have_in_common() -> None:
    first = happen("failed", NOON - timedelta(minutes=5), data=FAILURE)
    last = happen("failed", NOON - timedelta(minutes=3), data=FAILURE)
    happen("failed", NOON - timedelta(minutes=2), data=FAILURE | {"fingerprint": "e" * 32})
    happen("failed", NOON - timedelta(minutes=1), data=None)
    statistics.advance()
    group = FailureGroup.objects.get(fingerprint="f" * 32)
    assert (group.job, group.step, group.error_type) == ("work", "pay", "CardError")
    assert group.message == "no funds"
    assert group.first_seen == NOON - timedelta(minutes=5)
    assert (group.last_seen, group.last_run_id) == (NOON - timedelta(minutes=3), last.pk)
    assert first.pk != last.pk
    hours = FailureActivity.objects.filter(group=group, span=Span.HOUR)
    assert [row.failed for row in hours] == [2]
    assert FailureGroup.objects.count() == 2
    assert total(Span.HOUR, "failed") == 4


def test_a_group_is_seen_again(clock: dict[str, datetime]) -> None:
    happen("failed", NOON - timedelta(minutes=1), data=FAILURE)
    statistics.advance()
    again = happen("failed", NOON + timedelta(minutes=1), data=FAILURE)
    clock["now"] = NOON + timedelta(minutes=2)
    statistics.advance()
    group = FailureGroup.objects.get()
    assert group.first_seen == NOON - timedelta(minutes=1)
    assert (group.last_seen, group.last_run_id) == (NOON + timedelta(minutes=1), again.pk)
    assert FailureActivity.objects.filter(span=Span.HOUR).count() == 2


def test_who_has_lost_the_lease_meanwhile_stores_nothing() -> None:
    happen("triggered", NOON - timedelta(minutes=5))
    statistics.advance()
    before = Chore.objects.get(name="statistics")
    happen("triggered", NOON - timedelta(minutes=1))
    late = ChoreLease("statistics", uuid4())
    Chore.objects.update(lease_owner=uuid4())  # another one was faster
    with pytest.raises(LeaseGone):
        statistics.advance(late)
    assert total(Span.MINUTE, "triggered") == total(Span.HOUR, "triggered") == 1
    assert Chore.objects.get(name="statistics").position == before.position
