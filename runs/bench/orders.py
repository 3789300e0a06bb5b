"""What a measuring process is told to do, as one argument of its command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from runs.bench.scratch import Target

#: The measurements, in the order in which they are made.
ENGINE = (
    *("trigger", "resume", "steps", "runs", "sustained", "pickup", "progress", "log"),
    "footprint",
)

#: Those that start processes of their own.
SERVED = ("streams", "workers")

#: Those that say nothing of SQLite, which has one writer and one machine.
OF_SERVERS = ("workers",)

#: Those that need a large database, which they fill.
LARGE = ("flat", "pages", "purge", "long")

NAMES = ENGINE + SERVED + LARGE


@dataclass(frozen=True)
class Order:
    """``runs`` is how many the sustained measurement makes, ``seeded`` how many the large
    database holds, ``seconds`` how long streams are measured; None for the usual number."""

    target: Target
    names: list[str]
    quick: bool = False
    runs: int | None = None
    seeded: int | None = None
    seconds: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        found = json.loads(text)
        return cls(**{**found, "target": Target(**found["target"])})
