"""An end that claims the next run meets others who end, claim and write at that moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

import runs
from runs import Step, job
from runs.engine import database
from runs.models import Run
from tests.faults.invariants import check_invariants
from tests.support.engine import HandWorker, race, reload

pytestmark = pytest.mark.django_db


@pytest.fixture
def work() -> runs.JobDefinition:
    @job
    def work(step: Step, number: int | None) -> int | None:
        step.run("a", lambda: None)
        step.log.info("ends")
        return number

    return work


@pytest.mark.django_db(transaction=True)
def test_threads_that_end_and_claim_take_each_run_once(work: runs.JobDefinition) -> None:
    keys = ["x", "y", None, None]
    work.batch_trigger([runs.BatchItem(n, concurrency_key=keys[n % 4]) for n in (0, 1)])
    work.batch_trigger(list(range(20)))

    def work_off() -> list[Any]:
        worker, done = HandWorker(uuid4().hex), []
        held = worker.claim()
        while held is not None:
            done.append(held.claim.run_id)
            held = held.execute_and_claim(worker) or worker.claim()
        return done

    results = race(*[work_off] * 4)
    done = [id for result in results for id in result]
    assert sorted(done) == sorted(set(done)) == sorted(Run.objects.values_list("pk", flat=True))
    assert set(Run.objects.values_list("status", "lease_generation")) == {("completed", 1)}
    check_invariants()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_run_that_another_transaction_has_just_given_the_same_key_is_left_alone(
    work: runs.JobDefinition, worker: HandWorker
) -> None:
    """The claim waits for that transaction and is refused; the end is stored all the same."""

    @job
    def other(step: Step) -> None:
        pass

    ending = worker.take(work.trigger())
    holder = other.trigger(concurrency_key="c", run_at=database.utc_now() + timedelta(hours=1))
    waiting = work.trigger(concurrency_key="c")
    with in_another_transaction(lambda: Run.objects.filter(pk=holder.pk).update(held_key="c")):
        assert ending.execute_and_claim(worker) is None
    assert Run.objects.get(pk=ending.claim.run_id).status == "completed"
    assert reload(waiting).status == "pending"


@contextmanager
def in_another_transaction(write: Callable[[], object]) -> Iterator[None]:
    """Written, but committed only when somebody waits for it."""
    written = threading.Event()

    def hold() -> None:
        with transaction.atomic():
            write()
            written.set()
            with connection.cursor() as cursor:
                for _ in range(1000):
                    cursor.execute(
                        "SELECT count(*) FROM pg_locks WHERE NOT granted "
                        "AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
                    )
                    if cursor.fetchone()[0]:
                        break
                    cursor.execute("SELECT pg_sleep(0.01)")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert written.wait(10)
    yield
    thread.join(20)
    assert not thread.is_alive()
