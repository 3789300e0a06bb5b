"""Jobs that do what their input says, and wait where a test wants to look."""

from __future__ import annotations

import time
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from pydantic import BaseModel, Field, model_validator

from runs import InputFile, Step, job

GATES = Path(settings.VAR_DIR) / "gates"

#: The gate that opens all.
EVERY = "every"


class DeclinedError(Exception):
    """What a part of a script fails with."""


class Part(BaseModel):
    """A step: what it logs, waits for, fails with, returns."""

    name: str
    log: list[str] = []
    warnings: list[str] = []
    waits_for: str = Field(default="", description="A gate.")
    fails: str = Field(default="", description="The message it fails with, in the first attempt.")
    always: bool = Field(default=False, description="It fails in every attempt.")
    result: Any = None


class Script(BaseModel):
    """What a scripted run does."""

    parts: list[Part] = []
    order: str = ""
    output: Any = None


@job(name="scripted")
def scripted(step: Step, script: Script) -> Any:
    """Do what the input says, part by part.

    Each part is a step.
    """
    for number, part in enumerate(script.parts, start=1):
        step.run(part.name, perform, step, part)
        step.progress(number, len(script.parts), f"{part.name} is done")
    return script.output


def perform(step: Step, part: Part) -> Any:
    """Log, wait, fail, return."""
    for line in part.log:
        step.log.info(line, {"part": part.name})
    for line in part.warnings:
        step.log.warning(line)
    while part.waits_for and not is_open(part.waits_for):
        step.raise_if_cancelled()
        time.sleep(0.01)
    if part.fails and (part.always or step.attempt == 1):
        raise DeclinedError(part.fails)
    return part.result


def is_open(gate: str) -> bool:
    """Whether the test has opened that gate, or all."""
    return (GATES / gate).exists() or (GATES / EVERY).exists()


class Speed(StrEnum):
    """How it is sent."""

    SLOW = "slow"
    FAST = "fast"


class Address(BaseModel):
    """Where it goes."""

    street: str = Field(min_length=1)
    city: str = "Bern"


class Item(BaseModel):
    """One thing in it."""

    sku: str = Field(pattern=r"^[A-Z]{2}-\d+$", description="Such as AB-12.")
    quantity: int = Field(default=1, ge=1, le=99)


class Parcel(BaseModel):
    """Something of every kind that a form can ask for."""

    recipient: str = Field(min_length=1, max_length=100)
    address: Address
    items: list[Item] = Field(min_length=1)
    speed: Speed = Speed.SLOW
    kind: Literal["letter", "box"] = "box"
    send_on: date
    not_before: datetime | None = None
    weight: float = Field(default=1.5, gt=0)
    insured: bool = False
    note: str | None = None
    return_to: Address | None = None
    extra: dict[str, Any] = {}
    slip: InputFile | None = None

    @model_validator(mode="after")
    def check(self) -> Parcel:
        """A rule that no single field knows."""
        if self.insured and self.weight > 30:
            raise ValueError("insured parcels weigh at most 30 kg")
        return self


@job(name="send-parcel")
def send_parcel(step: Step, parcel: Parcel) -> dict[str, Any]:
    """Send a parcel: a job with a large form."""
    step.run("pack", parcel.model_dump, mode="json")
    return {"recipient": parcel.recipient, "items": len(parcel.items)}


JOBS = (scripted, send_parcel)
