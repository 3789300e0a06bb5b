"""A job to trigger, and a clean memory of what was refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runs import Step, job
from runs.access import denied
from runs.registry import JobDefinition, registry


@pytest.fixture(autouse=True)
def forget_denied_attempts() -> Iterator[None]:
    """What this process remembers of rows that are gone."""
    denied.memory.forget()
    yield
    denied.memory.forget()


@pytest.fixture
def example() -> Iterator[JobDefinition]:
    """A job that takes anything."""

    @job(name="example")
    def example(step: Step, payload: object) -> None:
        return None

    yield example
    registry.remove("example")
