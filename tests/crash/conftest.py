"""A place for each test's workers, which end with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import crash


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
