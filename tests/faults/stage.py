"""Where races take place: runs, a crowd, and what became of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import runs
from runs.engine import leases
from runs.models import Job, Run, RunEvent
from tests.faults.crowd import Call, Crowd, Outcome, call
from tests.support.engine import HandWorker, Held

#: What may be raised by who comes too late.
REFUSALS = {"ConflictError", "NotFoundError", "Cancelled", "LeaseLost", "HandOver"}

JOB, OTHER = "racer", "other-racer"


@dataclass
class Stage:
    """Where a race takes place."""

    crowd: Crowd
    size: int
    dice: random.Random
    #: Every run that was made and not deleted.
    runs: set[str] = field(default_factory=set)

    def trigger(self, job: str = JOB, **options: Any) -> Run:
        run = runs.trigger(job, **options)
        self.runs.add(str(run.pk))
        return run

    def take(self, **options: Any) -> tuple[Run, Held]:
        """A run in somebody's hands."""
        run = self.trigger(**options)
        return run, HandWorker("holder").take(run)

    def failed(self, **options: Any) -> Run:
        run, held = self.take(**options)
        runs.cancel(run)
        held.release()
        return run

    def meet(self, *calls: Call) -> list[Outcome]:
        """Let them act at one moment, in any order; whoever is refused must be so politely."""
        shuffled = self.dice.sample(calls, len(calls))
        outcomes = self.crowd.meet(*shuffled)
        for outcome in outcomes:
            assert not outcome.error or outcome.error in REFUSALS, outcome
            if outcome.value and outcome.call.action in ("trigger", "retrigger", "batch"):
                self._note(outcome.value)
        return outcomes

    def _note(self, made: Any) -> None:
        if isinstance(made, dict):
            self.runs.add(made["run"])
        else:
            self.runs.update([made] if isinstance(made, str) else made)

    def finish(self) -> None:
        """All are dead, and one new worker is left: everything comes to an end."""
        for owner in set(Run.objects.values_list("lease_owner", flat=True)) - {None}:
            assert owner is not None
            leases.expire_owned_by(owner)
        self.crowd.meet(call("sweep"))
        self.crowd.meet(call("drain"))
        paused = Job.objects.filter(paused_at__isnull=False).values("name")
        left = Run.objects.filter(finished_at=None).exclude(job__in=paused)
        assert not left, list(left.values())


def succeeded(outcomes: Iterable[Outcome], action: str = "") -> list[Any]:
    """What those got who were not refused; of one action only."""
    return [o.value for o in outcomes if not o.error and action in ("", o.call.action)]


def status(run: Run) -> str | None:
    return Run.objects.filter(pk=run.pk).values_list("status", flat=True).first()


def ends(run: Run) -> Counter[str]:
    """How often the history says that each thing happened."""
    return Counter(RunEvent.objects.filter(run=run.pk).values_list("kind", flat=True))
