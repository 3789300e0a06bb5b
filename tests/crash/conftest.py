"""A place for each test's workers, which end with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huey import Huey
from pytest_django import Settings

from runs.engine import wakeups
from tests.support import crash


@pytest.fixture(params=["the database's", pytest.param("redis", marks=pytest.mark.redis)])
def storage(
    request: pytest.FixtureRequest, settings: Settings, transactional_db: None
) -> Iterator[Huey]:
    """Each storage that Huey may have here, for the test and the workers that it starts."""
    if request.param == "redis":
        settings.HUEY_URL = request.getfixturevalue("redis_server")
    wakeups._doorbell.cache_clear()
    yield wakeups.get_huey()
    wakeups.get_huey().storage.close()
    wakeups._doorbell.cache_clear()


@pytest.fixture
def cluster(transactional_db: None, tmp_path: Path) -> Iterator[crash.Cluster]:
    """Workers on the test's database; none of them outlives the test."""
    crash.register_jobs()
    found = crash.Cluster(tmp_path)
    try:
        yield found
    finally:
        found.close()
        crash.forget_jobs()
