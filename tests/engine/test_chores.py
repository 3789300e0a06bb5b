"""Periodic work: one worker at a time does it, and another one if that one dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from runs.engine import chore_leases, chores, database
from runs.engine.chore_leases import ChoreLease
from runs.engine.heartbeat import Heartbeat
from runs.engine.worker import WorkerProcess, register
from runs.models import Chore, Worker

pytestmark = pytest.mark.django_db

PAUSE = timedelta(seconds=10)
PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def chore(db: None) -> None:
    """A chore that is due."""
    Chore.objects.create(name="tidy", due_at=PAST)


def do(work: Callable[[ChoreLease], object], owner: UUID | None = None) -> bool:
    """Whether this owner did the chore, as its worker would now."""
    return bool(chores.do_due({"tidy": (PAUSE, work)}, owner or uuid4()))


def row() -> Chore:
    return Chore.objects.get(name="tidy")


def test_it_is_done_once_and_due_again_after_its_pause() -> None:
    done: list[str] = []
    assert do(lambda _: done.append("first"))
    assert not do(lambda _: done.append("second"))
    assert done == ["first"]
    assert row().lease_owner is None
    assert timedelta(seconds=5) < row().due_at - datetime.now(UTC) <= PAUSE


def test_it_takes_no_more_than_a_twentieth_of_the_time() -> None:
    """As the look for forgotten runs does once a second, among very many that wait."""
    often: chores._Chores = {"tidy": (timedelta(seconds=1), lambda _: time.sleep(0.2))}
    assert chores.do_due(often, uuid4()) == ["tidy"]
    assert timedelta(seconds=3) < row().due_at - datetime.now(UTC) < timedelta(seconds=9)


def test_nobody_joins_who_takes_longer_than_the_pause() -> None:
    def work(lease: ChoreLease) -> None:
        Chore.objects.update(due_at=PAST)
        assert not do(lambda _: pytest.fail("a second one is at it"))
        lease.keep()

    assert do(work)


@pytest.mark.django_db(transaction=True)
def test_of_many_that_find_it_due_at_once_one_does_it() -> None:
    together, at_it, most, done = threading.Barrier(8), [0], [0], []

    def work(_: ChoreLease) -> None:
        at_it[0] += 1
        most[0] = max(most[0], at_it[0])
        at_it[0] -= 1

    def one() -> None:
        try:
            together.wait(10)
            done.append(do(work))
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (sum(done), most[0]) == (1, 1)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_who_comes_second_does_not_wait_for_who_is_just_taking_it() -> None:
    """Or the heartbeats of all workers would stand in line at one row."""
    taken, answered = threading.Event(), threading.Event()

    def first() -> None:
        try:
            with transaction.atomic():
                assert chore_leases.take("tidy", uuid4())
                taken.set()
                assert answered.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    assert taken.wait(10)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '5s'")
        assert chore_leases.take("tidy", uuid4()) is None
        cursor.execute("SET lock_timeout = 0")
    answered.set()
    thread.join(10)


def test_the_more_workers_there_are_the_more_rarely_each_looks_for_chores() -> None:
    def rest(workers: int) -> float:
        Worker.objects.all().delete()
        for _ in range(workers):
            register(1)
        return chores.Caretaker(uuid4())._rest()

    assert rest(1) == rest(8) == chores.PAUSE_SECONDS
    assert rest(16) == 2 * chores.PAUSE_SECONDS
    assert rest(200) == chores._LONGEST_PAUSE


def test_no_worker_counts_more_others_than_make_a_difference() -> None:
    """Or ten thousand workers would count ten thousand each."""
    for _ in range(90):
        register(1)
    with CaptureQueriesContext(connection) as asked:
        assert chores.Caretaker(uuid4())._rest() == chores._LONGEST_PAUSE
    [count] = asked.captured_queries
    assert "LIMIT 80" in count["sql"]
    assert "ORDER BY" not in count["sql"], "which would read and sort them all"


def test_a_dead_holder_is_followed_when_its_lease_has_run_out() -> None:
    assert chore_leases.take("tidy", uuid4())
    assert not do(lambda _: None)
    Chore.objects.update(lease_expires_at=PAST)
    assert do(lambda _: None)


def test_a_holder_that_is_known_to_be_dead_is_followed_at_once() -> None:
    dead = register(1)
    assert chore_leases.take("tidy", dead.pk)
    assert not do(lambda _: None)
    Worker.objects.update(stopped_at=datetime.now(UTC))
    assert do(lambda _: None)


def test_who_was_followed_leaves_the_chore_to_the_next() -> None:
    late = chore_leases.take("tidy", uuid4())
    assert late is not None
    Chore.objects.update(lease_expires_at=PAST)
    following = uuid4()
    assert chore_leases.take("tidy", following)
    with pytest.raises(chore_leases.LeaseGone):
        late.keep(position=PAST)
    late.finish(PAUSE)
    assert (row().lease_owner, row().position, row().due_at) == (following, None, PAST)


def test_the_heartbeat_keeps_a_lease_however_long_one_statement_takes() -> None:
    worker = register(1)
    assert chore_leases.take("tidy", worker.pk)
    soon = datetime.now(UTC) + timedelta(seconds=2)
    Chore.objects.update(lease_expires_at=soon)
    Heartbeat(WorkerProcess(worker)).renew()
    end = row().lease_expires_at
    assert end is not None
    assert end > soon


def test_one_that_fails_waits_for_its_pause() -> None:
    def fail(_: ChoreLease) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        do(fail)
    assert not do(lambda _: None)
    assert row().lease_owner is None


def test_after_an_error_of_the_database_its_holder_tries_again() -> None:
    def fail(_: ChoreLease) -> None:
        raise OperationalError("away")

    worker = uuid4()
    with pytest.raises(OperationalError):
        do(fail, worker)
    assert not do(lambda _: None), "the other ones leave it alone as long as the lease runs"
    assert do(lambda _: None, worker)


@pytest.mark.postgres
def test_a_clock_that_is_wrong_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a worker's machine; the time is the database's."""
    wrong = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(database, "utc_now", lambda: wrong)
    Chore.objects.all().delete()
    assert not do(lambda _: None), "this enters it"
    assert do(lambda _: None)
    assert row().due_at < wrong - timedelta(minutes=50)


def test_a_sweep_is_made_by_one_worker_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[Any] = []
    monkeypatch.setattr("runs.engine.leases.sweep", lambda: swept.append(1))
    hearts = [Heartbeat(WorkerProcess(register(1))) for _ in range(3)]
    for _ in range(2):  # the first look enters the chore
        for heart in hearts:
            heart.sweep()
    assert len(swept) == 1
    Chore.objects.update(due_at=PAST)
    hearts[1].sweep()
    assert len(swept) == 2
