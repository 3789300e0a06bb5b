"""slow-report: figures that can be checked, and a pace that can be set."""

from __future__ import annotations

import time

import pytest

from jobs.slow_report import SlowReport, slow_report
from tests.jobs.fake_step import FakeStep, Killed


def test_the_primes_are_counted_right(step: FakeStep) -> None:
    result = slow_report.call(step, {"sections": 3, "seconds": 0})
    assert result == SlowReport(sections=3, limit=30_000, primes=3245, largest=29_989)
    assert step.executed == ["section-1", "section-2", "section-3"]
    assert step.reported[-1] == (3, 3, "3,245 primes so far")


def test_it_takes_the_time_that_was_asked_for(step: FakeStep) -> None:
    begin = time.monotonic()
    slow_report.call(step, {"sections": 2, "seconds": 0.4})
    assert time.monotonic() - begin >= 0.4


def test_it_stops_within_a_section_when_cancelled(step: FakeStep) -> None:
    step.cancelled = True
    with pytest.raises(Killed):
        slow_report.call(step, {"sections": 1, "seconds": 3600})
    assert step.executed == []
