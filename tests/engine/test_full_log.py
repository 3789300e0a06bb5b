"""A log that grows faster than it can be written: bounded, and nothing of it is lost."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError

from runs import Step, job
from runs.engine import buffer, checkpoints, execution, persistence
from runs.engine.checkpoints import Pending
from runs.engine.step import AsyncStep
from runs.models import LogEntry, Run
from tests.support.engine import HandWorker, Held

pytestmark = pytest.mark.django_db


@pytest.fixture
def held(worker: HandWorker) -> Held:
    @job
    def by_hand(step: Step) -> None:
        pass

    return worker.take(by_hand.trigger())


def messages(held: Held) -> list[str]:
    held.execution.flush()
    return [line.message for line in LogEntry.objects.filter(run=held.claim.run_id)]


class Away:
    """A database that takes no log lines the next so many times, and how full a buffer got."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self.most = 0
        self._flush = checkpoints.flush
        monkeypatch.setattr(checkpoints, "flush", self._or_away)
        monkeypatch.setattr(buffer, "MAX_LINES", 10)
        monkeypatch.setattr(persistence, "_RETRY_DELAYS", (0.001, 0.001))

    def _or_away(self, fence: Any, pending: Pending, **options: Any) -> None:
        self.most = max(self.most, len(pending.lines))
        if self.times:
            self.times -= 1
            raise OperationalError("away")
        self._flush(fence, pending, **options)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    return Away(monkeypatch)


def test_who_logs_much_waits_for_a_database_that_is_away(held: Held, away: Away) -> None:
    away.times = 5
    for number in range(25):
        held.step.log.info(str(number))
    assert (away.times, away.most) == (0, 10)
    assert messages(held) == [*map(str, range(25))]


def test_async_code_that_awaits_its_calls_waits_too(held: Held, away: Away) -> None:
    step = AsyncStep(held.execution)
    away.times = 5

    async def talk() -> None:
        for number in range(25):
            await step.log.info(str(number))

    async_to_sync(talk)()
    assert (away.times, away.most) == (0, 10)
    assert len(messages(held)) == 25


def test_a_worker_that_stops_keeps_nobody_waiting(held: Held, away: Away) -> None:
    away.times = 10**9
    held.execution.handing_over = True
    for number in range(25):
        held.step.log.info(str(number))
    assert held.execution.stop is None  # the step that logs may end
    away.times = 0
    assert len(messages(held)) == 25


def test_what_could_not_be_written_counts_for_the_limit(
    held: Held, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer, "MAX_CHARACTERS", 100)
    held.step.log.info("x" * 60)
    away.times = 1
    held.execution.flush()
    held.step.log.info("y" * 60)
    assert LogEntry.objects.count() == 2


def test_the_current_step_is_told_when_the_database_is_back(
    held: Held, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "SHOWN_AFTER", 0)

    def body() -> str | None:
        away.times = 1
        held.execution.flush()
        held.execution.flush()
        return Run.objects.get().current_step

    assert held.step.run("a", body) == "a"
