"""Databases that stop, crash, starve or move: all wait, say so, and come back.

A fault is a context manager: it begins, and ends, and says what may be answered meanwhile.
"""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import Settings

from runs.engine.database import utc_now
from runs.models import Run
from tests import processes
from tests.faults.installation import Answer, Installation, default_database
from tests.faults.invariants import check_invariants
from tests.faults.servers import PostgresServer, Relay, new_server, small_disk
from tests.services import Missing, skip_or_fail
from tests.support.crash import Cluster, locked_tables, trigger

#: How long a dependency is away, in seconds.
AWAY = 3.0

#: How much of a processor web and worker may use meanwhile, each. What spins uses all of it.
BUSY = 0.5

#: How many lines a second the worker may log meanwhile.
TALKATIVE = 20

#: What is asked for while the database is away: by people, and by programs.
PAGES = ("/", "/runs/", "/jobs/", "/login/", "/admin/")
READINESS = "/readyz"
DATA = ("/api/runs", "/api/jobs", "/api/durably/runs", READINESS)

#: And this is sent, which makes a run without steps.
TRIGGER = "/api/jobs/crash-plan/trigger"
NO_STEPS: dict[str, Any] = {"input": {"steps": []}}


@dataclass(frozen=True)
class Fault:
    """What happens to a database, and what may be answered while it does."""

    during: Callable[[Postgres], AbstractContextManager[None]]
    answers: frozenset[int] = frozenset({503})
    is_for_readers: bool = False


@dataclass
class Postgres:
    """A server of the test's own, and the address at which all see it."""

    server: PostgresServer
    relay: Relay
    successor: PostgresServer | None = None

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.relay.port}/postgres"


@contextmanager
def stops(postgres: Postgres) -> Iterator[None]:
    postgres.server.stop()
    yield
    postgres.server.start()


@contextmanager
def crashes(postgres: Postgres) -> Iterator[None]:
    postgres.server.stop(signal.SIGQUIT)
    yield
    postgres.server.start()


@contextmanager
def cuts_connections(postgres: Postgres) -> Iterator[None]:
    """Again and again, wherever who uses them happens to be."""
    enough = threading.Event()

    def cut() -> None:
        while not enough.wait(0.2):
            postgres.server.cut_connections()

    thread = threading.Thread(target=cut)
    thread.start()
    yield
    enough.set()
    thread.join()


@contextmanager
def is_out_of_connections(postgres: Postgres) -> Iterator[None]:
    taken: list[psycopg.Connection] = []
    with suppress(psycopg.OperationalError):
        while True:
            taken.append(psycopg.connect(postgres.server.url))
    for number in range(1, len(taken) + 30):  # those of web and worker, too
        taken[0].execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> ALL(%s) "
            "AND backend_type = 'client backend'",
            [[each.info.backend_pid for each in taken]],
        )
        with suppress(psycopg.OperationalError):
            taken.append(psycopg.connect(postgres.server.url))
        taken[number % len(taken)].rollback()
    yield
    for each in taken:
        each.close()


@contextmanager
def fails_over(postgres: Postgres) -> Iterator[None]:
    """To a server that has all of its data, and takes no writes for some time."""
    assert postgres.successor is not None
    postgres.server.stop(signal.SIGQUIT)
    postgres.relay.move(postgres.successor.port)
    yield
    postgres.successor.promote()


FAULTS = {
    "stops": Fault(stops),
    "crashes": Fault(crashes),
    "cuts connections": Fault(cuts_connections, frozenset({200, 503})),
    "is out of connections": Fault(is_out_of_connections),
    "fails over": Fault(fails_over, frozenset({200, 503}), is_for_readers=True),
}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with new_server() as found:
        yield found


@pytest.fixture
def postgres(server: PostgresServer, transactional_db: None) -> Iterator[Postgres]:
    relay = Relay(server.port)
    found = Postgres(server, relay)
    with default_database(found.url):
        yield found
    relay.close()
    server.cut_connections()
    server.execute("DROP SCHEMA public CASCADE")
    server.execute("CREATE SCHEMA public")


