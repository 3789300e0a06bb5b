"""The end of a run and the claim of the next are one transaction."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import Error, IntegrityError, OperationalError, connection, transaction

import runs
from runs import Step, cancel, job, signals
from runs.engine import claims, database, endings, leases, pauses
from runs.engine.claims import Claimer
from runs.engine.worker import WorkerProcess, register
from runs.models import Run
from runs.payloads import JSONText
from runs.registry import registry
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, kinds, messages, reload

pytestmark = pytest.mark.django_db


@pytest.fixture
def work() -> runs.JobDefinition:
    @job
    def work(step: Step, number: int | None) -> int | None:
        step.run("a", lambda: None)
        step.log.info("ends")
        return number

    return work


@pytest.fixture
def process(work: runs.JobDefinition) -> WorkerProcess:
    """A worker that knows the jobs of the test when it looks for runs."""
    return WorkerProcess(register(1))


def drain(process: WorkerProcess) -> None:
    process.jobs = tuple(registry.names())
    process.drain()


@pytest.fixture
def separate_claims(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What claims in transactions of their own have found."""
    real, found = claims.claim_next, []

    def claim_next(*args: Any) -> Any:
        found.append(real(*args))
        return found[-1]

    monkeypatch.setattr(claims, "claim_next", claim_next)
    return found


def test_a_worker_takes_the_next_run_with_the_end_of_the_one_before(
    work: runs.JobDefinition, process: WorkerProcess, separate_claims: list[Any]
) -> None:
    triggered = [work.trigger(number) for number in range(4)]
    drain(process)
    assert [reload(run).output for run in triggered] == [0, 1, 2, 3]
    assert [kinds(run) for run in triggered] == [["triggered", "started", "completed"]] * 4
    assert [messages(run) for run in triggered] == [["ends"]] * 4
    assert [claim and claim.run_id for claim in separate_claims] == [triggered[0].pk, None]
    check_invariants()


