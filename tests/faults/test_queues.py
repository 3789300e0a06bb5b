"""Huey's storage fails and the runs' database does not: workers go on by looking for themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg
import pytest

from runs.models import Run
from tests.faults.installation import Installation
from tests.faults.invariants import check_invariants
from tests.faults.servers import PostgresServer, RedisServer, new_server
from tests.support.crash import Cluster, trigger

#: How long a queue is away, in seconds.
AWAY = 3.0

#: How much of a processor web and worker may use meanwhile, each. What spins uses all of it.
BUSY = 0.5


@pytest.fixture(scope="module")
def queue_server() -> Iterator[PostgresServer]:
    with new_server() as found:
        yield found


@pytest.fixture
def queue(queue_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server for Huey alone, without its tables."""
    yield queue_server
    queue_server.cut_connections()
    queue_server.execute("DROP SCHEMA public CASCADE")
    queue_server.execute("CREATE SCHEMA public")


def test_a_queue_that_is_killed_and_flushed_loses_no_run(
    redis: RedisServer, cluster: Cluster
) -> None:
    with Installation(cluster, HUEY_URL=redis.url) as site:
        check_found(site)
        redis.stop()
        check_found_idly(site)
        cluster.until(lambda: "Huey's storage fails" in site.worker.log.read_text(), "a word")
        redis.start()  # as empty as if it had been flushed
        check_found(site)
        redis.client().flushall()
        check_found(site)
        check_invariants()


@contextmanager
def stops(queue: PostgresServer) -> Iterator[None]:
    queue.stop()
    yield
    queue.start()


@contextmanager
def cuts_connections(queue: PostgresServer) -> Iterator[None]:
    """Again and again, wherever who uses them happens to be."""
    enough = threading.Event()

    def cut() -> None:
        while not enough.wait(0.2):
            queue.cut_connections()

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@contextmanager
def has_locked_tables(queue: PostgresServer) -> Iterator[None]:
    with psycopg.connect(queue.url) as held:
        held.execute("LOCK TABLE huey_task IN ACCESS EXCLUSIVE MODE")
        yield
        held.rollback()


@pytest.mark.parametrize("fault", [stops, cuts_connections, has_locked_tables])
def test_workers_go_on_while_the_queue_s_postgresql(
    queue: PostgresServer,
    cluster: Cluster,
    fault: Callable[[PostgresServer], AbstractContextManager[None]],
) -> None:
    with Installation(cluster, HUEY_URL=queue.url) as site:
        await_listener(queue)
        check_found(site)
        with fault(queue):
            check_found_idly(site)
            cluster.until(lambda: "Huey's storage fails" in site.worker.log.read_text(), "a word")
        await_listener(queue)
        check_found(site)
        cluster.until(lambda: messages(queue) == 0, "all messages are taken again")
        assert site.worker.popen.poll() is None, cluster.logs()
        check_invariants()


def test_a_worker_starts_while_the_queue_s_postgresql_is_away(
    queue: PostgresServer, cluster: Cluster
) -> None:
    with stops(queue):
        worker = cluster.start(HUEY_URL=queue.url)
        cluster.completed(trigger(0))
        cluster.until(lambda: "Huey's storage fails" in worker.log.read_text(), "a word")
    await_listener(queue)
    assert messages(queue) == 0  # its tables are there


def check_found(site: Installation) -> None:
    """Triggers are answered at once, and their runs executed about a second later, at most."""
    made = []
    for _ in range(4):
        answer = site.post("/api/jobs/crash-plan/trigger", {"input": {"steps": [{}]}})
        assert answer.status == 201, answer
        assert answer.seconds < 4, answer
        made.append(Run.objects.get(pk=answer.json["id"]))
    begun = time.monotonic()
    site.cluster.completed(*made)
    assert time.monotonic() < begun + 5


def check_found_idly(site: Installation) -> None:
    """The same while the queue is away, of which they say little."""
    cpu, begun = site.cpu(), time.monotonic()
    check_found(site)
    time.sleep(max(begun + AWAY - time.monotonic(), 0))
    took = time.monotonic() - begun
    for name, used in site.cpu().items():
        assert used - cpu[name] < BUSY * took + 1, name  # it also works meanwhile
    assert site.worker.log.read_text().count("\n") < 20


def await_listener(queue: PostgresServer) -> None:
    """Until a worker waits for messages there."""
    deadline = time.monotonic() + 20
    while not queue.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'listen%%'"):
        assert time.monotonic() < deadline, "nobody waits for messages"
        time.sleep(0.1)


def messages(queue: PostgresServer) -> int:
    """How many wait there."""
    return int(queue.execute("SELECT count(*) FROM huey_task")[0][0])