@pytest.fixture
def postgres_with_successor(transactional_db: None) -> Iterator[Postgres]:
    with new_server() as first:
        second = PostgresServer(copy_of=first, max_connections="30")
        relay = Relay(first.port)
        try:
            second.start()
            first.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")  # or it lags behind
            first.execute("SELECT pg_reload_conf()")
            found = Postgres(first, relay, second)
            with default_database(found.url):
                yield found
        finally:
            relay.close()
            second.remove()


@pytest.mark.postgres
@pytest.mark.parametrize(
    "fault",
    [
        "stops",
        pytest.param("crashes", marks=pytest.mark.soak),
        "cuts connections",
        pytest.param("is out of connections", marks=pytest.mark.soak),
    ],
)
def test_web_and_worker_survive_a_server_that(
    postgres: Postgres, cluster: Cluster, fault: str
) -> None:
    survive(postgres, cluster, FAULTS[fault])


@pytest.mark.postgres
@pytest.mark.soak
def test_web_and_worker_survive_a_server_that_fails_over(
    postgres_with_successor: Postgres, cluster: Cluster
) -> None:
    survive(postgres_with_successor, cluster, FAULTS["fails over"])


def survive(postgres: Postgres, cluster: Cluster, fault: Fault) -> None:
    """Runs go on where they were, and nobody has used the processor in between."""
    with Installation(cluster, DATABASE_URL=postgres.url) as site:
        runs = [trigger(*[0.2] * 25, asynchronous=asynchronous) for asynchronous in (False, True)]
        for run in runs:
            cluster.body(run, 3)
        connection.close()
        with fault.during(postgres):
            wait_idly(site, fault.answers, is_for_readers=fault.is_for_readers)
        come_back(site)
        cluster.completed(*runs)
        assert cluster.check_durable(runs) == 0  # no body was executed twice
        for run in runs:
            assert (run.lease_generation, run.recoveries) == (1, 0)
        check_invariants()
        assert "waits for the database" in cluster.logs()


def wait_idly(site: Installation, answers: frozenset[int], *, is_for_readers: bool = False) -> None:
    """While the database is away: ask for everything, and look at the processors.

    One that ``is_for_readers`` alone answers what only reads, but a web process is not ready.
    """
    cpu, begun, said = site.cpu(), time.monotonic(), site.worker.log.read_text().count("\n")
    for path, answer in site.get_all(*PAGES, *DATA).items():
        is_refused = is_for_readers and path == READINESS
        check_answer(path, answer, frozenset({503}) if is_refused else answers)
    if is_for_readers:
        check_not_ready(site)
    assert site.get("/healthz").status == 200
    time.sleep(max(begun + AWAY - time.monotonic(), 0))
    took = time.monotonic() - begun
    for name, used in site.cpu().items():
        assert used - cpu[name] < BUSY * took, f"{name} has used {used - cpu[name]} s of {took} s"
    said = site.worker.log.read_text().count("\n") - said
    assert said < TALKATIVE * took, site.cluster.logs()


def check_not_ready(site: Installation) -> None:
    """It says why, once it has noticed that its connection is a new one."""
    words = "The database is read-only"
    site.cluster.until(lambda: words in site.get(READINESS).text, "a word about readiness")


def check_answer(path: str, answer: Answer, allowed: frozenset[int]) -> None:
    """In words for who asked: a page for people, JSON for programs, a stack trace for nobody."""
    about = f"{path}: {answer}"
    assert answer.status in {*allowed, 302}, about
    assert "Traceback" not in answer.text, about
    if answer.status == 503:
        assert re.search("database (can.t be reached|is read-only)", answer.text), about
        kind = "text/html"
        if path in (*DATA, TRIGGER):
            kind = "application/json" if "durably" in path else "application/problem+json"
        assert answer.type == kind, about


def come_back(site: Installation) -> None:
    """Within seconds, and by themselves: it is the same two processes."""
    found: dict[str, Answer] = {}

    def all_answer() -> bool:
        found.update(site.get_all(*PAGES, *DATA))
        return {answer.status for answer in found.values()} <= {200, 302}

    site.cluster.until(all_answer, f"all is answered again: {found}", timeout=15)
    assert site.web.poll() is None
    assert site.worker.popen.poll() is None, site.cluster.logs()


