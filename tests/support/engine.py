"""Workers and runs in the hands of a test."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

from django.db import connection

from runs import JobDefinition
from runs.engine import claims, executor, leases
from runs.engine.claims import Claim, Claimer
from runs.engine.execution import Execution
from runs.engine.executor import Successor
from runs.engine.step import Step
from runs.models import Run
from runs.models import Step as StepRow
from runs.registry import registry
from runs.testing import drain


class Held:
    """A claimed run, with the step object that its handler would get."""

    def __init__(self, claim: Claim, worker: str) -> None:
        self.claim = claim
        self.execution = Execution(claim, worker)
        self.step = Step(self.execution)

    def execute(self) -> None:
        """Run the handler to its outcome."""
        executor.execute(self.execution)

    def execute_and_claim(self, worker: HandWorker) -> Held | None:
        """The same; with the end, the worker takes the next run, if one is due."""
        taken: list[Claim] = []
        claimer = Claimer(tuple(registry.names()), worker.id, worker.name)
        executor.execute(self.execution, Successor(lambda: claimer, taken.append))
        return Held(taken[0], worker.name) if taken else None

    def release(self) -> None:
        """Say that the body has stopped."""
        leases.release(self.claim.run_id, self.claim.generation, self.claim.owner)

    def hand_over(self) -> bool:
        """Give the run back."""
        claim = self.claim
        return leases.hand_over(claim.run_id, claim.generation, claim.owner, "worker")


class HandWorker:
    """A worker that does only what the test says."""

    def __init__(self, name: str = "worker") -> None:
        self.id = uuid.uuid4()
        self.name = name

    def claim(self, jobs: list[str] | None = None) -> Held | None:
        """Take the next run, if one is due."""
        claim = claims.claim_next(registry.names() if jobs is None else jobs, self.id, self.name)
        return None if claim is None else Held(claim, self.name)

    def take(self, run: Run | None = None) -> Held:
        """Take the next run, which must be there, and be ``run`` if given."""
        held = self.claim()
        assert held is not None
        assert run is None or held.claim.run_id == run.pk
        return held

    def die(self) -> None:
        """Lose all leases at once, as when this host sees that the process is gone."""
        leases.expire_owned_by(self.id)


def reload(run: Run) -> Run:
    """The run as it is stored now."""
    return Run.objects.get(pk=run.pk)


def execute(job: JobDefinition, input: Any = None, **options: Any) -> Run:
    """Trigger and execute; the run as it ended."""
    run = job.trigger(input, **options)
    drain()
    return reload(run)


def kinds(run: Run) -> list[str]:
    """What happened to the run, in order."""
    return list(run.events.values_list("kind", flat=True))


def messages(run: Run) -> list[str]:
    """The run's log."""
    return list(run.logs.values_list("message", flat=True))


def race(*functions: Callable[[], Any]) -> list[Any]:
    """Call all at one moment, each in a thread; what each returned or raised."""
    results: list[Any] = [None] * len(functions)
    barrier = threading.Barrier(len(functions))

    def call(number: int, function: Callable[[], Any]) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(10)
            results[number] = function()
        except BaseException as error:
            results[number] = error
        finally:
            connection.close()

    threads = [
        threading.Thread(target=call, args=(number, function))
        for number, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


def raising(error: BaseException) -> Callable[[], None]:
    """A step's body that raises it."""

    def body() -> None:
        raise error

    return body


def stored_step(held: Held, name: str) -> StepRow:
    """The stored step of that name."""
    return StepRow.objects.get(run=held.claim.run_id, name=name)
