"""Who may meet at one moment, as a table: ``RACES``, by name.

A race prepares runs, lets a crowd act on them, and says what must have come of it. The promises
of ``invariants`` are checked after every round of every race by ``test_races``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from django.db.models import F

import runs
from runs.engine import bulk, leases, pauses
from runs.models import Job, Run
from tests.faults.actions import give
from tests.faults.crowd import call
from tests.faults.stage import JOB, OTHER, Stage, ends, status, succeeded
from tests.support.engine import HandWorker

Race = Callable[[Stage], None]
RACES: dict[str, Race] = {}


def race(name: str) -> Callable[[Race], Race]:
    """Put a race into the table."""

    def add(run: Race) -> Race:
        RACES[name] = run
        return run

    return add


@race("claimers of fewer runs")
def claimers(stage: Stage) -> None:
    made = {str(stage.trigger().pk) for _ in range(stage.size // 4)}
    outcomes = stage.meet(*[call("claim")] * stage.size)
    taken = [value["run"] for value in succeeded(outcomes) if value]
    # On PostgreSQL a claimer that skips what another looks at may find nothing, and tries again.
    assert len(set(taken)) == len(taken)
    assert set(taken) <= made
    assert taken
    for run in made - set(taken):
        assert HandWorker().take().claim.run_id is not None, run


@race("triggers of one idempotency key")
def idempotency(stage: Stage) -> None:
    outcomes = stage.meet(*[call("trigger", job=JOB, idempotency_key="k")] * stage.size)
    found = succeeded(outcomes)
    assert len(found) == stage.size
    assert len({value["run"] for value in found}) == 1
    told = Counter(value["disposition"] for value in found)
    assert told == {"created": 1, "idempotent": stage.size - 1}


@race("triggers of one concurrency key")
def concurrency(stage: Stage) -> None:
    skip = [call("trigger", job=JOB, concurrency_key="k", coalesce="skip")] * (stage.size // 2)
    refused = [call("trigger", job=JOB, concurrency_key="k")] * (stage.size // 2)
    found = succeeded(stage.meet(*skip, *refused))
    assert len({value["run"] for value in found}) == 1
    assert Counter(value["disposition"] for value in found)["created"] == 1


@race("triggers, claimers and cancels of one concurrency key")
def key_in_motion(stage: Stage) -> None:
    first = stage.trigger(concurrency_key="k")
    stage.meet(
        *[call("trigger", job=JOB, concurrency_key="k", coalesce="skip")] * (stage.size // 4),
        *[call("trigger", job=OTHER, concurrency_key="k")] * (stage.size // 4),
        *[call("drain")] * (stage.size // 4),
        call("cancel", run=str(first.pk)),
        call("sweep"),
    )


@race("cancel against complete")
def cancel_and_complete(stage: Stage) -> None:
    run, held = stage.take(concurrency_key=stage.dice.choice(["k", None]))
    cancels = stage.dice.randint(1, 4)
    outcomes = stage.meet(
        call("complete", held=give(held)), *[call("cancel", run=str(run.pk))] * cancels
    )
    won = len(succeeded(outcomes, "cancel"))
    found = ends(run)
    assert found["completed"] + found["cancelled"] == 1
    assert (won == 1) is (status(run) == "cancelled")
    assert won <= 1


@race("retry against retry")
def retries(stage: Stage) -> None:
    run = stage.failed(concurrency_key=stage.dice.choice(["k", None]))
    outcomes = stage.meet(*[call("retry", run=str(run.pk))] * stage.size)
    assert len(succeeded(outcomes)) == 1
    assert Run.objects.get(pk=run.pk).attempt == 2


@race("retry against run again, of one key")
def retry_and_retrigger(stage: Stage) -> None:
    run = stage.failed(concurrency_key="k")
    id = str(run.pk)
    outcomes = stage.meet(*[call("retry", run=id), call("retrigger", run=id)] * (stage.size // 4))
    assert len(succeeded(outcomes)) == 1


@race("delete against retry, run again and purge")
def delete_and_others(stage: Stage) -> None:
    run = stage.failed(concurrency_key=stage.dice.choice(["k", None]))
    id = str(run.pk)
    outcomes = stage.meet(
        *[call("delete", run=id)] * 4,
        *[call("retry", run=id)] * 4,
        *[call("retrigger", run=id)] * 2,
        *[call("purge", limit=5)] * 2,
    )
    deleted = len(succeeded(outcomes, "delete")) + sum(succeeded(outcomes, "purge"))
    retried = len(succeeded(outcomes, "retry"))
    assert deleted + retried == 1
    if deleted:
        assert status(run) is None
        stage.runs.remove(id)


@race("delete against resume, of a job that is paused")
def delete_and_resume(stage: Stage) -> None:
    run = stage.failed(concurrency_key="k")
    pauses.pause_job(JOB)
    runs.retry(run)
    id = str(run.pk)
    outcomes = stage.meet(
        *[call("resume", job=JOB)] * 4,
        *[call("cancel", run=id)] * 2,
        *[call("delete", run=id)] * 4,
        *[call("drain")] * 4,
    )
    assert len(succeeded(outcomes, "resume")) == 1
    if succeeded(outcomes, "delete"):
        stage.runs.remove(id)


@race("pause against claim")
def pause_and_claim(stage: Stage) -> None:
    stage.trigger()
    stage.trigger(concurrency_key="k")
    outcomes = stage.meet(
        *[call("claim")] * (stage.size // 4),
        *[call("pause", job=JOB)] * 2,
        call("trigger", job=JOB),
        call("sweep"),
    )
    assert len(succeeded(outcomes, "pause")) == 1
    assert HandWorker().claim() is None
    left = Run.objects.filter(status="pending")
    assert not left.exclude(due_at=None), "a claim would meet it again and again"
    pauses.resume_job(JOB)
    assert not left.exclude(due_at=F("queued_at"))


@race("pause against resume")
def pause_and_resume(stage: Stage) -> None:
    for _ in range(3):
        stage.trigger()
    stage.meet(
        *[call("pause", job=JOB), call("resume", job=JOB)] * 4,
        *[call("claim"), call("trigger", job=JOB), call("sweep")] * 2,
    )
    if Job.objects.get(name=JOB).paused_at is not None:
        pauses.resume_job(JOB)


@race("key hand-over")
def key_hand_over(stage: Stage) -> None:
    """Who holds a key ends, while others wait for it, come, are cancelled and claim."""
    _, held = stage.take(concurrency_key="k")
    parked = stage.trigger(concurrency_key="k")
    stage.trigger(OTHER, concurrency_key="k")
    assert HandWorker().claim() is None  # which parks them
    stage.meet(
        call(stage.dice.choice(["complete", "hand_over", "expire"]), held=give(held)),
        *[call("claim")] * (stage.size // 4),
        call("trigger", job="third-racer", concurrency_key="k"),
        call("cancel", run=str(parked.pk)),
        call("sweep"),
    )


@race("cancels of all who wait for a key")
def cancel_waiting(stage: Stage) -> None:
    _, held = stage.take(concurrency_key="k")
    waiting = [stage.trigger(job, concurrency_key="k") for job in (JOB, OTHER, "third-racer")]
    assert HandWorker().claim() is None  # which parks them
    outcomes = stage.meet(
        *[call("cancel", run=str(run.pk)) for run in waiting] * 2,
        call("complete", held=give(held)),
    )
    assert len(succeeded(outcomes, "cancel")) == len(waiting)


@race("a lease that runs out against its holder")
def expiry(stage: Stage) -> None:
    run, held = stage.take(concurrency_key=stage.dice.choice(["k", None]))
    leases.expire_owned_by(held.claim.owner)
    holder = give(held)
    outcomes = stage.meet(
        *[call("claim")] * (stage.size // 4),
        *[call("renew", held=holder)] * 2,
        *[call("step", held=holder, name=name) for name in "abc"],
        *[call("log", held=holder)] * 2,
        call("complete", held=holder),
        call("expire", held=holder),
    )
    assert len([value for value in succeeded(outcomes, "claim") if value]) <= 1
    assert ends(run)["completed"] <= 1


@race("hand-over against cancel, claim and complete")
def hand_over(stage: Stage) -> None:
    run, held = stage.take(concurrency_key=stage.dice.choice(["k", None]))
    holder = give(held)
    outcomes = stage.meet(
        *[call("hand_over", held=holder)] * 2,
        *[call("claim")] * 4,
        call("cancel", run=str(run.pk)),
        call("complete", held=holder),
        call("log", held=holder),
    )
    assert sum(succeeded(outcomes, "hand_over")) <= 1
    found = ends(run)
    assert found["completed"] + found["cancelled"] == 1 or status(run) == "running"


@race("the end of a cancelled body against retry and sweep")
def release(stage: Stage) -> None:
    run, held = stage.take(concurrency_key="k")
    runs.cancel(run)
    holder = give(held)
    outcomes = stage.meet(
        *[call("release", held=holder)] * 2,
        *[call("retry", run=str(run.pk))] * 2,
        call("expire", held=holder),
        *[call("sweep")] * 2,
        *[call("claim")] * 4,
        call("trigger", job=OTHER, concurrency_key="k"),
        call("delete", run=str(run.pk)),
    )
    if succeeded(outcomes, "delete"):
        stage.runs.remove(str(run.pk))


@race("steps of one run in many threads, against cancel")
def parallel_steps(stage: Stage) -> None:
    run, held = stage.take()
    holder = give(held)
    names = [f"step-{number}" for number in range(stage.size // 2)]
    outcomes = stage.meet(
        *[call("step", held=holder, name=name) for name in names],
        *[call("log", held=holder)] * 4,
        *[call("cancel", run=str(run.pk))] * stage.dice.randint(0, 1),
    )
    stored = run.steps.filter(status="completed").count()
    assert stored == len(succeeded(outcomes, "step"))


@race("batches of the same keys in opposite order")
def batches(stage: Stage) -> None:
    keys = [f"key-{number}" for number in range(12)]
    outcomes = stage.meet(
        *[call("batch", job=JOB, keys=keys), call("batch", job=JOB, keys=keys[::-1])] * 4
    )
    assert len(succeeded(outcomes)) == 1  # all or nothing
    assert Run.objects.count() == len(keys)


@race("what changes many runs at once")
def many_runs(stage: Stage) -> None:
    """Each of these takes locks of many rows, in an order of its own."""
    worker = HandWorker("holder")
    for number in range(stage.size // 4):
        held = worker.take(stage.trigger(concurrency_key=f"key-{number}"))
        if number % 2:
            runs.cancel(held.claim.run_id)
        stage.trigger(OTHER, concurrency_key=f"key-{number}")
    HandWorker().claim()
    holder = give(held)
    owned = [
        str(run) for run in Run.objects.filter(lease_owner=worker.id).values_list("pk", flat=True)
    ]
    stage.meet(
        *[call("renew_all", owner=holder["owner"], held=stage.dice.sample(owned, len(owned)))] * 2,
        *[call("expire", held=holder)] * 2,
        *[call("sweep")] * 4,
        *[call("pause", job=OTHER), call("resume", job=OTHER)] * 2,
        *[call("cancel", run=run) for run in owned[:4]],
        *[call("claim")] * 4,
    )
    if Job.objects.get(name=OTHER).paused_at is not None:
        pauses.resume_job(OTHER)


@race("many who delete the same runs")
def purges(stage: Stage) -> None:
    made = [str(stage.failed().pk) for _ in range(stage.size // 4)]
    stage.dice.shuffle(made)
    outcomes = stage.meet(
        *[call("purge", limit=len(made))] * 4,
        *[call("delete", run=run) for run in made[:4]],
        *[call("retry", run=run) for run in made[2:6]],
    )
    stage.runs.difference_update(made)
    stage.runs.update(str(run) for run in succeeded(outcomes, "retry"))
    gone = sum(succeeded(outcomes, "purge")) + len(succeeded(outcomes, "delete"))
    assert gone + len(succeeded(outcomes, "retry")) == len(made)


@race("a bulk action in many hands")
def bulk_action(stage: Stage) -> None:
    made = [stage.failed() for _ in range(6)]
    action = bulk.create("retry", actor="crowd")
    for _ in range(3):
        stage.meet(*[call("advance_bulk")] * 4, call("retry", run=str(made[0].pk)))
    while not bulk.get(action.pk).is_over:
        stage.meet(call("advance_bulk"))
    assert {Run.objects.get(pk=run.pk).attempt for run in made} == {2}


@race("workers that execute all there is")
def workers(stage: Stage) -> None:
    keys = [None, None, "a", "b"]
    for _ in range(stage.size // 2):
        stage.trigger(stage.dice.choice([JOB, OTHER]), priority=stage.dice.choice([0, 0, 5]))
    for key in keys:
        stage.trigger(OTHER, concurrency_key=key)
        stage.trigger(JOB, concurrency_key=key)
    outcomes = stage.meet(*[call("drain")] * (stage.size // 4), *[call("sweep")] * 2)
    done = [run for value in succeeded(outcomes, "drain") for run in value]
    assert len(set(done)) == len(done)
