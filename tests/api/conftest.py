"""Jobs to trigger, and programs that trigger them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, Field

from runs import Step, job
from runs.access import VIEW, denied
from runs.api import watching
from runs.registry import JobDefinition, registry
from tests.access import people
from tests.api.callers import Caller


class Parcel(BaseModel):
    name: str = Field(min_length=1)
    count: int = Field(default=2, ge=1)
    lines: list[int] = []


@pytest.fixture(autouse=True)
def forget_denied_attempts() -> Iterator[None]:
    """What this process remembers of rows that are gone."""
    denied.memory.forget()
    yield
    denied.memory.forget()


@pytest.fixture
def jobs() -> Iterator[dict[str, JobDefinition]]:
    """``parcel`` sends parcels, but none named "lost"; ``anything`` takes and returns any JSON."""

    @job(name="parcel", tags=["mail"])
    def parcel(step: Step, payload: Parcel) -> str:
        """Send a parcel."""
        step.progress(0, payload.count)
        for number in range(payload.count):
            step.run(f"pack-{number}", pack, number)
        step.log.info("Packed", {"count": payload.count})
        step.run("send", send, payload.name)
        return payload.name

    @job(name="anything")
    def anything(step: Step, payload: Any) -> Any:
        return payload

    found = (parcel, anything)
    yield {each.name: each for each in found}
    for each in found:
        registry.remove(each.name)


def pack(number: int) -> int:
    return number


def send(name: str) -> None:
    if name == "lost":
        raise LookupError("There is no such address")


@pytest.fixture
def program(db: None, jobs: dict[str, JobDefinition]) -> Callable[..., Caller]:
    """Makes programs with tokens that hold these permissions (of none named: all)."""
    return Caller.with_token


@pytest.fixture
def api(program: Callable[..., Caller]) -> Caller:
    """A program that may do everything with runs."""
    return program()


@pytest.fixture
def secret(transactional_db: None) -> str:
    """The token of a program that may see runs."""
    return people.token("viewer", VIEW)[1]


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams say that they are there, and ask for rights, several times a second."""
    monkeypatch.setattr(watching, "_RECHECK_AFTER", 0.2)
    monkeypatch.setattr(watching, "_BEAT_AFTER", 0.1)