@pytest.mark.django_db
@pytest.mark.parametrize("path", [*PAGES, *DATA])
def test_an_error_of_the_database_is_answered_503(client: Client, path: str) -> None:
    client.raise_request_exception = False
    client.cookies["sessionid"] = "one that has to be looked up"
    headers = {"Authorization": "Bearer durably_x"} if path in DATA else {}

    def away(*_: Any) -> None:
        raise OperationalError("the server has gone")

    with connection.execute_wrapper(away):
        response = client.get(path, headers=headers)
    kind = response.headers["Content-Type"].partition(";")[0]
    answer = Answer(response.status_code, kind, response.content.decode(), 0)
    check_answer(path, answer, frozenset({503}))
    assert answer.status == 503 or path == "/login/"


@contextmanager
def is_locked(disk: Path) -> Iterator[None]:
    with locked_tables():
        yield


@contextmanager
def has_a_full_disk(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 1024):
            pass
    yield
    filler.unlink()


@pytest.mark.parametrize(
    "fault", [has_a_full_disk, pytest.param(is_locked, marks=pytest.mark.soak)]
)
def test_web_and_worker_survive_a_file_that(
    cluster: Cluster,
    tmp_path: Path,
    fault: Callable[[Path], AbstractContextManager[None]],
    transactional_db: None,
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("about SQLite's file")
    with a_disk(tmp_path) as disk, default_database(f"sqlite:///{disk}/db.sqlite3"):
        with Installation(cluster, CRASH_SQLITE_TIMEOUT="0.5") as site:
            runs = [trigger(*[0.1] * 20) for _ in range(2)]
            cluster.body(runs[0], 2)
            with fault(disk):
                wait_idly(site, frozenset({200, 503}))
            come_back(site)
            cluster.completed(*runs)
            assert cluster.check_durable(runs) == 0
            check_invariants()
            assert "waits for the database" in cluster.logs()
        with closing(sqlite3.connect(disk / "db.sqlite3")) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@contextmanager
def a_disk(folder: Path) -> Iterator[Path]:
    try:
        with small_disk(folder / "disk", "8m") as disk:
            yield disk
    except Missing as missing:
        skip_or_fail(missing)


@pytest.mark.parametrize(
    ("farewell", "answer_to_readers"),
    [
        (signal.SIGKILL, 200),
        # Who is the last to leave removes SQLite's log, without which it opens no such file.
        pytest.param(signal.SIGTERM, 503, marks=pytest.mark.soak),
    ],
)
def test_web_and_worker_wait_for_a_file_that_is_read_only(
    cluster: Cluster,
    tmp_path: Path,
    transactional_db: None,
    settings: Settings,
    farewell: int,
    answer_to_readers: int,
) -> None:
    """From their start on, after a crash or not: no disk on which files are open can be made so."""
    if connection.vendor != "sqlite":
        pytest.skip("about SQLite's file")
    settings.HUEY_URL = f"sqlite:///{tmp_path}/queue.sqlite3"
    with a_disk(tmp_path) as disk, default_database(f"sqlite:///{disk}/db.sqlite3"):
        url = f"sqlite:///{disk}/db.sqlite3"
        with Installation(cluster, DATABASE_URL=url) as site:
            run = trigger(0, 0, run_at=utc_now() + timedelta(seconds=1))
            connection.close()
            site.worker.stop(farewell)
            processes.end(site.web, farewell)
            with is_read_only(disk):
                site.restart_web()
                site.worker = cluster.start(ready=False)
                cluster.until(lambda: "not ready" in site.worker.log.read_text(), "a word")
                is_for_readers = answer_to_readers == 200
                wait_idly(site, frozenset({answer_to_readers}), is_for_readers=is_for_readers)
                check_answer(TRIGGER, site.post(TRIGGER, NO_STEPS), frozenset({503}))
            come_back(site)
            answer = site.post(TRIGGER, NO_STEPS)
            assert answer.status == 201, answer
            cluster.completed(run, Run.objects.get(pk=answer.json["id"]))
            check_invariants()


@contextmanager
def is_read_only(disk: Path) -> Iterator[None]:
    remount(disk, "ro")
    yield
    remount(disk, "rw")


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)
