"""What the engine's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runs.engine import wakeups
from runs.registry import registry
from tests.support.engine import HandWorker


@pytest.fixture(autouse=True)
def forget_jobs_of_the_test() -> Iterator[None]:
    """A job that a test defines is gone after it."""
    known = set(registry.names())
    yield
    for name in set(registry.names()) - known:
        registry.remove(name)


@pytest.fixture
def worker() -> HandWorker:
    return HandWorker("worker")


@pytest.fixture
def other_worker() -> HandWorker:
    return HandWorker("other worker")


@pytest.fixture(scope="session", autouse=True)
def leave_no_connection(django_db_setup: None) -> Iterator[None]:
    """Huey's connection to PostgreSQL would keep the test database from being dropped."""
    yield
    wakeups.get_huey().storage.close()
