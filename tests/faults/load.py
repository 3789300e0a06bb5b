"""A process that asks for work without end; what it was told is done stands in a file."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import django

if __name__ == "__main__":
    django.setup()

from django.db import Error

import runs
from runs.engine import database
from runs.errors import RunsError
from runs.models import Run, RunStatus
from tests import processes

#: As many runs may wait; beyond that it triggers no more, but waits.
MOST_PENDING = 300
MOST_PLANS = 40

#: What a move does: a word for it, and the run it is done to.
Told = Iterator[tuple[str, str]]


class Load:
    """One such process."""

    def __init__(self, folder: Path, kind: str, rate: float, **environment: str) -> None:
        """``kind`` is one of ``KINDS``, ``rate`` how many moves it makes a second, at most."""
        self._file = folder / f"load-{time.monotonic_ns()}.jsonl"
        self._file.touch()
        self.log = folder / "load.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.load", str(self._file), kind, str(rate)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=processes.environment(
                    **{"DJANGO_SETTINGS_MODULE": "tests.faults.settings", **environment}
                ),
            )
        self._rate, self._begun = rate, time.monotonic()

    @property
    def reached(self) -> float:
        """What it was told so far, as a part of what was ordered."""
        return len(self.done()) / (self._rate * (time.monotonic() - self._begun))

    @property
    def pid(self) -> int:
        return self.process.pid

    def done(self) -> list[dict[str, Any]]:
        """All that it was told is done, in order."""
        whole, _, _ = self._file.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def triggered(self) -> set[UUID]:
        """The runs that it was told exist."""
        return {UUID(line["run"]) for line in self.done() if line["did"] == "triggered"}

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def main() -> None:
    """Make moves at the rate that was ordered, and write down what came of them."""
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
    move, rate = KINDS[sys.argv[2]], float(sys.argv[3])
    dice = random.Random()
    begun, count = time.monotonic(), 0
    while True:
        count += 1
        time.sleep(max(begun + count / rate - time.monotonic(), 0))
        for did, run in _tried(move(dice)):
            line = {"did": did, "run": run, "at": time.time()}
            os.write(file, json.dumps(line).encode() + b"\n")


def _tried(move: Told) -> Told:
    try:
        yield from move
    except RunsError as error:
        yield "refused", error.code
    except Error as error:
        database.drop_broken_connection()
        yield "failed", str(error)


def trigger_plans(dice: random.Random) -> Told:
    """Runs of a few quick steps, with witnesses; while many wait, none."""
    while _pending() > MOST_PLANS:
        time.sleep(0.02)
    plan = {"steps": [{"seconds": dice.choice((0, 0.005, 0.02))} for _ in range(4)]}
    yield "triggered", str(runs.trigger("crash-plan", plan).pk)


class Mixed:
    """Everything that people and programs do to runs, to runs that it has triggered."""

    def __init__(self) -> None:
        self._recent: deque[str] = deque(maxlen=300)
        self._count = 0

    def __call__(self, dice: random.Random) -> Told:
        self._count += 1
        while self._count % 20 == 0 and _pending() > MOST_PENDING:
            time.sleep(0.2)
        moves = _MOVES if self._recent else {Mixed.trigger: 1}
        [move] = dice.choices(list(moves), list(moves.values()))
        yield from move(self, dice)

    def trigger(self, dice: random.Random) -> Told:
        """One run, with or without a key; every eighth fails at first."""
        options: dict[str, Any] = {"labels": {"kind": dice.choice("abc")}}
        if dice.random() < 0.2:
            options["idempotency_key"] = f"{time.time() // 5}-{dice.randrange(20)}"
        if dice.random() < 0.2:
            options |= {"concurrency_key": f"key-{dice.randrange(8)}", "coalesce": "skip"}
        run = runs.trigger("toil", _work(dice), priority=dice.randrange(3), **options)
        self._recent.append(str(run.pk))
        yield "triggered" if run.disposition == "created" else "met", str(run.pk)

    def batch(self, dice: random.Random) -> Told:
        for run in runs.get_job("toil").batch_trigger([_work(dice) for _ in range(5)]):
            self._recent.append(str(run.pk))
            yield "triggered", str(run.pk)

    def retry(self, dice: random.Random) -> Told:
        yield "retried", str(runs.retry(dice.choice(self._recent)).pk)

    def cancel(self, dice: random.Random) -> Told:
        yield "cancelled", str(runs.cancel(self._recent[-1]).pk)

    def retrigger(self, dice: random.Random) -> Told:
        yield "triggered", str(runs.retrigger(dice.choice(self._recent)).pk)

    def delete(self, dice: random.Random) -> Told:
        run = dice.choice(self._recent)
        yield "deletes", run  # before: what is done may be left without an answer
        runs.delete_run(run)
        yield "deleted", run


#: How often each is done, beside the others.
_MOVES = {
    Mixed.trigger: 60, Mixed.batch: 4, Mixed.retry: 15, Mixed.cancel: 5, Mixed.retrigger: 4,
    Mixed.delete: 4,
}  # fmt: skip


def _work(dice: random.Random) -> dict[str, Any]:
    return {"steps": 3, "seconds": 0.04, "lines": 3, "fails": dice.random() < 0.12}


def _pending() -> int:
    return Run.objects.filter(status=RunStatus.PENDING, due_at__isnull=False).count()


KINDS: dict[str, Callable[[random.Random], Told]] = {"plans": trigger_plans, "mixed": Mixed()}

if __name__ == "__main__":
    main()
