"""What the engine's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runs import JobDefinition, Step, job
from runs.engine import wakeups
from runs.registry import registry
from tests.support.engine import HandWorker, Held


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


@pytest.fixture
def calls() -> list[Any]:
    """What the bodies of steps note."""
    return []


@pytest.fixture
def held(worker: HandWorker) -> Held:
    """A run just claimed, for tests that call the step object themselves."""

    @job
    def by_hand(step: Step) -> None:
        pass

    return worker.take(by_hand.trigger(labels={"tenant": "acme"}))


@pytest.fixture
def sync_stock() -> JobDefinition:
    """Returns its input, from a step."""

    @job
    def sync_stock(step: Step, payload: Any = None) -> Any:
        return step.run("work", lambda: payload)

    return sync_stock


@pytest.fixture
def sync_prices() -> JobDefinition:
    """Another job."""

    @job
    def sync_prices(step: Step, payload: Any = None) -> None:
        pass

    return sync_prices
