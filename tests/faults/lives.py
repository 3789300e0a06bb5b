"""What a process may be doing when it dies, as a table: ``LIVES``, by name.

Each entry prepares runs and returns the calls during which the process is killed, at every one of
their statements in turn. What must come of it in every case is checked by ``test_crash_points``;
``Life.check`` adds what only this one promises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import runs
from runs.engine import bulk, leases, pauses
from runs.models import BulkAction, Run
from tests.faults.actions import give
from tests.faults.crowd import Call, call
from tests.support.crash import trigger
from tests.support.crashapp.jobs import StepPlan
from tests.support.engine import HandWorker, Held

JOB, OTHER = "crash-plan", "crash-plan-async"
NO_STEPS: dict[str, Any] = {"steps": []}


@dataclass(frozen=True)
class Life:
    """The calls that a process makes, and what must be true when all is over."""

    calls: list[Call]
    check: Callable[[], None] = lambda: None


LIVES: dict[str, Callable[[], Life]] = {}


def life(name: str) -> Callable[[Callable[[], Life]], Callable[[], Life]]:
    """Put it into the table."""

    def add(prepare: Callable[[], Life]) -> Callable[[], Life]:
        LIVES[name] = prepare
        return prepare

    return add


def taken(**options: Any) -> Held:
    """A run in the hands of a worker."""
    return HandWorker("holder").take(trigger(0, 0, **options))


def cancelled(**options: Any) -> Run:
    held = taken(**options)
    runs.cancel(held.claim.run_id)
    held.release()
    return Run.objects.get(pk=held.claim.run_id)


def status(run: Run) -> str | None:
    return Run.objects.filter(pk=run.pk).values_list("status", flat=True).first()


@life("trigger")
def triggers() -> Life:
    once = call(
        "trigger", job=JOB, input=NO_STEPS, labels={"a": "b", "c": "d"}, idempotency_key="once"
    )

    def check() -> None:
        """Whoever did not hear of it triggers again, and it is there once."""
        again = runs.trigger(JOB, NO_STEPS, labels={"a": "b", "c": "d"}, idempotency_key="once")
        assert Run.objects.filter(idempotency_key="once").get().pk == again.pk

    return Life([once], check)


@life("batch trigger")
def batches() -> Life:
    def check() -> None:
        assert Run.objects.count() in (0, 4)  # all or nothing

    return Life([call("batch", job=JOB, keys=list("abcd"), input=NO_STEPS)], check)


@life("claim, checkpoints, log lines, completion")
def execution() -> Life:
    trigger(0, 0, 0, labels={"a": "b"})
    return Life([call("drain")])


@life("claim, checkpoints, log lines, completion of an async job")
def async_execution() -> Life:
    trigger(0, 0, asynchronous=True)
    return Life([call("drain")])


@life("hand-over of a key from run to run")
def keys() -> Life:
    held = taken(concurrency_key="k")
    trigger(0, concurrency_key="k")
    trigger(0, concurrency_key="k", asynchronous=True)
    assert HandWorker().claim() is None
    return Life([call("complete", held=give(held)), call("drain")])


@life("a step that fails, and the run with it")
def failing() -> Life:
    run = trigger(StepPlan(), StepPlan(raises=True))

    def check() -> None:
        assert status(run) == "failed"

    return Life([call("drain")], check)


@life("log flush")
def flushes() -> Life:
    held = give(taken())
    return Life([call("log", held=held), call("step", held=held, name="x"), call("log", held=held)])


@life("hand-over to the queue")
def hand_over() -> Life:
    held = taken(concurrency_key="k")
    return Life([call("hand_over", held=give(held)), call("drain")])


@life("take-over of a dead worker's run")
def take_over() -> Life:
    held = taken()
    held.step.run("step-0", str, "of the first")
    leases.expire_owned_by(held.claim.owner)
    return Life([call("claim")])


@life("the end of a cancelled body, and its retry")
def release() -> Life:
    held = taken(concurrency_key="k")
    trigger(0, concurrency_key="k", asynchronous=True)
    runs.cancel(held.claim.run_id)
    return Life(
        [call("retry", run=str(held.claim.run_id)), call("release", held=give(held)), call("claim")]
    )


@life("cancel")
def cancels() -> Life:
    held = taken(concurrency_key="k")
    held.hand_over()
    parked = trigger(0, concurrency_key="k", asynchronous=True)
    return Life([call("cancel", run=str(held.claim.run_id)), call("cancel", run=str(parked.pk))])


@life("retry and run again")
def again() -> Life:
    run = str(cancelled(labels={"a": "b"}).pk)
    return Life([call("retrigger", run=run), call("retry", run=run)])


@life("delete and purge")
def deletes() -> Life:
    first, *_ = [cancelled(labels={"a": "b"}) for _ in range(3)]
    return Life([call("delete", run=str(first.pk)), call("purge", limit=5)])


@life("pause and resume")
def pause() -> Life:
    trigger(0)
    trigger(0, concurrency_key="k")

    def check() -> None:
        try:
            pauses.resume_job(JOB)
        except runs.errors.ConflictError:
            pass

    return Life([call("pause", job=JOB), call("resume", job=JOB)], check)


@life("bulk action")
def bulk_action() -> Life:
    made = [cancelled() for _ in range(3)]
    action = bulk.create("retry", actor="tests")

    def check() -> None:
        """Another worker goes on when the lease has run out, and each run is retried once."""
        BulkAction.objects.update(lease_owner=None)
        while bulk.advance(action.pk, 1):
            pass
        assert {Run.objects.get(pk=run.pk).attempt for run in made} == {2}

    return Life([call("advance_bulk")], check)


@life("sweep")
def sweeps() -> Life:
    held = taken(concurrency_key="k")
    trigger(0, concurrency_key="k", asynchronous=True)
    assert HandWorker().claim() is None
    runs.cancel(held.claim.run_id)
    leases.expire_owned_by(held.claim.owner)
    return Life([call("sweep"), call("drain")])
