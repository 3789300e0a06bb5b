"""What a thread of a crowd can do: actions by name, with JSON in and out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import runs
from runs.engine import bulk, claims, database, leases, pauses
from runs.engine.claims import Claim
from runs.payloads import JSONText
from runs.registry import registry
from tests.support.engine import HandWorker, Held


def give(held: Held) -> dict[str, Any]:
    """A claimed run as JSON, for others to act as its holder."""
    claim = held.claim
    return {
        "run": str(claim.run_id),
        "job": claim.job,
        "attempt": claim.attempt,
        "generation": claim.generation,
        "owner": str(claim.owner),
        "key": claim.key,
    }


def _hold(held: dict[str, Any]) -> Held:
    """The same, as an object."""
    claim = Claim(
        run_id=UUID(held["run"]),
        job=held["job"],
        input=JSONText("null"),
        labels=JSONText("{}"),
        attempt=held["attempt"],
        generation=held["generation"],
        owner=UUID(held["owner"]),
        asked_at=time.time(),
        recoveries=0,
        key=held["key"],
        steps={},
    )
    return Held(claim, "holder")


def trigger(job: str, **options: Any) -> dict[str, Any]:
    run = runs.trigger(job, **options)
    return {"run": str(run.pk), "disposition": run.disposition}


def batch(job: str, keys: list[str], input: Any = None) -> list[str]:
    """A batch with these concurrency keys."""
    items = [runs.BatchItem(input, concurrency_key=key) for key in keys]
    return [str(run.pk) for run in runs.get_job(job).batch_trigger(items)]


def claim() -> dict[str, Any] | None:
    """As a worker of its own."""
    held = HandWorker(str(uuid4())).claim()
    return None if held is None else give(held)


def drain() -> list[str]:
    """Execute until nothing is due, as a worker of its own; the runs in order."""
    worker = HandWorker(str(uuid4()))
    done = []
    while (held := worker.claim()) is not None:
        held.execute()
        done.append(str(held.claim.run_id))
    return done


def complete(held: dict[str, Any]) -> None:
    """The holder's handler returns."""
    _hold(held).execute()


def step(held: dict[str, Any], name: str) -> None:
    """The holder completes a step."""
    _hold(held).step.run(name, int)


def log(held: dict[str, Any]) -> None:
    """The holder's heartbeat writes what it has logged."""
    holder = _hold(held)
    holder.step.log.info("line")
    holder.step.progress(1, 2)
    holder.execution.flush()


def hand_over(held: dict[str, Any]) -> bool:
    return _hold(held).hand_over()


def release(held: dict[str, Any]) -> None:
    _hold(held).release()


def renew(held: dict[str, Any]) -> None:
    leases.renew(UUID(held["owner"]), [UUID(held["run"])])


def renew_all(owner: str, held: list[str]) -> None:
    """The holder's heartbeat renews all that it executes."""
    leases.renew(UUID(owner), [UUID(run) for run in held])


def expire(held: dict[str, Any]) -> int:
    """A worker of its host sees that the holder is dead."""
    return leases.expire_owned_by(UUID(held["owner"]))


def sweep() -> bool:
    """What some worker does once a second; whether there is work."""
    leases.sweep()
    return claims.anything_due(registry.names())


def advance_bulk() -> bool:
    return bulk.advance(uuid4(), 0.05)


def purge(limit: int) -> int:
    return runs.purge_runs(database.utc_now(), limit)


def _of_run(operation: Callable[..., Any]) -> Callable[..., Any]:
    def act(run: str) -> str | None:
        found = operation(run)
        return None if found is None else str(found.pk)

    return act


def _of_job(operation: Callable[..., Any]) -> Callable[..., Any]:
    def act(job: str) -> None:
        operation(job)

    return act


ACTIONS: dict[str, Callable[..., Any]] = {
    action.__name__: action
    for action in (
        trigger, batch, claim, drain, complete, step, log, hand_over, release, renew, renew_all,
        expire,
        sweep, advance_bulk, purge,
    )
} | {
    "cancel": _of_run(runs.cancel),
    "retry": _of_run(runs.retry),
    "retrigger": _of_run(runs.retrigger),
    "delete": _of_run(runs.delete_run),
    "pause": _of_job(pauses.pause_job),
    "resume": _of_job(pauses.resume_job),
}  # fmt: skip
