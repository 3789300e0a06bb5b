"""This engine, used as its users do."""

from __future__ import annotations

import os
import time
from typing import Any

import django

from tools.peers.adapters.common import DATABASE, IS_SQLITE, SLOTS, SYNCHRONOUS, Adapter, main, same

os.environ["DJANGO_SETTINGS_MODULE"] = "durably_site.settings"
os.environ["DATABASE_URL"] = f"sqlite:///{DATABASE}" if IS_SQLITE else DATABASE
os.environ["SQLITE_SYNCHRONOUS"] = SYNCHRONOUS
os.environ["VAR_DIR"] = os.environ["PEERS_FOLDER"]
os.environ["HUEY_URL"] = ""
django.setup()

import runs  # noqa: E402 (after the settings)
from runs import Step, job  # noqa: E402
from runs.models import EventKind, Run, RunEvent, RunStatus  # noqa: E402


@job(name="steps")
def steps(step: Step, count: int) -> float:
    """Many steps; the seconds that they took."""
    began = time.perf_counter()
    for number in range(count):
        step.run(f"step-{number}", same, number)
    return time.perf_counter() - began


@job(name="three")
def three(step: Step, number: int) -> int:
    """Three steps."""
    first = step.run("first", same, number)
    second = step.run("second", same, first)
    return step.run("third", same, second)


@job(name="pickup")
def pickup(step: Step, _: int) -> float:
    """When the first step ran."""
    return step.run("first", time.time)


@job(name="resume")
def resume(step: Step, count: int) -> list[float]:
    """Many steps, then one that fails in the first attempt; when that one ran."""
    began = time.time()
    for number in range(count):
        step.run(f"step-{number}", same, number)
    if step.attempt == 1:
        raise InterruptedError("as planned")
    return [began, step.run("new", time.time)]


class Ours(Adapter):
    """Its worker is ``manage.py worker``."""

    def prepare(self) -> None:
        from django.core.management import call_command

        call_command("migrate", verbosity=0)

    def work(self) -> None:
        from runs.engine.worker import run_worker

        run_worker(concurrency=SLOTS)

    def trigger(self, job: str, number: int) -> Any:
        return runs.trigger(job, number).pk

    def output(self, run: Any) -> Any:
        # As for the others: asked for in the database, every millisecond.
        while True:
            found = Run.objects.get(pk=run)
            if found.status == RunStatus.COMPLETED:
                return found.output
            time.sleep(0.001)

    def unfinished(self) -> int:
        return Run.objects.filter(status__in=("pending", "running")).count()

    def measure(self, name: str, count: int) -> Any:
        if name != "baseline":
            return super().measure(name, count)
        from runs.bench.baseline import Baseline

        return Baseline(count).rate()

    def retry(self, run: Any) -> None:
        while Run.objects.get(pk=run).status != RunStatus.FAILED:
            time.sleep(0.01)
        runs.retry(run)

    def resumed_at(self, run: Any) -> float:
        claimed = RunEvent.objects.filter(run=run, kind=EventKind.STARTED).latest("id")
        return float(claimed.created_at.timestamp())


if __name__ == "__main__":
    main(Ours())
