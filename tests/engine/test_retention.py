"""RETAIN_RUNS: how long terminal runs are kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from pytest_django import Settings

from runs import Step, job
from runs.engine import chores, operations, recovery
from runs.models import Chore, Run
from tests.pages import factories
from tests.support.engine import execute

pytestmark = pytest.mark.django_db


@pytest.fixture
def old_run() -> Run:
    @job
    def work(step: Step) -> None:
        pass

    run = execute(work)
    Run.objects.update(finished_at=datetime.now(UTC) - timedelta(days=2))
    return run


def test_without_the_setting_runs_are_kept(old_run: Run, settings: Settings) -> None:
    settings.RETAIN_RUNS = None
    assert recovery.apply_retention() is False
    assert Run.objects.exists()


@pytest.mark.parametrize(
    ("age", "kept"), [("3d", True), ("1d", False), ("47h", False), ("49h", True), ("2879m", False)]
)
def test_runs_older_than_the_setting_are_purged(
    old_run: Run, settings: Settings, age: str, kept: bool
) -> None:
    settings.RETAIN_RUNS = age
    recovery.apply_retention()
    assert Run.objects.exists() is kept


def test_a_worker_purges_as_a_chore_once_a_minute(old_run: Run, settings: Settings) -> None:
    settings.RETAIN_RUNS = "1d"
    worker = uuid4()
    assert not chores.do_due(chores.SLOW, worker), "the first look enters the chores"
    assert "retention" in chores.do_due(chores.SLOW, worker)
    assert not Run.objects.exists()
    assert not chores.do_due(chores.SLOW, worker)
    wait = Chore.objects.get(name="retention").due_at - datetime.now(UTC)
    assert timedelta(seconds=50) < wait <= timedelta(seconds=60)


def test_it_goes_on_at_once_while_there_is_more(
    old_run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RETAIN_RUNS = "1d"
    for _ in range(2):
        factories.run(finished_at=datetime.now(UTC) - timedelta(days=3))
    monkeypatch.setattr(recovery, "PURGE_BATCH", 1)
    monkeypatch.setattr(recovery, "PURGE_SECONDS", 0.0001)
    worker = uuid4()
    chores.do_due(chores.SLOW, worker)
    for left in (2, 1, 0):
        assert "retention" in chores.do_due(chores.SLOW, worker)
        assert Run.objects.count() == left
    assert "retention" in chores.do_due(chores.SLOW, worker), "it looks once more"
    assert "retention" not in chores.do_due(chores.SLOW, worker)


class Clock:
    """Stands in for the module ``time``: deleting takes its time, as does resting."""

    def __init__(self, *takes: float) -> None:
        self._takes = list(takes)
        self._now = 0.0
        self.rests: list[float] = []

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self._now += seconds

    def purge(self, *args: Any, **options: Any) -> Iterator[int]:
        for deleted in operations.purge_in_parts(*args, **options):
            self._now += self._takes.pop(0)
            yield deleted


def test_it_rests_after_each_transaction(
    old_run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many times as long as that took, as the documentation says."""
    settings.RETAIN_RUNS = "1d"
    factories.run(
        finished_at=datetime.now(UTC) - timedelta(days=3), seq=operations._MAX_DELETED_ROWS
    )
    clock = Clock(0.1, 0.3)
    monkeypatch.setattr(recovery, "time", clock)
    monkeypatch.setattr(recovery, "operations", SimpleNamespace(purge_in_parts=clock.purge))
    recovery.apply_retention()
    # The one with very many rows was deleted alone.
    factor = 8 if connection.vendor == "sqlite" else 4
    assert clock.rests == pytest.approx([0.1 * factor, 0.3 * factor])
    assert not Run.objects.exists()
