"""Signed-in clients, and a job to trigger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from django.test import Client
from pydantic import BaseModel, Field

from runs import Step
from runs.files import InputFile
from runs.registry import JobDefinition, job, registry
from tests.pages import factories


class Parcel(BaseModel):
    name: str
    count: int = Field(default=2, ge=1)
    size: Literal["small", "large"] = "small"
    fragile: bool = False
    weight: float | None = None
    lines: list[int] = []
    letter: InputFile | None = None


@pytest.fixture
def operator(client: Client, db: None) -> Client:
    """Somebody who may do everything with runs, but is no administrator."""
    names = ("view_run", "trigger_run", "operate_run", "delete_run")
    client.force_login(factories.user("ann", *names))
    return client


@pytest.fixture
def viewer(db: None) -> Client:
    """Somebody who may only look."""
    client = Client()
    client.force_login(factories.user("vic", "view_run"))
    return client


@pytest.fixture
def parcel_job() -> Iterator[JobDefinition]:
    """A job whose input has a field of every kind."""

    @job(name="parcel")
    def parcel(step: Step, payload: Parcel) -> str:
        """Send a parcel.

        By mail.
        """
        return payload.name

    yield parcel
    registry.remove("parcel")
