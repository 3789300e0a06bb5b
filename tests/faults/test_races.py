"""Whoever meets at one moment, every promise holds afterwards, and everything comes to an end."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection

from runs.registry import registry
from tests.faults import jobs
from tests.faults.crowd import Crowd
from tests.faults.invariants import check_invariants
from tests.faults.races import RACES
from tests.faults.rows import forget_all
from tests.faults.stage import Stage


@pytest.fixture
def dice() -> random.Random:
    """Random numbers that CRASH_SEED brings back; the race is still one."""
    seed = os.environ.get("CRASH_SEED") or str(time.time_ns())
    print(f"CRASH_SEED={seed}")  # noqa: T201 (pytest shows it when the test fails)
    return random.Random(seed)


@pytest.fixture
def racing_jobs(transactional_db: None) -> Iterator[None]:
    """Known to this process, too; and a row of each, to be paused by."""
    from runs.engine import jobsync

    for definition in jobs.RACERS:
        registry.add(definition)
    jobsync.sync_jobs()
    yield
    for definition in jobs.RACERS:
        registry.remove(definition.name)


def test_whoever_meets_keeps_every_promise(
    racing_jobs: None, tmp_path: Path, dice: random.Random, subtests: pytest.Subtests
) -> None:
    # A server has a hundred connections by default, and other tests have some of them.
    size = 64 if connection.vendor == "sqlite" else 24
    run_races(tmp_path, dice, subtests, size=size, members=2, rounds=2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_whoever_meets_a_thousand_times_keeps_every_promise(
    racing_jobs: None, tmp_path: Path, dice: random.Random, subtests: pytest.Subtests
) -> None:
    run_races(tmp_path, dice, subtests, size=64, members=4, rounds=1000)


def run_races(
    folder: Path,
    dice: random.Random,
    subtests: pytest.Subtests,
    *,
    size: int,
    members: int,
    rounds: int,
) -> None:
    """So many rounds of each race, with so many threads in so many processes."""
    crowd = Crowd(folder, members)
    try:
        for name, race in RACES.items():
            with subtests.test(name):
                for _ in range(rounds):
                    forget_all()
                    stage = Stage(crowd, size, dice)
                    race(stage)
                    check_invariants(runs=map(UUID, stage.runs), swept=False)
                    stage.finish()
                    check_invariants(runs=map(UUID, stage.runs))
    finally:
        crowd.close()