def test_it_takes_the_same_run_as_a_claim_of_its_own_would(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    first = worker.take(work.trigger(priority=9))
    low, high, lost = work.trigger(), work.trigger(priority=5), work.trigger(priority=8)
    other_worker.take(lost)
    other_worker.die()
    later = work.trigger(priority=9, run_at=database.utc_now() + timedelta(hours=1))
    order, held = [], first.execute_and_claim(worker)
    while held is not None:
        order.append(held.claim.run_id)
        held = held.execute_and_claim(worker)
    assert order == [lost.pk, high.pk, low.pk]
    assert kinds(lost) == ["triggered", "started", "taken_over", "completed"]
    taken_over = lost.events.get(kind="taken_over")
    assert taken_over.data == {"attempt": 1, "from": str(other_worker.id)}
    assert reload(later).status == "pending"
    check_invariants()


def test_a_run_that_was_taken_with_an_end_goes_on_after_its_completed_steps(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    lost, last = work.trigger(), work.trigger()
    held = other_worker.take(lost)
    held.step.run("a", lambda: None)
    ending = worker.take(last)
    other_worker.die()
    resumed = ending.execute_and_claim(worker)
    assert resumed is not None
    assert resumed.claim.steps.keys() == {"a"}
    assert resumed.claim.recoveries == 1
    resumed.execute()
    assert [step.attempts for step in lost.steps.all()] == [1]


def test_a_failed_run_makes_room_for_the_next_as_well(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    @job
    def fail(step: Step) -> None:
        step.log.info("last words")
        raise LookupError("in vain")

    failing, following = fail.trigger(), work.trigger()
    held = worker.take(failing).execute_and_claim(worker)
    assert held is not None
    assert held.claim.run_id == following.pk
    stored = reload(failing)
    assert (stored.status, stored.error) == ("failed", "LookupError: in vain")
    assert messages(failing) == ["last words"]
    assert failing.events.get(kind="failed").data["error"] == "LookupError: in vain"
    check_invariants()


def test_the_run_that_waits_for_the_key_may_be_the_next(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    held = worker.take(work.trigger(0, concurrency_key="c"))
    second = work.trigger(1, concurrency_key="c")
    assert worker.claim() is None  # parked
    following = held.execute_and_claim(worker)
    if connection.vendor == "sqlite":
        assert following is not None
        assert following.claim.run_id == second.pk
        following.execute()
    else:  # there the key is freed in a transaction of its own: nobody must wait for it
        assert following is None
        worker.take(second).execute()
    assert reload(second).status == "completed"
    check_invariants()


def test_a_run_whose_key_is_held_is_not_taken(
    work: runs.JobDefinition, worker: HandWorker, other_worker: HandWorker
) -> None:
    holder = other_worker.take(work.trigger(concurrency_key="c"))
    ending = worker.take(work.trigger())
    waiting = work.trigger(concurrency_key="c")
    assert ending.execute_and_claim(worker) is None
    assert reload(waiting).status == "pending"
    assert worker.claim() is None
    holder.execute()
    worker.take(waiting)
    check_invariants()


def test_a_run_of_a_paused_job_is_not_taken(work: runs.JobDefinition, worker: HandWorker) -> None:
    ending = worker.take(work.trigger())
    pauses.pause_job("work")
    waiting = work.trigger()
    assert ending.execute_and_claim(worker) is None
    assert reload(ending_run(ending)).status == "completed"
    assert reload(waiting).status == "pending"
    check_invariants()


def ending_run(held: Any) -> Run:
    return Run.objects.get(pk=held.claim.run_id)


def test_a_run_does_not_take_itself_again(work: runs.JobDefinition, worker: HandWorker) -> None:
    """Its lease has run out while the process was frozen, but nobody else took it."""
    run = work.trigger()
    held = worker.take(run)
    worker.die()
    assert held.execute_and_claim(worker) is None
    assert kinds(run) == ["triggered", "started", "completed"]
    check_invariants()


def test_nothing_is_taken_when_the_end_is_refused(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    cancelled, waiting = work.trigger(), work.trigger()
    held = worker.take(cancelled)
    cancel(cancelled)
    assert held.execute_and_claim(worker) is None
    assert reload(cancelled).lease_owner is None
    assert (reload(waiting).status, kinds(waiting)) == ("pending", ["triggered"])
    check_invariants()


def test_a_worker_that_stops_takes_nothing(
    process: WorkerProcess, work: runs.JobDefinition
) -> None:
    @job
    def last(step: Step) -> str:
        process.begin_stop()  # between the last step and the end
        return "done"

    ended, waiting = last.trigger(priority=1), work.trigger()
    drain(process)
    assert reload(ended).output == "done"
    assert (reload(waiting).status, kinds(waiting)) == ("pending", ["triggered"])


def test_a_worker_that_is_told_to_stop_during_the_end_hands_the_next_run_back(
    process: WorkerProcess, work: runs.JobDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = endings.end_run

    def end_run(*args: Any) -> Any:
        found = real(*args)
        process.begin_stop()
        return found

    first, second = work.trigger(), work.trigger()
    monkeypatch.setattr(endings, "end_run", end_run)
    drain(process)
    assert reload(first).status == "completed"
    assert kinds(second) == ["triggered", "started", "handed_back"]
    assert reload(second).due_at == second.queued_at


def test_a_thread_whose_turn_is_over_only_ends_its_run(
    process: WorkerProcess, work: runs.JobDefinition, separate_claims: list[Any]
) -> None:
    """On SQLite another thread has set out, as after a run that computes for long."""

    @job
    def slow(step: Step) -> None:
        process._turns._holder = threading.Thread()
        process._turns._since = 0

    slow.trigger(priority=1)
    waiting = work.trigger()
    drain(process)
    assert reload(waiting).status == "completed"
    alone = [claim.run_id for claim in separate_claims if claim is not None]
    assert (waiting.pk in alone) is (connection.vendor == "sqlite")


def test_a_process_that_has_missed_a_renewal_renews_before_it_claims(
    process: WorkerProcess,
    work: runs.JobDefinition,
    monkeypatch: pytest.MonkeyPatch,
    separate_claims: list[Any],
) -> None:
    renewals: list[set[Any]] = []
    real = process.renew_leases

    def renew_leases() -> None:
        renewals.append({execution.run_id for execution in process.executions()})
        real()

    monkeypatch.setattr(process, "renew_leases", renew_leases)
    other = process._begin(_claim_of(process.id))

    @job
    def frozen(step: Step) -> None:
        process._renewed_at -= 3600

    frozen.trigger(priority=1)
    following = work.trigger()
    drain(process)
    assert renewals == [{other.run_id}]
    assert following.pk in [claim.run_id for claim in separate_claims if claim]
    assert reload(following).status == "completed"


def _claim_of(owner: UUID) -> claims.Claim:
    nothing = JSONText("{}")
    return claims.Claim(uuid4(), "other", nothing, nothing, 1, 1, 0, None, owner, 0.0, {})


def test_the_next_run_is_renewed_while_receivers_hear_of_the_end(
    process: WorkerProcess, work: runs.JobDefinition
) -> None:
    first, second = work.trigger(), work.trigger()
    known: list[set[Any]] = []

    def hear(run_id: Any, **_: Any) -> None:
        known.append({execution.run_id for execution in process.executions()} - {run_id})

    signals.run_completed.connect(hear)
    try:
        drain(process)
    finally:
        signals.run_completed.disconnect(hear)
    assert known == [{second.pk}, set()]
    assert reload(first).status == "completed"


# What goes wrong


@pytest.mark.parametrize("error", [IntegrityError("race"), Error("anything")])
def test_a_claim_that_the_database_refuses_costs_the_run_before_nothing(
    process: WorkerProcess, work: runs.JobDefinition, error: Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = endings._end, []

    def _end(*args: Any) -> Any:
        if args[-1] is None:
            return real(*args)
        undone = transaction.atomic()
        undone._from_testcase = True  # type: ignore[attr-defined]
        with undone:
            real(*args)
            refused.append(1)
            raise error

    monkeypatch.setattr(endings, "_end", _end)
    triggered = [work.trigger(number) for number in range(3)]
    drain(process)
    assert len(refused) == 3
    assert [kinds(run) for run in triggered] == [["triggered", "started", "completed"]] * 3
    check_invariants()


def test_when_the_answer_to_the_commit_is_lost_the_run_has_ended(
    process: WorkerProcess, work: runs.JobDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next one is in nobody's hands: its lease runs out, and it is taken again."""
    real, tries = endings.end_run, []

    def end_run(*args: Any) -> Any:
        found = real(*args)
        tries.append(found)
        if len(tries) == 1:
            raise OperationalError("the server went away after the commit")
        return found

    monkeypatch.setattr(endings, "end_run", end_run)
    first, second = work.trigger(), work.trigger()
    drain(process)
    assert kinds(first) == ["triggered", "started", "completed"]
    assert messages(first) == ["ends"]
    assert reload(second).lease_owner == process.id
    assert process.executions() == []
    process.renew_leases()
    leases.expire_owned_by(process.id)
    drain(process)
    assert reload(second).status == "completed"
    check_invariants()


def test_an_end_inside_a_transaction_of_the_handler_s_is_refused(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    held = worker.take(work.trigger())
    claimer = Claimer(("work",), worker.id, worker.name)
    transactional = transaction.atomic()
    transactional._from_testcase = False  # type: ignore[attr-defined]
    with transactional, pytest.raises(RuntimeError, match="durable"):
        held.execution.finish(endings.Ending(), claimer)
    assert reload(ending_run(held)).status == "running"
