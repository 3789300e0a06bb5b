"""What an adapter does: ``python ADAPTER worker``, or ``python ADAPTER MEASUREMENT COUNT``.

Imported in the environment of another engine, so it needs Python alone. The environment says
where the database is: PEERS_DATABASE is a file or a URL, PEERS_SYNCHRONOUS a setting of SQLite.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

DATABASE = os.environ["PEERS_DATABASE"]
IS_SQLITE = not DATABASE.startswith("postgres")
SYNCHRONOUS = os.environ.get("PEERS_SYNCHRONOUS", "FULL")
#: Runs at a time.
SLOTS = 4
#: How often an engine that polls may do so, in seconds; its default if that is less.
POLL_SECONDS = 0.01
#: Here a worker leaves a mark that it has died as planned.
MARK = Path(os.environ["PEERS_FOLDER"]) / "died"


def same(number: int) -> int:
    """The body of a step that does nothing."""
    return number


class Adapter(ABC):
    """One engine. A run is made by a job (steps, three, pickup, resume) and a number."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the tables."""

    @abstractmethod
    def work(self) -> None:
        """Be a worker until the process is killed."""

    @abstractmethod
    def trigger(self, job: str, number: int) -> Any:
        """Trigger a run, and return what names it."""

    @abstractmethod
    def output(self, run: Any) -> Any:
        """Wait for a run's output."""

    @abstractmethod
    def unfinished(self) -> int:
        """How many runs are not over."""

    def resumed_at(self, run: Any) -> float | None:
        """When the second execution of a run was claimed; None: its handler's begin counts."""
        return None

    def retry(self, run: Any) -> None:  # noqa: B027 (most do nothing)
        """Let a run go on that has stopped as planned, if it doesn't by itself."""

    def measure(self, name: str, count: int) -> Any:
        """Do one measurement."""
        if name == "steps":
            return count / self.output(self.trigger("steps", count))
        if name == "runs":
            return self._runs(count)
        if name == "pickup":
            return [self._pickup() for _ in range(count)]
        return self._resume(count)

    def _runs(self, count: int) -> float:
        began = time.perf_counter()
        for number in range(count):
            self.trigger("three", number)
        while self.unfinished():
            time.sleep(0.01)
        return count / (time.perf_counter() - began)

    def _pickup(self) -> float:
        time.sleep(random.uniform(0.05, 0.15))  # noqa: S311 (no secret)
        began = time.time()
        return float((self.output(self.trigger("pickup", 0)) - began) * 1000)

    def _resume(self, count: int) -> float:
        MARK.unlink(missing_ok=True)
        run = self.trigger("resume", count)
        self.retry(run)
        begin, first_step = self.output(run)
        return float((first_step - (self.resumed_at(run) or begin)) * 1000)


def main(adapter: Adapter) -> None:
    """Do what the command line says, and print what came of it as JSON."""
    what, *count = sys.argv[1:]
    if what == "worker":
        adapter.work()
    elif what == "prepare":
        adapter.prepare()
    else:
        found = adapter.measure(what, int(count[0]))
        sys.stdout.write(json.dumps(found) + "\n")
