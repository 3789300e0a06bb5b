"""A worker that was frozen for longer than its lease looks before it starts another body."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import runs
from runs import AsyncStep, Step, job
from runs.engine import claims, control
from runs.engine.claims import Claim
from runs.engine.worker import WorkerProcess, register
from runs.models import Run
from tests.support.engine import HandWorker, reload

# The clock is a fake: what fails here once is broken, and gets no second try in CI.
pytestmark = [pytest.mark.django_db, pytest.mark.flaky(reruns=0)]

Freeze = Callable[[], None]


@pytest.fixture
def work(calls: list[Any]) -> runs.JobDefinition:
    @job
    def work(step: Step) -> None:
        for name in ("a", "b"):
            step.run(name, calls.append, name)

    return work


@pytest.fixture
def freeze(monkeypatch: pytest.MonkeyPatch) -> Freeze:
    """Let this process's clock go on for a minute at once."""
    real = time.time

    def one_minute() -> None:
        monkeypatch.setattr(time, "time", lambda: real() + 60)

    return one_minute


def test_no_body_starts_of_a_run_that_another_worker_has_taken_and_finished(
    work: runs.JobDefinition,
    worker: HandWorker,
    other_worker: HandWorker,
    freeze: Freeze,
    calls: list[Any],
) -> None:
    held = worker.take(work.trigger())
    held.step.run("a", calls.append, "a")
    freeze()  # while the answer to this checkpoint was under way
    worker.die()
    other_worker.take().execute()
    with pytest.raises(control.LeaseLost):
        held.step.run("b", calls.append, "b again")
    assert calls == ["a", "b"]


def test_nor_in_async_code(
    worker: HandWorker, other_worker: HandWorker, freeze: Freeze, calls: list[Any]
) -> None:
    @job
    async def waits(step: AsyncStep) -> None:
        if step.attempt == 1 and not calls:
            calls.append("frozen")
            freeze()
        await step.run("a", calls.append, "a")

    held = worker.take(waits.trigger())
    Run.objects.update(lease_generation=2, lease_owner=other_worker.id)
    held.execute()
    assert calls == ["frozen"]


def test_a_run_that_nobody_has_taken_goes_on_under_a_new_lease(
    work: runs.JobDefinition, worker: HandWorker, freeze: Freeze, calls: list[Any]
) -> None:
    held = worker.take(work.trigger())
    worker.die()
    freeze()
    held.step.run("a", calls.append, "a")
    assert calls == ["a"]
    expires = reload(Run.objects.get()).lease_expires_at
    assert expires is not None
    assert expires.timestamp() > time.time() - 60 + 20


def test_a_renewal_counts_from_when_it_was_asked_for_and_only_for_runs_that_it_reached(
    work: runs.JobDefinition, other_worker: HandWorker, freeze: Freeze
) -> None:
    process = WorkerProcess(register(2))
    owner = HandWorker()
    owner.id = process.id
    mine, lost = (process._begin(owner.take(work.trigger()).claim) for _ in range(2))
    Run.objects.filter(pk=lost.run_id).update(lease_owner=other_worker.id)
    freeze()
    assert mine.hold.may_be_over
    process.renew_leases()
    assert not mine.hold.may_be_over
    assert lost.hold.may_be_over


def test_a_claim_counts_from_when_it_was_asked_for(
    work: runs.JobDefinition,
    worker: HandWorker,
    freeze: Freeze,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its answer may be under way for as long as the process is frozen."""
    real = claims.claim_of

    def late(*args: Any) -> Claim | None:
        freeze()
        return real(*args)

    monkeypatch.setattr(claims, "claim_of", late)
    assert worker.take(work.trigger()).execution.hold.may_be_over
