"""The doorbell: who rings, who hears it, and that nobody waits for it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

import runs
from runs import Step, job
from runs.engine import wakeups
from runs.engine.pool import Pool
from tests import processes
from tests.processes import until

pytestmark = pytest.mark.django_db(transaction=True)

STORAGES = [
    "sqlite",
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("postgres", marks=pytest.mark.postgres),
]


@job(name="wakeups-nothing")
def nothing(step: Step) -> None:
    """Nothing."""


@pytest.fixture
def use_storage(
    settings: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], str]]:
    """Choose where Huey keeps the messages of this test; the URL, empty for the database's."""

    def use(name: str) -> str:
        if name == "sqlite":
            url = f"sqlite:///{tmp_path / 'huey.sqlite3'}"
        elif name == "redis":
            url = request.getfixturevalue("redis_server")
        else:
            url = name if "://" in name else ""
        settings.HUEY_URL = url
        wakeups._doorbell.cache_clear()
        if name == "postgres":
            wakeups.get_huey().storage.flush_queue()
        return url

    yield use
    wakeups.get_huey().storage.close()
    wakeups._doorbell.cache_clear()


class Looks:
    """A pool in the place of a worker's: its threads only count that they have looked."""

    def __init__(self, slots: int) -> None:
        self.count = 0
        self.gate = threading.Event()
        self.gate.set()
        # A connection of its own, as a process has.
        doorbell = wakeups._doorbell.__wrapped__(str(connection.settings_dict["NAME"]))
        self.pool = Pool(doorbell.huey, slots, self)

    def __call__(self) -> None:
        self.count += 1
        self.gate.wait(20)

    def close(self) -> None:
        self.gate.set()
        self.pool.close()
        for _, thread in self.pool.worker_threads:
            thread.join(5)
            assert not thread.is_alive()
        self.pool.scheduler.join(5)
        self.pool.huey.storage.close()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Looks]]:
    """Makes pools that end with the test."""
    made: list[Looks] = []

    def make(slots: int) -> Looks:
        made.append(Looks(slots))
        made[-1].pool.start()  # only now: what it hears at once is its own work
        return made[-1]

    # What a message starts is the work of this process's worker: here, of the one pool.
    def look() -> None:
        made[-1]()

    monkeypatch.setattr("runs.engine.worker.execute_due_runs", look)
    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("storage", STORAGES)
def test_a_trigger_wakes_a_thread_of_a_pool(
    storage: str, use_storage: Any, pool: Callable[[int], Looks]
) -> None:
    use_storage(storage)
    looks = pool(4)
    for number in range(1, 4):
        runs.trigger("wakeups-nothing")
        until(lambda: looks.count >= number, "the look", timeout=10)  # noqa: B023 (used at once)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_busy_pool_leaves_messages_to_others(
    storage: str, use_storage: Any, pool: Callable[[int], Looks]
) -> None:
    use_storage(storage)
    busy = pool(2)
    busy.gate.clear()
    for number in (1, 2):
        runs.trigger("wakeups-nothing")
        until(lambda: busy.count == number, "both threads at work", timeout=10)  # noqa: B023
    runs.trigger("wakeups-nothing")
    huey = wakeups.get_huey()
    until(lambda: huey.pending_count() == 1, "the message", timeout=10)
    free = pool(1)
    until(lambda: free.count == 1, "the look of the other pool", timeout=10)
    assert busy.count == 2
    assert huey.pending_count() == 0


def test_a_pool_is_woken_without_a_message(use_storage: Any, pool: Callable[[int], Looks]) -> None:
    use_storage("sqlite")
    looks = pool(3)
    looks.pool.wake()
    until(lambda: looks.count == 3, "a look of each thread", timeout=10)


def test_nobody_waits_for_threads_that_wait(use_storage: Any, pool: Callable[[int], Looks]) -> None:
    use_storage("sqlite")
    looks = pool(2)
    until(lambda: looks.pool._idle == 2, "idle threads")
    began = time.monotonic()
    looks.pool.close()
    for _, thread in looks.pool.worker_threads:
        thread.join(5)
    assert time.monotonic() - began < 0.9  # they look for the end of the pool once a second


def test_a_trigger_does_not_wait_for_a_storage_that_hangs(use_storage: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_storage(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        for _ in range(5):
            runs.trigger("wakeups-nothing")
        assert time.monotonic() - began < 4  # and the connection gives up after 5
    # Now it is refused, which ends what hangs.


def test_as_many_messages_as_slots_and_no_more(use_storage: Any, settings: Any) -> None:
    use_storage("sqlite")
    settings.WORKER_CONCURRENCY = 3
    wakeups._slots = (-wakeups._SLOTS_TTL, 1)
    runs.get_job("wakeups-nothing").batch_trigger([None] * 20)
    huey = wakeups.get_huey()
    until(lambda: huey.pending_count() == 3, "the messages")
    runs.trigger("wakeups-nothing")
    wakeups._bell._thread.submit(lambda: None).result()
    assert huey.pending_count() == 3


@pytest.mark.postgres
def test_many_messages_at_once_wake_a_listener_once(use_storage: Any, settings: Any) -> None:
    """Not once for each, as 64 idle workers would hear all that a batch sends."""
    use_storage("postgres")
    settings.WORKER_CONCURRENCY = 20
    wakeups._slots = (-wakeups._SLOTS_TTL, 1)
    huey = wakeups.get_huey()
    listener = huey.storage._listen_conn()
    runs.get_job("wakeups-nothing").batch_trigger([None] * 20)
    until(lambda: huey.pending_count() == 20, "the messages")
    assert len(list(listener.notifies(timeout=0.5))) == 1
    for _ in range(20):
        assert huey.dequeue().name == "work"


def test_a_process_that_ends_at_once_has_rung(use_storage: Any) -> None:
    use_storage("sqlite")
    code, _, errors = processes.manage("trigger", "process-order", '{"order_id": "order_1"}')
    assert code == 0, errors
    assert wakeups.get_huey().pending_count() == 1


def test_a_child_of_a_fork_rings(use_storage: Any) -> None:
    use_storage("sqlite")
    runs.trigger("wakeups-nothing")
    huey = wakeups.get_huey()
    until(lambda: huey.pending_count() == 1, "the message of the parent")
    name = str(connection.settings_dict["NAME"])
    child = os.fork()
    if child == 0:
        try:
            wakeups._bell.ring(name, 1)
            wakeups._bell._thread.shutdown()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert huey.pending_count() == 2
