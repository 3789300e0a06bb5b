"""Workers that know the jobs of this folder, on the database of the test that starts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runs.registry import registry
from tests.faults import jobs
from tests.faults.servers import RedisServer
from tests.services import Missing, skip_or_fail
from tests.support import crash

for _definition in jobs.JOBS:
    registry.remove(_definition.name)  # defining them has made them known, also to other tests


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server of the test's own, to be killed and flushed."""
    try:
        found = RedisServer()
    except Missing as missing:
        skip_or_fail(missing)
        raise
    found.start()
    yield found
    found.stop()


@pytest.fixture
def cluster(transactional_db: None, tmp_path: Path) -> Iterator[crash.Cluster]:
    """Workers on the test's database; none of them outlives the test."""
    crash.register_jobs()
    for definition in jobs.JOBS:
        registry.add(definition)
    found = crash.Cluster(tmp_path, DJANGO_SETTINGS_MODULE="tests.faults.settings")
    try:
        yield found
    finally:
        found.close()
        crash.forget_jobs()
        for definition in jobs.JOBS:
            registry.remove(definition.name)
